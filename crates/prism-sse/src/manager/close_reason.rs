//! Why connections end.

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client disconnected, or the application dropped the connection.
    Disconnected,
    /// The reader was too slow, and the manager disconnects slow readers.
    Lagged,
    /// The connection reached its maximum age.
    MaxAge,
    /// The application removed it.
    Removed,
    /// The manager was closed.
    Shutdown,
    /// The client accepted nothing for 15 s while something was due.
    Stalled,
}

impl CloseReason {
    /// Whether the events that were due at the close are still delivered.
    pub(crate) const fn is_planned(self) -> bool {
        !matches!(self, Self::Lagged | Self::Stalled)
    }

    /// The reason as a word, for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Lagged => "lagged",
            Self::MaxAge => "max_age",
            Self::Removed => "removed",
            Self::Shutdown => "shutdown",
            Self::Stalled => "stalled",
        }
    }
}
