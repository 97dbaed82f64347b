//! Finds the token of a request.
//!
//! The header `Authorization` takes precedence over everything else; then comes the query parameter
//! `authorization`, for draft-07 tokens; then a cookie. A request with two tokens in the same
//! location is refused, because the hub and a proxy in front of it might each use a different one.
//! A browser sends a cookie whichever page makes the request. A request with a cookie that changes
//! something must therefore come from a page of an allowed origin.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, ORIGIN, REFERER};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::error::AuthError;
use super::principal::TokenLocation;
use super::token_header;
use crate::config::{AuthConfig, COOKIE_08, Origin};

const QUERY_PARAMETER: &str = "authorization";

/// Finds the token of a request.
#[derive(Clone, Debug)]
pub(super) struct TokenExtractor {
    accepts_draft_07: bool,
    /// The name of the cookie for draft-07 tokens.
    cookie_07: String,
    /// Origins whose pages may publish with a cookie.
    publish_origins: Vec<Origin>,
}

/// A token that is not verified yet, and where the request carries it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PresentedToken<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) location: TokenLocation,
}

impl TokenExtractor {
    pub(super) fn new(config: &AuthConfig, publish_origins: Vec<Origin>) -> Self {
        let cookie_07 = config.cookie_name.clone();
        Self { accepts_draft_07: config.compat_draft_07, cookie_07, publish_origins }
    }

    /// The token of a request. `None` if it has none.
    pub(super) fn extract<'a>(
        &self,
        request: &'a Parts,
    ) -> Result<Option<PresentedToken<'a>>, AuthError> {
        let presented = |text, location| Ok(Some(PresentedToken { text, location }));
        if let Some(token) = in_header(&request.headers)? {
            return presented(token.into(), TokenLocation::Header);
        }
        if self.accepts_draft_07
            && let Some(token) = in_query(request)?
        {
            return presented(token, TokenLocation::Query);
        }
        let Some(token) = self.in_cookie(&request.headers)? else { return Ok(None) };
        if !request.method.is_safe() {
            self.check_origin(&request.headers)?;
        }
        presented(token.into(), TokenLocation::Cookie)
    }

    /// The draft-08 cookie takes precedence over the draft-07 cookie: browsers accept the former
    /// over TLS alone.
    fn in_cookie<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, AuthError> {
        if let Some(token) = cookie(headers, COOKIE_08)? {
            return Ok(Some(token));
        }
        if self.accepts_draft_07 { cookie(headers, &self.cookie_07) } else { Ok(None) }
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let sentence = "A request with a cookie must say that it comes from a page of an allowed \
                        origin.";
        let refuse = || AuthError::malformed(sentence);
        let origin = match single(headers, &ORIGIN).map_err(|()| refuse())? {
            Some(origin) => Origin::parse(origin),
            None => single(headers, &REFERER).map_err(|()| refuse())?.and_then(Origin::of),
        };
        match origin {
            Some(origin) if self.publish_origins.contains(&origin) => Ok(()),
            _ => Err(refuse()),
        }
    }
}

/// The token of `Authorization: Bearer TOKEN`. The scheme is case-insensitive.
fn in_header(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let sentence = "The header Authorization must be `Bearer`, one space and one token.";
    let refuse = || AuthError::malformed(sentence);
    let Some(value) = single(headers, &AUTHORIZATION).map_err(|()| refuse())? else {
        return Ok(None);
    };
    let (scheme, token) = value.split_once(' ').ok_or_else(refuse)?;
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    // A proxy may join several headers of one name into one, with commas between the values.
    if !scheme.eq_ignore_ascii_case("bearer") || !is_token || token.contains(',') {
        return Err(refuse());
    }
    Ok(Some(token))
}

/// The token of `?authorization=TOKEN`. Draft-08 has no such parameter, so that a draft-08 token is
/// ignored there.
fn in_query(request: &Parts) -> Result<Option<Cow<'_, str>>, AuthError> {
    let query = request.uri.query().unwrap_or_default();
    let mut tokens = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == QUERY_PARAMETER)
        .map(|(_, value)| value);
    let Some(token) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err(AuthError::malformed("The query must have one `authorization`."));
    }
    Ok((!token_header::is_draft_08(&token)).then_some(token))
}

/// The value of a cookie, which must not occur twice. Other cookies may hold any bytes.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, AuthError> {
    let pairs = headers.get_all(COOKIE).iter();
    let pairs = pairs.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs
        .filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let Some(value) = values.next() else { return Ok(None) };
    let refuse = || AuthError::malformed("The cookie with the token must be there once, as text.");
    if values.next().is_some() {
        return Err(refuse());
    }
    let value = std::str::from_utf8(value).map_err(|_| refuse())?;
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Ok(Some(unquoted.unwrap_or(value)))
}

/// The value of a header as text. `None` if it is absent; an error if it occurs twice.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}
