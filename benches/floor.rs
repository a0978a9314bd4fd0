//! The floor: the least that a machine has to do to take and to give records, as a program that any Kafka client can talk to.
//!
//!     cargo run --release --example floor -- PORT DIR [PARTITIONS]
//!
//! A produce goes from the socket into a buffer that is used again and again; the batches' CRCs are compared, their offsets stamped, and
//! they are written to the partition's file. A fetch goes from the file to the socket by sendfile. That is all: every topic exists and
//! has PARTITIONS (6) partitions, a thread serves a connection, nothing is ever deleted, read back or recovered. What a broker costs
//! beyond this is what it costs to be a broker; `benches/side-by-side` shows both.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::codec::{Message, Reader};
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::frame::{decode_request_header, encode_response};
use ottla::protocol::messages::api_versions_response::ApiVersion;
use ottla::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla::protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use ottla::protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
};

/// What is served, and in which versions: the last ones with a fixed layout.
const SERVED: [(ApiKey, i16, i16); 6] = [
    (ApiKey::Produce, 3, 7),
    (ApiKey::Fetch, 4, 10),
    (ApiKey::ListOffsets, 1, 5),
    (ApiKey::Metadata, 1, 8),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::InitProducerId, 0, 1),
];
const BATCH_HEADER: usize = 61;
/// More than any client here asks for.
const MAX_FRAME_BYTES: usize = 256 << 20;

struct Partition {
    file: File,
    log: Mutex<PartitionLog>,
}

#[derive(Default)]
struct PartitionLog {
    next_offset: i64,
    size: u64,
    /// Where the records of each request begin: first offset, byte.
    index: Vec<(i64, u64)>,
}

struct Floor {
    port: u16,
    dir: PathBuf,
    partitions: i32,
    open: Mutex<HashMap<(String, i32), Arc<Partition>>>,
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, dir, rest @ ..] = &words[..] else { anyhow::bail!("floor PORT DIR [PARTITIONS]") };
    let partitions = rest.first().map_or(Ok(6), |word| word.parse())?;
    std::fs::create_dir_all(dir)?;
    let floor = Arc::new(Floor { port: port.parse()?, dir: dir.into(), partitions, open: Mutex::default() });
    for stream in TcpListener::bind(("127.0.0.1", floor.port))?.incoming() {
        let (stream, floor) = (stream?, Arc::clone(&floor));
        std::thread::spawn(move || floor.serve(stream));
    }
    Ok(())
}

