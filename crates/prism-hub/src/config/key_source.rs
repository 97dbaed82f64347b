//! The settings that say where keys come from. The keys themselves are read in `auth`.

use std::fmt;
use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use url::{Host, Url};

use super::parse;

/// Where a key comes from: its text, a file or an environment variable.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// The variable of this name.
    Env(String),
    /// The file at this path: PEM or a secret.
    File(PathBuf),
    /// The key itself.
    Text(String),
}

/// A key set (RFC 7517): its location, and the issuer that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySetSource {
    /// The issuer whose draft-08 tokens the set verifies. `None` for a set that verifies draft-07
    /// tokens.
    pub issuer: Option<String>,
    /// Where the set is read from.
    pub location: KeySetLocation,
}

/// The algorithm of the keys of an issuer's key sets whose JWKs have no `alg`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySetAlgorithm {
    /// The issuer of the key sets. `None` for key sets that verify draft-07 tokens.
    pub issuer: Option<String>,
    /// The algorithm. It applies to keys of the type that it is for.
    pub algorithm: Algorithm,
}

/// Where a key set is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySetLocation {
    /// A file, read at start and at each reload.
    File(PathBuf),
    /// A URL, fetched periodically.
    Url(KeySetUrl),
}

/// The URL of a key set: `https`, or `http` at a loopback address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeySetUrl(Url);

impl KeySource {
    /// Reads `TEXT`, `file:PATH` or `env:NAME`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", "")) => Err("`file:` names no file".to_owned()),
            Some(("file", path)) => Ok(Self::File(path.into())),
            Some(("env", "")) => Err("`env:` names no variable".to_owned()),
            Some(("env", name)) => Ok(Self::Env(name.to_owned())),
            _ if text.is_empty() => Err("a key must not be empty".to_owned()),
            _ => Ok(Self::Text(text.to_owned())),
        }
    }
}

impl KeySetSource {
    /// Reads `LOCATION` or `ISSUER=LOCATION`. Without an issuer, the set belongs to the only
    /// configured issuer, if there is one.
    pub(super) fn parse(text: &str, issuers: &[String]) -> Result<Self, String> {
        let (issuer, location) = split_issuer(text, issuers);
        let location = KeySetLocation::parse(location)?;
        let issuer = owner(issuer, issuers, "ISSUER=file:PATH or ISSUER=URL")?;
        Ok(Self { issuer, location })
    }
}

impl KeySetAlgorithm {
    /// Reads `ALGORITHM` or `ISSUER=ALGORITHM`. Without an issuer, it is for the key sets of the
    /// only configured issuer, if there is one.
    pub(super) fn parse(text: &str, issuers: &[String]) -> Result<Self, String> {
        let (issuer, algorithm) = match text.rsplit_once('=') {
            Some((issuer, algorithm)) => (Some(issuer), algorithm),
            None => (None, text),
        };
        let algorithm = parse::algorithm(algorithm)?;
        let issuer = owner(issuer, issuers, "ISSUER=ALGORITHM")?;
        Ok(Self { issuer, algorithm })
    }
}

/// The issuer that a value with or without `ISSUER=` belongs to.
fn owner(issuer: Option<&str>, issuers: &[String], syntax: &str) -> Result<Option<String>, String> {
    match (issuer, issuers) {
        (Some(issuer), issuers) if !issuers.iter().any(|it| it == issuer) => {
            Err(format!("`{issuer}` is not among the issuers; add it to `issuer`"))
        }
        (Some(issuer), _) => Ok(Some(issuer.to_owned())),
        (None, [_, _, ..]) => Err(format!("of several issuers, say whose it is: {syntax}")),
        (None, issuers) => Ok(issuers.first().cloned()),
    }
}

impl KeySetLocation {
    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("file:") {
            Some("") => Err("`file:` names no file".to_owned()),
            Some(path) => Ok(Self::File(path.into())),
            None => KeySetUrl::parse(text).map(Self::Url),
        }
    }
}

impl KeySetUrl {
    /// Reads a URL. Errors do not repeat it, because it may contain a password.
    fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(url) = url.filter(Url::has_host) else {
            return Err(
                "a key set is https://HOST/PATH, file:PATH, or ISSUER= and one of them".to_owned()
            );
        };
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("the address of a key set has no user, password or fragment".to_owned());
        }
        // A host name does not count as loopback: it may resolve to another machine later.
        let is_loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            _ => false,
        };
        if url.scheme() == "http" && !is_loopback {
            return Err(
                "whoever is on the way could put keys into a set that comes over http; it \
                        must be https, or at a loopback address such as http://127.0.0.1:8081/keys"
                    .to_owned(),
            );
        }
        Ok(Self(url))
    }

    /// The whole URL, including the query, which [`Display`](fmt::Display) leaves out.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

