//! The tests of the target `it` that read streams, over delivery shards: the same promises hold
//! whether a body or a shard writes a stream.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../it/below.rs"]
mod below;
#[path = "../it/ends.rs"]
mod ends;
#[path = "../it/engines.rs"]
mod engines;
#[path = "../it/http.rs"]
mod http;
#[path = "../it/page.rs"]
mod page;
#[path = "../it/pages.rs"]
mod pages;
#[path = "../it/regressions.rs"]
mod regressions;
#[path = "../it/resume.rs"]
mod resume;
mod shards;
mod slow;
#[path = "../it/time.rs"]
mod time;

use axum::Router;
use pages::{app, client, keeping, page, page_after, select, text, with_history};
use prism_sse::test::{Client, Received, Served};

/// A page, read from a delivery shard.
type Page = Client<Served<Router>, Received>;

/// The application, as pages read from it.
fn served(app: Router) -> Served<Router> {
    Served::new(app)
}
