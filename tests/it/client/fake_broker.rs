//! A scripted broker: answers chosen APIs from closures and records what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::codec::{Reader, Request, VersionRange};
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::frame::{decode_request_header, encode_response};
use ottla::protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
use ottla::protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use ottla::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// What a script does about a request.
pub(crate) enum Action<M> {
    Answer(M),
    /// As `Answer`, once the gate opens; the answers behind it wait too.
    AnswerAfter(Gate, M),
    Silence,
    /// Closes the connection.
    Close,
    /// Bytes as they are, instead of a frame.
    Raw(Bytes),
}

/// Opens once, for all who wait.
#[derive(Clone)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate(Arc::new(watch::channel(false).0))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn wait(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    /// Connections are counted from 0.
    pub(crate) connection: usize,
    body: Bytes,
}

type Script = Box<dyn FnMut(i16, i32, Bytes) -> Action<Bytes> + Send>;

struct State {
    scripts: BTreeMap<ApiKey, Script>,
    versions: BTreeMap<ApiKey, VersionRange>,
    features: Vec<(&'static str, i16)>,
    api_versions_max: i16,
    seen: Vec<Seen>,
}

/// A broker that is bound and not yet serving, so that its port can go into others' scripts.
pub(crate) struct Bound {
    listener: TcpListener,
    state: State,
}

pub(crate) struct FakeBroker {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    count: watch::Receiver<usize>,
    task: AbortHandle,
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bound {
    pub(crate) async fn new() -> Bound {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let state =
            State { scripts: BTreeMap::new(), versions: BTreeMap::new(), features: Vec::new(), api_versions_max: 4, seen: Vec::new() };
        Bound { listener, state }
    }

    pub(crate) fn port(&self) -> i32 {
        i32::from(self.listener.local_addr().expect("bound").port())
    }

    /// Answers an API, at all of its versions unless [`Bound::versions`] says otherwise.
    pub(crate) fn on<R: Request>(mut self, mut script: impl FnMut(R, i16) -> Action<R::Response> + Send + 'static) -> Bound {
        let script: Script = Box::new(move |version, correlation_id, body| {
            let request = R::from_bytes(body, version).expect("a well-formed request");
            let encode = |response: &R::Response| encode_response(correlation_id, R::KEY, response, version).expect("encodes").to_bytes();
            match script(request, version) {
                Action::Answer(response) => Action::Answer(encode(&response)),
                Action::AnswerAfter(gate, response) => Action::AnswerAfter(gate, encode(&response)),
                Action::Silence => Action::Silence,
                Action::Close => Action::Close,
                Action::Raw(bytes) => Action::Raw(bytes),
            }
        });
        self.state.versions.entry(R::KEY).or_insert(R::KEY.versions());
        self.state.scripts.insert(R::KEY, script);
        self
    }

    /// Announces these versions of an API.
    pub(crate) fn versions(mut self, key: ApiKey, min: i16, max: i16) -> Bound {
        self.state.versions.insert(key, VersionRange::new(min, max));
        self
    }

    /// Announces a finalized feature level.
    pub(crate) fn feature(mut self, name: &'static str, level: i16) -> Bound {
        self.state.features.push((name, level));
        self
    }

    /// Knows ApiVersions up to this version only.
    pub(crate) fn api_versions_up_to(mut self, max: i16) -> Bound {
        self.state.api_versions_max = max;
        self
    }

    pub(crate) fn start(self) -> FakeBroker {
        let address = self.listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(self.state));
        let (counter, count) = watch::channel(0);
        let task = tokio::spawn(accept(self.listener, Arc::clone(&state), Arc::new(counter))).abort_handle();
        FakeBroker { address, state, count, task }
    }
}

impl FakeBroker {
    /// `host:port`, for `bootstrap.servers`.
    pub(crate) fn servers(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().expect("no panic").seen.clone()
    }

    /// The requests of one API, with their versions.
    pub(crate) fn requests<R: Request>(&self) -> Vec<(i16, R)> {
        let seen = self.seen().into_iter().filter(|seen| seen.key == R::KEY);
        seen.map(|seen| (seen.version, R::from_bytes(seen.body, seen.version).expect("well-formed"))).collect()
    }

