//! How a store is opened.

use prism_sse::Durability;

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

    /// Bytes of a segment, given those of the retention.
    pub(crate) fn segment_bytes_of(&self, retention: u64) -> u64 {
        let [min, max] = SEGMENT_BYTES;
        self.segment_bytes.unwrap_or((retention / SEGMENTS).clamp(min, max))
    }
}
