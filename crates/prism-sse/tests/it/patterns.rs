//! Patterns as selectors: URI Templates, and URL Patterns with the feature `patterns`.

use futures_util::{FutureExt, StreamExt};
use prism_sse::{
    Audience, Connection, InvalidSelector, Manager, Publication, Selector, Start, Topic,
};

use super::{select, text};

fn topic(text: &str) -> Topic {
    Topic::try_from(text).unwrap()
}

fn template(text: &str) -> Selector {
    Selector::template(text).unwrap()
}

/// The data of everything due now.
fn due(connection: &mut Connection) -> String {
    let mut seen = String::new();
    while let Some(Some(bytes)) = connection.next().now_or_never() {
        seen.push_str(text(&bytes));
    }
    let events = seen.split("\n\n").filter_map(|block| block.rsplit_once("data: "));
    events.map(|(_, data)| data).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_template_gets_what_it_expands_to_and_broadcasts() {
    let sse = Manager::new();
    let mut books = sse.subscribe(select(template("/books/{id}")), Start::Now).unwrap();
    for topic in ["/books/1", "/books/1/pages", "/book/1", "/books/{id}", "/books/"] {
        sse.publish(topic, topic).unwrap();
    }
    sse.broadcast("all").unwrap();
    assert_eq!(due(&mut books), "/books/1 /books/{id} /books/ all");
}

#[tokio::test]
async fn an_event_that_several_selectors_choose_is_delivered_once() {
    let sse = Manager::new();
    let all = [template("/{a}"), template("/{+b}"), Selector::from(topic("/x"))];
    let mut reader = sse.subscribe(select(all), Start::Now).unwrap();
    let mut receipt = sse.publish(["/x", "/y"], "once").unwrap();
    assert_eq!(receipt.try_ack().unwrap().unwrap().receivers, 1);
    assert_eq!(due(&mut reader), "once");
}

#[tokio::test]
async fn a_pattern_grants_what_it_matches() {
    let sse = Manager::new();
    let audience = select("/users/7").grant(template("/users/{id}")).unwrap();
    let _granted = sse.subscribe(audience, Start::Now).unwrap();
    let _public = sse.subscribe(select(template("/users/{id}")), Start::Now).unwrap();
    let secret = |topic: &str| {
        let secret = Publication::new(topic, "secret").unwrap().private();
        sse.append(secret).unwrap().try_ack().unwrap().unwrap().receivers
    };
    assert_eq!(secret("/users/7"), 1);
    assert_eq!(secret("/users/8"), 0);
}

#[test]
fn selectors_are_equal_by_kind_and_text() {
    assert_eq!(template("/{x}"), template("/{x}"));
    assert_ne!(template("/{x}"), template("/{y}"));
    assert_ne!(template("/{x}"), Selector::try_from("/{x}").unwrap());
    assert_eq!(template("/x"), Selector::from(topic("/x")));
    assert_eq!(template("*"), Selector::Any);
    let kinds = ["*", "/x", "/{x}"].map(|text| template(text).kind());
    assert_eq!(kinds, ["any", "exact", "template"]);
    assert_eq!(template("/{x}").to_string(), "/{x}");
    let [one, other] =
        [["/{x}", "/y"], ["/y", "/{x}"]].map(|all| Audience::select(all.map(template)).unwrap());
    assert_eq!(one, other);
}

#[test]
fn what_is_no_pattern_is_refused_with_its_place() {
    let cases = [
        ("/{", "the text is no URI template from byte 1 on"),
        ("/é{x}/{!y}", "the text is no URI template from byte 7 on"),
        ("a b{x}", "the text is no URI template from byte 1 on"),
        ("{a\nb}", "a topic must not contain control characters"),
        ("", "a topic must not be empty"),
    ];
    for (text, message) in cases {
        assert_eq!(Selector::template(text).unwrap_err().to_string(), message);
    }
    let long = "x".repeat(4095) + "{y}";
    assert_eq!(Selector::template(&long), Err(InvalidSelector::TooLong { len: 4098 }));
    let many = "{x}".repeat(65);
    assert_eq!(Selector::template(&many), Err(InvalidSelector::TooComplex));
    template(&many[3..]);
}
