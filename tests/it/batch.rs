//! Record batches against bytes Kafka 4.3 wrote (tests/golden/batch/), against arbitrary records, and against broken bytes.

use bytes::Bytes;
use ottla::protocol::batch::{
    BATCH_OVERHEAD, BatchBuilder, BatchError, BatchView, BatchViewMut, Batches, ControlRecord, ControlRecordType, DecompressionLimits,
    Record, RecordHeader, TimestampType, empty_batch,
};
use ottla::protocol::compression::Compression;
use proptest::prelude::*;

const T: i64 = 1_700_000_000_000;

/// The bytes of a fixture: one batch in hex.
macro_rules! golden {
    ($name:literal) => {
        unhex(include_str!(concat!("../golden/batch/", $name, ".hex")))
    };
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.trim().chars().map(|digit| digit.to_digit(16).expect("a hex digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn by_codec() -> [(Compression, Vec<u8>); 5] {
    [
        (Compression::None, golden!("create_time_none")),
        (Compression::Gzip, golden!("create_time_gzip")),
        (Compression::Snappy, golden!("create_time_snappy")),
        (Compression::Lz4, golden!("create_time_lz4")),
        (Compression::Zstd, golden!("create_time_zstd")),
    ]
}

fn record(offset: i64, timestamp: i64, key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Record {
    Record { offset, timestamp, key: key.map(Bytes::from_static), value: value.map(Bytes::from_static), headers: Vec::new() }
}

fn header(key: &'static str, value: Option<&'static [u8]>) -> RecordHeader {
    RecordHeader { key: Bytes::from_static(key.as_bytes()), value: value.map(Bytes::from_static) }
}

/// What the fixtures of five records hold.
fn five_records(base_offset: i64) -> Vec<Record> {
    let mut records = vec![
        record(base_offset, T, Some(b"key"), Some(b"value")),
        record(base_offset + 1, T + 5, None, Some(b"")),
        record(base_offset + 2, T - 3, Some(b""), None),
        record(base_offset + 3, T + 70_000, None, None),
        record(base_offset + 4, -1, Some(b"no time"), Some(b"v")),
    ];
    records[1].headers = vec![header("h", Some(b"1")), header("h", None), header("ключ", Some(b"")), header("", Some(b"x"))];
    records[3].headers = vec![header("only", None)];
    records
}

fn only_batch(bytes: &[u8]) -> BatchView<'_> {
    let batches: Vec<_> = Batches::new(bytes).collect::<Result<_, _>>().unwrap();
    assert_eq!(batches.len(), 1);
    batches[0].verify_crc().unwrap();
    batches[0]
}

fn records_of(batch: &BatchView<'_>) -> Vec<Record> {
    batch.records().collect::<Result<_, _>>().unwrap()
}

fn append_all(mut builder: BatchBuilder, records: &[Record]) -> Bytes {
    for record in records {
        builder.append_record(record).unwrap();
    }
    builder.finish().unwrap()
}

#[test]
fn every_codec_of_kafka_is_read() {
    for (compression, bytes) in by_codec() {
        let batch = only_batch(&bytes);
        let header = batch.header();
        assert_eq!(header.compression(), Ok(compression));
        assert_eq!((header.base_offset, header.last_offset(), header.record_count), (100, 104, 5));
        assert_eq!((header.base_timestamp, header.max_timestamp), (T, T + 70_000));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence()), (-1, -1, -1, -1));
        assert_eq!((header.partition_leader_epoch, header.timestamp_type()), (-1, TimestampType::CreateTime));
        assert_eq!(records_of(&batch), five_records(100), "{compression}");
    }
}

#[test]
fn kafkas_batches_of_many_compressed_blocks_are_read() {
    for bytes in [golden!("large_gzip"), golden!("large_snappy"), golden!("large_lz4"), golden!("large_zstd")] {
        let batch = only_batch(&bytes);
        let header = batch.header();
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence()), (42, 3, 7, 9));
        let value: String = (0..6000).map(|i| format!("line {};", i % 50)).collect();
        let records = records_of(&batch);
        assert_eq!(records.len(), 3);
        for (i, record) in records.iter().enumerate() {
            assert_eq!((record.offset, record.timestamp), (i as i64, T + i as i64));
            assert_eq!(record.key.as_deref(), Some(format!("k{i}").as_bytes()));
            assert!(record.value.as_deref() == Some(value.as_bytes()));
        }
        let sizes: usize = batch.summaries(DecompressionLimits::default()).map(|summary| summary.unwrap().size_bytes).sum();
        assert_eq!(sizes, 140_439);
    }
}

