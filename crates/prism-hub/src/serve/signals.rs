//! The signals of the process.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Shut down: SIGTERM, or Ctrl-C.
    Shutdown,
    /// Reload keys, limits and certificates: SIGHUP.
    Reload,
}

/// The signals that arrive after this was made.
pub(super) struct Signals {
    #[cfg(unix)]
    hangup: UnixSignal,
    #[cfg(unix)]
    interrupt: UnixSignal,
    #[cfg(unix)]
    terminate: UnixSignal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Shutdown,
            _ = self.interrupt.recv() => Signal::Shutdown,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    pub(super) async fn next(&mut self) -> Signal {
        // An error means that the platform has no Ctrl-C. Then the process can only be killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Shutdown
    }
}
