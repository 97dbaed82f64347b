//! Why a request is not authorized, and the answer that it gets.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use jsonwebtoken::Algorithm;

use crate::limits;
use crate::problem::Problem;

/// A request that is not authorized.
///
/// The answer depends on the kind of error alone: every invalid token gets the same answer, so that
/// an attacker learns nothing from it. [`token_error`](Self::token_error) says what was wrong, for
/// the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthError {
    kind: AuthErrorKind,
    /// The URL of the hub's metadata (RFC 9728), for `WWW-Authenticate`.
    metadata_url: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuthErrorKind {
    /// The request has no token.
    Missing,
    /// The token is invalid.
    Invalid(TokenError),
    /// The request carries its token in a way that is not allowed.
    Malformed(&'static str),
    /// The token is valid, but does not grant this operation.
    Insufficient,
    /// The keys that could verify the token are not available now.
    Unavailable,
}

/// Why a token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is signed with another algorithm than that of the key.
    Algorithm {
        /// The algorithm that the token names.
        found: Algorithm,
        /// The one algorithm that the key is used with; of several keys, that of the first.
        allowed: Algorithm,
    },
    /// The token is for another hub.
    Audience,
    /// A claim cannot be read, or there are more grants than allowed.
    Claims,
    /// The token is of a draft that is switched off.
    Dialect,
    /// The token has expired.
    Expired,
    /// The text is not a compact JWS, or its header is not acceptable.
    Format,
    /// The issuer is not trusted.
    Issuer,
    /// No trusted key has the key id that the token names.
    Key,
    /// The key set that could verify the token was not fetched in time.
    KeysUnavailable,
    /// The token is longer than allowed.
    Length,
    /// The token is not valid yet.
    NotYetValid,
    /// The signature does not verify.
    Signature,
    /// The algorithm is `none`, or not supported.
    UnknownAlgorithm,
}

impl AuthError {
    pub(super) fn missing() -> Self {
        Self { kind: AuthErrorKind::Missing, metadata_url: None }
    }

    pub(super) fn invalid(error: TokenError) -> Self {
        let kind = match error {
            TokenError::KeysUnavailable => AuthErrorKind::Unavailable,
            error => AuthErrorKind::Invalid(error),
        };
        Self { kind, metadata_url: None }
    }

    /// The sentence says how the request has to carry its token, and nothing about the token.
    pub(super) fn malformed(sentence: &'static str) -> Self {
        Self { kind: AuthErrorKind::Malformed(sentence), metadata_url: None }
    }

    pub(super) fn insufficient(metadata_url: Option<Arc<str>>) -> Self {
        Self { kind: AuthErrorKind::Insufficient, metadata_url }
    }

    pub(super) fn with_metadata_url(self, metadata_url: Option<Arc<str>>) -> Self {
        Self { metadata_url, ..self }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self.kind {
            AuthErrorKind::Missing | AuthErrorKind::Invalid(_) => StatusCode::UNAUTHORIZED,
            AuthErrorKind::Malformed(_) => StatusCode::BAD_REQUEST,
            AuthErrorKind::Insufficient => StatusCode::FORBIDDEN,
            AuthErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the hub lacks the keys to verify the token, so that the same token may be accepted
    /// later.
    pub fn is_unavailable(&self) -> bool {
        self.kind == AuthErrorKind::Unavailable
    }

    /// The header `WWW-Authenticate` of the answer.
    pub fn challenge(&self) -> HeaderValue {
        let error = match self.kind {
            // A request without credentials gets no error code (RFC 6750, section 3.1).
            AuthErrorKind::Missing | AuthErrorKind::Unavailable => None,
            AuthErrorKind::Invalid(_) => Some("invalid_token"),
            AuthErrorKind::Malformed(_) => Some("invalid_request"),
            AuthErrorKind::Insufficient => Some("insufficient_scope"),
        };
        let error = error.map(|error| format!("error=\"{error}\""));
        let metadata = self.metadata_url.as_ref().map(|url| format!("resource_metadata=\"{url}\""));
        let parameters: Vec<String> = error.into_iter().chain(metadata).collect();
        // A URL has no characters that a header cannot hold. The fallback is still a challenge.
        HeaderValue::try_from(format!("Bearer {}", parameters.join(", ")).trim_end())
            .unwrap_or(HeaderValue::from_static("Bearer"))
    }

    /// Why the token is invalid, for the log.
    pub fn token_error(&self) -> Option<TokenError> {
        match self.kind {
            AuthErrorKind::Invalid(error) => Some(error),
            AuthErrorKind::Unavailable => Some(TokenError::KeysUnavailable),
            _ => None,
        }
    }
}

/// The sentence for the client.
impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            AuthErrorKind::Missing => "A token is needed.",
            AuthErrorKind::Invalid(_) => "The token is not valid.",
            AuthErrorKind::Malformed(sentence) => sentence,
            AuthErrorKind::Insufficient => "The token does not allow this.",
            AuthErrorKind::Unavailable => "The keys that could verify the token are not known now.",
        })
    }
}

impl std::error::Error for AuthError {}

/// The sentence for the log.
impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Algorithm { found, allowed } => {
                return write!(f, "the token is signed with {found:?}; its key allows {allowed:?}");
            }
            Self::Audience => "the token is for another hub",
            Self::Claims => "a claim of the token cannot be read, or has too many grants",
            Self::Dialect => "the token is of draft-07, which is switched off",
            Self::Expired => "the token has expired",
            Self::Format => "the token is not a compact JWS with an acceptable header",
            Self::Issuer => "the issuer of the token is not trusted",
            Self::Key => "no trusted key has the key id of the token",
            Self::KeysUnavailable => "the key set that could verify the token is not available",
            Self::Length => "the token is too long",
            Self::NotYetValid => "the token is not valid yet",
            Self::Signature => "the signature of the token does not verify",
            Self::UnknownAlgorithm => "the algorithm of the token is not supported",
        })
    }
}

impl std::error::Error for TokenError {}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        if error.is_unavailable() {
            return Self::unavailable("keys", error.to_string(), limits::JWKS_RETRY_AFTER);
        }
        Self::new(error.status(), error.to_string())
            .header(http::header::WWW_AUTHENTICATE, error.challenge())
    }
}
