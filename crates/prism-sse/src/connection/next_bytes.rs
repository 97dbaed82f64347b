//! What a connection is given next, whoever writes it: a response body, or a delivery shard.
//!
//! One step looks at an end that was decided, at lag, and at the log, and answers with bytes or
//! with what to do. It is taken under the manager's lock and writes nothing.

use bytes::Bytes;

use super::control;
use crate::limits;
use crate::log::{Gap, Log, TopicKey};
use crate::manager::{AudienceKey, CloseReason, Closing, Ended, OnLag, Settings, State};
use crate::subscription::{Read, Reader, Subscription};
use crate::wire::Framed;

/// How bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they stand in the stream.
    Block,
    /// As chunks of HTTP/1.1 around them.
    Chunk,
}

/// A subscription on its way to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) subscription: Subscription,
}

/// What one look at the log gives.
#[derive(Debug)]
pub(crate) enum Step {
    Events(Batch),
    /// Something that the manager itself says, as a block.
    Control(Vec<u8>),
    End,
    /// Nothing yet; another look is due.
    Again,
    /// Nothing more for now.
    Wait,
}

/// Consecutive events, in one piece.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) events: u32,
    /// Bytes of the events as they stand in the stream, without chunks around them.
    pub(crate) event_bytes: u64,
    /// Where each event begins; for chunks alone.
    pub(crate) begins: Vec<Begin>,
}

/// Where an event begins in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    at: u32,
    /// The batch's event bytes before it.
    event_bytes: u32,
    /// Its index in the log.
    index: u64,
}

/// What gathering found.
pub(crate) enum Gathered {
    Events(Batch),
    Budget,
    Gap(Gap),
    Nothing,
}

impl Reading {
    /// A reading that begins there. If the connection is over already, there is nothing to say.
    pub(crate) fn new(mut subscription: Subscription, over: bool) -> Self {
        if over {
            subscription.tell_end();
        }
        Self { subscription }
    }

    /// What comes next for the connection in `slot`.
    pub(crate) fn step(
        &mut self,
        state: &mut State,
        settings: &Settings,
        slot: u32,
        now: u64,
        form: Form,
        ended: &mut Option<Ended>,
    ) -> Step {
        let closing = state.entry(slot).closing();
        let until = match closing {
            Some(closing) if closing.reason.is_planned() => closing.end,
            Some(_) => return Step::End,
            None if self.lags(state, settings, slot, now) => {
                return self.tell_gap(state, settings, slot, Gap::Lag, ended);
            }
            None => state.log.end(),
        };
        match gather(&mut self.subscription, &state.log, reader(state, slot), until, form) {
            Gathered::Events(batch) => Step::Events(batch),
            Gathered::Budget => Step::Again,
            Gathered::Gap(gap) => self.tell_gap(state, settings, slot, gap, ended),
            Gathered::Nothing => match closing {
                Some(closing) => self.say_goodbye(state, settings, slot, closing),
                None => self.leave_holes(state, settings, slot),
            },
        }
    }

    /// Whether what comes next is what all of its audience read from there.
    pub(crate) fn is_common(
        &mut self,
        state: &State,
        settings: &Settings,
        slot: u32,
        now: u64,
    ) -> bool {
        let entry = state.entry(slot);
        entry.closing().is_none()
            && entry.direct().is_none()
            && !self.subscription.is_newest_only()
            && !self.subscription.reads_around(&state.log, reader(state, slot).walk)
            && !state.log.was_replaced(self.subscription.next())
            && !self.lags(state, settings, slot, now)
    }

    fn lags(&mut self, state: &State, settings: &Settings, slot: u32, now: u64) -> bool {
        let (bytes, age) = (settings.lag_bytes, settings.lag_age_ms());
        self.subscription.lags(&state.log, reader(state, slot), now, bytes, age)
    }

    fn tell_gap(
        &mut self,
        state: &mut State,
        settings: &Settings,
        slot: u32,
        gap: Gap,
        ended: &mut Option<Ended>,
    ) -> Step {
        let log = &state.log;
        let told = self.subscription.told();
        // What cannot be told in the stream is told at the next connect.
        let disconnects = gap == Gap::Lag && settings.on_lag() == OnLag::Disconnect;
        let is_told = settings.tells_gaps() && reader(state, slot).audience.wants_control_events();
        if disconnects || !is_told {
            *ended = state.close(slot, CloseReason::Lagged);
            return Step::End;
        }
        match (gap, settings.on_lag()) {
            (Gap::Lag, OnLag::LatestPerTopic) => self.subscription.skip_to_newest(log),
            (Gap::Lag, _) => self.subscription.skip_to_end(log),
            _ => self.subscription.skip_to_oldest(log, reader(state, slot).walk),
        }
        // A place in an order that was replaced has no name any more.
        let after = (gap != Gap::Epoch).then(|| log.position(told)).flatten();
        let resumed_at = log.position(self.subscription.told());
        state.counts.gaps += 1;
        Step::Control(control::gap(settings, gap, after, resumed_at))
    }

