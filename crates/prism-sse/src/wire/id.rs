//! Positions, and the ids of events and connections.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;

use super::invalid::{Field, InvalidEvent, check_token};
use crate::limits;

/// An epoch: one start of the order. Positions of different epochs are never confused.
///
/// Written as lower-case hexadecimal without leading zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A position in the order, written `#<epoch>.<seq>`.
///
/// A position is never assigned twice. Of two positions in one epoch the one with the larger
/// sequence number came later.
///
/// ```
/// use prism_sse::Position;
///
/// let position: Position = "#5f3a.42".parse()?;
/// assert_eq!(position.seq, 42);
/// assert_eq!(position.to_string(), "#5f3a.42");
/// # Ok::<(), prism_sse::InvalidPosition>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The epoch in which the event was accepted.
    pub epoch: Epoch,
    /// The event's number in the order, counted from 1. 0 is the position before all events.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    /// Accepts exactly what `Display` writes, so that a position has one spelling.
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, seq) =
            text.strip_prefix('#').and_then(|rest| rest.split_once('.')).ok_or(InvalidPosition)?;
        let canonical = |digits: &str| digits == "0" || !digits.starts_with('0');
        let hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if !canonical(epoch) || !canonical(seq) {
            return Err(InvalidPosition);
        }
        if !epoch.bytes().all(hex) || !seq.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(InvalidPosition);
        }
        Ok(Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| InvalidPosition)?),
            seq: seq.parse().map_err(|_| InvalidPosition)?,
        })
    }
}

/// The text is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidPosition;

impl fmt::Display for InvalidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is written #<epoch>.<seq>, hexadecimal and decimal, as in #5f3a.42")
    }
}

impl std::error::Error for InvalidPosition {}

/// An id that a publisher chose: 1 to 255 bytes, without control characters, and without a space at
/// either end, because a browser returns it in a request header and it must be unchanged.
///
/// Ids that begin with `#` and the id `earliest` are reserved; a manager with history refuses to
/// publish them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(Arc<str>);

impl EventId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the id is reserved.
    pub(crate) fn is_reserved(&self) -> bool {
        self.0.starts_with('#') || &*self.0 == EARLIEST
    }
}

/// The id after which everything that is retained is replayed.
pub(crate) const EARLIEST: &str = "earliest";

impl TryFrom<&str> for EventId {
    type Error = InvalidEvent;

    fn try_from(id: &str) -> Result<Self, InvalidEvent> {
        check_token(id, Field::Id, limits::EVENT_ID_BYTES_MAX)?;
        let outer = id.starts_with([' ', '\t']) || id.ends_with([' ', '\t']);
        if outer || id.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(InvalidEvent::NotHeaderText { field: Field::Id });
        }
        Ok(Self(id.into()))
    }
}

impl TryFrom<String> for EventId {
    type Error = InvalidEvent;

    fn try_from(id: String) -> Result<Self, InvalidEvent> {
        Self::try_from(id.as_str())
    }
}

impl FromStr for EventId {
    type Err = InvalidEvent;

    fn from_str(id: &str) -> Result<Self, InvalidEvent> {
        Self::try_from(id)
    }
}

impl std::borrow::Borrow<str> for EventId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A connection's id: 32 hexadecimal digits that cannot be guessed.
///
/// A reader gets its own in `prism.open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    // Two halves rather than one number of 16 bytes, whose alignment would cost each connection.
    high: u64,
    low: u64,
}

impl ConnectionId {
    /// Made of 96 random bits and the connection's slot, so that it is found without a hash table.
    /// The slot would tell every reader about how many are connected: it is encrypted with a keyed
    /// hash of the random bits.
    pub(crate) fn new(random: (u64, u32), slot: u32, key: &RandomState) -> Self {
        let id = Self { high: random.0, low: u64::from(random.1) << 32 };
        Self { low: id.low | u64::from(slot ^ id.slot_mask(key)), ..id }
    }

    /// The slot, if the id was made with this key; else any number.
    pub(crate) fn slot(self, key: &RandomState) -> u32 {
        self.low as u32 ^ self.slot_mask(key)
    }

    /// What the slot is combined with: a hash that nobody can compute without the key.
    fn slot_mask(self, key: &RandomState) -> u32 {
        key.hash_one((self.high, self.jitter())) as u32
    }

    /// Bits that differ from one connection to the next.
    pub(crate) fn jitter(self) -> u32 {
        (self.low >> 32) as u32
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;

    fn from_str(text: &str) -> Result<Self, InvalidConnectionId> {
        let hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(hex) {
            return Err(InvalidConnectionId);
        }
        let half = |text| u64::from_str_radix(text, 16).map_err(|_| InvalidConnectionId);
        Ok(Self { high: half(&text[..16])?, low: half(&text[16..])? })
    }
}

/// The text is not the id of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidConnectionId;

impl fmt::Display for InvalidConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a connection's id is 32 lower-case hexadecimal digits")
    }
}

impl std::error::Error for InvalidConnectionId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_one_spelling() {
        for text in ["#0.0", "#1.1", "#ffffffffffffffff.18446744073709551615", "#5f3a.42"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "#",
            "#.",
            "#1",
            "#1.",
            "#.1",
            "1.1",
            "#01.1",
            "#1.01",
            "#1.+1",
            "#+1.1",
            "#1.1 ",
            " #1.1",
            "#A.1",
            "#1.a",
            "#1.1.1",
            "#10000000000000000.1",
            "#1.18446744073709551616",
            "#1.٣",
            "##1.1",
            "#-1.1",
        ] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
    }
}
