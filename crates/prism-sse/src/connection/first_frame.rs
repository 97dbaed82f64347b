//! Capturing the first frame of a connection, so that a server can take its stream over.
//!
//! A server that wants to write a stream to the socket itself must know that no layer between it
//! and the connection changes the bytes. It polls the body's first frame inside [`capture`]: a
//! connection that is polled there for the first time reports its first frame and its read state.
//! If the frame that the body returns is the reported buffer itself, no layer changed it.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use crate::manager::{ConnectionRef, ManagerInner};
use crate::subscription::Subscription;
use crate::wire::ConnectionId;

/// A response's extension: the connection that its body was made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseTag(pub(crate) ConnectionId);

/// The first frame of a connection, and its read state after it.
#[derive(Debug)]
pub(crate) struct FirstFrame {
    pub(crate) manager: Arc<ManagerInner>,
    pub(crate) slot: u32,
    /// Distinguishes the connection from a later one in the same slot.
    pub(crate) id: ConnectionId,
    pub(crate) subscription: Subscription,
    /// The frame's bytes.
    pub(crate) opening: Bytes,
}

impl FirstFrame {
    /// A handle on the connection. `None` if it is closed already.
    pub(crate) fn handle(&self) -> Option<ConnectionRef> {
        self.manager.connection(self.id)
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

/// Runs `poll`. Returns its result, and the first frame that a connection reported meanwhile.
pub(crate) fn capture<R>(poll: impl FnOnce() -> R) -> (R, Option<FirstFrame>) {
    /// Ends the capture even if `poll` panics.
    struct DisarmOnDrop;
    impl Drop for DisarmOnDrop {
        fn drop(&mut self) {
            drop(CAPTURE.replace(CaptureState::Off));
        }
    }
    drop(CAPTURE.replace(CaptureState::Armed));
    let disarm = DisarmOnDrop;
    let polled = poll();
    let state = CAPTURE.replace(CaptureState::Off);
    drop(disarm);
    match state {
        CaptureState::Captured(first_frame) => (polled, Some(first_frame)),
        CaptureState::Off | CaptureState::Armed => (polled, None),
    }
}

/// Reports a connection's first frame. Within one [`capture`] the first report counts.
pub(super) fn report(first_frame: impl FnOnce() -> FirstFrame) {
    CAPTURE.with_borrow_mut(|state| {
        if matches!(state, CaptureState::Armed) {
            *state = CaptureState::Captured(first_frame());
        }
    });
}

/// Whether `bytes` is this very buffer, and not a copy of it.
pub(crate) fn is_same_buffer(bytes: &Bytes, other: &Bytes) -> bool {
    std::ptr::eq(bytes.as_ptr(), other.as_ptr()) && bytes.len() == other.len()
}
