//! One stream that is read.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;

use super::Plan;
use crate::check::Lanes;
use crate::http::Answer;
use crate::receive::Lines;
use crate::template::Template;
use crate::token;

/// What subscribers ask for.
#[derive(Debug)]
pub(super) struct Question {
    line: Template,
    topics: Option<usize>,
    headers: String,
    /// Each subscriber shows a token for its topic.
    tokens: bool,
    last_event_id: String,
    text: Vec<u8>,
}

impl Question {
    /// The question for the stream that a plan names, or for one of so many topics.
    pub(super) fn new(plan: &Plan<'_>) -> Self {
        let topics = match plan.lanes {
            Lanes::Publishers(_) => None,
            Lanes::Topics(count) => Some(count),
        };
        Self {
            line: Template::parse(&plan.endpoint.request_line("GET")),
            topics,
            headers: plan.headers.iter().map(|header| format!("{header}\r\n")).collect(),
            tokens: plan.tokens,
            last_event_id: String::new(),
            text: Vec::new(),
        }
    }

    /// From now on asks for what follows this event.
    pub(super) fn resume_after(&mut self, id: &str) {
        self.last_event_id = format!("Last-Event-ID: {id}\r\n");
    }

    /// The request of a subscriber.
    pub(super) fn of(&mut self, subscriber: usize) -> Result<&[u8]> {
        let Self { line, topics, headers, tokens, last_event_id, text } = self;
        text.clear();
        let topic = topics.map(|topics| topic(subscriber % topics)).unwrap_or_default();
        line.write(&topic, text, |_| ());
        for part in ["Accept: text/event-stream\r\n", headers, last_event_id] {
            text.extend_from_slice(part.as_bytes());
        }
        if *tokens {
            text.extend_from_slice(token::of_reader(&topic)?.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        Ok(text)
    }
}

/// The name of a topic.
pub(crate) fn topic(number: usize) -> String {
    format!("t{number}")
}

/// A connection that asks for a stream and reads it.
#[derive(Debug)]
pub(super) struct Subscriber {
    stream: TcpStream,
    asked: bool,
    answer: Answer,
    lines: Lines,
}

impl Subscriber {
    /// A subscriber on an open, or opening, connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, asked: false, answer: Answer::new(), lines: Lines::new() }
    }

    /// Asks for the stream once the connection is open. `false` as long as it is not.
    pub(super) fn ask(&mut self, question: &mut Question, at: usize) -> Result<bool> {
        if self.asked {
            return Ok(true);
        }
        self.asked = ask(&mut self.stream, question.of(at)?)?;
        Ok(self.asked)
    }

    /// Whether the stream has begun. An answer that is none is an error.
    pub(super) fn is_open(&self) -> Result<bool> {
        match self.answer.status() {
            None => Ok(false),
            Some(200) => Ok(true),
            Some(status) => bail!("a subscriber was answered with status {status}"),
        }
    }

    /// Reads what has come, and hands on each piece of the body, with what the clock said when
    /// it was read. Answers how many reads had something to give.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        clock: impl Fn() -> u64,
        mut take: impl FnMut(&mut Lines, &[u8], u64),
    ) -> Result<u64> {
        let mut reads = 0;
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a stream"),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(reads),
                Err(error) => return Err(error).context("a stream broke"),
            };
            reads += 1;
            let (lines, now) = (&mut self.lines, clock());
            self.answer.take(&buffer[..len], |text| take(lines, text, now))?;
            ensure!(!self.answer.is_complete(), "the server ended a stream");
            // A read that leaves room in the buffer left nothing in the socket.
            if len < buffer.len() {
                return Ok(reads);
            }
        }
    }
}

/// Sends a request once the connection is open. `false` as long as it is not.
pub(super) fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<bool> {
    match stream.write(request) {
        // The first write to a socket always has room for a head.
        Ok(written) => ensure!(written == request.len(), "a request was cut short"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Endpoint;

    #[test]
    fn a_question_names_its_topic_and_the_last_id() {
        let endpoint = Endpoint::parse("http://127.0.0.1:1/topics/{topic}").unwrap();
        let headers = ["X: y".to_owned()];
        let plan = Plan {
            endpoint: &endpoint,
            headers: &headers,
            tokens: false,
            subscribers: 1,
            lanes: Lanes::Topics(3),
            payload: 100,
            place: 0,
        };
        let mut question = Question::new(&plan);
        let text = "GET /topics/t1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\
                    Accept: text/event-stream\r\nX: y\r\n";
        assert_eq!(question.of(4).unwrap(), format!("{text}\r\n").as_bytes());
        question.resume_after("#5.2");
        let resumes = format!("{text}Last-Event-ID: #5.2\r\n\r\n");
        assert_eq!(question.of(1).unwrap(), resumes.as_bytes());
        let mut question = Question::new(&Plan { tokens: true, ..plan });
        let shown = String::from_utf8(question.of(1).unwrap().to_vec()).unwrap();
        assert!(shown.starts_with(text) && shown.contains("Authorization: Bearer "), "{shown}");
    }
}
