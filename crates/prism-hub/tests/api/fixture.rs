//! A hub without sockets, its tokens, and a client for its requests.

use axum::Router;
use axum::body::Body;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prism_hub::auth::Clock;
use prism_hub::config::Config;
use prism_hub::hub::Hub;
use prism_sse::test::Client;
use serde_json::{Value, json};
use tower_service::Service as _;
use url::form_urlencoded::Serializer;

pub(crate) const SECRET: &str = "a secret of the tests, 32 bytes long or more";
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const HUB: &str = "https://hub.example/.well-known/mercure";
pub(crate) const MERCURE: &str = "/.well-known/mercure";
pub(crate) const EVENTS: &str = "/events";

/// A client that reads an event stream.
pub(crate) type TestSubscriber = Client<Router, Body>;

/// A ready hub, and the router that its requests are sent to.
pub(crate) struct TestHub {
    pub(crate) hub: Hub,
    pub(crate) app: Router,
}

/// The response of a hub.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl TestHub {
    /// A hub that accepts tokens of both dialects and anonymous subscribers.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(more: &[&str]) -> Self {
        let usual = [
            "--publisher-key",
            SECRET,
            "--subscriber-key",
            SECRET,
            "--issuer",
            ISSUER,
            "--public-url",
            "https://hub.example",
            "--anonymous",
        ];
        Self::of(&[&usual, more].concat())
    }

    pub(crate) fn of(args: &[&str]) -> Self {
        let args = [&["--engine", "memory"], args].concat();
        let hub = Hub::new(Config::from_args(args).unwrap(), Clock::system()).unwrap();
        hub.set_ready(true);
        let app = prism_hub::api::public_router(&hub);
        Self { hub, app }
    }

    /// Sends a request. The body of an event stream is not read.
    pub(crate) async fn send(&self, request: Request<String>) -> TestResponse {
        let response = self.app.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec());
        let text = if kind.as_deref() == Some(b"text/event-stream") {
            String::new()
        } else {
            String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
        };
        TestResponse { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&self, path: &str) -> TestResponse {
        self.send(Request::get(path).body(String::new()).unwrap()).await
    }

    pub(crate) async fn get_with(&self, token: &str, path: &str) -> TestResponse {
        let request = Request::get(path).header(AUTHORIZATION, bearer(token));
        self.send(request.body(String::new()).unwrap()).await
    }

    /// Publishes a form with a token of draft-08 that allows everything.
    pub(crate) async fn publish(&self, form: &[(&str, &str)]) -> TestResponse {
        self.publish_with(&unrestricted_token_08(), form).await
    }

    pub(crate) async fn publish_with(&self, token: &str, form: &[(&str, &str)]) -> TestResponse {
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        self.post(token, MERCURE, "application/x-www-form-urlencoded", &body).await
    }

    pub(crate) async fn post(
        &self,
        token: &str,
        path: &str,
        kind: &str,
        body: &str,
    ) -> TestResponse {
        let request = Request::post(path)
            .header(AUTHORIZATION, bearer(token))
            .header(CONTENT_TYPE, kind)
            .body(body.to_owned());
        self.send(request.unwrap()).await
    }

    /// Subscribes at the endpoint of the Mercure protocol.
    pub(crate) async fn subscribe(&self, query: &[(&str, &str)]) -> TestSubscriber {
        self.connect(&address(MERCURE, query), &[]).await
    }

    pub(crate) async fn subscribe_with(
        &self,
        token: &str,
        query: &[(&str, &str)],
    ) -> TestSubscriber {
        self.connect(&address(MERCURE, query), &[("authorization", &bearer(token))]).await
    }

    pub(crate) async fn connect(&self, path: &str, headers: &[(&str, &str)]) -> TestSubscriber {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Client::connect_with(self.app.clone(), path, map).await.unwrap()
    }
}

impl TestResponse {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Asserts the status, and that an error is a problem document.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        if self.status.is_client_error() || self.status.is_server_error() {
            assert_eq!(self.header("content-type"), "application/problem+json");
            assert_eq!(self.json()["status"], status);
            let detail = self.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.ends_with('.') && !detail.is_empty(), "{detail}");
        }
        self
    }
}

/// A path with a query.
pub(crate) fn address(path: &str, query: &[(&str, &str)]) -> String {
    let query = Serializer::new(String::new()).extend_pairs(query).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A request whose `Accept` names event streams.
pub(crate) fn stream(path: &str) -> Request<String> {
    Request::get(path).header(ACCEPT, "text/event-stream").body(String::new()).unwrap()
}

fn sign(kind: &str, claims: &Value) -> String {
    let header = Header { typ: Some(kind.to_owned()), ..Header::new(Algorithm::HS256) };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

/// A token of draft-07 with these claims.
pub(crate) fn token_07(claims: &Value) -> String {
    sign("JWT", claims)
}

/// A token of draft-07 for these selectors.
pub(crate) fn token_07_for(publish: &[&str], subscribe: &[&str]) -> String {
    token_07(&json!({"mercure": {"publish": publish, "subscribe": subscribe}}))
}

/// A token of draft-07 that allows everything.
pub(crate) fn unrestricted_token_07() -> String {
    token_07_for(&["*"], &["*"])
}

/// A token of draft-08 with these authorization details.
pub(crate) fn token_08(details: &Value) -> String {
    let claims = json!({
        "iss": ISSUER, "aud": HUB, "exp": 4_102_444_800_u64, "authorization_details": details,
    });
    sign("at+jwt", &claims)
}

/// A token of draft-08 for an action on exactly these topics.
pub(crate) fn token_08_for(action: &str, topics: &[&str]) -> String {
    let topics: Vec<_> = topics.iter().map(|topic| json!({"match": topic})).collect();
    token_08(&json!([{
        "type": "https://mercure.rocks/authorization-detail",
        "actions": [action],
        "topics": topics,
    }]))
}

/// A token of draft-08 that allows everything.
pub(crate) fn unrestricted_token_08() -> String {
    token_08(&json!([{
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["publish", "subscribe"],
        "topics": [{"match": "*"}],
    }]))
}
