//! Draft-07: the cases about tokens.

use super::*;

#[test]
fn m07_002_a_star_matches_everything() {
    assert!(covers("*", "a") && covers("*", BOOK_1) && covers("*", "{"));
}

#[test]
fn m07_003_equal_texts_match_even_if_they_are_templates() {
    assert!(covers("a", "a") && covers(BOOKS, BOOKS));
}

#[test]
fn m07_004_a_template_matches_its_expansions() {
    assert!(covers(BOOKS, BOOK_1));
    assert!(!covers(BOOKS, "https://example.com/books/1/2"));
}

#[test]
fn m07_005_text_that_is_not_a_template_is_compared_as_text() {
    assert!(covers("a{", "a{") && covers("{}", "{}"));
    assert!(!covers("a{", "a") && !covers("a", "b"));
}

#[test]
fn m07_023_only_a_valid_compact_jws_is_accepted() {
    let token = draft_07_token(&mercure(&["*"]));
    assert!(hub().publisher(&token).is_ok());
    assert!(is_invalid(hub().publisher(&draft_07_token_by(OTHER_SECRET, &mercure(&["*"])))));
    assert!(is_invalid(hub().subscriber(r#"{"signatures":[]}"#)));
}

#[test]
fn m07_025_the_header_takes_precedence_over_query_and_cookie() {
    let (first, second) = (draft_07_token(&mercure(&["1"])), draft_07_token(&mercure(&["2"])));
    let headers = [("authorization", &*bearer(&first)), ("cookie", &cookie(COOKIE_07, &second))];
    let path = format!("/events?authorization={second}");
    let reader = reads(&hub(), &path, &headers).unwrap();
    assert!(reader.may_read(&topic("1")) && !reader.may_read(&topic("2")));
    assert_eq!(reader.token_location(), Some(TokenLocation::Header));
}

#[test]
fn m07_026_query_and_cookie_are_ignored_if_there_is_a_header() {
    let good = draft_07_token(&mercure(&["*"]));
    let path = |token: &str| format!("/events?authorization={token}");
    let headers = |header: &str, other: &str| {
        [("authorization", bearer(header)), ("cookie", cookie(COOKIE_07, other))]
    };
    let read = |header: &str, other: &str| {
        let headers = headers(header, other);
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        reads(&hub(), &path(other), &headers)
    };
    assert!(read(&good, "bad").is_ok());
    assert!(is_invalid(read("bad", &good)));
}

#[test]
fn m07_027_the_query_is_used_without_a_header() {
    let path = format!("/events?topic=a&authorization={}", draft_07_token(&mercure(&["*"])));
    let reader = reads(&hub(), &path, &[]).unwrap();
    assert_eq!(reader.dialect(), Some(Dialect::Draft07));
    assert!(is_invalid(reads(&hub(), "/events?authorization=bad", &[])));
}

#[test]
fn m07_028_the_cookie_is_ignored_if_there_is_a_query_token() {
    let good = draft_07_token(&mercure(&["*"]));
    let path = format!("/events?authorization={good}");
    assert!(reads(&hub(), &path, &[("cookie", &cookie(COOKIE_07, "bad"))]).is_ok());
    let headers = [("cookie", &*cookie(COOKIE_07, &good))];
    assert!(is_invalid(reads(&hub(), "/events?authorization=bad", &headers)));
}

#[test]
fn m07_029_what_a_valid_token_does_not_allow_is_forbidden() {
    let publisher = hub().publisher(&draft_07_token(&mercure(&[]))).unwrap();
    assert_eq!(told(&publisher.forbidden()).0, 403);
    let reader = hub().subscriber(&draft_07_token(&mercure(&[]))).unwrap();
    assert_eq!(told(&reader.forbidden()).0, 403);
}

#[test]
fn m07_030_other_forms_of_the_header_are_refused() {
    let token = draft_07_token(&mercure(&["*"]));
    let forms = [
        token.clone(),
        format!("Bearer  {token}"),
        format!("Bearer{token}"),
        format!("Bearer\t{token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},Bearer {token}"),
        format!("Basic {token}"),
        format!("Bearer: {token}"),
        "Bearer".to_owned(),
    ];
    for form in &forms {
        let error = publishes(&hub(), &[("authorization", form)]).unwrap_err();
        assert_eq!(told(&error), (400, "invalid_request".to_owned()), "{form}");
    }
    let twice = [("authorization", &*bearer(&token)), ("authorization", &bearer(&token))];
    assert_eq!(told(&publishes(&hub(), &twice).unwrap_err()).0, 400);
    let path = format!("/events?authorization={token}&authorization={token}");
    assert_eq!(told(&reads(&hub(), &path, &[]).unwrap_err()).0, 400);
    let cookies = format!("{COOKIE_07}={token}; {COOKIE_07}={token}");
    assert_eq!(told(&reads(&hub(), "/events", &[("cookie", &cookies)]).unwrap_err()).0, 400);
}

#[test]
fn m07_031_a_cookie_carries_a_token() {
    let token = draft_07_token(&mercure(&["*"]));
    for value in [cookie(COOKIE_07, &token), format!("{COOKIE_07}=\"{token}\"")] {
        let reader = reads(&hub(), "/events", &[("cookie", &value)]).unwrap();
        assert_eq!(reader.token_location(), Some(TokenLocation::Cookie));
    }
    let near = format!("x{COOKIE_07}={token}; {COOKIE_07}x={token}; MERCUREAUTHORIZATION=a");
    let error = reads(&hub(), "/events", &[("cookie", &near)]).unwrap_err();
    assert_eq!(told(&error), (401, String::new()), "other cookies");

    let named = TestAuthority::new(&["--cookie-name", "events"]);
    assert!(reads(&named, "/events", &[("cookie", &cookie("events", &token))]).is_ok());
    let error = reads(&named, "/events", &[("cookie", &cookie(COOKIE_07, &token))]).unwrap_err();
    assert_eq!(told(&error), (401, String::new()), "one name at a time");
    let both = format!("{COOKIE_08}={}; events={token}", grants(json!([{"match": "new"}])));
    let reader = reads(&named, "/events", &[("cookie", &both)]).unwrap();
    assert!(reader.may_read(&topic("new")), "that of draft-08 has its name and goes first");
}

#[test]
fn m07_032_a_token_in_the_query_is_known_as_such() {
    let path = format!("/events?authorization={}", draft_07_token(&mercure(&["*"])));
    let reader = reads(&hub(), &path, &[]).unwrap();
    assert_eq!(reader.token_location(), Some(TokenLocation::Query));
}

#[test]
fn m07_033_only_the_mercure_claim_grants_publishing() {
    let allows = |claims: Value| {
        hub().publisher(&draft_07_token(&claims)).unwrap().may_publish(&[topic("a")])
    };
    assert!(allows(json!({"mercure": {"publish": ["a"]}})));
    assert!(allows(json!({"https://mercure.rocks/": {"publish": ["a"]}})));
    let preferred = json!({"https://mercure.rocks/": {}, "mercure": {"publish": ["a"]}});
    assert!(!allows(preferred), "the one with the longer name is preferred");
    assert!(!allows(json!({"publish": ["a"]})));
    assert!(!allows(json!({"mercure": {"subscribe": ["a"]}})));
    assert!(!allows(json!({"authorization_details": [detail(json!([{"match": "a"}]))]})));
}

#[test]
fn m07_034_without_selectors_nothing_may_be_published() {
    for claims in [json!({}), json!({"mercure": {}}), mercure(&[])] {
        let publisher = hub().publisher(&draft_07_token(&claims)).unwrap();
        assert!(!publisher.may_publish(&[topic("a")]));
        assert!(!publisher.may_publish(&[]));
    }
}

#[test]
fn m07_035_every_topic_must_match_a_selector() {
    let publisher = hub().publisher(&draft_07_token(&mercure(&[BOOKS, "a"]))).unwrap();
    assert!(publisher.may_publish(&[topic(BOOK_1), topic("a")]));
    assert!(!publisher.may_publish(&[]), "everybody is more than these");
    assert!(hub().publisher(&draft_07_token(&mercure(&["*"]))).unwrap().may_publish(&[]));
}

#[test]
fn m07_036_a_grant_for_some_of_the_topics_is_not_enough() {
    let publisher = hub().publisher(&draft_07_token(&mercure(&["a"]))).unwrap();
    assert!(!publisher.may_publish(&[topic("a"), topic("b")]));
}

#[test]
fn m07_037_a_topic_without_a_grant_is_403_and_not_401() {
    let publisher = hub().publisher(&draft_07_token(&mercure(&["a"]))).unwrap();
    assert_eq!(told(&publisher.forbidden()), (403, "insufficient_scope".to_owned()));
}

#[test]
fn m07_038_a_grant_allows_reading_private_events() {
    assert!(covers("a", "a"));
}

#[test]
fn m07_039_without_a_grant_no_private_event_may_be_read() {
    let open = TestAuthority::new(&["--anonymous"]);
    assert!(reads(&open, "/events", &[]).unwrap().grants().is_empty());
    for claims in [json!({}), json!({"mercure": {"publish": ["*"]}}), mercure(&["b"])] {
        assert!(!hub().subscriber(&draft_07_token(&claims)).unwrap().may_read(&topic("a")));
    }
}

#[test]
fn m07_040_a_stream_ends_with_its_token() {
    let token = draft_07_token(&json!({"exp": NOW + 7, "mercure": {"subscribe": ["*"]}}));
    let end = UNIX_EPOCH + Duration::from_secs(NOW + 7);
    assert_eq!(hub().subscriber(&token).unwrap().expires_at(), Some(end));
    let endless = hub().subscriber(&draft_07_token(&mercure(&["*"]))).unwrap();
    assert_eq!(endless.expires_at(), None);
}

#[test]
fn m07_041_only_the_mercure_claim_grants_private_events() {
    let claims = json!({"subscribe": ["*"], "mercure": {"publish": ["*"]}});
    assert!(hub().subscriber(&draft_07_token(&claims)).unwrap().grants().is_empty());
}

#[test]
fn m07_042_one_grant_on_one_topic_suffices() {
    let reader = hub().subscriber(&draft_07_token(&mercure(&["x", "b"]))).unwrap();
    assert!([topic("a"), topic("b")].iter().any(|it| reader.may_read(it)));
}

#[test]
fn m07_043_the_grant_need_not_cover_what_was_subscribed_to() {
    let reader = hub().subscriber(&draft_07_token(&mercure(&["alternate"]))).unwrap();
    assert!(reader.may_read(&topic("alternate")) && !reader.may_read(&topic(BOOK_1)));
}

#[test]
fn m07_044_the_payload_belongs_to_each_subscription() {
    for payload in [json!({"user": 1}), json!("text"), json!([1]), json!(false)] {
        let claims = json!({"mercure": {"subscribe": [], "payload": payload}});
        let reader = hub().subscriber(&draft_07_token(&claims)).unwrap();
        assert_eq!(reader.payload("a"), Some(&payload));
        assert_eq!(reader.payload(BOOKS), Some(&payload));
    }
    assert_eq!(hub().subscriber(&draft_07_token(&mercure(&["a"]))).unwrap().payload("a"), None);
}

#[test]
fn m07_065_the_subscription_api_is_a_topic_like_others() {
    let all = "/.well-known/mercure/subscriptions{/topic}{/subscriber}";
    let reader = hub().subscriber(&draft_07_token(&mercure(&[all]))).unwrap();
    assert!(reader.may_read(&topic("/.well-known/mercure/subscriptions")));
    assert!(reader.may_read(&topic("/.well-known/mercure/subscriptions/a/b")));
    assert!(!reader.may_read(&topic("/.well-known/mercure")));
}

#[test]
fn m07_076_a_cookie_alone_does_not_publish() {
    let token = draft_07_token(&mercure(&["*"]));
    assert!(publishes(&hub(), &[("cookie", &cookie(COOKIE_07, &token))]).is_err());
}

#[test]
fn m07_077_the_page_must_be_of_an_allowed_origin() {
    let hub = TestAuthority::new(&["--publish-origin", "https://app.example"]);
    let cookie = cookie(COOKIE_07, &draft_07_token(&mercure(&["*"])));
    let from = |name: &str, value: &str| publishes(&hub, &[("cookie", &cookie), (name, value)]);
    assert!(from("origin", "https://app.example").is_ok());
    assert!(from("origin", "https://hub.example").is_ok(), "the hub's own");
    assert!(from("referer", "https://app.example/page?a=b").is_ok());
    for origin in [
        "null",
        "*",
        "",
        "https://evil.example",
        "http://app.example",
        "app.example",
        "https://app.example:8443",
        "https://app.example.evil",
        "https://evilapp.example",
        "https://app.example@evil.example",
        "https://app.example/",
        "https://APP.example.",
    ] {
        assert!(from("origin", origin).is_err(), "{origin}");
    }
    assert!(from("referer", "https://evil.example/https://app.example").is_err());
    let both = [
        ("cookie", &*cookie),
        ("origin", "https://evil.example"),
        ("referer", "https://app.example/"),
    ];
    assert!(publishes(&hub, &both).is_err(), "the header Origin decides");
    let twice = [
        ("cookie", &*cookie),
        ("origin", "https://app.example"),
        ("origin", "https://evil.example"),
    ];
    assert!(publishes(&hub, &twice).is_err());
}

#[test]
fn m07_078_without_origin_and_referer_a_cookie_does_not_publish() {
    let token = draft_07_token(&mercure(&["*"]));
    let cookie = cookie(COOKIE_07, &token);
    let error = publishes(&hub(), &[("cookie", &cookie)]).unwrap_err();
    assert_eq!(told(&error), (400, "invalid_request".to_owned()));
    for method in ["GET", "HEAD"] {
        let request = request(method, "/events", &[("cookie", &cookie)]);
        assert!(hub().authority.subscriber(&request).is_ok(), "{method} changes nothing");
    }
}
