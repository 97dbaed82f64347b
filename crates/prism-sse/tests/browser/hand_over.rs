//! Whether the stream of a page is handed over to a shard.

use prism_sse::Manager;
use serde_json::json;

use crate::gated_server::GatedServer;
use crate::serving::named;

/// `prism_sse::serve` hands the connection over and announces its end with `connection: close`. For
/// `axum::serve` a stream is a response like any other.
#[tokio::test]
async fn the_stream_of_a_page_is_handed_over_under_prism_serve_alone() {
    let sse = Manager::new();
    let gated_server = GatedServer::start(&sse).await;
    let browser = gated_server.visit().await;
    let said = "fetch('/events').then((response) => response.headers.get('connection'))";
    let expected = match named().as_str() {
        "prism" => json!("close"),
        _ => json!(null),
    };
    for _ in 0..3 {
        assert_eq!(browser.eval(said).await, expected);
    }
}
