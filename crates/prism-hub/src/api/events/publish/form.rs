//! Publishing a form of the Mercure protocol (`application/x-www-form-urlencoded`), which is the
//! same in both dialects.

use super::item::PublishItem;
use crate::api::urlencoded;
use crate::problem::Problem;

/// Parses a form. Unknown fields are ignored, and so are `id`, `type` and `retry` if they are
/// empty. `private` is on if it is present, whatever its value.
pub(super) fn parse(content: &[u8]) -> Result<PublishItem, Problem> {
    let mut item = PublishItem::default();
    let mut data = None;
    for pair in urlencoded::pairs(content) {
        let (name, value) = pair?;
        match &*name {
            "topic" => item.topics.push(value.into_owned()),
            "data" => set_once(&mut data, "data", value.into_owned())?,
            "private" => item.private = true,
            "id" if !value.is_empty() => set_once(&mut item.id, "id", value.into_owned())?,
            "type" if !value.is_empty() => set_once(&mut item.event, "type", value.into_owned())?,
            "retry" if !value.is_empty() => set_once(&mut item.retry, "retry", retry(&value)?)?,
            _ => {}
        }
    }
    item.data = data.unwrap_or_default();
    Ok(item)
}

fn set_once<T>(field: &mut Option<T>, name: &str, value: T) -> Result<(), Problem> {
    if field.replace(value).is_some() {
        return Err(Problem::bad_request(format!("The field `{name}` stands there twice.")));
    }
    Ok(())
}

/// Parses milliseconds: ASCII digits alone, without sign or fraction.
fn retry(text: &str) -> Result<u64, Problem> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.filter(|millis| *millis <= u64::from(prism_sse::limits::RETRY_MS_MAX)).ok_or_else(|| {
        let max = prism_sse::limits::RETRY_MS_MAX;
        Problem::bad_request(format!("`retry` must be milliseconds as digits, at most {max}."))
    })
}
