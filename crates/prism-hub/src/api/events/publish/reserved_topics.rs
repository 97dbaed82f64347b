//! Reserved topics: those at the hub's own path, where it publishes subscription events.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::HUB_PATH;

/// The last segment of [`HUB_PATH`], which every reserved topic contains.
const WORD: &str = "mercure";

/// Whether a topic, resolved against the hub's URL, is at the hub's path or below it, on any host.
/// Percent-encoding is decoded and case ignored, so that no look-alike of a subscription event's
/// topic can be published.
pub(super) fn is_reserved(topic: &str, hub_url: &Url) -> bool {
    !is_surely_not_reserved(topic, hub_url) && is_at_hub(topic, hub_url)
}

/// A cheap test that is enough for most topics: whether a topic cannot be reserved, found without
/// parsing it as a URL.
///
/// Every reserved path contains [`WORD`]. A topic of plain characters, without percent-encoding and
/// without characters that URL parsing drops or rewrites, cannot hide the word; and a topic with a
/// path of its own does not take it over from the hub's URL.
fn is_surely_not_reserved(topic: &str, hub_url: &Url) -> bool {
    // If the hub's path contains the word twice, a relative topic can resolve to a path with it.
    let prefix = hub_url.path().strip_suffix(HUB_PATH);
    if prefix.is_none_or(|prefix| has_word(prefix) || prefix.contains('%')) {
        return false;
    }
    let bytes = topic.as_bytes();
    let is_plain = bytes.iter().all(|byte| matches!(byte, b'!'..=b'~') && !b"%\\".contains(byte));
    // Topics that begin like this have a path of their own. Others are a scheme without `//`, or a
    // query or fragment alone.
    let path = topic.strip_prefix("https://").or_else(|| topic.strip_prefix("http://"));
    let has_path = path.is_some()
        || bytes.first().is_some_and(|first| first.is_ascii_alphanumeric() || *first == b'/')
            && !bytes.contains(&b':');
    is_plain && has_path && !has_word(topic)
}

fn has_word(text: &str) -> bool {
    let word = WORD.as_bytes();
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

fn is_at_hub(topic: &str, hub_url: &Url) -> bool {
    let Ok(url) = hub_url.join(topic) else { return false };
    let mut path = percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
    // Decoded dots and slashes may form `..` segments, which are resolved once more.
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
    fn the_hub_s_path_is_reserved_in_every_spelling() {
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

    #[test]
    fn what_is_surely_not_reserved_is_not_the_hub_s() {
        assert!(HUB_PATH.ends_with(&format!("/{WORD}")));
        let paths = ["", "/a", "/mercure", "/.well-known/mercure", "/%6dercure"];
        let hubs = paths.map(|path| format!("https://hub.example{path}{HUB_PATH}"));
        let hubs = hubs.map(|url| Url::parse(&url).unwrap());
        for topic in ["news", "/a/b", "https://example.com/books/1", "http://x/?a=b", "t7", "a?b#c"]
        {
            assert!(hubs[..2].iter().all(|hub| is_surely_not_reserved(topic, hub)), "{topic}");
            assert!(!hubs[2..].iter().any(|hub| is_surely_not_reserved(topic, hub)), "{topic}");
        }
        // Every concatenation of three of these pieces.
        let pieces = "|/|//|.|..|/..|?|#|:|https:|http://|x|mercure|MERCURE|.well-known|%2e|\\| |\t\
                      |@|[|é|/.well-known/mer|cure|/cure|hub.example";
        let pieces: Vec<&str> = pieces.split('|').collect();
        let mut passed = 0;
        for topic in (0..pieces.len().pow(3)).map(|number| {
            let digits = [number, number / pieces.len(), number / pieces.len().pow(2)];
            digits.map(|digit| pieces[digit % pieces.len()]).concat()
        }) {
            for hub in hubs.iter().filter(|hub| is_surely_not_reserved(&topic, hub)) {
                passed += 1;
                assert!(!is_at_hub(&topic, hub), "{topic} at {hub}");
            }
        }
        assert!(passed > 1000, "{passed}");
    }
}
