//! Whether a stream may leave hyper, and the head it begins with.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPECT, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, response};
use http_body::{Body, Frame};

use crate::connection::first_frame::{FirstFrame, ResponseTag, is_same_buffer};
use crate::wire::Framed;

/// Whether the answer to this request may be taken from hyper: nothing of the request is still to
/// come, and the answer is in chunks.
pub(super) fn allows<B: Body>(request: &Request<B>) -> bool {
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

/// Whether the answer may be an event stream of ours.
pub(super) fn is_event_stream<B>(response: &Response<B>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    response.status() == StatusCode::OK
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Whether the body was made of a connection and nothing else, what arrives is what the connection
/// gave, and nothing says that more is to be done.
pub(super) fn is_untouched<B: Body>(
    head: &response::Parts,
    first: &Frame<Bytes>,
    rest: &B,
    offered: &FirstFrame,
) -> bool {
    let headers = &head.headers;
    let framing = [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, CONNECTION, UPGRADE];
    head.version == Version::HTTP_11
        && head.extensions.get::<ResponseTag>().is_some_and(|tag| tag.0 == offered.id)
        && framing.iter().all(|name| !headers.contains_key(name))
        && first.data_ref().is_some_and(|bytes| is_same_buffer(bytes, &offered.opening))
        && !rest.is_end_stream()
        && rest.size_hint().exact().is_none()
}

/// The head and the stream's first bytes, as they go over the wire (RFC 9112, section 4 and 6).
pub(super) fn begin(headers: &HeaderMap, opening: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    // The socket is not hyper's any more, so that no other request can follow.
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