    /// Waits until `count` requests of one API have come.
    pub(crate) async fn wait_for<R: Request>(&self, count: usize) {
        let mut changes = self.count.clone();
        while self.seen().iter().filter(|seen| seen.key == R::KEY).count() < count {
            changes.changed().await.expect("the broker runs");
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>, counter: Arc<watch::Sender<usize>>) {
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        connections.spawn(serve(stream, connection, Arc::clone(&state), Arc::clone(&counter)));
    }
}

async fn serve(stream: TcpStream, connection: usize, state: Arc<Mutex<State>>, counter: Arc<watch::Sender<usize>>) {
    let (mut reader, mut writer) = stream.into_split();
    let (answers, mut queue) = mpsc::unbounded_channel::<Action<Bytes>>();
    let writing = tokio::spawn(async move {
        while let Some(action) = queue.recv().await {
            let bytes = match action {
                Action::Answer(bytes) | Action::Raw(bytes) => bytes,
                Action::AnswerAfter(gate, bytes) => {
                    gate.wait().await;
                    bytes
                }
                Action::Silence => continue,
                Action::Close => return,
            };
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    while let Ok(size) = reader.read_i32().await {
        let mut frame = vec![0; usize::try_from(size).expect("a positive length")];
        if reader.read_exact(&mut frame).await.is_err() {
            break;
        }
        let action = answer(Bytes::from(frame), connection, &state);
        counter.send_modify(|count| *count += 1);
        let close = matches!(action, Action::Close);
        if answers.send(action).is_err() || close {
            break;
        }
    }
    drop(answers);
    let _ = writing.await;
}

fn answer(frame: Bytes, connection: usize, state: &Mutex<State>) -> Action<Bytes> {
    let mut state = state.lock().expect("no panic");
    let version = frame.slice(2..4).get_i16();
    let mut reader = Reader::new(frame);
    let header = decode_request_header(&mut reader).expect("a request header");
    let key = ApiKey::from_code(header.request_api_key).expect("a known API");
    let body = reader.into_rest();
    state.seen.push(Seen { key, version, connection, body: body.clone() });
    if key == ApiKey::ApiVersions && !state.scripts.contains_key(&key) {
        return Action::Answer(api_versions(&state, header.correlation_id, version));
    }
    match state.scripts.get_mut(&key) {
        Some(script) => script(version, header.correlation_id, body),
        None => panic!("{} was not expected", key.name()),
    }
}

fn api_versions(state: &State, correlation_id: i32, version: i16) -> Bytes {
    let range = |key: &ApiKey, range: &VersionRange| ApiVersion {
        api_key: key.code(),
        min_version: range.min,
        max_version: range.max,
        ..Default::default()
    };
    if version > state.api_versions_max {
        // As brokers before Kafka 2.4: no hint which versions there are.
        let response = ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion.code(), ..Default::default() };
        return encode_response(correlation_id, ApiKey::ApiVersions, &response, 0).expect("encodes").to_bytes();
    }
    let feature = |(name, level): &(&str, i16)| FinalizedFeatureKey {
        name: (*name).to_owned(),
        min_version_level: *level,
        max_version_level: *level,
        ..Default::default()
    };
    let response = ApiVersionsResponse {
        api_keys: state.versions.iter().map(|(key, it)| range(key, it)).collect(),
        finalized_features_epoch: if state.features.is_empty() || version < 3 { -1 } else { 1 },
        finalized_features: if version < 3 { Vec::new() } else { state.features.iter().map(feature).collect() },
        ..Default::default()
    };
    encode_response(correlation_id, ApiVersionsRequest::KEY, &response, version).expect("encodes").to_bytes()
}

/// Metadata of a cluster on this machine: brokers by id and port, topics as (name, leader of each partition). A leader of -1 is none.
pub(crate) fn metadata(brokers: &[(i32, i32)], topics: &[(&str, &[i32])], leader_epoch: i32) -> MetadataResponse {
    let broker = |(node_id, port): &(i32, i32)| MetadataResponseBroker {
        node_id: *node_id,
        host: "127.0.0.1".to_owned(),
        port: *port,
        ..Default::default()
    };
    let partition = |(index, leader): (usize, &i32)| MetadataResponsePartition {
        partition_index: index as i32,
        leader_id: *leader,
        leader_epoch,
        replica_nodes: vec![*leader],
        isr_nodes: vec![*leader],
        ..Default::default()
    };
    let topic = |(name, leaders): &(&str, &[i32])| MetadataResponseTopic {
        name: Some((*name).to_owned()),
        partitions: leaders.iter().enumerate().map(partition).collect(),
        ..Default::default()
    };
    MetadataResponse {
        brokers: brokers.iter().map(broker).collect(),
        controller_id: brokers.first().map_or(-1, |(id, _)| *id),
        topics: topics.iter().map(topic).collect(),
        ..Default::default()
    }
}

/// Answers Metadata with those of `topics` that were asked for, and with errors for others.
pub(crate) fn metadata_for(request: &MetadataRequest, mut all: MetadataResponse) -> Action<MetadataResponse> {
    if let Some(wanted) = &request.topics {
        let wanted: Vec<String> = wanted.iter().filter_map(|topic| topic.name.clone()).collect();
        let known = all.topics.clone();
        all.topics = wanted
            .into_iter()
            .map(|name| {
                known.iter().find(|topic| topic.name.as_ref() == Some(&name)).cloned().unwrap_or_else(|| MetadataResponseTopic {
                    name: Some(name),
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    ..Default::default()
                })
            })
            .collect();
    }
    Action::Answer(all)
}

/// A server that says these bytes to whoever speaks first, after a whole line if `after_a_line`, and closes.
pub(crate) async fn stranger(says: &'static [u8], after_a_line: bool) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut received = Vec::new();
            while !after_a_line || !received.contains(&b'\n') {
                match stream.read_buf(&mut received).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) if !after_a_line => break,
                    Ok(_) => {}
                }
            }
            let _ = stream.write_all(says).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}
