//! Reading keys, limits and certificates again while the hub runs.

use std::fmt;

use crate::config::{Config, ConfigError};
use crate::live::{Live, ReloadError};

/// Knows where the configuration came from, and reads it again.
pub struct Reload(Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>);

impl Reload {
    /// Reads with a function.
    pub fn new(read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// Puts what it reads in force, as far as that is possible while the hub runs.
    pub(super) fn perform(&self, live: &Live, started: &Config) -> Result<(), ReloadError> {
        let mut config = (self.0)()?;
        // What it follows from takes a restart, and the system may have chosen the port.
        config.hub_url.clone_from(&started.hub_url);
        live.replace(&config)?;
        let late = started.needs_restart(&config);
        if !late.is_empty() {
            tracing::warn!("what changed of these takes a restart: {}", late.join(", "));
        }
        Ok(())
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}
