//! A file system in memory that can be cut off, or fail, at any operation. It knows what was synced
//! and what was not, so that a cut can lose any part of the latter.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prism_store::{File, Files};

/// Bytes that are written as a whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct TestDisk {
    state: Arc<Mutex<Disk>>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes since the start.
    operations: usize,
    fault: Option<Fault>,
    /// How often the power was lost.
    boot: usize,
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// What happens at which operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// This one and all later ones fail: the power is gone.
    Cut(usize),
    /// This one alone fails; a write that fails has written its first half.
    Fail(usize, io::ErrorKind),
    /// This write and all later ones fail in their middle, because the disk is full.
    Full(usize),
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    Nothing,
    Everything,
    /// Each sector and each name on its own, by a seed.
    Random(u64),
    /// As `Random`, and what is lost of a file that grew is zeros.
    Zeros(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len, 0),
            Self::Write { at, bytes: written } => {
                bytes.resize(bytes.len().max(at + written.len()), 0);
                bytes[*at..at + written.len()].copy_from_slice(written);
            }
        }
    }

    /// The parts that reach the disk one by one.
    fn sectors(&self) -> Vec<Self> {
        match self {
            Self::SetLen(len) => vec![Self::SetLen(*len)],
            Self::Write { at, bytes } => {
                let (mut parts, mut from) = (Vec::new(), 0);
                while from < bytes.len() {
                    let end = (SECTOR - (at + from) % SECTOR + from).min(bytes.len());
                    parts.push(Self::Write { at: at + from, bytes: bytes[from..end].to_vec() });
                    from = end;
                }
                parts
            }
        }
    }
}

impl TestDisk {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Changes since the start.
    pub(crate) fn operations(&self) -> usize {
        self.lock().operations
    }

    /// The disk after a loss of power.
    pub(crate) fn after(&self, loss: Loss) -> Self {
        let disk = self.lock();
        let seed = match loss {
            Loss::Random(seed) | Loss::Zeros(seed) => seed,
            Loss::Nothing | Loss::Everything => 0,
        };
        let mut random = fastrand::Rng::with_seed(seed);
        let mut is_kept = || match loss {
            Loss::Nothing => true,
            Loss::Everything => false,
            Loss::Random(_) | Loss::Zeros(_) => random.bool(),
        };
        let mut files = Vec::new();
        for content in &disk.files {
            let mut bytes = content.synced.clone();
            for part in content.pending.iter().flat_map(Change::sectors) {
                if is_kept() {
                    part.apply(&mut bytes);
                } else if let (Loss::Zeros(_), Change::Write { at, bytes: lost }) = (loss, &part) {
                    bytes.resize(bytes.len().max(at + lost.len()), 0);
                }
            }
            files.push(Content { synced: bytes.clone(), bytes, pending: Vec::new() });
        }
        let mut names = disk.synced_names.clone();
        for (name, file) in &disk.names {
            if names.get(name) != Some(file) && is_kept() {
                names.insert(name.clone(), *file);
            }
        }
        names.retain(|name, _| disk.names.contains_key(name) || !is_kept());
        let boot = disk.boot + 1;
        let state = Disk { files, synced_names: names.clone(), names, boot, ..Disk::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The names of all files, with their lengths.
    pub(crate) fn lens(&self) -> Vec<(String, usize)> {
        let disk = self.lock();
        disk.names.iter().map(|(name, at)| (name.clone(), disk.files[*at].bytes.len())).collect()
    }

    /// A copy with one bit flipped.
    pub(crate) fn flipped(&self, name: &str, at: usize, bit: u8) -> Self {
        let mut disk = self.lock().clone();
        disk.fault = None;
        let file = disk.names[name];
        disk.files[file].bytes[at] ^= 1 << bit;
        Self { state: Arc::new(Mutex::new(disk)) }
    }
}

impl Disk {
    /// Counts a change. Whether a part of it happens nevertheless is in the error's message.
    fn change(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.fault {
            Some(Fault::Cut(at)) if number >= at => Err(io::Error::other("the power is gone")),
            Some(Fault::Fail(at, kind)) if number == at => Err(kind.into()),
            _ => Ok(()),
        }
    }

    /// Counts a write.
    fn write(&mut self) -> io::Result<()> {
        match self.fault {
            Some(Fault::Full(at)) if self.operations >= at => {
                self.operations += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => self.change(),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files for TestDisk {
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn File>> {
        let mut disk = self.lock();
        let number = match disk.file(name) {
            Ok(number) => number,
            Err(error) if !create => return Err(error),
            Err(_) => {
                disk.change()?;
                disk.files.push(Content::default());
                let number = disk.files.len() - 1;
                disk.names.insert(name.into(), number);
                number
            }
        };
        Ok(Arc::new(TestFile { disk: self.clone(), number }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.change()?;
        let file = disk.file(from)?;
        disk.names.remove(from);
        disk.names.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.change()?;
        disk.file(name)?;
        disk.names.remove(name);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.change()?;
        disk.synced_names = disk.names.clone();
        Ok(())
    }

    fn boot(&self) -> Option<String> {
        Some(self.lock().boot.to_string())
    }
}

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    number: usize,
}

impl TestFile {
    fn apply(&self, change: Change) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let result = match &change {
            Change::Write { .. } => disk.write(),
            Change::SetLen(_) => disk.change(),
        };
        let change = match (&result, change) {
            (Err(_), Change::Write { at, mut bytes }) => {
                bytes.truncate(bytes.len() / 2);
                Change::Write { at, bytes }
            }
            (Err(_), Change::SetLen(_)) => return result,
            (Ok(()), change) => change,
        };
        let content = &mut disk.files[self.number];
        change.apply(&mut content.bytes);
        content.pending.push(change);
        result
    }
}

impl File for TestFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.disk.lock();
        let bytes = &disk.files[self.number].bytes;
        let end = offset as usize + buffer.len();
        let part = bytes.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.apply(Change::Write { at: offset as usize, bytes: bytes.to_vec() })
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let result = disk.change();
        let content = &mut disk.files[self.number];
        if result.is_ok() {
            content.synced = content.bytes.clone();
        }
        // After a sync that failed the system takes the bytes for written, and writes them never.
        content.pending.clear();
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.apply(Change::SetLen(len as usize))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.number].bytes.len() as u64)
    }
}
