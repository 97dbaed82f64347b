//! The subscription API: the active subscriptions as JSON documents.
//!
//! The path is `subscriptions` below the path of the hub, and lists all of them. Further segments
//! select some: a match type, a matcher and a subscriber in draft-08, a topic and a subscriber in
//! draft-07. The first segment tells the dialect; without segments it is the dialect of the token.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use prism_sse::Topic;
use serde_json::{Value, json};

use super::auth_problem::auth_problem;
use super::cors;
use crate::auth::Dialect;
use crate::hub::{DRAFT_07_CONTEXT, Hub, MatchType, SubscriptionFilter};
use crate::limits;
use crate::problem::Problem;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// The routes of the API below the path of the hub.
pub(super) fn router(hub_path: &str) -> Router<Hub> {
    let base = format!("{hub_path}/subscriptions");
    let base_len = base.len();
    let route = || {
        any(move |State(hub): State<Hub>, request: Request| async move {
            let result = match *request.method() {
                Method::GET | Method::HEAD => get(&hub, &request.into_parts().0, base_len),
                Method::OPTIONS => Ok(cors::options_response(METHODS)),
                _ => Err(Problem::method_not_allowed(METHODS)),
            };
            result.unwrap_or_else(|problem| problem.into_response())
        })
    };
    Router::new().route(&format!("{base}/{{*selection}}"), route()).route(&base, route())
}

fn get(hub: &Hub, parts: &http::request::Parts, base_len: usize) -> Result<Response, Problem> {
    let active = hub.active_subscriptions().ok_or_else(Problem::not_found)?;
    let rules = hub.rules().current();
    let subscriber = rules.authority.subscriber(parts).map_err(auth_problem)?;
    let selection = parts.uri.path().get(base_len..).unwrap_or_default();
    let path = format!("{}/subscriptions{selection}", hub.config().hub_url.path());
    let may_read = Topic::try_from(path.as_str()).is_ok_and(|topic| subscriber.may_read(&topic));
    if !may_read {
        return Err(subscriber.forbidden().into());
    }
    let (dialect, filter) = parse_selection(selection)?;
    let dialect = dialect.or(subscriber.dialect()).unwrap_or(Dialect::Draft08);
    let (mut documents, last_id) = active.list(dialect, &filter, limits::SUBSCRIPTIONS_LISTED);
    let document = if filter.subscriber.is_some() {
        documents.pop().ok_or_else(Problem::not_found)?
    } else {
        collection(dialect, &path, documents)
    };
    Ok(respond(hub, dialect, &parts.headers, document, &last_id))
}

/// Parses the segments after `subscriptions`.
fn parse_selection(path: &str) -> Result<(Option<Dialect>, SubscriptionFilter), Problem> {
    let Some(path) = path.strip_prefix('/') else {
        return Ok((None, SubscriptionFilter::default()));
    };
    let segments: Vec<String> = path.split('/').map(decode).collect::<Result<_, _>>()?;
    let select = |dialect, match_type, text: &String, subscriber: Option<&String>| {
        let matcher = Some((match_type, text.clone()));
        (Some(dialect), SubscriptionFilter { matcher, subscriber: subscriber.cloned() })
    };
    match segments.as_slice() {
        [match_type, text, rest @ ..] if match_type == "exact" && rest.len() < 2 => {
            Ok(select(Dialect::Draft08, MatchType::Exact, text, rest.first()))
        }
        [match_type, text, rest @ ..] if match_type == "urlpattern" && rest.len() < 2 => {
            Ok(select(Dialect::Draft08, MatchType::UrlPattern, text, rest.first()))
        }
        [topic, rest @ ..] if rest.len() < 2 => {
            Ok(select(Dialect::Draft07, MatchType::Draft07Topic, topic, rest.first()))
        }
        _ => Err(Problem::bad_request("The type of a matcher must be `exact` or `urlpattern`.")),
    }
}

/// Decodes the percent-encoding of a segment, once. A `%` without two hexadecimal digits is
/// refused.
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
            "@context": DRAFT_07_CONTEXT,
            "id": path,
            "type": "Subscriptions",
            "subscriptions": subscriptions,
        }),
        Dialect::Draft08 => {
            json!({"id": path, "type": "subscriptions", "subscriptions": subscriptions})
        }
    }
}

fn respond(
    hub: &Hub,
    dialect: Dialect,
    request_headers: &HeaderMap,
    mut document: Value,
    last_id: &str,
) -> Response {
    let hub_url = &hub.config().hub_url;
    let (content_type, link) = match dialect {
        Dialect::Draft07 => {
            document["@context"] = DRAFT_07_CONTEXT.into();
            document["lastEventID"] = last_id.into();
            ("application/ld+json", format!("<{hub_url}>; rel=\"mercure\""))
        }
        Dialect::Draft08 => {
            let link = format!(
                "<{hub_url}>; rel=\"mercure\"; last-event-id=\"{last_id}\"; type=\"mercure\"; \
                 content-type=\"application/json\""
            );
            ("application/json", link)
        }
    };
    let etag = format!("\"{last_id}\"");
    let matches_etag = |value: &HeaderValue| value.to_str().is_ok_and(|value| value == etag);
    let is_not_modified = request_headers.get_all(IF_NONE_MATCH).iter().any(matches_etag);
    let mut response = if is_not_modified {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = document.to_string().into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, must-revalidate"));
    for (name, value) in [(ETAG, etag), (LINK, link)] {
        // URLs and the hub's own ids consist of characters that are valid in headers.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}
