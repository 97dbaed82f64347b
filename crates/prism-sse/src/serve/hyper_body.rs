//! A response body that stays with hyper.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::stream_registry::StreamTracking;
use crate::connection::first_frame;

pin_project! {
    /// The application's body. If it may be an event stream, it was polled once already, and gives
    /// the result of that poll first.
    #[project = HyperBodyProjection]
    pub(super) enum HyperBody<B: Body> {
        Plain { #[pin] body: B },
        EventStream {
            first: Option<FirstPoll<B>>,
            rest: Pin<Box<B>>,
            tracking: StreamTracking,
        },
    }
}

/// What the first poll gave; `None` is the end of the body.
pub(super) type FirstPoll<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

impl<B: Body<Data = Bytes>> Body for HyperBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            HyperBodyProjection::Plain { body } => body.poll_frame(cx),
            HyperBodyProjection::EventStream { first, rest, tracking } => {
                match (first.take(), &tracking) {
                    (Some(first), _) => Poll::Ready(first),
                    (None, StreamTracking::Registered { .. }) => rest.as_mut().poll_frame(cx),
                    (None, StreamTracking::Undetermined(_)) => {
                        let (polled, offered) =
                            first_frame::capture(|| rest.as_mut().poll_frame(cx));
                        if let Some(stream) = offered.and_then(|offered| offered.handle()) {
                            tracking.register(stream);
                        }
                        polled
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain { body } => body.is_end_stream(),
            Self::EventStream { first: Some(Some(_)), .. } => false,
            Self::EventStream { first: Some(None), .. } => true,
            Self::EventStream { first: None, rest, .. } => rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain { body } => body.size_hint(),
            Self::EventStream { first, rest, .. } => {
                let first = first.as_ref().and_then(Option::as_ref);
                let first = first.and_then(|frame| frame.as_ref().ok()?.data_ref());
                let len = first.map_or(0, Bytes::len) as u64;
                let rest = rest.size_hint();
                let mut hint = SizeHint::new();
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + len);
                }
                hint.set_lower(rest.lower() + len);
                hint
            }
        }
    }
}
