//! The parameters of a subscribe request, from its query and from the body of a QUERY.
//!
//! The parameters tell the dialect: `topic` is draft-07 of the Mercure protocol, a selector that
//! may be a URI Template; `match`, `match_exact` and `match_urlpattern` are draft-08. All other
//! names that begin with `match`, in whatever case, are reserved for draft-08 and refused. Other
//! unknown parameters are ignored.

use std::borrow::Cow;

use prism_sse::{Audience, Selector, Start};

use crate::api::events::endpoint::EventsEndpoint;
use crate::api::text::{as_sentence, check_visible};
use crate::api::urlencoded;
use crate::auth::Dialect;
use crate::hub::{MatchType, TopicMatcher};
use crate::limits;
use crate::problem::Problem;

/// What a subscribe request asks for.
#[derive(Debug)]
pub(super) struct SubscribeParams {
    /// The dialect that the parameters are written in.
    pub(super) dialect: Dialect,
    pub(super) matchers: Vec<TopicMatcher>,
    /// The last event id, if a parameter has it. It may be empty.
    pub(super) last_event_id: Option<String>,
    pub(super) start: Start,
    pub(super) control_events: bool,
}

/// What the meaning of the parameters depends on, beside the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParamsContext<'a> {
    pub(super) endpoint: EventsEndpoint,
    /// Whether the parameter `topic` is read at the path of the Mercure protocol.
    pub(super) allows_draft_07: bool,
    /// The base URL of relative URL Patterns.
    pub(super) hub_url: &'a str,
}

/// Collects the parameters one by one; the checks that need all of them come at the end.
#[derive(Default)]
struct ParamsBuilder {
    matchers: Vec<TopicMatcher>,
    last_id_draft_07: Option<String>,
    last_id_draft_08: Option<String>,
    replay: Option<Start>,
    control_events: Option<bool>,
}

impl SubscribeParams {
    /// Reads the query, and the body of a QUERY. If both have a last event id, that of the query
    /// is used.
    pub(super) fn parse(
        context: ParamsContext<'_>,
        query: &[u8],
        body: &[u8],
    ) -> Result<Self, Problem> {
        let mut builder = ParamsBuilder::default();
        for pair in urlencoded::pairs(query).chain(urlencoded::pairs(body)) {
            let (name, value) = pair?;
            builder.add(context, &name, value)?;
        }
        builder.build(context)
    }

    /// The audience of these matchers, with the grants of a token for private events.
    pub(super) fn audience(
        &self,
        endpoint: EventsEndpoint,
        grants: &[Selector],
    ) -> Result<Audience, Problem> {
        let refuse = |error| Problem::bad_request(as_sentence(error));
        let selectors: Vec<_> = self.matchers.iter().map(|it| it.selector.clone()).collect();
        let broadcasts = endpoint == EventsEndpoint::Native || selectors.contains(&Selector::Any);
        let mut audience = Audience::select(selectors).map_err(refuse)?;
        if !grants.is_empty() {
            audience = audience.grant(grants).map_err(refuse)?;
        }
        Ok(audience.broadcasts(broadcasts).control_events(self.control_events))
    }
}

impl ParamsBuilder {
    fn add(
        &mut self,
        context: ParamsContext<'_>,
        name: &str,
        value: Cow<'_, str>,
    ) -> Result<(), Problem> {
        match name {
            "topic" if context.reads_topic() => self.matchers.push(draft_07_topic(&value)?),
            "match" | "match_exact" => self.matchers.push(exact(&value)?),
            "match_urlpattern" => self.matchers.push(url_pattern(&value, context.hub_url)?),
            _ if begins_with_match(name) => {
                let sentence = "A parameter that begins with `match` must be `match`, \
                                `match_exact` or `match_urlpattern`.";
                return Err(Problem::bad_request(sentence));
            }
            "lastEventID" | "Last-Event-ID" => {
                self.last_id_draft_07.get_or_insert(value.into_owned());
            }
            "last_event_id" => {
                self.last_id_draft_08.get_or_insert(value.into_owned());
            }
            "replay" => self.replay = Some(replay(&value)?),
            "control" => self.control_events = Some(control(&value)?),
            _ => {}
        }
        if self.matchers.len() > limits::MATCHERS_MAX {
            let sentence =
                format!("At most {} topics and patterns are allowed.", limits::MATCHERS_MAX);
            return Err(Problem::bad_request(sentence));
        }
        Ok(())
    }

