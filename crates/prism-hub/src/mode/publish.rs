//! The mode `publish`: publishes one event to a hub.

use std::io::Read as _;

use super::failure::Failure;
use super::hub_client::{self, HubClient};
use super::serve::block_on;
use crate::cli::PublishArgs;

/// Publishes the event, and prints its id.
pub(super) fn publish(args: PublishArgs) -> Result<(), Failure> {
    let client = HubClient::new(&args.url, args.token.as_deref())?;
    let data = match args.data.as_deref() {
        Some("-") => Some(standard_input()?),
        _ => args.data.clone(),
    };
    block_on(async move {
        let response = client.post(&form(&args, data.as_deref())).await;
        let response = response.map_err(|error| failure(&args.url, &error))?;
        if !response.status().is_success() {
            return Err(Failure::Failed(hub_client::error_message(response).await));
        }
        let id = hub_client::body_text(response.into_body()).await;
        println!("{}", hub_client::printable(&id.map_err(|error| failure(&args.url, &error))?));
        Ok(())
    })
}

/// The event as a form of the Mercure protocol, which is the same in both dialects.
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
    // A text file ends with a line feed, which is not part of the event's last line.
    if data.ends_with('\n') {
        data.pop();
    }
    Ok(data)
}

fn failure(url: &str, error: &hub_client::RequestError) -> Failure {
    Failure::Failed(format!("{url}: {error}"))
}
