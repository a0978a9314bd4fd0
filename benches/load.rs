//! The load of the comparison: one client, the same for every broker, that costs as little as it can.
//!
//!     cargo run --release --example load -- WHAT HOST:PORT [NAME=VALUE ...]
//!
//! | WHAT | does | settings |
//! |---|---|---|
//! | `produce` | sends the same batches again and again, acks=all | `gigabytes record_bytes batch_bytes codec depth topic partitions` |
//! | `fetch` | reads a topic from its beginning, by so many consumers after each other's example | `consumers topic partitions` |
//! | `small` | one record a request, many connections, each waiting for its answer | `connections seconds requests topic partitions` |
//! | `latency` | records at a fixed rate, each timed from when it was due until a consumer has it | `rate seconds record_bytes topic partitions` |
//! | `idle` | consumers that long-poll an empty topic | `consumers seconds topic partitions` |
//! | `connections` | connections that have said who they are, and no more | `connections seconds` |
//! | `create` | topics of one partition, in requests of so many | `topics each` |
//! | `metadata` | asks for everything again and again | `times` |
//!
//! Each prints one JSON object. Nothing is decoded that need not be, so that what is measured is the broker. The requests are those of
//! Kafka's own clients: a produce holds one batch for each partition, five are under way at once, a batch has 16 KiB.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::batch::{BatchBuilder, BatchHeader};
use ottla::protocol::codec::{Message, Reader, Request};
use ottla::protocol::compression::Compression;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::frame::{decode_response_header, encode_request};
use ottla::protocol::messages::create_topics_request::CreatableTopic;
use ottla::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla::protocol::messages::metadata_request::MetadataRequestTopic;
use ottla::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla::protocol::messages::{ApiVersionsRequest, CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use ottla::protocol::records::Records;
use serde_json::{Value, json};

/// The last versions that name a topic, not its id: every broker here has them or earlier ones.
const NEWEST: [(ApiKey, i16); 4] = [(ApiKey::Produce, 12), (ApiKey::Fetch, 12), (ApiKey::Metadata, 12), (ApiKey::CreateTopics, 7)];
const MAX_FRAME_BYTES: usize = 256 << 20;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, address, settings @ ..] = &words[..] else { bail!("load WHAT HOST:PORT [NAME=VALUE ...]") };
    let settings = settings.iter().map(|word| word.split_once('=').context("settings are NAME=VALUE")).collect::<Result<_, _>>()?;
    let load = Load { address: address.clone(), settings };
    let result = match what.as_str() {
        "produce" => load.produce(),
        "fetch" => load.fetch(),
        "small" => load.small(),
        "latency" => load.latency(),
        "idle" => load.idle(),
        "connections" => load.connections(),
        "create" => load.create(),
        "metadata" => load.metadata(),
        _ => bail!("no such load: {what}"),
    }?;
    Ok(writeln!(io::stdout(), "{result}")?)
}

/// A connection, and what its broker serves.
struct Connection {
    stream: TcpStream,
    versions: HashMap<ApiKey, i16>,
}

impl Connection {
    fn open(address: &str) -> anyhow::Result<Connection> {
        let to = address.to_socket_addrs()?.next().context("an address")?;
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(30))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection = Connection { stream, versions: HashMap::new() };
        let served = connection.call_version(&ApiVersionsRequest::default(), 0)?;
        connection.versions = NEWEST
            .into_iter()
            .filter_map(|(key, newest)| {
                let served = served.api_keys.iter().find(|api| api.api_key == key.code())?;
                Some((key, served.max_version.min(newest)))
            })
            .collect();
        Ok(connection)
    }

    fn frame<R: Request>(&self, request: &R) -> anyhow::Result<Bytes> {
        let version = *self.versions.get(&R::KEY).with_context(|| format!("the broker does not serve {}", R::KEY.name()))?;
        Ok(encode_request(0, Some("load"), request, version)?.to_bytes())
    }

    fn send<R: Request>(&mut self, request: &R) -> anyhow::Result<()> {
        let frame = self.frame(request)?;
        Ok(self.stream.write_all(&frame)?)
    }

    /// The next response, without its length.
    fn receive(&mut self) -> anyhow::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length))?;
        ensure!(length <= MAX_FRAME_BYTES, "a response of {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body.into())
    }

    fn receive_as<R: Request>(&mut self) -> anyhow::Result<R::Response> {
        let version = self.versions[&R::KEY];
        decode::<R>(self.receive()?, version)
    }

    fn call<R: Request>(&mut self, request: &R) -> anyhow::Result<R::Response> {
        self.send(request)?;
        self.receive_as::<R>()
    }

    fn call_version<R: Request>(&mut self, request: &R, version: i16) -> anyhow::Result<R::Response> {
        self.stream.write_all(&encode_request(0, Some("load"), request, version)?.to_bytes())?;
        decode::<R>(self.receive()?, version)
    }
}

