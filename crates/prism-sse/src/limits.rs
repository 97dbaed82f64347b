//! Every bound of the library, its default and its reason.
//!
//! A bound that can be changed names the setting that changes it. "Unlimited" is always said in
//! words, never with a zero.

use std::time::Duration;

/// Longest reconnection time, in milliseconds. Some clients store it in 32 bits with a sign, and a
/// larger value makes them reconnect at once, again and again.
pub const RETRY_MS_MAX: u32 = 2_147_483_647;

/// Longest name of an event, in bytes. Every client compares it for every event.
pub const EVENT_NAME_BYTES_MAX: usize = 255;

/// Longest id, in bytes. Browsers return it in a request header, which proxies limit.
pub const EVENT_ID_BYTES_MAX: usize = 255;

/// Largest text of one event, in bytes. Several clients parse a large line slowly or not at all.
/// Setting: [`ManagerBuilder::max_event_bytes`](crate::ManagerBuilder::max_event_bytes).
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Longest line, and most data, that a [`Parser`](crate::wire::Parser) buffers of one event.
/// Setting: [`Parser::with_limit`](crate::wire::Parser::with_limit).
pub const PARSER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest topic, in bytes. Topics travel in URLs.
pub const TOPIC_BYTES_MAX: usize = 1024;

/// Most topics of one event. Each costs an index entry and a hash look-up.
pub const TOPICS_PER_EVENT_MAX: usize = 100;

/// Most selectors, and most grants, of one subscription. Each is one more index to merge.
pub const SELECTORS_MAX: usize = 100;

/// Longest pattern, in bytes. It arrives in a URL or a token.
pub const SELECTOR_BYTES_MAX: usize = 4096;

/// Most variables of one URI template. Matching visits each of them once for each topic.
pub const TEMPLATE_VARIABLES_MAX: usize = 64;

/// Most characters `*`, `:`, `(`, `{`, `?` and `+` of one URL pattern. Each can begin or repeat a
/// part of it, and parsing takes time in the square of the number of parts.
pub const URL_PATTERN_OPERATORS_MAX: usize = 128;

/// Memory that one pattern may hold once it is compiled, in bytes: its text, its base, and the
/// automata of all its components together. No automaton grows while it matches.
pub const PATTERN_BYTES_MAX: usize = 16 * 1024;

/// Work that matching one pattern may take for a topic of [`TOPIC_BYTES_MAX`] bytes, in steps, once
/// the topic is parsed. A step is what takes about a nanosecond: an operation on 64 positions in a
/// topic, half a transition of an automaton, or a comparison of 16 bytes.
pub const PATTERN_STEPS_MAX: u64 = 65_536;

/// Work that compiling one regular expression in a URL pattern may take, in visits of states. What
/// is allowed takes about a millisecond at most, and usual patterns less than a tenth of it.
#[cfg(feature = "patterns")]
pub(crate) const PATTERN_COMPILE_WORK_MAX: usize = 80 * 1024;

/// Depth of a regular expression in a URL pattern, because parsing one is recursive.
pub const PATTERN_DEPTH_MAX: u32 = 32;

/// Work that all patterns in use together may take for a new topic of [`TOPIC_BYTES_MAX`] bytes, in
/// steps as in [`PATTERN_STEPS_MAX`]: about 1 ms, which no publisher notices.
pub const PATTERNS_STEPS_MAX: u64 = 1_000_000;

/// Bytes of a pattern's prefix, and of its suffix, by which it is indexed. Adding or removing a
/// pattern copies at most as many nodes of the index. Few patterns have longer ones in common.
pub(crate) const PATTERN_KEY_BYTES: usize = 128;

/// Most patterns that came into use since an answer was computed for that answer to be completed
/// with them, rather than computed anew.
pub(crate) const PATTERN_CHANGES: usize = 32;

