//! Reading: pages, the newest records, and the first record with an id. No reader waits for the
//! writer's disk.

use std::io;
use std::sync::{Arc, PoisonError};

use prism_sse::{EventId, Missing, Page, PageQuery, StoreError, StoredRecord, Topic};

use crate::index::{Entry, hash};
use crate::segment::Segment;
use crate::segments::Segments;
use crate::store::Store;

/// What a page is filled with from one segment after another.
struct PageBuilder<'a> {
    query: PageQuery<'a>,
    records: Vec<StoredRecord>,
    bytes: usize,
}

/// How a segment was read.
enum SegmentRead {
    /// To its end.
    All,
    /// Up to this sequence number, because the page is full.
    Full(u64),
    /// Up to a damaged record.
    Damaged(u64),
}

impl Store {
    pub(crate) fn read_page(&self, query: PageQuery<'_>) -> Result<Page, StoreError> {
        if query.max_records == 0 {
            return Ok(Page { until: query.after, ..Page::default() });
        }
        let segments = self.snapshot();
        if query.after < segments.floor {
            let missing = Some(Missing { until: segments.floor, damaged: false });
            let query = PageQuery { after: segments.floor, ..query };
            let page = self.read_after(&segments, query).map_err(failed)?;
            return Ok(Page { missing: page.missing.or(missing), ..page });
        }
        self.read_after(&segments, query).map_err(failed)
    }

    fn read_after(&self, segments: &Segments, query: PageQuery<'_>) -> io::Result<Page> {
        let end = segments.last.max(query.after);
        // Places that are known to be lost end the page before them, or begin it.
        let lost = segments.lost.iter().find(|(_, last)| *last > query.after).copied();
        let limit = match lost {
            Some((first, last)) if first <= query.after + 1 => {
                return Ok(missing(last));
            }
            Some((first, _)) => first - 1,
            None => end,
        };
        let mut page = PageBuilder { query, records: Vec::new(), bytes: 0 };
        let begin = segments.list.partition_point(|it| it.summary().last <= query.after);
        for segment in segments.list.range(begin..) {
            if segment.summary().first > limit {
                break;
            }
            match page.read(self, segment, limit)? {
                SegmentRead::All => {}
                SegmentRead::Full(until) => {
                    return Ok(Page { records: page.records, until, missing: None });
                }
                SegmentRead::Damaged(seq) => {
                    self.count_damaged();
                    if page.records.is_empty() {
                        return Ok(missing(seq));
                    }
                    let until = seq - 1;
                    return Ok(Page { records: page.records, until, missing: None });
                }
            }
        }
        Ok(Page { records: page.records, until: limit, missing: None })
    }

    fn count_damaged(&self) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).damaged += 1;
    }

    pub(crate) fn find_tail(&self, bytes: u64) -> Result<u64, StoreError> {
        let segments = self.snapshot();
        let mut left = bytes;
        for segment in segments.list.iter().rev() {
            let summary = segment.summary();
            let begin = segment.first_offset(self).map_err(failed)?;
            if let Some(rest) = left.checked_sub(summary.end - begin) {
                left = rest;
                continue;
            }
            let from = summary.end - left;
            let index = segment.index(&*self.files).map_err(failed)?;
            let number = index.partition(|entry| entry.offset < from).map_err(failed)?;
            let entry = index.entries(number.saturating_sub(1), 1).map_err(failed)?;
            let seq = entry.first().map_or(summary.previous, |entry| entry.seq);
            return Ok(seq.max(segments.floor));
        }
        Ok(segments.floor)
    }

    pub(crate) fn find_first(&self, id: &EventId) -> Result<Option<u64>, StoreError> {
        let segments = self.snapshot();
        for segment in &segments.list {
            let found = {
                let index = segment.index(&*self.files).map_err(failed)?;
                let numbers = index.ids(hash(Some(id.as_str()))).map_err(failed)?;
                let entries = numbers.into_iter().map(|number| index.entries(number, 2));
                entries.collect::<io::Result<Vec<_>>>().map_err(failed)?
            };
            for entries in found {
                let Some(entry) = entries.first().filter(|it| it.seq > segments.floor) else {
                    continue;
                };
                let end = end_of(segment, &entries, 0);
                let record = segment.records(&[*entry], end).into_iter().next().flatten();
                if record.is_some_and(|record| record.id.as_ref() == Some(id)) {
                    return Ok(Some(entry.seq));
                }
            }
        }
        Ok(None)
    }
}