/// The fields of a request with a fixed layout.
struct Fields<'a>(&'a mut [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> io::Result<&'a mut [u8]> {
        let bytes = std::mem::take(&mut self.0);
        let (taken, rest) = bytes.split_at_mut_checked(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as long as asked for"))
    }

    fn i16(&mut self) -> io::Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// Of 16 bits' length; null is empty.
    fn string(&mut self) -> io::Result<&'a str> {
        let len = self.i16()?;
        let bytes = self.take(usize::try_from(len).unwrap_or(0))?;
        std::str::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

impl Floor {
    fn serve(&self, mut stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true).and_then(|()| self.requests(&mut stream))
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            let _ = writeln!(io::stderr(), "floor: {error}");
        }
    }

    fn requests(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let size = u32::from_be_bytes(size) as usize;
            if size > MAX_FRAME_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            stream.read_exact(&mut buffer[..size])?;
            let frame = &mut buffer[..size];
            match frame.first_chunk::<2>().map(|key| ApiKey::from_code(i16::from_be_bytes(*key))) {
                Some(Some(ApiKey::Produce)) => self.produce(stream, frame)?,
                Some(Some(ApiKey::Fetch)) => self.fetch(stream, frame)?,
                _ => self.other(stream, Bytes::copy_from_slice(frame))?,
            }
        }
    }

    fn partition(&self, topic: &str, partition: i32) -> io::Result<Arc<Partition>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&(topic.to_owned(), partition)) {
            return Ok(Arc::clone(known));
        }
        let path = self.dir.join(format!("{topic}-{partition}"));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let new = Arc::new(Partition { file, log: Mutex::default() });
        open.insert((topic.to_owned(), partition), Arc::clone(&new));
        Ok(new)
    }

    fn produce(&self, stream: &mut TcpStream, frame: &mut [u8]) -> io::Result<()> {
        let mut request = Fields(frame);
        let (_, version, correlation_id) = (request.i16()?, request.i16()?, request.i32()?);
        let (_client_id, _transactional_id) = (request.string()?, request.string()?);
        let (acks, _timeout_ms) = (request.i16()?, request.i32()?);
        let mut response = vec![0; 4];
        response.extend(correlation_id.to_be_bytes());
        let topics = request.i32()?;
        response.extend(topics.to_be_bytes());
        for _ in 0..topics {
            let topic = request.string()?;
            response.extend((topic.len() as i16).to_be_bytes());
            response.extend(topic.as_bytes());
            let partitions = request.i32()?;
            response.extend(partitions.to_be_bytes());
            for _ in 0..partitions {
                let (partition, len) = (request.i32()?, request.i32()?);
                let records = request.take(usize::try_from(len).unwrap_or(0))?;
                let base_offset = self.partition(topic, partition)?.append(records)?;
                response.extend(partition.to_be_bytes());
                response.extend(0i16.to_be_bytes());
                response.extend(base_offset.to_be_bytes());
                response.extend((-1i64).to_be_bytes());
                if version >= 5 {
                    response.extend(0i64.to_be_bytes());
                }
            }
        }
        response.extend(0i32.to_be_bytes());
        if acks == 0 { Ok(()) } else { send(stream, response) }
    }

    fn fetch(&self, stream: &mut TcpStream, frame: &mut [u8]) -> io::Result<()> {
        let mut request = Fields(frame);
        let (_, version, correlation_id) = (request.i16()?, request.i16()?, request.i32()?);
        let (_client_id, _replica_id, max_wait_ms) = (request.string()?, request.i32()?, request.i32()?);
        let (_min_bytes, max_bytes, _isolation) = (request.i32()?, request.i32()?, request.take(1)?);
        if version >= 7 {
            request.take(8)?;
        }
        let mut wanted = Vec::new();
        for _ in 0..request.i32()? {
            let topic = request.string()?;
            for _ in 0..request.i32()? {
                let partition = request.i32()?;
                if version >= 9 {
                    request.i32()?;
                }
                let offset = request.i64()?;
                if version >= 5 {
                    request.i64()?;
                }
                wanted.push((topic, partition, offset, request.i32()?));
            }
        }
        let until = Instant::now() + Duration::from_millis(u64::try_from(max_wait_ms).unwrap_or(0));
        let found = loop {
            let mut left = u64::try_from(max_bytes).unwrap_or(0);
            let mut found = Vec::with_capacity(wanted.len());
            for &(topic, id, offset, at_most) in &wanted {
                let partition = self.partition(topic, id)?;
                let (position, len, next_offset) = partition.find(offset, left.min(u64::try_from(at_most).unwrap_or(0)));
                left = left.saturating_sub(len);
                found.push((partition, position, len, next_offset));
            }
            if found.iter().any(|(_, _, len, _)| *len > 0) || Instant::now() >= until {
                break found;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let mut piece = vec![0; 4];
        piece.extend(correlation_id.to_be_bytes());
        piece.extend(0i32.to_be_bytes());
        if version >= 7 {
            piece.extend([0; 6]);
        }
        piece.extend((wanted.len() as i32).to_be_bytes());
        let header = 2 + 4 + 4 + 2 + 8 + 8 + if version >= 5 { 8 } else { 0 } + 4 + 4;
        let body: u64 = wanted.iter().zip(&found).map(|((topic, ..), (_, _, len, _))| header + topic.len() as u64 + len).sum();
        let size = u32::try_from(piece.len() as u64 - 4 + body).map_err(|_| io::ErrorKind::InvalidInput)?;
        piece[..4].copy_from_slice(&size.to_be_bytes());
        for ((topic, id, ..), (partition, mut position, len, next_offset)) in wanted.iter().zip(found) {
            piece.extend((topic.len() as i16).to_be_bytes());
            piece.extend(topic.as_bytes());
            piece.extend(1i32.to_be_bytes());
            piece.extend(id.to_be_bytes());
            piece.extend(0i16.to_be_bytes());
            piece.extend(next_offset.to_be_bytes());
            piece.extend(next_offset.to_be_bytes());
            if version >= 5 {
                piece.extend(0i64.to_be_bytes());
            }
            piece.extend((-1i32).to_be_bytes());
            piece.extend((len as i32).to_be_bytes());
            if len > 0 {
                stream.write_all(&piece)?;
                piece.clear();
                let end = position + len;
                while position < end {
                    let left = (end - position) as usize;
                    if rustix::fs::sendfile(&*stream, &partition.file, Some(&mut position), left)? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        stream.write_all(&piece)
    }

    /// What is asked for once in a while, through the project's own messages.
    fn other(&self, stream: &mut TcpStream, frame: Bytes) -> io::Result<()> {
        let invalid = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let mut reader = Reader::new(frame);
        let header = decode_request_header(&mut reader).map_err(|error| invalid(&error))?;
        let (id, version) = (header.correlation_id, header.request_api_version);
        let key = ApiKey::from_code(header.request_api_key).ok_or(io::ErrorKind::InvalidData)?;
        let body = reader.into_rest();
        let frame = match key {
            ApiKey::ApiVersions => {
                let range = |(key, min, max): (ApiKey, i16, i16)| ApiVersion {
                    api_key: key.code(),
                    min_version: min,
                    max_version: max,
                    ..ApiVersion::default()
                };
                let code = if version > 3 { ErrorCode::UnsupportedVersion } else { ErrorCode::None };
                let api_keys = SERVED.into_iter().map(range).collect();
                let response = ApiVersionsResponse { error_code: code.code(), api_keys, ..ApiVersionsResponse::default() };
                encode_response(id, key, &response, if version > 3 { 0 } else { version })
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::from_bytes(body, version).map_err(|error| invalid(&error))?;
                encode_response(id, key, &self.metadata(&request), version)
            }
            ApiKey::ListOffsets => {
                let request = ListOffsetsRequest::from_bytes(body, version).map_err(|error| invalid(&error))?;
                encode_response(id, key, &self.offsets(&request)?, version)
            }
            ApiKey::InitProducerId => {
                encode_response(id, key, &InitProducerIdResponse { producer_id: 1, producer_epoch: 0, ..Default::default() }, version)
            }
            other => return Err(invalid(&format!("{other:?} is not served"))),
        };
        stream.write_all(&frame.map_err(|error| invalid(&error))?.to_bytes())
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: 1,
            replica_nodes: vec![1],
            isr_nodes: vec![1],
            ..MetadataResponsePartition::default()
        };
        let topic = |name: Option<String>| MetadataResponseTopic {
            name,
            partitions: (0..self.partitions).map(partition).collect(),
            ..MetadataResponseTopic::default()
        };
        let node = MetadataResponseBroker { node_id: 1, host: "127.0.0.1".to_owned(), port: self.port.into(), ..Default::default() };
        MetadataResponse {
            brokers: vec![node],
            controller_id: 1,
            topics: request.topics.iter().flatten().map(|asked| topic(asked.name.clone())).collect(),
            ..MetadataResponse::default()
        }
    }

    fn offsets(&self, request: &ListOffsetsRequest) -> io::Result<ListOffsetsResponse> {
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let partition = self.partition(&topic.name, asked.partition_index)?;
                let offset = if asked.timestamp == -2 { 0 } else { partition.log().next_offset };
                let partition_index = asked.partition_index;
                partitions.push(ListOffsetsPartitionResponse { partition_index, offset, timestamp: -1, ..Default::default() });
            }
            topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions, ..Default::default() });
        }
        Ok(ListOffsetsResponse { topics, ..Default::default() })
    }
}

