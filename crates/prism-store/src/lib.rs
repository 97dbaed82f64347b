//! History that survives the process: the log of [`prism_sse`] in append-only segment files.
//!
//! ```no_run
//! use prism_sse::{Manager, Retention};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = prism_store::Store::open("prism-data")?;
//! let sse = Manager::builder().history(Retention::default()).store(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What survives what
//!
//! | | `os` | `fsync` |
//! |---|---|---|
//! | `kill -9` | all that was acknowledged | all that was acknowledged |
//! | a loss of power | what the system had written; it is told | all that was acknowledged |
//! | a damaged byte | all else; it is told | all else; it is told |
//!
//! # How
//!
//! - One thread writes each group of records with one write, and syncs it at
//!   [`Durability::Fsync`](prism_sse::Durability). A record has a checksum and the sequence number
//!   of the one before it, so that what is missing between two records is known.
//! - After a failed write or sync nothing is trusted that is behind the last good sync: the group
//!   is written again to a new segment, whose header says where the old one ends.
//! - A segment that is full gets a side file with its index. Retention removes whole segments; what
//!   it does not cover in the oldest one is not read any more.
//! - At [`Durability::Os`](prism_sse::Durability) a file says that the directory is in use, and
//!   since which start of the system: a loss of power is known by it.
//! - Sequence numbers are reserved in blocks, and epochs recorded, in a file of two synced copies.

mod error;
mod files;
mod index;
mod open;
mod options;
mod pages;
mod record;
mod running;
mod segment;
mod segments;
mod store;
mod witness;
mod writer;

pub use error::OpenError;
pub use files::{File, Files};
pub use options::Options;
pub use store::Store;

/// The version of the format of all files.
pub(crate) const FORMAT: u16 = 2;
