//! The index of a segment: in memory while the segment is open, then in a side file that is read
//! where it lies.
//!
//! A side file holds sorted tables of entries of fixed size, so that a look-up reads a few bytes of
//! it, and a topic's records are found in proportion to their number. It is checked as a whole when
//! it is used for the first time. It can always be made again from the segment.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use prism_sse::StoredRecord;

use crate::files::File;

const MAGIC: &[u8; 8] = b"PrIdx001";
const HEADER: u64 = 128;
const ENTRY: u64 = 24;
const TOPIC: u64 = 16;
const ID: u64 = 16;

/// One record of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    /// Where it begins in the file.
    pub(crate) offset: u64,
}

/// What is known of a segment without its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) records: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Sequence number of the record before the first one.
    pub(crate) previous: u64,
    /// The end of the last record.
    pub(crate) end: u64,
}

/// An index in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryIndex {
    pub(crate) summary: Summary,
    entries: Vec<Entry>,
    /// Records by the hash of a topic, rising; broadcasts have a hash of their own.
    topics: HashMap<u64, Vec<u32>>,
    /// Records by the hash of the id that a publisher chose, rising.
    ids: HashMap<u64, Vec<u32>>,
    /// Sequence numbers between which acknowledged records are missing.
    pub(crate) lost: Vec<(u64, u64)>,
}

/// An index in a side file.
#[derive(Debug)]
pub(crate) struct SideFile {
    file: Arc<dyn File>,
    pub(crate) summary: Summary,
    pub(crate) lost: Vec<(u64, u64)>,
    topics: u64,
    postings: u64,
    ids: u64,
    body: u64,
    checksum: u32,
}

/// The index of a segment.
#[derive(Debug)]
pub(crate) enum Index {
    Memory(MemoryIndex),
    Side(SideFile),
}

