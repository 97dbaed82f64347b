//! Selectors as tokens write them, in either dialect.

use prism_sse::Selector;

use super::error::Defect;

/// A selector of draft-07: `*`, a URI Template, or the text itself, which is what text is that
/// looks like a template and is none. Text that no topic can have matches nothing, and grants
/// nothing.
pub(super) fn draft_07(text: &str) -> Option<Selector> {
    Selector::template(text).ok().or_else(|| Selector::try_from(text).ok())
}

/// A matcher of draft-08: the text itself unless a type says otherwise. `*` is everything under
/// each type, and a relative pattern is resolved against the hub's URL.
pub(super) fn draft_08(text: &str, kind: Option<&str>, hub_url: &str) -> Result<Selector, Defect> {
    match kind {
        None | Some("exact") => Selector::try_from(text).map_err(|_| Defect::Claims),
        Some("urlpattern") => {
            Selector::url_pattern(text, Some(hub_url)).map_err(|_| Defect::Claims)
        }
        Some(_) => Err(Defect::Claims),
    }
}
