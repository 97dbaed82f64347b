//! Writing: groups, segments, and what retention evicts.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use prism_sse::{Durability, Epoch, Retention, StoreError, StoredRecord};

use crate::files::Files;
use crate::index::{Entry, Index, MemoryIndex};
use crate::options::Options;
use crate::record;
use crate::segment::{self, Header, Segment};
use crate::segments::{INDEX_BYTES, Segments};
use crate::witness::{Meta, Witness};

/// Entries of the oldest segment that are looked at together.
const TRIM_ENTRIES: usize = 1024;

#[derive(Debug)]
pub(crate) struct Writer {
    files: Arc<dyn Files>,
    witness: Witness,
    options: Options,
    /// The number of the last segment file that was made.
    number: u64,
    /// Bytes after which a segment is sealed.
    segment_bytes: u64,
    /// Time after which a segment is sealed, in milliseconds.
    segment_age: u64,
    /// A group failed, so that a new segment is begun.
    begins_segment: bool,
    /// What checksums of records begin with.
    key: u32,
    /// The next record has this one before it.
    previous: u64,
    /// Records of the oldest segment that are evicted.
    evicted: u32,
    encoded: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(
        files: Arc<dyn Files>,
        witness: Witness,
        options: Options,
        previous: u64,
        newest: Option<u64>,
    ) -> Self {
        Self {
            files,
            segment_bytes: options.segment_bytes_of(16 << 25),
            options,
            number: newest.unwrap_or(0),
            segment_age: u64::MAX,
            begins_segment: newest.is_none(),
            // Records that are known to be lost are told by the one behind them.
            previous,
            key: record::checksum_key(&witness.meta.secret),
            witness,
            evicted: 0,
            encoded: Vec::new(),
        }
    }

    pub(crate) fn durability(&self) -> Durability {
        self.options.durability
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.witness.meta
    }

    pub(crate) fn acked(&self) -> u64 {
        self.witness.acked
    }

    pub(crate) fn begin_epoch(&mut self, epoch: Epoch, after: u64) -> Result<(), StoreError> {
        self.witness.change(|meta| meta.epochs.push((epoch, after))).map_err(failed)
    }

    pub(crate) fn reserve(&mut self, until: u64) -> Result<(), StoreError> {
        self.witness.change(|meta| meta.reserved = meta.reserved.max(until)).map_err(failed)
    }

    /// Writes a group, and commits it.
    pub(crate) fn append(
        &mut self,
        group: &[StoredRecord],
        segments: &RwLock<Segments>,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        self.encoded.clear();
        let mut lens = Vec::with_capacity(group.len());
        let mut previous = self.previous;
        for record in group {
            lens.push(record::encode(record, previous, self.key, &mut self.encoded) as u64);
            previous = record.seq;
        }
        let (segment, offset) = self.write(first.time, segments)?;
        let mut committed = segments.write().unwrap_or_else(PoisonError::into_inner);
        if committed.list.back().is_none_or(|last| last.number != segment.number) {
            committed.list.push_back(Arc::clone(&segment));
        }
        let (mut at, mut previous) = (offset, self.previous);
        for (record, len) in group.iter().zip(lens) {
            segment.add(record, previous, at, len);
            at += len;
            previous = record.seq;
        }
        committed.last = last.seq;
        committed.records += group.len() as u64;
        committed.bytes += self.encoded.len() as u64 + group.len() as u64 * INDEX_BYTES;
        committed.oldest.get_or_insert(first.time);
        drop(committed);
        self.previous = last.seq;
        self.witness.set_acked(last.seq);
        Ok(())
    }

    /// Writes what is encoded behind the last record, or to a new segment if the last one is full
    /// or cannot be trusted. Returns where.
    fn write(
        &mut self,
        time: u64,
        segments: &RwLock<Segments>,
    ) -> Result<(Arc<Segment>, u64), StoreError> {
        let open = segments.read().unwrap_or_else(PoisonError::into_inner).list.back().cloned();
        let open = open.filter(|it| !self.begins_segment && matches!(*it.read(), Index::Memory(_)));
        // Whether nothing of the group can be found by a start.
        let mut is_undone = true;
        if let Some(segment) = &open {
            let end = segment.summary().end;
            let begun = segment.read().entries(0, 1).map_err(failed)?;
            let age = begun.first().map_or(0, |first| time.saturating_sub(first.time));
            if end < self.segment_bytes && age < self.segment_age {
                let written = segment.file.write_at(&self.encoded, end);
                let is_written = written.is_ok();
                match written.and_then(|()| self.commit(segment)) {
                    Ok(()) => return Ok((Arc::clone(segment), end)),
                    Err(error) => {
                        let undone = segment.file.set_len(end).and_then(|()| segment.file.sync());
                        is_undone = undone.is_ok();
                        if is_undone && !is_written && is_full(&error) {
                            // The segment is as before.
                            return Err(StoreError::Full);
                        }
                        // What is behind the end is not trusted any more.
                    }
                }
            }
        }
        self.begins_segment = true;
        let segment = match self.write_new(segments) {
            Ok(segment) => segment,
            Err(error) => {
                // A file that stays is void once a later segment was begun, but a start could find
                // the group in it before.
                let is_removed = self.remove_newest().is_ok();
                return Err(match is_undone && is_removed {
                    true => failed(error),
                    false => StoreError::Unknown(error.to_string()),
                });
            }
        };
        self.begins_segment = false;
        if let Some(sealed) = open.filter(|it| it.number != segment.number) {
            // A side file that is not there is made at the next start.
            drop(sealed.seal(&*self.files));
        }
        Ok((segment, segment::HEADER))
    }

