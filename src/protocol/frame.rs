//! Frames: a 4-byte length, a header, a message. Source: the protocol guide; KIP-482 for header versions.

use bytes::Bytes;

use super::api_key::ApiKey;
use super::codec::{Chunk, DecodeError, EncodeError, Message, Reader, Request, Writer};
use super::messages::{RequestHeader, ResponseHeader};

/// A whole frame, length included, ready for the socket.
#[derive(Debug, Clone)]
pub struct Frame {
    pub chunks: Vec<Chunk>,
}

impl Frame {
    fn of(writer: Writer) -> Result<Frame, EncodeError> {
        let len = writer.len();
        let len = i32::try_from(len).map_err(|_| EncodeError::TooLong(len))?;
        let mut chunks = vec![Chunk::Bytes(Bytes::copy_from_slice(&len.to_be_bytes()))];
        let mut parts = writer.finish();
        // The length joins the first piece of memory, so that a small frame is one write.
        if let Some(Chunk::Bytes(first)) = parts.first_mut() {
            let mut joined = Vec::with_capacity(4 + first.len());
            joined.extend_from_slice(&len.to_be_bytes());
            joined.extend_from_slice(first);
            *first = joined.into();
            chunks.clear();
        }
        chunks.append(&mut parts);
        Ok(Frame { chunks })
    }

    /// The frame's size in bytes.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Chunk::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame in one piece, without records that lie in files.
    pub fn to_bytes(&self) -> Bytes {
        let mut all = Vec::with_capacity(self.len());
        for chunk in &self.chunks {
            if let Chunk::Bytes(bytes) = chunk {
                all.extend_from_slice(bytes);
            }
        }
        all.into()
    }
}

/// A request's frame.
pub fn encode_request<R: Request>(correlation_id: i32, client_id: Option<&str>, request: &R, version: i16) -> Result<Frame, EncodeError> {
    let header = RequestHeader {
        request_api_key: R::KEY.code(),
        request_api_version: version,
        correlation_id,
        client_id: client_id.map(str::to_owned),
        ..RequestHeader::default()
    };
    let mut writer = Writer::new();
    header.encode(&mut writer, R::KEY.request_header_version(version))?;
    request.encode(&mut writer, version)?;
    Frame::of(writer)
}

/// A response's frame.
pub fn encode_response<M: Message>(correlation_id: i32, key: ApiKey, response: &M, version: i16) -> Result<Frame, EncodeError> {
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    let mut writer = Writer::new();
    header.encode(&mut writer, key.response_header_version(version))?;
    response.encode(&mut writer, version)?;
    Frame::of(writer)
}

/// Reads the header of a request from a frame without its length. An API key that this code does not know is read as far as the
/// header's fixed part goes, so that the caller can say which it was.
pub fn decode_request_header(reader: &mut Reader) -> Result<RequestHeader, DecodeError> {
    let mut ahead = reader.clone();
    let (key, version) = (ahead.i16()?, ahead.i16()?);
    let header_version = ApiKey::from_code(key).map_or(1, |key| key.request_header_version(version));
    RequestHeader::decode(reader, header_version)
}

/// Reads the header of a response to a request of this key and version from a frame without its length.
pub fn decode_response_header(reader: &mut Reader, key: ApiKey, version: i16) -> Result<ResponseHeader, DecodeError> {
    ResponseHeader::decode(reader, key.response_header_version(version))
}

#[cfg(test)]
mod tests {
    use super::super::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
    use super::*;

    #[test]
    fn a_request_is_read_back() {
        for version in 0..=13 {
            let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
            let frame = encode_request(7, Some("me"), &request, version).expect("encodes").to_bytes();
            assert_eq!(frame.len(), 4 + i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize);
            let mut reader = Reader::new(frame.slice(4..));
            let header = decode_request_header(&mut reader).expect("a header");
            assert_eq!((header.correlation_id, header.client_id.as_deref()), (7, Some("me")));
            assert_eq!(MetadataRequest::decode(&mut reader, version), Ok(request));
            assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn the_header_of_an_api_versions_response_is_never_flexible() {
        let response = ApiVersionsResponse::default();
        let frame = encode_response(7, ApiKey::ApiVersions, &response, 4).expect("encodes").to_bytes();
        assert_eq!(&frame[4..10], &[0, 0, 0, 7, 0, 0], "correlation id, then at once the error code");
        assert_eq!(ApiKey::ApiVersions.request_header_version(4), 2);
        assert_eq!(ApiVersionsRequest::KEY, ApiKey::ApiVersions);
    }
}