fn decode<R: Request>(body: Bytes, version: i16) -> anyhow::Result<R::Response> {
    let mut reader = Reader::new(body);
    decode_response_header(&mut reader, R::KEY, version)?;
    Ok(R::Response::decode(&mut reader, version)?)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn refused(code: i16) -> anyhow::Result<()> {
    ensure!(code == 0, "{}", ErrorCode::from_code(code).name());
    Ok(())
}

/// Bytes like those of a log line: letters and digits, not all the same, that compress to about half.
fn text(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut text = Vec::with_capacity(len + 8);
    while text.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(&format!("{:05x} the ", state >> 44).as_bytes()[..10]);
    }
    text.truncate(len);
    text
}

/// A batch of at most `batch_bytes` before compression, and its number of records.
fn batch(codec: &str, record_bytes: usize, batch_bytes: usize) -> anyhow::Result<(Bytes, u64)> {
    let codec: Compression = codec.parse().ok().with_context(|| format!("no such codec: {codec}"))?;
    let mut builder = BatchBuilder::new(codec);
    let mut seed = 7;
    while builder.is_empty() || builder.uncompressed_size_bytes() + record_bytes + 10 <= batch_bytes {
        builder.append(now_ms(), None, Some(&text(record_bytes, seed)), &[])?;
        seed = seed.wrapping_mul(31).wrapping_add(11);
    }
    let records = builder.record_count();
    Ok((builder.finish()?, u64::try_from(records)?))
}

fn produce_request(topic: &str, batches: impl IntoIterator<Item = (i32, Bytes)>) -> ProduceRequest {
    let partition_data = batches
        .into_iter()
        .map(|(index, batch)| PartitionProduceData { index, records: Some(Records::Bytes(batch)), ..Default::default() })
        .collect();
    let topic_data = vec![TopicProduceData { name: topic.to_owned(), partition_data, ..Default::default() }];
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..Default::default() }
}

/// What a fetch of every partition asks for: Kafka's consumer's defaults.
fn fetch_request(topic: &str, offsets: &[i64], max_wait_ms: i32) -> FetchRequest {
    let partitions = (0..)
        .zip(offsets)
        .map(|(partition, &fetch_offset)| FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() })
        .collect();
    FetchRequest {
        replica_id: -1,
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: topic.to_owned(), partitions, ..Default::default() }],
        ..Default::default()
    }
}

/// Reads the answer to a [`fetch_request`] and moves `offsets` on; each whole batch goes to `seen`. Returns the bytes of records.
fn fetched(connection: &mut Connection, offsets: &mut [i64], mut seen: impl FnMut(&BatchHeader, &[u8])) -> anyhow::Result<usize> {
    let response = connection.receive_as::<FetchRequest>()?;
    refused(response.error_code)?;
    let mut total = 0;
    for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
        refused(partition.error_code)?;
        let Some(mut rest) = partition.records.as_ref().and_then(Records::as_bytes).map(|bytes| &bytes[..]) else { continue };
        total += rest.len();
        let offset = &mut offsets[usize::try_from(partition.partition_index)?];
        while let Ok(header) = BatchHeader::parse(rest) {
            let size = header.size_bytes();
            let Some(whole) = rest.get(..size) else { break };
            // The batch that holds the fetch offset may begin before it.
            if header.next_offset() > *offset {
                seen(&header, whole);
                *offset = header.next_offset();
            }
            rest = &rest[size..];
        }
    }
    Ok(total)
}

struct Load<'a> {
    address: String,
    settings: HashMap<&'a str, &'a str>,
}

