//! Draft-08: how a request carries its token, and the answer to one that is refused.

use super::*;

#[test]
fn m08_072_nobody_publishes_without_a_token() {
    let error = publishes(&TestAuthority::new(&["--anonymous"]), &[]).unwrap_err();
    assert_eq!(error.status(), 401);
}

#[test]
fn m08_073_an_anonymous_subscriber_has_no_grants() {
    let reader = reads(&TestAuthority::new(&["--anonymous"]), "/events", &[]).unwrap();
    assert!(reader.is_anonymous() && reader.grants().is_empty());
    assert_eq!(reads(&hub(), "/events", &[]).unwrap_err().status(), 401);
}

#[test]
fn m08_075_both_roles_have_the_same_checks() {
    let expired = changed("exp", json!(NOW));
    assert!(is_invalid(hub().publisher(&expired)) && is_invalid(hub().subscriber(&expired)));
}

#[test]
fn m08_076_publishers_and_subscribers_have_keys_of_their_own() {
    let hub = TestAuthority::of(&["--publisher-key", SECRET, "--subscriber-key", OTHER_SECRET]);
    let (publisher, reader) = (
        draft_07_token_by(SECRET, &mercure(&["*"])),
        draft_07_token_by(OTHER_SECRET, &mercure(&["*"])),
    );
    assert!(hub.publisher(&publisher).is_ok() && hub.subscriber(&reader).is_ok());
    assert!(hub.publisher(&reader).is_err() && hub.subscriber(&publisher).is_err());
}

#[test]
fn m08_078_dev_mode_is_for_loopback_addresses_only() {
    for flag in ["--listen", "--admin-listen"] {
        for address in ["0.0.0.0:8080", "192.168.1.1:80", "[::]:8080"] {
            let error = TestAuthority::try_of(&["--dev", flag, address]).err().unwrap();
            assert!(error.contains("can be reached from elsewhere"), "{error}");
        }
    }
    assert!(publishes(&TestAuthority::of(&["--dev"]), &[]).unwrap().may_publish(&[]));
}

#[test]
fn m08_079_a_draft_08_token_in_the_query_is_ignored() {
    let token = grants(json!([{"match": "*"}]));
    let open = TestAuthority::new(&["--anonymous"]);
    for name in ["access_token", "authorization"] {
        let path = format!("/events?{name}={token}");
        assert!(reads(&open, &path, &[]).unwrap().is_anonymous());
        let error = reads(&hub(), &path, &[]).unwrap_err();
        assert_eq!(told(&error), (401, String::new()), "as if it had none");
        let headers = [("cookie", &*cookie(COOKIE_08, &token))];
        assert!(!reads(&hub(), &path, &headers).unwrap().is_anonymous(), "the cookie counts");
    }
    let strict = TestAuthority::new(&["--compat-draft-07", "off"]);
    let path = format!("/events?authorization={}", draft_07_token(&mercure(&["*"])));
    assert_eq!(told(&reads(&strict, &path, &[]).unwrap_err()), (401, String::new()));
}

#[test]
fn m08_081_the_header_takes_precedence_over_the_cookie() {
    let (first, second) = (grants(json!([{"match": "1"}])), grants(json!([{"match": "2"}])));
    let headers = [("authorization", &*bearer(&first)), ("cookie", &cookie(COOKIE_08, &second))];
    assert!(reads(&hub(), "/events", &headers).unwrap().may_read(&topic("1")));
}

#[test]
fn m08_082_a_bad_cookie_is_ignored_if_there_is_a_header() {
    let good = grants(json!([{"match": "*"}]));
    let headers = [("authorization", &*bearer(&good)), ("cookie", &cookie(COOKIE_08, "bad"))];
    assert!(publishes(&hub(), &headers).is_ok());
}

#[test]
fn m08_083_the_cookie_is_used_without_a_header() {
    let headers = [("cookie", &*cookie(COOKIE_08, &grants(json!([{"match": "*"}]))))];
    let reader = reads(&hub(), "/events", &headers).unwrap();
    assert_eq!(reader.dialect(), Some(Dialect::Draft08));
    let headers = [("cookie", &*cookie(COOKIE_08, "bad"))];
    assert!(is_invalid(reads(&hub(), "/events", &headers)));
}

#[test]
fn m08_084_the_scheme_is_bearer_in_any_case() {
    let token = grants(json!([{"match": "*"}]));
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert!(publishes(&hub(), &[("authorization", &format!("{scheme} {token}"))]).is_ok());
    }
}

#[test]
fn m08_086_the_cookie_has_the_secure_prefix() {
    assert_eq!(COOKIE_08, "__Secure-mercure_access_token");
    let (new, old) = (grants(json!([{"match": "new"}])), draft_07_token(&mercure(&["old"])));
    let both = format!("{COOKIE_07}={old}; {COOKIE_08}={new}");
    let reader = reads(&hub(), "/events", &[("cookie", &both)]).unwrap();
    assert!(reader.may_read(&topic("new")), "it goes before the other");
}

#[test]
fn m08_087_a_missing_token_gets_a_bearer_challenge() {
    let error = publishes(&hub(), &[]).unwrap_err();
    assert_eq!(error.status(), 401);
    assert!(error.challenge().to_str().unwrap().starts_with("Bearer"));
}

