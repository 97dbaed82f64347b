//! Pages in Chromium, in both drafts.

use std::time::Duration;

use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use crate::dialect::{DIALECTS, DRAFT_07, DRAFT_08, Dialect, KEY};
use crate::hub::{Hub, say};
use crate::page::Page;
use crate::proxy::Proxy;

const MERCURE: &str = "/.well-known/mercure";

fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// The path of a stream of the topic `news` in this dialect.
fn news(dialect: Dialect, more: &str) -> String {
    format!("{MERCURE}?{}=news{more}", dialect.exact)
}

#[tokio::test]
async fn an_event_arrives_as_it_was_published() {
    let hub = Hub::open().await;
    let page = Page::of(&hub.origin()).await;
    for dialect in DIALECTS {
        page.open(&hub.origin()).await;
        page.listen(&hub.url(&news(dialect, "")), &["price-update", "日本"]).await;
        let texts =
            ["", " ", "\n", "\n\n  a\n b\n\n", ": no comment", "data: x\n\nid: y", "🦀 \u{feff}"];
        let mut expected = Vec::new();
        for (number, text) in texts.into_iter().enumerate() {
            let id = format!("id-[\"{}/{number}\"]", dialect.name);
            let fields = [("topic", "news"), ("data", text), ("id", &id), ("type", "price-update")];
            let answer = page.publish(&hub.url(MERCURE), &fields, None).await;
            assert_eq!(answer["body"].as_str(), Some(id.as_str()), "{answer}");
            expected.push(json!({"type": "price-update", "data": text, "id": id}));
        }
        let fields = [("topic", "news"), ("data", "no id"), ("type", "日本")];
        let answer = page.publish(&hub.url(MERCURE), &fields, None).await;
        expected.push(json!({"type": "日本", "data": "no id", "id": answer["body"]}));
        page.until("of('日本').length > 0").await;
        assert_eq!(page.eval("seen").await, json!(expected), "draft-{}", dialect.name);
    }
}

#[tokio::test]
async fn a_page_reads_several_topics_and_patterns_on_one_stream() {
    let hub = Hub::open().await;
    let page = Page::of(&hub.origin()).await;
    for dialect in DIALECTS {
        page.open(&hub.origin()).await;
        let books = format!("&{}={}", dialect.pattern, encode(dialect.books()));
        page.listen(&hub.url(&news(dialect, &format!("&{}=weather{books}", dialect.exact))), &[])
            .await;
        for (topic, data) in [
            ("sports", "not this"),
            ("news", "1"),
            ("https://example.com/books/1/2", "nor this"),
            ("https://example.com/books/1", "2"),
            ("weather", "3"),
        ] {
            hub.publish(&[("topic", topic), ("data", data)]).await;
        }
        page.until_message("3").await;
        assert_eq!(page.eval("messages()").await, json!(["1", "2", "3"]), "draft-{}", dialect.name);
    }
    // One update with several topics is delivered once.
    page.open(&hub.origin()).await;
    page.listen(&hub.url(&news(DRAFT_07, "&topic=weather")), &[]).await;
    hub.publish(&[("topic", "weather"), ("topic", "news"), ("data", "both")]).await;
    hub.publish(&[("topic", "news"), ("data", "end")]).await;
    page.until_message("end").await;
    assert_eq!(page.eval("messages()").await, json!(["both", "end"]));
}

#[tokio::test]
async fn a_page_begins_after_the_id_in_its_address() {
    let hub = Hub::open().await;
    let mut ids = Vec::new();
    for data in ["1", "2", "3"] {
        ids.push(hub.publish(&[("topic", "news"), ("data", data)]).await);
    }
    let page = Page::of(&hub.origin()).await;
    for dialect in DIALECTS {
        let from = |id: &str| news(dialect, &format!("&{}={}", dialect.last_event_id, encode(id)));
        for (id, expected, answered) in [
            (ids[0].as_str(), json!(["2", "3"]), ids[0].as_str()),
            ("earliest", json!(["1", "2", "3"]), "earliest"),
            ("nobody's id", json!(["1", "2", "3"]), "earliest"),
        ] {
            page.open(&hub.origin()).await;
            page.listen(&hub.url(&from(id)), &[]).await;
            page.until_message("3").await;
            assert_eq!(page.eval("messages()").await, expected, "{id} in draft-{}", dialect.name);
            let header = format!(
                "fetch({}).then((it) => it.headers.get('{}'))",
                json!(hub.url(&from(id))),
                dialect.answered_id,
            );
            assert_eq!(page.eval(&header).await, answered, "{id} in draft-{}", dialect.name);
        }
    }
}