    /// Writes what is encoded to a new segment.
    fn write_new(&mut self, segments: &RwLock<Segments>) -> io::Result<Arc<Segment>> {
        let segment = self.begin_segment(segments)?;
        segment.file.write_at(&self.encoded, segment::HEADER)?;
        self.commit(&segment)?;
        Ok(segment)
    }

    fn commit(&self, segment: &Segment) -> io::Result<()> {
        if self.options.durability == Durability::Fsync { segment.file.sync() } else { Ok(()) }
    }

    /// Removes the file that was made last, so that no files gather while writing fails.
    fn remove_newest(&self) -> io::Result<()> {
        match self.files.remove(&segment::file_name(self.number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.and_then(|()| self.files.sync()),
        }
    }

    /// Makes the next file. It is known to be there before anything is written to it.
    fn begin_segment(&mut self, segments: &RwLock<Segments>) -> io::Result<Arc<Segment>> {
        self.number += 1;
        let last = segments.read().unwrap_or_else(PoisonError::into_inner).list.back().cloned();
        let header = Header {
            number: self.number,
            previous: last.as_ref().map_or(0, |last| last.number),
            previous_end: last.as_ref().map_or(0, |last| last.summary().end),
        };
        let file = self.files.open(&segment::file_name(self.number), true)?;
        file.set_len(0)?;
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        self.files.sync()?;
        let index = Index::Memory(MemoryIndex::new(segment::HEADER));
        Ok(Arc::new(Segment::new(self.number, file, self.key, index)))
    }

    /// Evicts what the retention does not cover.
    pub(crate) fn trim(
        &mut self,
        retention: &Retention,
        now: u64,
        segments: &RwLock<Segments>,
    ) -> Result<(), StoreError> {
        let bytes = u64::try_from(retention.max_bytes()).unwrap_or(u64::MAX);
        let age = u64::try_from(retention.max_age().as_millis()).unwrap_or(u64::MAX);
        self.segment_bytes = self.options.segment_bytes_of(bytes);
        self.segment_age = (age / 8).max(1000);
        let count = u64::try_from(retention.max_count()).unwrap_or(u64::MAX);
        let (mut kept, before) = {
            let committed = segments.read().unwrap_or_else(PoisonError::into_inner);
            let kept = Kept {
                records: committed.records,
                bytes: committed.bytes,
                oldest: committed.oldest,
                floor: committed.floor,
            };
            (kept, committed.floor)
        };
        loop {
            let committed = segments.read().unwrap_or_else(PoisonError::into_inner);
            let Some(oldest) = committed.list.front().cloned() else { break };
            let is_only = committed.list.len() == 1;
            drop(committed);
            let exceeds = |entry: &Entry, kept: &Kept| {
                entry.seq <= kept.floor
                    || kept.records > count
                    || (kept.bytes > bytes && kept.records > 1)
                    || entry.time.saturating_add(age) <= now
            };
            let is_done = self.evict_some(&oldest, &mut kept, exceeds).map_err(failed)?;
            let is_empty = self.evicted == oldest.summary().records;
            if is_empty && !is_only {
                self.remove_oldest(&mut kept, segments).map_err(failed)?;
            } else if is_done || is_empty {
                break;
            }
        }
        let mut committed = segments.write().unwrap_or_else(PoisonError::into_inner);
        let Kept { records, bytes, oldest, floor } = kept;
        (committed.records, committed.bytes) = (records, bytes);
        committed.oldest = oldest.filter(|_| records > 0);
        committed.floor = floor;
        if floor > before {
            committed.lost.retain(|(_, last)| *last > floor);
        }
        Ok(())
    }

    /// Evicts some of the oldest segment's records. Returns whether the next one is kept.
    fn evict_some(
        &mut self,
        oldest: &Segment,
        kept: &mut Kept,
        exceeds: impl Fn(&Entry, &Kept) -> bool,
    ) -> io::Result<bool> {
        let index = oldest.index(&*self.files)?;
        let entries = index.entries(self.evicted, TRIM_ENTRIES + 1)?;
        let end = index.summary().end;
        drop(index);
        for (at, entry) in entries.iter().take(TRIM_ENTRIES).enumerate() {
            if !exceeds(entry, kept) {
                kept.oldest = Some(entry.time);
                return Ok(true);
            }
            let end = entries.get(at + 1).map_or(end, |next| next.offset);
            kept.records -= 1;
            kept.bytes = kept.bytes.saturating_sub(end - entry.offset + INDEX_BYTES);
            kept.floor = kept.floor.max(entry.seq);
            self.evicted += 1;
        }
        Ok(false)
    }

    /// Removes the oldest segment, once all of its records are evicted. The next one says up to
    /// where they were.
    fn remove_oldest(&mut self, kept: &mut Kept, segments: &RwLock<Segments>) -> io::Result<()> {
        let mut committed = segments.write().unwrap_or_else(PoisonError::into_inner);
        committed.floor = kept.floor;
        let Some(oldest) = committed.list.pop_front() else { return Ok(()) };
        drop(committed);
        self.evicted = 0;
        kept.bytes = kept.bytes.saturating_sub(segment::HEADER);
        self.files.remove(&segment::file_name(oldest.number))?;
        drop(self.files.remove(&segment::side_name(oldest.number)));
        Ok(())
    }
}

/// What retention looks at, as records are evicted.
struct Kept {
    records: u64,
    bytes: u64,
    oldest: Option<u64>,
    floor: u64,
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn failed(error: io::Error) -> StoreError {
    if is_full(&error) { StoreError::Full } else { StoreError::Failed(error.to_string()) }
}