#[test]
fn log_append_time_is_every_records_time() {
    for bytes in [golden!("log_append_time_none"), golden!("log_append_time_zstd")] {
        let batch = only_batch(&bytes);
        assert_eq!(batch.header().timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(batch.header().partition_leader_epoch, 12);
        let mut expected = five_records(500);
        expected.iter_mut().for_each(|record| record.timestamp = T + 999);
        assert_eq!(records_of(&batch), expected);
    }
}

#[test]
fn uncompressed_batches_are_written_as_kafka_writes_them() {
    let none = || BatchBuilder::new(Compression::None);
    assert_eq!(append_all(none().base_offset(100), &five_records(100)), golden!("create_time_none"));
    let transactional =
        none().base_offset(1 << 32).producer((1 << 62) + 1, 32_000, i32::MAX - 1).transactional(true).partition_leader_epoch(5);
    assert_eq!(append_all(transactional, &five_records(1 << 32)), golden!("transactional_none"));
    let append_time = none().base_offset(500).log_append_time(T + 999).partition_leader_epoch(12);
    assert_eq!(append_all(append_time, &five_records(500)), golden!("log_append_time_none"));
}

#[test]
fn sequences_wrap_as_kafkas() {
    let bytes = golden!("transactional_none");
    let header = *only_batch(&bytes).header();
    assert!(header.is_transactional() && !header.is_control());
    assert_eq!((header.base_sequence, header.last_sequence()), (i32::MAX - 1, 2));
}

#[test]
fn compacted_batches_are_read_and_written_as_kafkas() {
    let bytes = golden!("compacted_none");
    let batch = only_batch(&bytes);
    let header = batch.header();
    assert_eq!((header.base_offset, header.last_offset(), header.record_count), (1000, 1020, 2));
    assert_eq!(header.delete_horizon_ms(), Some(T + 86_400_000));
    let records = vec![record(1003, T, Some(b"a"), None), record(1010, T + 1, Some(b"b"), Some(b"2"))];
    assert_eq!(records_of(&batch), records);

    let mut again = BatchBuilder::like(header, Compression::None);
    batch.visit_records(DecompressionLimits::default(), |record| again.append_record_ref(&record)).unwrap();
    again.override_last_offset(1020);
    assert_eq!(again.finish().unwrap(), bytes);

    let empty = golden!("empty");
    assert_eq!(empty_batch(header), empty);
    assert_eq!(only_batch(&empty).records().count(), 0);
    assert_eq!(only_batch(&empty).summaries(DecompressionLimits::default()).count(), 0);
}

#[test]
fn control_batches_are_read_and_written_as_kafkas() {
    for (bytes, committed, base_offset, coordinator_epoch) in
        [(golden!("commit_marker"), true, 77, 31), (golden!("abort_marker"), false, 78, -1)]
    {
        let batch = only_batch(&bytes);
        assert!(batch.header().is_control() && batch.header().is_transactional());
        let marker = &records_of(&batch)[0];
        let control_type = if committed { ControlRecordType::Commit } else { ControlRecordType::Abort };
        assert_eq!(ControlRecordType::parse(marker.key.as_deref().unwrap()), Some(control_type));
        assert_eq!(ControlRecord::coordinator_epoch(marker.value.as_deref().unwrap()), Some(coordinator_epoch));

        let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset).partition_leader_epoch(6);
        builder = builder.producer(1234, 9, -1).transactional(true).control(true);
        builder.append_control(T, &ControlRecord::end_transaction(committed, coordinator_epoch)).unwrap();
        assert_eq!(builder.finish().unwrap(), bytes);
    }
    for (bytes, control_type, base_offset) in
        [(golden!("leader_change"), ControlRecordType::LeaderChange, 5), (golden!("snapshot_header"), ControlRecordType::SnapshotHeader, 0)]
    {
        let batch = only_batch(&bytes);
        let record = &records_of(&batch)[0];
        assert_eq!(ControlRecordType::parse(record.key.as_deref().unwrap()), Some(control_type));
        let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset).partition_leader_epoch(3).control(true);
        builder.append_control(T, &ControlRecord::new(control_type, record.value.clone().unwrap())).unwrap();
        assert_eq!(builder.finish().unwrap(), bytes);
    }
}

