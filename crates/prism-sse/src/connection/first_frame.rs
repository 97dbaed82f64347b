//! How a server learns that a response body begins with a connection's own first bytes.
//!
//! A server that wants to write to the socket itself must know that nothing between it and the
//! connection changes the stream. It polls the body's first frame within [`during`]; the connection
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
pub(crate) struct Ticket(pub(crate) ConnectionId);

/// A connection at its beginning, as its owner told it.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: u32,
    /// Tells it from a later connection in the same slot.
    pub(crate) id: ConnectionId,
    pub(crate) reading: Reading,
    /// The first bytes of the stream.
    pub(crate) opening: Bytes,
}

impl Offered {
    /// A handle on the connection; `None` if it ended already.
    pub(crate) fn handle(&self) -> Option<ConnectionRef> {
        Manager::from_shared(Arc::clone(&self.shared)).connection(self.id)
    }
}

enum Wanted {
    No,
    Yes,
    Made(Offered),
}

thread_local! {
    static OFFER: RefCell<Wanted> = const { RefCell::new(Wanted::No) };
}

/// Does `poll`, and answers too what a connection offered meanwhile.
pub(crate) fn during<R>(poll: impl FnOnce() -> R) -> (R, Option<Offered>) {
    /// Takes the question back even if the body panics.
    struct Asking;
    impl Drop for Asking {
        fn drop(&mut self) {
            drop(OFFER.replace(Wanted::No));
        }
    }
    drop(OFFER.replace(Wanted::Yes));
    let asking = Asking;
    let polled = poll();
    let made = OFFER.replace(Wanted::No);
    drop(asking);
    match made {
        Wanted::Made(offered) => (polled, Some(offered)),
        Wanted::No | Wanted::Yes => (polled, None),
    }
}

/// Offers the connection to whoever asks; the first one counts.
pub(super) fn make(offered: impl FnOnce() -> Offered) {
    OFFER.with_borrow_mut(|wanted| {
        if matches!(wanted, Wanted::Yes) {
            *wanted = Wanted::Made(offered());
        }
    });
}

/// Whether `bytes` are this very buffer, and not a copy of it.
pub(crate) fn is_same(bytes: &Bytes, other: &Bytes) -> bool {
    std::ptr::eq(bytes.as_ptr(), other.as_ptr()) && bytes.len() == other.len()
}
