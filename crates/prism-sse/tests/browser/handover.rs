//! Which server writes the events that a page reads.

use prism_sse::Manager;
use serde_json::json;

use crate::gatekeeper::Gatekeeper;
use crate::serving::named;

/// A page comes and asks for events on one connection. `prism_sse::serve` takes it from hyper for
/// good, and says so; to `axum::serve` a stream is a response like any other.
#[tokio::test]
async fn a_pages_stream_comes_from_the_server_that_was_chosen() {
    let sse = Manager::new();
    let gatekeeper = Gatekeeper::start(&sse).await;
    let browser = gatekeeper.visit().await;
    let said = "fetch('/events').then((response) => response.headers.get('connection'))";
    let expected = match named().as_str() {
        "prism" => json!("close"),
        _ => json!(null),
    };
    for _ in 0..3 {
        assert_eq!(browser.eval(said).await, expected);
    }
}
