//! Reading keys and limits again while the hub runs.

use std::fmt;
use std::future::Future;

use crate::config::{Config, ConfigError};
use crate::live::{Live, ReloadError};

/// Knows where the configuration came from, and reads it again.
pub struct Reload(Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>);

impl Reload {
    /// Reads with a function.
    pub fn new(read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// Reads again whenever the process is told to, until something ends.
    pub(super) async fn until(&self, live: &Live, started: &Config, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let mut asked = Asked::new();
        loop {
            tokio::select! {
                () = &mut end => return,
                () = asked.next() => match self.perform(live, started) {
                    Ok(()) => tracing::info!("keys and limits were read again"),
                    Err(error) => tracing::error!("everything stays as it was: {error}"),
                },
            }
        }
    }

    fn perform(&self, live: &Live, started: &Config) -> Result<(), ReloadError> {
        let config = (self.0)()?;
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

/// SIGHUP, where there is such a thing.
struct Asked {
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Asked {
    fn new() -> Self {
        Self {
            #[cfg(unix)]
            hangup: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(hangup) = &mut self.hangup {
            hangup.recv().await;
            return;
        }
        std::future::pending().await
    }
}
