//! What a token is presented for.

/// The role of whoever presents a token. Each role has its own trusted keys and its own entries in
/// the token cache: a token that was verified for one role is not verified for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Publisher,
    Subscriber,
}
