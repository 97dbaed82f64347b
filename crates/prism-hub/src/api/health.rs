//! `/healthz` and `/readyz`: liveness and readiness, on the public and the admin addresses.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;

use crate::hub::Hub;
use crate::problem::Problem;

pub(super) fn router() -> Router<Hub> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

async fn ready(State(hub): State<Hub>, RawQuery(query): RawQuery) -> Result<&'static str, Problem> {
    if !hub.is_ready() {
        return Err(Problem::unavailable("draining", "The hub does not take requests now.", 1));
    }
    let for_publish = query.is_some_and(|query| query.split('&').any(|it| it == "for=publish"));
    if for_publish && !hub.events().accepts_events() {
        let sentence = "The last events could not be stored; readers are served.";
        return Err(Problem::unavailable("storage", sentence, 1));
    }
    Ok("ready\n")
}
