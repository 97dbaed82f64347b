//! Serving a manager over HTTP: a layer, a service, and the parts they are made of.
//!
//! A request is read into an [`SseRequest`], the application adds what it knows, and
//! [`Manager::respond`] answers. The [`SseLayer`] does all of it for one path; the axum extractor
//! leaves the middle to a handler.

#[cfg(feature = "axum")]
mod axum;
mod layer;
mod request;
mod response;

pub use layer::{LayerBody, ResponseFuture, SseLayer, SseLayered, SseService};
pub use request::{NotAcceptable, SseRequest};
pub use response::SseBody;

#[cfg(doc)]
use crate::manager::Manager;
