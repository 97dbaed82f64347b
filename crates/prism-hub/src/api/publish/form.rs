//! The form of the Mercure protocol, which both of its dialects share.

use super::super::form;
use super::item::{Item, retry};
use crate::problem::Problem;

/// Reads a form. Fields that nobody knows are left alone; an empty `id`, `type` or `retry` says
/// nothing. `private` counts by being there.
pub(super) fn read(content: &[u8]) -> Result<Item, Problem> {
    let mut item = Item::default();
    let mut data = None;
    for pair in form::pairs(content) {
        let (name, value) = pair?;
        match &*name {
            "topic" => item.topics.push(value.into_owned()),
            "data" => once(&mut data, "data", value.into_owned())?,
            "private" => item.private = true,
            "id" if !value.is_empty() => once(&mut item.id, "id", value.into_owned())?,
            "type" if !value.is_empty() => once(&mut item.event, "type", value.into_owned())?,
            "retry" if !value.is_empty() => once(&mut item.retry, "retry", retry(&value)?)?,
            _ => {}
        }
    }
    item.data = data.unwrap_or_default();
    Ok(item)
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), Problem> {
    if place.replace(value).is_some() {
        return Err(Problem::bad_request(format!("The field `{name}` stands there twice.")));
    }
    Ok(())
}
