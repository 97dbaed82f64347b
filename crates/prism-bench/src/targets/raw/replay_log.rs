//! The history of the target `raw`: the bytes of all events, as they are replayed.

/// The prefix of all ids.
const ID: &str = "#1.";

/// All events in the order in which they were published. Nothing is removed during a run.
pub(super) struct ReplayLog {
    bytes: Vec<u8>,
    /// The offset of each event's end, by its number. Events are numbered from 1.
    ends: Vec<usize>,
}

impl ReplayLog {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), ends: vec![0] }
    }

    /// Appends an event, and returns its bytes: one HTTP chunk.
    pub(super) fn append(&mut self, text: &[u8]) -> &[u8] {
        let begin = self.bytes.len();
        let number = self.ends.len();
        let event = format!("id: {ID}{number}\ndata: ");
        self.bytes.extend_from_slice(format!("{:x}\r\n", event.len() + text.len() + 2).as_bytes());
        self.bytes.extend_from_slice(event.as_bytes());
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\n\n\r\n");
        self.ends.push(self.bytes.len());
        &self.bytes[begin..]
    }

    /// The offset after the event with this id.
    pub(super) fn after(&self, id: &str) -> Option<usize> {
        let number: usize = id.strip_prefix(ID)?.parse().ok()?;
        self.ends.get(number).copied()
    }

    /// The bytes from an offset on.
    pub(super) fn from(&self, at: usize) -> &[u8] {
        &self.bytes[at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_has_the_same_bytes_as_live_events() {
        let mut log = ReplayLog::new();
        assert_eq!(log.append(b"0123456789"), b"1b\r\nid: #1.1\ndata: 0123456789\n\n\r\n");
        let second = log.append(b"second").to_vec();
        let at = log.after("#1.1").unwrap();
        assert_eq!(log.from(at), second);
        assert!(log.from(log.after("#1.2").unwrap()).is_empty());
        for id in ["#1.3", "#1.x", "#2.1", ""] {
            assert_eq!(log.after(id), None, "{id}");
        }
    }
}
