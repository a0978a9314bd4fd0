//! `kafka-consumer-groups` against a broker.

use super::{call, session};
use crate::broker::Broker;

const HEADER: &str = "GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID\n";

#[tokio::test]
async fn offsets_are_set_shown_and_deleted() {
    let broker = Broker::start();
    assert_eq!(
        session(
            &broker,
            &[
                "kafka-topics --create --topic t --partitions 2",
                "kafka-consumer-groups --reset-offsets --group readers --topic t --to-earliest --execute",
                "kafka-consumer-groups --list --state",
                "kafka-consumer-groups --describe --group readers",
                "kafka-consumer-groups --describe --group readers --group none --output table",
                "kafka-consumer-groups --describe --group readers --members --quiet",
                "kafka-consumer-groups --describe --all-groups --state --verbose --quiet",
                "kafka-consumer-groups --reset-offsets --group readers --all-topics --to-current --export --dry-run",
                "kafka-consumer-groups --delete-offsets --group readers --topic t:0",
                "kafka-consumer-groups --delete --group reader",
                "kafka-consumer-groups --delete --group readers",
                "kafka-consumer-groups --list",
            ]
        )
        .await,
        format!(
            "$ kafka-topics --create --topic t --partitions 2\n\
             Created topic t.\n\
             $ kafka-consumer-groups --reset-offsets --group readers --topic t --to-earliest --execute\n\
             \n\
             GROUP           TOPIC           PARTITION  NEW-OFFSET\n\
             readers         t               0          0\n\
             readers         t               1          0\n\
             $ kafka-consumer-groups --list --state\n\
             GROUP                     STATE               \n\
             readers                   Empty               \n\
             $ kafka-consumer-groups --describe --group readers\n\
             \n{HEADER}\
             readers         t               0          0               0               0               -               -               -\n\
             readers         t               1          0               0               0               -               -               -\n\
             ! kafka-consumer-groups: Consumer group 'readers' has no active members.\n\
             $ kafka-consumer-groups --describe --group readers --group none --output table\n\
             readers: Empty, lag 0\n\
             TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  MEMBER  HOST  CLIENT\n\
             t              0               0               0    0  -       -     -\n\
             t              1               0               0    0  -       -     -\n\
             TOTAL                                               0\n\
             ! kafka-consumer-groups: group 'none' does not exist\n\
             exit code 1\n\
             $ kafka-consumer-groups --describe --group readers --members --quiet\n\
             \n\
             GROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     \n\
             $ kafka-consumer-groups --describe --all-groups --state --verbose --quiet\n\
             \n\
             GROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                GROUP-EPOCH     TARGET-ASSIGNMENT-EPOCH   #MEMBERS\n\
             readers         {}  (1) -                    Empty                -               -                         0\n\
             $ kafka-consumer-groups --reset-offsets --group readers --all-topics --to-current --export --dry-run\n\
             t,0,0\n\
             t,1,0\n\
             \n\
             $ kafka-consumer-groups --delete-offsets --group readers --topic t:0\n\
             Request succeeded for deleting offsets from group readers.\n\
             \n\
             TOPIC           PARTITION  STATUS         \n\
             t               0          Successful     \n\
             $ kafka-consumer-groups --delete --group reader\n\
             ! kafka-consumer-groups: group 'reader' does not exist; did you mean 'readers'?\n\
             exit code 1\n\
             $ kafka-consumer-groups --delete --group readers\n\
             Deletion of requested consumer groups ('readers') was successful.\n\
             $ kafka-consumer-groups --list\n",
            "BROKER"
        )
        .replace(
            "BROKER  (1) -",
            &format!("{:<25} -", format!("{}  (1)", broker.address)).replace(&broker.address.to_string(), "BROKER")
        )
    );
}

