//! Why a configuration gives no hub.

use std::fmt;
use std::path::PathBuf;

use prism_sse::InvalidSetting;
use prism_store::OpenError;

use crate::rules::ReloadError;

/// Why a configuration gives no hub.
#[derive(Debug)]
#[non_exhaustive]
pub enum HubError {
    /// A key or the certificate cannot be used.
    Rules(ReloadError),
    /// The event manager refuses a setting.
    Setting(InvalidSetting),
    /// The directory of the history cannot be used.
    Store {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        error: OpenError,
    },
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(error) => error.fmt(f),
            Self::Setting(error) => error.fmt(f),
            Self::Store { directory, error } => write!(
                f,
                "the directory {} cannot be used: {error}; `--engine embedded:DIR` names another \
                 one, `--engine memory` needs none",
                directory.display()
            ),
        }
    }
}

impl std::error::Error for HubError {}

impl From<ReloadError> for HubError {
    fn from(error: ReloadError) -> Self {
        Self::Rules(error)
    }
}

impl From<InvalidSetting> for HubError {
    fn from(error: InvalidSetting) -> Self {
        Self::Setting(error)
    }
}
