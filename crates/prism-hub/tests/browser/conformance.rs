//! Publishing and reading in both dialects, as the public conformance suite does it: an
//! `EventSource` of a page, and a publish by the same page.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::Hub;
use crate::browser::Browser;

const KEY: &str = "!ChangeThisMercureHubJWTSecretKey!";

/// One update, and whether who reads like this gets it.
struct Case {
    name: &'static str,
    /// Parameters of the subscription.
    reads: &'static [(&'static str, &'static str)],
    topics: &'static [&'static str],
    private: bool,
    arrives: bool,
}

const fn case(
    name: &'static str,
    reads: &'static [(&'static str, &'static str)],
    topics: &'static [&'static str],
) -> Case {
    Case { name, reads, topics, private: false, arrives: true }
}

impl Case {
    const fn private(mut self) -> Self {
        self.private = true;
        self
    }

    const fn not(mut self) -> Self {
        self.arrives = false;
        self
    }
}

const STRING: &str = "a string";
const URI: &str = "https://example.net/foo/bar";
const OTHER: &str = "https://example.net/other/bar";
const TEMPLATE: &str = "https://example.net/foo/{id}";
const PATTERN: &str = "https://example.net/foo/:id";

const DRAFT_07: &[Case] = &[
    case("raw string", &[("topic", STRING)], &[STRING]),
    case("multiple topics", &[("topic", STRING)], &["another", STRING]),
    case("multiple topic selectors", &[("topic", "another"), ("topic", STRING)], &[STRING]),
    case("URI", &[("topic", URI)], &[URI]),
    case("URI template", &[("topic", TEMPLATE)], &[URI]),
    case("nonmatching raw string", &[("topic", "another")], &[STRING]).not(),
    case("nonmatching URI", &[("topic", OTHER)], &[URI]).not(),
    case("nonmatching URI template", &[("topic", TEMPLATE)], &[OTHER]).not(),
    case("private raw string", &[("topic", STRING)], &[STRING]).private(),
    case("private URI", &[("topic", URI)], &[URI]).private(),
    case("private URI template", &[("topic", TEMPLATE)], &[URI]).private(),
];

const DRAFT_08: &[Case] = &[
    case("raw string", &[("match", STRING)], &[STRING]),
    case("multiple matchers", &[("match", "another"), ("match_exact", STRING)], &[STRING]),
    case("URI", &[("match", URI)], &[URI]),
    case("URL pattern", &[("match_urlpattern", PATTERN)], &[URI]),
    case("nonmatching raw string", &[("match", "another")], &[STRING]).not(),
    case("nonmatching URI", &[("match", OTHER)], &[URI]).not(),
    case("nonmatching URL pattern", &[("match_urlpattern", PATTERN)], &[OTHER]).not(),
    case("private raw string", &[("match", STRING)], &[STRING]).private(),
    case("private URI", &[("match", URI)], &[URI]).private(),
    case("private URL pattern", &[("match_urlpattern", PATTERN)], &[URI]).private(),
];

#[tokio::test]
async fn the_cases_of_draft_07_pass() {
    let claims = json!({"mercure": {"publish": ["*"], "subscribe": ["*"]}});
    pass(DRAFT_07, &token("JWT", &claims), "mercureAuthorization", "topic").await;
}

#[tokio::test]
async fn the_cases_of_draft_08_pass() {
    let detail = json!({
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["publish", "subscribe"],
        "topics": [{"match": "*"}],
    });
    let claims = json!({
        "iss": "https://localhost",
        "aud": "https://localhost/.well-known/mercure",
        "exp": 4_102_444_800_u64,
        "authorization_details": [detail],
    });
    let cookie = "__Secure-mercure_access_token";
    pass(DRAFT_08, &token("at+jwt", &claims), cookie, "match").await;
}

async fn pass(cases: &[Case], token: &str, cookie: &str, exact: &str) {
    let hub = Hub::start(&[
        "serve",
        // The suite's key is printed in documentation, and so no key anywhere else.
        "--dev",
        "--publisher-key",
        KEY,
        "--subscriber-key",
        KEY,
        "--issuer",
        "https://localhost",
        "--audience",
        "https://localhost/.well-known/mercure",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "off",
    ])
    .await;
    let browser = Browser::start().await;
    for (number, case) in cases.iter().enumerate() {
        // A name of this machine whose pages may have cookies that need TLS elsewhere.
        let (_, port) = hub.address.rsplit_once(':').expect("an address has a port");
        browser.open(&format!("http://localhost:{port}/")).await;
        let set = if case.private {
            format!("{cookie}={token}; path=/; secure")
        } else {
            format!("{cookie}=; path=/; secure; max-age=0")
        };
        browser.eval(&format!("document.cookie = {}", json!(set))).await;
        check(&browser, case, number, token, exact).await;
    }
}

async fn check(browser: &Browser, case: &Case, number: usize, token: &str, exact: &str) {
    // Every reader gets the last update, so that nothing has to be waited for that does not come.
    let last = format!("last-{number}");
    let mut reads: Vec<_> = case.reads.iter().map(|(name, value)| json!([name, value])).collect();
    reads.push(json!([exact, last]));
    let id = format!("id-[\"{number}\"]");
    let data = "\n a line with spaces before it\n\nand an empty one above";
    let form = |topics: &[&str], id: &str| -> Value {
        let mut form: Vec<_> = topics.iter().map(|topic| json!(["topic", topic])).collect();
        form.extend([json!(["id", id]), json!(["data", data]), json!(["type", "custom"])]);
        if case.private {
            form.push(json!(["private", "on"]));
        }
        form.into()
    };
    let script = format!(
        "(() => {{
            const hub = '/.well-known/mercure';
            window.got = []; window.posted = [];
            const source = new EventSource(hub + '?' + new URLSearchParams({reads}));
            source.addEventListener('custom', (e) => got.push([e.lastEventId, e.data]));
            const post = async (form) => {{
                const headers = {{ authorization: 'Bearer {token}' }};
                const body = new URLSearchParams(form);
                const response = await fetch(hub, {{ method: 'POST', headers, body }});
                const type = response.headers.get('content-type');
                posted.push([response.status, type, await response.text()]);
            }};
            source.onopen = async () => {{ await post({update}); await post({sentinel}); }};
            return true;
        }})()",
        reads = Value::from(reads),
        update = form(case.topics, &id),
        sentinel = form(&[&last], &last),
    );
    browser.eval(&script).await;
    browser.until("got.some(([id]) => id.startsWith('last-'))").await;
    let got = browser.eval("got").await;
    let update = json!([id, data]);
    let arrived = got.as_array().is_some_and(|got| got.contains(&update));
    assert_eq!(arrived, case.arrives, "{}: {got}", case.name);
    let posted = browser.eval("posted[0]").await;
    assert_eq!(posted, json!([200, "text/plain; charset=utf-8", id]), "{}", case.name);
}

fn token(kind: &str, claims: &Value) -> String {
    let header = Header { typ: Some(kind.to_owned()), ..Header::new(Algorithm::HS256) };
    let key = EncodingKey::from_secret(KEY.as_bytes());
    jsonwebtoken::encode(&header, claims, &key).expect("claims are JSON")
}
