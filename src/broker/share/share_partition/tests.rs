use super::acknowledge_type::{ACCEPT, GAP, REJECT, RELEASE, RENEW};
use super::*;
use crate::coordinator::share::batches::delivery_state;

mod model;

const SETTINGS: ShareSettings =
    ShareSettings { lock_duration_ms: 1000, max_delivery_count: 5, max_in_flight_records: 200, renew_enabled: true };

fn member(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn fresh(start_offset: i64) -> SharePartition {
    loaded(start_offset, vec![])
}

fn loaded(start_offset: i64, state_batches: Vec<StateBatch>) -> SharePartition {
    let read = ReadState { state_epoch: 3, start_offset, state_batches };
    SharePartition::new(7, start_offset, &read).expect("a valid state")
}

fn state(first_offset: i64, last_offset: i64, delivery_state: i8, delivery_count: i16) -> StateBatch {
    StateBatch { first_offset, last_offset, delivery_state, delivery_count }
}

fn log(batches: &[(i64, i64)]) -> Vec<LogBatch> {
    batches.iter().map(|&(base_offset, last_offset)| LogBatch { base_offset, last_offset, aborted: false }).collect()
}

struct Fetch {
    mode: AcquireMode,
    batch_size: i64,
    max_records: i64,
}

const PLENTY: Fetch = Fetch { mode: AcquireMode::BatchOptimized, batch_size: 1000, max_records: 1000 };

fn fetch(it: &mut SharePartition, now_ms: u64, name: &str, fetch: &Fetch, batches: &[(i64, i64)]) -> Vec<(i64, i64, i16)> {
    let member_id = member(name);
    let fetch_offset = it.next_fetch_offset();
    let batches: Vec<LogBatch> = log(batches).into_iter().filter(|batch| batch.last_offset >= fetch_offset).collect();
    let params = AcquireParams {
        member_id: &member_id,
        mode: fetch.mode,
        batch_size: fetch.batch_size,
        max_records: fetch.max_records,
        fetch_offset,
    };
    let acquired = it.acquire(now_ms, &SETTINGS, &params, &batches);
    acquired.into_iter().map(|it| (it.first_offset, it.last_offset, it.delivery_count)).collect()
}

fn acknowledge(it: &mut SharePartition, now_ms: u64, name: &str, first: i64, last: i64, types: &[i8]) -> Result<Option<Change>, ErrorCode> {
    let batch = AcknowledgementBatch { first_offset: first, last_offset: last, acknowledge_types: types.to_vec() };
    it.acknowledge(now_ms, &SETTINGS, name, &[batch]).map_err(|error| error.code)
}

fn accept(it: &mut SharePartition, now_ms: u64, name: &str, first: i64, last: i64) {
    let change = acknowledge(it, now_ms, name, first, last, &[ACCEPT]).expect("accepted").expect("a change");
    it.complete(now_ms, &SETTINGS, change.transition, true);
}

#[test]
fn a_fetch_takes_whole_batches_and_a_limited_one_exactly_so_many() {
    let mut it = fresh(0);
    let five = Fetch { max_records: 5, ..PLENTY };
    assert_eq!(fetch(&mut it, 0, "a", &five, &[(0, 2), (3, 9), (10, 12)]), [(0, 9, 1)]);
    assert_eq!(it.next_fetch_offset(), 10);

    let mut it = fresh(0);
    let five = Fetch { mode: AcquireMode::RecordLimit, ..five };
    assert_eq!(fetch(&mut it, 0, "a", &five, &[(0, 2), (3, 9), (10, 12)]), [(0, 4, 1)]);
    assert_eq!(it.next_fetch_offset(), 5);
    assert_eq!(fetch(&mut it, 0, "b", &five, &[(0, 2), (3, 9), (10, 12)]), [(5, 9, 1)]);
    assert_eq!(fetch(&mut it, 0, "b", &five, &[(10, 12)]), [(10, 12, 1)]);
}

#[test]
fn large_acquisitions_are_cut_at_batches_of_the_log() {
    let mut it = fresh(0);
    let small = Fetch { batch_size: 4, ..PLENTY };
    assert_eq!(fetch(&mut it, 0, "a", &small, &[(0, 2), (3, 4), (5, 9), (10, 10)]), [(0, 4, 1), (5, 9, 1), (10, 10, 1)]);
}

#[test]
fn nobody_gets_what_another_has() {
    let mut it = fresh(0);
    assert_eq!(fetch(&mut it, 0, "a", &PLENTY, &[(0, 9)]), [(0, 9, 1)]);
    assert_eq!(fetch(&mut it, 0, "b", &PLENTY, &[(0, 9)]), []);
    assert_eq!(fetch(&mut it, 0, "b", &PLENTY, &[(10, 14)]), [(10, 14, 1)]);
}

#[test]
fn what_is_accepted_moves_the_start_offset_once_it_is_persisted() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 9), (10, 14)]);
    let change = acknowledge(&mut it, 0, "a", 0, 4, &[ACCEPT]).expect("accepted").expect("a change");
    assert_eq!(change.state_batches, [state(0, 4, delivery_state::ACKNOWLEDGED, 1)]);
    assert_eq!((it.start_offset(), it.delivery_complete_count()), (0, 5));
    it.complete(0, &SETTINGS, change.transition, true);
    assert_eq!((it.start_offset(), it.delivery_complete_count()), (5, 0));
    accept(&mut it, 0, "a", 8, 14);
    assert_eq!((it.start_offset(), it.end_offset(), it.delivery_complete_count()), (5, 14, 7));
    accept(&mut it, 0, "a", 5, 7);
    assert_eq!((it.start_offset(), it.end_offset(), it.next_fetch_offset()), (15, 15, 15));
}

