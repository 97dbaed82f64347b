//! How a server learns that a response body begins with a connection's own first bytes.
//!
//! A server that wants to write to the socket itself must know that nothing between it and the
//! connection changes the stream. It polls the body's first frame within [`capture`]; the connection
//! that is polled says there which buffer it handed out, and where it stands. If the frame that
//! arrives is that very buffer, nothing touched it.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::reading::Reading;
use crate::manager::{ConnectionRef, Manager, Shared};
use crate::wire::ConnectionId;

/// Says in a response's extensions that its body is this connection and nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseTag(pub(crate) ConnectionId);

/// A connection at its beginning, as its owner told it.
#[derive(Debug)]
pub(crate) struct FirstFrame {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: u32,
    /// Tells it from a later connection in the same slot.
    pub(crate) id: ConnectionId,
    pub(crate) reading: Reading,
    /// The first bytes of the stream.
    pub(crate) opening: Bytes,
}

impl FirstFrame {
    /// A handle on the connection; `None` if it ended already.
    pub(crate) fn handle(&self) -> Option<ConnectionRef> {
        Manager::from_shared(Arc::clone(&self.shared)).connection(self.id)
    }
}

enum CaptureState {
    Off,
    Armed,
    Captured(FirstFrame),
}

thread_local! {
    static CAPTURE: RefCell<CaptureState> = const { RefCell::new(CaptureState::Off) };
}

/// Does `poll`, and answers too what a connection offered meanwhile.
pub(crate) fn capture<R>(poll: impl FnOnce() -> R) -> (R, Option<FirstFrame>) {
    /// Takes the question back even if the body panics.
    struct DisarmOnDrop;
    impl Drop for DisarmOnDrop {
        fn drop(&mut self) {
            drop(CAPTURE.replace(CaptureState::Off));
        }
    }
    drop(CAPTURE.replace(CaptureState::Armed));
    let disarm = DisarmOnDrop;
    let polled = poll();
    let made = CAPTURE.replace(CaptureState::Off);
    drop(disarm);
    match made {
        CaptureState::Captured(offered) => (polled, Some(offered)),
        CaptureState::Off | CaptureState::Armed => (polled, None),
    }
}

/// Offers the connection to whoever asks; the first one counts.
pub(super) fn report(offered: impl FnOnce() -> FirstFrame) {
    CAPTURE.with_borrow_mut(|wanted| {
        if matches!(wanted, CaptureState::Armed) {
            *wanted = CaptureState::Captured(offered());
        }
    });
}

/// Whether `bytes` are this very buffer, and not a copy of it.
pub(crate) fn is_same_buffer(bytes: &Bytes, other: &Bytes) -> bool {
    std::ptr::eq(bytes.as_ptr(), other.as_ptr()) && bytes.len() == other.len()
}
