//! A connection that publishes: one POST after another, each answered before the next.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;

use crate::cli::Endpoint;
use crate::client::topic;
use crate::http::Answer;
use crate::receive::Stamp;
use crate::template::Template;

/// What all publications have in common.
#[derive(Debug)]
pub(crate) struct Form {
    line: Template,
    headers: Vec<u8>,
    body: Template,
    payload: usize,
}

impl Form {
    /// Requests to `endpoint` with these headers and this body, and `payload` bytes of data each.
    pub(crate) fn new(
        endpoint: &Endpoint,
        headers: &[String],
        body: &str,
        payload: usize,
    ) -> Result<Self> {
        let body = Template::parse(body);
        ensure!(body.data() == 1, "the body of a publication has one place for data: `{{}}`");
        let mut text = String::new();
        if !headers.iter().any(|it| it.to_ascii_lowercase().starts_with("content-type:")) {
            text.push_str("Content-Type: text/plain\r\n");
        }
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        let line = Template::parse(&endpoint.request_line("POST"));
        Ok(Self { line, headers: text.into_bytes(), body, payload })
    }

    fn write(&self, stamp: Stamp, request: &mut Vec<u8>) {
        request.clear();
        let has_topic = self.line.has_topic() || self.body.has_topic();
        let topic = if has_topic { topic(stamp.lane as usize) } else { String::new() };
        self.line.write(&topic, request, |_| ());
        request.extend_from_slice(&self.headers);
        let length = self.body.len(topic.len(), self.payload);
        // A vector takes everything.
        drop(write!(request, "Content-Length: {length}\r\n\r\n"));
        self.body.write(&topic, request, |request| stamp.write(self.payload, request));
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
    /// When its last publication was due.
    due: u64,
}

impl Publisher {
    /// A publisher on an open, or opening, connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        let (request, answer) = (Vec::new(), Answer::new());
        Self { stream, request, written: 0, answer, busy: false, due: 0 }
    }

    /// Whether its last publication was not answered yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// When its last publication was due, in nanoseconds.
    pub(crate) fn due(&self) -> u64 {
        self.due
    }

    /// Publishes an event. The publisher must not be busy.
    pub(crate) fn publish(&mut self, form: &Form, stamp: Stamp) -> Result<()> {
        form.write(stamp, &mut self.request);
        self.written = 0;
        self.answer = Answer::new();
        (self.busy, self.due) = (true, stamp.due);
        self.write()
    }

    /// Does what the connection is ready for. Answers whether its publication was answered now.
    pub(crate) fn go_on(&mut self, buffer: &mut [u8]) -> Result<bool> {
        if !self.busy {
            return Ok(false);
        }
        self.write()?;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection that publishes"),
                Ok(len) => self.answer.take(&buffer[..len], |_| ())?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("a connection that publishes broke"),
            }
            if self.answer.is_complete() {
                let status = self.answer.status().unwrap_or_default();
                ensure!((200..300).contains(&status), "a publication was answered with {status}");
                self.busy = false;
                return Ok(true);
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

    fn request(url: &str, headers: &[&str], body: &str, lane: u32) -> String {
        let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
        let form = Form::new(&Endpoint::parse(url).unwrap(), &headers, body, 40).unwrap();
        let mut request = Vec::new();
        form.write(Stamp { lane, seq: 2, due: 3 }, &mut request);
        String::from_utf8(request).unwrap()
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let headers = ["content-type: text/x"];
        let text = request("http://127.0.0.1:1/p", &headers, "topic=a&data={}", 1);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            "POST /p HTTP/1.1\r\nHost: 127.0.0.1:1\r\ncontent-type: text/x\r\nContent-Length: 53"
        );
        assert_eq!(body.len(), 53);
        assert!(body.starts_with("topic=a&data=PB~000001"), "{body}");
        let endpoint = Endpoint::parse("http://127.0.0.1:1/p").unwrap();
        assert!(Form::new(&endpoint, &[], "data", 40).is_err());
    }

    #[test]
    fn a_request_names_its_topic() {
        let text = request("http://127.0.0.1:1/topics/{topic}", &[], "{}", 7);
        assert!(text.starts_with("POST /topics/t7 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{text}");
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 40);
        for lane in [7, 77] {
            let text = request("http://127.0.0.1:1/", &[], "topic={topic}&data={}", lane);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(body.starts_with(&format!("topic=t{lane}&data=PB~")), "{body}");
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        }
    }
}
