//! Connections and responses, read to their end as bytes.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http_body_util::BodyExt;
use prism_sse::{Connection, Manager, Retention, SseBody};

/// The control events of a manager with history before and after what was published.
pub(crate) const OPEN: &str = "prism.open";
pub(crate) const MARK: &str = "prism.mark";
pub(crate) const GAP: &str = "prism.gap";

/// A manager with or without history.
pub(crate) fn manager(history: bool) -> Manager {
    if history { with_history() } else { Manager::new() }
}

pub(crate) fn with_history() -> Manager {
    Manager::builder().history(Retention::default()).build().expect("defaults are valid")
}

/// Closes the connection, and reads what was due for it.
pub(crate) fn read(sse: &Manager, connection: Connection) -> Vec<u8> {
    sse.remove_connection(connection.id());
    let pieces: Vec<Bytes> =
        StreamExt::collect(connection).now_or_never().expect("a connection that was removed ends");
    pieces.concat()
}

/// Closes every connection, and reads what was due for this one.
pub(crate) fn read_body(sse: &Manager, body: SseBody) -> Vec<u8> {
    sse.close();
    let body = body.collect().now_or_never().expect("a response of a closed manager ends");
    body.expect("it cannot fail").to_bytes().to_vec()
}
