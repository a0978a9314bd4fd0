//! Who hears of new metadata.
//!
//! Source: Kafka's `MetadataPublisher`.

use std::sync::Arc;

use super::delta::MetadataDelta;
use super::image::MetadataImage;

/// A part of the node that follows the metadata.
///
/// Invariant: calls come one at a time, in the order of the log, and the answer to the request that caused a change is
/// sent after every publisher has returned. The first call brings everything: its delta starts at the empty image.
/// A publisher may write files (create a partition's log); it must not wait for the controller.
pub trait Publisher: Send + Sync {
    /// For logs.
    fn name(&self) -> &str;

    /// `image` is what `delta.image()` became.
    fn publish(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>);
}
