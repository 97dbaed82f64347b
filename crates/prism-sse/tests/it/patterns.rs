//! Patterns as selectors: URI Templates, and URL Patterns with the feature `patterns`.

use futures_util::{FutureExt, StreamExt};
use prism_sse::test::Delayed;
use prism_sse::{
    Audience, Connection, InvalidSelector, Manager, Publication, Retention, Selector, Start,
    SubscribeError, Topic, limits,
};

use super::{select, text};

fn topic(text: &str) -> Topic {
    Topic::try_from(text).unwrap()
}

fn template(text: &str) -> Selector {
    Selector::template(text).unwrap()
}

/// The data of everything that is due now.
fn due(connection: &mut Connection) -> String {
    let mut seen = String::new();
    while let Some(Some(bytes)) = connection.next().now_or_never() {
        seen.push_str(text(&bytes));
    }
    let events = seen.split("\n\n").filter_map(|block| block.rsplit_once("data: "));
    events.map(|(_, data)| data).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_template_selects_its_expansions_and_broadcasts() {
    let sse = Manager::new();
    let mut books = sse.subscribe(select(template("/books/{id}")), Start::Now).unwrap();
    for topic in ["/books/1", "/books/1/pages", "/book/1", "/books/{id}", "/books/"] {
        sse.publish(topic, topic).unwrap();
    }
    sse.broadcast("all").unwrap();
    assert_eq!(due(&mut books), "/books/1 /books/{id} /books/ all");
}

#[tokio::test]
async fn an_event_that_several_selectors_match_is_delivered_once() {
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
fn invalid_patterns_are_refused_with_the_position_of_the_error() {
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

fn with_history() -> Manager {
    Manager::builder().history(Retention::default()).build().unwrap()
}

/// Reads until nothing is due, however many polls that takes.
async fn all(connection: &mut Connection, last: &str) -> Vec<usize> {
    let mut seen = String::new();
    while !seen.contains(last) {
        seen.push_str(text(&connection.next().await.unwrap()));
    }
    seen.lines().filter_map(|line| line.strip_prefix("data: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn a_replay_by_pattern_is_complete_however_far_behind_it_begins() {
    let sse = with_history();
    // The pattern of another reader came into use in the middle of it, and its index has only the
    // newest records.
    for n in 0..4000_usize {
        if n == 1000 {
            let early = sse.subscribe(select(template("/a/{x}")), Start::Now).unwrap();
            std::mem::forget(early);
        }
        let topic = if n.is_multiple_of(3) { format!("/a/{n}") } else { format!("/b/{n}") };
        let publication = Publication::new(&*topic, n.to_string()).unwrap();
        let is_private = n % 2 == 0;
        sse.append(if is_private { publication.private() } else { publication }).unwrap();
    }
    sse.broadcast("end").unwrap();
    for (audience, step) in [
        (select(template("/a/{x}")), 6),
        (select(template("/a/{x}")).grant(template("/a/{+x}")).unwrap(), 3),
        (select(template("/{y}/{x}")).grant(template("/a/{x}")).unwrap(), 0),
    ] {
        let mut reader = sse.subscribe(audience, Start::Oldest).unwrap();
        let (is_chosen, is_public) = (|n: usize| n.is_multiple_of(3), |n: usize| n % 2 == 1);
        let is_read = |n: usize| match step {
            6 => is_chosen(n) && is_public(n),
            3 => is_chosen(n),
            _ => is_chosen(n) || is_public(n),
        };
        let expected: Vec<usize> = (0..4000).filter(|n| is_read(*n)).collect();
        assert_eq!(all(&mut reader, "data: end").await, expected);
    }
}

#[tokio::test]
async fn a_quiet_reader_of_a_pattern_misses_nothing_when_others_events_are_evicted() {
    let retention = Retention::default().count(50);
    let sse = Manager::builder().history(retention).build().unwrap();
    let mut quiet = sse.subscribe(select(template("/quiet/{x}")), Start::Now).unwrap();
    due(&mut quiet);
    for n in 0..1000 {
        sse.publish(format!("/loud/{n}"), "x").unwrap();
    }
    sse.publish("/quiet/1", "one").unwrap();
    assert_eq!(due(&mut quiet), "one", "and no gap");
    // Events that it may not read do not count as missed.
    for n in 0..1000 {
        let secret = Publication::new(format!("/quiet/{n}"), "x").unwrap().private();
        sse.append(secret).unwrap();
    }
    sse.publish("/quiet/1", "two").unwrap();
    assert_eq!(due(&mut quiet), "two", "and no gap");
    for n in 0..60 {
        sse.publish(format!("/quiet/{n}"), "x").unwrap();
    }
    assert_eq!(quiet.next().now_or_never().flatten(), None, "it lost ten, and is disconnected");
    assert_eq!(quiet.close_reason(), Some(prism_sse::CloseReason::Lagged));
}

#[tokio::test]
async fn latest_with_a_pattern_begins_with_the_newest_event_of_each_matching_topic() {
    let sse = with_history();
    for n in 0..30 {
        sse.publish(format!("/a/{}", n % 3), n.to_string()).unwrap();
        sse.publish(format!("/b/{}", n % 3), n.to_string()).unwrap();
    }
    let mut reader = sse.subscribe(select(template("/a/{x}")), Start::Latest).unwrap();
    assert_eq!(due(&mut reader).split(' ').skip(1).collect::<Vec<_>>(), ["27", "28", "29"]);
}

#[tokio::test]
async fn patterns_are_freed_with_their_last_audience() {
    let sse = Manager::new();
    for round in 0..100 {
        let audience = select(template(&format!("/{{x}}/{round}")));
        let mut reader = sse.subscribe(audience, Start::Now).unwrap();
        sse.publish(format!("/a/{round}"), "own").unwrap();
        sse.publish("/a/b", "other").unwrap();
        assert_eq!(due(&mut reader), "own");
    }
    assert_eq!(sse.stats().audiences, 0);
    let mut nobody = sse.publish("/a/7", "x").unwrap();
    assert_eq!(nobody.try_ack().unwrap().unwrap().receivers, 0);
}

#[tokio::test]
async fn the_index_of_a_pattern_is_emptied_when_the_order_is_replaced() {
    let engine = Delayed::new();
    let builder = Manager::builder().history(Retention::default().count(2)).engine(engine.clone());
    let sse = builder.build().unwrap();
    let _in_use = sse.subscribe(select(template("/a/{x}")), Start::Now).unwrap();
    let publish = |count: usize| {
        for n in 0..count {
            sse.publish(format!("/a/{n}"), n.to_string()).unwrap();
            engine.apply();
        }
    };
    publish(20);
    engine.begin_epoch(0);
    publish(10);
    let mut ids = sse.subscribe(Audience::everything(), Start::Oldest).unwrap();
    let opening = ids.next().now_or_never().flatten().unwrap();
    let id = text(&opening).lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let (epoch, seq) = id.rsplit_once('.').unwrap();
    assert_eq!(seq, "8", "the newest two are kept");
    for seq in 0..=10 {
        let start = Start::After(format!("{epoch}.{seq}"));
        let mut reader = sse.subscribe(select(template("/a/{x}")), start).unwrap();
        let opening = reader.next().now_or_never().flatten().unwrap();
        assert_eq!(text(&opening).contains("prism.gap"), seq < 8, "{seq}");
    }
}

/// `count` subscriptions with as many templates as one may have, which no index can tell apart.
fn many(sse: &Manager, count: usize, text: impl Fn(usize) -> String) -> Vec<Connection> {
    let subscribe = |begin: usize| {
        let numbers = begin..count.min(begin + limits::SELECTORS_MAX);
        let selectors: Vec<Selector> = numbers.map(|n| template(&text(n))).collect();
        sse.subscribe(select(selectors), Start::Now).unwrap()
    };
    (0..count).step_by(limits::SELECTORS_MAX).map(subscribe).collect()
}

#[tokio::test]
async fn patterns_beyond_the_limit_are_refused() {
    let max = 300;
    let sse = Manager::builder().max_patterns(max).build().unwrap();
    for text in [|n: usize| format!("/{{x{n}}}"), |n: usize| format!("/{n}/{{x}}")] {
        let readers = many(&sse, max, text);
        let one_more = || sse.subscribe(select(template(&text(max))), Start::Now);
        let error = one_more().unwrap_err();
        assert_eq!(error, SubscribeError::TooManyPatterns { max });
        assert_eq!(error.to_string(), "300 patterns are in use; no more are allowed");
        // The limit does not apply to patterns in use, nor to subscriptions that add none.
        let _known = sse.subscribe(select(template(&text(7))), Start::Now).unwrap();
        let _exact = sse.subscribe(Audience::select(["/a"]).unwrap(), Start::Now).unwrap();
        let all = Audience::select([Selector::Any, template(&text(max))]).unwrap();
        let _all = sse.subscribe(all, Start::Now).unwrap();
        drop(readers);
        let _one = one_more().unwrap();
    }
    assert_eq!(sse.stats().audiences, 0, "a refused subscription leaves nothing");
    assert!(Manager::builder().max_patterns(0).build().is_err());
}

#[tokio::test]
async fn patterns_are_limited_by_default() {
    let sse = Manager::new();
    let readers = many(&sse, limits::PATTERNS, |n| format!("/{n}/{{x}}"));
    let one_more = || sse.subscribe(select(template("/more/{x}")), Start::Now);
    let max = limits::PATTERNS;
    assert_eq!(one_more().unwrap_err(), SubscribeError::TooManyPatterns { max });
    drop(readers);
    drop(one_more().unwrap());
}