#[test]
fn m08_088_the_challenge_for_a_missing_token_has_no_error() {
    let challenge = publishes(&hub(), &[]).unwrap_err().challenge();
    assert!(!challenge.to_str().unwrap().contains("error"));
}

#[test]
fn m08_089_the_challenge_for_a_missing_token_names_the_metadata() {
    let challenge = publishes(&hub(), &[]).unwrap_err().challenge();
    assert_eq!(
        challenge,
        "Bearer resource_metadata=\"https://hub.example\
         /.well-known/oauth-protected-resource/.well-known/mercure\""
    );
    let nowhere = TestAuthority::of(&["--publisher-key", SECRET, "--anonymous"]);
    assert_eq!(publishes(&nowhere, &[]).unwrap_err().challenge(), "Bearer");
}

#[test]
fn t_hdr_1_a_public_url_injects_no_header() {
    let url = "https://hub.example/\"a\r\nb\", error=\"x";
    let hub = TestAuthority::of(&["--publisher-key", SECRET, "--anonymous", "--public-url", url]);
    let challenge = publishes(&hub, &[]).unwrap_err().challenge();
    let challenge = challenge.to_str().unwrap();
    assert_eq!(challenge.matches('"').count(), 2, "{challenge}");
    assert!(!challenge.contains(['\r', '\n', ' ']) || challenge.matches(' ').count() == 1);
}

#[test]
fn m08_090_the_challenge_for_a_refused_token_names_the_metadata() {
    let invalid = hub().publisher("bad").unwrap_err();
    let forbidden = hub().publisher(&draft_08_token(&details(json!([])))).unwrap().forbidden();
    for error in [invalid, forbidden] {
        let challenge = error.challenge();
        assert!(challenge.to_str().unwrap().contains("resource_metadata=\"https://hub."));
    }
}

#[test]
fn m08_091_an_invalid_token_is_refused_even_if_none_is_needed() {
    let open = TestAuthority::new(&["--anonymous"]);
    assert!(is_invalid(open.subscriber("bad")));
    assert!(is_invalid(open.subscriber(&changed("authorization_details", json!("all")))));
}

#[test]
fn m08_092_all_invalid_tokens_get_the_same_answer() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = details(json!([])).to_string();
    let answers: Vec<(AuthError, String)> = [
        changed("exp", json!(NOW)),
        changed("nbf", json!(NOW + 1)),
        changed("aud", json!("a")),
        changed("iss", json!("https://a.example")),
        without("exp"),
        "bad".to_owned(),
        sign(r#"{"alg":"HS256","typ":"at+jwt"}"#, "{}", &key, Algorithm::HS256),
        sign(r#"{"alg":"HS512","typ":"at+jwt"}"#, &claims, &key, Algorithm::HS256),
    ]
    .map(|token| hub().publisher(&token).unwrap_err())
    .map(|error| (error.clone(), error.to_string()))
    .into();
    for (error, text) in &answers {
        assert_eq!(text, "The token is not valid.");
        assert_eq!(error.challenge(), answers[0].0.challenge());
    }
}

#[test]
fn m08_093_an_operation_without_a_grant_is_insufficient_scope() {
    let publisher = hub().publisher(&draft_08_token(&details(json!([])))).unwrap();
    assert_eq!(told(&publisher.forbidden()), (403, "insufficient_scope".to_owned()));
}

#[test]
fn m08_095_a_malformed_authorization_header_is_a_bad_request() {
    let token = grants(json!([{"match": "*"}]));
    for value in [token.clone(), format!("Bearer {token} x"), format!("Basic {token}")] {
        let error = publishes(&hub(), &[("authorization", &value)]).unwrap_err();
        assert_eq!(told(&error), (400, "invalid_request".to_owned()));
    }
    let cookies = format!("{COOKIE_08}={token}; {COOKIE_08}={token}");
    let error = reads(&hub(), "/events", &[("cookie", &cookies)]).unwrap_err();
    assert_eq!(told(&error), (400, "invalid_request".to_owned()));
}

#[test]
fn m08_195_a_cookie_alone_does_not_publish() {
    let cookie = cookie(COOKIE_08, &grants(json!([{"match": "*"}])));
    assert!(publishes(&hub(), &[("cookie", &cookie)]).is_err());
}

#[test]
fn m08_196_the_page_must_be_of_an_allowed_origin() {
    let cookie = cookie(COOKIE_08, &grants(json!([{"match": "*"}])));
    let from = |name: &str, value: &str| {
        publishes(&hub(), &[("cookie", &cookie), (name, value)]).map_err(|it| told(&it))
    };
    assert!(from("origin", "https://hub.example").is_ok());
    assert!(from("referer", "https://hub.example/page").is_ok());
    let refused = (400, "invalid_request".to_owned());
    assert_eq!(from("origin", "https://evil.example").unwrap_err(), refused);
    assert_eq!(from("referer", "https://evil.example/").unwrap_err(), refused);
    assert_eq!(from("x-other", "https://hub.example").unwrap_err(), refused);
}
