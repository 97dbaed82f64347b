//! What `token` makes is what a hub takes.

use prism_hub::auth::{Authority, Clock, Dialect};
use prism_hub::config::Config;

use crate::program::{run, run_in};

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
fn a_token_of_draft_07_opens_what_it_says() {
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
fn a_token_of_draft_08_opens_what_it_says() {
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
fn what_a_token_needs_is_asked_for() {
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
