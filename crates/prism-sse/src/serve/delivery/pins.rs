//! Buffers that half-written events keep in memory, each counted once however many wait for it.

use std::collections::HashMap;

use bytes::Bytes;

pub(in crate::serve) struct Pins {
    /// By the address of the buffer's end, which all its rests share.
    buffers: HashMap<usize, Pin>,
    bytes: usize,
    most: usize,
}

struct Pin {
    holders: u32,
    /// Bytes of the longest rest that was pinned of it.
    len: usize,
}

impl Pins {
    /// Room for this many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { buffers: HashMap::new(), bytes: 0, most }
    }

    pub(super) fn add(&mut self, rest: &Bytes) {
        let pin = self.buffers.entry(end_of(rest)).or_insert(Pin { holders: 0, len: 0 });
        pin.holders += 1;
        let grown = rest.len().saturating_sub(pin.len);
        pin.len += grown;
        self.bytes += grown;
    }

    /// Takes back what was added, of which some may have been written since.
    pub(super) fn remove(&mut self, rest: &Bytes) {
        let Some(pin) = self.buffers.get_mut(&end_of(rest)) else { return };
        pin.holders -= 1;
        if pin.holders == 0 {
            self.bytes -= pin.len;
            self.buffers.remove(&end_of(rest));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether more is pinned than there is room for.
    pub(super) fn are_too_many(&self) -> bool {
        self.bytes > self.most
    }
}

fn end_of(rest: &Bytes) -> usize {
    rest.as_ptr().addr() + rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_many_wait_for_counts_once() {
        let mut pins = Pins::new(100);
        let chunk = Bytes::from(vec![0; 100]);
        pins.add(&chunk.slice(40..));
        pins.add(&chunk.slice(10..));
        pins.add(&chunk.slice(70..));
        assert_eq!(pins.bytes, 90);
        pins.remove(&chunk.slice(99..));
        pins.remove(&chunk.slice(40..));
        assert_eq!(pins.bytes, 90);
        pins.remove(&chunk.slice(10..));
        assert_eq!((pins.bytes, pins.buffers.len()), (0, 0));
    }

    #[test]
    fn different_buffers_add_up_to_the_bound() {
        let mut pins = Pins::new(100);
        let (one, two) = (Bytes::from(vec![0; 60]), Bytes::from(vec![0; 60]));
        pins.add(&one);
        assert!(!pins.are_too_many());
        pins.add(&two);
        assert!(pins.are_too_many());
    }
}