#[test]
fn old_message_formats_are_told_apart_from_corruption() {
    for (bytes, magic) in [(golden!("old_magic_0"), 0), (golden!("old_magic_1"), 1)] {
        assert_eq!(BatchView::parse(&bytes).unwrap_err(), BatchError::OldMagic { position: 0, magic });
    }
    let mut bytes = golden!("create_time_none");
    let first = bytes.len();
    bytes.extend(golden!("old_magic_1"));
    let mut batches = Batches::new(&bytes);
    assert!(batches.next().unwrap().is_ok());
    assert_eq!(batches.next().unwrap().unwrap_err(), BatchError::OldMagic { position: first, magic: 1 });
    assert_eq!(batches.position(), first);
    assert!(batches.next().is_none());
}

#[test]
fn stamping_gives_the_batch_a_leader_writes() {
    // From what a producer sends to what Kafka's leader would have built with these offsets, epochs and times.
    let mut bytes = golden!("create_time_none");
    let mut batch = BatchViewMut::parse(&mut bytes).unwrap();
    batch.set_last_offset(504);
    batch.set_partition_leader_epoch(12);
    batch.set_log_append_time(T + 999);
    assert_eq!(bytes, golden!("log_append_time_none"));

    let mut bytes = golden!("create_time_none");
    let mut batch = BatchViewMut::parse(&mut bytes).unwrap();
    batch.set_producer_state((1 << 62) + 1, 32_000, i32::MAX - 1, true);
    batch.set_base_offset(1 << 32);
    batch.set_partition_leader_epoch(5);
    assert_eq!(bytes, golden!("transactional_none"));
}

#[test]
fn stamping_offset_and_epoch_keeps_the_crc() {
    let mut bytes = golden!("create_time_zstd");
    let crc = only_batch(&bytes).header().crc;
    let mut batch = BatchViewMut::parse(&mut bytes).unwrap();
    batch.set_base_offset(7);
    batch.set_partition_leader_epoch(8);
    batch.set_max_timestamp(TimestampType::CreateTime, T + 70_000);
    assert_eq!((batch.header().crc, batch.header().base_offset, batch.header().partition_leader_epoch), (crc, 7, 8));
    batch.set_max_timestamp(TimestampType::CreateTime, T);
    assert_ne!(batch.header().crc, crc);
    only_batch(&bytes);
}

#[test]
fn a_torn_batch_is_found_at_every_length() {
    let whole = golden!("create_time_lz4");
    let bytes = [whole.clone(), whole.clone()].concat();
    for len in whole.len() + 1..bytes.len() {
        let mut batches = Batches::new(&bytes[..len]);
        assert!(batches.next().unwrap().is_ok());
        match batches.next().unwrap() {
            Err(BatchError::Truncated { position, needed, available }) => {
                assert_eq!((position, available), (whole.len(), len - whole.len()));
                assert!(needed > available && needed <= whole.len());
            }
            other => panic!("cut at {len}: {other:?}"),
        }
        assert_eq!(batches.position(), whole.len());
    }
    assert_eq!(Batches::new(&bytes).map(|batch| batch.unwrap().bytes().len()).sum::<usize>(), bytes.len());
    assert!(Batches::new(&[]).next().is_none());
}

#[test]
fn any_changed_bit_behind_the_crc_is_noticed() {
    let bytes = golden!("create_time_none");
    for position in 17..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[position] ^= 1 << bit;
            let error = BatchView::parse(&changed).unwrap().verify_crc().unwrap_err();
            assert!(matches!(error, BatchError::CrcMismatch { .. }));
        }
    }
}