    /// Tells a reader who has everything that the holes lie behind it, so that it is not told of
    /// them again when it comes back.
    fn leave_holes(&mut self, state: &State, settings: &Settings, slot: u32) -> Step {
        let applied = state.log.applied();
        let was_told = self.subscription.told() >= applied;
        if !self.subscription.leave_holes() || was_told || !talks(state, settings, slot) {
            return Step::Wait;
        }
        self.subscription.tell(applied);
        Step::Control(control::mark(state.log.position(applied), None))
    }

    fn say_goodbye(
        &mut self,
        state: &State,
        settings: &Settings,
        slot: u32,
        closing: Closing,
    ) -> Step {
        if !self.subscription.tell_end() {
            return Step::End;
        }
        let jitter = state.entry(slot).id().jitter();
        let retry = (closing.reason == CloseReason::Shutdown).then(|| settings.retry_ms(jitter));
        // A place of an order that was replaced meanwhile must not be told as one of the new order.
        if state.log.was_replaced(closing.end) || !talks(state, settings, slot) {
            return retry.map_or(Step::End, |retry| Step::Control(control::retry(retry)));
        }
        let applied = closing.applied.max(self.subscription.told());
        self.subscription.tell(applied);
        Step::Control(control::mark(state.log.position(applied), retry))
    }
}

/// Takes what is due before `until`: one event as it stands in the log, or several small ones
/// joined.
pub(crate) fn gather(
    subscription: &mut Subscription,
    log: &Log,
    reader: Reader<'_>,
    until: u64,
    form: Form,
) -> Gathered {
    let mut budget = limits::READ_BUDGET;
    let first = match subscription.read(log, reader, until, &mut budget) {
        Read::Record(record) => record,
        Read::AtEnd => return Gathered::Nothing,
        Read::Budget => return Gathered::Budget,
        Read::Gap(gap) => return Gathered::Gap(gap),
    };
    let mut events = 1;
    let mut event_bytes = first.framed.as_block().len();
    let mut joined = Vec::new();
    let mut begins = Vec::new();
    if form == Form::Chunk {
        begins.push(Begin { at: 0, event_bytes: 0, index: first.index });
    }
    loop {
        let before = *subscription;
        let read = subscription.read(log, reader, until, &mut budget);
        let Read::Record(record) = read else { break };
        let so_far = if events == 1 { form.of(&first.framed).len() } else { joined.len() };
        let bytes = form.of(&record.framed);
        if so_far + bytes.len() > limits::FRAME_BYTES {
            *subscription = before;
            break;
        }
        if events == 1 {
            joined.extend_from_slice(form.of(&first.framed));
        }
        if form == Form::Chunk {
            let (at, event_bytes) = (so_far as u32, event_bytes as u32);
            begins.push(Begin { at, event_bytes, index: record.index });
        }
        joined.extend_from_slice(bytes);
        events += 1;
        event_bytes += record.framed.as_block().len();
    }
    let bytes = if events == 1 { form.shared(&first.framed) } else { joined.into() };
    Gathered::Events(Batch { bytes, events, event_bytes: event_bytes as u64, begins })
}

/// Whether the connection in this slot is told where it is.
pub(super) fn talks(state: &State, settings: &Settings, slot: u32) -> bool {
    settings.has_control_events() && reader(state, slot).audience.wants_control_events()
}

/// Who reads in this slot.
pub(crate) fn reader(state: &State, slot: u32) -> Reader<'_> {
    let entry = state.entry(slot);
    reader_of(state, entry.audience(), entry.direct())
}

/// Who reads of this audience, and what is sent to a reader whose nameless topic is `direct`.
pub(crate) fn reader_of(
    state: &State,
    audience: AudienceKey,
    direct: Option<TopicKey>,
) -> Reader<'_> {
    let shared = &state.audiences[audience];
    Reader { audience: &shared.audience, walk: shared.walk(direct) }
}

impl Form {
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

impl Subscription {
    /// Says, as a block, that nothing is missing up to `applied`.
    pub(crate) fn mark(&mut self, log: &Log, applied: u64) -> Vec<u8> {
        self.tell(applied);
        control::mark(log.position(applied), None)
    }
}

impl Batch {
    /// Where its part from the log's index `from` on begins, and how many events and bytes of
    /// events that is. `None` if there is no such part.
    pub(crate) fn part_from(&self, from: u64) -> Option<(usize, u64, u64)> {
        let place = self.begins.partition_point(|begin| begin.index < from);
        let begin = self.begins.get(place)?;
        let events = (self.begins.len() - place) as u64;
        Some((begin.at as usize, events, self.event_bytes - u64::from(begin.event_bytes)))
    }
}
