//! Server-Sent Events for Rust web services: exact resume, visible gaps, one shared log.
//!
//! ```no_run
//! use axum::Router;
//! use prism_sse::{Event, Manager, SseLayer};
//! use std::time::Duration;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let sse = Manager::new();
//!     let app = Router::new().layer(SseLayer::new(sse.clone(), "/prices"));
//!
//!     tokio::spawn(async move {
//!         loop {
//!             let price = Event::new(r#"{"symbol":"AAPL","price":142.50}"#);
//!             sse.broadcast(price.event("price-update").unwrap()).unwrap();
//!             tokio::time::sleep(Duration::from_secs(2)).await;
//!         }
//!     });
//!
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! ```
//!
//! Any page reads it with `new EventSource('/prices')`.
//!
//! # One order, one log, and a connection is one integer
//!
//! Every accepted event gets a position in one order, is encoded once, and is appended to one log.
//! Live delivery, replay after a reconnect and catching up of a slow reader are the same operation:
//! reading the log forward from an integer. With [history](ManagerBuilder::history) that integer is
//! part of the id the browser sends back.
//!
//! # Where to look
//!
//! - [`Event`] is what is published; [`wire`] has the [parser](wire::Parser).
//! - [`Manager`] tracks connections and publishes; [`Manager::builder`] sets it up.
//! - [`SseLayer`] serves it; [`SseRequest`] leaves audience and start to a handler.
//! - [`Audience`] is what a connection selects and may read.
//! - [`Engine`] puts events into one order; [`Memory`] is built in.
//! - [`limits`] has every bound, its default and its reason.
//!
//! # Features
//!
//! - `json` (default): [`Event::json`].
//! - `axum`: [`SseRequest`] as an extractor.
//! - `patterns`: [`Selector::url_pattern`](Selector), which adds about forty dependencies.
//! - `serve`: [`serve`](serve()), a server that writes events to sockets itself.
//! - `test-util`: the module `test`, with a client for any tower service, an engine with
//!   controllable faults, the conformance suite for engines, and an oracle that checks what readers
//!   received.

#![cfg_attr(
    not(feature = "serve"),
    allow(
        dead_code,
        unused_imports,
        reason = "the little code that only shards use is always compiled"
    )
)]

pub mod limits;
pub mod wire;

mod audience;
mod connection;
mod engine;
mod http;
mod log;
mod manager;
mod random;
mod selector;
#[cfg(feature = "serve")]
mod serve;
mod steps;
mod store;
mod subscription;
mod sync;
#[cfg(feature = "test-util")]
pub mod test;

#[cfg(all(doctest, feature = "axum", feature = "serve"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub use audience::Audience;
pub use connection::{Connection, SubscribeError};
pub use engine::{
    Ack, AckError, Completion, Durability, Engine, EngineError, Follower, InvalidIdempotencyKey,
    InvalidPublisher, Memory, OrderEnd, Publication, Receipt, Wakes,
};
pub use http::{
    LayerBody, NotAcceptable, ResponseFuture, SseBody, SseLayer, SseLayered, SseRequest, SseService,
};
pub use log::{Gap, Retention};
pub use manager::{
    CloseReason, ConnectionRef, InvalidSetting, Manager, ManagerBuilder, OnLag, PublishError,
    SendError, Stats,
};
#[cfg(feature = "patterns")]
pub use selector::UrlPattern;
pub use selector::{InvalidSelector, InvalidTopic, OneOrMany, Selector, Topic, UriTemplate};
#[cfg(feature = "serve")]
pub use serve::{AcceptedSocket, App, Capacity, Serve, bind_reuse_port, raise_open_files, serve};
pub use store::{
    Missing, Page, PageQuery, Restored, Store, StoreError, StoreStats, StoredKey, StoredRecord,
};
pub use subscription::Start;
pub use wire::{
    ConnectionId, Epoch, Event, EventId, EventName, Field, InvalidConnectionId, InvalidEvent,
    InvalidPosition, Position,
};
