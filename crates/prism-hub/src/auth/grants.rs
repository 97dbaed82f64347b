//! Selectors as tokens write them, in either dialect.

use prism_sse::{Selector, Topic};

use super::error::Defect;
use crate::limits;

/// A selector of draft-07: `*`, a URI Template, or the text itself. Text that no topic can have is
/// a selector that matches nothing, which is none.
pub(super) fn draft_07(text: &str) -> Option<Selector> {
    Selector::try_from(text).ok()
}

/// A matcher of draft-08: the text itself unless a type says otherwise. `*` is everything under
/// each type.
pub(super) fn draft_08(text: &str, kind: Option<&str>, _hub_url: &str) -> Result<Selector, Defect> {
    if text.len() > limits::PATTERN_BYTES_MAX {
        return Err(Defect::Claims);
    }
    match kind {
        None | Some("exact") => Selector::try_from(text).map_err(|_| Defect::Claims),
        Some("urlpattern") if text == "*" => Ok(Selector::Any),
        Some("urlpattern") => {
            Topic::try_from(text).map(Selector::Exact).map_err(|_| Defect::Claims)
        }
        Some(_) => Err(Defect::Claims),
    }
}
