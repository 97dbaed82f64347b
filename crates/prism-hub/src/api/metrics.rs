//! `/metrics`: the hub's metrics in the OpenMetrics text format, on the admin address.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::hub::Hub;
use crate::problem::Problem;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn router() -> Router<Hub> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(hub): State<Hub>) -> Response {
    match hub.metrics().encode(&hub.rules().current().authority) {
        Ok(text) => {
            let mut response = text.into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
            response
        }
        Err(_) => {
            let sentence = "The metrics could not be written.";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, sentence).into_response()
        }
    }
}
