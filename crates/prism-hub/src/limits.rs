//! Every bound of the hub, its default and its reason.
//!
//! What bounds the library is in [`prism_sse::limits`]. A bound that can be changed names the
//! setting that changes it. "Unlimited" is always said in words, never with a zero.

use std::time::Duration;

/// Longest token, in bytes. Larger ones are refused before anything of them is decoded.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Most grants of one token, for publishing and subscribing each. A subscription may have no more.
pub const GRANTS_MAX: usize = prism_sse::limits::SELECTORS_MAX;

/// Longest selector in a token, in bytes: what a URL Pattern or a URI Template may have.
pub const SELECTOR_BYTES_MAX: usize = prism_sse::limits::SELECTOR_BYTES_MAX;

/// Shortest secret for HMAC outside `--dev`, in bytes: as long as the digest of HS256 (RFC 7518,
/// section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Bits of a public key of RSA: fewer are not safe (RFC 7518, section 3.3), more are not verified.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Largest file or answer with keys, in bytes. A key set of a hundred keys has about 100 KiB.
pub const KEY_FILE_BYTES_MAX: u64 = 256 * 1024;

/// Most keys of one key set. A token without a key id is checked against each that fits.
pub const KEYS_MAX: usize = 100;

/// Longest time for all of a key set to be fetched.
pub const JWKS_FETCH: Duration = Duration::from_secs(5);

/// Longest time between two fetches of a key set; it is up to a fifth shorter.
pub const JWKS_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Shortest time between two fetches of a key set, whoever asks for them. It is longer than a fetch
/// may take, so that there is never more than one at a time.
pub const JWKS_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// Longest time that a hub tries to fetch its key sets before it begins: an identity provider that
/// was started together with it may be that late.
pub const JWKS_START: Duration = Duration::from_secs(60);

/// Time for which a key set is used that cannot be fetched any more: the outage of a day is
/// survived, and a key that was taken out opens nothing after that, come what may.
pub const JWKS_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Seconds after which somebody is told to try again whose token cannot be verified for want of
/// keys.
pub const JWKS_RETRY_AFTER: u32 = 60;

/// Tokens whose signature need not be checked again, about. Those used least make room for others.
pub const VERIFIED_TOKENS: usize = 16 * 1024;

/// Memory for what the tokens allow whose signature need not be checked again, in bytes.
pub const VERIFIED_BYTES: u64 = 64 * 1024 * 1024;

/// What a URL Pattern of a remembered token counts. Its regular expressions are compiled when they
/// are first needed; most have none.
pub(crate) const URL_PATTERN_BYTES: u64 = 16 * 1024;

/// Largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 256 * 1024;

/// Most values of a setting that may be repeated.
pub const REPEATED_MAX: usize = 100;

/// Part of the files that a process may open which connections may use, as a divisor and a
/// multiplier: four fifths. The rest is for listeners, storage and what is on its way in or out.
/// Setting: `max-connections`.
pub const CONNECTIONS_OF_FILES: (u64, u64) = (4, 5);

/// Longest wait of `publish` and `listen` for a hub to take a connection and to answer.
pub const ANSWER: Duration = Duration::from_secs(10);

/// Longest silence that `listen` bears before it connects again: four heartbeats at their default.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Longest answer to a `publish` that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Shortest time between two connections of `listen`, whatever the hub says.
pub const RECONNECT_MIN: Duration = Duration::from_millis(100);

/// Most selectors of one subscription: what the library allows.
pub const MATCHERS_MAX: usize = prism_sse::limits::SELECTORS_MAX;

/// Most events of one publish. They are handed over before the first of them is answered.
pub const LINES_MAX: usize = 1000;

/// Longest time for the body of a request to arrive.
pub const BODY: Duration = Duration::from_secs(30);

/// Longest wait for the engine to acknowledge an event.
pub const ACK: Duration = Duration::from_secs(10);

/// Seconds after which a publisher is told to try again that a hub refuses because it ends.
pub const DRAIN_RETRY_AFTER: u32 = 5;

/// Most subscriptions in one answer of the subscription API.
pub const SUBSCRIPTIONS_LISTED: usize = 10_000;

/// Largest head of a request, in bytes: a token, the ids and a few dozen topics.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most headers of a request.
pub const HEADERS_MAX: usize = 100;

/// Most requests at a time on one connection of HTTP/2.
pub const HTTP_2_STREAMS_MAX: u32 = 100;

/// Bytes that wait to be sent on one stream of HTTP/2. What waits there is not seen as lag.
pub const HTTP_2_SEND_BYTES: usize = 16 * 1024;

/// Time after which a peer on HTTP/2 is asked whether it is there, and within which it answers.
pub const HTTP_2_PING: Duration = Duration::from_secs(20);

/// Connections that wait at an address until they are taken.
pub(crate) const BACKLOG: u32 = 1024;

/// Time for which no connection is taken after the system refused one.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time that requests to the admin address have to end, once everything else did.
pub const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// Time that streams have to end after the last of them was told to.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(2);
