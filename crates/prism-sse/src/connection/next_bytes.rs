//! What a connection sends next, for a response body and for a delivery shard alike.
//!
//! [`Subscription::next_bytes`] looks, in this order, at a decided close, at lag and at the log, and
//! returns bytes or what the caller has to do. It runs under the manager's lock and writes nothing.

use bytes::Bytes;

use super::control;
use crate::limits;
use crate::log::{Gap, Log, TopicKey};
use crate::manager::{
    AudienceKey, CloseReason, Closing, EndedConnection, ManagerSettings, OnLag, State,
};
use crate::subscription::{NextRecord, ReadScope, Subscription};
use crate::wire::Framed;

/// The framing in which the caller needs events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// None: the event's block, for a response body.
    Block,
    /// An HTTP/1.1 chunk around each block, for a socket.
    Chunk,
}

/// The result of [`Subscription::next_bytes`].
#[derive(Debug)]
pub(crate) enum NextBytes {
    Events(EventBatch),
    /// A control event or a `retry:` line, without framing.
    Control(Vec<u8>),
    /// The stream is over.
    End,
    /// The read budget is spent; call again.
    Again,
    /// Nothing to send for now.
    Wait,
}

/// Consecutive events in one buffer.
#[derive(Clone, Debug)]
pub(crate) struct EventBatch {
    pub(crate) bytes: Bytes,
    pub(crate) events: u32,
    /// Bytes of the events' blocks, without chunk framing.
    pub(crate) event_bytes: u64,
    /// The start of each event in `bytes`; empty for [`Framing::Block`].
    pub(crate) offsets: Vec<EventOffset>,
}

/// The start of one event in an [`EventBatch`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventOffset {
    at: u32,
    /// The batch's event bytes before it.
    event_bytes: u32,
    /// The event's index in the log.
    index: u64,
}

/// The result of [`next_batch`].
pub(crate) enum NextBatch {
    Events(EventBatch),
    AtEnd,
    /// Nothing for this reader among as many records as one call may look at.
    BudgetSpent,
    Gap(Gap),
}

impl Subscription {
    /// The next bytes for the connection in `slot`. If the connection is closed on the way,
    /// `ended` receives what the disconnect hook needs.
    pub(crate) fn next_bytes(
        &mut self,
        state: &mut State,
        settings: &ManagerSettings,
        slot: u32,
        now: u64,
        framing: Framing,
        ended: &mut Option<EndedConnection>,
    ) -> NextBytes {
        let closing = state.entry(slot).closing();
        let until = match closing {
            Some(closing) if closing.reason.is_planned() => closing.end,
            Some(_) => return NextBytes::End,
            None if self.is_lagging(state, settings, slot, now) => {
                return self.handle_gap(state, settings, slot, Gap::Lag, ended);
            }
            None => state.log.end(),
        };
        match next_batch(self, &state.log, read_scope(state, slot), until, framing) {
            NextBatch::Events(batch) => NextBytes::Events(batch),
            NextBatch::BudgetSpent => NextBytes::Again,
            NextBatch::Gap(gap) => self.handle_gap(state, settings, slot, gap, ended),
            NextBatch::AtEnd => match closing {
                Some(closing) => self.closing_bytes(state, settings, slot, closing),
                None => self.mark_after_known_gap(state, settings, slot),
            },
        }
    }

    /// Whether the next bytes are the same for every connection of this audience that reads from
    /// here, so that they can be cached.
    pub(crate) fn is_shareable(
        &mut self,
        state: &State,
        settings: &ManagerSettings,
        slot: u32,
        now: u64,
    ) -> bool {
        let entry = state.entry(slot);
        entry.closing().is_none()
            && entry.direct().is_none()
            && !self.is_newest_only()
            && !self.is_in_known_gap(&state.log, read_scope(state, slot).walk)
            && !state.log.was_replaced(self.next())
            && !self.is_lagging(state, settings, slot, now)
    }

    fn is_lagging(
        &mut self,
        state: &State,
        settings: &ManagerSettings,
        slot: u32,
        now: u64,
    ) -> bool {
        let (bytes, age) = (settings.lag_bytes, settings.lag_age_ms());
        self.lags(&state.log, read_scope(state, slot), now, bytes, age)
    }

    /// Reports a gap with `prism.gap` and moves on as the manager's [`OnLag`] says, or closes the
    /// connection.
    fn handle_gap(
        &mut self,
        state: &mut State,
        settings: &ManagerSettings,
        slot: u32,
        gap: Gap,
        ended: &mut Option<EndedConnection>,
    ) -> NextBytes {
        let log = &state.log;
        let last_sent = self.last_sent();
        // A stream without control events cannot report the gap: closing it makes the reader
        // reconnect, and the response header reports it then.
        let disconnects = gap == Gap::Lag && settings.on_lag() == OnLag::Disconnect;
        let can_report =
            settings.tells_gaps() && read_scope(state, slot).audience.wants_control_events();
        if disconnects || !can_report {
            *ended = state.close(slot, CloseReason::Lagged);
            return NextBytes::End;
        }
        match (gap, settings.on_lag()) {
            (Gap::Lag, OnLag::LatestPerTopic) => self.skip_to_newest(log),
            (Gap::Lag, _) => self.skip_to_end(log),
            _ => self.skip_to_oldest(log, read_scope(state, slot).walk),
        }
        // A sequence number of a replaced order has no position in the new one.
        let after = (gap != Gap::Epoch).then(|| log.position(last_sent)).flatten();
        let resumed_at = log.position(self.last_sent());
        state.counters.gaps += 1;
        NextBytes::Control(control::gap(settings, gap, after, resumed_at))
    }

