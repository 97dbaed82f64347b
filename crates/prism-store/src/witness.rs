//! What is known outside the segments: epochs, reserved places, and the newest acknowledged record.
//!
//! `meta` has two pages with the same content. A change is written to one and synced, and then to
//! the other and synced, so that one of them is whole at every moment, and either may be damaged.
//! `acked` has two pages that are written in turns and never synced: it says more than the segments
//! only where the end of a segment is damaged or was not kept although the disk had said so.

use std::io;
use std::sync::Arc;

use prism_sse::Epoch;

use crate::files::{File, Files};

const PAGE: u64 = 64 * 1024;
const MAGIC: &[u8; 8] = b"PrMeta01";

/// Epochs that are kept. Ids of older ones are a gap.
const EPOCHS_MAX: usize = 1024;

/// What `meta` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) count: u64,
    pub(crate) reserved: u64,
    pub(crate) secret: [u8; 16],
    pub(crate) epochs: Vec<(Epoch, u64)>,
}

#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) meta: Meta,
    meta_file: Arc<dyn File>,
    acked_file: Arc<dyn File>,
    pub(crate) acked: u64,
    acked_count: u64,
}

/// Why the files cannot be used.
#[derive(Debug)]
pub(crate) enum WitnessError {
    Io(io::Error),
    /// Both pages are damaged.
    Damaged,
    /// A version that this program does not know.
    Version(u16),
}

impl From<io::Error> for WitnessError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Witness {
    /// Opens the files of a directory, or makes them if `is_new`.
    pub(crate) fn open(files: &dyn Files, is_new: bool) -> Result<Self, WitnessError> {
        let meta_file = files.open("meta", true)?;
        let acked_file = files.open("acked", true)?;
        let meta = match read_meta(&*meta_file)? {
            Some(meta) => meta,
            None if is_new => Meta { secret: secret()?, ..Meta::default() },
            None => return Err(WitnessError::Damaged),
        };
        let (acked_count, acked) = read_acked(&*acked_file);
        let mut own = Self { meta, meta_file, acked_file, acked, acked_count };
        if own.meta.count == 0 {
            own.write()?;
            files.sync()?;
        }
        Ok(own)
    }

    /// Makes a change durable.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Meta)) -> io::Result<()> {
        let before = self.meta.clone();
        change(&mut self.meta);
        let excess = self.meta.epochs.len().saturating_sub(EPOCHS_MAX);
        self.meta.epochs.drain(..excess);
        // What was partly written has a higher number than what is written next would have.
        let result = self.write();
        if result.is_err() {
            let count = self.meta.count;
            self.meta = Meta { count, ..before };
        }
        result
    }

    fn write(&mut self) -> io::Result<()> {
        self.meta.count += 1;
        let page = encode(&self.meta);
        for at in [0, PAGE] {
            self.meta_file.write_at(&page, at)?;
            self.meta_file.sync()?;
        }
        Ok(())
    }

    /// Records that everything up to `seq` was acknowledged. It is no error if that fails: the
    /// segments have the record.
    pub(crate) fn set_acked(&mut self, seq: u64) {
        self.acked = seq;
        self.acked_count += 1;
        let mut page = [0; 20];
        page[..8].copy_from_slice(&self.acked_count.to_le_bytes());
        page[8..16].copy_from_slice(&seq.to_le_bytes());
        let checksum = crc32c::crc32c(&page[..16]);
        page[16..].copy_from_slice(&checksum.to_le_bytes());
        drop(self.acked_file.write_at(&page, (self.acked_count % 2) * 4096));
    }

    /// Makes what [`set_acked`](Self::set_acked) said durable.
    pub(crate) fn sync_acked(&self) -> io::Result<()> {
        self.acked_file.sync()
    }
}

fn encode(meta: &Meta) -> Vec<u8> {
    let mut page = MAGIC.to_vec();
    page.extend_from_slice(&[0; 8]);
    page.extend_from_slice(&crate::FORMAT.to_le_bytes());
    for number in [meta.count, meta.reserved] {
        page.extend_from_slice(&number.to_le_bytes());
    }
    page.extend_from_slice(&meta.secret);
    page.extend_from_slice(&(meta.epochs.len() as u32).to_le_bytes());
    for (epoch, after) in &meta.epochs {
        page.extend_from_slice(&epoch.get().to_le_bytes());
        page.extend_from_slice(&after.to_le_bytes());
    }
    let len = page.len() as u32;
    page[8..12].copy_from_slice(&len.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&page[..12]), &page[16..]);
    page[12..16].copy_from_slice(&checksum.to_le_bytes());
    page
}

fn read_meta(file: &dyn File) -> Result<Option<Meta>, WitnessError> {
    let mut newest: Option<Meta> = None;
    for at in [0, PAGE] {
        let Some(meta) = read_page(file, at)? else { continue };
        if newest.as_ref().is_none_or(|newest| newest.count < meta.count) {
            newest = Some(meta);
        }
    }
    Ok(newest)
}

/// One page, if it is whole.
fn read_page(file: &dyn File, at: u64) -> Result<Option<Meta>, WitnessError> {
    let mut head = [0; 16];
    if file.read_at(&mut head, at).is_err() || head[..8] != *MAGIC {
        return Ok(None);
    }
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
    let (len, checksum) = (u64::from(word(&head[8..12])), word(&head[12..]));
    if !(16 + 2 + 16 + 16 + 4..=PAGE).contains(&len) {
        return Ok(None);
    }
    let mut body = vec![0; len as usize - 16];
    let is_read = file.read_at(&mut body, at + 16).is_ok();
    if !is_read || crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &body) != checksum {
        return Ok(None);
    }
    let version = u16::from_le_bytes([body[0], body[1]]);
    if version != crate::FORMAT {
        return Err(WitnessError::Version(version));
    }
    let (numbers, rest) = body[2..].split_at(16);
    let mut secret = [0; 16];
    secret.copy_from_slice(&rest[..16]);
    let epochs = rest[20..].chunks_exact(16);
    Ok(Some(Meta {
        count: number(&numbers[..8]),
        reserved: number(&numbers[8..]),
        secret,
        epochs: epochs.map(|it| (Epoch::new(number(&it[..8])), number(&it[8..]))).collect(),
    }))
}

/// How often it was written, and the newest acknowledged sequence number.
fn read_acked(file: &dyn File) -> (u64, u64) {
    let page = |at: u64| {
        let mut page = [0; 20];
        file.read_at(&mut page, at).ok()?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let checksum = u32::from_le_bytes(page[16..].try_into().ok()?);
        let is_whole = crc32c::crc32c(&page[..16]) == checksum;
        is_whole.then(|| (number(&page[..8]), number(&page[8..16])))
    };
    [0, 4096].into_iter().filter_map(page).max().unwrap_or((0, 0))
}

fn secret() -> io::Result<[u8; 16]> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    Ok(secret)
}