impl Segment {
    fn first_offset(&self, store: &Store) -> io::Result<u64> {
        let first = self.index(&*store.files)?.entries(0, 1)?;
        Ok(first.first().map_or(self.summary().end, |entry| entry.offset))
    }
}

fn missing(until: u64) -> Page {
    Page { records: Vec::new(), until, missing: Some(Missing { until, damaged: true }) }
}

/// Where the record of an entry ends at the latest, given the entries behind it.
fn end_of(segment: &Segment, entries: &[Entry], at: usize) -> u64 {
    entries.get(at + 1).map_or_else(|| segment.summary().end, |next| next.offset)
}

impl PageBuilder<'_> {
    fn read(
        &mut self,
        store: &Store,
        segment: &Arc<Segment>,
        limit: u64,
    ) -> io::Result<SegmentRead> {
        match self.query.topics {
            None => self.read_all(store, segment, limit),
            Some(topics) => self.read_topics(store, segment, topics, limit),
        }
    }

    fn read_all(
        &mut self,
        store: &Store,
        segment: &Arc<Segment>,
        limit: u64,
    ) -> io::Result<SegmentRead> {
        loop {
            let after = self.records.last().map_or(self.query.after, |it| it.seq);
            let left = self.query.max_records - self.records.len();
            // The lock of the index is not held while records are read.
            let (mut entries, summary) = {
                let index = segment.index(&*store.files)?;
                let number = index.partition(|entry| entry.seq <= after)?;
                (index.entries(number, left.saturating_add(1))?, index.summary())
            };
            let next = (entries.len() > left).then(|| entries.split_off(left)[0].offset);
            let mut end = next.unwrap_or(summary.end);
            entries.retain(|entry| entry.seq <= limit);
            let Some(first) = entries.first() else { return Ok(SegmentRead::All) };
            // As many as fit, and one at least.
            let room = self.query.max_bytes.saturating_sub(self.bytes) as u64;
            let fits = entries.partition_point(|entry| entry.offset - first.offset < room).max(1);
            if fits < entries.len() {
                end = entries[fits].offset;
                entries.truncate(fits);
            }
            for (record, entry) in segment.records(&entries, end).into_iter().zip(&entries) {
                let Some(record) = record else { return Ok(SegmentRead::Damaged(entry.seq)) };
                self.push(record);
            }
            let until = entries.last().map_or(after, |entry| entry.seq);
            if self.is_full() {
                return Ok(SegmentRead::Full(until));
            }
            if until >= summary.last.min(limit) {
                return Ok(SegmentRead::All);
            }
        }
    }

    fn read_topics(
        &mut self,
        store: &Store,
        segment: &Arc<Segment>,
        topics: &[Topic],
        limit: u64,
    ) -> io::Result<SegmentRead> {
        let broadcasts = self.query.broadcasts.then_some(None);
        let names = topics.iter().map(|topic| Some(topic.as_str())).chain(broadcasts);
        let left = (self.query.max_records - self.records.len()).saturating_add(1);
        let index = segment.index(&*store.files)?;
        let from = index.partition(|entry| entry.seq <= self.query.after)?;
        let mut numbers = Vec::new();
        for name in names {
            numbers.extend(index.postings(hash(name), from, left)?);
        }
        numbers.sort_unstable();
        numbers.dedup();
        // Behind the first so many of all, some of one topic may be left out.
        numbers.truncate(left);
        let is_cut = numbers.len() == left;
        let entries = numbers.iter().map(|number| index.entries(*number, 2));
        let entries = entries.collect::<io::Result<Vec<_>>>()?;
        drop(index);
        for pair in &entries {
            let Some(entry) = pair.first().filter(|entry| entry.seq <= limit) else { break };
            if self.is_full() {
                return Ok(SegmentRead::Full(entry.seq - 1));
            }
            let record = segment.records(&[*entry], end_of(segment, pair, 0)).pop().flatten();
            let Some(record) = record else { return Ok(SegmentRead::Damaged(entry.seq)) };
            let is_selected = match record.topics.is_empty() {
                true => self.query.broadcasts,
                false => record.topics.iter().any(|topic| topics.contains(topic)),
            };
            if is_selected {
                self.push(record);
            }
        }
        let last = entries.last().and_then(|pair| pair.first()).map(|entry| entry.seq);
        Ok(match last.filter(|last| is_cut && *last <= limit) {
            Some(last) => SegmentRead::Full(last),
            None => SegmentRead::All,
        })
    }

    fn push(&mut self, record: StoredRecord) {
        self.bytes += record.chunk.len();
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.query.max_records || self.bytes >= self.query.max_bytes.max(1)
    }
}

fn failed(error: io::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}
