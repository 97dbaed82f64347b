//! The engine's end of a receipt.

use std::sync::{Arc, Weak};

use super::apply::{Apply, Wakes};
use super::durability::Durability;
use super::receipt::{AckError, AckSender, Outcome, Receipt};

/// The engine's end of a [`Receipt`]. Dropping it completes the receipt with
/// [`AckError::Unknown`].
#[derive(Debug)]
pub struct Completion {
    apply: Weak<dyn Apply>,
    sender: AckSender,
}

impl Completion {
    /// The publication has this sequence number and is this durable. The receipt is completed once
    /// this node has applied the publication.
    ///
    /// It wakes the publisher: call it with no lock held.
    pub fn acknowledge(self, seq: u64, durability: Durability) {
        if let Some(apply) = self.apply.upgrade() {
            apply.acknowledge(seq, durability, self.sender).wake();
        }
    }

    /// The publication is not in the order and will not be. Call it with no lock held.
    pub fn fail(self) {
        Wakes::ack(self.sender, Err(AckError::Failed)).wake();
    }

    pub(super) fn into_sender(self) -> AckSender {
        self.sender
    }
}

/// A completion and its receipt.
pub(crate) fn receipt(apply: Weak<dyn Apply>) -> (Completion, Receipt) {
    let (sender, receipt) = Receipt::channel();
    (Completion { apply, sender }, receipt)
}

/// A completion and a receipt for a publication whose `outcome` further receipts may share.
pub(crate) fn shared_receipt(
    apply: Weak<dyn Apply>,
    outcome: Arc<Outcome>,
) -> (Completion, Receipt) {
    let sender = AckSender::of_outcome(Arc::clone(&outcome));
    (Completion { apply, sender }, Receipt::of_outcome(outcome))
}
