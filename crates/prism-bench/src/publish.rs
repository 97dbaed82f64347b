//! A connection that publishes: one POST request after another, each after the last response.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;

use crate::cli::Endpoint;
use crate::receive::Stamp;
use crate::response_parser::ResponseParser;
use crate::template::{Template, topic_name};

/// The request of all publications, which differ in topic and data.
#[derive(Debug)]
pub(crate) struct PublishTemplate {
    line: Template,
    headers: Vec<u8>,
    body: Template,
    payload: usize,
}

impl PublishTemplate {
    /// Requests to `endpoint` with these headers and this body, each with `payload` bytes of data.
    /// An error if the body has not exactly one place for data.
    pub(crate) fn new(
        endpoint: &Endpoint,
        headers: &[String],
        body: &str,
        payload: usize,
    ) -> Result<Self> {
        let body = Template::parse(body);
        ensure!(body.data_count() == 1, "the body of a publication has one place for data: `{{}}`");
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
        let topic = if has_topic { topic_name(stamp.sequence as usize) } else { String::new() };
        self.line.write(&topic, request, |_| ());
        request.extend_from_slice(&self.headers);
        let length = self.body.len(topic.len(), self.payload);
        // Writing to a vector cannot fail.
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
    response: ResponseParser,
    busy: bool,
    /// When its last publication was due.
    due: u64,
}

impl Publisher {
    /// A publisher on an open, or opening, connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        let (request, response) = (Vec::new(), ResponseParser::new());
        Self { stream, request, written: 0, response, busy: false, due: 0 }
    }

    /// Whether the response to its last publication is outstanding.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// When its last publication was due, in nanoseconds.
    pub(crate) fn due(&self) -> u64 {
        self.due
    }

    /// Publishes an event. The publisher must not be busy.
    pub(crate) fn publish(&mut self, template: &PublishTemplate, stamp: Stamp) -> Result<()> {
        template.write(stamp, &mut self.request);
        self.written = 0;
        self.response = ResponseParser::new();
        (self.busy, self.due) = (true, stamp.due);
        self.write()
    }

    /// Writes and reads what the connection is ready for. `true` if the response is complete now.
    pub(crate) fn handle_ready(&mut self, buffer: &mut [u8]) -> Result<bool> {
        if !self.busy {
            return Ok(false);
        }
        self.write()?;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection that publishes"),
                Ok(len) => self.response.feed(&buffer[..len], |_| ())?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("a connection that publishes broke"),
            }
            if self.response.is_complete() {
                let status = self.response.status().unwrap_or_default();
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

    fn request(url: &str, headers: &[&str], body: &str, sequence: u32) -> String {
        let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
        let template =
            PublishTemplate::new(&Endpoint::parse(url).unwrap(), &headers, body, 40).unwrap();
        let mut request = Vec::new();
        template.write(Stamp { sequence, number: 2, due: 3 }, &mut request);
        String::from_utf8(request).unwrap()
    }

    #[test]
    fn a_request_has_its_length() {
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
        assert!(PublishTemplate::new(&endpoint, &[], "data", 40).is_err());
    }

    #[test]
    fn a_request_names_its_topic() {
        let text = request("http://127.0.0.1:1/topics/{topic}", &[], "{}", 7);
        assert!(text.starts_with("POST /topics/t7 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{text}");
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 40);
        for sequence in [7, 77] {
            let text = request("http://127.0.0.1:1/", &[], "topic={topic}&data={}", sequence);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(body.starts_with(&format!("topic=t{sequence}&data=PB~")), "{body}");
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        }
    }
}
