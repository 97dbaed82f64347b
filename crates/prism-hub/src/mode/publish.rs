//! `publish`: one event to a hub somewhere else.

use std::io::Read as _;

use super::Failure;
use super::remote::{self, Remote};
use super::serving::block_on;
use crate::cli::PublishArgs;

/// Publishes the event, and prints its id.
pub(super) fn publish(args: PublishArgs) -> Result<(), Failure> {
    let remote = Remote::new(&args.url, args.token.as_deref())?;
    let data = match args.data.as_deref() {
        Some("-") => Some(standard_input()?),
        _ => args.data.clone(),
    };
    block_on(async move {
        let answer = remote.post(&form(&args, data.as_deref())).await;
        let answer = answer.map_err(|error| failed(&args.url, &error))?;
        if !answer.status().is_success() {
            return Err(Failure::Failed(remote::refusal(answer).await));
        }
        let id = remote::text(answer.into_body()).await;
        println!("{}", remote::printable(&id.map_err(|error| failed(&args.url, &error))?));
        Ok(())
    })
}

/// The form of the Mercure protocol, which both dialects share.
fn form<'a>(args: &'a PublishArgs, data: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let mut form: Vec<_> = args.topic.iter().map(|topic| ("topic", topic.as_str())).collect();
    form.extend(data.map(|data| ("data", data)));
    form.extend(args.event.as_deref().map(|name| ("type", name)));
    form.extend(args.id.as_deref().map(|id| ("id", id)));
    form.extend(args.retry.as_deref().map(|retry| ("retry", retry)));
    if args.private {
        form.push(("private", "on"));
    }
    form
}

fn standard_input() -> Result<String, Failure> {
    let mut data = String::new();
    std::io::stdin().read_to_string(&mut data).map_err(Failure::failed)?;
    // The line feed that ends a text file is no line of the event.
    if data.ends_with('\n') {
        data.pop();
    }
    Ok(data)
}

fn failed(url: &str, error: &remote::NoAnswer) -> Failure {
    Failure::Failed(format!("{url}: {error}"))
}
