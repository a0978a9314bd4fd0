//! One TCP connection to a broker: requests are pipelined, answers come to whoever asked.
//!
//! A writer task sends frames in the order of [`Connection::start`]; a reader task hands each response to the request with its
//! correlation id. Before anything else the connection asks for ApiVersions, and every request then goes out at the highest version
//! that both sides speak. A request that times out closes the connection, because the answers behind it are late too.
//!
//! Invariants: requests leave in the order in which `start` was called, none before the time is over that the broker throttles
//! this connection for. A closed connection answers every request, pending or new, with
//! the reason. No response makes the reader allocate more than has arrived plus a megabyte.
//!
//! Sources: `NetworkClient`, `InFlightRequests`; KIP-35, KIP-511 (ApiVersions), KIP-219 (throttling).

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::config::ClientConfig;
use crate::protocol::api_key::ApiKey;
use crate::protocol::codec::{Chunk, DecodeError, EncodeError, Message, Reader, Request, VersionRange};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::frame::{Frame, encode_request};
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

/// The first correlation id. As bytes it is two line ends, so that a server of a line-based protocol such as HTTP takes the first
/// request for a finished (and bad) one and answers at once, instead of waiting for a line end until somebody's patience is over.
const FIRST_CORRELATION_ID: i32 = 0x0d0a_0d0a;

/// How much a frame that has been announced, but has not arrived, may make the reader allocate at a time.
const READ_AHEAD: usize = 1 << 20;

/// What this client calls itself (KIP-511).
pub(super) const SOFTWARE_NAME: &str = "ottla";

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    pub client_id: String,
    /// From the first packet to the answer to ApiVersions.
    pub setup_timeout: Duration,
    /// From sending a request to its answer.
    pub request_timeout: Duration,
    /// `None` leaves the operating system to size the socket's buffers.
    pub send_buffer: Option<u32>,
    pub receive_buffer: Option<u32>,
    /// A longer response closes the connection.
    pub max_response_bytes: usize,
}

/// How long a first connection may take unless `socket.connection.setup.timeout.ms` says otherwise. Kafka's default is 10 s.
const SETUP_TIMEOUT: Duration = Duration::from_secs(5);

impl ConnectionOptions {
    pub fn new(config: &ClientConfig, client_id: &str) -> ConnectionOptions {
        // Kafka's defaults for the buffers are smaller than what a kernel that sizes them itself arrives at.
        let buffer = |key: &str| config.is_set(key).then(|| config.int(key)).and_then(|size| u32::try_from(size).ok());
        ConnectionOptions {
            client_id: config.client_id(client_id),
            setup_timeout: match config.is_set("socket.connection.setup.timeout.ms") {
                true => config.millis("socket.connection.setup.timeout.ms"),
                false => SETUP_TIMEOUT,
            },
            request_timeout: config.millis("request.timeout.ms"),
            send_buffer: buffer("send.buffer.bytes"),
            receive_buffer: buffer("receive.buffer.bytes"),
            max_response_bytes: 512 << 20,
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disconnect {
    #[error("answers HTTP, not Kafka")]
    AnswersHttp,
    #[error("answers TLS: set security.protocol=SSL")]
    AnswersTls,
    #[error("closed the connection at once: perhaps it wants TLS (security.protocol=SSL) or is no Kafka broker")]
    ClosedAtOnce,
    #[error("closed the connection at the first request: perhaps it wants a login (security.protocol=SASL_PLAINTEXT)")]
    ClosedAtFirstRequest,
    #[error("closed the connection")]
    ClosedByPeer,
    #[error("answers something that is not Kafka's protocol")]
    NotKafka,
    #[error("sent a response of {size} bytes; at most {max} are read")]
    ResponseTooLarge { size: usize, max: usize },
    #[error("{0}")]
    Io(String),
    #[error("a request timed out")]
    RequestTimedOut,
    #[error("the connection was closed on this side")]
    ClosedHere,
}

/// Why no connection came to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("the name cannot be resolved: {0}")]
    Resolve(String),
    #[error("{0}")]
    Io(String),
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("{0}")]
    Disconnected(Disconnect),
    /// The broker answered ApiVersions with an error.
    #[error("{}", .0.message())]
    Refused(ErrorCode),
    #[error("answers something that is not Kafka's protocol: {0}")]
    Malformed(DecodeError),
}

impl ConnectError {
    /// Would the same attempt end the same way? True when something answered, but not a broker this client can talk to.
    fn is_final(&self) -> bool {
        match self {
            ConnectError::Disconnected(reason) => {
                matches!(reason, Disconnect::AnswersHttp | Disconnect::AnswersTls | Disconnect::NotKafka | Disconnect::ClosedAtOnce)
            }
            ConnectError::Malformed(_) => true,
            ConnectError::Resolve(_) | ConnectError::Io(_) | ConnectError::TimedOut(_) | ConnectError::Refused(_) => false,
        }
    }
}

/// One address that was tried in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectFailure {
    /// As it was written or announced: `host:port`.
    pub server: String,
    /// What the name resolved to.
    pub address: Option<SocketAddr>,
    pub error: ConnectError,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) if address.to_string() != self.server => write!(f, "{} ({}): {}", self.server, address.ip(), self.error),
            _ => write!(f, "{}: {}", self.server, self.error),
        }
    }
}

