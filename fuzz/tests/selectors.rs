//! Any text is a pattern or an error, and what a pattern matches does not depend on other patterns.

use bolero::check;
use prism_sse::{Audience, Manager, Selector, Start, Topic};

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
    "(\\d+)",
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