/// Most distinct patterns in use, by default. Each has an index of up to 16 KiB, and a pattern
/// without literal text that could rule it out is matched against each new topic, which costs its
/// publisher time. A subscription is accepted while there is room for one more pattern, so that its
/// other patterns may exceed the limit.
/// Setting: [`ManagerBuilder::max_patterns`](crate::ManagerBuilder::max_patterns).
pub const PATTERNS: usize = 10_000;

/// Records in the index of a pattern, for each class, and for public and for private ones. A reader
/// that is further behind walks the ring, which takes time but no memory.
pub(crate) const PATTERN_RECORDS: usize = 256;

/// Most matching patterns that are cached with a topic. If more match, each event of the topic is
/// matched anew, which is little compared with what so many patterns cost otherwise.
pub(crate) const TOPIC_PATTERNS: usize = 32;

/// Longest id of a publisher, in bytes.
pub const PUBLISHER_BYTES_MAX: usize = 255;

/// Longest idempotency key, in bytes. It travels in a request header.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Bytes of the idempotency keys that are remembered, of all publishers together: more than 200,000
/// keys. Keys beyond it are refused, because forgetting one early could publish its event twice.
/// Setting: [`ManagerBuilder::idempotency_bytes`](crate::ManagerBuilder::idempotency_bytes).
pub const IDEMPOTENCY_BYTES: usize = 64 * 1024 * 1024;

/// Bytes that a remembered idempotency key counts, whatever its length: its entries in the tables,
/// which are half empty at worst, and its outcome.
pub const IDEMPOTENCY_ENTRY_BYTES: usize = 320;

/// The keys of one publisher, or of all publications without one, may take this many times the
/// bytes that are free. So one publisher can have three quarters of all, and others always get in.
pub(crate) const IDEMPOTENCY_SHARE: usize = 3;

/// Outdated idempotency keys that one publication removes. It adds at most one.
pub(crate) const IDEMPOTENCY_FORGET_BATCH: usize = 16;

/// Time for which an idempotency key is remembered: longer than publishers retry.
/// Setting: [`ManagerBuilder::idempotency_window`](crate::ManagerBuilder::idempotency_window).
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(120);

/// Records that a manager without history keeps for readers that are slightly behind.
pub const LIVE_RECORDS: usize = 4096;

/// Bytes that a manager without history keeps for readers that are slightly behind.
pub const LIVE_BYTES: usize = 16 * 1024 * 1024;

/// Age up to which a manager without history keeps records.
pub const LIVE_AGE: Duration = Duration::from_secs(60);

/// Records of a [`Retention`](crate::Retention) by default.
pub const HISTORY_RECORDS: usize = 10_000;

/// Bytes of a [`Retention`](crate::Retention) by default.
pub const HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// Age of a [`Retention`](crate::Retention) by default.
pub const HISTORY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of transient events that are kept, about twenty thousand small ones. They are useful only
/// for readers that reconnect soon. Their number is not limited. Setting:
/// [`ManagerBuilder::transient`](crate::ManagerBuilder::transient).
pub const TRANSIENT_BYTES: usize = 16 * 1024 * 1024;

/// Age up to which transient events are kept: the longest interruption that counts as short, and
/// the longest time between two marks ([`MARK_INTERVAL_MAX`]). Setting:
/// [`ManagerBuilder::transient`](crate::ManagerBuilder::transient).
pub const TRANSIENT_AGE: Duration = Duration::from_secs(10 * 60);

/// Bytes of a record's entry in the ring and of its allocations, beside its own bytes. They count
/// for the ring's retention, so that many empty events are bounded too.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 256;

/// Bytes of one entry in a topic's index.
pub(crate) const INDEX_ENTRY_BYTES: usize = 16;

/// Bytes of a topic with records, beside its name and its entries. They count for the ring's
/// retention, so that many topics are bounded too.
pub(crate) const TOPIC_OVERHEAD_BYTES: usize = 320;

/// Bytes of events to single connections that wait to be read, for all connections together, with
/// their bookkeeping. They are kept apart from what is published, which they do not push out; an
/// event beyond it is refused to its sender.
pub const SENT_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of events that wait for one connection and were sent to it alone. One event may wait
/// whatever its size; another one beyond it is refused to its sender.
pub const CONNECTION_SENT_BYTES: usize = 64 * 1024;