#[tokio::test]
async fn mistakes_at_work_are_failures() {
    let broker = Broker::start();
    assert_eq!(
        session(
            &broker,
            &[
                "kafka-topics --create --topic orders",
                "kafka-consumer-groups --reset-offsets --group g --topic oders --to-latest --execute",
                "kafka-consumer-groups --reset-offsets --group g --topic orders:7 --to-latest --execute",
                "kafka-consumer-groups --reset-offsets --group g --topic orders --to-datetime yesterday --execute",
                "kafka-consumer-groups --reset-offsets --group g --topic orders --by-duration P1M --execute",
                "kafka-consumer-groups --reset-offsets --group g --topic orders --shift-by 1 --execute",
                "kafka-consumer-groups --reset-offsets --group g --from-file none.csv --execute",
                "kafka-consumer-groups --list",
            ]
        )
        .await,
        "$ kafka-topics --create --topic orders\n\
         Created topic orders.\n\
         $ kafka-consumer-groups --reset-offsets --group g --topic oders --to-latest --execute\n\
         ! kafka-consumer-groups: topic 'oders' does not exist; did you mean 'orders'?\n\
         exit code 1\n\
         $ kafka-consumer-groups --reset-offsets --group g --topic orders:7 --to-latest --execute\n\
         ! kafka-consumer-groups: The partitions \"orders-7\" do not exist\n\
         exit code 1\n\
         $ kafka-consumer-groups --reset-offsets --group g --topic orders --to-datetime yesterday --execute\n\
         ! kafka-consumer-groups: 'yesterday' is no moment; it may be 2026-01-31T08:30:00.000, the same with an offset (Z, +02:00), \
         2026-01-31, -2h or now\n\
         exit code 1\n\
         $ kafka-consumer-groups --reset-offsets --group g --topic orders --by-duration P1M --execute\n\
         ! kafka-consumer-groups: 'P1M' is no duration; it may be P1DT2H3M4S, 1d, 2h30m or 90s\n\
         exit code 1\n\
         $ kafka-consumer-groups --reset-offsets --group g --topic orders --shift-by 1 --execute\n\
         ! kafka-consumer-groups: Cannot shift offset for partition orders-0 since there is no current committed offset\n\
         exit code 1\n\
         $ kafka-consumer-groups --reset-offsets --group g --from-file none.csv --execute\n\
         ! kafka-consumer-groups: cannot read none.csv: No such file or directory (os error 2)\n\
         exit code 1\n\
         $ kafka-consumer-groups --list\n"
    );
}

#[tokio::test]
async fn a_plan_is_exported_and_read_back() {
    let broker = Broker::start();
    let dir = tempfile::tempdir().expect("a directory");
    let plan = dir.path().join("plan.csv");
    session(&broker, &["kafka-topics --create --topic t --partitions 2"]).await;
    let reset = format!("kafka-consumer-groups --bootstrap-server {} --reset-offsets --group g", broker.address);
    let exported = call(&format!("{reset} --topic t --to-latest --dry-run --export")).transcript().await;
    std::fs::write(&plan, exported.split_once('\n').expect("a line").1).expect("written");
    let imported = call(&format!("{reset} --execute --output json --from-file")).argument(plan.to_str().expect("UTF-8")).transcript().await;
    assert!(
        imported.ends_with(
            "[{\"group\":\"g\",\"topic\":\"t\",\"partition\":0,\"newOffset\":0},\
             {\"group\":\"g\",\"topic\":\"t\",\"partition\":1,\"newOffset\":0}]\n"
        ),
        "{imported}"
    );
}

#[tokio::test]
async fn a_watch_goes_on_until_it_is_ended() {
    use tokio::io::{AsyncBufReadExt, BufReader};

    let broker = Broker::start();
    session(
        &broker,
        &["kafka-topics --create --topic t", "kafka-consumer-groups --reset-offsets --group g --topic t --to-earliest --execute"],
    )
    .await;
    let line = format!("kafka-consumer-groups --bootstrap-server {} --describe --group g --watch 0.1 --output json", broker.address);
    let mut child = call(&line).command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().expect("starts");
    let mut ticks = BufReader::new(child.stdout.take().expect("piped")).lines();
    for tick in 0..3 {
        let text = ticks.next_line().await.expect("readable").expect("goes on");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["groups"][0]["totalLag"], 0, "{text}");
        assert_eq!(value["groups"][0]["consumedPerSecond"].is_null(), tick == 0, "{text}");
    }
    let pid = rustix::process::Pid::from_raw(child.id().expect("runs") as i32).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    assert_eq!(child.wait().await.expect("ended").code(), Some(130));
}
