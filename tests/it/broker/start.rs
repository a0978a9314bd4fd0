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

#[test]
fn the_cause_of_a_failure_is_said_once() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = fails(&["--data", &file.path().join("below").display().to_string(), "--listen", "127.0.0.1:0"]);
    assert_eq!(error.matches("os error").count(), 1, "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_broker() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device that is always full");
    let mut command = command(&["--ephemeral", "--listen", "127.0.0.1:0"]);
    let broker = Broker::start_command(command.env("KAFKA_LOG", "info").stderr(full));
    let mut connection = broker.connect();
    connection.create_topic("unlogged", 1);
    assert_eq!(connection.produce("unlogged", 0, batch(&["x"]), -1).base_offset, 0);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn an_ipv6_address_is_told_in_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let broker = Broker::start_command(command(&["--ephemeral"]).args(["--listen", "[::1]:0"]));
    assert!(broker.ready.contains(" on [::1]:"), "{}", broker.ready);
    let mut connection = broker.connect();
    connection.create_topic("six", 1);
}
