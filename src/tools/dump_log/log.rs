//! `.log` and `.checkpoint` files: batches, their records, and what is in them.

use std::io::Write;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Dump, optional_long};
use crate::protocol::batch::{
    BatchHeader, BatchView, ControlRecord, ControlRecordType, NO_SEQUENCE, Record, RecordHeader, increment_sequence,
};
use crate::protocol::codec::{Message, Reader};
use crate::protocol::compression::Compression;
use crate::protocol::messages::*;
use crate::raft::snapshot::SnapshotId;
use crate::storage::inspect::{LogBatch, LogBatches, LogEntry, LogFile, OldMessage};
use crate::tools::exit::Failure;
use crate::tools::java_json;

/// The snapshot that a new cluster starts with.
const BOOTSTRAP: &str = "bootstrap.checkpoint";

impl Dump<'_> {
    pub(super) fn dump_log(&mut self) -> anyhow::Result<()> {
        self.print_start()?;
        let log = LogFile::open(self.path)?;
        let limit = u64::try_from(self.request.max_bytes)
            .map_err(|_| Failure::new(format!("Invalid size: {} in read from {}", self.request.max_bytes, self.file)))?;
        let end = if self.request.max_bytes == i32::MAX { log.size_bytes() } else { log.size_bytes().min(limit) };
        let mut batches = log.batches(0, end);
        let mut last_offset = -1;
        loop {
            let position = batches.position();
            match batches.next_entry()? {
                None => break,
                Some(LogEntry::Batch(batch)) => {
                    self.print_batch(&mut batches, &batch)?;
                    if self.request.deep {
                        self.print_records(&mut batches, &batch, &mut last_offset)?;
                    }
                }
                Some(LogEntry::Message(message)) => self.print_old_message(&message, position, &mut last_offset)?,
            }
        }
        let trailing = end - batches.position();
        if trailing > 0 && self.request.max_bytes == i32::MAX {
            match self.json() {
                true => self.line("invalidBytesAtEnd", trailing.into())?,
                false => writeln!(self.session.out, "Found {trailing} invalid bytes at the end of {}", self.name().to_owned())?,
            }
        }
        Ok(())
    }

    fn print_start(&mut self) -> anyhow::Result<()> {
        if self.name() == BOOTSTRAP {
            return match self.json() {
                true => self.line("snapshot", json!({"bootstrap": true})),
                false => Ok(writeln!(self.session.out, "KRaft bootstrap snapshot")?),
            };
        }
        if self.name().ends_with(".checkpoint") {
            let id = SnapshotId::from_file_name(self.name())
                .ok_or_else(|| Failure::new(format!("{}: its name is not that of a snapshot", self.file)))?;
            return match self.json() {
                true => self.line("snapshot", json!({"endOffset": id.end_offset, "epoch": id.epoch})),
                false => Ok(writeln!(self.session.out, "Snapshot end offset: {}, epoch: {}", id.end_offset, id.epoch)?),
            };
        }
        let start = self.base_offset()?;
        match self.json() {
            true => self.line("log", json!({"startOffset": start})),
            false => Ok(writeln!(self.session.out, "Log starting offset: {start}")?),
        }
    }

    fn print_batch(&mut self, batches: &mut LogBatches<'_>, batch: &LogBatch) -> anyhow::Result<()> {
        let header = &batch.header;
        if !self.json() {
            let out = &mut self.session.out;
            write!(
                out,
                "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
                 partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {}",
                header.base_offset,
                header.last_offset(),
                header.record_count,
                header.base_sequence,
                header.last_sequence(),
                header.producer_id,
                header.producer_epoch,
                header.partition_leader_epoch,
                header.is_transactional(),
                header.is_control(),
                optional_long(header.delete_horizon_ms()),
            )?;
        }
        let compression = header.compression().map_err(|error| Failure::new(error.to_string()))?.name();
        let is_valid = batches.is_valid(batch)?;
        self.is_bad |= !is_valid;
        if self.json() {
            return self.line(
                "batch",
                json!({
                    "baseOffset": header.base_offset, "lastOffset": header.last_offset(), "count": header.record_count,
                    "baseSequence": header.base_sequence, "lastSequence": header.last_sequence(), "producerId": header.producer_id,
                    "producerEpoch": header.producer_epoch, "partitionLeaderEpoch": header.partition_leader_epoch,
                    "isTransactional": header.is_transactional(), "isControl": header.is_control(),
                    "deleteHorizonMs": header.delete_horizon_ms(), "position": batch.position,
                    "timestampType": header.timestamp_type().name(), "maxTimestamp": header.max_timestamp, "size": batch.size_bytes,
                    "magic": batch.magic, "compression": compression, "crc": header.crc, "isValid": is_valid,
                }),
            );
        }
        writeln!(
            self.session.out,
            " position: {} {}: {} size: {} magic: {} compresscodec: {compression} crc: {} isvalid: {is_valid}",
            batch.position,
            header.timestamp_type().name(),
            header.max_timestamp,
            batch.size_bytes,
            batch.magic,
            header.crc,
        )?;
        Ok(())
    }

    fn print_records(&mut self, batches: &mut LogBatches<'_>, batch: &LogBatch, last_offset: &mut i64) -> anyhow::Result<()> {
        let header = batch.header;
        let bytes = Bytes::from(batches.bytes(batch)?);
        let unreadable = |error| Failure::new(format!("the batch at position {} of {} cannot be read: {error}", batch.position, self.file));
        let view = BatchView::parse(&bytes).map_err(unreadable)?;
        // Kafka decompresses a whole batch before it shows a record of it: of a damaged one it shows none.
        if header.compression() != Ok(Compression::None) && view.verify_crc().is_err() {
            for record in view.summaries(Default::default()) {
                record.map_err(unreadable)?;
            }
        }
        for record in view.records_shared(&bytes) {
            let record = record.map_err(|error| {
                Failure::new(format!("the batch at position {} of {} cannot be read: {error}", batch.position, self.file))
            })?;
            self.note_offset(record.offset, last_offset);
            if self.json() {
                self.print_record_json(&header, &record)?;
            } else {
                self.print_record(&header, &record)?;
            }
        }
        Ok(())
    }

    fn note_offset(&mut self, offset: i64, last_offset: &mut i64) {
        if offset != last_offset.wrapping_add(1) {
            let heading = format!("Non-consecutive offsets in {}", self.absolute());
            self.problem(heading, format!("  {last_offset} is followed by {offset}"));
        }
        *last_offset = offset;
    }

    /// A message of a format before Kafka 0.11, and what is compressed in it.
    fn print_old_message(&mut self, message: &OldMessage, position: u64, last_offset: &mut i64) -> anyhow::Result<()> {
        let compression = message.compression().map_err(|id| Failure::new(format!("Unknown compression type id: {id}")))?.name();
        self.is_bad |= !message.is_valid;
        if self.json() {
            self.line(
                "message",
                json!({
                    "offset": message.offset, "position": position, "timestampType": message.timestamp_type(),
                    "timestamp": message.timestamp, "size": message.size_bytes, "magic": message.magic, "compression": compression,
                    "crc": message.crc, "isValid": message.is_valid,
                }),
            )?;
        } else {
            writeln!(
                self.session.out,
                "offset: {} position: {position} {}: {} size: {} magic: {} compresscodec: {compression} crc: {} isvalid: {}",
                message.offset,
                message.timestamp_type(),
                message.timestamp,
                message.size_bytes,
                message.magic,
                message.crc,
                message.is_valid
            )?;
        }
        if !self.request.deep {
            return Ok(());
        }
        let unreadable = |reason| Failure::new(format!("the message at position {position} of {} cannot be read: {reason}", self.file));
        for inner in message.messages().map_err(unreadable)? {
            self.note_offset(inner.offset, last_offset);
            let (key, value) = (inner.key.clone(), inner.value.clone());
            let record = Record { offset: inner.offset, timestamp: inner.timestamp, key, value, headers: Vec::new() };
            if self.json() {
                let mut shown = json!({
                    "offset": record.offset, "timestamp": record.timestamp, "keySize": size(record.key.as_ref()),
                    "valueSize": size(record.value.as_ref()), "crc": inner.crc, "isValid": inner.is_valid,
                });
                self.add_contents_json(&record, &mut shown)?;
                self.line("record", shown)?;
                continue;
            }
            if !self.request.skip_metadata {
                write!(
                    self.session.out,
                    "| offset: {} {}: {} keySize: {} valueSize: {} isValid: {} crc: {}",
                    record.offset,
                    message.timestamp_type(),
                    record.timestamp,
                    size(record.key.as_ref()),
                    size(record.value.as_ref()),
                    inner.is_valid,
                    inner.crc
                )?;
            }
            self.print_contents(&record)?;
            writeln!(self.session.out)?;
        }
        Ok(())
    }

    /// Key and value, if they are asked for.
    fn print_contents(&mut self, record: &Record) -> anyhow::Result<()> {
        if !self.request.contents {
            return Ok(());
        }
        let mut prefix = if self.request.skip_metadata { "| " } else { " " };
        let (key, value) = self.request.decoder.decode(record)?;
        if let Some(key) = key {
            write!(self.session.out, "{prefix}key: {}", key.plain())?;
            prefix = " ";
        }
        if let Some(value) = value {
            write!(self.session.out, "{prefix}payload: {}", value.plain())?;
        }
        Ok(())
    }

    fn add_contents_json(&self, record: &Record, shown: &mut Value) -> anyhow::Result<()> {
        if self.request.contents {
            let (key, value) = self.request.decoder.decode(record)?;
            shown["key"] = key.map_or(Value::Null, |key| key.json());
            shown["value"] = value.map_or(Value::Null, |value| value.json());
        }
        Ok(())
    }

    fn print_record(&mut self, header: &BatchHeader, record: &Record) -> anyhow::Result<()> {
        if !self.request.skip_metadata {
            let keys: Vec<_> = record.headers.iter().map(|header| String::from_utf8_lossy(&header.key)).collect();
            write!(
                self.session.out,
                "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}]",
                record.offset,
                header.timestamp_type().name(),
                record.timestamp,
                size(record.key.as_ref()),
                size(record.value.as_ref()),
                sequence(header, record),
                keys.join(","),
            )?;
            if header.is_control() {
                write!(self.session.out, "{}", control_text(record)?)?;
            }
        }
        if !header.is_control() {
            self.print_contents(record)?;
        }
        writeln!(self.session.out)?;
        Ok(())
    }

    fn print_record_json(&mut self, header: &BatchHeader, record: &Record) -> anyhow::Result<()> {
        let mut shown = json!({});
        if !self.request.skip_metadata {
            let text = |bytes: &Bytes| Value::from(String::from_utf8_lossy(bytes));
            let one = |header: &RecordHeader| json!({"key": text(&header.key), "value": header.value.as_ref().map(text)});
            shown = json!({
                "offset": record.offset, "timestamp": record.timestamp, "keySize": size(record.key.as_ref()),
                "valueSize": size(record.value.as_ref()), "sequence": sequence(header, record),
                "headers": record.headers.iter().map(one).collect::<Vec<_>>(),
            });
            if header.is_control() {
                let (name, value) = control(record)?;
                shown["control"] = json!({"type": name, "data": value});
            }
        }
        if !header.is_control() {
            self.add_contents_json(record, &mut shown)?;
        }
        self.line("record", shown)
    }
}

