//! Starting `ottla serve`, and what it says when it cannot.

use std::process::Output;

use super::*;

/// Runs `ottla serve` where it must fail, and gives what it said.
fn fails(options: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(options).env("KAFKA_LOG", "off").output().expect("it runs");
    let stderr = String::from_utf8(stderr).expect("text");
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stdout, b"");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let error = fails(&["--ephemeral", "--listen", &address]);
    assert!(error.contains(&address) && error.contains("in use"), "{error}");
}

#[test]
fn a_directory_in_use_is_named() {
    let (_keep, dir) = data_dir();
    let _broker = Broker::start_in(&dir);
    let error = fails(&["--data", &dir.display().to_string(), "--listen", "127.0.0.1:0"]);
    assert!(error.contains(&dir.display().to_string()) && error.contains("another process"), "{error}");
}

#[test]
fn a_directory_of_another_node_is_named() {
    let (_keep, dir) = data_dir();
    assert_eq!(Broker::start_in(&dir).terminate(), Some(0));
    let error = fails(&["--data", &dir.display().to_string(), "--listen", "127.0.0.1:0", "--override", "node.id=7"]);
    assert!(error.contains("node"), "{error}");
}

#[test]
fn a_malformed_properties_file_is_named_with_its_line() {
    let (_keep, dir) = data_dir();
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("server.properties");
    std::fs::write(&file, "node.id=1\nbroken=\\uZZZZ\n").expect("written");
    let error = fails(&["--ephemeral", "--config", &file.display().to_string()]);
    assert!(error.contains("server.properties") && error.contains("line 2"), "{error}");
    std::fs::write(&file, "num.partitions=many\n").expect("written");
    let error = fails(&["--ephemeral", "--config", &file.display().to_string()]);
    assert!(error.contains("num.partitions") && error.contains("many"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let (_keep, dir) = data_dir();
    std::fs::write(&dir, "a file, not a directory").expect("written");
    let error = fails(&["--data", &dir.display().to_string(), "--listen", "127.0.0.1:0"]);
    assert!(error.contains(&dir.display().to_string()), "{error}");
}