#[test]
fn what_could_not_be_persisted_stays_with_its_member() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 9)]);
    let change = acknowledge(&mut it, 0, "a", 0, 9, &[ACCEPT]).expect("accepted").expect("a change");
    assert_eq!(acknowledge(&mut it, 0, "a", 0, 9, &[ACCEPT]), Err(ErrorCode::InvalidRecordState), "on its way already");
    it.complete(1, &SETTINGS, change.transition, false);
    assert_eq!(fetch(&mut it, 1, "b", &PLENTY, &[(0, 9)]), []);
    accept(&mut it, 1, "a", 0, 9);
    assert_eq!(it.start_offset(), 10);
}

#[test]
fn a_lock_that_expired_during_a_failed_write_is_gone() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 9)]);
    let change = acknowledge(&mut it, 0, "a", 0, 9, &[ACCEPT]).expect("accepted").expect("a change");
    assert!(it.expire_locks(2000, &SETTINGS).is_empty(), "not while it is being written");
    it.complete(2000, &SETTINGS, change.transition, false);
    assert_eq!(fetch(&mut it, 2000, "b", &PLENTY, &[(0, 9)]), [(0, 9, 2)]);
}

#[test]
fn released_and_expired_records_are_given_again() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 9)]);
    let change = acknowledge(&mut it, 0, "a", 2, 3, &[RELEASE]).expect("released").expect("a change");
    assert_eq!(it.next_fetch_offset(), 10, "not before it is persisted");
    it.complete(0, &SETTINGS, change.transition, true);
    assert_eq!(it.next_fetch_offset(), 2);
    assert_eq!(fetch(&mut it, 500, "b", &PLENTY, &[(0, 9)]), [(2, 3, 2)]);
    assert_eq!(it.next_lock_expiry(), Some(1000));
    let expired = it.expire_locks(1000, &SETTINGS);
    assert_eq!(expired, [state(0, 1, delivery_state::AVAILABLE, 1), state(4, 9, delivery_state::AVAILABLE, 1)]);
    assert_eq!(it.next_lock_expiry(), Some(1500));
    assert_eq!(acknowledge(&mut it, 1000, "a", 0, 1, &[ACCEPT]), Err(ErrorCode::InvalidRecordState));
}

