//! The buffers that half-written events keep in memory, each counted once however many members wait
//! for it.

use std::collections::HashMap;

use bytes::Bytes;

pub(super) struct PinnedBuffers {
    /// By the address of the buffer's end, which is the same for all unwritten rests of it.
    buffers: HashMap<usize, PinnedBuffer>,
    bytes: usize,
    limit: usize,
}

struct PinnedBuffer {
    holders: u32,
    /// Bytes of the whole buffer, because a part of it keeps all of it.
    len: usize,
}

impl PinnedBuffers {
    /// Buffers that should not exceed this many bytes together.
    pub(super) fn new(limit: usize) -> Self {
        Self { buffers: HashMap::new(), bytes: 0, limit }
    }

    /// Pins the part of `bytes` from `begin` on, and returns it. A small part is copied, so that it
    /// does not keep the whole buffer.
    pub(super) fn pin(&mut self, bytes: &Bytes, begin: usize) -> Bytes {
        let mut rest = bytes.slice(begin..);
        let mut len = bytes.len();
        if rest.len() <= len / 4 {
            rest = Bytes::copy_from_slice(&rest);
            len = rest.len();
        }
        let unpinned = PinnedBuffer { holders: 0, len: 0 };
        let buffer = self.buffers.entry(end_address(&rest)).or_insert(unpinned);
        buffer.holders += 1;
        let grown = len.saturating_sub(buffer.len);
        buffer.len += grown;
        self.bytes += grown;
        rest
    }

    /// Releases what [`pin`](Self::pin) returned, of which a part may have been written since.
    pub(super) fn unpin(&mut self, rest: &Bytes) {
        let Some(buffer) = self.buffers.get_mut(&end_address(rest)) else { return };
        buffer.holders -= 1;
        if buffer.holders == 0 {
            self.bytes -= buffer.len;
            self.buffers.remove(&end_address(rest));
        }
    }

    #[cfg(all(test, feature = "test-util"))]
    pub(super) fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether more bytes are pinned than there should be.
    pub(super) fn exceed_limit(&self) -> bool {
        self.bytes > self.limit
    }
}

fn end_address(rest: &Bytes) -> usize {
    rest.as_ptr().addr() + rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_many_wait_for_counts_once() {
        let mut pinned = PinnedBuffers::new(100);
        let chunk = Bytes::from(vec![0; 100]);
        for begin in [40, 10, 70] {
            assert_eq!(pinned.pin(&chunk, begin).len(), 100 - begin);
        }
        assert_eq!(pinned.bytes, 100, "all of a buffer is kept for a part of it");
        pinned.unpin(&chunk.slice(99..));
        pinned.unpin(&chunk.slice(40..));
        assert_eq!(pinned.bytes, 100);
        pinned.unpin(&chunk.slice(10..));
        assert_eq!((pinned.bytes, pinned.buffers.len()), (0, 0));
    }

    #[test]
    fn a_small_rest_does_not_keep_the_whole_buffer() {
        let mut pinned = PinnedBuffers::new(100);
        let chunk = Bytes::from(vec![0; 1000]);
        let rests: Vec<Bytes> = (0..3).map(|_| pinned.pin(&chunk, 990)).collect();
        assert_eq!(pinned.bytes, 30);
        rests.iter().for_each(|rest| pinned.unpin(rest));
        assert_eq!((pinned.bytes, pinned.buffers.len()), (0, 0));
    }

    #[test]
    fn different_buffers_add_up_to_the_limit() {
        let mut pinned = PinnedBuffers::new(100);
        let (one, two) = (Bytes::from(vec![0; 60]), Bytes::from(vec![0; 60]));
        pinned.pin(&one, 0);
        assert!(!pinned.exceed_limit());
        pinned.pin(&two, 0);
        assert!(pinned.exceed_limit());
    }
}
