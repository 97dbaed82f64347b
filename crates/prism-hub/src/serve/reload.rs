//! Where the configuration comes from when it is read again while the hub runs.

use std::fmt;

use crate::config::{Config, ConfigError};

/// Knows where the configuration came from, and reads it again.
pub struct Reload(Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>);

impl Reload {
    /// Reads with a function.
    pub fn new(read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// What the configuration says now.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        (self.0)()
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}
