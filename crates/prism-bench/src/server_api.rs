//! The HTTP API of each target: paths, headers, and the body of a publication.
//!
//! Most targets take the data of an event as the body, from anybody. The hub, and the server it is
//! compared to, take a form and verify a token.

use anyhow::Result;

use crate::cli::{Scenario, Settings, Target};
use crate::targets::{
    HUB_PATH, PUBLISH_PATH, PUBLISH_TOPIC_PATH, SUBSCRIBE_PATH, SUBSCRIBE_TOPIC_PATH,
};
use crate::token;

/// The hub's topic in scenarios without topics.
const TOPIC: &str = "bench";

/// The HTTP API of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerApi {
    /// The path of streams; `{topic}` is the placeholder of a topic's name.
    pub(crate) subscribe: String,
    /// The path that takes events; `{topic}` likewise.
    pub(crate) publish: String,
    /// Headers of subscribers.
    pub(crate) subscribe_headers: Vec<String>,
    /// Whether each subscriber sends a token that grants private events of its topic.
    pub(crate) subscriber_tokens: bool,
    /// Headers of publishers.
    pub(crate) publish_headers: Vec<String>,
    /// The body of a publication; `{}` is the placeholder of the event's data, `{topic}` as above.
    pub(crate) body: String,
}

impl ServerApi {
    /// The API of a target in a scenario.
    pub(crate) fn new(target: Target, scenario: Scenario, settings: &Settings) -> Result<Self> {
        let headers = &settings.external.headers;
        let by_topic = scenario == Scenario::Topics;
        let is_private = by_topic && settings.scenarios.private;
        let (subscribe, publish) = match by_topic {
            true => (SUBSCRIBE_TOPIC_PATH, PUBLISH_TOPIC_PATH),
            false => (SUBSCRIBE_PATH, PUBLISH_PATH),
        };
        let plain = Self {
            subscribe: subscribe.to_owned(),
            publish: publish.to_owned(),
            subscribe_headers: headers.clone(),
            subscriber_tokens: false,
            publish_headers: headers.clone(),
            body: settings.external.publish_body.clone(),
        };
        if !target.takes_forms() {
            return Ok(plain);
        }
        let topic = if by_topic { "{topic}" } else { TOPIC };
        let private = if is_private { "private=on&" } else { "" };
        let content_type = "Content-Type: application/x-www-form-urlencoded".to_owned();
        let form_api = Self {
            publish_headers: [&headers[..], &[content_type, token::publisher_header()?]].concat(),
            body: format!("topic={topic}&{private}data={{}}"),
            subscriber_tokens: is_private,
            ..plain
        };
        Ok(match target {
            Target::PrismHub => Self {
                subscribe: format!("{HUB_PATH}?topic={topic}"),
                publish: HUB_PATH.to_owned(),
                ..form_api
            },
            _ => form_api,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings;

    fn api(target: Target, scenario: Scenario, arguments: &[&str]) -> ServerApi {
        ServerApi::new(target, scenario, &settings(arguments)).unwrap()
    }

    #[test]
    fn most_targets_take_the_data_as_the_body() {
        let plain = api(Target::Raw, Scenario::Fanout, &["--header", "A: b"]);
        assert_eq!((plain.subscribe.as_str(), plain.publish.as_str()), ("/events", "/publish"));
        assert_eq!(plain.publish_headers, ["A: b"]);
        assert_eq!((plain.body.as_str(), plain.subscriber_tokens), ("{}", false));
        let by_topic = api(Target::PrismServe, Scenario::Topics, &["--private"]);
        assert_eq!(by_topic.subscribe, "/topics/{topic}");
        assert!(!by_topic.subscriber_tokens);
    }

    #[test]
    fn the_hub_takes_a_form_and_a_token() {
        let hub = api(Target::PrismHub, Scenario::Publish, &["--private"]);
        assert_eq!(
            (hub.subscribe.as_str(), hub.publish.as_str()),
            ("/events?topic=bench", "/events")
        );
        assert_eq!((hub.body.as_str(), hub.subscriber_tokens), ("topic=bench&data={}", false));
        assert!(hub.publish_headers[1].starts_with("Authorization: Bearer "));
        assert!(hub.subscribe_headers.is_empty());
        let private = api(Target::PrismHub, Scenario::Topics, &["--private"]);
        assert_eq!(private.subscribe, "/events?topic={topic}");
        assert_eq!(
            (private.body.as_str(), private.subscriber_tokens),
            ("topic={topic}&private=on&data={}", true)
        );
        let bare = api(Target::BarePublish, Scenario::Publish, &[]);
        assert_eq!((bare.subscribe.as_str(), bare.publish.as_str()), ("/events", "/publish"));
        assert_eq!(bare.body, "topic=bench&data={}");
    }
}
