//! The two drafts of the Mercure protocol.

/// The draft of the Mercure protocol whose rules apply to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// Draft-07, as deployed up to version 0.24.
    Draft07,
    /// Draft-08, of version 1.0.
    Draft08,
}
