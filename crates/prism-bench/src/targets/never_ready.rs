//! Streams without events: what an idle connection costs in axum and hyper alone.
//!
//! Either a stream is always pending, or it begins with one line: hyper allocates its write queue
//! with the first frame.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http_body::Frame;

use super::contract::SUBSCRIBE_PATH;

/// A body without an end, and without a frame after the first line, if there is one.
struct NeverReady(Option<&'static str>);

impl http_body::Body for NeverReady {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(line) => Poll::Ready(Some(Ok(Frame::data(line.into())))),
            None => Poll::Pending,
        }
    }
}

pub(super) fn router(line: Option<&'static str>) -> Router {
    let subscribe = async move || -> Response {
        let body = Body::new(NeverReady(line));
        ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
    };
    Router::new().route(SUBSCRIBE_PATH, get(subscribe))
}
