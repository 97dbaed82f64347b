//! Middleware that serves one path, and a service for any path.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::request::SseRequest;
use super::response::{SseBody, method_not_allowed};
use crate::manager::Manager;

/// Serves a manager's events at one path, and passes all other requests on unchanged.
///
/// ```
/// use axum::Router;
/// use prism_sse::{Manager, SseLayer};
///
/// let sse = Manager::new();
/// let app: Router = Router::new().layer(SseLayer::new(sse, "/events"));
/// ```
#[derive(Clone, Debug)]
pub struct SseLayer {
    manager: Manager,
    path: Arc<str>,
}

impl SseLayer {
    /// Answers `GET` and `HEAD` of `path`, compared byte for byte.
    ///
    /// # Panics
    ///
    /// If `path` does not begin with `/`, as no request's path would match it.
    pub fn new(manager: Manager, path: impl Into<Arc<str>>) -> Self {
        let path = path.into();
        assert!(path.starts_with('/'), "the path {path:?} does not begin with `/`");
        Self { manager, path }
    }
}

impl<S> Layer<S> for SseLayer {
    type Service = SseLayered<S>;

    fn layer(&self, inner: S) -> SseLayered<S> {
        SseLayered { layer: self.clone(), inner }
    }
}

/// The service that an [`SseLayer`] wraps around another.
#[derive(Clone, Debug)]
pub struct SseLayered<S> {
    layer: SseLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for SseLayered<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<LayerBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        if reads && request.uri().path() == &*self.layer.path {
            let response = response(&self.layer.manager, &request);
            ResponseFuture { response: LayerResponse::Sse { response: Some(response) } }
        } else {
            ResponseFuture { response: LayerResponse::Inner { future: self.inner.call(request) } }
        }
    }
}

impl Manager {
    /// A service that answers at whatever path it is mounted.
    ///
    /// ```
    /// use axum::Router;
    /// use prism_sse::Manager;
    ///
    /// let sse = Manager::new();
    /// let app: Router = Router::new().route_service("/events", sse.service());
    /// ```
    pub fn service(&self) -> SseService {
        SseService { manager: self.clone() }
    }
}

/// A manager as a service: every `GET` becomes a connection.
#[derive(Clone, Debug)]
pub struct SseService {
    manager: Manager,
}

impl<B> Service<Request<B>> for SseService {
    type Response = Response<SseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<SseBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(match *request.method() {
            Method::GET | Method::HEAD => response(&self.manager, &request),
            _ => method_not_allowed(),
        }))
    }
}

fn response<B>(manager: &Manager, request: &Request<B>) -> Response<SseBody> {
    match SseRequest::new(request.method(), request.headers()) {
        Ok(request) => manager.respond(request),
        Err(not_acceptable) => not_acceptable.into_response(),
    }
}

pin_project! {
    /// The response of an [`SseLayered`] service.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        response: LayerResponse<F>,
    }
}

pin_project! {
    #[project = LayerResponseProjection]
    #[derive(Debug)]
    enum LayerResponse<F> {
        Sse { response: Option<Response<SseBody>> },
        Inner { #[pin] future: F },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<LayerBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match self.project().response.project() {
            LayerResponseProjection::Sse { response } => {
                let response = response.take().expect("a future is not polled after it ended");
                response.map(|body| LayerBody { kind: LayerBodyKind::Sse { body } })
            }
            LayerResponseProjection::Inner { future } => match ready!(future.poll(cx)) {
                Ok(response) => {
                    response.map(|body| LayerBody { kind: LayerBodyKind::Inner { body } })
                }
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        Poll::Ready(Ok(response))
    }
}

pin_project! {
    /// The body of an [`SseLayered`] service: ours, or that of the service below.
    #[derive(Debug)]
    pub struct LayerBody<R> {
        #[pin]
        kind: LayerBodyKind<R>,
    }
}

pin_project! {
    #[project = LayerBodyKindProjection]
    #[derive(Debug)]
    enum LayerBodyKind<R> {
        Sse { #[pin] body: SseBody },
        Inner { #[pin] body: R },
    }
}

impl<R: Body<Data = Bytes>> Body for LayerBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.project().kind.project() {
            LayerBodyKindProjection::Sse { body } => {
                let frame = ready!(body.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
            LayerBodyKindProjection::Inner { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            LayerBodyKind::Sse { body } => body.is_end_stream(),
            LayerBodyKind::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            LayerBodyKind::Sse { body } => body.size_hint(),
            LayerBodyKind::Inner { body } => body.size_hint(),
        }
    }
}