#[test]
fn what_a_client_may_not_send_is_refused_in_kafkas_words() {
    let check = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = golden!("create_time_none");
        change(&mut bytes);
        match BatchView::parse(&bytes).unwrap().header().check_from_client() {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(check(&|_| ()), "");
    let put = |bytes: &mut Vec<u8>, position: usize, value: i32| bytes[position..position + 4].copy_from_slice(&value.to_be_bytes());
    assert_eq!(check(&|bytes| put(bytes, 23, -1)), "Batch has an invalid offset range: [100, 99]");
    assert_eq!(check(&|bytes| put(bytes, 23, 5)), "Inconsistent batch offset range [100, 105] and count of records 5");
    assert_eq!(check(&|bytes| put(bytes, 57, 0)), "Invalid reported count for record batch: 0");
    assert_eq!(check(&|bytes| bytes[22] |= 0x20), "Clients are not allowed to write control records");
    assert_eq!(
        check(&|bytes| bytes[43..51].copy_from_slice(&9i64.to_be_bytes())),
        "Invalid sequence number -1 in record batch with producerId 9"
    );
}

/// The batch with another record count and, so that only the count is wrong, a CRC of its own.
fn with_count(bytes: &[u8], count: i32) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[57..61].copy_from_slice(&count.to_be_bytes());
    changed
}

/// The first error of each of the ways to the records.
fn first_errors(bytes: &[u8], limits: DecompressionLimits) -> [Option<BatchError>; 4] {
    let batch = BatchView::parse(bytes).unwrap();
    let mut owned = batch.records_within(limits);
    let owned_error = owned.by_ref().find_map(Result::err);
    assert!(owned.next().is_none(), "nothing may follow an error");
    let mut summaries = batch.summaries(limits);
    let summary_error = summaries.by_ref().find_map(Result::err);
    assert!(summaries.next().is_none());
    let mut buffer = Vec::new();
    let unpacked = batch.unpack(limits, &mut buffer);
    let unpacked_error = unpacked.and_then(|unpacked| batch.visit_unpacked(unpacked, |_| Ok::<(), BatchError>(()))).err();
    [owned_error, summary_error, batch.visit_records(limits, |_| Ok::<(), BatchError>(())).err(), unpacked_error]
}

/// The error all ways agree on.
fn first_error(bytes: &[u8], limits: DecompressionLimits) -> Option<BatchError> {
    let [owned, summary, visited, unpacked] = first_errors(bytes, limits);
    assert_eq!(owned, summary);
    assert_eq!(owned, visited);
    assert_eq!(owned, unpacked);
    owned
}

#[test]
fn a_wrong_record_count_is_noticed() {
    for (compression, bytes) in by_codec() {
        let limits = DecompressionLimits::default();
        assert_eq!(first_error(&bytes, limits), None);
        let left_over = first_error(&with_count(&bytes, 4), limits);
        assert!(matches!(left_over, Some(BatchError::InvalidRecord { index: 3, .. })), "{compression}: {left_over:?}");
        for count in [6, i32::MAX] {
            let missing = first_error(&with_count(&bytes, count), limits);
            assert!(matches!(missing, Some(BatchError::InvalidRecord { index: 5, .. })), "{compression}: {missing:?}");
        }
        for count in [-1, i32::MIN] {
            assert!(matches!(first_error(&with_count(&bytes, count), limits), Some(BatchError::InvalidBatch(_))));
        }
        assert_eq!(first_error(&with_count(&bytes, 0), limits), None);
    }
}

#[test]
fn an_unknown_codec_is_an_error_of_its_own() {
    for id in 5..8 {
        let mut bytes = golden!("create_time_none");
        bytes[22] |= id;
        assert_eq!(first_error(&bytes, DecompressionLimits::default()), Some(BatchError::UnknownCompression { id }));
    }
}

/// A batch whose compressed payload is `payload`.
fn batch_of(compression: Compression, payload: &[u8], record_count: i32) -> Vec<u8> {
    let mut bytes = golden!("create_time_none");
    bytes.truncate(BATCH_OVERHEAD);
    compression.compress_into(None, payload, &mut bytes).unwrap();
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = compression.id();
    bytes[57..61].copy_from_slice(&record_count.to_be_bytes());
    bytes
}

