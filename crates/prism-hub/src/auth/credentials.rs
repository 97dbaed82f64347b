//! Where a request carries its token.
//!
//! The header `Authorization` alone counts if it is there; then the parameter `authorization` of
//! the query, for draft-07 tokens; then a cookie. A request that shows two of a kind is refused,
//! since the hub and a proxy might each look at another one. A cookie is sent by browsers whoever
//! wrote the page; so a request that changes something says from whose page it comes.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, ORIGIN, REFERER};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::error::AuthError;
use super::rights::TokenPlace;
use super::token;
use crate::config::{COOKIE_08, Origin, Trust};

const QUERY_PARAMETER: &str = "authorization";

/// Finds tokens.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    knows_draft_07: bool,
    /// The cookie of draft-07.
    cookie_07: String,
    /// Whose pages may use a cookie to change something.
    origins: Vec<Origin>,
}

/// A token that nobody has verified, and where it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) token: Cow<'a, str>,
    pub(super) place: TokenPlace,
}

impl Credentials {
    pub(super) fn new(trust: &Trust, origins: Vec<Origin>) -> Self {
        let cookie_07 = trust.cookie_name.clone();
        Self { knows_draft_07: trust.compat_draft_07, cookie_07, origins }
    }

    /// The token of a request, if it has one.
    pub(super) fn find<'a>(&self, request: &'a Parts) -> Result<Option<Found<'a>>, AuthError> {
        if let Some(token) = in_header(&request.headers)? {
            return Ok(Some(Found { token: token.into(), place: TokenPlace::Header }));
        }
        if self.knows_draft_07
            && let Some(token) = in_query(request)?
        {
            return Ok(Some(Found { token, place: TokenPlace::Query }));
        }
        let Some(token) = self.in_cookie(&request.headers)? else { return Ok(None) };
        if !request.method.is_safe() {
            self.check_page(&request.headers)?;
        }
        Ok(Some(Found { token: token.into(), place: TokenPlace::Cookie }))
    }

    /// Where both dialects' cookies are, that of the newer counts: it is the one that a page can
    /// only have got over TLS.
    fn in_cookie<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, AuthError> {
        if let Some(token) = cookie(headers, COOKIE_08)? {
            return Ok(Some(token));
        }
        if self.knows_draft_07 { cookie(headers, &self.cookie_07) } else { Ok(None) }
    }

    fn check_page(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let sentence = "A request with a cookie must say that it comes from a page of an allowed \
                        origin.";
        let refuse = || AuthError::malformed(sentence);
        let origin = match single(headers, &ORIGIN).map_err(|()| refuse())? {
            Some(origin) => Origin::parse(origin),
            None => single(headers, &REFERER).map_err(|()| refuse())?.and_then(Origin::of),
        };
        match origin {
            Some(origin) if self.origins.contains(&origin) => Ok(()),
            _ => Err(refuse()),
        }
    }
}

/// The token of `Authorization: Bearer TOKEN`, with the scheme in any case.
fn in_header(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let sentence = "The header Authorization must be `Bearer`, one space and one token.";
    let refuse = || AuthError::malformed(sentence);
    let Some(value) = single(headers, &AUTHORIZATION).map_err(|()| refuse())? else {
        return Ok(None);
    };
    let (scheme, token) = value.split_once(' ').ok_or_else(refuse)?;
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    // Several values of one header arrive as one, with commas between them.
    if !scheme.eq_ignore_ascii_case("bearer") || !is_token || token.contains(',') {
        return Err(refuse());
    }
    Ok(Some(token))
}

/// The token of `?authorization=TOKEN`. Draft-08 knows no such parameter; a token of that dialect
/// is not there as far as it is concerned.
fn in_query(request: &Parts) -> Result<Option<Cow<'_, str>>, AuthError> {
    let query = request.uri.query().unwrap_or_default();
    let mut tokens = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == QUERY_PARAMETER)
        .map(|(_, value)| value);
    let Some(token) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err(AuthError::malformed("The query must have one `authorization`."));
    }
    Ok((!token::is_draft_08(&token)).then_some(token))
}

/// The value of a cookie that is there once. Other cookies may hold any bytes.
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

/// The one value of a header as text, or nothing if it is not there.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}
