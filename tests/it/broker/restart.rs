//! What an acknowledgement promises: the record is there after the broker was killed, or ended, and started again on its directory.

use ottla::protocol::messages::DeleteTopicsRequest;

use super::*;

#[test]
fn acknowledged_records_survive_a_kill() {
    let (_keep, dir) = data_dir();
    let broker = Broker::start_in(&dir);
    let mut connection = broker.connect();
    connection.create_topic("kept", 2);
    for n in 0..50 {
        let text = format!("value {n}");
        assert_eq!(connection.produce("kept", n % 2, batch(&[&text]), -1).error_code, 0);
    }
    broker.kill();

    let broker = Broker::start_in(&dir);
    let mut connection = broker.connect();
    for partition in 0..2 {
        let expected: Vec<(i64, String)> = (0..25).map(|at| (at, format!("value {}", at * 2 + i64::from(partition)))).collect();
        assert_eq!(values(&connection.fetch("kept", partition, 0)), expected);
    }
    assert_eq!(connection.produce("kept", 0, batch(&["next"]), -1).base_offset, 25);
}

#[test]
fn a_clean_end_and_a_new_start_keep_everything() {
    let (_keep, dir) = data_dir();
    let broker = Broker::start_in(&dir);
    let cluster = broker.ready.split("(cluster ").nth(1).and_then(|rest| rest.split(',').next()).map(str::to_owned);
    let mut connection = broker.connect();
    connection.create_topic("kept", 1);
    assert_eq!(connection.produce("kept", 0, batch(&["a", "b"]), 1).base_offset, 0);
    assert_eq!(broker.terminate(), Some(0));

    let broker = Broker::start_in(&dir);
    assert!(broker.ready.contains(&cluster.expect("a cluster id")), "{}", broker.ready);
    assert_eq!(values(&broker.connect().fetch("kept", 0, 0)).len(), 2);
}

#[test]
fn a_waiting_fetch_does_not_hold_up_the_end() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let mut request = fetch_request("t", 0, 0);
    request.max_wait_ms = 10 * PATIENCE.as_millis() as i32;
    connection.send(&request, 12);
    assert_eq!(broker.terminate(), Some(0));
    assert!(connection.is_closed());
}

#[test]
fn a_deleted_topic_and_its_records_stay_deleted() {
    let (_keep, dir) = data_dir();
    let broker = Broker::start_in(&dir);
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    connection.produce("t", 0, batch(&["old"]), -1);
    let delete = DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 30_000, ..Default::default() };
    assert_eq!(connection.call(&delete, 5).responses[0].error_code, 0);
    connection.create_topic("t", 1);
    connection.produce("t", 0, batch(&["new"]), -1);
    broker.kill();
    let broker = Broker::start_in(&dir);
    assert_eq!(values(&broker.connect().fetch("t", 0, 0)), [(0, "new".to_owned())]);
}