fn size(bytes: Option<&Bytes>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

fn sequence(header: &BatchHeader, record: &Record) -> i32 {
    if header.base_sequence < 0 {
        return NO_SEQUENCE;
    }
    increment_sequence(header.base_sequence, record.offset.wrapping_sub(header.base_offset) as i32)
}

/// A control record's type by Kafka's name, and its content.
fn control(record: &Record) -> Result<(String, Value), Failure> {
    let failed = |reason: String| Failure::new(format!("the control record at offset {} cannot be read: {reason}", record.offset));
    let key = record.key.as_ref().ok_or_else(|| failed("it has no key".to_owned()))?;
    let id = ControlRecordType::parse_id(key).ok_or_else(|| failed("its key is too short, or of an unknown version".to_owned()))?;
    let Some(control_type) = ControlRecordType::from_id(id) else { return Ok(("UNKNOWN".to_owned(), id.into())) };
    let value = record.value.clone().ok_or_else(|| failed("it has no value".to_owned()))?;
    let data = match control_type {
        ControlRecordType::Abort | ControlRecordType::Commit => {
            let epoch = ControlRecord::coordinator_epoch(&value).ok_or_else(|| failed("its value is too short".to_owned()))?;
            json!({"coordinatorEpoch": epoch})
        }
        ControlRecordType::LeaderChange => json_of::<LeaderChangeMessage>(value).map_err(failed)?,
        ControlRecordType::SnapshotHeader => json_of::<SnapshotHeaderRecord>(value).map_err(failed)?,
        ControlRecordType::SnapshotFooter => json_of::<SnapshotFooterRecord>(value).map_err(failed)?,
        ControlRecordType::KRaftVersion => json_of::<KRaftVersionRecord>(value).map_err(failed)?,
        ControlRecordType::KRaftVoters => json_of::<VotersRecord>(value).map_err(failed)?,
    };
    Ok((control_type.name().to_owned(), data))
}

fn json_of<M: Message>(value: Bytes) -> Result<Value, String> {
    M::decode(&mut Reader::new(value), 0).map(|message| message.to_json(0)).map_err(|error| error.to_string())
}

/// What Kafka's tool prints of a control record.
fn control_text(record: &Record) -> Result<String, Failure> {
    let (name, data) = control(record)?;
    let labelled = |label: &str| format!(" {label} {}", java_json::text(&data));
    Ok(match name.as_str() {
        "COMMIT" | "ABORT" => format!(" endTxnMarker: {name} coordinatorEpoch: {}", data["coordinatorEpoch"]),
        "LEADER_CHANGE" => labelled("LeaderChange:"),
        "SNAPSHOT_HEADER" => labelled("SnapshotHeader"),
        "SNAPSHOT_FOOTER" => labelled("SnapshotFooter"),
        "KRAFT_VERSION" => labelled("KRaftVersion"),
        "KRAFT_VOTERS" => labelled("KRaftVoters"),
        _ => format!(" controlType: UNKNOWN({data})"),
    })
}
