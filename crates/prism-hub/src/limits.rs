//! Every bound of the hub, with its default and its reason.
//!
//! The bounds of the library are in [`prism_sse::limits`]. A bound that a setting changes names the
//! setting. Settings say "no limit" in words, never as zero.

use std::time::Duration;

// Tokens and keys

/// Longest token, in bytes. Longer ones are refused before any of it is decoded.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Most grants of one token, for publishing and for subscribing each: as many selectors as one
/// subscription may have.
pub const GRANTS_MAX: usize = prism_sse::limits::SELECTORS_MAX;

/// Longest selector in a token, in bytes: as long as a subscription's.
pub const SELECTOR_BYTES_MAX: usize = prism_sse::limits::SELECTOR_BYTES_MAX;

/// Shortest HMAC secret outside `--dev`, in bytes: the length of HS256's digest (RFC 7518, section
/// 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Sizes of an RSA public key, in bits. Shorter keys are not secure (RFC 7518, section 3.3), and
/// longer ones make verification slow.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Largest key file, and largest response with a key set, in bytes. A set of a hundred keys has
/// about 100 KiB.
pub const KEY_FILE_BYTES_MAX: u64 = 256 * 1024;

/// Most keys of one key set. A token without a key id is checked against every key that fits.
pub const KEYS_MAX: usize = 100;

/// Longest time for fetching one key set, from the connect to the last byte.
pub const JWKS_FETCH: Duration = Duration::from_secs(5);

/// Longest interval between two fetches of a key set. A random part of up to a fifth is
/// subtracted.
pub const JWKS_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Shortest interval between two fetches of a key set, scheduled or by a reload. It is longer than
/// [`JWKS_FETCH`], so that fetches of one set never overlap.
pub const JWKS_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// Longest time for which a starting hub retries to fetch its key sets, so that an identity
/// provider that was started together with it has time to come up.
pub const JWKS_START: Duration = Duration::from_secs(60);

/// Age from which the keys of a key set that cannot be fetched any more are not trusted. An outage
/// of a day is survived, and a revoked key is trusted no longer than this.
pub const JWKS_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// `Retry-After`, in seconds, of a request whose token cannot be verified because its keys were
/// not fetched.
pub const JWKS_RETRY_AFTER: u32 = 60;

/// Most entries of the cache of verified tokens, about. The least recently used are evicted.
pub const VERIFIED_TOKENS: usize = 16 * 1024;

/// Memory of the cache of verified tokens, in bytes.
pub const VERIFIED_BYTES: u64 = 64 * 1024 * 1024;

/// The memory that is accounted for a URL Pattern of a cached token. Its regular expressions are
/// compiled at first use; most patterns have none.
pub(crate) const URL_PATTERN_BYTES: u64 = 16 * 1024;

// Configuration

/// Largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 256 * 1024;

/// Most values of a repeatable setting.
pub const REPEATED_MAX: usize = 100;

/// Share of the limit on open files that connections may use by default, as a divisor and a
/// multiplier: four fifths. The rest is for listeners, storage and publish requests. Setting:
/// `max-connections`.
pub const CONNECTIONS_OF_FILES: (u64, u64) = (4, 5);

// The modes `publish` and `listen`

/// Longest time in which `publish` and `listen` wait for a connection, and for a response.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a byte after which `listen` reconnects: four heartbeats at their default interval.
pub const LISTEN_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest response that `publish` reads, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Shortest time between two connections of `listen`, whatever `retry:` the hub sends.
pub const RECONNECT_MIN: Duration = Duration::from_millis(100);

// Requests

/// Most topic matchers of one subscription: what the library allows.
pub const MATCHERS_MAX: usize = prism_sse::limits::SELECTORS_MAX;

/// Most events of one publish request. All are appended before the first is acknowledged.
pub const EVENTS_PER_PUBLISH_MAX: usize = 1000;

/// Largest body of a QUERY, in bytes: a hundred matchers of usual length. Anybody may send one
/// where subscribers need no token.
pub const QUERY_BYTES_MAX: u64 = 64 * 1024;

/// Bytes of the bodies of QUERY requests that are held at a time: 256 of the largest. A subscriber
/// beyond it is refused for want of capacity.
pub const QUERY_BYTES_HELD: usize = 16 * 1024 * 1024;

/// Bytes of the bodies of publish requests that are held at a time, until their events are
/// acknowledged. One may always be held, whatever its size. They count apart from those of QUERY
/// requests, so that subscribers cannot refuse publishers.
pub const PUBLISH_BYTES_HELD: usize = 256 * 1024 * 1024;

/// Longest time for the body of a request to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time for the engine to acknowledge an event.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// `Retry-After`, in seconds, of a publish request during shutdown.
pub const DRAIN_RETRY_AFTER: u32 = 5;

/// Most subscriptions in one response of the subscription API.
pub const SUBSCRIPTIONS_LISTED: usize = 10_000;

/// Largest head of a request, in bytes: room for a token, ids and a few dozen topics.
pub const REQUEST_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most headers of a request.
pub const REQUEST_HEADERS_MAX: usize = 100;

/// Most concurrent requests on one HTTP/2 connection.
pub const HTTP_2_STREAMS_MAX: u32 = 100;

/// Send buffer of one HTTP/2 stream, in bytes. Bytes in this buffer do not count as lag.
pub const HTTP_2_SEND_BYTES: usize = 16 * 1024;

/// Interval of HTTP/2 pings, and the time in which the peer must answer one.
pub const HTTP_2_PING: Duration = Duration::from_secs(20);

// Listeners and shutdown

/// Most connections that wait at a listener to be accepted.
pub(crate) const LISTEN_BACKLOG: u32 = 1024;

/// Pause in accepting connections after the system refused one.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for open requests at the admin address to end, after everything else has ended.
pub const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// Time for streams to end after the end of the drain window.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(2);
