//! The cases of Mercure's public conformance suite, in both drafts, over HTTP/1.1 and HTTP/2.
//!
//! They are written from the behaviour of that suite. To see that an update is not received, no
//! test waits: an update that must be received follows it, and has to be the first.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::dialect::{AUDIENCE, DRAFT_07, DRAFT_08, Dialect, ISSUER, KEY, KEY_OF_THE_SUITE};
use crate::hub::Hub;
use crate::page::Page;

/// Data with an empty second line, and a third line that begins with spaces.
const DATA: &str = "  first line\n\n  third: line\n";
const MERCURE: &str = "/.well-known/mercure";

struct Case {
    name: &'static str,
    /// The topics of the update, and the selectors of the page.
    topics: &'static [&'static str],
    selectors: &'static [Selector],
    is_private: bool,
    /// A topic that the page subscribes to, if it does not to the others.
    after_all: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Selector {
    Exact(&'static str),
    /// An exact topic, which draft-08 selects with `match_exact`.
    ExactByName(&'static str),
    /// The selector in draft-07, and in draft-08.
    Pattern(&'static str, &'static str),
}

use Selector::{Exact, ExactByName, Pattern};

const BOOKS: Selector = Pattern("https://example.net/books/{id}", "https://example.net/books/:id");

const fn case(
    name: &'static str,
    topics: &'static [&'static str],
    selectors: &'static [Selector],
) -> Case {
    Case { name, topics, selectors, is_private: false, after_all: None }
}

const fn private(case: Case) -> Case {
    Case { is_private: true, ..case }
}

const fn nonmatching(case: Case, after_all: &'static str) -> Case {
    Case { after_all: Some(after_all), ..case }
}

const CASES: &[Case] = &[
    case("raw string", &["a string"], &[Exact("a string")]),
    case("multiple topics", &["a string", "another"], &[Exact("another")]),
    case("multiple topic selectors", &["https://example.net/books/1"], &[Exact("a string"), BOOKS]),
    case("exact topic", &["a string"], &[ExactByName("a string")]),
    case("URI", &["https://example.net/a"], &[Exact("https://example.net/a")]),
    case("pattern", &["https://example.net/books/1"], &[BOOKS]),
    nonmatching(case("nonmatching raw string", &["a strin"], &[Exact("a string")]), "a string"),
    nonmatching(
        case("nonmatching URI", &["https://example.net/b"], &[Exact("https://example.net/a")]),
        "https://example.net/a",
    ),
    nonmatching(
        case("nonmatching pattern", &["https://example.net/books/1/pages"], &[BOOKS]),
        "https://example.net/books/2",
    ),
    private(case("private raw string", &["a string"], &[Exact("a string")])),
    private(case("private URI", &["https://example.net/a"], &[Exact("https://example.net/a")])),
    private(case("private pattern", &["https://example.net/books/1"], &[BOOKS])),
];

impl Case {
    /// Whether draft-08 has the case: its updates have one topic.
    fn is_in(&self, dialect: Dialect) -> bool {
        dialect.is_old() || self.topics.len() == 1
    }

    fn address(&self, dialect: Dialect) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for selector in self.selectors {
            match *selector {
                ExactByName(topic) if !dialect.is_old() => query.append_pair("match_exact", topic),
                Exact(topic) | ExactByName(topic) => query.append_pair(dialect.exact, topic),
                Pattern(old, _) if dialect.is_old() => query.append_pair(dialect.pattern, old),
                Pattern(_, new) => query.append_pair(dialect.pattern, new),
            };
        }
        format!("{MERCURE}?{}", query.finish())
    }

    /// An id in the form of the suite's.
    fn id(&self) -> String {
        format!("id-{}", json!(self.topics))
    }

    fn fields<'a>(&self, topics: &[&'a str], data: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut fields: Vec<_> = topics.iter().map(|topic| ("topic", *topic)).collect();
        fields.push(("data", data));
        if self.is_private {
            fields.push(("private", "on"));
        }
        fields
    }

    async fn perform(&self, page: &Page, hub: &Hub, dialect: Dialect, key: &str) {
        let what = format!("{} in draft-{}", self.name, dialect.name);
        let token = dialect.token_of_the_suite(key);
        page.open(&hub.named_origin()).await;
        let cookie = if self.is_private { token.as_str() } else { "; Max-Age=0" };
        let cookie = format!("{}={cookie}; Path={MERCURE}; Secure", dialect.cookie());
        page.eval(&format!("document.cookie = {}", json!(cookie))).await;
        page.listen(&self.address(dialect), &[]).await;

        let id = self.id();
        let mut fields = self.fields(self.topics, DATA);
        fields.push(("id", &id));
        let answer = page.publish(MERCURE, &fields, Some(&token)).await;
        assert_eq!(answer["status"], 200, "{what}: {answer}");
        assert_eq!(answer["body"].as_str(), Some(id.as_str()), "{what}");
        let is_text = |it: &Value| it.as_str().is_some_and(|it| it.starts_with("text/plain"));
        assert!(is_text(&answer["type"]), "{what}: {answer}");

        let mut expected = json!({"type": "message", "data": DATA, "id": id});
        if let Some(topic) = self.after_all {
            let fields = self.fields(&[topic], "this one");
            let answer = page.publish(MERCURE, &fields, Some(&token)).await;
            expected = json!({"type": "message", "data": "this one", "id": answer["body"]});
        }
        page.until("seen.length > 0").await;
        assert_eq!(page.eval("seen").await, json!([expected]), "{what}");
        page.eval("source.close()").await;
    }
}

async fn all_cases(hub: &Hub, dialect: Dialect, key: &str) {
    let page = Page::of(&hub.named_origin()).await;
    for case in CASES.iter().filter(|case| case.is_in(dialect)) {
        case.perform(&page, hub, dialect, key).await;
    }
}

fn keys(key: &str) -> [&str; 8] {
    let [publisher, subscriber] = ["--publisher-key", "--subscriber-key"];
    [publisher, key, subscriber, key, "--issuer", ISSUER, "--audience", AUDIENCE]
}

/// With the suite's own key, as someone would run it against this hub.
#[tokio::test]
async fn what_the_public_suite_does_works_with_its_own_key() {
    let hub = Hub::serve(&[&["--dev"], &keys(KEY_OF_THE_SUITE)[..]].concat()).await;
    all_cases(&hub, DRAFT_07, KEY_OF_THE_SUITE).await;
    all_cases(&hub, DRAFT_08, KEY_OF_THE_SUITE).await;
}

#[tokio::test]
async fn what_the_public_suite_does_works_over_tls() {
    let certificate = Certificate::new();
    let tls = ["--tls-cert", certificate.chain(), "--tls-key", certificate.key()];
    let hub = Hub::serve(&[&["--anonymous"], &keys(KEY)[..], &tls].concat()).await;
    all_cases(&hub, DRAFT_07, KEY).await;
    all_cases(&hub, DRAFT_08, KEY).await;

    let page = Page::of(&hub.named_origin()).await;
    let version = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(page.eval(version).await, "h2");
}

/// A certificate for `localhost`, deleted when this is dropped.
struct Certificate {
    _directory: crate::process::TemporaryDirectory,
    files: [PathBuf; 2],
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate can be made");
        let directory = crate::process::TemporaryDirectory::new();
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("the directory can be written to");
            path
        };
        let files = [
            write("chain.pem", made.cert.pem()),
            write("key.pem", made.signing_key.serialize_pem()),
        ];
        Self { _directory: directory, files }
    }

    fn chain(&self) -> &str {
        text(&self.files[0])
    }

    fn key(&self) -> &str {
        text(&self.files[1])
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}