/// Events that wait for the store. Further ones are refused as overload, so that what waits is
/// written within a second or so.
pub const UNWRITTEN_EVENTS: usize = 65_536;

/// Their bytes.
pub const UNWRITTEN_BYTES: usize = 64 << 20;

/// Events that are stored, and synced, together.
pub(crate) const GROUP_EVENTS: usize = 1024;

/// Bytes of events that are stored together; one event more may be.
pub(crate) const GROUP_BYTES: usize = 4 << 20;

/// Sequence numbers that are reserved at once, because reserving takes a sync.
pub(crate) const RESERVED_PLACES: u64 = 65_536;

/// How often a store evicts what its retention does not cover, at least.
pub(crate) const STORE_TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of events after which a store evicts what its retention does not cover.
pub(crate) const STORE_TRIM_BYTES: usize = 256 * 1024;

/// The first and the longest pause before a store is asked again to begin an epoch.
pub(crate) const STORE_RETRY_MIN: Duration = Duration::from_millis(100);
pub(crate) const STORE_RETRY_MAX: Duration = Duration::from_secs(5);

/// Places between the beginnings of two pages that readers of everything, or of patterns, share.
pub(crate) const PAGE_STRIDE: u64 = 64;

/// Records of a page, and bytes of their events; one event more may be.
pub(crate) const PAGE_RECORDS: usize = 256;
pub(crate) const PAGE_BYTES: usize = 256 * 1024;

/// Bytes of all pages that are cached.
pub const PAGE_CACHE_BYTES: usize = 32 << 20;

/// Threads that read pages from the store.
pub(crate) const PAGE_THREADS: usize = 2;

/// Bytes of the newest events that are in memory beside the store, by default.
pub const WINDOW_BYTES: usize = 64 << 20;

/// The longest time for which restored events keep the age that they have; older ones count as this
/// old.
pub(crate) const RESTORED_AGE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Epochs whose positions are still known. Positions of older ones are a gap.
pub const EPOCHS_MAX: usize = 1024;

/// Exact floors of dropped topics. Each takes less than 100 bytes.
pub(crate) const DROPPED_FLOORS: usize = 7000;

/// Buckets of the table into which older floors of dropped topics are folded. Topics in one bucket
/// share the highest floor, which can cause a false gap, and never a missed one.
pub(crate) const DROPPED_TOPICS: usize = 1024;

/// Publishers' ids that are known one by one after their record was evicted. Each takes about 150
/// bytes, and the topics of its record if that was private.
pub(crate) const EVICTED_IDS: usize = 4096;

/// Publishers' ids of before, of which it is known that they were used: at least so many, and twice
/// as many in 512 KiB.
pub(crate) const USED_IDS: usize = 65_536;

/// Time after which a quiet connection gets a heartbeat. Common proxies close after 60 s.
/// Setting: [`ManagerBuilder::heartbeat`](crate::ManagerBuilder::heartbeat).
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Shortest heartbeat interval.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(250);

/// Reconnection time sent to a reader when it connects; each gets up to half as much more.
/// Setting: [`ManagerBuilder::retry`](crate::ManagerBuilder::retry).
pub const RETRY: Duration = Duration::from_secs(3);

/// Longest time between two marks to a reader whose last event id is behind the applied mark.
pub const MARK_INTERVAL_MAX: Duration = Duration::from_secs(10 * 60);

/// Bytes of undelivered events at which a reader lags.
/// Setting: [`ManagerBuilder::lag_bytes`](crate::ManagerBuilder::lag_bytes).
pub const LAG_BYTES: usize = 4 * 1024 * 1024;

/// Age of the oldest undelivered event at which a reader lags.
/// Setting: [`ManagerBuilder::lag_age`](crate::ManagerBuilder::lag_age).
pub const LAG_AGE: Duration = Duration::from_secs(30);