#[tokio::test]
async fn a_page_that_was_cut_off_gets_what_it_missed() {
    let hub = Hub::open().await;
    let page = Page::of(&hub.origin()).await;
    for dialect in DIALECTS {
        let proxy = Proxy::to(hub.address()).await;
        page.open(&hub.origin()).await;
        page.listen(&proxy.url(&news(dialect, "")), &[]).await;
        hub.publish(&[("topic", "news"), ("data", "before")]).await;
        page.until_message("before").await;

        for visit in 2..=4 {
            let last_id = page.eval("seen.at(-1).id").await;
            proxy.hold_requests();
            proxy.cut_connections();
            hub.publish(&[("topic", "news"), ("data", &format!("{visit}: away"))]).await;
            let request = proxy.request(visit).await;
            assert_eq!(request.last_event_id(), last_id.as_str(), "visit {visit}");
            hub.publish(&[("topic", "news"), ("data", &format!("{visit}: at the gate"))]).await;
            proxy.forward_requests();
            page.until(&format!("opened === {visit}")).await;
            let live = format!("{visit}: live");
            hub.publish(&[("topic", "news"), ("data", &live)]).await;
            page.until_message(&live).await;
        }
        let visits = (2..=4).flat_map(|visit| {
            ["away", "at the gate", "live"].map(|what| json!(format!("{visit}: {what}")))
        });
        let expected: Value = [json!("before")].into_iter().chain(visits).collect();
        assert_eq!(page.eval("messages()").await, expected, "draft-{}", dialect.name);
        page.eval("source.close()").await;
    }
}

#[tokio::test]
async fn a_page_sees_the_gap_when_the_hub_was_killed() {
    let mut hub = Hub::open().await;
    let page = Page::of(&hub.origin()).await;
    for path in ["/events?", "/.well-known/mercure?control=on&"] {
        for dialect in DIALECTS {
            page.open(&hub.origin()).await;
            page.listen(&hub.url(&format!("{path}{}=news", dialect.exact)), &[]).await;
            let mut fields = vec![("topic", "news"), ("data", "before")];
            // A position has the epoch that it is of; a publisher's id has none.
            let (id, reason) = if dialect.is_old() { ("", "epoch") } else { ("mine", "unknown") };
            if !id.is_empty() {
                fields.push(("id", id));
            }
            let id = hub.publish(&fields).await;
            page.until_message("before").await;

            hub = hub.kill_and_restart().await;
            page.until("of('prism.gap').length === 1").await;
            hub.publish(&[("topic", "news"), ("data", "after")]).await;
            page.until_message("after").await;

            let gap = page.eval("JSON.parse(of('prism.gap')[0].data)").await;
            assert_eq!(gap["reason"], reason, "{path} {gap}");
            assert_eq!(gap["after"].as_str(), Some(id.as_str()), "{path} {gap}");
            assert_eq!(page.eval("messages()").await, json!(["before", "after"]));
            let gave_up = "failed.some((state) => state !== EventSource.CONNECTING)";
            assert_eq!(page.eval(gave_up).await, false);
            page.eval("source.close()").await;
        }
    }
}

/// A page of the Mercure protocol reconnects as well, and gets no control event.
#[tokio::test]
async fn a_page_of_mercure_comes_back_when_the_hub_was_killed() {
    let hub = Hub::open().await;
    let page = Page::of(&hub.origin()).await;
    page.listen(&hub.url(&news(DRAFT_07, "")), &[]).await;
    hub.publish(&[("topic", "news"), ("data", "before")]).await;
    page.until_message("before").await;
    let hub = hub.kill_and_restart().await;
    page.until("opened === 2").await;
    hub.publish(&[("topic", "news"), ("data", "after")]).await;
    page.until_message("after").await;
    assert_eq!(page.eval("seen.map((event) => event.data)").await, json!(["before", "after"]));
}

/// Chromium's default reconnection time.
const DEFAULT_OF_CHROMIUM: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_page_comes_back_when_an_event_told_it_to() {
    const LATE: Duration = Duration::from_secs(5);
    let hub = Hub::open().await;
    let proxy = Proxy::to(hub.address()).await;
    let page = Page::of(&hub.origin()).await;
    page.listen(&proxy.url(&news(DRAFT_07, "")), &[]).await;

    // By the hub. A stalled machine can delay an attempt; it will not delay all three.
    let mut times_away = Vec::new();
    for visit in 2..=4 {
        page.until(&format!("opened === {}", visit - 1)).await;
        let left = proxy.cut_connections();
        times_away.push(proxy.request(visit).await.at - left);
        if times_away.iter().any(|away| *away < DEFAULT_OF_CHROMIUM) {
            break;
        }
    }
    assert!(times_away.iter().all(|away| *away >= Duration::from_millis(300)), "{times_away:?}");
    assert!(times_away.iter().any(|away| *away < DEFAULT_OF_CHROMIUM), "{times_away:?}");

    // By a publisher. The page has sent its request, and may not have the stream yet.
    let visit = proxy.request_count();
    page.until(&format!("opened === {visit}")).await;
    hub.publish(&[("topic", "news"), ("data", "come back late"), ("retry", "5000")]).await;
    page.until_message("come back late").await;
    let left = proxy.cut_connections();
    let away = proxy.request(visit + 1).await.at - left;
    assert!(away >= LATE, "told to wait {LATE:?}, the page was back after {away:?}");
}

