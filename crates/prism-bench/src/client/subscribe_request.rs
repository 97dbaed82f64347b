//! The request with which a subscriber asks for its stream.

use anyhow::Result;

use super::config::ClientConfig;
use crate::check::Sequences;
use crate::template::{Template, topic_name};
use crate::token;

/// The requests of all subscribers, which differ in their topic and its token.
#[derive(Debug)]
pub(super) struct SubscribeRequest {
    line: Template,
    topics: Option<usize>,
    headers: String,
    /// Whether each subscriber sends a token for its topic.
    tokens: bool,
    last_event_id: String,
    text: Vec<u8>,
}

impl SubscribeRequest {
    /// Requests for the one stream of the endpoint, or for a topic each.
    pub(super) fn new(config: &ClientConfig<'_>) -> Self {
        let topics = match config.sequences {
            Sequences::PerPublisher(_) => None,
            Sequences::PerTopic(count) => Some(count),
        };
        Self {
            line: Template::parse(&config.endpoint.request_line("GET")),
            topics,
            headers: config.headers.iter().map(|header| format!("{header}\r\n")).collect(),
            tokens: config.subscriber_tokens,
            last_event_id: String::new(),
            text: Vec::new(),
        }
    }

    /// Makes all later requests resume after this event.
    pub(super) fn resume_after(&mut self, id: &str) {
        self.last_event_id = format!("Last-Event-ID: {id}\r\n");
    }

    /// The text of a subscriber's request.
    pub(super) fn text(&mut self, subscriber: usize) -> Result<&[u8]> {
        let Self { line, topics, headers, tokens, last_event_id, text } = self;
        text.clear();
        let topic = topics.map(|topics| topic_name(subscriber % topics)).unwrap_or_default();
        line.write(&topic, text, |_| ());
        for part in ["Accept: text/event-stream\r\n", headers, last_event_id] {
            text.extend_from_slice(part.as_bytes());
        }
        if *tokens {
            text.extend_from_slice(token::subscriber_header(&topic)?.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Endpoint;

    #[test]
    fn a_request_names_its_topic_and_the_last_id() {
        let endpoint = Endpoint::parse("http://127.0.0.1:1/topics/{topic}").unwrap();
        let headers = ["X: y".to_owned()];
        let config = ClientConfig {
            endpoint: &endpoint,
            headers: &headers,
            subscriber_tokens: false,
            subscribers: 1,
            sequences: Sequences::PerTopic(3),
            payload: 100,
            process: 0,
        };
        let mut request = SubscribeRequest::new(&config);
        let text = "GET /topics/t1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\
                    Accept: text/event-stream\r\nX: y\r\n";
        assert_eq!(request.text(4).unwrap(), format!("{text}\r\n").as_bytes());
        request.resume_after("#5.2");
        let resumes = format!("{text}Last-Event-ID: #5.2\r\n\r\n");
        assert_eq!(request.text(1).unwrap(), resumes.as_bytes());
        let mut request =
            SubscribeRequest::new(&ClientConfig { subscriber_tokens: true, ..config });
        let with_token = String::from_utf8(request.text(1).unwrap().to_vec()).unwrap();
        assert!(with_token.starts_with(text), "{with_token}");
        assert!(with_token.contains("Authorization: Bearer "), "{with_token}");
    }
}
