//! How a store is opened.

use std::path::Path;
use std::sync::Arc;

use prism_sse::Durability;

use crate::files::Files;
use crate::open::{self, OpenError};
use crate::store::Store;

/// The smallest and the largest segment, where its size follows from the retention.
const SEGMENT_BYTES: [u64; 2] = [64 * 1024, 64 << 20];

/// Segments into which the retention's bytes are divided.
const SEGMENTS: u64 = 32;

/// How a store is opened.
///
/// ```no_run
/// use prism_sse::Durability;
///
/// let store = prism_store::Options::default().durability(Durability::Os).open("prism-data")?;
/// # Ok::<(), prism_store::OpenError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) durability: Durability,
    segment_bytes: Option<u64>,
}

impl Default for Options {
    /// Synced to disk.
    fn default() -> Self {
        Self { durability: Durability::Fsync, segment_bytes: None }
    }
}

impl Options {
    /// What an acknowledged record survives: [`Durability::Fsync`], which is the default, or
    /// [`Durability::Os`]. Every other value counts as the stronger of them.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        let is_os = matches!(durability, Durability::Os | Durability::Memory);
        self.durability = if is_os { Durability::Os } else { Durability::Fsync };
        self
    }

    /// Bytes after which a segment is sealed. By default a part of the retention's bytes, between
    /// 64 KiB and 64 MiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Opens a directory, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong with the directory.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Store, OpenError> {
        open::open(directory.as_ref(), self)
    }

    /// Opens a directory on a file system of a test.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_files(self, files: Arc<dyn Files>) -> Result<Store, OpenError> {
        open::open_files(files, None, self)
    }

    /// Bytes of a segment, given those of the retention.
    pub(crate) fn segment_bytes_of(&self, retention: u64) -> u64 {
        let [min, max] = SEGMENT_BYTES;
        self.segment_bytes.unwrap_or((retention / SEGMENTS).clamp(min, max))
    }
}
