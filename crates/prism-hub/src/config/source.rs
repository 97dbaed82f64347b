//! Where the configuration comes from, so that a reload can read it again.

use std::fmt;

use super::{Config, ConfigError};

/// Reads the configuration from the flags, the environment and the file that were given at start.
pub struct ConfigSource(Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>);

impl ConfigSource {
    /// A source that calls this function for each read.
    pub fn new(read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// Reads the configuration as it is now.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        (self.0)()
    }
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSource").finish_non_exhaustive()
    }
}
