//! Opening a directory: the lock, the witness, the segments, and what of them is void or lost.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use prism_sse::Durability;
use rustix::fs::{FlockOperation, flock};

use crate::error::OpenError;
use crate::files::{Disk, Files};
use crate::index::{Index, SideFile};
use crate::options::Options;
use crate::record;
use crate::running;
use crate::segment::{self, Header, Segment};
use crate::segments::Segments;
use crate::store::Store;
use crate::witness::Witness;
use crate::writer::Writer;

impl Store {
    /// Opens a directory with the default [`Options`].
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong with the directory.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Options::default().open(directory)
    }
}

impl Options {
    /// Opens a directory, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong with the directory.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Store, OpenError> {
        open(directory.as_ref(), self)
    }

    /// Opens a directory on a file system of a test.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_files(self, files: Arc<dyn Files>) -> Result<Store, OpenError> {
        open_files(files, None, self)
    }
}

fn open(path: &Path, options: Options) -> Result<Store, OpenError> {
    let disk = Disk::open(path)?;
    let mut lock = disk.open_lock()?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut text = String::new();
        drop(lock.read_to_string(&mut text));
        return Err(OpenError::Locked { pid: text.trim().parse().ok() });
    }
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    open_files(Arc::new(disk), Some(lock), options)
}

fn open_files(
    files: Arc<dyn Files>,
    lock: Option<fs::File>,
    options: Options,
) -> Result<Store, OpenError> {
    let names = files.list()?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|it| segment::number_of(it)).collect();
    numbers.sort_unstable();
    let mut witness = Witness::open(&*files, numbers.is_empty())?;
    let key = record::checksum_key(&witness.meta.secret);
    let valid = valid_ends(&*files, &numbers)?;
    let newest = numbers.last().copied();
    let mut segments = Segments::default();
    for (at, &(number, end)) in valid.iter().enumerate() {
        let is_last = at + 1 == valid.len();
        if let Some(segment) = open_segment(&*files, number, end, is_last, key)? {
            segments.push_opened(segment);
        } else if !is_last {
            // The last one says up to where the one before it is valid.
            remove(&*files, number);
        }
    }
    for number in numbers.iter().filter(|it| !valid.iter().any(|(valid, _)| valid == *it)) {
        remove(&*files, *number);
    }
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        drop(files.remove(name));
    }
    if running::is_system_new(&*files)? {
        // Any of the places that were handed out may have had a record. The next start knows too.
        witness.set_acked(witness.acked.max(witness.meta.reserved));
        witness.sync_acked()?;
    }
    match options.durability {
        Durability::Os => running::begin(&*files)?,
        _ => {
            segments.sync()?;
            running::end(&*files)?;
        }
    }
    let acked = witness.acked;
    let is_intact = acked <= segments.last;
    let mut previous = segments.last;
    if !is_intact {
        // Which of the places that were handed out had records is not known any more.
        previous = acked.max(witness.meta.reserved);
        segments.lost.push((segments.last + 1, previous));
    }
    let writer = Writer::new(Arc::clone(&files), witness, options, previous, newest);
    Ok(Store::new(files, lock, writer, segments, is_intact))
}

/// The segments that are not void, rising, and where what is valid in each ends.
fn valid_ends(files: &dyn Files, numbers: &[u64]) -> io::Result<Vec<(u64, u64)>> {
    let mut valid: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        let file = files.open(&segment::file_name(number), false)?;
        if let Some(header) = Header::read(&*file)? {
            // What it does not name was given up.
            valid.retain(|(earlier, _)| *earlier <= header.previous);
            if let Some((_, end)) = valid.last_mut().filter(|(last, _)| *last == header.previous) {
                *end = (*end).min(header.previous_end);
            }
        }
        valid.push((number, u64::MAX));
    }
    Ok(valid)
}

/// Opens a segment by its side file, or else reads it. `None` if it has no record.
fn open_segment(
    files: &dyn Files,
    number: u64,
    end: u64,
    is_last: bool,
    key: u32,
) -> io::Result<Option<Segment>> {
    let file = files.open(&segment::file_name(number), false)?;
    if !is_last && let Ok(side) = files.open(&segment::side_name(number), false) {
        let side = SideFile::open(side)?.filter(|side| side.summary.end <= file.len().unwrap_or(0));
        if let Some(side) = side {
            return Ok(Some(Segment::new(number, file, key, Index::Side(side))));
        }
    }
    let end = end.min(file.len()?).max(segment::HEADER.min(file.len()?));
    if end < segment::HEADER {
        return Ok(None);
    }
    let found = segment::scan(&*file, end, key)?;
    if is_last && found.has_tail {
        // What was not written as a whole was not acknowledged, or the witness knows of it.
        file.set_len(found.index.summary.end)?;
    }
    if is_last {
        // A process that was killed may not have synced what is read from here on.
        file.sync()?;
    }
    if found.index.summary.records == 0 {
        return Ok(None);
    }
    let mut index = Index::Memory(found.index);
    if !is_last
        && let Index::Memory(memory) = &index
        && let Some(side) = segment::write_side(files, number, memory)?
    {
        index = Index::Side(side);
    }
    Ok(Some(Segment::new(number, file, key, index)))
}

fn remove(files: &dyn Files, number: u64) {
    drop(files.remove(&segment::file_name(number)));
    drop(files.remove(&segment::side_name(number)));
}