    fn build(mut self, context: ParamsContext<'_>) -> Result<SubscribeParams, Problem> {
        let is_topic = |matcher: &TopicMatcher| matcher.match_type == MatchType::Draft07Topic;
        let is_draft_07 = self.matchers.iter().any(is_topic);
        if is_draft_07 && !self.matchers.iter().all(is_topic) {
            let sentence =
                "`topic` is draft-07 and `match` is draft-08: a request has one of them.";
            return Err(Problem::bad_request(sentence));
        }
        if self.matchers.is_empty() {
            if context.endpoint == EventsEndpoint::Mercure {
                let sentence = "A subscription needs at least one `topic` or `match`.";
                return Err(Problem::bad_request(sentence));
            }
            self.matchers.push(TopicMatcher::new(Selector::Any, "*", MatchType::Exact));
        }
        let dialect = if is_draft_07 { Dialect::Draft07 } else { Dialect::Draft08 };
        let mut matchers: Vec<TopicMatcher> = Vec::with_capacity(self.matchers.len());
        for matcher in self.matchers {
            if !matchers.contains(&matcher) {
                matchers.push(matcher);
            }
        }
        let last_event_id = match dialect {
            Dialect::Draft07 => self.last_id_draft_07.or(self.last_id_draft_08),
            Dialect::Draft08 => self.last_id_draft_08.or(self.last_id_draft_07),
        };
        let after = last_event_id.as_ref().filter(|id| !id.is_empty()).cloned();
        let start = after.map(Start::After).or(self.replay).unwrap_or_default();
        let control_events =
            self.control_events.unwrap_or(context.endpoint == EventsEndpoint::Native);
        Ok(SubscribeParams { dialect, matchers, last_event_id, start, control_events })
    }
}

impl ParamsContext<'_> {
    fn reads_topic(self) -> bool {
        self.allows_draft_07 || self.endpoint == EventsEndpoint::Native
    }
}

/// `*`, a URI Template, or else the text itself as an exact topic.
fn draft_07_topic(text: &str) -> Result<TopicMatcher, Problem> {
    let selector = Selector::template(text).or_else(|_| Selector::try_from(text));
    let selector = selector.map_err(|error| Problem::bad_request(as_sentence(error)))?;
    Ok(TopicMatcher::new(selector, text, MatchType::Draft07Topic))
}

fn exact(text: &str) -> Result<TopicMatcher, Problem> {
    check_visible("A matcher", text)?;
    let selector = Selector::try_from(text);
    let selector = selector.map_err(|error| Problem::bad_request(as_sentence(error)))?;
    Ok(TopicMatcher::new(selector, text, MatchType::Exact))
}

fn url_pattern(text: &str, hub_url: &str) -> Result<TopicMatcher, Problem> {
    check_visible("A matcher", text)?;
    let selector = Selector::url_pattern(text, Some(hub_url));
    let selector = selector.map_err(|error| Problem::bad_request(as_sentence(error)))?;
    Ok(TopicMatcher::new(selector, text, MatchType::UrlPattern))
}

fn begins_with_match(name: &str) -> bool {
    name.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("match"))
}

fn replay(value: &str) -> Result<Start, Problem> {
    match value {
        "latest" => Ok(Start::Latest),
        "oldest" => Ok(Start::Oldest),
        _ => Err(Problem::bad_request("`replay` must be `latest` or `oldest`.")),
    }
}

fn control(value: &str) -> Result<bool, Problem> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Problem::bad_request("`control` must be `on` or `off`.")),
    }
}
