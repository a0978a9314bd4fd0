//! The node's part in the metadata quorum: the I/O around [`crate::raft`] and [`crate::controller`].
//!
//! One thread owns the metadata log, the Raft engine and the controller. Requests come to it as closures over the controller;
//! it appends the records that they ask for, makes them durable (one fsync for all that came meanwhile), replays what is
//! committed, publishes the new image, and only then lets the answers go.
//!
//! How a node starts:
//! 1. format new directories (or do nothing), lock and check them;
//! 2. `Quorum::open`: recover the log and load the image;
//! 3. bind the listeners, so that the advertised ports are known;
//! 4. `Quorum::start`: become leader, publish the first image, register the broker, publish, unfence it.
//!
//! How it stops: `ControllerHandle::controlled_shutdown`, close the logs, `ControllerHandle::close`.

mod handle;

pub use crate::metadata::cache::MetadataCache;
pub use handle::ControllerHandle;