/// Time without progress, while something is due, after which a connection is closed.
pub const STALL: Duration = Duration::from_secs(15);

/// Longest time between two checks of a connection for a [stall](STALL).
pub(crate) const STALL_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Resolution of the timers of connections.
pub(crate) const TIMER_TICK: Duration = Duration::from_millis(50);

/// Bytes of consecutive events that one frame of a response body may join. One write of 16 KiB
/// costs the kernel about what a write of one small event costs.
pub(crate) const FRAME_BYTES: usize = 16 * 1024;

/// Records of the log's tail that a live reader looks at under the manager's lock.
pub(crate) const LIVE_RECORDS_READ: usize = 256;

/// Work of one piece of a replay, in steps as in [`PATTERN_STEPS_MAX`], after which others have
/// their turn: about a quarter of a millisecond.
pub(crate) const REPLAY_WORK: u64 = 256 * 1024;

/// Work of looking at one record of a replay, patterns not included.
pub(crate) const RECORD_WORK: u64 = 32;

/// Newest records of a topic that are looked at under the lock to tell whether one of them replaces
/// an older one: a public one does, and a private one if the reader may read it.
pub(crate) const NEWER_RECORDS: usize = 16;

/// Topics of which newer records are looked up under the lock at once.
pub(crate) const NEWER_LOOKUPS: usize = 128;

/// Records of a chunk.
pub(crate) const CHUNK_RECORDS: usize = 256;

/// Bytes of a chunk, beside its last record.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// Records of the tail of a ring, at which its oldest become a chunk. Live readers are rarely
/// further behind.
pub(crate) const TAIL_RECORDS: usize = 2 * CHUNK_RECORDS;

/// Bytes of the tail of a ring, at which its oldest records become a chunk.
pub(crate) const TAIL_BYTES: usize = 4 * CHUNK_BYTES;

/// References to records of a tail that a reader copies under the lock.
pub(crate) const TAIL_COPY: usize = 64;

/// Records of a class that are evicted at once. Where time passes and nothing is published, many
/// may be too old in one moment.
pub(crate) const EVICTION_BATCH: usize = 256;

/// Slots of connections that are looked at before the lock is released for a moment.
pub(crate) const SLOT_BATCH: u32 = 256;

/// Audiences that an event is matched with before the lock is released for a moment.
pub(crate) const MATCH_BATCH: usize = 256;

/// Bytes a connection that is handed to a delivery shard may send before it is closed. Nobody reads
/// them; a reader of an event stream has nothing to say.
pub(crate) const IGNORED_INPUT_BYTES: u32 = 16 * 1024;

/// Members of a group that a shard writes to before it looks at its sockets again.
pub(crate) const PASS_SLICE: usize = 64;

/// Longest time between two looks of a shard at a connection that has a timer.
pub(crate) const SHARD_LOOK: Duration = Duration::from_secs(60);

/// Time after which a mark is tried again that could not be made because of other work.
pub(crate) const MARK_RETRY: Duration = Duration::from_secs(1);

/// Time between two passes of a group for which events came faster than it could be served. One
/// write of several events costs what one of them costs.
pub(crate) const PASS_PAUSE: Duration = Duration::from_millis(1);

/// Connections, groups and timers of each kind that a shard looks at before its sockets.
pub(crate) const SHARD_TURN: usize = 64;

/// Writes to one connection that reads outside its group before others have their turn.
pub(crate) const STEPS_PER_TURN: usize = 4;

/// Frames of replayed events that a shard keeps, because several readers that reconnect may need
/// the same ones.
pub(crate) const SHARED_FRAMES: usize = 64;

/// Bytes of half-written events that all shards together keep for readers that stopped reading.
/// Beyond it the reader that took nothing for the longest time is closed.
/// Setting: [`Serve::stalled_bytes`](crate::Serve::stalled_bytes).
#[cfg(feature = "serve")]
pub const STALLED_BYTES: usize = 64 * 1024 * 1024;

