//! Why the hub cannot serve.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::hub::HubError;
use crate::rules::ReloadError;

/// Why the hub cannot start, or stopped before it was told to.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// The configuration gives no hub.
    Hub(HubError),
    /// A system call failed.
    System(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Hub(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<HubError> for ServeError {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<ReloadError> for ServeError {
    fn from(error: ReloadError) -> Self {
        Self::Hub(error.into())
    }
}
