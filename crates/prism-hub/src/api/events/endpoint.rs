//! The two endpoints of the event API, which share their code and differ in defaults.

/// Path of the native endpoint.
pub const EVENTS_PATH: &str = "/events";

/// The endpoint that a request was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventsEndpoint {
    /// [`EVENTS_PATH`]
    Native,
    /// The path of the Mercure protocol, [`HUB_PATH`](crate::config::HUB_PATH).
    Mercure,
}