#[test]
fn each_offset_may_have_a_type_of_its_own() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 4)]);
    let change = acknowledge(&mut it, 10, "a", 0, 4, &[ACCEPT, RELEASE, REJECT, GAP, RENEW]).expect("taken").expect("a change");
    assert_eq!(
        change.state_batches,
        [
            state(0, 0, delivery_state::ACKNOWLEDGED, 1),
            state(1, 1, delivery_state::AVAILABLE, 1),
            state(2, 2, delivery_state::ARCHIVED, 1),
            state(3, 3, delivery_state::ARCHIVED, 1)
        ]
    );
    it.complete(10, &SETTINGS, change.transition, true);
    assert_eq!((it.start_offset(), it.next_fetch_offset()), (1, 1));
    assert_eq!(it.next_lock_expiry(), Some(1010), "the renewed one");
}

#[test]
fn renewing_can_be_forbidden() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 4)]);
    let settings = ShareSettings { renew_enabled: false, ..SETTINGS };
    let batch = AcknowledgementBatch { first_offset: 0, last_offset: 4, acknowledge_types: vec![ACCEPT, ACCEPT, RENEW, ACCEPT, ACCEPT] };
    let refused = it.acknowledge(5, &settings, "a", &[batch]).expect_err("refused");
    assert_eq!(refused.code, ErrorCode::InvalidRecordState);
    accept(&mut it, 5, "a", 0, 4);
}

#[test]
fn acknowledgements_of_what_one_does_not_have_are_refused_whole() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 4)]);
    fetch(&mut it, 0, "b", &PLENTY, &[(5, 9)]);
    assert_eq!(acknowledge(&mut it, 0, "a", 0, 9, &[ACCEPT]), Err(ErrorCode::InvalidRecordState));
    assert_eq!(acknowledge(&mut it, 0, "b", 5, 10, &[ACCEPT]), Err(ErrorCode::InvalidRequest));
    assert_eq!(acknowledge(&mut it, 0, "b", 20, 21, &[ACCEPT]), Err(ErrorCode::InvalidRequest));
    assert_eq!(acknowledge(&mut it, 0, "b", 5, 6, &[9]), Err(ErrorCode::InvalidRequest));
    let good = AcknowledgementBatch { first_offset: 0, last_offset: 1, acknowledge_types: vec![ACCEPT] };
    let bad = AcknowledgementBatch { first_offset: 5, last_offset: 6, acknowledge_types: vec![ACCEPT] };
    assert!(it.acknowledge(0, &SETTINGS, "a", &[good, bad]).is_err());
    assert_eq!(it.delivery_complete_count(), 0);
    accept(&mut it, 0, "a", 0, 4);
    assert_eq!(acknowledge(&mut it, 0, "a", 0, 3, &[ACCEPT]), Ok(None), "long over");
}

#[test]
fn a_member_that_leaves_gives_back_what_it_has() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 4)]);
    fetch(&mut it, 0, "b", &PLENTY, &[(5, 9)]);
    let change = it.release_acquired(&SETTINGS, "a").expect("a change");
    assert_eq!(change.state_batches, [state(0, 4, delivery_state::AVAILABLE, 1)]);
    it.complete(0, &SETTINGS, change.transition, true);
    assert_eq!(fetch(&mut it, 0, "b", &PLENTY, &[(0, 4), (5, 9)]), [(0, 4, 2)]);
    assert_eq!(it.release_acquired(&SETTINGS, "a"), None);
}

#[test]
fn records_that_keep_failing_come_few_at_a_time_then_alone_then_never() {
    let mut it = fresh(0);
    let mut sizes = Vec::new();
    for round in 0.. {
        let now = round * 1000;
        let got = fetch(&mut it, now, "a", &PLENTY, &[(0, 7)]);
        let Some(&(first, last, count)) = got.first() else { break };
        assert!(count <= 5);
        sizes.push((last - first + 1, count));
        it.expire_locks(now + 1000, &SETTINGS);
    }
    assert_eq!(&sizes[..3], [(8, 1), (8, 2), (8, 3)]);
    assert_eq!(sizes[3], (4, 4), "half of the batch");
    assert!(sizes.iter().filter(|(_, count)| *count == 5).all(|(size, _)| *size == 1));
    assert_eq!(it.start_offset(), 8);
}

