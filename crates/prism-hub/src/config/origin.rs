//! The origin of a page, as browsers name it.

use std::fmt;

use url::{Host, Url};

/// Scheme, host and port, normalised: two pages of one origin have equal values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// Reads `https://app.example.com:8443`, in settings and in the header `Origin` alike.
    ///
    /// Nothing but scheme, host and port may stand there: what has a path, a user or a wildcard is
    /// no origin, and neither is `null`.
    pub fn parse(text: &str) -> Option<Self> {
        let origin = Self::of(text)?;
        let url = Url::parse(text).ok()?;
        // What the parser dropped or added besides case, escapes and the port it knows.
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

    /// As browsers write it.
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
    fn what_is_no_origin_is_refused() {
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
