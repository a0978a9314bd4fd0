//! The broker over the wire: a real process, real sockets, frames made by `protocol`.

mod admin;
mod apis;
mod cluster;
mod damage;
mod hostile;
mod log_dirs;
mod log_format;
mod many_partitions;
mod metrics;
mod quotas;
mod refusals;
mod restart;
mod start;
pub(crate) mod transactions;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use ottla::common::uuid::Uuid;
use ottla::protocol::batch::{BatchBuilder, BatchError};
use ottla::protocol::codec::{Message, Reader, Request};
use ottla::protocol::compression::Compression;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::frame;
use ottla::protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla::protocol::messages::fetch_response::PartitionData;
use ottla::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla::protocol::messages::produce_response::PartitionProduceResponse;
use ottla::protocol::messages::{CreateTopicsRequest, FetchRequest, FetchResponse, ProduceRequest};
use ottla::protocol::records::Records;

/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `ottla serve`, killed when dropped.
pub(crate) struct Broker {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The whole line it printed when it was ready.
    pub(crate) ready: String,
}

impl Broker {
    /// A broker with a temporary directory of its own.
    pub(crate) fn start() -> Broker {
        Broker::start_with(&["--ephemeral"])
    }

    /// A broker on a directory that outlives it.
    pub(crate) fn start_in(dir: &Path) -> Broker {
        Broker::start_with(&["--data", &dir.display().to_string()])
    }

    /// A broker on a free port, with these options besides.
    pub(crate) fn start_with(options: &[&str]) -> Broker {
        Broker::start_command(command(options).args(["--listen", "127.0.0.1:0"]))
    }

    /// The broker that `command` starts.
    pub(crate) fn start_command(command: &mut Command) -> Broker {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the broker starts");
        let stdout = child.stdout.take().expect("a piped stdout");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let ready = receiver.recv_timeout(PATIENCE).expect("the broker says that it is ready");
        let address = ready.split(' ').nth(3).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no address in {ready:?}"));
        Broker { child, address, ready }
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Connection { stream, correlation_id: 0, client_id: "test" }
    }

    /// SIGKILL: nothing of the process's own memory reaches the disk.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        self.child.wait().expect("ended").code()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ottla serve` with these options, quiet on standard error.
pub(crate) fn command(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.arg("serve").args(options).env("KAFKA_LOG", "error").stdin(Stdio::null());
    command
}

/// One client connection, one request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    correlation_id: i32,
    pub(crate) client_id: &'static str,
}

impl Connection {
    /// Sends a request and reads its response.
    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version);
        self.receive::<R>(version).expect("a response")
    }

    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) {
        self.correlation_id += 1;
        let frame = frame::encode_request(self.correlation_id, Some(self.client_id), request, version).expect("a valid request");
        self.write(&frame.to_bytes());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // A broker that has already given up on us is for the reader to notice.
        let _ = self.stream.write_all(bytes);
    }

    /// The response to the last request, or `None` when the broker has closed the connection.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let mut reader = Reader::new(self.read_frame()?);
        let header = frame::decode_response_header(&mut reader, R::KEY, version).expect("a response header");
        assert_eq!(header.correlation_id, self.correlation_id);
        let response = R::Response::decode(&mut reader, version).expect("a response");
        assert_eq!(reader.remaining(), 0, "the response is exactly its frame");
        Some(response)
    }

    /// One frame without its length; `None` at the end of the connection.
    pub(crate) fn read_frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("the broker neither answers nor closes the connection")
            }
            Err(_) => return None,
        }
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body).expect("the whole frame");
        Some(body.into())
    }

    /// Does the broker close the connection without another word?
    pub(crate) fn is_closed(&mut self) -> bool {
        self.read_frame().is_none()
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    pub(crate) fn create_topic_with(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            ..Default::default()
        });
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
        let response = self.call(&request, 7);
        let created = &response.topics[0];
        assert_eq!(ErrorCode::from_code(created.error_code), ErrorCode::None, "{:?}", created.error_message);
    }

    /// Produces to one partition and gives its part of the response.
    pub(crate) fn produce(&mut self, topic: &str, partition: i32, records: Bytes, acks: i16) -> PartitionProduceResponse {
        let request = produce_request(topic, partition, records, acks);
        self.call(&request, 9).responses.remove(0).partition_responses.remove(0)
    }

    /// Fetches one partition outside any session.
    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let request = fetch_request(topic, partition, offset);
        only_partition(self.call(&request, 12))
    }
}

pub(crate) fn only_partition(mut response: FetchResponse) -> PartitionData {
    response.responses.remove(0).partitions.remove(0)
}

pub(crate) fn produce_request(topic: &str, partition: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(Records::Bytes(records)), ..Default::default() };
    let topic = TopicProduceData { name: topic.to_owned(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

/// One partition, at least a byte, no waiting, no session.
pub(crate) fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let wanted = FetchPartition { partition, fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: topic.to_owned(), topic_id: Uuid::ZERO, partitions: vec![wanted], ..Default::default() };
    FetchRequest { min_bytes: 1, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() }
}

/// One batch of records with these values.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_of(BatchBuilder::new(Compression::None), values)
}

pub(crate) fn batch_of(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for value in values {
        builder.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]).expect("a small record");
    }
    builder.finish().expect("a batch")
}

/// The offsets and values of all records in fetched data. The last batch may be cut short by a limit, as in Kafka.
pub(crate) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.as_ref().and_then(Records::as_bytes).cloned().unwrap_or_default();
    let mut all = Vec::new();
    for batch in ottla::protocol::batch::Batches::new(&bytes) {
        let batch = match batch {
            Err(BatchError::Truncated { .. }) => break,
            batch => batch.expect("a whole batch"),
        };
        batch.verify_crc().expect("an intact batch");
        for record in batch.records() {
            let record = record.expect("a record");
            if record.offset >= 0 {
                all.push((record.offset, String::from_utf8(record.value.unwrap_or_default().to_vec()).expect("text")));
            }
        }
    }
    all
}

/// A directory for one test's data, removed with it.
pub(crate) fn data_dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("data");
    (dir, path)
}
