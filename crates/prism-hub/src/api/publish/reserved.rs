//! Topics that are the hub's own: those of subscription events.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::HUB_PATH;

/// The last segment of [`HUB_PATH`].
const WORD: &str = "mercure";

/// Whether a topic, resolved against the hub's URL, is at the hub's path or below it, on whatever
/// host. Escapes are decoded and case is not regarded, so that nothing that looks like one of the
/// hub's topics passes.
pub(super) fn is_reserved(topic: &str, hub_url: &Url) -> bool {
    !is_plainly_elsewhere(topic, hub_url) && is_at_hub(topic, hub_url)
}

/// Whether a topic is one of those, the most by far, that can be told from the hub's own without
/// reading them as URLs.
///
/// Both paths end with a word that the topic must bring. Without escapes, and without what URLs
/// drop or rewrite, it cannot hide the word; and if it has a path of its own, it does not get the
/// word from the hub's URL.
fn is_plainly_elsewhere(topic: &str, hub_url: &Url) -> bool {
    // From a path that has the word once more, a relative topic could borrow it.
    let prefix = hub_url.path().strip_suffix(HUB_PATH);
    if prefix.is_none_or(|prefix| has_word(prefix) || prefix.contains('%')) {
        return false;
    }
    let bytes = topic.as_bytes();
    let is_plain = bytes.iter().all(|byte| matches!(byte, b'!'..=b'~') && !b"%\\".contains(byte));
    // What begins like this has a path: neither a scheme without one, nor a query alone.
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

    #[test]
    fn what_is_plainly_elsewhere_is_not_the_hub_s() {
        assert!(HUB_PATH.ends_with(&format!("/{WORD}")));
        let paths = ["", "/a", "/mercure", "/.well-known/mercure", "/%6dercure"];
        let hubs = paths.map(|path| format!("https://hub.example{path}{HUB_PATH}"));
        let hubs = hubs.map(|url| Url::parse(&url).unwrap());
        for topic in ["news", "/a/b", "https://example.com/books/1", "http://x/?a=b", "t7", "a?b#c"]
        {
            assert!(hubs[..2].iter().all(|hub| is_plainly_elsewhere(topic, hub)), "{topic}");
            assert!(!hubs[2..].iter().any(|hub| is_plainly_elsewhere(topic, hub)), "{topic}");
        }
        // Whatever three of these pieces make, and a URL makes of that.
        let pieces = "|/|//|.|..|/..|?|#|:|https:|http://|x|mercure|MERCURE|.well-known|%2e|\\| |\t\
                      |@|[|é|/.well-known/mer|cure|/cure|hub.example";
        let pieces: Vec<&str> = pieces.split('|').collect();
        let mut plain = 0;
        for topic in (0..pieces.len().pow(3)).map(|number| {
            let digits = [number, number / pieces.len(), number / pieces.len().pow(2)];
            digits.map(|digit| pieces[digit % pieces.len()]).concat()
        }) {
            for hub in hubs.iter().filter(|hub| is_plainly_elsewhere(&topic, hub)) {
                plain += 1;
                assert!(!is_at_hub(&topic, hub), "{topic} at {hub}");
            }
        }
        assert!(plain > 1000, "{plain}");
    }
}