/// A page of another origin on the same site, as that of an application beside its hub.
struct Elsewhere {
    hub: Hub,
    allowed: Hub,
    other: Hub,
}

impl Elsewhere {
    async fn new() -> Self {
        // Any server will do: its origin alone matters.
        let (allowed, other) = (Hub::open().await, Hub::open().await);
        let origin = allowed.origin();
        let hub = Hub::serve(&[
            "--publisher-key",
            KEY,
            "--subscriber-key",
            KEY,
            "--anonymous",
            "--cors-origin",
            &origin,
            "--publish-origin",
            &origin,
        ])
        .await;
        Self { hub, allowed, other }
    }
}

#[tokio::test]
async fn private_updates_reach_the_page_whose_cookie_allows_them() {
    let Elsewhere { hub, allowed, other } = Elsewhere::new().await;
    let token = say(&["token", "--key", KEY, "--publish", "*", "--subscribe", "news"]);
    let credentials = json!({"withCredentials": true});
    let url = hub.url(&news(DRAFT_07, "&topic=weather"));
    let page = Page::of(&allowed.origin()).await;

    // The page has no cookie yet.
    page.call("listen", &[json!(url), json!([]), credentials.clone()]).await;
    page.until("opened === 1").await;
    let publish = async |fields: &[(&str, &str)]| {
        page.publish(&hub.url(MERCURE), fields, Some(&token)).await["status"].clone()
    };
    assert_eq!(publish(&[("topic", "news"), ("data", "secret"), ("private", "on")]).await, 200);
    assert_eq!(publish(&[("topic", "news"), ("data", "public")]).await, 200);
    page.until_message("public").await;
    assert_eq!(page.eval("messages()").await, json!(["public"]));

    // With the cookie it receives private updates of one topic alone.
    page.open(&allowed.origin()).await;
    let cookie = json!(format!("{}={token}; Path={MERCURE}", DRAFT_07.cookie()));
    page.eval(&format!("document.cookie = {cookie}")).await;
    page.call("listen", &[json!(url), json!([]), credentials.clone()]).await;
    page.until("opened === 1").await;
    assert_eq!(publish(&[("topic", "weather"), ("data", "storm"), ("private", "on")]).await, 200);
    assert_eq!(publish(&[("topic", "news"), ("data", "secret"), ("private", "on")]).await, 200);
    assert_eq!(publish(&[("topic", "news"), ("data", "public")]).await, 200);
    page.until_message("public").await;
    assert_eq!(page.eval("messages()").await, json!(["secret", "public"]));

    // The cookie publishes from this page's origin, and from no other.
    let with_cookie = json!({"credentials": "include"});
    let fields = json!([["topic", "news"], ["data", "by cookie"], ["private", "on"]]);
    let arguments = [json!(hub.url(MERCURE)), fields, json!(null), with_cookie];
    assert_eq!(page.call("publish", &arguments).await["status"], 200);
    page.until_message("by cookie").await;

    page.open(&other.origin()).await;
    page.call("listen", &[json!(url), json!([]), credentials]).await;
    page.until("failed.length > 0").await;
    assert_eq!(page.eval("failed").await, json!([2]), "EventSource.CLOSED");
    assert_eq!(page.eval("opened").await, 0);
    let arguments: Vec<String> = arguments.iter().map(Value::to_string).collect();
    let refused = format!("publish({}).catch((error) => error.name)", arguments.join(", "));
    assert_eq!(page.eval(&refused).await, "TypeError", "the page may not read the answer");

    // The refused update was not published: the page receives the next one first.
    page.open(&allowed.origin()).await;
    let from = format!("{url}&lastEventID=earliest");
    page.call("listen", &[json!(from), json!([]), json!({"withCredentials": true})]).await;
    page.until_message("by cookie").await;
    assert_eq!(publish(&[("topic", "news"), ("data", "end")]).await, 200);
    page.until_message("end").await;
    let expected = json!(["secret", "public", "secret", "public", "by cookie", "end"]);
    assert_eq!(page.eval("messages()").await, expected);
}

#[tokio::test]
async fn a_page_elsewhere_reads_headers_that_say_where_it_stands() {
    let Elsewhere { hub, allowed, .. } = Elsewhere::new().await;
    let page = Page::of(&allowed.origin()).await;
    for dialect in [DRAFT_07, DRAFT_08] {
        let url = hub.url(&news(dialect, &format!("&{}=gone", dialect.last_event_id)));
        let header = format!(
            "fetch({}, {{ headers: {{ 'Last-Event-ID': 'gone', 'Cache-Control': 'no-cache' }} }})\
             .then((it) => [it.status, it.headers.get('{}')])",
            json!(url),
            dialect.answered_id,
        );
        assert_eq!(page.eval(&header).await, json!([200, "earliest"]));
    }
}
