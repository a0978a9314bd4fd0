//! Frames on a socket: reading one request, writing one response.
//!
//! Invariants:
//! - The length that a frame claims is compared with `socket.request.max.bytes` before anything else happens, and memory grows with
//!   the bytes that arrive, not with the bytes that are promised.
//! - File regions of a response go to the socket inside the kernel (`sendfile`) where the system has it.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

use crate::common::file_slice::FileSlice;
use crate::protocol::codec::Chunk;
use crate::protocol::frame::Frame;

/// What an idle connection keeps ready to read into.
const SMALL_READ_BYTES: usize = 4 * 1024;
/// The most that is reserved beyond what has arrived.
const READ_AHEAD_BYTES: usize = 256 * 1024;
/// How many pieces one system call writes.
const MAX_IO_SLICES: usize = 64;

/// Why no request came from a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("nothing arrived for {0:?}")]
    Idle(Duration),
    #[error("the connection ended within a request ({arrived} of {expected} bytes)")]
    Torn { arrived: usize, expected: usize },
    #[error("a request of {size} bytes is larger than socket.request.max.bytes={limit}")]
    TooLarge { size: i32, limit: i32 },
    #[error("{0}")]
    NotKafka(&'static str),
}

/// One connection's socket and what was read from it beyond the last frame.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    buffer: BytesMut,
    max_request_bytes: i32,
    idle: Duration,
}

impl Socket {
    /// `idle` bounds the wait for the next byte, in either direction.
    pub(crate) fn new(stream: TcpStream, max_request_bytes: i32, idle: Duration) -> Socket {
        Socket { stream, buffer: BytesMut::new(), max_request_bytes, idle }
    }