/// Bytes the system may hold for a connection, as it counts them: it doubles this for its own
/// bookkeeping.
#[cfg(feature = "serve")]
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes the system takes that it cannot send at once.
#[cfg(feature = "serve")]
pub const UNSENT_BYTES: usize = 16 * 1024;

/// Time after which the system gives up a reader that acknowledges nothing.
#[cfg(feature = "serve")]
pub const USER_TIMEOUT: Duration = Duration::from_secs(25);

/// Silence after which the system asks whether a peer is still there. It is longer than the time
/// between two heartbeats.
#[cfg(feature = "serve")]
pub const PROBE_AFTER: Duration = Duration::from_secs(18);

/// Time between two such questions. Three fit in before [`USER_TIMEOUT`].
#[cfg(feature = "serve")]
pub const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// Longest head of a request, in bytes.
/// Setting: [`Serve::max_head_bytes`](crate::Serve::max_head_bytes).
#[cfg(feature = "serve")]
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time for a request's head to arrive.
/// Setting: [`Serve::header_timeout`](crate::Serve::header_timeout).
#[cfg(feature = "serve")]
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that a server waits for a request's head, and that a drain takes. Longer ones are
/// cut to it.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Time over which streams are ended at a graceful shutdown.
/// Setting: [`Serve::drain`](crate::Serve::drain).
#[cfg(feature = "serve")]
pub const DRAIN: Duration = Duration::from_secs(5);

/// Connections that wait to be accepted, as far as the system allows.
#[cfg(feature = "serve")]
pub(crate) const BACKLOG: i32 = 4096;

/// Events of sockets that a shard takes from the system at once.
#[cfg(feature = "serve")]
pub(crate) const SHARD_EVENTS: usize = 1024;

/// Bytes of a connection's first read, in which most heads fit.
#[cfg(feature = "serve")]
pub(crate) const FIRST_READ_BYTES: usize = 2048;

/// Requests at once on one connection of HTTP/2: more than a browser has open, and few enough that
/// one connection cannot use up what all clients share.
/// Setting: [`Serve::max_http2_streams`](crate::Serve::max_http2_streams).
#[cfg(feature = "serve")]
pub const HTTP2_STREAMS: u32 = 100;

/// Bytes that hyper takes from the body of one HTTP/2 stream and that are not sent yet.
#[cfg(feature = "serve")]
pub(crate) const HTTP2_SEND_BYTES: usize = 16 * 1024;

/// Open connections from one address that is neither loopback nor private. Offices and mobile
/// networks put many clients behind one address.
/// Setting:
/// [`Serve::max_connections_per_address`](crate::Serve::max_connections_per_address).
#[cfg(feature = "serve")]
pub const CONNECTIONS_PER_ADDRESS: usize = 200;

/// Time between two checks for streams that ended, stay with hyper and are not read.
#[cfg(feature = "serve")]
pub(crate) const STREAM_CHECK: Duration = Duration::from_secs(3);

/// Time after the drain's window in which the last connections may end by themselves.
#[cfg(feature = "serve")]
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Bytes of our own that a reader costs that stopped reading, its log and its event not included.
#[cfg(feature = "serve")]
pub(crate) const STALLED_READER_BYTES: usize = 1024;

/// Bytes that hyper, and the encryption below it, hold of a stream that is not read: what hyper
/// writes at once, what it took from the stream, and a TLS record. The rest of an event of which
/// the reader has taken a part is not counted: it is the log's own buffer.
#[cfg(feature = "serve")]
pub(crate) const HYPER_READER_BYTES: usize = 3 * 16 * 1024;

/// Open files left for others when the number of connections is not set.
#[cfg(feature = "serve")]
pub(crate) const RESERVED_FILES: u64 = 64;

/// Pause of the accept loop when the system has no more files, or all connections are taken.
#[cfg(feature = "serve")]
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Readers that the driver wakes, and timers that it handles, under one hold of the lock.
pub(crate) const WAKE_BATCH: usize = 256;
