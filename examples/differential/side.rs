//! One of the two brokers: its connections, its variables, its versions.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::codec::{Message, Reader, Writer};
use ottla::protocol::frame;
use ottla::protocol::messages::RequestHeader;
use serde_json::{Value, json};

use crate::compare::Names;
use crate::message::Messages;
use crate::scenario;

/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Side<'a> {
    messages: &'a Messages,
    port: u16,
    connections: BTreeMap<String, Connection>,
    pub(crate) variables: BTreeMap<String, Value>,
    pub(crate) names: Names,
    /// Key -> lowest and highest version, from ApiVersions.
    pub(crate) served: BTreeMap<i16, (i16, i16)>,
}

struct Connection {
    stream: TcpStream,
    /// API and version of the request that is under way.
    waiting: Option<(ApiKey, i16)>,
}

impl<'a> Side<'a> {
    /// `PORT=DIRECTORY` of a broker on this host.
    pub(crate) fn new(messages: &'a Messages, place: &str) -> Result<Side<'a>, String> {
        let (port, directory) = place.split_once('=').ok_or("PORT=DIRECTORY is wanted")?;
        let port = port.parse().map_err(|_| format!("not a port: {port}"))?;
        let mut side = Side {
            messages,
            port,
            connections: BTreeMap::new(),
            variables: BTreeMap::new(),
            names: Names::new(port, directory),
            served: BTreeMap::new(),
        };
        let answer = side.ask("main", "ApiVersions", 0, &json!({}))?;
        for api in answer["apiKeys"].as_array().ok_or("no API versions")? {
            let number = |name: &str| api[name].as_i64().unwrap_or(-1) as i16;
            side.served.insert(number("apiKey"), (number("minVersion"), number("maxVersion")));
        }
        Ok(side)
    }

    fn ask(&mut self, connection: &str, api: &str, version: i16, body: &Value) -> Result<Value, String> {
        self.send(connection, api, version, body)?;
        self.receive(connection)
    }

    /// Sends a request with this side's variables put in.
    pub(crate) fn send(&mut self, connection: &str, api: &str, version: i16, body: &Value) -> Result<(), String> {
        let key = api_key(api).ok_or_else(|| format!("no API {api}"))?;
        self.variables.insert("version".to_owned(), json!(version));
        let body = scenario::substitute(body, &self.variables)?;
        let body = self.messages.encode(&format!("{api}Request"), version, &body)?;
        let header = RequestHeader {
            request_api_key: key.code(),
            request_api_version: version,
            correlation_id: 7,
            client_id: Some("differential".to_owned()),
            ..RequestHeader::default()
        };
        let mut writer = Writer::new();
        header.encode(&mut writer, key.request_header_version(version)).map_err(|error| error.to_string())?;
        writer.raw(&body);
        let frame = writer.into_bytes();
        if !self.connections.contains_key(connection) {
            let stream = TcpStream::connect(("localhost", self.port)).map_err(|error| format!("port {}: {error}", self.port))?;
            stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_nodelay(true)).map_err(|error| error.to_string())?;
            self.connections.insert(connection.to_owned(), Connection { stream, waiting: None });
        }
        let Some(open) = self.connections.get_mut(connection) else { return Err(format!("no connection {connection}")) };
        if open.waiting.is_some() {
            return Err(format!("an answer on connection {connection} has not been received"));
        }
        open.waiting = Some((key, version));
        let mut whole = (frame.len() as u32).to_be_bytes().to_vec();
        whole.extend_from_slice(&frame);
        // A connection that is closed meanwhile says so when the answer is read.
        let _ = open.stream.write_all(&whole);
        Ok(())
    }

    /// The answer to what was sent. A closed connection and silence are answers too.
    pub(crate) fn receive(&mut self, connection: &str) -> Result<Value, String> {
        let open = self.connections.get_mut(connection).ok_or_else(|| format!("no connection {connection}"))?;
        let (key, version) = open.waiting.take().ok_or_else(|| format!("nothing was sent on connection {connection}"))?;
        let frame = match read_frame(&mut open.stream) {
            Ok(frame) => frame,
            Err(error) => {
                self.connections.remove(connection);
                let silence = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                return Ok(json!({"connection": if silence { "silent" } else { "closed" }}));
            }
        };
        let mut reader = Reader::new(frame);
        frame::decode_response_header(&mut reader, key, version).map_err(|error| error.to_string())?;
        let name = format!("{}Response", key.name());
        let body = reader.into_rest();
        // ApiVersions answers in version 0 what it does not know.
        let known = self.messages.message(&name)?.versions;
        let version = if key == ApiKey::ApiVersions && version > known.max { 0 } else { version };
        self.messages.decode(&name, version, body).map_err(|error| format!("{name} version {version} of port {}: {error}", self.port))
    }

    /// No answer is expected to what was sent.
    pub(crate) fn no_answer(&mut self, connection: &str) {
        if let Some(open) = self.connections.get_mut(connection) {
            open.waiting = None;
        }
    }

    pub(crate) fn close(&mut self, connection: &str) {
        self.connections.remove(connection);
    }
}

pub(crate) fn api_key(name: &str) -> Option<ApiKey> {
    (0..=i16::from(u8::MAX)).filter_map(ApiKey::from_code).find(|key| key.name() == name)
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Bytes> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}
