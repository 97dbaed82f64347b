//! Why a request has no rights, and what it is told.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::limits;
use crate::problem::Problem;

/// A request that may not do what it wants.
///
/// What it is told depends on the kind alone: every defect of a token gives the same answer. The
/// [`Defect`] is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthError {
    kind: Kind,
    metadata: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// There is no token.
    Missing,
    /// There is one, and it does not count.
    Invalid(Defect),
    /// It is not clear what the token is, or a page may not use it.
    Malformed(&'static str),
    /// The token counts, and does not allow this.
    Insufficient,
    /// Nobody can tell whether the token counts.
    Unavailable,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// The algorithm is none, or not one of the key.
    Algorithm,
    /// It is for another hub.
    Audience,
    /// A claim that grants something cannot be read, or there is too much of it.
    Claims,
    /// Its dialect is switched off.
    Dialect,
    /// It is over.
    Expired,
    /// It is not three parts of base64, or its header is not a header of a token.
    Form,
    /// Nobody who is trusted issued it.
    Issuer,
    /// No key fits it.
    Key,
    /// The keys that could have made it are not known now: their set was not fetched in time.
    KeysUnknown,
    /// It is longer than allowed.
    Length,
    /// It has not begun.
    NotYet,
    /// The signature does not verify.
    Signature,
}

impl AuthError {
    pub(super) fn missing() -> Self {
        Self { kind: Kind::Missing, metadata: None }
    }

    pub(super) fn invalid(defect: Defect) -> Self {
        let kind = match defect {
            Defect::KeysUnknown => Kind::Unavailable,
            defect => Kind::Invalid(defect),
        };
        Self { kind, metadata: None }
    }

    /// The sentence says what is wrong with how a token is shown, and nothing about the token.
    pub(super) fn malformed(sentence: &'static str) -> Self {
        Self { kind: Kind::Malformed(sentence), metadata: None }
    }

    pub(super) fn insufficient(metadata: Option<Arc<str>>) -> Self {
        Self { kind: Kind::Insufficient, metadata }
    }

    pub(super) fn with_metadata(self, metadata: Option<Arc<str>>) -> Self {
        Self { metadata, ..self }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Missing | Kind::Invalid(_) => StatusCode::UNAUTHORIZED,
            Kind::Malformed(_) => StatusCode::BAD_REQUEST,
            Kind::Insufficient => StatusCode::FORBIDDEN,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether it is for want of keys and not for the token: the same may be allowed later.
    pub fn is_unavailable(&self) -> bool {
        self.kind == Kind::Unavailable
    }

    /// The header `WWW-Authenticate` of the answer.
    pub fn challenge(&self) -> HeaderValue {
        let error = match self.kind {
            // Nothing was wrong; only something is wanted (RFC 6750, section 3.1).
            Kind::Missing | Kind::Unavailable => None,
            Kind::Invalid(_) => Some("invalid_token"),
            Kind::Malformed(_) => Some("invalid_request"),
            Kind::Insufficient => Some("insufficient_scope"),
        };
        let error = error.map(|error| format!("error=\"{error}\""));
        let metadata = self.metadata.as_ref().map(|url| format!("resource_metadata=\"{url}\""));
        let parts: Vec<String> = error.into_iter().chain(metadata).collect();
        // A URL has no characters that a header cannot hold; if it had, this would still be true.
        HeaderValue::try_from(format!("Bearer {}", parts.join(", ")).trim_end())
            .unwrap_or(HeaderValue::from_static("Bearer"))
    }

    /// What is wrong with the token, for the log.
    pub fn defect(&self) -> Option<Defect> {
        match self.kind {
            Kind::Invalid(defect) => Some(defect),
            Kind::Unavailable => Some(Defect::KeysUnknown),
            _ => None,
        }
    }
}

/// What the client is told.
impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Missing => "A token is needed.",
            Kind::Invalid(_) => "The token is not valid.",
            Kind::Malformed(sentence) => sentence,
            Kind::Insufficient => "The token does not allow this.",
            Kind::Unavailable => "The keys that could verify the token are not known now.",
        })
    }
}

impl std::error::Error for AuthError {}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        if error.is_unavailable() {
            return Self::unavailable("keys", error.to_string(), limits::JWKS_RETRY_AFTER);
        }
        Self::new(error.status(), error.to_string())
            .header(http::header::WWW_AUTHENTICATE, error.challenge())
    }
}
