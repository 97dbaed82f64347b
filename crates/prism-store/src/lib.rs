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
//! | the end of the process, `kill -9` too | every acknowledged record | every acknowledged record |
//! | a loss of power | what the system had written | every acknowledged record |
//! | a damaged byte | all other records; the damage is told | all other records; the damage is told |
//!
//! # How
//!
//! - One thread writes each group of records with one write, and syncs it at
//!   [`Durability::Fsync`](prism_sse::Durability). A record has a checksum and the sequence number
//!   of the one before it, so that what is missing between two records is known.
//! - After a failed write or sync nothing is trusted that is behind the last good sync: the group is
//!   written again to a new segment, whose header says where the old one ends.
//! - A segment that is full gets a side file with its index. Retention removes whole segments; what
//!   it does not cover in the oldest one is not read any more.
//! - Sequence numbers are reserved in blocks, and epochs recorded, in a file of two synced copies.

mod files;
mod index;
mod open;
mod options;
mod pages;
mod record;
mod segment;
mod store;
mod witness;
mod writer;

pub use files::{File, Files};
pub use open::OpenError;
pub use options::Options;
pub use store::Store;

/// The version of the format of all files.
pub(crate) const FORMAT: u16 = 1;
