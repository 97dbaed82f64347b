//! A body that stays with hyper.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::streams::Listing;
use crate::connection::first_frame;

pin_project! {
    /// The application's body, or one of which the first frame was polled already.
    #[project = ServedProjection]
    pub(super) enum Served<B: Body> {
        Untouched { #[pin] body: B },
        Begun { first: Option<First<B>>, rest: Pin<Box<B>>, listed: Listing },
    }
}

/// What the first poll gave; `None` is the end.
pub(super) type First<B> = Option<Result<Frame<Bytes>, <B as Body>::Error>>;

impl<B: Body<Data = Bytes>> Body for Served<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            ServedProjection::Untouched { body } => body.poll_frame(cx),
            ServedProjection::Begun { first, rest, listed } => match (first.take(), &listed) {
                (Some(first), _) => Poll::Ready(first),
                (None, Listing::Listed { .. }) => rest.as_mut().poll_frame(cx),
                (None, Listing::Awaited(_)) => {
                    let (polled, offered) = first_frame::capture(|| rest.as_mut().poll_frame(cx));
                    if let Some(stream) = offered.and_then(|offered| offered.handle()) {
                        listed.begin(stream);
                    }
                    polled
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Untouched { body } => body.is_end_stream(),
            Self::Begun { first: Some(Some(_)), .. } => false,
            Self::Begun { first: Some(None), .. } => true,
            Self::Begun { first: None, rest, .. } => rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Untouched { body } => body.size_hint(),
            Self::Begun { first, rest, .. } => {
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
