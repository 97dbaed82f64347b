//! Topic matchers: the selectors of a subscription as its request wrote them.

use prism_sse::Selector;

/// A selector, with the text and the match type that it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicMatcher {
    pub(crate) selector: Selector,
    pub(crate) text: Box<str>,
    pub(crate) match_type: MatchType,
}

/// How the text of a topic matcher is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchType {
    /// Parameter `topic` of draft-07: a topic, `*`, or a URI Template.
    Draft07Topic,
    /// Parameter `match` or `match_exact` of draft-08: a topic, or `*`.
    Exact,
    /// Parameter `match_urlpattern` of draft-08: a URL Pattern.
    UrlPattern,
}

impl TopicMatcher {
    pub(crate) fn new(selector: Selector, text: &str, match_type: MatchType) -> Self {
        Self { selector, text: text.into(), match_type }
    }
}

impl MatchType {
    /// The name of the match type in draft-08.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Draft07Topic | Self::Exact => "exact",
            Self::UrlPattern => "urlpattern",
        }
    }
}
