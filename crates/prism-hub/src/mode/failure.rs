//! Failures of modes: a message and an exit code.

/// Why a mode failed, with the message to print.
#[derive(Debug)]
pub(super) enum Failure {
    /// The mode failed: exit code 1.
    Failed(String),
    /// The arguments are wrong: exit code 2.
    Usage(String),
}

impl Failure {
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    pub(super) fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}