#[test]
fn bombs_end_at_the_limit() {
    // One record that declares (and has) 8 MiB of zeros; and one record after the other, without an end.
    let mut huge = vec![0x80, 0x80, 0x80, 0x08];
    huge.resize(4 + (8 << 20), 0);
    let mut many = Vec::new();
    while many.len() < 8 << 20 {
        // attributes, timestamp, offset, null key, null value, no headers
        many.extend_from_slice(&[12, 0, 0, 0, 1, 1, 0]);
    }
    let limits = DecompressionLimits { max_record_bytes: 1 << 20, max_batch_bytes: 4 << 20 };
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let bytes = batch_of(compression, &huge, 1);
        let batch = BatchView::parse(&bytes).unwrap();
        let error = batch.records_within(limits).next().unwrap().unwrap_err();
        assert_eq!(error, BatchError::TooLarge { limit: 1 << 20 }, "{compression}");
        let error = batch.visit_records(limits, |_| Ok::<(), BatchError>(())).unwrap_err();
        assert_eq!(error, BatchError::TooLarge { limit: 1 << 20 }, "{compression}");

        let bytes = batch_of(compression, &many, i32::MAX);
        assert_eq!(first_error(&bytes, limits), Some(BatchError::TooLarge { limit: 4 << 20 }), "{compression}");
        let batch = BatchView::parse(&bytes).unwrap();
        assert!(batch.summaries(limits).take_while(Result::is_ok).count() <= (4 << 20) / 7);
    }
}

#[test]
fn lengths_inside_a_record_are_not_believed() {
    // Each declares about 2^31 bytes, or headers, of which next to nothing is there.
    let huge = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    let record_length = huge.to_vec();
    let inside = |before: &[u8]| {
        let body = [before, &huge, &[0; 8]].concat();
        [&[body.len() as u8 * 2], &body[..]].concat()
    };
    let payloads =
        [record_length, inside(&[0, 0, 0]), inside(&[0, 0, 0, 1]), inside(&[0, 0, 0, 1, 1]), inside(&[0, 0, 0, 1, 1, 2]), vec![1], vec![0]];
    for compression in Compression::ALL {
        for payload in &payloads {
            let limits = DecompressionLimits { max_record_bytes: usize::MAX, max_batch_bytes: u64::MAX };
            let error = first_error(&batch_of(compression, payload, 1), limits);
            assert!(matches!(error, Some(BatchError::InvalidRecord { index: 0, .. })), "{compression} {payload:?}: {error:?}");
        }
    }
}

#[test]
fn what_cannot_be_written_is_an_error_and_leaves_the_batch_alone() {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(10);
    assert!(builder.append(-2, None, None, &[]).is_err());
    assert!(builder.append_with_offset(9, 0, None, None, &[]).is_err());
    assert!(builder.append_with_offset(11 + i64::from(i32::MAX), 0, None, None, &[]).is_err());
    assert!(builder.append_control(0, &ControlRecord::end_transaction(true, 0)).is_err());
    assert_eq!(builder.append(5, None, None, &[]), Ok(10));
    assert!(builder.append_with_offset(10, 0, None, None, &[]).is_err());
    let bytes = builder.finish().unwrap();
    assert_eq!(records_of(&only_batch(&bytes)), vec![record(10, 5, None, None)]);

    let with_record = |mut builder: BatchBuilder| {
        builder.append(0, None, None, &[]).unwrap();
        builder.finish()
    };
    assert!(with_record(BatchBuilder::new(Compression::None).transactional(true)).is_err());
    assert!(with_record(BatchBuilder::new(Compression::None).producer(1, -1, 0)).is_err());
    assert!(with_record(BatchBuilder::new(Compression::None).producer(1, 0, -1)).is_err());
    assert!(with_record(BatchBuilder::new(Compression::Gzip).compression_level(Some(10))).is_err());
    assert!(BatchBuilder::new(Compression::Zstd).finish().unwrap().is_empty());
    let mut control = BatchBuilder::new(Compression::None).control(true);
    assert!(control.append(0, None, None, &[]).is_err());
    assert!(control.append_control(0, &ControlRecord { key: Bytes::from_static(&[0, 0, 0, 7]), value: Bytes::new() }).is_err());
}