/// Every address that was tried, and why it did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConnectFailures {
    /// Not empty.
    pub failures: Vec<ConnectFailure>,
}

impl ConnectFailures {
    /// Did all addresses fail for a reason that time will not change?
    pub fn is_final(&self) -> bool {
        self.failures.iter().all(|failure| failure.error.is_final())
    }
}

impl fmt::Display for ConnectFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("could not connect to ")?;
        for (number, failure) in self.failures.iter().enumerate() {
            write!(f, "{}{failure}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Why a request got no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("{peer} {reason}")]
    Disconnected { peer: SocketAddr, reason: Disconnect },
    #[error("{peer} did not answer {} within {} ms", api.name(), timeout.as_millis())]
    TimedOut { peer: SocketAddr, api: ApiKey, timeout: Duration },
    #[error("the broker {peer} does not support {} at any version this client speaks ({}){}", api.name(), Versions(*ours), Offered(*theirs))]
    UnsupportedVersion { peer: SocketAddr, api: ApiKey, ours: VersionRange, theirs: Option<VersionRange> },
    /// The request says something that the version both sides speak cannot say.
    #[error("the broker speaks {} version {version}, which cannot carry this request: {error}", api.name())]
    Encode { api: ApiKey, version: i16, error: EncodeError },
    #[error("{peer} answered {} with something malformed: {error}", api.name())]
    Decode { peer: SocketAddr, api: ApiKey, error: DecodeError },
}

struct Versions(VersionRange);

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.0.min, self.0.max)
    }
}

struct Offered(Option<VersionRange>);

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |range| write!(f, "; it speaks {}", Versions(range)))
    }
}

/// What a broker says it serves.
#[derive(Clone, Debug, Default)]
pub struct ServedApis {
    ranges: HashMap<i16, VersionRange>,
    /// Finalized feature levels, for example `metadata.version`.
    pub finalized_features: HashMap<String, i16>,
    /// Of the finalized levels: grows with each change; -1 when the broker does not know.
    pub finalized_features_epoch: i64,
}

impl ServedApis {
    fn from_response(response: &ApiVersionsResponse) -> ServedApis {
        ServedApis {
            ranges: response.api_keys.iter().map(|api| (api.api_key, VersionRange::new(api.min_version, api.max_version))).collect(),
            finalized_features: response.finalized_features.iter().map(|it| (it.name.clone(), it.max_version_level)).collect(),
            finalized_features_epoch: response.finalized_features_epoch,
        }
    }

