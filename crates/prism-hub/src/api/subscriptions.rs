//! The subscription API: who is subscribed to what, now.
//!
//! Below the hub's path, `subscriptions` is all of them, and further segments choose: in draft-08 a
//! type, a matcher and a subscriber; in draft-07 a topic and a subscriber. The first segment tells
//! which it is; for all of them, the dialect of the token does.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use prism_sse::Topic;
use serde_json::{Value, json};

use super::presence::{CONTEXT, Filter};
use super::wanted::MatchKind;
use super::{cors, denied};
use crate::auth::Dialect;
use crate::limits;
use crate::problem::Problem;
use crate::serve::Hub;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// The addresses of the API, below the path of a hub.
pub(super) fn router(hub_path: &str) -> Router<Hub> {
    let base = format!("{hub_path}/subscriptions");
    let begin = base.len();
    let route = || {
        any(move |State(hub): State<Hub>, request: Request| async move {
            let answer = match *request.method() {
                Method::GET | Method::HEAD => list(&hub, &request.into_parts().0, begin),
                Method::OPTIONS => Ok(cors::allow(METHODS)),
                _ => Err(Problem::method_not_allowed(METHODS)),
            };
            answer.unwrap_or_else(|problem| problem.into_response())
        })
    };
    Router::new().route(&format!("{base}/{{*which}}"), route()).route(&base, route())
}

fn list(hub: &Hub, parts: &http::request::Parts, begin: usize) -> Result<Response, Problem> {
    let presence = hub.presence().ok_or_else(Problem::not_found)?;
    let rules = hub.live().rules();
    let subscriber = rules.authority.subscriber(parts).map_err(denied)?;
    let which = parts.uri.path().get(begin..).unwrap_or_default();
    let path = format!("{}/subscriptions{which}", hub.config().hub_url.path());
    let may_read = Topic::try_from(path.as_str()).is_ok_and(|topic| subscriber.may_read(&topic));
    if !may_read {
        return Err(subscriber.forbidden().into());
    }
    let (dialect, filter) = read(which)?;
    let dialect = dialect.or(subscriber.dialect()).unwrap_or(Dialect::Draft08);
    let (mut documents, last) = presence.list(dialect, &filter, limits::SUBSCRIPTIONS_LISTED);
    let document = if filter.subscriber.is_some() {
        documents.pop().ok_or_else(Problem::not_found)?
    } else {
        collection(dialect, &path, documents)
    };
    Ok(answer(hub, dialect, &parts.headers, document, &last))
}

/// What the segments after `subscriptions` ask for.
fn read(which: &str) -> Result<(Option<Dialect>, Filter), Problem> {
    let Some(which) = which.strip_prefix('/') else { return Ok((None, Filter::default())) };
    let segments: Vec<String> = which.split('/').map(decode).collect::<Result<_, _>>()?;
    let new = |kind, text: &String, subscriber: Option<&String>| {
        let filter =
            Filter { matcher: Some((kind, text.clone())), subscriber: subscriber.cloned() };
        Ok((Some(Dialect::Draft08), filter))
    };
    match segments.as_slice() {
        [kind, text, rest @ ..] if kind == "exact" && rest.len() < 2 => {
            new(MatchKind::Exact, text, rest.first())
        }
        [kind, text, rest @ ..] if kind == "urlpattern" && rest.len() < 2 => {
            new(MatchKind::UrlPattern, text, rest.first())
        }
        [topic, rest @ ..] if rest.len() < 2 => {
            let matcher = Some((MatchKind::Topic, topic.clone()));
            Ok((Some(Dialect::Draft07), Filter { matcher, subscriber: rest.first().cloned() }))
        }
        _ => Err(Problem::bad_request("The type of a matcher must be `exact` or `urlpattern`.")),
    }
}

/// A segment, decoded once. Whatever is no escape is refused rather than read as it is.
fn decode(segment: &str) -> Result<String, Problem> {
    let refuse = || Problem::bad_request("The path has an escape that is none.");
    let is_escape = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !segment.split('%').skip(1).all(is_escape) {
        return Err(refuse());
    }
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| refuse())?;
    Ok(decoded.into_owned())
}

fn collection(dialect: Dialect, path: &str, subscriptions: Vec<Value>) -> Value {
    match dialect {
        Dialect::Draft07 => json!({
            "@context": CONTEXT,
            "id": path,
            "type": "Subscriptions",
            "subscriptions": subscriptions,
        }),
        Dialect::Draft08 => {
            json!({"id": path, "type": "subscriptions", "subscriptions": subscriptions})
        }
    }
}

fn answer(
    hub: &Hub,
    dialect: Dialect,
    asked: &HeaderMap,
    mut document: Value,
    last: &str,
) -> Response {
    let hub_url = &hub.config().hub_url;
    let (content_type, link) = match dialect {
        Dialect::Draft07 => {
            document["@context"] = CONTEXT.into();
            document["lastEventID"] = last.into();
            ("application/ld+json", format!("<{hub_url}>; rel=\"mercure\""))
        }
        Dialect::Draft08 => {
            let link = format!(
                "<{hub_url}>; rel=\"mercure\"; last-event-id=\"{last}\"; type=\"mercure\"; \
                 content-type=\"application/json\""
            );
            ("application/json", link)
        }
    };
    let tag = format!("\"{last}\"");
    let is_known = |value: &HeaderValue| value.to_str().is_ok_and(|known| known == tag);
    let is_same = asked.get_all(IF_NONE_MATCH).iter().any(is_known);
    let mut response = if is_same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = document.to_string().into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, must-revalidate"));
    for (name, value) in [(ETAG, tag), (LINK, link)] {
        // URLs and ids of ours have no characters that a header cannot hold.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}
