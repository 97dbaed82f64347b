//! Topic selectors as tokens write them, in either dialect.

use prism_sse::Selector;

use super::error::TokenError;

/// Parses a topic selector of draft-07: `*`, a URI Template, or, if the text is not a valid
/// template, the text itself as one topic. Returns `None` for text that is not a valid topic
/// either: no topic can match it, so that it grants nothing.
pub(super) fn draft_07(text: &str) -> Option<Selector> {
    Selector::template(text).ok().or_else(|| Selector::try_from(text).ok())
}

/// Parses a topic matcher of draft-08: an exact topic unless `match_type` says otherwise. `*`
/// matches every topic under each type, and a relative URL Pattern is resolved against the hub's
/// URL.
pub(super) fn draft_08(
    text: &str,
    match_type: Option<&str>,
    hub_url: &str,
) -> Result<Selector, TokenError> {
    match match_type {
        None | Some("exact") => Selector::try_from(text).map_err(|_| TokenError::Claims),
        Some("urlpattern") => {
            Selector::url_pattern(text, Some(hub_url)).map_err(|_| TokenError::Claims)
        }
        Some(_) => Err(TokenError::Claims),
    }
}