    pub fn range(&self, key: ApiKey) -> Option<VersionRange> {
        self.ranges.get(&key.code()).copied()
    }

    pub fn serves(&self, key: ApiKey) -> bool {
        self.range(key).is_some()
    }

    /// The highest version of `key` within `ours` that the broker speaks.
    pub fn highest_common(&self, key: ApiKey, ours: VersionRange) -> Option<i16> {
        let theirs = self.range(key)?;
        let highest = ours.max.min(theirs.max);
        (highest >= ours.min.max(theirs.min)).then_some(highest)
    }
}

type Answer = Result<Bytes, Disconnect>;

struct Outgoing {
    chunks: Vec<Bytes>,
    /// Told when the frame is with the operating system; for requests that have no answer.
    written: Option<oneshot::Sender<Answer>>,
}

struct State {
    next_correlation_id: i32,
    pending: HashMap<i32, oneshot::Sender<Answer>>,
    /// Responses received so far.
    responses: u64,
    /// Nothing is sent before this (KIP-219).
    throttled_until: Option<Instant>,
    closed: Option<Disconnect>,
}

/// What the handle and both tasks share.
struct Shared {
    state: Mutex<State>,
    shutdown: watch::Sender<bool>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so it is never poisoned with a broken state.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn throttled_until(&self) -> Option<Instant> {
        self.state().throttled_until.filter(|until| *until > Instant::now())
    }

    /// Sends nothing for as long as a broker wants; a longer time that was asked for before stays.
    fn throttle(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let mut state = self.state();
        state.throttled_until = Some(state.throttled_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// Ends the connection; the first reason stays.
    fn close(&self, reason: Disconnect) {
        let pending = {
            let mut state = self.state();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(reason.clone());
            std::mem::take(&mut state.pending)
        };
        for sender in pending.into_values() {
            // Whoever gave up waiting needs no answer.
            let _ = sender.send(Err(reason.clone()));
        }
        self.shutdown.send_replace(true);
    }
}

struct Handle {
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    peer: SocketAddr,
    served: ServedApis,
    options: ConnectionOptions,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(Disconnect::ClosedHere);
    }
}

/// A handle on a connection; the connection closes when the last handle is dropped.
#[derive(Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.handle.peer).field("closed", &self.closed()).finish()
    }
}

/// A request on its way.
#[must_use = "the answer is lost unless it is waited for"]
pub struct Pending<R: Request> {
    connection: Connection,
    receiver: oneshot::Receiver<Answer>,
    version: i16,
    deadline: Instant,
    timeout: Duration,
    has_answer: bool,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Pending<R> {
    /// The version that was chosen.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The answer. A request without one gives its response's default as soon as it is with the operating system.
    pub async fn answer(self) -> Result<R::Response, RequestError> {
        let peer = self.connection.handle.peer;
        let answer = match timeout_at(self.deadline, self.receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.connection.closed().unwrap_or(Disconnect::ClosedHere)),
            Err(_) => {
                self.connection.handle.shared.close(Disconnect::RequestTimedOut);
                return Err(RequestError::TimedOut { peer, api: R::KEY, timeout: self.timeout });
            }
        };
        let bytes = answer.map_err(|reason| RequestError::Disconnected { peer, reason })?;
        if !self.has_answer {
            return Ok(R::Response::default());
        }
        let response = decode_response::<R>(bytes, self.version).map_err(|error| {
            self.connection.handle.shared.close(Disconnect::NotKafka);
            RequestError::Decode { peer, api: R::KEY, error }
        })?;
        if let Ok(millis @ 1..) = u64::try_from(response.throttle_time_ms())
            && self.version >= first_throttled_version(R::KEY)
        {
            tracing::debug!(%peer, api = R::KEY.name(), millis, "throttled");
            self.connection.handle.shared.throttle(Duration::from_millis(millis));
        }
        Ok(response)
    }
}

