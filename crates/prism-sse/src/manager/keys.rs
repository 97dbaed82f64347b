//! Keys of audiences and of shards in the manager's tables.

/// An audience's key, valid while the audience has a member.
pub(crate) type AudienceKey = u32;

/// A delivery shard's key.
pub(crate) type ShardKey = u32;
