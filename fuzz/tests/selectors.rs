//! Any text is a pattern or an error, and what a pattern matches does not depend on other patterns.

use bolero::check;
use prism_sse::{Audience, Manager, Selector, Start, Topic, limits};
use regex::Regex;
use urlpattern::{UrlPatternInit, UrlPatternMatchInput, UrlPatternOptions};

const BASE: Option<&str> = Some("https://hub.example/.well-known/mercure");

/// Pieces that patterns are made of, so that random bytes make some that are valid.
const PIECES: &[&str] = &[
    "{x}",
    "{+x}",
    "{#x}",
    "{.x}",
    "{/x}",
    "{;x}",
    "{?x}",
    "{&x}",
    "{x*}",
    "{/x*}",
    "{?x*}",
    "{x:3}",
    "{x,y}",
    "{",
    "}",
    "/",
    "a",
    "b",
    "%41",
    "%2F",
    "é",
    ":x",
    ":x?",
    "*",
    "(",
    ")",
    "(a+)",
    "{a}?",
    "https://hub.example/",
    "?",
    "#",
    "\\",
    "=",
    "&",
    ",",
    ".",
    ";",
    "[",
    "]",
    "\\]",
    "{[}",
    "@",
    "://",
    "https:",
    "http{s}?",
    "(https?)",
    "[::1]",
    "(\\d+)",
    "(?i:",
    "(.*",
    "[^a]",
    "{0,9}",
    "|",
    "+",
    "\\b",
    "Ⓐ",
    ":",
];

fn text(bytes: &[u8]) -> String {
    let [kind, rest @ ..] = bytes else { return String::new() };
    if kind % 4 == 0 {
        return String::from_utf8_lossy(rest).into_owned();
    }
    rest.iter().map(|byte| PIECES[usize::from(*byte) % PIECES.len()]).collect()
}

fn topics(bytes: &[u8]) -> Vec<Topic> {
    let own = text(bytes);
    let plain = own.replace(['{', '}'], "");
    let fixed =
        ["/a/b", "https://hub.example/a", "a=b&x=%41", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"];
    let all = [own.as_str(), &plain].into_iter().chain(fixed);
    all.filter_map(|text| Topic::try_from(text).ok()).collect()
}

#[test]
fn pattern_compile() {
    check!().for_each(|input: &[u8]| {
        let text = text(input);
        for selector in [Selector::template(&text), Selector::url_pattern(&text, BASE)] {
            let Ok(selector) = selector else { continue };
            assert_eq!(selector.as_str(), text);
            let of_text = Topic::try_from(&*text).is_ok_and(|topic| selector.matches(&topic));
            assert!(of_text || selector.kind() != "template" || Topic::try_from(&*text).is_err());
        }
    });
}

/// Panics of this thread that were caught on their way, which the parser of URL Patterns must never
/// rely on.
mod panics {
    use std::cell::Cell;
    use std::panic;
    use std::sync::Once;

    thread_local! {
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }

    pub(super) fn count_during(act: impl FnOnce()) -> u32 {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                COUNT.set(COUNT.get() + 1);
                before(info);
            }));
        });
        let before = COUNT.get();
        act();
        COUNT.get() - before
    }
}

#[test]
fn url_pattern_never_panics() {
    check!().for_each(|input: &[u8]| {
        let text = text(input);
        for base in [None, BASE, Some("urn:x"), Some("file:///a/b")] {
            let panics = panics::count_during(|| drop(Selector::url_pattern(&text, base)));
            assert_eq!(panics, 0, "{text}");
        }
    });
}

#[test]
fn pattern_price() {
    check!().for_each(|input: &[u8]| {
        let text = text(input);
        for selector in [Selector::template(&text), Selector::url_pattern(&text, BASE)] {
            let Ok(selector) = selector else { continue };
            let topic = Topic::try_from(&*"a".repeat(limits::TOPIC_BYTES_MAX)).expect("it is one");
            let (bytes, steps) = selector.price(&topic);
            let is_topic = matches!(selector, Selector::Any | Selector::Exact(_));
            // Parsing the topic comes to what matching may take.
            let most = limits::PATTERN_STEPS_MAX + 20 * limits::TOPIC_BYTES_MAX as u64;
            assert!(bytes <= limits::PATTERN_BYTES_MAX && steps <= most);
            assert!(is_topic || bytes > text.len());
        }
    });
}

/// The pattern as the crate urlpattern matches it, with the crate regex.
fn reference(text: &str) -> Option<urlpattern::UrlPattern> {
    let base = BASE.map(|base| url::Url::parse(base).expect("it is a URL"));
    let mut init = UrlPatternInit::parse_constructor_string::<Regex>(text, base).ok()?;
    if init.protocol.is_some() {
        init.base_url = None;
    }
    urlpattern::UrlPattern::parse(init, UrlPatternOptions::default()).ok()
}

#[test]
fn url_pattern_match_diff() {
    check!().for_each(|input: &[u8]| {
        let (one, other) = input.split_at(input.len() / 2);
        let Ok(selector @ Selector::UrlPattern(_)) = Selector::url_pattern(&text(one), BASE) else {
            return;
        };
        let Some(reference) = reference(selector.as_str()) else { return };
        for topic in [topics(one), topics(other)].concat() {
            let base = BASE.map(|base| url::Url::parse(base).expect("it is a URL"));
            let url = url::Url::options().base_url(base.as_ref()).parse(topic.as_str());
            let expected = url.is_ok_and(|url| {
                reference.test(UrlPatternMatchInput::Url(url)).is_ok_and(|matches| matches)
            });
            assert_eq!(selector.matches(&topic), expected, "{selector} {topic}");
        }
    });
}

#[test]
fn topic_match_diff() {
    check!().for_each(|input: &[u8]| {
        let (one, other) = input.split_at(input.len() / 2);
        let texts = [text(one), text(other)];
        let templates = texts.iter().filter_map(|text| Selector::template(text).ok());
        let url_patterns = texts.iter().filter_map(|it| Selector::url_pattern(it, BASE).ok());
        let selectors: Vec<Selector> = templates.chain(url_patterns).collect();
        let sse = Manager::new();
        let connect = |selector: &Selector| {
            let audience = Audience::select(selector.clone()).expect("it is one");
            sse.subscribe(audience, Start::Now).expect("there is no limit")
        };
        let _readers: Vec<_> = selectors.iter().map(connect).collect();
        for topic in [topics(one), topics(other)].concat() {
            let expected = selectors.iter().filter(|selector| selector.matches(&topic)).count();
            // The second time the answer is known.
            for _ in 0..2 {
                let mut receipt = sse.publish(topic.clone(), "x").expect("it is valid");
                let ack = receipt.try_ack().expect("memory answers at once").expect("it is kept");
                assert_eq!(ack.receivers, expected, "{topic} {selectors:?}");
            }
        }
    });
}
