//! The address and path of requests.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, ensure};
use http::Uri;

/// The placeholder of a topic's name in a path.
const TOPIC: &str = "{topic}";

/// A server's address, and a path there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// The value of the header `Host`.
    pub(crate) host: String,
    path: String,
}

impl Endpoint {
    /// Parses `http://HOST:PORT/PATH?QUERY`.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        ensure!(uri.scheme_str() == Some("http"), "{url:?} does not begin with http://");
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
        let mut addresses = (host.trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .with_context(|| format!("{host:?} has no address"))?;
        Ok(Self {
            address: addresses.next().with_context(|| format!("{host:?} has no address"))?,
            host: uri.authority().map_or_else(String::new, ToString::to_string),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// Whether the path has a placeholder of a topic.
    pub(crate) fn has_topic(&self) -> bool {
        self.path.contains(TOPIC)
    }

    /// The URL that [`parse`](Self::parse) parses.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.host, self.path)
    }

    /// The request line, and the header `Host`.
    pub(crate) fn request_line(&self, method: &str) -> String {
        format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", self.path, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_an_address_a_host_and_a_path() {
        let found = Endpoint::parse("http://127.0.0.1:8080/a?topic=b").unwrap();
        assert_eq!(found.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((found.host.as_str(), found.path.as_str()), ("127.0.0.1:8080", "/a?topic=b"));
        assert_eq!(found.url(), "http://127.0.0.1:8080/a?topic=b");
        assert_eq!(Endpoint::parse("http://[::1]:9").unwrap().path, "/");
        for url in ["https://127.0.0.1/", "127.0.0.1:80", "/events", ""] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_request_line_keeps_the_placeholder_of_a_topic() {
        let plain = Endpoint::parse("http://127.0.0.1:80/a").unwrap();
        assert!(!plain.has_topic());
        assert_eq!(plain.request_line("GET"), "GET /a HTTP/1.1\r\nHost: 127.0.0.1:80\r\n");
        let by_topic = Endpoint::parse("http://127.0.0.1:80/a?t={topic}&b").unwrap();
        assert!(by_topic.has_topic());
        let line = "POST /a?t={topic}&b HTTP/1.1\r\nHost: 127.0.0.1:80\r\n";
        assert_eq!(by_topic.request_line("POST"), line);
    }
}
