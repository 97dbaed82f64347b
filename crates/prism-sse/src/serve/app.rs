//! What can be served: a service, or what makes one for each connection.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower_service::Service;

/// An application that [`serve`](crate::serve) can run. It is implemented for every service of HTTP
/// requests, and for every service that makes one for the address of a peer.
///
/// `K` only tells the two apart; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no application that can be served",
    label = "neither a service of HTTP requests nor one that makes such services",
    note = "it must be `Clone` and `Send`, and answer with `Response`s whose bodies are of `Bytes`"
)]
pub trait App<K>: sealed::Sealed<K> {
    #[doc(hidden)]
    type Make: Make;
    #[doc(hidden)]
    fn into_make(self) -> Self::Make;
}

/// Makes a service for each connection.
#[doc(hidden)]
pub trait Make: 'static {
    type Service: Serves;
    fn make(
        &mut self,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<Self::Service, BoxError>> + Send;
}

/// A service of HTTP requests, with what serving it takes.
#[doc(hidden)]
pub trait Serves:
    Service<
        Request<Incoming>,
        Response = Response<Self::Body>,
        Error = Self::Failure,
        Future = Self::Answer,
    > + Clone
    + Send
    + 'static
{
    type Body: Body<Data = Bytes, Error = Self::BodyError> + Send + 'static;
    type BodyError: Into<BoxError> + Send;
    type Failure: Into<BoxError>;
    type Answer: Future<Output = Result<Response<Self::Body>, Self::Failure>> + Send;
}

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

impl<S, B> Serves for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Body = B;
    type BodyError = B::Error;
    type Failure = S::Error;
    type Answer = S::Future;
}

/// Marks a service that answers requests.
#[derive(Debug)]
pub struct OneService(Infallible);

/// Marks a service that makes services.
#[derive(Debug)]
pub struct MakeService(Infallible);

mod sealed {
    pub trait Sealed<K> {}
}

impl<S: Serves> sealed::Sealed<OneService> for S {}

impl<S: Serves> App<OneService> for S {
    type Make = Same<S>;

    fn into_make(self) -> Same<S> {
        Same(self)
    }
}

impl<M, S> sealed::Sealed<MakeService> for M
where
    M: Service<SocketAddr, Response = S>,
    S: Serves,
{
}

impl<M, S> App<MakeService> for M
where
    M: Service<SocketAddr, Response = S> + Send + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send,
    S: Serves,
{
    type Make = Each<M, S>;

    fn into_make(self) -> Each<M, S> {
        Each(self, PhantomData)
    }
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Same<S>(S);

impl<S: Serves> Make for Same<S> {
    type Service = S;

    async fn make(&mut self, _: SocketAddr) -> Result<S, BoxError> {
        Ok(self.0.clone())
    }
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Each<M, S>(M, PhantomData<fn() -> S>);

impl<M, S> Make for Each<M, S>
where
    M: Service<SocketAddr, Response = S> + Send + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send,
    S: Serves,
{
    type Service = S;

    async fn make(&mut self, peer: SocketAddr) -> Result<S, BoxError> {
        std::future::poll_fn(|cx| self.0.poll_ready(cx)).await.map_err(Into::into)?;
        self.0.call(peer).await.map_err(Into::into)
    }
}