impl Load<'_> {
    fn setting<T: std::str::FromStr>(&self, name: &str, default: T) -> anyhow::Result<T> {
        match self.settings.get(name) {
            None => Ok(default),
            Some(word) => word.parse().ok().with_context(|| format!("{name}={word}")),
        }
    }

    fn topic(&self) -> String {
        (*self.settings.get("topic").unwrap_or(&"load")).to_owned()
    }

    fn partitions(&self) -> anyhow::Result<i32> {
        self.setting("partitions", 6)
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.address)
    }

    /// The topic, when the broker can make one; and until it has leaders.
    fn make_topic(&self, connection: &mut Connection) -> anyhow::Result<()> {
        if !connection.versions.contains_key(&ApiKey::CreateTopics) {
            return Ok(());
        }
        self.create_topics(connection, &[self.topic()], self.partitions()?)?;
        let topics = vec![MetadataRequestTopic { name: Some(self.topic()), ..Default::default() }];
        let request = MetadataRequest { topics: Some(topics), ..Default::default() };
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let response = connection.call(&request)?;
            let led = |topic: &ottla::protocol::messages::metadata_response::MetadataResponseTopic| {
                !topic.partitions.is_empty()
                    && topic.partitions.iter().all(|partition| partition.error_code == 0 && partition.leader_id >= 0)
            };
            if response.topics.iter().all(led) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the topic has no leaders");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn create_topics(&self, connection: &mut Connection, names: &[String], partitions: i32) -> anyhow::Result<()> {
        let topics = names
            .iter()
            .map(|name| CreatableTopic { name: name.clone(), num_partitions: partitions, replication_factor: 1, ..Default::default() })
            .collect();
        let response = connection.call(&CreateTopicsRequest { topics, timeout_ms: 60_000, ..Default::default() })?;
        for topic in response.topics {
            if topic.error_code != ErrorCode::TopicAlreadyExists.code() {
                refused(topic.error_code)?;
            }
        }
        Ok(())
    }

    fn produce(&self) -> anyhow::Result<Value> {
        let gigabytes: f64 = self.setting("gigabytes", 1.0)?;
        let codec: String = self.setting("codec", "none".to_owned())?;
        let (batch, records) = batch(&codec, self.setting("record_bytes", 1024)?, self.setting("batch_bytes", 16_384)?)?;
        let depth: u64 = self.setting("depth", 5)?;
        let mut connection = self.connect()?;
        self.make_topic(&mut connection)?;
        let partitions = self.partitions()?;
        let request = produce_request(&self.topic(), (0..partitions).map(|index| (index, batch.clone())));
        let frame = connection.frame(&request)?;
        let wire_bytes = batch.len() as u64 * u64::try_from(partitions)?;
        let requests = ((gigabytes * 1e9) as u64).div_ceil(wire_bytes);
        let start = Instant::now();
        let mut answered = 0;
        for sent in 1..=requests {
            connection.stream.write_all(&frame)?;
            while sent - answered >= depth || (sent == requests && answered < requests) {
                for partition in connection.receive_as::<ProduceRequest>()?.responses.iter().flat_map(|topic| &topic.partition_responses) {
                    refused(partition.error_code)?;
                }
                answered += 1;
            }
        }
        let bytes = requests * wire_bytes;
        let records = requests * records * u64::try_from(partitions)?;
        Ok(json!({"bytes": bytes, "records": records, "requests": requests, "seconds": start.elapsed().as_secs_f64()}))
    }

    fn fetch(&self) -> anyhow::Result<Value> {
        let consumers: usize = self.setting("consumers", 1)?;
        let partitions = usize::try_from(self.partitions()?)?;
        let start = Instant::now();
        let read = || -> anyhow::Result<(u64, u64)> {
            let mut connection = self.connect()?;
            let (mut offsets, mut bytes, mut requests) = (vec![0; partitions], 0, 0);
            loop {
                connection.send(&fetch_request(&self.topic(), &offsets, 0))?;
                requests += 1;
                match fetched(&mut connection, &mut offsets, |_, _| {})? {
                    0 => return Ok((bytes, requests)),
                    more => bytes += more as u64,
                }
            }
        };
        let (mut bytes, mut requests) = (0, 0);
        thread::scope(|scope| -> anyhow::Result<()> {
            let readers: Vec<_> = (0..consumers).map(|_| scope.spawn(read)).collect();
            for reader in readers {
                let read = reader.join().unwrap_or_else(|_| bail!("a consumer panicked"))?;
                (bytes, requests) = (bytes + read.0, requests + read.1);
            }
            Ok(())
        })?;
        Ok(json!({"bytes": bytes, "requests": requests, "seconds": start.elapsed().as_secs_f64()}))
    }

    fn small(&self) -> anyhow::Result<Value> {
        let connections: usize = self.setting("connections", 100)?;
        let length = Duration::from_secs_f64(self.setting("seconds", 5.0)?);
        let at_most: u64 = self.setting("requests", u64::MAX)?;
        let partitions = self.partitions()?;
        let (batch, _) = batch("none", self.setting("record_bytes", 100)?, 0)?;
        let mut open = Vec::new();
        for n in 0..connections {
            let mut connection = self.connect()?;
            if n == 0 {
                self.make_topic(&mut connection)?;
            }
            let partition = i32::try_from(n)? % partitions;
            let frame = connection.frame(&produce_request(&self.topic(), [(partition, batch.clone())]))?;
            open.push((connection, frame));
        }
        // One thread sends to all and then hears from all: every connection has one request under way, as with a hundred clients.
        let start = Instant::now();
        let mut requests = 0u64;
        for (connection, frame) in &mut open {
            connection.stream.write_all(frame)?;
        }
        while start.elapsed() < length && requests < at_most {
            for (connection, frame) in &mut open {
                for partition in connection.receive_as::<ProduceRequest>()?.responses.iter().flat_map(|topic| &topic.partition_responses) {
                    refused(partition.error_code)?;
                }
                requests += 1;
                connection.stream.write_all(frame)?;
            }
        }
        Ok(json!({"requests": requests, "seconds": start.elapsed().as_secs_f64()}))
    }

    /// A record carries the moment at which it was due, in microseconds since the start, so that a broker that stalls is charged for
    /// all that waited (no coordinated omission). Those that are due together travel together, spread over the partitions.
    fn latency(&self) -> anyhow::Result<Value> {
        let rate: f64 = self.setting("rate", 200.0)?;
        let seconds: f64 = self.setting("seconds", 10.0)?;
        let warm_up: f64 = self.setting("warm_up", 1.0)?;
        let record_bytes: usize = self.setting("record_bytes", 100)?;
        let partitions = usize::try_from(self.partitions()?)?;
        let topic = self.topic();
        let mut producer = self.connect()?;
        self.make_topic(&mut producer)?;
        let mut consumer = self.connect()?;
        // What an earlier run left is passed over.
        let mut offsets = vec![0; partitions];
        loop {
            consumer.send(&fetch_request(&topic, &offsets, 0))?;
            if fetched(&mut consumer, &mut offsets, |_, _| {})? == 0 {
                break;
            }
        }
        let total = (rate * (seconds + warm_up)) as u64;
        let unmeasured = (rate * warm_up) as u64;
        let mut answers = Connection { stream: producer.stream.try_clone()?, versions: producer.versions.clone() };
        let start = Instant::now() + Duration::from_millis(20);
        let mut latencies = thread::scope(|scope| -> anyhow::Result<Vec<u64>> {
            let heard = scope.spawn(move || -> anyhow::Result<()> {
                // Ends with the connection, which the sender shuts down after its last answer could have come.
                while let Ok(response) = answers.receive_as::<ProduceRequest>() {
                    for partition in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
                        refused(partition.error_code)?;
                    }
                }
                Ok(())
            });
            let received = scope.spawn(|| -> anyhow::Result<Vec<u64>> {
                let (mut latencies, mut count) = (Vec::with_capacity(total as usize), 0);
                while count < total {
                    consumer.send(&fetch_request(&topic, &offsets, 500))?;
                    let mut batches = Vec::new();
                    fetched(&mut consumer, &mut offsets, |_, batch| batches.push(batch.to_vec()))?;
                    let now = u64::try_from(start.elapsed().as_micros())?;
                    for batch in batches {
                        for due in due_times(&batch)? {
                            count += 1;
                            if due >= unmeasured * 1_000_000 / rate as u64 {
                                latencies.push(now.saturating_sub(due));
                            }
                        }
                    }
                }
                Ok(latencies)
            });
            let mut sent = 0u64;
            let mut value = text(record_bytes.max(16), 3);
            while sent < total {
                let due_at = Duration::from_secs_f64(sent as f64 / rate);
                thread::sleep((start + due_at).saturating_duration_since(Instant::now()));
                let due_now = ((start.elapsed().as_secs_f64() * rate) as u64 + 1).min(total).max(sent + 1);
                let mut builders: Vec<_> = (0..partitions).map(|_| BatchBuilder::new(Compression::None)).collect();
                for n in sent..due_now {
                    let due = (n as f64 / rate * 1e6) as u64;
                    value[..8].copy_from_slice(&due.to_be_bytes());
                    // A lone record goes to one partition after the other, a crowd to all of them.
                    builders[n as usize % partitions].append(now_ms(), None, Some(&value), &[])?;
                }
                sent = due_now;
                let mut batches = Vec::new();
                for (partition, builder) in (0..).zip(builders) {
                    if !builder.is_empty() {
                        batches.push((partition, builder.finish()?));
                    }
                }
                producer.send(&produce_request(&topic, batches))?;
            }
            let latencies = received.join().unwrap_or_else(|_| bail!("the consumer panicked"));
            let _ = producer.stream.shutdown(std::net::Shutdown::Both);
            heard.join().unwrap_or_else(|_| bail!("the producer's reader panicked"))?;
            latencies
        })?;
        latencies.sort_unstable();
        let at = |share: f64| {
            latencies.get(((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1))).map(|&us| us as f64 / 1e3)
        };
        Ok(json!({
            "records": latencies.len(), "rate": rate,
            "p50 ms": at(0.5), "p90 ms": at(0.9), "p99 ms": at(0.99), "p99.9 ms": at(0.999), "max ms": at(1.0),
        }))
    }

    fn idle(&self) -> anyhow::Result<Value> {
        let consumers: usize = self.setting("consumers", 1000)?;
        let length = Duration::from_secs_f64(self.setting("seconds", 10.0)?);
        let partitions = usize::try_from(self.partitions()?)?;
        self.make_topic(&mut self.connect()?)?;
        let mut open = (0..consumers).map(|_| self.connect()).collect::<anyhow::Result<Vec<_>>>()?;
        let mut offsets = vec![0; partitions];
        let request = open.first().context("at least one consumer")?.frame(&fetch_request(&self.topic(), &offsets, 500))?;
        writeln!(io::stderr(), "ready")?;
        let start = Instant::now();
        let mut requests = 0u64;
        while start.elapsed() < length {
            for connection in &mut open {
                connection.stream.write_all(&request)?;
            }
            for connection in &mut open {
                fetched(connection, &mut offsets, |_, _| {})?;
                requests += 1;
            }
        }
        Ok(json!({"requests": requests, "seconds": start.elapsed().as_secs_f64()}))
    }

    fn connections(&self) -> anyhow::Result<Value> {
        let connections: usize = self.setting("connections", 10_000)?;
        let length = Duration::from_secs_f64(self.setting("seconds", 5.0)?);
        let start = Instant::now();
        let open = (0..connections).map(|_| self.connect()).collect::<anyhow::Result<Vec<_>>>()?;
        let opened = start.elapsed().as_secs_f64();
        writeln!(io::stderr(), "ready")?;
        thread::sleep(length);
        Ok(json!({"connections": open.len(), "seconds": opened}))
    }

    fn create(&self) -> anyhow::Result<Value> {
        let topics: usize = self.setting("topics", 2000)?;
        let each: usize = self.setting("each", 100)?;
        let mut connection = self.connect()?;
        let names: Vec<String> = (0..topics).map(|n| format!("many-{n}")).collect();
        let start = Instant::now();
        for names in names.chunks(each.max(1)) {
            self.create_topics(&mut connection, names, 1)?;
        }
        Ok(json!({"topics": topics, "seconds": start.elapsed().as_secs_f64()}))
    }

    fn metadata(&self) -> anyhow::Result<Value> {
        let times: u32 = self.setting("times", 100)?;
        let mut connection = self.connect()?;
        let request = connection.frame(&MetadataRequest { topics: None, ..Default::default() })?;
        let start = Instant::now();
        let mut bytes = 0;
        for _ in 0..times {
            connection.stream.write_all(&request)?;
            bytes += connection.receive()?.len();
        }
        Ok(json!({"times": times, "bytes": bytes, "seconds": start.elapsed().as_secs_f64()}))
    }
}

/// The times that the records of a batch carry.
fn due_times(batch: &[u8]) -> anyhow::Result<Vec<u64>> {
    let mut due = Vec::new();
    for view in ottla::protocol::batch::Batches::new(batch) {
        for record in view?.records() {
            let value = record?.value.context("a record of this load has a value")?;
            due.push(u64::from_be_bytes(*value.first_chunk().context("and it begins with its time")?));
        }
    }
    Ok(due)
}
