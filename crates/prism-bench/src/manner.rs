//! How a server is spoken to: where it streams, where and as what it takes events, and with which
//! rights.
//!
//! Most targets take the bare text of an event from anybody. The hub, and the server it is compared
//! to, take a form from whoever shows a token that allows it.

use anyhow::Result;

use crate::cli::{Scenario, Settings, Target};
use crate::targets::{
    HUB_PATH, PUBLISH_PATH, PUBLISH_TOPIC_PATH, SUBSCRIBE_PATH, SUBSCRIBE_TOPIC_PATH,
};
use crate::token;

/// What everybody reads of the hub where a scenario has no topics.
const TOPIC: &str = "bench";

/// How a server is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Where it streams; `{topic}` stands for a topic's name.
    pub(crate) subscribe: String,
    /// Where it takes events; `{topic}` likewise.
    pub(crate) publish: String,
    /// Headers of those who subscribe.
    pub(crate) subscribe_headers: Vec<String>,
    /// Each subscriber shows a token that lets it read what is private in its topic.
    pub(crate) tokens: bool,
    /// Headers of those who publish.
    pub(crate) publish_headers: Vec<String>,
    /// The body of a publication, with `{}` where the event's data belongs; `{topic}` as above.
    pub(crate) body: String,
}

impl Manner {
    /// How a server is spoken to in a scenario.
    pub(crate) fn of(target: Target, scenario: Scenario, settings: &Settings) -> Result<Self> {
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
            tokens: false,
            publish_headers: headers.clone(),
            body: settings.external.publish_body.clone(),
        };
        if !target.takes_forms() {
            return Ok(plain);
        }
        let topic = if by_topic { "{topic}" } else { TOPIC };
        let private = if is_private { "private=on&" } else { "" };
        let form = "Content-Type: application/x-www-form-urlencoded".to_owned();
        let manner = Self {
            publish_headers: [&headers[..], &[form, token::of_publisher()?]].concat(),
            body: format!("topic={topic}&{private}data={{}}"),
            tokens: is_private,
            ..plain
        };
        Ok(match target {
            Target::PrismHub => Self {
                subscribe: format!("{HUB_PATH}?topic={topic}"),
                publish: HUB_PATH.to_owned(),
                ..manner
            },
            _ => manner,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Mode};

    fn manner(target: Target, scenario: Scenario, arguments: &[&str]) -> Manner {
        let arguments = [&["prism-bench", "idle", "raw"], arguments].concat();
        match Cli::parse_from(arguments).mode {
            Mode::Idle(single) => Manner::of(target, scenario, &single.settings).unwrap(),
            _ => panic!("another mode"),
        }
    }

    #[test]
    fn most_take_the_text_as_it_is() {
        let plain = manner(Target::Raw, Scenario::Fanout, &["--header", "A: b"]);
        assert_eq!((plain.subscribe.as_str(), plain.publish.as_str()), ("/events", "/publish"));
        assert_eq!(plain.publish_headers, ["A: b"]);
        assert_eq!((plain.body.as_str(), plain.tokens), ("{}", false));
        let by_topic = manner(Target::PrismServe, Scenario::Topics, &["--private"]);
        assert_eq!(by_topic.subscribe, "/topics/{topic}");
        assert!(!by_topic.tokens);
    }

    #[test]
    fn the_hub_takes_a_form_and_a_token() {
        let hub = manner(Target::PrismHub, Scenario::Publish, &["--private"]);
        assert_eq!(
            (hub.subscribe.as_str(), hub.publish.as_str()),
            ("/events?topic=bench", "/events")
        );
        assert_eq!((hub.body.as_str(), hub.tokens), ("topic=bench&data={}", false));
        assert!(hub.publish_headers[1].starts_with("Authorization: Bearer "));
        assert!(hub.subscribe_headers.is_empty());
        let private = manner(Target::PrismHub, Scenario::Topics, &["--private"]);
        assert_eq!(private.subscribe, "/events?topic={topic}");
        assert_eq!(
            (private.body.as_str(), private.tokens),
            ("topic={topic}&private=on&data={}", true)
        );
        let bare = manner(Target::BarePublish, Scenario::Publish, &[]);
        assert_eq!((bare.subscribe.as_str(), bare.publish.as_str()), ("/events", "/publish"));
        assert_eq!(bare.body, "topic=bench&data={}");
    }
}
