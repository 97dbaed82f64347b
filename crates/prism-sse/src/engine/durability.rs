//! What an acknowledged event survives.

/// What an acknowledged event survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: it is in this process's memory.
    Memory,
    /// The end of the process: the operating system has it.
    Os,
    /// A loss of power: it was synced to disk.
    Fsync,
    /// The loss of a node.
    Replicated,
}

impl Durability {
    /// The name used in acknowledgements.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Os => "os",
            Self::Fsync => "fsync",
            Self::Replicated => "replicated",
        }
    }
}
