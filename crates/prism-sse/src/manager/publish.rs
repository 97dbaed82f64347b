//! From a publication to the log: checks, idempotency keys, the engine, and applying.

use std::sync::Arc;

use super::error::{PublishError, SendError};
use super::idempotency::KeyLookup;
use super::inner::ManagerInner;
use super::writer::{OrderedItem, Writer};
use crate::engine::{
    AckSender, Apply, Durability, EngineError, OrderEnd, Publication, Receipt, Target, Wakes,
    receipt, shared_receipt,
};
use crate::wire::{ConnectionId, Epoch, Event, EventId, Framed, Position};

/// Event names with this prefix are those of control events.
const RESERVED_PREFIX: &str = "prism.";

impl ManagerInner {
    /// Checks a publication and appends it to the engine. One whose idempotency key is known is not
    /// appended again.
    pub(super) fn publish(&self, publication: Publication) -> Result<Receipt, PublishError> {
        self.check(publication.event())?;
        self.append(publication)
    }

    /// Checks an event and sends it to one connection.
    pub(super) fn send(&self, event: Event, to: ConnectionId) -> Result<Receipt, SendError> {
        self.check(&event).map_err(SendError::Publish)?;
        if self.settings.has_history() && event.event_id().is_some() {
            return Err(SendError::IdNotKept);
        }
        {
            let state = self.lock();
            let slot = state.find(to).ok_or(SendError::NoSuchConnection { id: to })?;
            if !state.has_room_for_sent(slot, event.size()) {
                return Err(SendError::Full);
            }
        }
        let publication = Publication::to(Target::Connection(to), event);
        self.append(publication).map_err(SendError::Publish)
    }

    fn check(&self, event: &Event) -> Result<(), PublishError> {
        let max = self.settings.max_event_bytes;
        if event.size() > max {
            return Err(PublishError::TooLarge { len: event.size(), max });
        }
        if event.name().is_some_and(|name| name.as_str().starts_with(RESERVED_PREFIX)) {
            return Err(PublishError::ReservedName);
        }
        let is_reserved =
            self.settings.has_history() && event.event_id().is_some_and(EventId::is_reserved);
        if is_reserved { Err(PublishError::ReservedId) } else { Ok(()) }
    }

    fn append(&self, mut publication: Publication) -> Result<Receipt, PublishError> {
        if self.writer.as_ref().is_some_and(Writer::is_full) {
            return Err(EngineError::Overloaded.into());
        }
        // Before the publication has its place in the order, so that nobody waits for it there.
        let query = self.lock().log.pattern_query(publication.topics());
        let matches = query.map(|query| query.answer(publication.topics()));
        publication.set_matches(matches);
        let Some(digest) = self.digests.of(&publication) else {
            let (completion, receipt) = receipt(self.apply_target());
            self.engine.append(publication, completion)?;
            return Ok(receipt);
        };
        let now = self.now();
        let durability =
            if publication.is_transient() { Durability::Memory } else { self.durability() };
        let lookup = self.lock().look_up_key(digest, now, durability)?;
        let outcome = match lookup {
            KeyLookup::Known(receipt) => return Ok(receipt),
            KeyLookup::New(outcome) => outcome,
        };
        let (completion, receipt) = shared_receipt(self.apply_target(), Arc::clone(&outcome));
        if let Err(error) = self.engine.append(publication, completion) {
            self.lock().keys.refused(digest, &outcome);
            return Err(error.into());
        }
        Ok(receipt)
    }

    /// How durable an acknowledged event is that is not transient.
    pub(super) fn durability(&self) -> Durability {
        let stored = self.writer.as_ref().map(|writer| writer.store.durability());
        stored.map_or(self.engine.durability(), |stored| stored.max(self.engine.durability()))
    }

    /// The event's bytes. With history the position becomes its id, unless it has one of its own.
    pub(super) fn encode(&self, publication: &Publication, position: Option<Position>) -> Framed {
        let position = position.filter(|_| self.settings.has_history());
        Framed::encode(publication.event(), position)
    }
}

impl ManagerInner {
    /// Applies a publication that was encoded, in the order of the engine.
    pub(super) fn apply_encoded(
        &self,
        seq: u64,
        mut publication: Publication,
        framed: Framed,
    ) -> Wakes {
        // Only one thread applies at a time. Hashing takes time in proportion to the event, and so
        // is done without the lock; and so is matching patterns.
        let mut matches = publication.take_matches();
        let digest = self.digests.of(&publication);
        let now = self.now();
        let mut state = self.lock();
        while let Some(query) = state.unmatched(publication.topics(), matches.as_ref()) {
            // Patterns came into use meanwhile. They are few, and fewer each time.
            drop(state);
            matches = Some(query.answer(publication.topics()));
            state = self.lock();
        }
        if let Some(digest) = digest {
            state.keys.applied(digest, seq, now);
        }
        let mut wakes = state.apply(seq, now, &publication, framed, matches);
        drop(state);
        // The lock is released between two batches of audiences.
        while self.lock().match_some(&mut wakes) {}
        wakes
    }

    /// Applies a publication to one connection.
    pub(super) fn apply_sent(&self, publication: &Publication, sender: AckSender) -> Wakes {
        let Target::Connection(to) = *publication.target() else { return Wakes::default() };
        let framed = self.encode(publication, None);
        let now = self.now();
        self.lock().apply_ephemeral(now, to, framed, sender)
    }
}

impl Apply for ManagerInner {
    fn restored(&self) -> Option<OrderEnd> {
        let restored = self.writer.as_ref()?.store.restored();
        let state = self.lock();
        let epoch = state.log.last_epoch().unwrap_or(Epoch::new(0));
        Some(OrderEnd { epoch, seq: state.log.applied(), reserved: restored.reserved })
    }

    fn begin_epoch(&self, epoch: Epoch, after: u64) -> Wakes {
        if let Some(writer) = &self.writer {
            writer.push(OrderedItem::Epoch { epoch, after });
            return Wakes::default();
        }
        self.lock().begin_epoch(epoch, after)
    }

    fn apply(&self, seq: u64, publication: Publication) -> Wakes {
        if let Some(writer) = &self.writer {
            writer.push(OrderedItem::Publication { seq, publication: publication.into() });
            return Wakes::default();
        }
        // Only one thread applies at a time, so that the epoch is still the same when the lock is
        // taken again.
        let Some(position) = self.lock().log.next_position(seq) else { return Wakes::default() };
        let framed = self.encode(&publication, Some(position));
        self.apply_encoded(seq, publication, framed)
    }

    fn apply_ephemeral(&self, publication: Publication, sender: AckSender) -> Wakes {
        if let Some(writer) = &self.writer {
            writer.push(OrderedItem::Ephemeral { publication: publication.into(), sender });
            return Wakes::default();
        }
        self.apply_sent(&publication, sender)
    }

    fn acknowledge(&self, seq: u64, durability: Durability, sender: AckSender) -> Wakes {
        self.lock().acknowledge(seq, durability, sender)
    }

    fn wake_readers(self: Arc<Self>) {
        self.wake_bodies();
    }
}