/// The first version of an API whose throttle time is the client's to wait out; before it the broker has waited already (KIP-219).
/// Source: `shouldClientThrottle` of each response.
fn first_throttled_version(api: ApiKey) -> i16 {
    match api {
        ApiKey::Fetch => 8,
        ApiKey::Metadata | ApiKey::Produce => 6,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 4,
        ApiKey::CreateTopics | ApiKey::JoinGroup | ApiKey::ListOffsets => 3,
        ApiKey::ApiVersions
        | ApiKey::DeleteTopics
        | ApiKey::DescribeConfigs
        | ApiKey::DescribeGroups
        | ApiKey::FindCoordinator
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::ListGroups
        | ApiKey::SyncGroup => 2,
        ApiKey::AddOffsetsToTxn
        | ApiKey::AddPartitionsToTxn
        | ApiKey::AlterConfigs
        | ApiKey::AlterReplicaLogDirs
        | ApiKey::CreateAcls
        | ApiKey::CreateDelegationToken
        | ApiKey::CreatePartitions
        | ApiKey::DeleteAcls
        | ApiKey::DeleteGroups
        | ApiKey::DeleteRecords
        | ApiKey::DescribeAcls
        | ApiKey::DescribeDelegationToken
        | ApiKey::DescribeLogDirs
        | ApiKey::EndTxn
        | ApiKey::ExpireDelegationToken
        | ApiKey::InitProducerId
        | ApiKey::RenewDelegationToken
        | ApiKey::TxnOffsetCommit => 1,
        ApiKey::AlterPartitionReassignments
        | ApiKey::AlterUserScramCredentials
        | ApiKey::BrokerHeartbeat
        | ApiKey::BrokerRegistration
        | ApiKey::DescribeTopicPartitions
        | ApiKey::DescribeUserScramCredentials
        | ApiKey::ElectLeaders
        | ApiKey::IncrementalAlterConfigs
        | ApiKey::ListPartitionReassignments
        | ApiKey::OffsetDelete
        | ApiKey::UnregisterBroker => 0,
        // The rest say a time that nobody is asked to wait.
        _ => i16::MAX,
    }
}

/// The body of a response whose correlation id has been read.
fn decode_response<R: Request>(bytes: Bytes, version: i16) -> Result<R::Response, DecodeError> {
    let mut reader = Reader::new(bytes);
    if R::KEY.response_header_version(version) >= 1 {
        reader.tagged_fields(&mut Default::default(), |_, _| Ok(false))?;
    }
    R::Response::from_bytes(reader.into_rest(), version)
}

