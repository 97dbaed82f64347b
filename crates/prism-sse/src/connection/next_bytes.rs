//! What a connection sends next, for a response body and for a delivery shard alike.
//!
//! [`Subscription::next_bytes`] looks, in this order, at a decided close, at lag and at the log,
//! and returns bytes or what the caller has to do. It runs under the manager's lock, reads live
//! events alone, and writes nothing. Everything else is a [`Replay`], which the caller reads with
//! [`read_replay`] after it released the lock. [`next_batch`] and [`replay_batch`] are the same for
//! a group of connections, which has no close and no lag of its own.

use bytes::Bytes;

use super::control;
use crate::limits;
use crate::log::{Gap, Log, Record};
use crate::manager::{
    AudienceKey, CloseReason, Closing, EndedConnection, ManagerInner, ManagerSettings, OnLag,
    PageKey, State,
};
use crate::store::Missing;
use crate::subscription::replay::{LagCheck, Replay};
use crate::subscription::{ReadScope, ReadState, Subscription};
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
    /// The next events are to be read by [`read_replay`], after the lock was released.
    Replay(Box<Replay>),
    /// A control event or a `retry:` line, without framing.
    Control(Vec<u8>),
    /// The stream is over.
    End,
    /// A page of the store has to be loaded first; see [`ManagerInner::wait_for_page`].
    Page(PageKey),
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
    /// The next events are to be read by [`replay_batch`], after the lock was released.
    Replay(Box<Replay>),
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
            None => state.log.end(),
        };
        let may_lag = closing.is_none() && self.may_lag(state, settings, slot, now);
        let lag = may_lag.then(|| self.lag_check(state, settings, slot, now));
        // A group does not read pages: what it misses, its members read on their own.
        self.locate(&state.log, read_scope(state, slot));
        let next = next_batch(self, &state.log, read_scope(state, slot), until, lag, framing);
        if !self.is_paging() {
            state.release_sent(slot, self.next());
        }
        match next {
            NextBatch::Events(batch) => NextBytes::Events(batch),
            NextBatch::Replay(replay) => NextBytes::Replay(replay),
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
        !self.is_paging()
            && entry.closing().is_none()
            && entry.sent_to(slot).is_none()
            && !self.is_newest_only()
            && !self.is_in_known_gap(&state.log, read_scope(state, slot).walk)
            && !state.log.was_replaced(self.next())
            && !self.may_lag(state, settings, slot, now)
    }

    fn may_lag(&mut self, state: &State, settings: &ManagerSettings, slot: u32, now: u64) -> bool {
        let (bytes, age) = (settings.lag_bytes, settings.lag_age_ms());
        self.exceeds_lag_bounds(&state.log, read_scope(state, slot).walk, now, bytes, age)
    }

    fn lag_check(
        &self,
        state: &State,
        settings: &ManagerSettings,
        slot: u32,
        now: u64,
    ) -> LagCheck {
        let oldest_at = now.saturating_sub(settings.lag_age_ms());
        let walk = read_scope(state, slot).walk;
        self.begin_lag_check(&state.log, walk, settings.lag_bytes, oldest_at)
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

    /// Goes on behind records that are missing in the store, and reports them unless the reader
    /// knows of them.
    fn handle_missing(
        &mut self,
        manager: &ManagerInner,
        slot: u32,
        missing: Missing,
        ended: &mut Option<EndedConnection>,
    ) -> NextBytes {
        if self.knows_missing(missing.until) {
            self.skip_missing(missing.until);
            return NextBytes::Again;
        }
        let mut state = manager.lock();
        if missing.damaged {
            // Who cannot be told here is told when it comes back.
            state.log.note_damage(missing.until);
        }
        let after = self.last_sent();
        let told = self.handle_gap(&mut state, &manager.settings, slot, Gap::Expired, ended);
        let NextBytes::Control(_) = told else { return told };
        self.skip_missing(missing.until);
        let [after, resumed_at] = [after, self.last_sent()].map(|seq| state.log.position(seq));
        NextBytes::Control(control::gap(&manager.settings, Gap::Expired, after, resumed_at))
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

/// Reads the events before index `until`, or says what has to be done instead.
pub(crate) fn next_batch(
    subscription: &mut Subscription,
    log: &Log,
    scope: ReadScope<'_>,
    until: u64,
    lag: Option<LagCheck>,
    framing: Framing,
) -> NextBatch {
    match subscription.look(log, scope, until) {
        ReadState::Stored => {
            return NextBatch::Replay(subscription.stored_replay(log, scope).into());
        }
        ReadState::Gap(gap) => return NextBatch::Gap(gap),
        ReadState::AtEnd => return NextBatch::AtEnd,
        ReadState::Live if lag.is_none() => {}
        ReadState::Live | ReadState::Behind => {
            return NextBatch::Replay(subscription.replay(log, scope, until, lag).into());
        }
    }
    let mut budget = limits::LIVE_RECORDS_READ;
    let mut batch = BatchBuilder::new(framing);
    loop {
        let before = *subscription;
        let Some(record) = subscription.next_live(log, scope, until, &mut budget) else { break };
        if !batch.push(record) {
            *subscription = before;
            break;
        }
    }
    match batch.finish() {
        Some(batch) => NextBatch::Events(batch),
        None if subscription.is_at(until) => NextBatch::AtEnd,
        None => NextBatch::BudgetSpent,
    }
}

/// Reads a replay, with the manager's lock released.
pub(crate) fn read_replay(
    subscription: &mut Subscription,
    replay: &mut Replay,
    manager: &ManagerInner,
    slot: u32,
    framing: Framing,
    ended: &mut Option<EndedConnection>,
) -> NextBytes {
    if let Some(from) = replay.page_from() {
        let page = match manager.page(replay.audience(), from) {
            Some(Ok(page)) => page,
            Some(Err(key)) => return NextBytes::Page(key),
            None => return NextBytes::End,
        };
        if let Some(missing) = page.missing.filter(|missing| missing.until >= from) {
            return subscription.handle_missing(manager, slot, missing, ended);
        }
        replay.set_page(page.chunk.clone(), page.until);
    }
    if subscription.lags(replay) {
        let mut state = manager.lock();
        return subscription.handle_gap(&mut state, &manager.settings, slot, Gap::Lag, ended);
    }
    replay_batch(subscription, replay, manager, framing).map_or(NextBytes::Again, NextBytes::Events)
}

/// Reads the events of a replay, as many as one buffer takes. `None` if it has none for this
/// reader, or none before its budget was spent.
pub(crate) fn replay_batch(
    subscription: &mut Subscription,
    replay: &mut Replay,
    manager: &ManagerInner,
    framing: Framing,
) -> Option<EventBatch> {
    let mut batch = BatchBuilder::new(framing);
    if subscription.is_replaying_newest() {
        read_newest(subscription, replay, manager, &mut batch);
    } else {
        subscription.begin_replay(replay);
        loop {
            let before = *subscription;
            let Some(record) = subscription.replay_record(replay) else { break };
            if !batch.push(&record) {
                *subscription = before;
                break;
            }
        }
    }
    batch.finish()
}

/// Reads the events of a replay that are the newest of their topics. Which topics have newer ones
/// is looked up under the lock, for a bounded number of topics.
fn read_newest(
    subscription: &mut Subscription,
    replay: &mut Replay,
    manager: &ManagerInner,
    batch: &mut BatchBuilder,
) {
    let candidates = subscription.candidates(replay);
    let until = subscription.live_from();
    let newer: Vec<_> = {
        let state = manager.lock();
        candidates.iter().map(|candidate| candidate.newer(&state.log, until)).collect()
    };
    for (candidate, newer) in candidates.iter().zip(newer) {
        if replay.is_outdated(&newer) {
            continue;
        }
        if !batch.push(&candidate.record) {
            subscription.skip_to(candidate.record.index);
            return;
        }
        subscription.deliver(&candidate.record);
    }
}

/// Joins events in one buffer. A single event stays in the record's own.
struct BatchBuilder {
    framing: Framing,
    first: Bytes,
    joined: Vec<u8>,
    events: u32,
    event_bytes: usize,
    offsets: Vec<EventOffset>,
}

impl BatchBuilder {
    fn new(framing: Framing) -> Self {
        Self {
            framing,
            first: Bytes::new(),
            joined: Vec::new(),
            events: 0,
            event_bytes: 0,
            offsets: Vec::new(),
        }
    }

    /// Adds an event. `false` if there is no room for it; the first one always has.
    fn push(&mut self, record: &Record) -> bool {
        let bytes = self.framing.of(&record.framed);
        let at = if self.events == 1 { self.first.len() } else { self.joined.len() };
        if self.events > 0 && at + bytes.len() > limits::FRAME_BYTES {
            return false;
        }
        if self.framing == Framing::Chunk {
            let (at, event_bytes) = (at as u32, self.event_bytes as u32);
            self.offsets.push(EventOffset { at, event_bytes, index: record.index });
        }
        if self.events == 0 {
            self.first = self.framing.shared(&record.framed);
        } else {
            if self.events == 1 {
                self.joined.extend_from_slice(&self.first);
            }
            self.joined.extend_from_slice(bytes);
        }
        self.events += 1;
        self.event_bytes += record.framed.as_block().len();
        true
    }

    fn finish(self) -> Option<EventBatch> {
        let Self { events, event_bytes, offsets, .. } = self;
        let bytes = match events {
            0 => return None,
            1 => self.first,
            _ => self.joined.into(),
        };
        Some(EventBatch { bytes, events, event_bytes: event_bytes as u64, offsets })
    }
}

/// Whether the connection in this slot is sent control events with positions.
pub(super) fn has_control_events(state: &State, settings: &ManagerSettings, slot: u32) -> bool {
    settings.has_control_events() && read_scope(state, slot).audience.wants_control_events()
}

/// What the connection in this slot reads.
pub(crate) fn read_scope(state: &State, slot: u32) -> ReadScope<'_> {
    let entry = state.entry(slot);
    audience_scope(state, entry.audience(), entry.sent_to(slot))
}

/// What a connection of this audience reads; `sent_to` is its slot if events wait that were sent to
/// it alone.
pub(crate) fn audience_scope(
    state: &State,
    audience: AudienceKey,
    sent_to: Option<u32>,
) -> ReadScope<'_> {
    let entry = &state.audiences[audience];
    ReadScope { audience: &entry.audience, walk: entry.walk(sent_to), granting: entry.granting() }
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