    /// The next frame without its length, or `None` when the peer has closed the connection between two frames.
    pub(crate) async fn read_frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        while self.buffer.len() < 4 {
            if self.read_some(SMALL_READ_BYTES).await? == 0 {
                return match self.buffer.len() {
                    0 => Ok(None),
                    arrived => Err(ReadError::Torn { arrived, expected: 4 }),
                };
            }
        }
        let prefix = [self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]];
        let size = i32::from_be_bytes(prefix);
        if size < 0 || size > self.max_request_bytes {
            return Err(match foreign_protocol(prefix) {
                Some(text) => ReadError::NotKafka(text),
                None => ReadError::TooLarge { size, limit: self.max_request_bytes },
            });
        }
        let end = 4 + size as usize;
        while self.buffer.len() < end {
            // At most as much again as has arrived, within bounds: a liar costs us no more than it sent.
            let missing = end - self.buffer.len();
            let ahead = self.buffer.len().clamp(SMALL_READ_BYTES, READ_AHEAD_BYTES);
            if self.read_some(missing.min(ahead)).await? == 0 {
                return Err(ReadError::Torn { arrived: self.buffer.len(), expected: end });
            }
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(size as usize).freeze()))
    }

    async fn read_some(&mut self, room: usize) -> Result<usize, ReadError> {
        self.buffer.reserve(room);
        match tokio::time::timeout(self.idle, self.stream.read_buf(&mut self.buffer)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ReadError::Idle(self.idle)),
        }
    }

    /// Writes all of `frame`. A peer that takes nothing for as long as a connection may be idle is given up.
    pub(crate) async fn write_frame(&mut self, frame: Frame) -> io::Result<()> {
        let mut chunks = frame.chunks;
        let mut at = 0;
        while at < chunks.len() {
            match &mut chunks[at] {
                Chunk::Bytes(_) => {
                    let end = chunks[at..].iter().position(|chunk| matches!(chunk, Chunk::File(_))).map_or(chunks.len(), |n| at + n);
                    let more = end < chunks.len();
                    self.write_bytes(&mut chunks[at..end], more).await?;
                    at = end;
                }
                Chunk::File(slice) => {
                    self.write_file(slice).await?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Writes a run of byte chunks. `more` tells the kernel to wait for the file region that follows, so that both share packets.
    async fn write_bytes(&mut self, chunks: &mut [Chunk], more: bool) -> io::Result<()> {
        let mut first = 0;
        loop {
            while first < chunks.len() && matches!(&chunks[first], Chunk::Bytes(bytes) if bytes.is_empty()) {
                first += 1;
            }
            if first == chunks.len() {
                return Ok(());
            }
            let mut written = self
                .when_writable(|stream| {
                    let slices: Vec<IoSlice<'_>> = chunks[first..]
                        .iter()
                        .take(MAX_IO_SLICES)
                        .filter_map(|chunk| match chunk {
                            Chunk::Bytes(bytes) => Some(IoSlice::new(bytes)),
                            Chunk::File(_) => None,
                        })
                        .collect();
                    send(stream, &slices, more || chunks.len() - first > MAX_IO_SLICES)
                })
                .await?;
            for chunk in &mut chunks[first..] {
                let Chunk::Bytes(bytes) = chunk else { continue };
                let n = written.min(bytes.len());
                bytes.advance(n);
                written -= n;
                if written == 0 {
                    break;
                }
            }
        }
    }

    async fn write_file(&mut self, slice: &FileSlice) -> io::Result<()> {
        let mut position = slice.position;
        let mut left = slice.len;
        while left > 0 {
            let written = match self.when_writable(|stream| send_file(stream, slice, position, left)).await {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return self.copy_file(slice, position, left).await,
                result => result?,
            };
            if written == 0 {
                // The region was promised in the frame's length, so there is no way to go on with this connection.
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a log segment is shorter than what was read from it"));
            }
            position += written as u64;
            left -= written;
        }
        Ok(())
    }

    /// Where the kernel cannot send the file itself: read a piece, write it.
    async fn copy_file(&mut self, slice: &FileSlice, mut position: u64, mut left: usize) -> io::Result<()> {
        while left > 0 {
            let mut piece = vec![0; left.min(READ_AHEAD_BYTES)];
            let n = rustix::io::pread(&slice.file, &mut piece, position)?;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a log segment is shorter than what was read from it"));
            }
            piece.truncate(n);
            self.write_bytes(&mut [Chunk::Bytes(Bytes::from(piece))], left > n).await?;
            position += n as u64;
            left -= n;
        }
        Ok(())
    }

    async fn when_writable(&self, mut write: impl FnMut(&TcpStream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            match self.stream.try_io(Interest::WRITABLE, || write(&self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
            tokio::time::timeout(self.idle, self.stream.writable()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        }
    }
}

/// What a first word that is no length says about who is calling.
fn foreign_protocol(prefix: [u8; 4]) -> Option<&'static str> {
    match &prefix {
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"DELE" | b"PATC" | b"CONN" | b"PRI " => {
            Some("this is an HTTP request, but the listener speaks the Kafka protocol")
        }
        [0x16, 0x03, 0..=4, _] => {
            Some("this is a TLS handshake, but the listener is PLAINTEXT (is security.protocol=SSL set in the client?)")
        }
        b"SSH-" => Some("this is an SSH client, but the listener speaks the Kafka protocol"),
        _ => None,
    }
}

#[cfg(target_os = "linux")]
fn send(stream: &TcpStream, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
    Ok(sendmsg(stream, slices, &mut SendAncillaryBuffer::default(), flags)?)
}

#[cfg(not(target_os = "linux"))]
fn send(stream: &TcpStream, slices: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
    Ok(rustix::io::writev(stream, slices)?)
}

#[cfg(target_os = "linux")]
fn send_file(stream: &TcpStream, slice: &FileSlice, mut position: u64, len: usize) -> io::Result<usize> {
    use rustix::io::Errno;
    match rustix::fs::sendfile(stream, &slice.file, Some(&mut position), len) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
        result => Ok(result?),
    }
}

#[cfg(not(target_os = "linux"))]
fn send_file(_stream: &TcpStream, _slice: &FileSlice, _position: u64, _len: usize) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
