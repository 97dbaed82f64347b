//! A connection that publishes: one POST after another, each answered before the next.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;

use crate::cli::{Endpoint, External};
use crate::client::topic;
use crate::http::Answer;
use crate::receive::Stamp;

/// What all publications have in common.
#[derive(Debug)]
pub(crate) struct Form {
    before: Vec<u8>,
    /// What follows the topic's name in the head; empty if there is none.
    after_topic: Vec<u8>,
    after: Vec<u8>,
    payload: usize,
}

impl Form {
    /// Requests to `endpoint` with `payload` bytes of data each.
    pub(crate) fn new(endpoint: &Endpoint, external: &External, payload: usize) -> Result<Self> {
        let template = &external.publish_body;
        let (begin, end) = template.split_once("{}").context("--publish-body has no `{}`")?;
        let length = begin.len() + payload + end.len();
        let mut rest = String::new();
        if !external.headers.iter().any(|it| it.to_ascii_lowercase().starts_with("content-type:")) {
            rest.push_str("Content-Type: text/plain\r\n");
        }
        for header in &external.headers {
            rest.push_str(header);
            rest.push_str("\r\n");
        }
        rest.push_str(&format!("Content-Length: {length}\r\n\r\n{begin}"));
        let (mut before, mut after_topic) = endpoint.request_line("POST");
        let last = if after_topic.is_empty() { &mut before } else { &mut after_topic };
        last.push_str(&rest);
        Ok(Self {
            before: before.into_bytes(),
            after_topic: after_topic.into_bytes(),
            after: end.as_bytes().to_vec(),
            payload,
        })
    }

    /// Requests to `endpoint` with nothing but `payload` bytes of data each.
    pub(crate) fn plain(endpoint: &Endpoint, payload: usize) -> Self {
        let (mut before, _) = endpoint.request_line("POST");
        before.push_str(&format!("Content-Type: text/plain\r\nContent-Length: {payload}\r\n\r\n"));
        let before = before.into_bytes();
        Self { before, after_topic: Vec::new(), after: Vec::new(), payload }
    }

    fn write(&self, stamp: Stamp, request: &mut Vec<u8>) {
        request.clear();
        request.extend_from_slice(&self.before);
        if !self.after_topic.is_empty() {
            request.extend_from_slice(topic(stamp.lane as usize).as_bytes());
            request.extend_from_slice(&self.after_topic);
        }
        stamp.write(self.payload, request);
        request.extend_from_slice(&self.after);
    }
}

/// A connection that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: TcpStream,
    request: Vec<u8>,
    written: usize,
    answer: Answer,
    busy: bool,
}

impl Publisher {
    /// A publisher on an open, or opening, connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, request: Vec::new(), written: 0, answer: Answer::new(), busy: false }
    }

    /// Whether its last publication was not answered yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Publishes an event. The publisher must not be busy.
    pub(crate) fn publish(&mut self, form: &Form, stamp: Stamp) -> Result<()> {
        form.write(stamp, &mut self.request);
        self.written = 0;
        self.answer = Answer::new();
        self.busy = true;
        self.write()
    }

    /// Does what the connection is ready for.
    pub(crate) fn go_on(&mut self, buffer: &mut [u8]) -> Result<()> {
        if !self.busy {
            return Ok(());
        }
        self.write()?;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection that publishes"),
                Ok(len) => self.answer.take(&buffer[..len], |_| ())?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("a connection that publishes broke"),
            }
            if self.answer.is_complete() {
                let status = self.answer.status().unwrap_or_default();
                ensure!((200..300).contains(&status), "a publication was answered with {status}");
                self.busy = false;
                return Ok(());
            }
        }
    }

    fn write(&mut self) -> Result<()> {
        while self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(written) => self.written += written,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error).context("a connection that publishes broke"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_it_is() {
        let endpoint = Endpoint::parse("http://127.0.0.1:1/p").unwrap();
        let external = External {
            url: None,
            publish_url: None,
            pid: None,
            headers: vec!["content-type: text/x".to_owned()],
            publish_body: "topic=a&data={}".to_owned(),
        };
        let form = Form::new(&endpoint, &external, 40).unwrap();
        let mut request = Vec::new();
        form.write(Stamp { lane: 1, seq: 2, due: 3 }, &mut request);
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            "POST /p HTTP/1.1\r\nHost: 127.0.0.1:1\r\ncontent-type: text/x\r\nContent-Length: 53"
        );
        assert_eq!(body.len(), 53);
        assert!(body.starts_with("topic=a&data=PB~000001"), "{body}");
        assert!(
            Form::new(&endpoint, &External { publish_body: String::new(), ..external }, 40)
                .is_err()
        );
    }
    #[test]
    fn a_request_names_its_topic() {
        let endpoint = Endpoint::parse("http://127.0.0.1:1/topics/{topic}").unwrap();
        let external = External {
            url: None,
            publish_url: None,
            pid: None,
            headers: Vec::new(),
            publish_body: "{}".to_owned(),
        };
        let mut request = Vec::new();
        let form = Form::new(&endpoint, &external, 40).unwrap();
        form.write(Stamp { lane: 7, seq: 0, due: 0 }, &mut request);
        let text = String::from_utf8(request).unwrap();
        assert!(text.starts_with("POST /topics/t7 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{text}");
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 40);
    }
}