/// The hash of a topic, of an id, or with `None` of a broadcast. Records are compared themselves,
/// so that two names may have the same.
pub(crate) fn hash(name: Option<&str>) -> u64 {
    let Some(name) = name else { return 1 };
    // FNV-1a, because it has to be the same in every version of this program.
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

impl MemoryIndex {
    /// An index without records, of a segment whose records begin at `begin`.
    pub(crate) fn new(begin: u64) -> Self {
        Self { summary: Summary { end: begin, ..Summary::default() }, ..Self::default() }
    }

    /// Adds the record that begins at `offset` and has `len` bytes.
    pub(crate) fn add(&mut self, record: &StoredRecord, previous: u64, offset: u64, len: u64) {
        let number = self.entries.len() as u32;
        let summary = &mut self.summary;
        if number == 0 {
            (summary.first, summary.previous) = (record.seq, previous);
        } else if previous > summary.last {
            self.lost.push((summary.last + 1, previous));
        }
        summary.last = record.seq;
        summary.records += 1;
        summary.end = offset + len;
        self.entries.push(Entry { seq: record.seq, time: record.time, offset });
        if record.topics.is_empty() {
            self.topics.entry(hash(None)).or_default().push(number);
        }
        for topic in &record.topics {
            let postings = self.topics.entry(hash(Some(topic.as_str()))).or_default();
            if postings.last() != Some(&number) {
                postings.push(number);
            }
        }
        if let Some(id) = &record.id {
            self.ids.entry(hash(Some(id.as_str()))).or_default().push(number);
        }
    }

    /// The bytes of the side file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut topics: Vec<_> = self.topics.iter().collect();
        topics.sort_unstable_by_key(|(hash, _)| **hash);
        let mut ids: Vec<_> =
            self.ids.iter().flat_map(|(hash, at)| at.iter().map(move |at| (*hash, *at))).collect();
        ids.sort_unstable();
        let mut out = vec![0; HEADER as usize];
        for entry in &self.entries {
            for number in [entry.seq, entry.time, entry.offset] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let mut postings = 0_u32;
        for (hash, at) in &topics {
            out.extend_from_slice(&hash.to_le_bytes());
            out.extend_from_slice(&postings.to_le_bytes());
            out.extend_from_slice(&(at.len() as u32).to_le_bytes());
            postings += at.len() as u32;
        }
        for at in topics.iter().flat_map(|(_, at)| at.iter()) {
            out.extend_from_slice(&at.to_le_bytes());
        }
        for (hash, at) in &ids {
            out.extend_from_slice(&hash.to_le_bytes());
            out.extend_from_slice(&u64::from(*at).to_le_bytes());
        }
        for (first, last) in &self.lost {
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
        let body = crc32c::crc32c(&out[HEADER as usize..]);
        let Summary { records, first, last, previous, end } = self.summary;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&crate::FORMAT.to_le_bytes());
        header.extend_from_slice(&[0; 2]);
        let counts = [records, topics.len() as u32, postings, ids.len() as u32];
        for number in counts.into_iter().chain([self.lost.len() as u32, body]) {
            header.extend_from_slice(&number.to_le_bytes());
        }
        for number in [first, last, previous, end] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        out[..header.len()].copy_from_slice(&header);
        out
    }
}

impl SideFile {
    /// Opens a side file. `None` if it is none, or damaged as far as that shows here.
    pub(crate) fn open(file: Arc<dyn File>) -> io::Result<Option<Self>> {
        let mut header = [0; 72];
        if file.read_at(&mut header, 0).is_err() || header[..8] != *MAGIC {
            return Ok(None);
        }
        let word = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let number = |at: usize| header[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let version = u16::from_le_bytes([header[8], header[9]]);
        if crc32c::crc32c(&header[..68]) != word(68) || version != crate::FORMAT {
            return Ok(None);
        }
        let summary = Summary {
            records: word(12),
            first: number(36),
            last: number(44),
            previous: number(52),
            end: number(60),
        };
        let [topics, postings, ids, lost] = [16, 20, 24, 28].map(|at| u64::from(word(at)));
        let before = u64::from(summary.records) * ENTRY + topics * TOPIC + postings * 4 + ids * ID;
        let body = before + lost * 16;
        if file.len()? != HEADER + body {
            return Ok(None);
        }
        let mut own = Self {
            file,
            summary,
            lost: Vec::new(),
            topics,
            postings,
            ids,
            body,
            checksum: word(32),
        };
        if lost > 0 && !own.is_whole()? {
            return Ok(None);
        }
        for at in 0..lost {
            let bytes = own.read::<16>(HEADER + before + at * 16)?;
            own.lost.push(pair(&bytes));
        }
        Ok(Some(own))
    }

    /// Whether no byte of the tables is damaged.
    pub(crate) fn is_whole(&self) -> io::Result<bool> {
        let (mut at, mut checksum) = (0, 0);
        let mut buffer = vec![0; 64 * 1024];
        while at < self.body {
            let len = (self.body - at).min(buffer.len() as u64) as usize;
            self.file.read_at(&mut buffer[..len], HEADER + at)?;
            checksum = crc32c::crc32c_append(checksum, &buffer[..len]);
            at += len as u64;
        }
        Ok(checksum == self.checksum)
    }

    fn read<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// The place of the first entry of a sorted table whose hash is not below `hash`.
    fn search(&self, table: u64, len: u64, size: u64, hash: u64) -> io::Result<u64> {
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = low + (high - low) / 2;
            if u64::from_le_bytes(self.read(table + middle * size)?) < hash {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn topics_at(&self) -> u64 {
        HEADER + u64::from(self.summary.records) * ENTRY
    }

    fn postings_at(&self) -> u64 {
        self.topics_at() + self.topics * TOPIC
    }

    fn ids_at(&self) -> u64 {
        self.postings_at() + self.postings * 4
    }

    fn postings(&self, hash: u64, from: u32, max: usize) -> io::Result<Vec<u32>> {
        let place = self.search(self.topics_at(), self.topics, TOPIC, hash)?;
        if place == self.topics {
            return Ok(Vec::new());
        }
        let entry = self.read::<16>(self.topics_at() + place * TOPIC)?;
        let word = |at: usize| entry[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        if pair(&entry).0 != hash {
            return Ok(Vec::new());
        }
        let (first, count) = (u64::from(word(8)), u64::from(word(12)));
        let posting =
            |at: u64| self.read(self.postings_at() + (first + at) * 4).map(u32::from_le_bytes);
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if posting(middle)? < from { low = middle + 1 } else { high = middle }
        }
        let len = (count - low).min(max as u64) as usize;
        let mut bytes = vec![0; len * 4];
        self.file.read_at(&mut bytes, self.postings_at() + (first + low) * 4)?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        Ok(bytes.chunks_exact(4).map(number).collect())
    }

    fn ids(&self, hash: u64) -> io::Result<Vec<u32>> {
        let place = self.search(self.ids_at(), self.ids, ID, hash)?;
        let mut found = Vec::new();
        for at in place..self.ids {
            let (other, number) = pair(&self.read::<16>(self.ids_at() + at * ID)?);
            if other != hash {
                break;
            }
            found.push(number as u32);
        }
        Ok(found)
    }

    fn entries(&self, from: u32, count: usize) -> io::Result<Vec<Entry>> {
        let count = count.min((self.summary.records.saturating_sub(from)) as usize);
        let mut bytes = vec![0; count * ENTRY as usize];
        self.file.read_at(&mut bytes, HEADER + u64::from(from) * ENTRY)?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let entry = |it: &[u8]| Entry {
            seq: number(&it[..8]),
            time: number(&it[8..16]),
            offset: number(&it[16..]),
        };
        Ok(bytes.chunks_exact(ENTRY as usize).map(entry).collect())
    }
}

fn pair(bytes: &[u8; 16]) -> (u64, u64) {
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    (number(&bytes[..8]), number(&bytes[8..]))
}

impl Index {
    pub(crate) fn summary(&self) -> Summary {
        match self {
            Self::Memory(index) => index.summary,
            Self::Side(side) => side.summary,
        }
    }

    pub(crate) fn lost(&self) -> &[(u64, u64)] {
        match self {
            Self::Memory(index) => &index.lost,
            Self::Side(side) => &side.lost,
        }
    }

    /// At most `count` records from the one with this number on.
    pub(crate) fn entries(&self, from: u32, count: usize) -> io::Result<Vec<Entry>> {
        match self {
            Self::Memory(index) => {
                let from = (from as usize).min(index.entries.len());
                Ok(index.entries[from..].iter().take(count).copied().collect())
            }
            Self::Side(side) => side.entries(from, count),
        }
    }

    /// The number of the first record for which `is_before` does not hold, where it holds for those
    /// before it alone.
    pub(crate) fn partition(&self, is_before: impl Fn(&Entry) -> bool) -> io::Result<u32> {
        let (mut low, mut high) = (0, self.summary().records);
        while low < high {
            let middle = low + (high - low) / 2;
            let is_before = self.entries(middle, 1)?.first().is_some_and(&is_before);
            if is_before { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// The numbers from `from` on, at most `max`, of records that may be about a topic.
    pub(crate) fn postings(&self, hash: u64, from: u32, max: usize) -> io::Result<Vec<u32>> {
        match self {
            Self::Memory(index) => {
                let all = index.topics.get(&hash).map_or(&[][..], Vec::as_slice);
                let begin = all.partition_point(|number| *number < from);
                Ok(all[begin..].iter().take(max).copied().collect())
            }
            Self::Side(side) => side.postings(hash, from, max),
        }
    }

    /// The numbers of records that may have an id, rising.
    pub(crate) fn ids(&self, hash: u64) -> io::Result<Vec<u32>> {
        match self {
            Self::Memory(index) => Ok(index.ids.get(&hash).cloned().unwrap_or_default()),
            Self::Side(side) => side.ids(hash),
        }
    }
}
