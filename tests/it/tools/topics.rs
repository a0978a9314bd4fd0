//! `kafka-topics` against a broker.

use super::session;
use crate::broker::Broker;

#[tokio::test]
async fn the_tutorial_works_as_typed() {
    let broker = Broker::start();
    assert_eq!(
        session(
            &broker,
            &[
                "kafka-topics --create --topic=test --partitions=3",
                "kafka-topics --list",
                "kafka-topics --describe --topic=test",
                "kafka-topics --alter --topic test --partitions 4",
                "kafka-topics -describe -topic test --at-min-isr-partitions",
                "kafka-topics --delete --topic test",
                "kafka-topics --list",
            ]
        )
        .await,
        "$ kafka-topics --create --topic=test --partitions=3\n\
         Created topic test.\n\
         $ kafka-topics --list\n\
         test\n\
         $ kafka-topics --describe --topic=test\n\
         Topic: test\tTopicId: ID\tPartitionCount: 3\tReplicationFactor: 1\tConfigs: min.insync.replicas=1\n\
         \tTopic: test\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\
         \tTopic: test\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\
         \tTopic: test\tPartition: 2\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\
         $ kafka-topics --alter --topic test --partitions 4\n\
         $ kafka-topics -describe -topic test --at-min-isr-partitions\n\
         \tTopic: test\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\
         \tTopic: test\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\
         \tTopic: test\tPartition: 2\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\
         \tTopic: test\tPartition: 3\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\
         $ kafka-topics --delete --topic test\n\
         $ kafka-topics --list\n\
         \n"
    );
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_the_rest_is_done() {
    let broker = Broker::start();
    assert_eq!(
        session(
            &broker,
            &[
                "kafka-topics --create --topic orders --topic a/b --config retention.ms=1000",
                "kafka-topics --create --topic orders",
                "kafka-topics --create --topic orders --if-not-exists",
                "kafka-topics --create --topic x --config retention.ms=soon",
                "kafka-topics --create --topic x --replica-assignment 7",
                "kafka-topics --alter --topic orders --partitions 1",
                "kafka-topics --describe --topic oders",
                "kafka-topics --describe --topic oders --if-exists",
                "kafka-topics --describe --topic orders,nothing.* --topic none --output table",
                "kafka-topics --list --topic [a",
            ]
        )
        .await,
        "$ kafka-topics --create --topic orders --topic a/b --config retention.ms=1000\n\
         Created topic orders.\n\
         ! kafka-topics: a/b: Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'\n\
         exit code 1\n\
         $ kafka-topics --create --topic orders\n\
         ! kafka-topics: Topic 'orders' already exists.\n\
         exit code 1\n\
         $ kafka-topics --create --topic orders --if-not-exists\n\
         $ kafka-topics --create --topic x --config retention.ms=soon\n\
         ! kafka-topics: Invalid value soon for configuration retention.ms: Not a number of type LONG\n\
         exit code 1\n\
         $ kafka-topics --create --topic x --replica-assignment 7\n\
         ! kafka-topics: The manual partition assignment includes broker 7, but no such broker is registered.\n\
         exit code 1\n\
         $ kafka-topics --alter --topic orders --partitions 1\n\
         ! kafka-topics: Topic already has 1 partition(s).\n\
         exit code 1\n\
         $ kafka-topics --describe --topic oders\n\
         ! kafka-topics: topic 'oders' does not exist; did you mean 'orders'?\n\
         exit code 1\n\
         $ kafka-topics --describe --topic oders --if-exists\n\
         $ kafka-topics --describe --topic orders,nothing.* --topic none --output table\n\
         orders: 1 partition, replication factor 1, id ID\n\
         \x20 min.insync.replicas=1\n\
         \x20 retention.ms=1000\n\
         PARTITION  LEADER  REPLICAS  ISR  STATE\n\
         \x20       0       1  1         1    ok\n\
         ! kafka-topics: topic 'none' does not exist\n\
         exit code 1\n\
         $ kafka-topics --list --topic [a\n\
         ! kafka-topics: [a is an invalid regex; unclosed character class\n\
         exit code 1\n"
    );
}

#[tokio::test]
async fn json_is_one_document() {
    let broker = Broker::start();
    assert_eq!(
        session(
            &broker,
            &[
                "kafka-topics --create --topic t --config cleanup.policy=compact",
                "kafka-topics --list --output json",
                "kafka-topics --describe --output json",
            ]
        )
        .await,
        "$ kafka-topics --create --topic t --config cleanup.policy=compact\n\
         Created topic t.\n\
         $ kafka-topics --list --output json\n\
         [{\"topic\":\"t\",\"topicId\":\"ID\",\"partitionCount\":1,\"replicationFactor\":1,\"internal\":false}]\n\
         $ kafka-topics --describe --output json\n\
         [{\"topic\":\"t\",\"topicId\":\"ID\",\"partitionCount\":1,\"replicationFactor\":1,\
         \"configs\":{\"cleanup.policy\":\"compact\",\"min.insync.replicas\":\"1\"},\
         \"partitions\":[{\"partition\":0,\"leader\":1,\"replicas\":[1],\"isr\":[1],\"elr\":[],\"lastKnownElr\":[]}]}]\n"
    );
}

#[tokio::test]
async fn the_shells_are_told_the_names_of_the_cluster_and_remember_them() {
    let broker = Broker::start();
    let cache = tempfile::tempdir().expect("a directory");
    session(&broker, &["kafka-topics --create --topic one --topic two"]).await;
    let names = async |line: String| {
        let call = super::call("ottla complete topics").argument(&line).variable("XDG_CACHE_HOME", cache.path().to_str().expect("UTF-8"));
        let transcript = call.transcript().await;
        transcript.split_once('\n').expect("a line").1.to_owned()
    };
    let line = format!("kafka-topics --bootstrap-server={} --describe --topic ", broker.address);
    assert_eq!(names(line.clone()).await, "one\ntwo\n");
    drop(broker);
    // The cluster is away now; what it said a moment ago is still of use.
    assert_eq!(names(line).await, "one\ntwo\n");
    assert_eq!(names("kafka-topics --bootstrap-server 127.0.0.1:1 --topic ".to_owned()).await, "");
    assert_eq!(names("kafka-topics --topic ".to_owned()).await, "exit code 1\n");
}
