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
    /// Bytes of all of it: a rest keeps the whole buffer.
    len: usize,
}

impl Pins {
    /// Room for this many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { buffers: HashMap::new(), bytes: 0, most }
    }

    /// Pins what there is of `bytes` from `begin` on, and answers with that. A small part is
    /// copied, so that it does not keep all the others.
    pub(super) fn add(&mut self, bytes: &Bytes, begin: usize) -> Bytes {
        let mut rest = bytes.slice(begin..);
        let mut len = bytes.len();
        if rest.len() <= len / 4 {
            rest = Bytes::copy_from_slice(&rest);
            len = rest.len();
        }
        let pin = self.buffers.entry(end_of(&rest)).or_insert(Pin { holders: 0, len: 0 });
        pin.holders += 1;
        let grown = len.saturating_sub(pin.len);
        pin.len += grown;
        self.bytes += grown;
        rest
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
        for begin in [40, 10, 70] {
            assert_eq!(pins.add(&chunk, begin).len(), 100 - begin);
        }
        assert_eq!(pins.bytes, 100, "all of a buffer is kept for a part of it");
        pins.remove(&chunk.slice(99..));
        pins.remove(&chunk.slice(40..));
        assert_eq!(pins.bytes, 100);
        pins.remove(&chunk.slice(10..));
        assert_eq!((pins.bytes, pins.buffers.len()), (0, 0));
    }

    #[test]
    fn a_small_rest_does_not_keep_the_whole_buffer() {
        let mut pins = Pins::new(100);
        let chunk = Bytes::from(vec![0; 1000]);
        let rests: Vec<Bytes> = (0..3).map(|_| pins.add(&chunk, 990)).collect();
        assert_eq!(pins.bytes, 30);
        rests.iter().for_each(|rest| pins.remove(rest));
        assert_eq!((pins.bytes, pins.buffers.len()), (0, 0));
    }

    #[test]
    fn different_buffers_add_up_to_the_bound() {
        let mut pins = Pins::new(100);
        let (one, two) = (Bytes::from(vec![0; 60]), Bytes::from(vec![0; 60]));
        pins.add(&one, 0);
        assert!(!pins.are_too_many());
        pins.add(&two, 0);
        assert!(pins.are_too_many());
    }
}
