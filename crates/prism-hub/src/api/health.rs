//! `/healthz` and `/readyz`: liveness and readiness, on the public and the admin addresses.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use crate::hub::Hub;
use crate::problem::Problem;

pub(super) fn router() -> Router<Hub> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

async fn ready(State(hub): State<Hub>) -> Result<&'static str, Problem> {
    if hub.is_ready() {
        Ok("ready\n")
    } else {
        Err(Problem::unavailable("draining", "The hub does not take requests now.", 1))
    }
}