#[test]
fn only_so_many_records_are_in_flight() {
    let mut it = fresh(0);
    assert_eq!(fetch(&mut it, 0, "a", &PLENTY, &[(0, 99), (100, 249), (250, 260)]), [(0, 249, 1)]);
    assert!(!it.can_acquire(&SETTINGS));
    assert_eq!(fetch(&mut it, 0, "b", &PLENTY, &[(250, 260)]), []);
    let change = acknowledge(&mut it, 0, "a", 50, 59, &[RELEASE]).expect("released").expect("a change");
    it.complete(0, &SETTINGS, change.transition, true);
    assert!(it.can_acquire(&SETTINGS));
    assert_eq!(fetch(&mut it, 0, "b", &PLENTY, &[(0, 99), (100, 249), (250, 260)]), [(50, 59, 2)]);
}

#[test]
fn gaps_between_persisted_states_are_given_out_first() {
    let mut it = loaded(0, vec![state(3, 4, delivery_state::ACKNOWLEDGED, 1), state(7, 8, delivery_state::AVAILABLE, 2)]);
    assert_eq!((it.start_offset(), it.end_offset(), it.next_fetch_offset()), (0, 8, 0));
    let got = fetch(&mut it, 0, "a", &PLENTY, &[(0, 9)]);
    assert_eq!(got, [(0, 2, 1), (5, 6, 1), (7, 8, 3), (9, 9, 1)]);
    accept(&mut it, 0, "a", 0, 2);
    assert_eq!(it.start_offset(), 5);
}

#[test]
fn a_persisted_state_that_is_over_at_its_beginning_starts_later() {
    let it = loaded(0, vec![state(0, 4, delivery_state::ACKNOWLEDGED, 1), state(5, 8, delivery_state::AVAILABLE, 2)]);
    assert_eq!((it.start_offset(), it.delivery_complete_count()), (5, 0));
    for broken in [state(5, 4, 0, 1), state(0, 9, 1, 1), state(0, 9, 7, 1), state(0, i64::MAX, 0, 1)] {
        let read = ReadState { state_epoch: 0, start_offset: 2, state_batches: vec![broken] };
        assert!(SharePartition::new(0, 2, &read).is_err());
    }
}

#[test]
fn what_compaction_took_is_archived() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 9)]);
    it.expire_locks(1000, &SETTINGS);
    assert_eq!(fetch(&mut it, 1000, "a", &PLENTY, &[(6, 9)]), [(6, 9, 2)]);
    assert_eq!(it.start_offset(), 6);
}

#[test]
fn what_retention_took_is_forgotten_whoever_has_it() {
    let mut it = fresh(0);
    fetch(&mut it, 0, "a", &PLENTY, &[(0, 9)]);
    it.advance_log_start_offset(6);
    assert_eq!((it.start_offset(), it.end_offset()), (6, 9));
    it.advance_log_start_offset(3);
    assert_eq!(it.start_offset(), 6);
    accept(&mut it, 0, "a", 0, 9);
    assert_eq!((it.start_offset(), it.end_offset()), (10, 10));
    it.advance_log_start_offset(50);
    assert_eq!((it.start_offset(), it.next_fetch_offset()), (50, 50));
}

#[test]
fn records_of_aborted_transactions_are_taken_out() {
    let mut it = fresh(0);
    let member_id = member("a");
    let mut batches = log(&[(0, 4), (5, 9), (10, 10), (11, 14)]);
    batches[1].aborted = true;
    let params =
        AcquireParams { member_id: &member_id, mode: AcquireMode::BatchOptimized, batch_size: 1000, max_records: 1000, fetch_offset: 0 };
    let got: Vec<_> = it.acquire(0, &SETTINGS, &params, &batches).iter().map(|it| (it.first_offset, it.last_offset)).collect();
    assert_eq!(got, [(0, 4), (10, 14)]);
    accept(&mut it, 0, "a", 0, 4);
    assert_eq!(it.start_offset(), 10);
}

#[test]
fn what_is_written_says_where_the_partition_stands() {
    let mut it = fresh(4);
    fetch(&mut it, 0, "a", &PLENTY, &[(4, 9)]);
    let change = acknowledge(&mut it, 0, "a", 6, 6, &[REJECT]).expect("rejected").expect("a change");
    let write = it.write_state(change.state_batches);
    assert_eq!((write.state_epoch, write.leader_epoch, write.start_offset, write.delivery_complete_count), (3, 7, 4, 1));
}
