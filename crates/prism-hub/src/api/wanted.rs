//! What a subscriber wants, as the parameters of its request say it.
//!
//! The parameters tell the dialect: `topic` is draft-07 of the Mercure protocol, a selector that
//! may be a URI Template; `match`, `match_exact` and `match_urlpattern` are draft-08. Names that
//! begin with `match` are kept for draft-08, whatever their case. Unknown parameters are left
//! alone.

use std::borrow::Cow;

use prism_sse::{Audience, Selector, Start};

use super::text::{check_visible, sentence};
use super::{Endpoint, form};
use crate::auth::Dialect;
use crate::limits;
use crate::problem::Problem;

/// What a request wants to read.
#[derive(Debug)]
pub(super) struct Wanted {
    /// In which the parameters were written.
    pub(super) dialect: Dialect,
    pub(super) matchers: Vec<Matcher>,
    /// The last id, where a parameter names it. It may be empty.
    pub(super) last_id: Option<String>,
    pub(super) start: Start,
    pub(super) control: bool,
}

/// One selector, and the text it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    pub(super) selector: Selector,
    pub(super) text: Box<str>,
    pub(super) kind: MatchKind,
}

/// What the text of a matcher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchKind {
    /// A selector of draft-07.
    Topic,
    /// The topic itself.
    Exact,
    /// A URL Pattern.
    UrlPattern,
}

/// How parameters are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) knows_draft_07: bool,
    /// Against which relative patterns and topics are resolved.
    pub(super) hub_url: &'a str,
}

#[derive(Default)]
struct Parameters {
    matchers: Vec<Matcher>,
    last_id_old: Option<String>,
    last_id_new: Option<String>,
    replay: Option<Start>,
    control: Option<bool>,
}

impl Wanted {
    /// Reads the query, and the body of a QUERY. Where both name a last id, the query's counts.
    pub(super) fn read(reading: Reading<'_>, query: &[u8], body: &[u8]) -> Result<Self, Problem> {
        let mut parameters = Parameters::default();
        for pair in form::pairs(query).chain(form::pairs(body)) {
            let (name, value) = pair?;
            parameters.add(reading, &name, value)?;
        }
        parameters.finish(reading)
    }

    /// Who reads, with grants for what is private.
    pub(super) fn audience(
        &self,
        endpoint: Endpoint,
        grants: &[Selector],
    ) -> Result<Audience, Problem> {
        let refuse = |error| Problem::bad_request(sentence(error));
        let selectors: Vec<_> = self.matchers.iter().map(|it| it.selector.clone()).collect();
        let takes_all = endpoint == Endpoint::Events || selectors.contains(&Selector::Any);
        let mut audience = Audience::select(selectors).map_err(refuse)?;
        if !grants.is_empty() {
            audience = audience.grant(grants).map_err(refuse)?;
        }
        Ok(audience.broadcasts(takes_all).control_events(self.control))
    }
}

impl Parameters {
    fn add(
        &mut self,
        reading: Reading<'_>,
        name: &str,
        value: Cow<'_, str>,
    ) -> Result<(), Problem> {
        match name {
            "topic" if reading.knows_topics() => self.matchers.push(topic(&value)?),
            "match" | "match_exact" => self.matchers.push(exact(&value)?),
            "match_urlpattern" => self.matchers.push(url_pattern(&value, reading.hub_url)?),
            _ if begins_with_match(name) => {
                let sentence = "A parameter that begins with `match` must be `match`, \
                                `match_exact` or `match_urlpattern`.";
                return Err(Problem::bad_request(sentence));
            }
            "lastEventID" | "Last-Event-ID" => {
                self.last_id_old.get_or_insert(value.into_owned());
            }
            "last_event_id" => {
                self.last_id_new.get_or_insert(value.into_owned());
            }
            "replay" => self.replay = Some(replay(&value)?),
            "control" => self.control = Some(control(&value)?),
            _ => {}
        }
        if self.matchers.len() > limits::MATCHERS_MAX {
            let sentence =
                format!("At most {} topics and patterns are allowed.", limits::MATCHERS_MAX);
            return Err(Problem::bad_request(sentence));
        }
        Ok(())
    }

    fn finish(mut self, reading: Reading<'_>) -> Result<Wanted, Problem> {
        let is_old = |matcher: &Matcher| matcher.kind == MatchKind::Topic;
        let old = self.matchers.iter().any(is_old);
        if old && !self.matchers.iter().all(is_old) {
            let sentence =
                "`topic` is draft-07 and `match` is draft-08: a request has one of them.";
            return Err(Problem::bad_request(sentence));
        }
        if self.matchers.is_empty() {
            if reading.endpoint == Endpoint::Mercure {
                let sentence = "A subscription needs at least one `topic` or `match`.";
                return Err(Problem::bad_request(sentence));
            }
            self.matchers.push(Matcher::new(Selector::Any, "*", MatchKind::Exact));
        }
        let dialect = if old { Dialect::Draft07 } else { Dialect::Draft08 };
        let mut matchers: Vec<Matcher> = Vec::with_capacity(self.matchers.len());
        for matcher in self.matchers {
            if !matchers.contains(&matcher) {
                matchers.push(matcher);
            }
        }
        let last_id = match dialect {
            Dialect::Draft07 => self.last_id_old.or(self.last_id_new),
            Dialect::Draft08 => self.last_id_new.or(self.last_id_old),
        };
        let asked = last_id.as_ref().filter(|id| !id.is_empty()).cloned();
        let start = asked.map(Start::After).or(self.replay).unwrap_or_default();
        let control = self.control.unwrap_or(reading.endpoint == Endpoint::Events);
        Ok(Wanted { dialect, matchers, last_id, start, control })
    }
}

impl Reading<'_> {
    fn knows_topics(self) -> bool {
        self.knows_draft_07 || self.endpoint == Endpoint::Events
    }
}

impl Matcher {
    fn new(selector: Selector, text: &str, kind: MatchKind) -> Self {
        Self { selector, text: text.into(), kind }
    }
}

impl MatchKind {
    /// The name of the type in draft-08.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Topic | Self::Exact => "exact",
            Self::UrlPattern => "urlpattern",
        }
    }
}

/// `*`, a URI Template, or what is no template and so the text itself.
fn topic(text: &str) -> Result<Matcher, Problem> {
    let selector = Selector::template(text).or_else(|_| Selector::try_from(text));
    let selector = selector.map_err(|error| Problem::bad_request(sentence(error)))?;
    Ok(Matcher::new(selector, text, MatchKind::Topic))
}

fn exact(text: &str) -> Result<Matcher, Problem> {
    check_visible("A matcher", text)?;
    let selector = Selector::try_from(text);
    let selector = selector.map_err(|error| Problem::bad_request(sentence(error)))?;
    Ok(Matcher::new(selector, text, MatchKind::Exact))
}

fn url_pattern(text: &str, hub_url: &str) -> Result<Matcher, Problem> {
    check_visible("A matcher", text)?;
    let selector = Selector::url_pattern(text, Some(hub_url));
    let selector = selector.map_err(|error| Problem::bad_request(sentence(error)))?;
    Ok(Matcher::new(selector, text, MatchKind::UrlPattern))
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
