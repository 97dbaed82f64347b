//! Why a store was not opened.

use std::fmt;
use std::io;

use crate::witness::WitnessError;

/// Why a store was not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    Locked {
        /// Its process id, if it can be told.
        pid: Option<u32>,
    },
    /// The file that has epochs and reserved sequence numbers is damaged in both of its copies.
    Damaged,
    /// Another version of this program has written it.
    Version {
        /// The version of the format.
        found: u16,
        /// The one that this program knows.
        known: u16,
    },
    /// The system refuses.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { pid: Some(pid) } => write!(f, "the process {pid} has it open"),
            Self::Locked { pid: None } => f.write_str("another process has it open"),
            Self::Damaged => f.write_str(
                "both copies of the file `meta` are damaged; without it, ids could be handed out \
                 twice",
            ),
            Self::Version { found, known } => {
                write!(f, "it has format {found}; this program knows format {known}")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WitnessError> for OpenError {
    fn from(error: WitnessError) -> Self {
        match error {
            WitnessError::Io(error) => Self::Io(error),
            WitnessError::Damaged => Self::Damaged,
            WitnessError::Version(found) => Self::Version { found, known: crate::FORMAT },
        }
    }
}
