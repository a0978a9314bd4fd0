//! What a tool says when there is no broker, or something else, where it looks for one.

use tokio::net::TcpListener;

use super::call;
use crate::client::fake_broker::stranger;

async fn listing(server: &str) -> String {
    let line = format!("kafka-topics --list --bootstrap-server {server}");
    let transcript = call(&line).transcript().await;
    transcript.strip_prefix(&format!("$ {line}\n")).expect("the line").to_owned()
}

#[tokio::test]
async fn an_http_server_is_recognised() {
    let address = stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await;
    assert_eq!(
        listing(&address.to_string()).await,
        format!("! kafka-topics: could not connect to {address}: answers HTTP, not Kafka\nexit code 1\n")
    );
}

#[tokio::test]
async fn a_tls_server_is_recognised() {
    let address = stranger(b"\x15\x03\x03\x00\x02\x02\x46", false).await;
    assert_eq!(
        listing(&address.to_string()).await,
        format!("! kafka-topics: could not connect to {address}: answers TLS: set security.protocol=SSL\nexit code 1\n")
    );
}

#[tokio::test]
async fn a_closed_port_is_named_with_every_other_address() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port").local_addr().expect("bound");
    assert_eq!(
        listing(&format!("{free},127.0.0.1:1")).await,
        format!(
            "! kafka-topics: could not connect to {free}: connection refused; 127.0.0.1:1: connection refused; is a broker running there?\n\
             exit code 1\n"
        )
    );
}

#[tokio::test]
async fn addresses_are_hosts_and_ports() {
    assert_eq!(
        listing("localhost").await,
        "! kafka-topics: Invalid url in bootstrap.servers: localhost; addresses are HOST:PORT, as in localhost:9092, with commas between \
         them\nexit code 1\n"
    );
}
