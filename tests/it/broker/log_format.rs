//! The broker's own log, for programs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::command;

#[test]
fn the_log_may_be_json() {
    let mut command = command(&["--ephemeral", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let mut child = command.env("KAFKA_LOG", "info").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    let stderr = child.stderr.take().expect("piped");
    let line = BufReader::new(stderr).lines().next().expect("a line").expect("text");
    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert_eq!(parsed["level"], "INFO");
    assert!(parsed["target"].as_str().is_some_and(|target| target.starts_with("ottla::")) && parsed["message"].is_string(), "{line}");
    child.kill().expect("killed");
    child.wait().expect("ended");
}
