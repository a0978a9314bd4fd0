//! One connection: strangers on the port, versions, pipelining, timeouts.

use std::time::Duration;

use bytes::Bytes;
use ottla::client::config::{ClientConfig, ClientKind};
use ottla::client::conn::{ConnectError, Connection, ConnectionOptions, Disconnect, RequestError};
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, ListGroupsRequest, ListGroupsResponse, MetadataRequest, MetadataResponse,
};

use super::fake_broker::{Action, Bound, Gate, metadata, stranger};

fn options() -> ConnectionOptions {
    let config = ClientConfig::with_servers(ClientKind::Admin, "127.0.0.1:1").expect("valid");
    ConnectionOptions::new(&config, "test")
}

async fn refused_as(says: &'static [u8], after_a_line: bool) -> ConnectError {
    let address = stranger(says, after_a_line).await;
    Connection::connect(address, &options()).await.expect_err("no broker")
}

#[tokio::test]
async fn strangers_on_the_port_are_recognised() {
    let disconnected = ConnectError::Disconnected;
    assert_eq!(refused_as(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await, disconnected(Disconnect::AnswersHttp));
    assert_eq!(refused_as(b"<!DOCTYPE HTML>", true).await, disconnected(Disconnect::AnswersHttp), "it waits for a line");
    assert_eq!(refused_as(&[0x15, 3, 3, 0, 2, 2, 40], false).await, disconnected(Disconnect::AnswersTls));
    assert_eq!(refused_as(b"", false).await, disconnected(Disconnect::ClosedAtOnce));
    assert_eq!(refused_as(b"SSH-2.0-OpenSSH\r\n", false).await, disconnected(Disconnect::NotKafka));
    assert_eq!(refused_as(&[0x7f, 0xff, 0xff, 0xff, 0, 0], false).await, disconnected(Disconnect::NotKafka));
    assert_eq!(refused_as(&[0xff, 0xff, 0xff, 0xff, 0, 0], false).await, disconnected(Disconnect::NotKafka));
}

#[tokio::test]
async fn an_old_broker_is_asked_in_old_versions() {
    let bound = Bound::new().await.api_versions_up_to(2).versions(ApiKey::Metadata, 0, 7);
    let port = bound.port();
    let broker = bound.on::<MetadataRequest>(move |_, _| Action::Answer(metadata(&[(1, port)], &[], 0))).start();
    let connection = Connection::connect(broker.address, &options()).await.expect("connects");
    connection.send(&MetadataRequest { topics: Some(Vec::new()), ..Default::default() }).await.expect("answered");
    let versions: Vec<(ApiKey, i16)> = broker.seen().iter().map(|seen| (seen.key, seen.version)).collect();
    assert_eq!(versions, [(ApiKey::ApiVersions, 4), (ApiKey::ApiVersions, 0), (ApiKey::Metadata, 7)]);
}

#[tokio::test]
async fn a_throttled_connection_sends_nothing_unless_the_broker_has_waited_itself() {
    for (version, throttled) in [(5, false), (6, true)] {
        let bound = Bound::new().await.versions(ApiKey::Metadata, 0, version);
        let port = bound.port();
        let throttle = move |_: MetadataRequest, _: i16| {
            Action::Answer(MetadataResponse { throttle_time_ms: 600_000, ..metadata(&[(1, port)], &[], 0) })
        };
        let broker = bound.on::<MetadataRequest>(throttle).start();
        let connection = Connection::connect(broker.address, &options()).await.expect("connects");
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        connection.send(&request).await.expect("answered");
        assert_eq!(connection.throttled_until().is_some(), throttled, "version {version}");
        let waiting = connection.start(&request).expect("queued");
        if throttled {
            connection.close();
            waiting.answer().await.expect_err("closed before it was sent");
        } else {
            waiting.answer().await.expect("answered");
        }
        assert_eq!(broker.requests::<MetadataRequest>().len(), if throttled { 1 } else { 2 });
    }
}

#[tokio::test]
async fn an_api_without_a_common_version_is_named() {
    let broker = Bound::new().await.versions(ApiKey::ListGroups, 100, 101).start();
    let connection = Connection::connect(broker.address, &options()).await.expect("connects");
    for error in [
        connection.send(&ListGroupsRequest::default()).await.expect_err("too new"),
        connection.send(&ListGroupsRequest { states_filter: vec!["Stable".to_owned()], ..Default::default() }).await.expect_err("too new"),
    ] {
        assert!(matches!(&error, RequestError::UnsupportedVersion { api: ApiKey::ListGroups, theirs: Some(_), .. }), "{error}");
        assert!(error.to_string().contains("ListGroups"), "{error}");
    }
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn a_request_that_an_old_version_cannot_carry_is_not_sent() {
    let broker = Bound::new().await.versions(ApiKey::ListGroups, 0, 3).start();
    let connection = Connection::connect(broker.address, &options()).await.expect("connects");
    let request = ListGroupsRequest { states_filter: vec!["Stable".to_owned()], ..Default::default() };
    let error = connection.send(&request).await.expect_err("states came with version 4");
    assert!(matches!(error, RequestError::Encode { api: ApiKey::ListGroups, version: 3, .. }), "{error}");
}

#[tokio::test]
async fn requests_are_pipelined_and_answers_find_their_askers() {
    let gate = Gate::new();
    let held = gate.clone();
    let broker = Bound::new()
        .await
        .on::<ListGroupsRequest>(move |_, _| Action::AnswerAfter(held.clone(), ListGroupsResponse { error_code: 7, ..Default::default() }))
        .on::<DescribeClusterRequest>(|_, _| Action::Answer(DescribeClusterResponse { cluster_id: "c".to_owned(), ..Default::default() }))
        .start();
    let connection = Connection::connect(broker.address, &options()).await.expect("connects");
    let first = connection.start(&ListGroupsRequest::default()).expect("queued");
    let second = connection.start(&DescribeClusterRequest::default()).expect("queued");
    broker.wait_for::<DescribeClusterRequest>(1).await;
    assert_eq!(connection.in_flight(), 2, "the second was sent although the first is not answered");
    gate.open();
    assert_eq!(second.answer().await.expect("answered").cluster_id, "c");
    assert_eq!(first.answer().await.expect("answered").error_code, 7);
}

#[tokio::test]
async fn a_request_that_times_out_ends_the_connection() {
    let broker = Bound::new().await.on::<ListGroupsRequest>(|_, _| Action::Silence).start();
    let mut options = options();
    options.request_timeout = Duration::from_millis(50);
    let connection = Connection::connect(broker.address, &options).await.expect("connects");
    let behind = connection.start_at(&ListGroupsRequest::default(), 5, Duration::from_secs(60), true).expect("queued");
    let error = connection.send(&ListGroupsRequest::default()).await.expect_err("no answer");
    assert!(matches!(error, RequestError::TimedOut { api: ApiKey::ListGroups, .. }), "{error}");
    let error = behind.answer().await.expect_err("the connection is gone");
    assert!(matches!(error, RequestError::Disconnected { reason: Disconnect::RequestTimedOut, .. }), "{error}");
    assert!(connection.start(&ListGroupsRequest::default()).is_err());
}

#[tokio::test]
async fn a_malformed_or_huge_answer_ends_the_connection() {
    let huge = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let unasked = Bytes::from_static(&[0, 0, 0, 4, 0, 0, 0, 0]);
    for (raw, expected) in [(huge, Disconnect::ResponseTooLarge { size: 0x7fff_ffff, max: 512 << 20 }), (unasked, Disconnect::NotKafka)] {
        let broker = Bound::new().await.on::<ListGroupsRequest>(move |_, _| Action::Raw(raw.clone())).start();
        let connection = Connection::connect(broker.address, &options()).await.expect("connects");
        match connection.send(&ListGroupsRequest::default()).await {
            Err(RequestError::Disconnected { reason, .. }) => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broker_that_hangs_up_at_the_first_request_may_want_a_login() {
    let broker = Bound::new().await.on::<ListGroupsRequest>(|_, _| Action::Close).start();
    let connection = Connection::connect(broker.address, &options()).await.expect("connects");
    let error = connection.send(&ListGroupsRequest::default()).await.expect_err("closed");
    assert!(matches!(error, RequestError::Disconnected { reason: Disconnect::ClosedAtFirstRequest, .. }), "{error}");
}
