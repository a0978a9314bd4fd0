//! `.index` and `.timeindex` files, compared with the log that they belong to.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::Dump;
use crate::protocol::batch::{BatchView, NO_TIMESTAMP};
use crate::storage::inspect::{InspectError, LogFile, OffsetIndexFile, TimeIndexFile};
use crate::tools::exit::Failure;

impl Dump<'_> {
    /// The file of the same segment with another suffix.
    fn sibling(&self, suffix: &str) -> PathBuf {
        let word = self.name().split('.').next().unwrap_or_default();
        self.path.with_file_name(format!("{word}{suffix}"))
    }

    fn passed_sanity_check(&mut self) -> anyhow::Result<()> {
        match self.json() {
            true => self.line("passedSanityCheck", true.into()),
            false => Ok(writeln!(self.session.out, "{} passed sanity check.", self.file)?),
        }
    }

    /// The part of the log that an index entry points to begins here; an error when there is nothing.
    fn position_in(&self, log: &LogFile, position: i32) -> Result<u64, Failure> {
        match u64::try_from(position) {
            Ok(position) if position <= log.size_bytes() => Ok(position),
            Ok(_) => Err(Failure::new(format!(
                "Slice from position {position} exceeds end position of {}, which has {} bytes",
                self.sibling(".log").display(),
                log.size_bytes()
            ))),
            Err(_) => Err(Failure::new(format!("Invalid position: {position} in read from {}", self.sibling(".log").display()))),
        }
    }

    pub(super) fn dump_index(&mut self) -> anyhow::Result<()> {
        let base_offset = self.base_offset()?;
        let log = LogFile::open(&self.sibling(".log"))?;
        let mut index = OffsetIndexFile::open(self.path, base_offset)?;
        if index.is_empty() {
            return match self.json() {
                true => self.line("empty", true.into()),
                false => Ok(writeln!(self.session.out, "{} is empty.", self.file)?),
            };
        }
        if self.request.sanity_only {
            index.sanity_check()?;
            return self.passed_sanity_check();
        }
        for n in 0..index.len() {
            let entry = index.entry(n)?;
            // The rest of a file that was preallocated.
            if entry.offset == base_offset && n > 0 {
                return Ok(());
            }
            let position = self.position_in(&log, entry.position)?;
            let end = position.saturating_add(u64::try_from(self.request.max_message_size).unwrap_or(0));
            let batch = log.batches(position, end).next_batch()?.ok_or_else(|| {
                Failure::new(format!("no batch at position {position} of {}, to which an entry points", self.sibling(".log").display()))
                    .advise("a batch that exceeds --max-message-size is not found either")
            })?;
            let last_offset = batch.header.last_offset();
            if last_offset != entry.offset {
                self.is_bad = true;
                let heading = format!("Mismatches in :{}", self.absolute());
                self.problem(heading, format!("  Index offset: {}, log offset: {last_offset}", entry.offset));
            }
            if self.request.verify_only {
                continue;
            }
            match self.json() {
                true => self.line("entry", json!({"offset": entry.offset, "position": entry.position}))?,
                false => writeln!(self.session.out, "offset: {} position: {}", entry.offset, entry.position)?,
            }
        }
        Ok(())
    }

    pub(super) fn dump_time_index(&mut self) -> anyhow::Result<()> {
        let base_offset = self.base_offset()?;
        let log = LogFile::open(&self.sibling(".log"))?;
        let mut index = OffsetIndexFile::open(&self.sibling(".index"), base_offset)?;
        let mut time_index = TimeIndexFile::open(self.path, base_offset)?;
        if self.request.sanity_only {
            time_index.sanity_check()?;
            return self.passed_sanity_check();
        }
        let mut previous = NO_TIMESTAMP;
        for n in 0..time_index.len() {
            let entry = time_index.entry(n)?;
            if entry.offset == base_offset && n > 0 {
                return Ok(());
            }
            let position = self.position_in(&log, index.lookup(entry.offset)?.position)?;
            let found = first_reaching(&log, position, entry.offset)?;
            let not_found = format!("The following indexed offsets are not found in :{}", self.absolute());
            match found {
                None => self.problem(not_found, format!("Indexed offset: {}, found log offset: -1", entry.offset)),
                Some((last_offset, _)) if last_offset != entry.offset => {
                    self.problem(not_found, format!("Indexed offset: {}, found log offset: {last_offset}", entry.offset));
                }
                Some((_, timestamp)) => {
                    if timestamp != entry.timestamp {
                        let heading = format!("Found timestamp mismatch in :{}", self.absolute());
                        self.problem(heading, format!("  Index timestamp: {}, log timestamp: {timestamp}", entry.timestamp));
                    }
                    if previous >= entry.timestamp {
                        let heading = format!("Found out of order timestamp in :{}", self.absolute());
                        let line = format!("  Index timestamp: {}, Previously indexed timestamp: {previous}", entry.timestamp);
                        self.problem(heading, line);
                    }
                    if timestamp == entry.timestamp && previous < entry.timestamp {
                        self.print_time_entry(entry.timestamp, entry.offset)?;
                        previous = entry.timestamp;
                        continue;
                    }
                }
            }
            self.is_bad = true;
            self.print_time_entry(entry.timestamp, entry.offset)?;
            previous = entry.timestamp;
        }
        Ok(())
    }

    fn print_time_entry(&mut self, timestamp: i64, offset: i64) -> anyhow::Result<()> {
        if self.request.verify_only {
            return Ok(());
        }
        match self.json() {
            true => self.line("entry", json!({"timestamp": timestamp, "offset": offset})),
            false => Ok(writeln!(self.session.out, "timestamp: {timestamp} offset: {offset}")?),
        }
    }
}

/// The first batch from `position` on whose last offset is at least `offset`: that last offset, and the largest timestamp of its records.
fn first_reaching(log: &LogFile, position: u64, offset: i64) -> Result<Option<(i64, i64)>, InspectError> {
    let mut batches = log.batches(position, u64::MAX);
    while let Some(batch) = batches.next_batch()? {
        let last_offset = batch.header.last_offset();
        if last_offset < offset {
            continue;
        }
        if last_offset > offset {
            return Ok(Some((last_offset, NO_TIMESTAMP)));
        }
        let bytes = batches.bytes(&batch)?;
        let corrupt = |error| InspectError::Corrupt(format!("the batch at position {} cannot be read: {error}", batch.position));
        let mut largest = NO_TIMESTAMP;
        for record in BatchView::parse(&bytes).map_err(corrupt)?.summaries(Default::default()) {
            largest = largest.max(record.map_err(corrupt)?.timestamp);
        }
        return Ok(Some((last_offset, largest)));
    }
    Ok(None)
}
