//! Draft-08: what a token grants.

use super::*;
use crate::limits;

fn allows(token: &str, name: &str) -> bool {
    hub().publisher(token).unwrap().may_publish(&[topic(name)])
}

#[test]
fn m08_119_details_of_other_types_are_ignored() {
    for other in [
        json!({"type": "https://mercure.rocks/authorization-detail/", "actions": 1}),
        json!({"type": "HTTPS://MERCURE.ROCKS/authorization-detail"}),
        json!({"type": 7}),
        json!({}),
        json!("text"),
        json!(null),
        json!([]),
    ] {
        let token = draft_08_token(&details(json!([other, detail(json!([{"match": "a"}]))])));
        assert!(allows(&token, "a") && !allows(&token, "b"), "{other}");
    }
}

#[test]
fn m08_120_actions_are_a_list_of_texts() {
    for actions in [json!([]), json!("publish"), json!([1]), json!(null), json!({})] {
        assert!(is_invalid(hub().publisher(&changed_detail("actions", actions))));
    }
}

#[test]
fn m08_121_unknown_actions_are_ignored() {
    let token = changed_detail("actions", json!(["delete", "publish", "Subscribe"]));
    assert!(allows(&token, "a"));
    assert!(hub().subscriber(&token).unwrap().grants().is_empty());
}

#[test]
fn m08_122_topics_are_a_list_of_matchers() {
    for topics in [json!([]), json!("*"), json!({"match": "*"}), json!(null), json!(["*"])] {
        assert!(is_invalid(hub().publisher(&changed_detail("topics", topics))));
    }
}

#[test]
fn m08_123_without_a_grant_there_is_no_right() {
    for token in [draft_08_token(&details(json!([]))), without("authorization_details")] {
        assert!(!allows(&token, "a"));
        assert!(!hub().subscriber(&token).unwrap().may_read(&topic("a")));
    }
}

#[test]
fn m08_124_a_token_s_grants_are_bounded() {
    let names = |range: std::ops::Range<usize>| {
        let matchers = range.map(|n| json!({"match": n.to_string()}));
        json!(matchers.collect::<Vec<_>>())
    };
    let all = limits::GRANTS_MAX;
    // In one grant, and in several.
    assert!(hub().publisher(&grants(names(0..all))).is_ok());
    assert!(is_invalid(hub().publisher(&grants(names(0..all + 1)))));
    let half = all / 2;
    let two = |end: usize| {
        draft_08_token(&details(json!([detail(names(0..half)), detail(names(half..end))])))
    };
    assert!(hub().publisher(&two(all)).is_ok());
    assert!(is_invalid(hub().publisher(&two(all + 1))));
    let one_each: Vec<_> = (0..all + 1).map(|n| detail(names(n..n + 1))).collect();
    assert!(is_invalid(hub().publisher(&draft_08_token(&details(json!(one_each))))));
    // And each text.
    let pattern = |len: usize| {
        let text = format!("/{}", "x".repeat(len - 1));
        grants(json!([{"match": text, "match_type": "urlpattern"}]))
    };
    assert!(hub().publisher(&pattern(limits::SELECTOR_BYTES_MAX)).is_ok());
    assert!(is_invalid(hub().publisher(&pattern(limits::SELECTOR_BYTES_MAX + 1))));
}

#[test]
fn m08_125_more_than_allowed_is_an_invalid_token() {
    let many: Vec<Value> = (0..101).map(|n| json!({"match": n.to_string()})).collect();
    assert!(is_invalid(hub().publisher(&grants(json!(many)))));
    let long = "x".repeat(4097);
    let long = json!([{"match": long, "match_type": "urlpattern"}]);
    assert!(is_invalid(hub().publisher(&grants(long))));
}

#[test]
fn m08_126_one_malformed_grant_makes_the_token_invalid() {
    for payload in [json!("text"), json!([]), json!(1), json!(null)] {
        assert!(is_invalid(hub().subscriber(&changed_detail("payload", payload))));
    }
    let bad = json!([{"match": "https://a.example/(", "match_type": "urlpattern"}]);
    assert!(is_invalid(hub().subscriber(&grants(bad))));
}

#[test]
fn m08_127_valid_grants_do_not_repair_a_malformed_one() {
    let good = detail(json!([{"match": "*"}]));
    let mut bad = good.clone();
    bad["topics"] = json!([]);
    for both in [json!([good, bad]), json!([bad, good])] {
        assert!(is_invalid(hub().publisher(&draft_08_token(&details(both)))));
    }
}

#[test]
fn m08_128_grants_together_cover_the_topics() {
    let token = draft_08_token(&details(json!([
        detail(json!([{"match": "a"}])),
        detail(json!([{"match": "b"}])),
    ])));
    let publisher = hub().publisher(&token).unwrap();
    assert!(publisher.may_publish(&[topic("a"), topic("b")]));
}

#[test]
fn m08_129_a_grant_for_some_of_the_topics_is_not_enough() {
    let publisher = hub().publisher(&grants(json!([{"match": "a"}]))).unwrap();
    assert!(!publisher.may_publish(&[topic("a"), topic("b")]));
}

#[test]
fn m08_130_a_topic_without_a_grant_is_insufficient_scope() {
    let publisher = hub().publisher(&grants(json!([{"match": "a"}]))).unwrap();
    assert_eq!(told(&publisher.forbidden()), (403, "insufficient_scope".to_owned()));
}