impl Connection {
    /// Connects to one address and negotiates versions.
    pub async fn connect(address: SocketAddr, options: &ConnectionOptions) -> Result<Connection, ConnectError> {
        let limit = options.setup_timeout;
        match timeout(limit, Connection::set_up(address, options)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut(limit)),
        }
    }

    async fn set_up(address: SocketAddr, options: &ConnectionOptions) -> Result<Connection, ConnectError> {
        let stream = open(address, options).await.map_err(|error| ConnectError::Io(reason(&error)))?;
        let (read_half, write_half) = stream.into_split();
        let (shutdown, stopped) = watch::channel(false);
        let state =
            State { next_correlation_id: FIRST_CORRELATION_ID, pending: HashMap::new(), responses: 0, throttled_until: None, closed: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), shutdown });
        let (outgoing, queue) = mpsc::unbounded_channel();
        tokio::spawn(write_frames(write_half, queue, Arc::clone(&shared), stopped.clone()));
        tokio::spawn(read_frames(read_half, Arc::clone(&shared), stopped, options.max_response_bytes));
        let mut handle = Handle { shared, outgoing, peer: address, served: ServedApis::default(), options: options.clone() };
        handle.served = negotiate(&handle).await?;
        Ok(Connection { handle: Arc::new(handle) })
    }

    /// The broker's address.
    pub fn peer(&self) -> SocketAddr {
        self.handle.peer
    }

    /// What the broker serves.
    pub fn served(&self) -> &ServedApis {
        &self.handle.served
    }

    /// Why the connection ended, if it did.
    pub fn closed(&self) -> Option<Disconnect> {
        self.handle.shared.state().closed.clone()
    }

    pub fn is_closed(&self) -> bool {
        self.handle.shared.state().closed.is_some()
    }

    /// Until when the broker wants no more requests; those that are queued wait for as long.
    pub fn throttled_until(&self) -> Option<Instant> {
        self.handle.shared.throttled_until()
    }

    /// Requests without an answer so far.
    pub fn in_flight(&self) -> usize {
        self.handle.shared.state().pending.len()
    }

    /// Ends the connection and every request on it.
    pub fn close(&self) {
        self.handle.shared.close(Disconnect::ClosedHere);
    }

    /// The version at which a request would go out.
    pub fn version_of<R: Request>(&self) -> Result<i16, RequestError> {
        self.version_up_to::<R>(i16::MAX)
    }

    /// As [`Connection::version_of`], for a caller who cannot use what versions above `max` want.
    pub fn version_up_to<R: Request>(&self, max: i16) -> Result<i16, RequestError> {
        let mut ours = R::KEY.versions();
        ours.max = ours.max.min(max);
        let served = &self.handle.served;
        served.highest_common(R::KEY, ours).ok_or_else(|| RequestError::UnsupportedVersion {
            peer: self.handle.peer,
            api: R::KEY,
            ours,
            theirs: served.range(R::KEY),
        })
    }

    /// Sends a request at the highest common version and waits for its answer, `request.timeout.ms` at most.
    pub async fn send<R: Request>(&self, request: &R) -> Result<R::Response, RequestError> {
        self.start(request)?.answer().await
    }

    /// As [`Connection::send`], at a version the caller chose.
    pub async fn send_at<R: Request>(&self, request: &R, version: i16) -> Result<R::Response, RequestError> {
        self.start_at(request, version, self.handle.options.request_timeout, true)?.answer().await
    }

    /// As [`Connection::send`], with a time limit of its own: for requests that the broker holds back on purpose.
    pub async fn send_within<R: Request>(&self, request: &R, limit: Duration) -> Result<R::Response, RequestError> {
        self.start_at(request, self.version_of::<R>()?, limit, true)?.answer().await
    }

    /// Queues a request; requests leave in the order of these calls.
    pub fn start<R: Request>(&self, request: &R) -> Result<Pending<R>, RequestError> {
        self.start_at(request, self.version_of::<R>()?, self.handle.options.request_timeout, true)
    }

    /// Queues a request at a version the caller chose (with [`Connection::version_of`] or below it).
    /// `has_answer` is false for a Produce request with `acks=0`, which the broker does not answer.
    pub fn start_at<R: Request>(&self, request: &R, version: i16, limit: Duration, has_answer: bool) -> Result<Pending<R>, RequestError> {
        let receiver = queue(&self.handle, request, version, has_answer)?;
        Ok(Pending {
            connection: self.clone(),
            receiver,
            version,
            deadline: self.throttled_until().unwrap_or_else(Instant::now) + limit,
            timeout: limit,
            has_answer,
            request: PhantomData,
        })
    }
}