    /// Sends a mark to a reader that has read past a known gap, so that the gap is not reported
    /// again when it reconnects.
    fn mark_after_known_gap(
        &mut self,
        state: &State,
        settings: &ManagerSettings,
        slot: u32,
    ) -> NextBytes {
        let applied = state.log.applied();
        let is_up_to_date = self.last_sent() >= applied;
        if !self.clear_known_gap() || is_up_to_date || !has_control_events(state, settings, slot) {
            return NextBytes::Wait;
        }
        self.set_last_sent(applied);
        NextBytes::Control(control::mark(state.log.position(applied), None))
    }

    /// The last bytes before a planned close: a mark, and at a shutdown the time to reconnect.
    fn closing_bytes(
        &mut self,
        state: &State,
        settings: &ManagerSettings,
        slot: u32,
        closing: Closing,
    ) -> NextBytes {
        if !self.set_end_sent() {
            return NextBytes::End;
        }
        let jitter = state.entry(slot).id().jitter();
        let retry = (closing.reason == CloseReason::Shutdown).then(|| settings.retry_ms(jitter));
        // If the order was replaced after the close was decided, the mark's sequence number would
        // be read as a position of the new order.
        if state.log.was_replaced(closing.end) || !has_control_events(state, settings, slot) {
            return retry.map_or(NextBytes::End, |retry| NextBytes::Control(control::retry(retry)));
        }
        let applied = closing.applied.max(self.last_sent());
        self.set_last_sent(applied);
        NextBytes::Control(control::mark(state.log.position(applied), retry))
    }

    /// A mark, without framing, that everything up to `applied` was sent.
    pub(crate) fn mark(&mut self, log: &Log, applied: u64) -> Vec<u8> {
        self.set_last_sent(applied);
        control::mark(log.position(applied), None)
    }
}

/// Reads the events before index `until`: one event in the record's own buffer, or several small
/// ones joined.
pub(crate) fn next_batch(
    subscription: &mut Subscription,
    log: &Log,
    scope: ReadScope<'_>,
    until: u64,
    framing: Framing,
) -> NextBatch {
    let mut budget = limits::READ_BUDGET;
    let first = match subscription.next_record(log, scope, until, &mut budget) {
        NextRecord::Record(record) => record,
        NextRecord::AtEnd => return NextBatch::AtEnd,
        NextRecord::BudgetSpent => return NextBatch::BudgetSpent,
        NextRecord::Gap(gap) => return NextBatch::Gap(gap),
    };
    let mut events = 1;
    let mut event_bytes = first.framed.as_block().len();
    let mut joined = Vec::new();
    let mut offsets = Vec::new();
    if framing == Framing::Chunk {
        offsets.push(EventOffset { at: 0, event_bytes: 0, index: first.index });
    }
    loop {
        let before = *subscription;
        let next = subscription.next_record(log, scope, until, &mut budget);
        let NextRecord::Record(record) = next else { break };
        let so_far = if events == 1 { framing.of(&first.framed).len() } else { joined.len() };
        let bytes = framing.of(&record.framed);
        if so_far + bytes.len() > limits::FRAME_BYTES {
            *subscription = before;
            break;
        }
        if events == 1 {
            joined.extend_from_slice(framing.of(&first.framed));
        }
        if framing == Framing::Chunk {
            let (at, event_bytes) = (so_far as u32, event_bytes as u32);
            offsets.push(EventOffset { at, event_bytes, index: record.index });
        }
        joined.extend_from_slice(bytes);
        events += 1;
        event_bytes += record.framed.as_block().len();
    }
    let bytes = if events == 1 { framing.shared(&first.framed) } else { joined.into() };
    NextBatch::Events(EventBatch { bytes, events, event_bytes: event_bytes as u64, offsets })
}

/// Whether the connection in this slot is sent control events with positions.
pub(super) fn has_control_events(state: &State, settings: &ManagerSettings, slot: u32) -> bool {
    settings.has_control_events() && read_scope(state, slot).audience.wants_control_events()
}

/// What the connection in this slot reads.
pub(crate) fn read_scope(state: &State, slot: u32) -> ReadScope<'_> {
    let entry = state.entry(slot);
    audience_scope(state, entry.audience(), entry.direct())
}

/// What a connection of this audience reads whose topic for events sent to it alone is `direct`.
pub(crate) fn audience_scope(
    state: &State,
    audience: AudienceKey,
    direct: Option<TopicKey>,
) -> ReadScope<'_> {
    let entry = &state.audiences[audience];
    ReadScope { audience: &entry.audience, walk: entry.walk(direct) }
}

impl Framing {
    fn of(self, framed: &Framed) -> &[u8] {
        match self {
            Self::Block => framed.as_block(),
            Self::Chunk => framed.as_chunk(),
        }
    }

    fn shared(self, framed: &Framed) -> Bytes {
        match self {
            Self::Block => framed.block(),
            Self::Chunk => framed.chunk(),
        }
    }
}

impl EventBatch {
    /// The part of the batch from the log's index `from` on: its byte offset, its number of events
    /// and its event bytes. `None` if there is no such part.
    pub(crate) fn part_from(&self, from: u64) -> Option<(usize, u64, u64)> {
        let first = self.offsets.partition_point(|event| event.index < from);
        let event = self.offsets.get(first)?;
        let events = (self.offsets.len() - first) as u64;
        Some((event.at as usize, events, self.event_bytes - u64::from(event.event_bytes)))
    }
}
