//! Where keys come from. What they are is found out when they are read, in `auth`.

use std::fmt;
use std::path::PathBuf;

use super::parse::Refusal;

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

/// Where a set of keys comes from, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySetSource {
    /// The issuer whose draft-08 tokens these keys sign. Without one they sign draft-07 tokens.
    pub issuer: Option<String>,
    /// The file with the set.
    pub path: PathBuf,
}

impl KeySource {
    /// Reads `TEXT`, `file:PATH` or `env:NAME`.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
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
    /// Reads `file:PATH` or `ISSUER=file:PATH`. What is not said to belong to an issuer belongs to
    /// the only one.
    pub(super) fn parse(text: &str, issuers: &[String]) -> Result<Self, Refusal> {
        let (issuer, place) = match text.split_once("=file:") {
            Some((issuer, _)) => (Some(issuer), &text[issuer.len() + 1..]),
            None => (None, text),
        };
        let Some(path) = place.strip_prefix("file:") else {
            return Err(refuse_place(place));
        };
        if path.is_empty() {
            return Err("`file:` names no file".to_owned());
        }
        let issuer = match (issuer, issuers) {
            (Some(issuer), issuers) if !issuers.iter().any(|it| it == issuer) => {
                return Err(format!("`{issuer}` is not among the issuers; add it to `issuer`"));
            }
            (Some(issuer), _) => Some(issuer.to_owned()),
            (None, [_, _, ..]) => {
                return Err("of several issuers, say whose it is: ISSUER=file:PATH".to_owned());
            }
            (None, issuers) => issuers.first().cloned(),
        };
        Ok(Self { issuer, path: path.into() })
    }
}

fn refuse_place(place: &str) -> Refusal {
    if place.contains("://") {
        "key sets are not fetched yet; save it to a file and name it as file:PATH".to_owned()
    } else {
        format!("`{place}` is no key set such as file:PATH or ISSUER=file:PATH")
    }
}

/// Says where a key is, and never what it is.
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
    fn a_key_never_shows_in_debug() {
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
        assert!(parse("https://a.example/keys", &one).unwrap_err().contains("not fetched yet"));
        assert!(parse("keys.json", &one).is_err());
    }
}