impl Partition {
    fn log(&self) -> std::sync::MutexGuard<'_, PartitionLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks, stamps and writes batches; gives the first one's offset.
    fn append(&self, records: &mut [u8]) -> io::Result<i64> {
        let mut log = self.log();
        let (base_offset, mut next_offset, mut rest) = (log.next_offset, log.next_offset, &mut *records);
        while !rest.is_empty() {
            let header = rest.first_chunk::<BATCH_HEADER>().ok_or(io::ErrorKind::InvalidData)?;
            let int = |at: usize| i32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
            let (len, crc, last_offset_delta) = (int(8), int(17) as u32, int(23));
            let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)? + 12;
            let (batch, after) = rest.split_at_mut_checked(len).ok_or(io::ErrorKind::InvalidData)?;
            if crc32c::crc32c(&batch[21..]) != crc {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a batch's CRC differs"));
            }
            batch[..8].copy_from_slice(&next_offset.to_be_bytes());
            batch[12..16].fill(0);
            next_offset += i64::from(last_offset_delta) + 1;
            rest = after;
        }
        self.file.write_all_at(records, log.size)?;
        let start = (base_offset, log.size);
        log.index.push(start);
        log.size += records.len() as u64;
        log.next_offset = next_offset;
        Ok(base_offset)
    }

    /// Where the records from `offset` on lie: first byte, number of bytes (of one request's records at least), and the log's end.
    fn find(&self, offset: i64, max_bytes: u64) -> (u64, u64, i64) {
        let log = self.log();
        if offset >= log.next_offset {
            return (log.size, 0, log.next_offset);
        }
        let n = log.index.partition_point(|(first, _)| *first <= offset).saturating_sub(1);
        let position = log.index[n].1;
        let whole = log.index.get(n + 1).map_or(log.size, |(_, next)| *next);
        (position, (log.size - position).min(max_bytes).max(whole - position), log.next_offset)
    }
}

/// Puts the size before a response, and sends it.
fn send(stream: &mut TcpStream, mut response: Vec<u8>) -> io::Result<()> {
    let size = response.len() as u32 - 4;
    response[..4].copy_from_slice(&size.to_be_bytes());
    stream.write_all(&response)
}
