use super::*;

/// Bytes that compress, over several blocks.
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| b"the quick brown fox "[(i * i / 7) % 20]).collect()
}

#[test]
fn every_codec_gives_back_what_it_took() {
    for compression in Compression::ALL {
        for input in [text(0), text(1), text(1000), text(200_000), (0..=255u8).cycle().take(70_000).collect()] {
            let mut out = b"before".to_vec();
            compression.compress_into(None, &input, &mut out).unwrap();
            assert_eq!(&out[..6], b"before");
            assert_eq!(compression.decompress(&out[6..], input.len()).unwrap(), input, "{compression} {}", input.len());
        }
    }
}

#[test]
fn more_than_the_limit_is_an_error() {
    for compression in Compression::ALL {
        let mut out = Vec::new();
        compression.compress_into(None, &text(100_000), &mut out).unwrap();
        assert!(compression.decompress(&out, 99_999).is_err(), "{compression}");
    }
}

#[test]
fn levels_are_kafkas() {
    for (compression, good, bad) in [
        (Compression::Gzip, vec![-1, 1, 9], vec![0, 10, -2]),
        (Compression::Lz4, vec![1, 17], vec![0, 18, -1]),
        (Compression::Zstd, vec![-131072, 0, 22], vec![-131073, 23]),
    ] {
        let input = text(10_000);
        for level in good {
            let mut out = Vec::new();
            compression.compress_into(Some(level), &input, &mut out).unwrap();
            assert_eq!(compression.decompress(&out, input.len()).unwrap(), input, "{compression} {level}");
        }
        for level in bad {
            assert!(compression.compress_into(Some(level), &input, &mut Vec::new()).is_err(), "{compression} {level}");
        }
    }
}

#[test]
fn names_and_ids_are_kafkas() {
    for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let compression = Compression::from_id(id as u8).unwrap();
        assert_eq!((compression.id(), compression.name()), (id as u8, name));
        assert_eq!(name.parse(), Ok(compression));
    }
    assert_eq!(Compression::from_id(5), None);
    assert!("GZIP".parse::<Compression>().is_err());
}

#[test]
fn a_raw_snappy_block_is_read() {
    let input = text(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(Compression::Snappy.decompress(&raw, input.len()).unwrap(), input);
}

#[test]
fn snappy_streams_put_together_are_read() {
    let mut out = Vec::new();
    Compression::Snappy.compress_into(None, b"one ", &mut out).unwrap();
    Compression::Snappy.compress_into(None, b"two", &mut out).unwrap();
    assert_eq!(Compression::Snappy.decompress(&out, 7).unwrap(), b"one two");
}

#[test]
fn a_snappy_block_cannot_declare_gigabytes() {
    // The length 2^32 - 1, then next to nothing.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00];
    assert!(Compression::Snappy.decompress(&lie, usize::MAX - 1).is_err());
}

#[test]
fn the_most_repetitive_input_still_decodes() {
    // As near to each codec's greatest expansion as it gets: the bounds on blocks must not cut it short.
    for compression in Compression::ALL {
        let input = vec![0u8; 3_000_000];
        let mut out = Vec::new();
        compression.compress_into(None, &input, &mut out).unwrap();
        assert!(compression.decompress(&out, input.len()).unwrap() == input, "{compression}");
    }
}

#[test]
fn the_lz4_frame_is_kafkas() {
    let mut out = Vec::new();
    Compression::Lz4.compress_into(None, b"abc", &mut out).unwrap();
    let expected = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 3, 0, 0, 0x80, b'a', b'b', b'c', 0, 0, 0, 0];
    assert_eq!(out, expected);
}

#[test]
fn lz4_frames_kafka_cannot_read_are_refused() {
    let mut out = Vec::new();
    Compression::Lz4.compress_into(None, b"abc", &mut out).unwrap();
    let with_descriptor = |flags: u8, block: u8| {
        let mut frame = out.clone();
        (frame[4], frame[5]) = (flags, block);
        frame[6] = (xxhash::xxh32(&frame[4..6], 0) >> 8) as u8;
        Compression::Lz4.decompress(&frame, 100)
    };
    assert!(with_descriptor(0x60, 0x40).is_ok());
    assert!(with_descriptor(0x60, 0x70).is_ok());
    assert!(with_descriptor(0x40, 0x40).is_err(), "linked blocks");
    assert!(with_descriptor(0x61, 0x40).is_err(), "dictionary");
    assert!(with_descriptor(0xa0, 0x40).is_err(), "version 2");
    assert!(with_descriptor(0x60, 0x30).is_err(), "block size");
    let mut wrong_checksum = out.clone();
    wrong_checksum[6] ^= 1;
    assert!(Compression::Lz4.decompress(&wrong_checksum, 100).is_err());
}

#[test]
fn cut_streams_are_errors() {
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut out = Vec::new();
        compression.compress_into(None, &text(1000), &mut out).unwrap();
        for len in 0..out.len() {
            // A snappy stream may end after its header, and no bytes at all are an empty raw block.
            let valid = compression == Compression::Snappy && (len == 16 || len == 0);
            let result = compression.decompress(&out[..len], 1000);
            assert_eq!(result.is_ok(), valid, "{compression} cut at {len}: {result:?}");
        }
    }
}
