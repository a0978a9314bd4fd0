use super::*;
use crate::protocol::compression::Compression;
use bytes::Bytes;

fn header(key: &'static [u8], value: Option<&'static [u8]>) -> RecordHeader {
    RecordHeader { key: Bytes::from_static(key), value: value.map(Bytes::from_static) }
}

/// Records with all that is allowed: nulls, empty bytes, repeated headers, keys that are no text, times that go back.
fn sample() -> Vec<Record> {
    let headers = vec![header(b"h", Some(b"1")), header(b"h", None), header(b"\xff\xfe", Some(b"")), header(b"", Some(b"x"))];
    let record = |i: i64, key: Option<&'static [u8]>, value: Option<&'static [u8]>, headers: Vec<RecordHeader>| Record {
        offset: 100 + i,
        timestamp: 1_700_000_000_000 + [0, 5, -3, 70_000][i as usize],
        key: key.map(Bytes::from_static),
        value: value.map(Bytes::from_static),
        headers,
    };
    vec![
        record(0, Some(b"key"), Some(b"value"), vec![]),
        record(1, None, Some(b""), headers),
        record(2, Some(b""), None, vec![]),
        record(3, None, None, vec![header(b"only", None)]),
    ]
}

fn built(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression).base_offset(100);
    for record in sample() {
        builder.append_record(&record).unwrap();
    }
    builder.finish().unwrap()
}

fn collect(batch: &BatchView<'_>) -> Vec<Record> {
    batch.records().collect::<Result<_, _>>().unwrap()
}

#[test]
fn records_come_back_by_every_way() {
    for compression in Compression::ALL {
        let bytes = built(compression);
        let batch = BatchView::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        batch.header().check_from_client().unwrap();
        assert_eq!(batch.header().size_bytes(), bytes.len());
        assert_eq!(batch.header().compression(), Ok(compression));
        assert_eq!(collect(&batch), sample());
        assert_eq!(batch.records_shared(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), sample());
        assert_eq!(batch.records_shared(&Bytes::from_static(b"another")).collect::<Result<Vec<_>, _>>().unwrap(), sample());

        let mut visited = Vec::new();
        batch
            .visit_records(DecompressionLimits::default(), |record| {
                assert_eq!(record.header_count(), record.headers().count());
                visited.push(record.to_record());
                Ok::<(), BatchError>(())
            })
            .unwrap();
        assert_eq!(visited, sample());

        let mut buffer = b"used before".to_vec();
        let unpacked = Bytes::copy_from_slice(batch.unpack(DecompressionLimits::default(), &mut buffer).unwrap());
        let mut visited = Vec::new();
        batch
            .visit_unpacked(&unpacked, |record| {
                visited.push(record.to_record_in(&unpacked));
                Ok::<(), BatchError>(())
            })
            .unwrap();
        assert_eq!(visited, sample());

        let summaries: Vec<_> = batch.summaries(DecompressionLimits::default()).map(Result::unwrap).collect();
        assert_eq!(summaries.len(), 4);
        for (summary, record) in summaries.iter().zip(sample()) {
            assert_eq!((summary.offset, summary.timestamp), (record.offset, record.timestamp));
            assert_eq!(summary.key_len, record.key.map(|key| key.len()));
            assert_eq!(summary.value_len, record.value.map(|value| value.len()));
        }
        let records_size: usize = summaries.iter().map(|summary| summary.size_bytes).sum();
        assert_eq!(records_size + BATCH_OVERHEAD, built(Compression::None).len());
    }
}