#[test]
fn m08_131_a_grant_to_subscribe_allows_reading_private_events() {
    let reader = hub().subscriber(&grants(json!([{"match": "a"}]))).unwrap();
    assert!(reader.may_read(&topic("a")));
}

#[test]
fn m08_132_a_grant_to_publish_allows_no_reading() {
    let token = changed_detail("actions", json!(["publish"]));
    assert!(!hub().subscriber(&token).unwrap().may_read(&topic("a")));
}

#[test]
fn m08_135_a_matcher_has_a_text() {
    for matcher in [json!({}), json!({"match": 1}), json!({"match": null}), json!({"match": ""})] {
        assert!(is_invalid(hub().publisher(&grants(json!([matcher])))));
    }
}

#[test]
fn m08_136_the_types_are_exact_and_urlpattern() {
    for kind in ["exact", "urlpattern"] {
        let topics = json!([{"match": BOOK_1, "match_type": kind}]);
        assert!(allows(&grants(topics), BOOK_1));
    }
    let topics = json!([{"match": "https://example.com/books/:id", "match_type": "urlpattern"}]);
    assert!(allows(&grants(topics), BOOK_1));
    let relative = json!([{"match": "/books/:id", "match_type": "urlpattern"}]);
    assert!(allows(&grants(relative.clone()), "https://hub.example/books/1"));
    assert!(allows(&grants(relative), "/books/1"));
}

#[test]
fn m08_137_an_unknown_match_type_makes_the_token_invalid() {
    for kind in ["regexp", "URLPattern", "Exact", "template", "", "urlpattern "] {
        let topics = json!([{"match": "*", "match_type": kind}]);
        assert!(is_invalid(hub().publisher(&grants(topics))), "{kind}");
    }
    assert!(is_invalid(hub().publisher(&grants(json!([{"match": "*", "match_type": null}])))));
}

#[test]
fn m08_138_without_a_match_type_a_text_matches_exactly() {
    let token = grants(json!([{"match": "https://example.com/:id"}]));
    assert!(allows(&token, "https://example.com/:id"));
    assert!(!allows(&token, "https://example.com/1"));
    assert!(!allows(&grants(json!([{"match": BOOKS}])), BOOK_1), "no template either");
}

#[test]
fn m08_139_a_star_is_everything_under_every_type() {
    for matcher in [
        json!({"match": "*"}),
        json!({"match": "*", "match_type": "exact"}),
        json!({"match": "*", "match_type": "urlpattern"}),
    ] {
        let publisher = hub().publisher(&grants(json!([matcher]))).unwrap();
        assert!(publisher.may_publish(&[topic("not a URL")]) && publisher.may_publish(&[]));
    }
}

#[test]
fn m08_140_a_malformed_matcher_makes_the_token_invalid() {
    for matcher in [json!("*"), json!(1), json!([]), json!(null), json!(["*", "exact"])] {
        assert!(is_invalid(hub().publisher(&grants(json!([matcher])))));
    }
}

#[test]
fn m08_169_the_first_grant_that_covers_a_subscription_has_its_payload() {
    let with = |matcher: &str, payload: Value| {
        let mut detail = detail(json!([{"match": matcher}]));
        detail["payload"] = payload;
        detail
    };
    let mut publishing = with("a", json!({"n": 0}));
    publishing["actions"] = json!(["publish"]);
    let token = draft_08_token(&details(json!([
        publishing,
        with("a", json!({"n": 1})),
        with("a", json!({"n": 2})),
        with("b", json!({"n": 3})),
        detail(json!([{"match": "c"}])),
        with("c", json!({"n": 4})),
    ])));
    let reader = hub().subscriber(&token).unwrap();
    assert_eq!(reader.payload("a"), Some(&json!({"n": 1})));
    assert_eq!(reader.payload("b"), Some(&json!({"n": 3})));
    assert_eq!(reader.payload("c"), None, "the first one has none");
    assert_eq!(reader.payload("d"), None);
}

#[test]
fn m08_170_a_subscription_s_text_counts_as_a_topic() {
    let pattern = "https://example.com/:id";
    let with = |matcher: Value, payload: &str| {
        let mut detail = detail(json!([matcher]));
        detail["payload"] = json!({"from": payload});
        detail
    };
    let token = draft_08_token(&details(json!([
        with(json!({"match": pattern, "match_type": "urlpattern"}), "pattern"),
        with(json!({"match": "exact"}), "exact"),
        with(json!({"match": "*"}), "default"),
        with(json!({"match": "late"}), "hidden"),
    ])));
    let reader = hub().subscriber(&token).unwrap();
    let from = |selector: &str| reader.payload(selector).unwrap()["from"].clone();
    assert_eq!(from(pattern), "pattern");
    assert_eq!(from("exact"), "exact");
    assert_eq!(from("*"), "default");
    assert_eq!(from("late"), "default", "a broad one hides what comes after it");
}

#[test]
fn m08_176_the_subscription_api_is_a_relative_topic() {
    let path = "/.well-known/mercure/subscriptions";
    let token = grants(json!([{"match": path}]));
    assert!(hub().subscriber(&token).unwrap().may_read(&topic(path)));
    let pattern =
        json!([{"match": format!("{path}/:type/:match/:id"), "match_type": "urlpattern"}]);
    let reader = hub().subscriber(&grants(pattern)).unwrap();
    assert!(reader.may_read(&topic(&format!("{path}/exact/a/b"))));
    assert!(!reader.may_read(&topic(path)));
}
