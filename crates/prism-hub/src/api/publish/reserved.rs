//! Topics that are the hub's own: those of subscription events.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::HUB_PATH;

/// Whether a topic, resolved against the hub's URL, is at the hub's path or below it, on whatever
/// host. Escapes are decoded and case is not regarded, so that nothing that looks like one of the
/// hub's topics passes.
pub(super) fn is_reserved(topic: &str, hub_url: &Url) -> bool {
    let Ok(url) = hub_url.join(topic) else { return false };
    let mut path = percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
    // An escaped dot or slash may hide a segment that leads back.
    if let Ok(again) = hub_url.join(&path) {
        path = percent_decode_str(again.path()).decode_utf8_lossy().into_owned();
    }
    let path = path.to_ascii_lowercase();
    [HUB_PATH, hub_url.path()].iter().any(|hub| {
        let rest = path.strip_prefix(&hub.to_ascii_lowercase());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_s_own_path_is_reserved_however_it_is_written() {
        let hub = Url::parse("https://hub.example/.well-known/mercure").unwrap();
        for topic in [
            "/.well-known/mercure",
            "/.well-known/mercure/subscriptions/a/b",
            "https://other.example/.well-known/mercure/x",
            "/.well-known/%6Dercure/x",
            "/.well-known/mercure/../mercure/x",
            "/a/../.well-known/mercure",
            "/a/%2e%2e/.well-known/mercure",
            "/.well-known%2Fmercure/x",
            "mercure",
            "/.well-known/MERCURE/x",
            "//other.example/.well-known/mercure?a#b",
            "\\.well-known\\mercure",
        ] {
            assert!(is_reserved(topic, &hub), "{topic}");
        }
        for topic in [
            "/.well-known/mercurex",
            "https://hub.example/a",
            "urn:uuid:x",
            "https://a b/",
            "mercurial",
            "/x/.well-known/mercure",
            "https://example.com/?a=/.well-known/mercure",
        ] {
            assert!(!is_reserved(topic, &hub), "{topic}");
        }
    }
}
