//! `kafka-storage` against what Apache Kafka's own prints and leaves, recorded by `tests/interop/record_storage`.

use std::fs;
use std::path::{Path, PathBuf};

use super::call;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/storage")
}

/// A directory with the properties of the recording.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for file in fs::read_dir(golden().join("properties")).expect("the properties") {
        let path = file.expect("readable").path();
        fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    dir
}

/// Directory ids differ from run to run.
fn without_ids(text: &str) -> String {
    let ids = regex::Regex::new("directory\\.id=[A-Za-z0-9_-]{22}").expect("a pattern");
    ids.replace_all(text, "directory.id=ID").into_owned()
}

#[tokio::test]
async fn whole_outputs_and_refusals_are_apaches() {
    let recording = fs::read_to_string(golden().join("sessions")).expect("a recording");
    let mut calls: Vec<(&str, String)> = Vec::new();
    for line in recording.split_inclusive('\n') {
        match line.strip_prefix("$ kafka-storage ") {
            Some(arguments) => calls.push((arguments.trim_end(), String::new())),
            None => calls.last_mut().expect("a call comes first").1.push_str(line),
        }
    }
    assert!(calls.len() > 70, "{} calls", calls.len());
    let work = workplace();
    for (arguments, expected) in calls {
        let output = call(&format!("kafka-storage {arguments}")).variable("KAFKA_CLI_COMPAT", "4.3").within(work.path()).output().await;
        let mut printed = String::from_utf8(output.stdout).expect("UTF-8");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        if let Some(first) = said.lines().next() {
            // Usage, and what the system says of a file, are told in words of our own.
            let own_words = ["usage", "none.properties"].into_iter().find(|theirs| expected.contains(&format!("! {theirs}\n")));
            printed.push_str(&format!("! {}\n", own_words.unwrap_or(first)));
        }
        if let Some(code) = output.status.code().filter(|code| *code != 0) {
            printed.push_str(&format!("exit code {code}\n"));
        }
        assert_eq!(without_ids(&printed), without_ids(&expected), "kafka-storage {arguments}");
    }
}

#[tokio::test]
async fn a_formatted_directory_holds_what_apaches_holds() {
    let work = workplace();
    let format = "kafka-storage format -s -t sB2uZnh5TGWkQnRvM7cFWA -c many.properties --output json";
    let formatted = call(format).within(work.path()).transcript().await;
    assert!(formatted.contains("\"metadataVersion\":\"4.3-IV0\""), "{formatted}");
    let mut files: Vec<String> = Vec::new();
    for directory in ["m1", "m2", "m3", "m9"] {
        let mut pending = vec![work.path().join(directory)];
        while let Some(path) = pending.pop() {
            match path.is_dir() {
                true => pending.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path())),
                false => files.push(path.strip_prefix(work.path()).expect("below").display().to_string()),
            }
        }
    }
    files.sort();
    assert_eq!(
        files,
        [
            "m1/bootstrap.checkpoint",
            "m1/meta.properties",
            "m2/bootstrap.checkpoint",
            "m2/meta.properties",
            "m3/bootstrap.checkpoint",
            "m3/meta.properties",
            "m9/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint",
            "m9/bootstrap.checkpoint",
            "m9/meta.properties",
        ]
    );
    let dump = "kafka-dump-log --skip-record-metadata --cluster-metadata-decoder --files m9/bootstrap.checkpoint";
    let dumped = call(dump).within(work.path()).transcript().await;
    let payloads: Vec<&str> = dumped.lines().filter_map(|line| line.strip_prefix("| payload: ")).collect();
    assert_eq!(payloads.len(), 6, "{dumped}");
    assert_eq!(
        payloads[0],
        "{\"type\":\"FEATURE_LEVEL_RECORD\",\"version\":0,\"data\":{\"name\":\"metadata.version\",\"featureLevel\":30}}"
    );
    let voters = "kafka-dump-log --deep-iteration --files m9/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
    let voters = call(voters).within(work.path()).transcript().await;
    assert!(voters.contains("KRaftVoters {\"version\":0,\"voters\":[{\"voterId\":1,"), "{voters}");
}

#[tokio::test]
async fn a_broker_starts_on_what_was_formatted() {
    let work = workplace();
    let properties = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:1\n\
                      listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\ncontroller.listener.names=CONTROLLER\nlog.dirs=data\n";
    fs::write(work.path().join("server.properties"), properties).expect("written");
    let format = "kafka-storage format -s -t sB2uZnh5TGWkQnRvM7cFWA -c server.properties -r 4.1";
    let formatted = call(format).within(work.path()).transcript().await;
    assert!(formatted.ends_with("Formatting dynamic metadata voter directory data with metadata.version 4.1-IV1.\n"), "{formatted}");
    let data = work.path().join("data");
    let broker = crate::broker::Broker::start_in(&data);
    drop(broker);
    let info = call("kafka-storage info -c server.properties").within(work.path()).transcript().await;
    assert!(info.contains("cluster.id=sB2uZnh5TGWkQnRvM7cFWA"), "{info}");
}

#[tokio::test]
async fn commands_are_found_by_what_they_nearly_are() {
    assert_eq!(
        call("ottla storage inof").transcript().await,
        "$ ottla storage inof\n! ottla storage: invalid choice: 'inof'; did you mean 'info'?\n\
         ! Try 'ottla storage --help' for the options.\nexit code 2\n"
    );
    assert_eq!(
        call("kafka-storage info --standalone -c x").transcript().await,
        "$ kafka-storage info --standalone -c x\n! kafka-storage: info takes no --standalone\n\
         ! Try 'kafka-storage --help' for the options.\nexit code 1\n"
    );
    let both = format!("{}{}", call("kafka-storage random-uuid").transcript().await, call("kafka-storage random-uuid").transcript().await);
    let ids: Vec<&str> = both.lines().filter(|line| !line.starts_with('$')).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1] && ids.iter().all(|id| id.len() == 22), "{both}");
}
