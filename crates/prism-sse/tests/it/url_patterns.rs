//! URL Patterns, with the feature `patterns`.

use prism_sse::{InvalidSelector, Manager, Selector, Start, Topic, limits};

use super::select;

const HUB: Option<&str> = Some("https://hub.example/.well-known/mercure");

fn matches(pattern: &str, topic: &str) -> bool {
    let selector = Selector::url_pattern(pattern, HUB).unwrap();
    selector.matches(&Topic::try_from(topic).unwrap())
}

#[test]
fn a_url_pattern_selects_the_urls_it_matches() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "https://example.com/books/:id",
            &["https://example.com/books/1", "https://EXAMPLE.com:443/x/../books/1"],
            &["https://example.com/books/", "https://example.com/books/1/2", "urn:x"],
        ),
        (
            "https://example.com/:kind(books|films)/:id(\\d+)",
            &["https://example.com/books/1", "https://example.com/films/22"],
            &["https://example.com/cars/1", "https://example.com/books/x"],
        ),
        (
            "https://*.example.com/a{/b}?/*",
            &["https://x.example.com/a/", "https://x.y.example.com/a/b/c/d"],
            &["https://example.com/a/", "http://x.example.com/a/"],
        ),
        // Components after the last one that a pattern names match anything.
        ("https://e.example/a?q=:v", &["https://e.example/a?q=1#x"], &["https://e.example/a?r=2"]),
        ("urn\\:isbn\\:*", &["urn:isbn:1", "urn:isbn:"], &["urn:issn:1", "https://isbn.example/"]),
    ];
    for (pattern, chosen, others) in cases {
        for topic in *chosen {
            assert!(matches(pattern, topic), "{pattern} {topic}");
        }
        for topic in *others {
            assert!(!matches(pattern, topic), "{pattern} {topic}");
        }
    }
}

#[test]
fn relative_patterns_and_topics_are_resolved_against_the_base() {
    assert!(matches("/books/:id", "https://hub.example/books/1"));
    assert!(matches("https://hub.example/books/:id", "/books/1"));
    assert!(matches("/books/:id", "../books/1"));
    assert!(matches(":id", "https://hub.example/.well-known/1"));
    assert!(!matches("/books/:id", "https://other.example/books/1"));
    let alone = Selector::url_pattern("https://hub.example/books/:id", None).unwrap();
    assert!(!alone.matches(&Topic::try_from("/books/1").unwrap()));
    assert_eq!(Selector::url_pattern("/books/:id", None), Err(InvalidSelector::UrlPattern));
}

#[test]
fn paths_are_compared_with_regard_to_case_and_hosts_are_not() {
    assert!(matches("https://EXAMPLE.com/Books/:id", "https://example.COM/Books/1"));
    assert!(!matches("https://example.com/Books/:id", "https://example.com/books/1"));
}

#[test]
fn a_topic_that_is_no_url_is_matched_by_star_alone() {
    assert!(!matches("*://*/*", "https://"));
    assert!(!matches("/*", "http://[bad"));
    assert_eq!(Selector::url_pattern("*", HUB), Ok(Selector::Any));
}

#[test]
fn url_patterns_are_equal_by_text_and_base() {
    let make = |text, base| Selector::url_pattern(text, base).unwrap();
    assert_eq!(make("/:x", HUB), make("/:x", HUB));
    assert_ne!(make("/:x", HUB), make("/:y", HUB));
    assert_ne!(make("/:x", HUB), make("/:x", Some("https://other.example/")));
    assert_ne!(make("/:x", HUB), Selector::try_from("/:x").unwrap());
    assert_eq!((make("/:x", HUB).kind(), make("/:x", HUB).as_str()), ("urlpattern", "/:x"));
}

#[test]
fn invalid_and_oversized_url_patterns_are_refused() {
    let make = |text: &str| Selector::url_pattern(text, HUB).map(|_| ());
    for text in ["/:", "/(", "/{a", "/(?=a)", "/(a)\\1(", "/a(**)", "/(\\q)"] {
        assert!(make(text).is_err(), "{text}");
    }
    assert_eq!(Selector::url_pattern("/", Some("no url")), Err(InvalidSelector::Base));
    assert_eq!(make(&"x".repeat(4097)), Err(InvalidSelector::TooLong { len: 4097 }));
    for text in ["/((?:(?:a{99}){99}){99})", "/(a{999}{999})"] {
        assert_eq!(make(text), Err(InvalidSelector::TooLarge), "{text}");
    }
    for text in ["/(\\p{L})", "/([^\\p{Lu}])", "/((?u)a)", "/((?i-s:a)(?u:b))"] {
        assert_eq!(make(text), Err(InvalidSelector::UnicodeExpression), "{text}");
    }
    assert_eq!(make("/((?i-u:a)\\w[^b])"), Ok(()));
    let deep = format!("/({}a{})", "(?:".repeat(40), ")".repeat(40));
    assert_eq!(make(&deep), Err(InvalidSelector::TooComplex));
    assert!(make("a\nb").is_err() && make("").is_err());
}