/// Splits `ISSUER=LOCATION`. Configured issuers are tried first, because issuers and locations may
/// contain a `=`.
fn split_issuer<'a>(text: &'a str, issuers: &[String]) -> (Option<&'a str>, &'a str) {
    let known = issuers.iter().filter_map(|issuer| {
        let location = text.strip_prefix(issuer.as_str())?.strip_prefix('=')?;
        is_location(location).then_some((&text[..issuer.len()], location))
    });
    let other = || {
        let (at, _) = text.match_indices('=').find(|(at, _)| is_location(&text[at + 1..]))?;
        // The `=` is in the query of a URL, or in the name of a file.
        let is_inside = text.starts_with("file:") || text[..at].contains('?');
        (!is_inside).then_some((&text[..at], &text[at + 1..]))
    };
    match known.into_iter().next().or_else(other) {
        Some((issuer, location)) => (Some(issuer), location),
        None => (None, text),
    }
}

fn is_location(text: &str) -> bool {
    ["file:", "https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
}

/// Writes the URL without its query, which may be a secret.
impl fmt::Display for KeySetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_str();
        match text.split_once('?') {
            Some((shown, _)) => write!(f, "{shown}?…"),
            None => f.write_str(text),
        }
    }
}

/// The same as [`Display`](fmt::Display).
impl fmt::Debug for KeySetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Leaves out the key itself.
impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Text(_) => f.write_str("(a key)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_leaves_out_the_key() {
        let key = KeySource::parse("correct horse battery staple").unwrap();
        assert_eq!(format!("{key:?}"), "(a key)");
    }

    #[test]
    fn a_key_set_belongs_to_an_issuer() {
        let issuers = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let one = issuers(&["https://a.example"]);
        let two = issuers(&["https://a.example", "https://b.example"]);
        let parse = |text: &str, issuers: &[String]| {
            KeySetSource::parse(text, issuers).map(|set| set.issuer)
        };
        assert_eq!(parse("file:keys.json", &[]), Ok(None));
        assert_eq!(parse("file:keys.json", &one), Ok(Some(one[0].clone())));
        assert_eq!(parse("https://b.example=file:k", &two), Ok(Some(two[1].clone())));
        assert!(parse("file:keys.json", &two).is_err(), "whose?");
        assert!(parse("https://c.example=file:k", &two).is_err(), "an unknown issuer");
        assert!(parse("keys.json", &one).is_err());

        let location = "https://a.example/keys?x=https://y.example";
        assert_eq!(parse(location, &one), Ok(Some(one[0].clone())), "a parameter is no issuer");
        assert_eq!(parse(&format!("{}={location}", two[1]), &two), Ok(Some(two[1].clone())));
        assert_eq!(parse("file:/a=https://b", &one), Ok(Some(one[0].clone())), "nor is a name");
        assert!(parse(location, &two).is_err(), "whose?");
        assert!(parse("https://c.example=https://a.example/keys", &two).is_err(), "unknown");
    }

    #[test]
    fn a_key_set_url_is_https_or_loopback() {
        let parse = |text: &str| KeySetSource::parse(text, &[]).map(|set| set.location);
        for text in [
            "https://issuer.example/keys",
            "https://10.0.0.1:8443/keys?tenant=a",
            "http://127.0.0.1:8081/keys",
            "http://127.1.2.3/",
            "http://[::1]:8081/keys",
        ] {
            let Ok(KeySetLocation::Url(url)) = parse(text) else { panic!("{text}") };
            assert_eq!(url.as_str(), text);
        }
        for text in [
            "http://issuer.example/keys",
            "http://localhost/keys",
            "http://169.254.169.254/",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(parse(text).unwrap_err().contains("must be https"), "{text}");
        }
        for text in ["https://", "ftp://a.example/", "keys.json", "", "env:KEYS"] {
            assert!(parse(text).unwrap_err().contains("a key set is https://HOST/PATH"), "{text}");
        }
        for text in ["https://me:hunter2@a.example/", "https://hunter2@a.example/", "https://a/#b"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains("no user, password or fragment"), "{text}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_query_of_a_key_set_url_is_not_displayed() {
        let text = "https://a.example/keys?token=hunter2";
        let set = KeySetSource::parse(text, &[]).unwrap();
        assert!(!format!("{set:?}").contains("hunter2"));
        let KeySetLocation::Url(url) = set.location else { panic!("{text}") };
        assert_eq!(url.to_string(), "https://a.example/keys?…");
    }
}
