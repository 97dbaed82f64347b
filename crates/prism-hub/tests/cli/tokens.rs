//! A hub accepts the tokens that the mode `token` creates.

use prism_hub::auth::{Authority, Clock, Dialect};
use prism_hub::config::Config;
use rustix::process::Signal;

use crate::program::{Running, command, run, run_in};

const SECRET: &str = "a secret of at least 32 bytes, or more";
const ISSUER: &str = "https://issuer.example";
const HUB: &str = "https://hub.example/.well-known/mercure";

fn authority() -> Authority {
    let args = [
        "--publisher-key",
        SECRET,
        "--subscriber-key",
        SECRET,
        "--issuer",
        ISSUER,
        "--public-url",
        "https://hub.example",
    ];
    Authority::new(&Config::from_args(args).unwrap(), Clock::system()).unwrap()
}

fn request(token: &str) -> http::request::Parts {
    let request = http::Request::post("/events").header("authorization", format!("Bearer {token}"));
    request.body(()).unwrap().into_parts().0
}

#[test]
fn a_token_of_draft_07_grants_its_selectors() {
    let output = run(&[
        "token",
        "--key",
        SECRET,
        "--publish",
        "https://example.com/books/{id}",
        "--subscribe",
        "news",
    ]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let request = request(output.out.trim_end());
    let publisher = authority().publisher(&request).unwrap();
    assert_eq!(publisher.dialect(), Some(Dialect::Draft07));
    assert!(publisher.may_publish(&["https://example.com/books/1".try_into().unwrap()]));
    assert!(!publisher.may_publish(&["news".try_into().unwrap()]));
    let subscriber = authority().subscriber(&request).unwrap();
    assert!(subscriber.may_read(&"news".try_into().unwrap()));
    assert!(subscriber.expires_at().is_some());
}

#[test]
fn a_token_of_draft_08_grants_its_selectors() {
    let output = run(&[
        "token",
        "--dialect",
        "08",
        "--key",
        SECRET,
        "--issuer",
        ISSUER,
        "--audience",
        HUB,
        "--publish",
        "urlpattern:https://example.com/books/:id",
        "--subscribe",
        "*",
        "--ttl",
        "5m",
    ]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let request = request(output.out.trim_end());
    let publisher = authority().publisher(&request).unwrap();
    assert_eq!(publisher.dialect(), Some(Dialect::Draft08));
    assert!(publisher.may_publish(&["https://example.com/books/1".try_into().unwrap()]));
    assert!(!publisher.may_publish(&["news".try_into().unwrap()]));
    assert!(authority().subscriber(&request).unwrap().may_read(&"x".try_into().unwrap()));
}

#[test]
fn a_key_may_come_from_a_variable() {
    let output = run_in(&["token", "--key", "env:SIGNING_KEY"], &[("SIGNING_KEY", SECRET)]);
    assert!(authority().publisher(&request(output.out.trim_end())).is_ok());
    let output = run(&["token", "--key", "env:SIGNING_KEY"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.err, "prism-hub: key: the variable SIGNING_KEY is not set, or not UTF-8\n");
}

#[test]
fn a_token_is_signed_with_the_algorithm_of_its_key() {
    let authority = |algorithm: &str| {
        let args = ["--anonymous", "--publisher-key", SECRET, "--publisher-key-alg", algorithm];
        Authority::new(&Config::from_args(args).unwrap(), Clock::system()).unwrap()
    };
    let [with_256, with_512] = [&[][..], &["--key-alg", "HS512"]].map(|more| {
        let output = run(&[&["token", "--key", SECRET, "--publish", "*"], more].concat());
        assert_eq!((output.code, output.err.as_str()), (0, ""));
        request(output.out.trim_end())
    });
    assert!(authority("HS256").publisher(&with_256).is_ok());
    assert!(authority("HS512").publisher(&with_512).is_ok());
    for (allowed, token, found) in [("HS256", &with_512, "HS512"), ("HS512", &with_256, "HS256")] {
        let error = authority(allowed).publisher(token).unwrap_err();
        assert_eq!(error.status(), 401);
        let sentence = format!("the token is signed with {found}; its key allows {allowed}");
        assert_eq!(error.token_error().unwrap().to_string(), sentence);
    }
    let output = run(&["token", "--key", SECRET, "--key-alg", "RS256"]);
    let message = "key-alg: `RS256` is no algorithm of a secret; allowed: HS256, HS384, HS512";
    assert_eq!((output.code, output.err), (1, format!("prism-hub: {message}\n")));
    let output = run(&["token", "--key", SECRET, "--key-alg", "none"]);
    assert_eq!(output.code, 2);
    assert!(output.err.starts_with("prism-hub: --key-alg: `none` is no algorithm; allowed: HS256"));
}

#[test]
fn the_first_token_with_another_algorithm_than_its_key_is_logged() {
    let token = run(&["token", "--key", SECRET, "--key-alg", "HS512", "--publish", "*"]).out;
    let publish = |url: &str| run(&["publish", url, "--topic", "a", "--token", token.trim_end()]);
    let args = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--anonymous"];
    let args = [&args[..], &["--publisher-key", SECRET]].concat();
    for (more, is_accepted) in [(&[][..], false), (&["--publisher-key-alg", "HS512"], true)] {
        let mut hub = Running::start(&mut command(&[&args[..], more].concat()));
        let url = format!("http://{}/events", hub.address("listening on http://"));
        for _ in 0..2 {
            let output = publish(&url);
            assert_eq!(output.code, i32::from(!is_accepted), "{}", output.err);
            assert_eq!(output.err.contains("401"), !is_accepted, "{}", output.err);
        }
        hub.signal(Signal::TERM);
        assert_eq!(hub.wait().code(), Some(0));
        let log = hub.rest_of_err();
        let sentence = "a token was refused: the token is signed with HS512; its key allows HS256";
        assert_eq!(log.matches(sentence).count(), usize::from(!is_accepted), "{log}");
    }
}

#[test]
fn a_missing_argument_of_a_token_is_named() {
    for (args, message) in [
        (&["--dialect", "08"][..], "--issuer: a token of draft-08 needs it"),
        (&["--dialect", "08", "--issuer", ISSUER], "--audience: a token of draft-08 needs it"),
        (&["--ttl", "0s"], "--ttl: at least 1s is needed"),
    ] {
        let output = run(&[&["token", "--key", SECRET], args].concat());
        assert_eq!(output.err, format!("prism-hub: {message}\n"));
        assert_eq!(output.code, 2);
    }
}
