//! `kafka-dump-log` against what Apache Kafka's own prints of the same files, recorded by `tests/interop/record_dump_log`.

use std::path::{Path, PathBuf};

use super::call;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dump_log")
}

/// The calls of the recording: arguments, standard output, and whether it ended well.
fn recorded() -> Vec<(String, String, bool)> {
    let text = std::fs::read_to_string(golden().join("sessions")).expect("a recording");
    let mut calls: Vec<(String, String, bool)> = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(arguments) = line.strip_prefix("$ kafka-dump-log ") {
            calls.push((arguments.trim_end().to_owned(), String::new(), true));
            continue;
        }
        let (_, output, ended_well) = calls.last_mut().expect("a call comes first");
        match line.starts_with("exit code ") {
            true => *ended_well = false,
            false => output.push_str(line),
        }
    }
    calls
}

#[tokio::test]
async fn whole_outputs_are_apaches() {
    let calls = recorded();
    assert!(calls.len() > 50, "{} calls", calls.len());
    for (arguments, expected, ended_well) in calls {
        // The recording ends the line in which Apache's tool broke off.
        let output =
            call(&format!("kafka-dump-log {arguments}")).variable("KAFKA_CLI_COMPAT", "4.3").within(&golden().join("files")).output().await;
        let mut printed = String::from_utf8(output.stdout).expect("UTF-8");
        if !ended_well && !printed.is_empty() && !printed.ends_with('\n') {
            printed.push('\n');
        }
        for (number, (ours, theirs)) in printed.lines().zip(expected.lines()).enumerate() {
            assert_eq!(ours, theirs, "line {} of kafka-dump-log {arguments}", number + 1);
        }
        assert_eq!(printed, expected, "kafka-dump-log {arguments}");
        assert_eq!(output.status.success(), ended_well, "kafka-dump-log {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        let is_usage = said.contains("--help");
        assert!(ended_well || is_usage || said.lines().count() == 1, "kafka-dump-log {arguments}: one line says why: {said}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_and_is_the_exit_code() {
    let files = golden().join("files");
    let transcript = |arguments: &'static str| {
        let files = files.clone();
        async move {
            let directory = files.display().to_string();
            call(&format!("kafka-dump-log {arguments}")).within(&files).transcript().await.replace(&directory, "FILES")
        }
    };
    assert_eq!(
        transcript("--files damaged/wrong-index-0/00000000000000000000.index --verify-index-only").await,
        "$ kafka-dump-log --files damaged/wrong-index-0/00000000000000000000.index --verify-index-only\n\
         Dumping damaged/wrong-index-0/00000000000000000000.index\n\
         ! Mismatches in :FILES/damaged/wrong-index-0/00000000000000000000.index\n\
         !   Index offset: 4, log offset: 5\n\
         exit code 1\n"
    );
    assert_eq!(
        transcript("--files damaged/zeroed-0/00000000000000000000.log --output json --max-bytes 1").await,
        "$ kafka-dump-log --files damaged/zeroed-0/00000000000000000000.log --output json --max-bytes 1\n\
         {\"file\":\"damaged/zeroed-0/00000000000000000000.log\",\"log\":{\"startOffset\":0}}\n"
    );
    assert_eq!(
        transcript("--files damaged/nothing-0/00000000000000000000.index").await,
        "$ kafka-dump-log --files damaged/nothing-0/00000000000000000000.index\n\
         Dumping damaged/nothing-0/00000000000000000000.index\n\
         ! kafka-dump-log: damaged/nothing-0/00000000000000000000.log: No such file or directory (os error 2)\n\
         exit code 1\n"
    );
    assert_eq!(
        transcript("--files bootstrap.checkpoint --value-decoder-class com.example.Avro").await,
        "$ kafka-dump-log --files bootstrap.checkpoint --value-decoder-class com.example.Avro\n\
         ! kafka-dump-log: decoder com.example.Avro is not built in; there are StringDecoder, IntegerDecoder, LongDecoder and \
         DefaultDecoder of org.apache.kafka.tools.api\n\
         ! Try 'kafka-dump-log --help' for the options.\n\
         exit code 1\n"
    );
}

#[tokio::test]
async fn json_is_one_object_a_line() {
    let call = call("kafka-dump-log --files transactions-0/00000000000000000000.log --print-data-log --output json");
    let output = call.within(&golden().join("files")).output().await;
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert!(lines.iter().all(|line| line["file"] == "transactions-0/00000000000000000000.log"));
    let records: Vec<&serde_json::Value> = lines.iter().filter_map(|line| line.get("record")).collect();
    assert_eq!((&records[0]["key"], &records[0]["value"]), (&"k0".into(), &"v0".into()));
    assert_eq!(records[1]["control"]["type"], "COMMIT");
    assert_eq!(records[3]["control"]["type"], "ABORT");
}

#[tokio::test]
async fn a_log_that_a_broker_writes_can_be_shown() {
    let (_dir, data_dir) = crate::broker::data_dir();
    let broker = crate::broker::Broker::start_in(&data_dir);
    let data = data_dir.join("busy-0/00000000000000000000.log").display().to_string();
    super::session(&broker, &["kafka-topics --create --topic busy"]).await;
    let lines: String = (0..500).map(|n| format!("line {n}\n")).collect();
    let produce = format!("kafka-console-producer --topic busy --sync --bootstrap-server {}", broker.address);
    let producing = call(&produce).input(lines.as_bytes()).transcript();
    let watching = async {
        loop {
            // The file comes with the first record.
            if !Path::new(&data).exists() {
                tokio::task::yield_now().await;
                continue;
            }
            let output = call("kafka-dump-log --skip-record-metadata --print-data-log --files").argument(&data).output().await;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let printed = String::from_utf8(output.stdout).expect("UTF-8");
            let seen: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("| payload: ")).collect();
            for (n, line) in seen.iter().enumerate() {
                assert_eq!(*line, format!("line {n}"));
            }
            if seen.len() == 500 {
                return;
            }
        }
    };
    tokio::join!(producing, watching);
}