/// Gives the request its correlation id and its place in the queue.
fn queue<R: Request>(handle: &Handle, request: &R, version: i16, has_answer: bool) -> Result<oneshot::Receiver<Answer>, RequestError> {
    let encode = |error| RequestError::Encode { api: R::KEY, version, error };
    // The header is encoded with a placeholder, since the id is only known under the lock, and encoding takes long.
    let frame = encode_request(0, Some(&handle.options.client_id), request, version).map_err(encode)?;
    let mut chunks = in_memory(frame).map_err(encode)?;
    let (sender, receiver) = oneshot::channel();
    let mut state = handle.shared.state();
    if let Some(reason) = &state.closed {
        return Err(RequestError::Disconnected { peer: handle.peer, reason: reason.clone() });
    }
    let correlation_id = state.next_correlation_id;
    state.next_correlation_id = correlation_id.wrapping_add(1) & i32::MAX;
    if let Some(first) = chunks.first_mut() {
        set_correlation_id(first, correlation_id);
    }
    let written = if has_answer {
        state.pending.insert(correlation_id, sender);
        None
    } else {
        Some(sender)
    };
    // The receiver ends only after `closed` is set, which was checked under this lock.
    let _ = handle.outgoing.send(Outgoing { chunks, written });
    Ok(receiver)
}

/// A frame's pieces; a client has no records in files.
fn in_memory(frame: Frame) -> Result<Vec<Bytes>, EncodeError> {
    let pieces = frame.chunks.into_iter().map(|chunk| match chunk {
        Chunk::Bytes(bytes) => Ok(bytes),
        Chunk::File(slice) => Err(EncodeError::TooLong(slice.len)),
    });
    pieces.collect()
}

/// The id stands behind the length (4 bytes), the API key and the version (2 each).
fn set_correlation_id(frame: &mut Bytes, id: i32) {
    let mut bytes = std::mem::take(frame).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    if let Some(place) = bytes.get_mut(8..12) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    *frame = bytes.freeze();
}

async fn open(address: SocketAddr, options: &ConnectionOptions) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An I/O error without the operating system's number.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}

/// Learns what the broker serves. Brokers before a version of ApiVersions answer with version 0 and an error; those since Kafka 2.4
/// say in it which versions they would understand.
async fn negotiate(handle: &Handle) -> Result<ServedApis, ConnectError> {
    let request = ApiVersionsRequest {
        client_software_name: SOFTWARE_NAME.to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    let mut version = ApiVersionsRequest::VERSIONS.max;
    loop {
        let receiver = queue(handle, &request, version, true).map_err(|error| match error {
            RequestError::Disconnected { reason, .. } => ConnectError::Disconnected(reason),
            other => ConnectError::Io(other.to_string()),
        })?;
        let bytes = match receiver.await {
            Ok(answer) => answer.map_err(ConnectError::Disconnected)?,
            Err(_) => return Err(ConnectError::Disconnected(Disconnect::ClosedHere)),
        };
        let code = Reader::new(bytes.clone()).i16().map_err(ConnectError::Malformed)?;
        let unsupported = ErrorCode::from_code(code) == ErrorCode::UnsupportedVersion;
        let read_as = if unsupported { 0 } else { version };
        let response = decode_response::<ApiVersionsRequest>(bytes, read_as).map_err(ConnectError::Malformed)?;
        let served = ServedApis::from_response(&response);
        match ErrorCode::from_code(code) {
            ErrorCode::None => return Ok(served),
            ErrorCode::UnsupportedVersion if version > 0 => {
                let common = served.highest_common(ApiKey::ApiVersions, ApiVersionsRequest::VERSIONS);
                version = common.filter(|common| *common < version).unwrap_or(0);
            }
            code => return Err(ConnectError::Refused(code)),
        }
    }
}

async fn write_frames(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let next = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            next = queue.recv() => next,
        };
        let Some(Outgoing { mut chunks, written }) = next else { return };
        while let Some(until) = shared.throttled_until() {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = sleep_until(until) => {}
            }
        }
        let result = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            result = write_all(&mut socket, &mut chunks) => result,
        };
        match result {
            Ok(()) => {
                if let Some(written) = written {
                    let _ = written.send(Ok(Bytes::new()));
                }
            }
            Err(error) => {
                // The reader may find the better reason (a TLS alert, an HTTP answer) in what the peer sent before it closed.
                if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                    shared.close(Disconnect::Io(reason(&error)));
                }
                return;
            }
        }
    }
}

