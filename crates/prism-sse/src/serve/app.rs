//! The applications that can be served: a service, or a service that makes one for each
//! connection.

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
    type Make: MakeService;
    #[doc(hidden)]
    fn into_make(self) -> Self::Make;
}

/// Makes a service for each connection.
#[doc(hidden)]
pub trait MakeService: 'static {
    type Service: HttpService;
    fn make(
        &mut self,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<Self::Service, BoxError>> + Send;
}

/// A service of HTTP requests with the bounds that serving needs, under names of its own.
#[doc(hidden)]
pub trait HttpService:
    Service<
        Request<Incoming>,
        Response = Response<Self::ResponseBody>,
        Error = Self::ServiceError,
        Future = Self::ResponseFuture,
    > + Clone
    + Send
    + 'static
{
    type ResponseBody: Body<Data = Bytes, Error = Self::BodyError> + Send + 'static;
    type BodyError: Into<BoxError> + Send;
    type ServiceError: Into<BoxError>;
    type ResponseFuture: Future<Output = Result<Response<Self::ResponseBody>, Self::ServiceError>>
        + Send;
}

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type ResponseBody = B;
    type BodyError = B::Error;
    type ServiceError = S::Error;
    type ResponseFuture = S::Future;
}

/// The `K` of an application that is a service of HTTP requests.
#[derive(Debug)]
pub struct ServiceMarker(Infallible);

/// The `K` of an application that makes services.
#[derive(Debug)]
pub struct MakeServiceMarker(Infallible);

mod sealed {
    pub trait Sealed<K> {}
}

impl<S: HttpService> sealed::Sealed<ServiceMarker> for S {}

impl<S: HttpService> App<ServiceMarker> for S {
    type Make = SharedService<S>;

    fn into_make(self) -> SharedService<S> {
        SharedService(self)
    }
}

impl<M, S> sealed::Sealed<MakeServiceMarker> for M
where
    M: Service<SocketAddr, Response = S>,
    S: HttpService,
{
}

impl<M, S> App<MakeServiceMarker> for M
where
    M: Service<SocketAddr, Response = S> + Send + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send,
    S: HttpService,
{
    type Make = ServicePerPeer<M, S>;

    fn into_make(self) -> ServicePerPeer<M, S> {
        ServicePerPeer(self, PhantomData)
    }
}

/// Gives each connection a clone of one service.
#[doc(hidden)]
#[derive(Debug)]
pub struct SharedService<S>(S);

impl<S: HttpService> MakeService for SharedService<S> {
    type Service = S;

    async fn make(&mut self, _: SocketAddr) -> Result<S, BoxError> {
        Ok(self.0.clone())
    }
}

/// Asks the application for a service for each connection.
#[doc(hidden)]
#[derive(Debug)]
pub struct ServicePerPeer<M, S>(M, PhantomData<fn() -> S>);

impl<M, S> MakeService for ServicePerPeer<M, S>
where
    M: Service<SocketAddr, Response = S> + Send + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send,
    S: HttpService,
{
    type Service = S;

    async fn make(&mut self, peer: SocketAddr) -> Result<S, BoxError> {
        std::future::poll_fn(|cx| self.0.poll_ready(cx)).await.map_err(Into::into)?;
        self.0.call(peer).await.map_err(Into::into)
    }
}
