//! A segment: a file of consecutive records, and its index.

use std::io;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::sync::{PoisonError, atomic::AtomicBool, atomic::Ordering};

use bytes::Bytes;
use prism_sse::StoredRecord;

use crate::files::{File, Files};
use crate::index::{Entry, Index, MemoryIndex, SideFile, Summary};
use crate::record;

const MAGIC: &[u8; 8] = b"PrSeg001";

/// Bytes before the first record.
pub(crate) const HEADER: u64 = 64;

/// A file of records.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn File>,
    /// What checksums of records begin with.
    key: u32,
    index: RwLock<Index>,
    /// The side file was checked as a whole, or the index is in memory.
    is_checked: AtomicBool,
}

/// The header of a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    /// The last segment before it that has records, and the end of its last record: whatever is
    /// behind that, and in segments between, is void. 0 if there is none.
    pub(crate) previous: u64,
    pub(crate) previous_end: u64,
}

/// What reading a segment's file from its beginning to its end found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) index: MemoryIndex,
    /// Whether there are bytes behind the last record.
    pub(crate) has_tail: bool,
}

pub(crate) fn file_name(number: u64) -> String {
    format!("{number:012}.log")
}

pub(crate) fn side_name(number: u64) -> String {
    format!("{number:012}.idx")
}

/// The number of the segment whose file has this name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER as usize] {
        let mut bytes = [0; HEADER as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&crate::FORMAT.to_le_bytes());
        for (at, number) in [self.number, self.previous, self.previous_end].iter().enumerate() {
            bytes[16 + at * 8..24 + at * 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header. `None` if it is damaged or was not written.
    pub(crate) fn read(file: &dyn File) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER as usize];
        match file.read_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let number = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let checksum = bytes[60..].try_into().map_or(0, u32::from_le_bytes);
        let is_whole = bytes[..8] == *MAGIC && crc32c::crc32c(&bytes[..60]) == checksum;
        let [own, previous, previous_end] = [16, 24, 32].map(number);
        Ok(is_whole.then_some(Self { number: own, previous, previous_end }))
    }
}

/// Reads all records of a file up to `end`. What is damaged is left out, and told by the records
/// behind it.
pub(crate) fn scan(file: &dyn File, end: u64, key: u32) -> io::Result<Scan> {
    let end = end.min(file.len()?);
    let mut index = MemoryIndex::new(HEADER);
    let mut bytes = vec![0; end.saturating_sub(HEADER) as usize];
    file.read_at(&mut bytes, HEADER)?;
    let bytes = Bytes::from(bytes);
    let mut at = 0;
    while at < bytes.len() {
        let last = index.summary.last;
        let found = record::decode(&bytes.slice(at..), key).filter(|it| it.record.seq > last);
        match found {
            Some(found) => {
                let offset = HEADER + at as u64;
                index.add(&found.record, found.previous, offset, found.len as u64);
                at += found.len;
            }
            None => match next_magic(&bytes, at + 1) {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    let has_tail = index.summary.end < HEADER + bytes.len() as u64;
    Ok(Scan { index, has_tail })
}

fn next_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let found = rest.windows(record::MAGIC.len()).position(|window| window == record::MAGIC)?;
    Some(from + found)
}

impl Segment {
    pub(crate) fn new(number: u64, file: Arc<dyn File>, key: u32, index: Index) -> Self {
        let is_checked = AtomicBool::new(matches!(index, Index::Memory(_)));
        Self { number, file, key, index: RwLock::new(index), is_checked }
    }

    pub(crate) fn summary(&self) -> Summary {
        self.read().summary()
    }

    /// Adds a record that was written and is committed.
    pub(crate) fn add(&self, record: &StoredRecord, previous: u64, offset: u64, len: u64) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Index::Memory(index) = &mut *index {
            index.add(record, previous, offset, len);
        }
    }

    /// The index, for a moment.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index to look something up. A side file that turns out to be damaged is made again.
    pub(crate) fn index(&self, files: &dyn Files) -> io::Result<RwLockReadGuard<'_, Index>> {
        if !self.is_checked.load(Ordering::Acquire) {
            let is_whole = match &*self.read() {
                Index::Memory(_) => true,
                Index::Side(side) => side.is_whole().unwrap_or(false),
            };
            if !is_whole {
                let index = scan(&*self.file, self.summary().end, self.key)?.index;
                let side = write_side(files, self.number, &index).ok().flatten();
                let mut own = self.index.write().unwrap_or_else(PoisonError::into_inner);
                *own = side.map_or(Index::Memory(index), Index::Side);
            }
            self.is_checked.store(true, Ordering::Release);
        }
        Ok(self.read())
    }

    /// Writes the side file, once no record is added any more.
    pub(crate) fn seal(&self, files: &dyn Files) -> io::Result<()> {
        let side = match &*self.read() {
            Index::Memory(index) => write_side(files, self.number, index)?,
            Index::Side(_) => None,
        };
        if let Some(side) = side {
            *self.index.write().unwrap_or_else(PoisonError::into_inner) = Index::Side(side);
        }
        Ok(())
    }

    /// Reads the records of consecutive entries, whose last one ends at `end` at the latest. `None`
    /// stands for one that is damaged.
    pub(crate) fn records(&self, entries: &[Entry], end: u64) -> Vec<Option<StoredRecord>> {
        let Some(first) = entries.first() else { return Vec::new() };
        let mut bytes = vec![0; (end - first.offset) as usize];
        if self.file.read_at(&mut bytes, first.offset).is_err() {
            return vec![None; entries.len()];
        }
        let bytes = Bytes::from(bytes);
        let record = |entry: &Entry| {
            let at = bytes.get((entry.offset - first.offset) as usize..)?;
            let found = record::decode(&bytes.slice_ref(at), self.key)?;
            (found.record.seq == entry.seq).then_some(found.record)
        };
        entries.iter().map(record).collect()
    }
}

/// Writes a side file beside, and puts it in its place once it is synced.
pub(crate) fn write_side(
    files: &dyn Files,
    number: u64,
    index: &MemoryIndex,
) -> io::Result<Option<SideFile>> {
    let (name, temporary) = (side_name(number), format!("{number:012}.tmp"));
    let file = files.open(&temporary, true)?;
    let bytes = index.encode();
    file.set_len(bytes.len() as u64)?;
    file.write_at(&bytes, 0)?;
    file.sync()?;
    files.rename(&temporary, &name)?;
    SideFile::open(file)
}