async fn write_all(socket: &mut OwnedWriteHalf, chunks: &mut [Bytes]) -> io::Result<()> {
    let mut rest = chunks;
    while !rest.is_empty() {
        if rest[0].is_empty() {
            rest = &mut rest[1..];
            continue;
        }
        let slices: Vec<IoSlice<'_>> = rest.iter().take(64).map(|chunk| IoSlice::new(chunk)).collect();
        let mut written = socket.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        for chunk in rest.iter_mut() {
            let part = written.min(chunk.len());
            chunk.advance(part);
            written -= part;
            if written == 0 {
                break;
            }
        }
    }
    Ok(())
}

async fn read_frames(mut socket: OwnedReadHalf, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>, max: usize) {
    let reason = tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => return,
        reason = read_until_closed(&mut socket, &shared, max) => reason,
    };
    shared.close(reason);
}

async fn read_until_closed(socket: &mut OwnedReadHalf, shared: &Shared, max: usize) -> Disconnect {
    let mut buffer = BytesMut::new();
    loop {
        if let Err(end) = fill(socket, &mut buffer, 4).await {
            return closed_by_peer(shared, &buffer, end);
        }
        let responses = shared.state().responses;
        if responses == 0
            && let Some(stranger) = recognise(&buffer)
        {
            return stranger;
        }
        let size = match usize::try_from(buffer.get_i32()) {
            Ok(size) if size >= 4 => size,
            _ => return Disconnect::NotKafka,
        };
        if size > max {
            return if responses == 0 { Disconnect::NotKafka } else { Disconnect::ResponseTooLarge { size, max } };
        }
        if let Err(end) = fill(socket, &mut buffer, size).await {
            return closed_by_peer(shared, &buffer, end);
        }
        let mut frame = buffer.split_to(size).freeze();
        let correlation_id = frame.get_i32();
        let sender = {
            let mut state = shared.state();
            state.responses += 1;
            state.pending.remove(&correlation_id)
        };
        match sender {
            Some(sender) => {
                let _ = sender.send(Ok(frame));
            }
            None => return Disconnect::NotKafka,
        }
    }
}

/// Reads until `buffer` holds `wanted` bytes.
async fn fill(socket: &mut OwnedReadHalf, buffer: &mut BytesMut, wanted: usize) -> Result<(), io::Result<()>> {
    while buffer.len() < wanted {
        let missing = wanted - buffer.len();
        buffer.reserve(missing.clamp(16 << 10, READ_AHEAD));
        match socket.read_buf(buffer).await {
            Ok(0) => return Err(Ok(())),
            Ok(_) => {}
            Err(error) => return Err(Err(error)),
        }
    }
    Ok(())
}

fn closed_by_peer(shared: &Shared, received: &[u8], end: io::Result<()>) -> Disconnect {
    match (shared.state().responses, end) {
        (0, _) if !received.is_empty() => recognise(received).unwrap_or(Disconnect::NotKafka),
        (0, _) => Disconnect::ClosedAtOnce,
        (1, _) => Disconnect::ClosedAtFirstRequest,
        (_, Ok(())) => Disconnect::ClosedByPeer,
        (_, Err(error)) => Disconnect::Io(reason(&error)),
    }
}

/// Tells other protocols by the first bytes of their answer.
fn recognise(first: &[u8]) -> Option<Disconnect> {
    let text = first[..first.len().min(4)].to_ascii_uppercase();
    match text.as_slice() {
        b"HTTP" | b"<!DO" | b"<HTM" => Some(Disconnect::AnswersHttp),
        // A record of type alert or handshake, of TLS 1.x or SSL 3.
        [0x15 | 0x16, 0x03, ..] => Some(Disconnect::AnswersTls),
        _ => None,
    }
}
