//! Web origins (RFC 6454), as browsers send them.

use std::fmt;

use url::{Host, Url};

/// A web origin: scheme, host and port, normalised so that equal origins are equal values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin such as `https://app.example.com:8443`, from a setting or from the header
    /// `Origin`.
    ///
    /// Returns `None` for `null`, and for text with anything besides scheme, host and port, such as
    /// a path, a user or a wildcard.
    pub fn parse(text: &str) -> Option<Self> {
        let origin = Self::of(text)?;
        let url = Url::parse(text).ok()?;
        // The URL parser accepts and drops more than an origin may have.
        let rest = text.get(url.scheme().len()..)?.strip_prefix("://")?;
        let is_bare = !rest.contains(['/', '?', '#', '@', '\\', '*', '%'])
            && !rest.contains(char::is_whitespace);
        is_bare.then_some(origin)
    }

    /// The origin of a URL, such as the one in the header `Referer`.
    pub fn of(url: &str) -> Option<Self> {
        Self::of_url(&Url::parse(url).ok()?)
    }

    /// The origin of a URL.
    pub fn of_url(url: &Url) -> Option<Self> {
        let has_name = match url.host()? {
            Host::Domain(name) => !name.is_empty(),
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        };
        let is_web = matches!(url.scheme(), "http" | "https");
        (has_name && is_web).then(|| Self(url.origin().ascii_serialization()))
    }

    /// The origin as browsers write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_origins_are_equal_values() {
        for (text, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.COM:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().as_str(), origin);
        }
        assert_eq!(
            Origin::of("https://a.example/path?query").unwrap().as_str(),
            "https://a.example"
        );
    }

    #[test]
    fn text_that_is_not_an_origin_is_refused() {
        for text in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://",
            "https://a.example/",
            "https://a.example/x",
            "https://a.example?b",
            "https://a.example#b",
            "https://user@a.example",
            "https://*.example.com",
            "file:///etc",
            "ftp://a.example",
            "https:a.example",
            "https://a.example\\@b.example",
            " https://a.example",
            "https://a.example ",
            "https://a%2eexample",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }
}