#[test]
fn a_bracket_in_the_host_that_closes_nothing_is_an_error_and_no_panic() {
    for base in [None, HUB] {
        for text in ["://]", "https://a]b", "https://[]]", "https:]", "https\\://\\]", "*:]"] {
            let made = Selector::url_pattern(text, base);
            assert_eq!(made, Err(InvalidSelector::UrlPattern), "{text}");
        }
    }
    assert!(matches("https://[\\:\\:1]/:x", "https://[::1]/a"));
    assert!(matches("/a]:x", "https://hub.example/a]b"));
    assert!(matches("/?a[:key]=*", "https://hub.example/?a[b]=c"));
}

#[test]
fn parts_of_a_pattern_are_bounded() {
    let make = |text: &str| Selector::url_pattern(text, HUB).map(|_| ());
    let max = limits::URL_PATTERN_OPERATORS_MAX;
    for part in ["*", "(", "{", "/:a", "?", "+"] {
        let error = make(&part.repeat(max + 1));
        assert_eq!(error, Err(InvalidSelector::TooComplex), "{part}");
    }
    assert_eq!(
        InvalidSelector::TooComplex.to_string(),
        "the pattern is too complex; at most 64 variables, 128 of the characters `*:({?+`, and \
         groups nested 32 deep are allowed"
    );
    let names: String = (0..max).map(|n| format!("/:a{n}")).collect();
    assert_eq!(make(&names[..200]), Ok(()));
    assert!(matches!(make(&names), Ok(()) | Err(InvalidSelector::TooLarge)));
}

#[test]
fn all_components_of_a_pattern_share_one_limit() {
    let make = |text: &str| Selector::url_pattern(text, None).map(|_| ());
    // Each of these takes less than the limit, and all of them more.
    let part = format!("((?:{})?x)", "abcdefghijklmnopqrstuvwxyz".repeat(2));
    for one in ["https://host/PART", "https://host/?PART", "https://host/#PART"] {
        assert_eq!(make(&one.replace("PART", &part)), Ok(()), "{one}");
    }
    let all = format!("https://host/{part}?{part}#{part}");
    assert_eq!(make(&all), Err(InvalidSelector::TooLarge));
    assert_eq!(
        InvalidSelector::TooLarge.to_string(),
        "the pattern is too large once it is compiled; at most 16384 bytes are allowed"
    );
}

#[test]
fn an_expression_with_too_many_states_is_refused() {
    for text in [
        "https://*/((?:[!-~]{0,30}[a-m]){12}[n-z])",
        "/(.*(?:ab|c).{12})",
        "/((?:(?:a{0,9}){0,9}){0,9})",
    ] {
        assert_eq!(Selector::url_pattern(text, HUB), Err(InvalidSelector::TooLarge), "{text}");
    }
    // Wildcards and repetitions one after the other need no states.
    assert!(matches("/(.*a.{12})", "/xaxaxxxxxxxxxxxx"));
    assert!(matches("/*/comments/*/replies/*/x-*", "/a/comments/b/c/replies/d/e/x-"));
    let all = "abcdefghijklmnopqrstuvwxyz0123456789".repeat(3);
    assert!(matches(&format!("/*{all}*x"), &format!("/x{all}{all}x")));
}

#[test]
fn an_expression_is_matched_by_linear_search() {
    let begin = std::time::Instant::now();
    let topic = Topic::try_from(&*format!("/{}!", "a".repeat(1000))).unwrap();
    for text in
        ["/((?:a+)+)", "/((?:a|a)*)", "/((?:a*)*b)", "/((?:a|aa)+$)", "/:a+:b+:c+/x", "/*a*a*a*b"]
    {
        let selector = Selector::url_pattern(text, HUB).unwrap();
        for _ in 0..100 {
            assert!(!selector.matches(&topic), "{text}");
        }
    }
    assert!(begin.elapsed() < std::time::Duration::from_secs(5));
}

#[tokio::test]
async fn events_that_match_several_url_patterns_are_delivered_once() {
    let sse = Manager::new();
    let hub = |text: &str| Selector::url_pattern(text, HUB).unwrap();
    let _books = sse.subscribe(select(hub("/books/:id")), Start::Now).unwrap();
    let _both = sse.subscribe(select([hub("/books/*"), hub("/:kind/1")]), Start::Now).unwrap();
    let _other = sse.subscribe(select(hub("https://other.example/*")), Start::Now).unwrap();
    let receivers = |topic: &str| {
        let mut receipt = sse.publish(topic, "x").unwrap();
        receipt.try_ack().unwrap().unwrap().receivers
    };
    // The second time the matching patterns are cached.
    for _ in 0..2 {
        assert_eq!(receivers("/books/1"), 2);
        assert_eq!(receivers("https://hub.example/films/1"), 1);
        assert_eq!(receivers("https://other.example/books/1"), 1);
        assert_eq!(receivers("http://[bad"), 0);
    }
}
