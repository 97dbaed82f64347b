//! The hand-over of a connection from hyper to a delivery shard: when it is allowed, the response
//! head that is written in hyper's place, and what the shard receives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPECT, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, response};
use http_body::{Body, Frame};

use super::connection_count::ConnectionGuard;
use crate::connection::first_frame::{FirstFrame, ResponseTag, is_same_buffer};
use crate::manager::ManagerInner;
use crate::subscription::Subscription;
use crate::wire::{ConnectionId, Framed};

/// A connection whose response head was written, with everything that it keeps alive.
pub(crate) struct HandedOverConnection<S> {
    pub(crate) socket: S,
    pub(crate) shared: Arc<ManagerInner>,
    pub(crate) slot: u32,
    /// Tells it from a later connection in the same slot.
    pub(crate) id: ConnectionId,
    pub(crate) reading: Subscription,
    /// The part of the head and of the stream's first bytes that the socket has not taken yet.
    pub(crate) unwritten: Bytes,
    /// The response's body, with all that layers put around it. Dropping it ends the connection.
    pub(crate) body: Pin<Box<dyn Send>>,
    pub(crate) guard: ConnectionGuard,
}

/// Drops a value that the application's code made or that may hold one. A panic there was reported
/// by the panic hook already, and must not end a shard.
pub(crate) fn drop_catching_panics<T>(value: T) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(value))));
}

/// Whether the request allows its answer to be taken from hyper: no part of the request is still to
/// come, and the answer will be sent in chunks.
pub(super) fn request_allows_hand_over<B: Body>(request: &Request<B>) -> bool {
    let headers = request.headers();
    *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
        && [EXPECT, UPGRADE].iter().all(|name| !headers.contains_key(name))
}

/// Whether the connection may speak another protocol after this request (RFC 9110, sections 7.8 and
/// 9.3.6).
pub(super) fn may_upgrade<B>(request: &Request<B>) -> bool {
    *request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE)
}

/// Whether the response says that it is an event stream.
pub(super) fn is_event_stream<B>(response: &Response<B>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE);
    response.status() == StatusCode::OK
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Whether no layer changed the response: this library made it of this very connection, its first
/// frame is the connection's own buffer, and no header asks for another framing.
pub(super) fn is_unmodified<B: Body>(
    head: &response::Parts,
    first: &Frame<Bytes>,
    rest: &B,
    offered: &FirstFrame,
) -> bool {
    let headers = &head.headers;
    let framing = [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, CONNECTION, UPGRADE];
    head.version == Version::HTTP_11
        && head.extensions.get::<ResponseTag>().is_some_and(|ticket| ticket.0 == offered.id)
        && framing.iter().all(|name| !headers.contains_key(name))
        && first.data_ref().is_some_and(|bytes| is_same_buffer(bytes, &offered.opening))
        && !rest.is_end_stream()
        && rest.size_hint().exact().is_none()
}

/// The response's head and the stream's first bytes, as they go over the wire (RFC 9112, sections 4
/// and 6).
pub(super) fn encode_response_begin(headers: &HeaderMap, opening: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    // A shard does not read requests, so that no other one can follow on this connection.
    out.extend_from_slice(b"transfer-encoding: chunked\r\nconnection: close\r\n");
    if !headers.contains_key(DATE) {
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(httpdate::fmt_http_date(SystemTime::now()).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(Framed::from_block(opening).as_chunk());
    out.into()
}
