//! Serving a manager over HTTP: a layer, a service, requests and responses.
//!
//! A request becomes an [`SseRequest`], the application adds the audience and the start, and
//! [`Manager::respond`] makes the response. [`SseLayer`] does all of that for one path; with the
//! axum extractor a handler adds what it knows.

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