#[test]
fn a_builder_knows_when_it_is_full() {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = [7u8; 100];
    assert!(builder.has_room_for(10, 0, None, Some(&value), &[]), "an empty batch takes any record");
    builder.append(0, None, Some(&value), &[]).unwrap();
    let one = builder.uncompressed_size_bytes();
    assert!(builder.is_full(one) && !builder.is_full(one + 1));
    let record = one - BATCH_OVERHEAD;
    assert!(!builder.has_room_for(one + record - 1, 0, None, Some(&value), &[]));
    assert!(builder.has_room_for(one + record, 0, None, Some(&value), &[]));
    builder.append(0, None, Some(&value), &[]).unwrap();
    assert_eq!(builder.uncompressed_size_bytes(), one + record);
    assert_eq!(builder.estimated_size_bytes(), one + record);
    assert_eq!(builder.finish().unwrap().len(), one + record);
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn any_record() -> impl Strategy<Value = Record> {
    let header = (any_bytes(), prop::option::of(any_bytes())).prop_map(|(key, value)| RecordHeader { key, value });
    let time = prop_oneof![Just(-1), 0..i64::MAX, T..T + 1000];
    (time, prop::option::of(any_bytes()), prop::option::of(any_bytes()), prop::collection::vec(header, 0..4))
        .prop_map(|(timestamp, key, value, headers)| Record { offset: 0, timestamp, key, value, headers })
}

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    (prop::collection::vec(any_record(), 1..20), 0..i64::MAX / 2).prop_map(|(mut records, base)| {
        for (delta, record) in records.iter_mut().enumerate() {
            record.offset = base + delta as i64;
        }
        records
    })
}

fn any_compression() -> impl Strategy<Value = Compression> {
    prop::sample::select(Compression::ALL.to_vec())
}

proptest! {
    #[test]
    fn written_records_are_read_back(records in any_records(), compression in any_compression()) {
        let mut builder = BatchBuilder::new(compression).base_offset(records[0].offset);
        for record in &records {
            builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers).unwrap();
        }
        let bytes = builder.finish().unwrap();
        let batch = only_batch(&bytes);
        batch.header().check_from_client().unwrap();
        prop_assert_eq!(batch.header().max_timestamp, records.iter().map(|record| record.timestamp).max().unwrap());
        prop_assert_eq!(&records_of(&batch), &records);
        prop_assert_eq!(&batch.records_shared(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), &records);
    }

    #[test]
    fn broken_batches_are_errors_by_every_way(
        records in any_records(),
        compression in any_compression(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let base = BatchBuilder::new(compression).base_offset(records[0].offset);
        let mut bytes = append_all(base, &records).to_vec();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for (index, value) in changes {
            if !bytes.is_empty() {
                let position = index.index(bytes.len());
                bytes[position] = value;
            }
        }
        for batch in Batches::new(&bytes).map_while(Result::ok) {
            let _ = batch.verify_crc();
            let _ = batch.header().check_from_client();
            let _ = (batch.header().last_offset(), batch.header().last_sequence(), batch.header().delete_horizon_ms());
            // Where more than one thing is broken, which comes first is up to the way.
            let errors = first_errors(batch.bytes(), DecompressionLimits { max_record_bytes: 1 << 20, max_batch_bytes: 1 << 22 });
            prop_assert!(errors.iter().all(|error| error.is_some() == errors[0].is_some()), "{:?}", errors);
        }
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in 0u8..4, length in 0u8..255) {
        let mut bytes = bytes;
        if bytes.len() > 17 {
            bytes[8..12].copy_from_slice(&[0, 0, 0, length]);
            bytes[16] = magic;
        }
        for batch in Batches::new(&bytes).map_while(Result::ok) {
            let _ = batch.verify_crc();
            let _ = batch.records().map_while(Result::ok).count();
            let _ = batch.summaries(DecompressionLimits::default()).map_while(Result::ok).count();
        }
    }

    #[test]
    fn any_bytes_are_no_compressed_stream_that_panics(compression in any_compression(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = compression.decompress(&bytes, 1 << 20);
    }
}
