//! Parsers of durations, sizes, counts, switches and addresses.
//!
//! A duration or size always has a unit. Zero never means "no limit", which is spelled `unlimited`,
//! so that a typing error removes no limit. An error is half a sentence that follows the name of
//! the setting.

use std::net::SocketAddr;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use url::Url;

/// The cookie for draft-08 tokens. Browsers accept a cookie with this prefix over TLS alone.
pub(crate) const COOKIE_08: &str = "__Secure-mercure_access_token";

const UNLIMITED: &str = "unlimited";

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// `250ms`, `15s`, `2m`, `24h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let millis = number_with_unit(text, DURATIONS)
        .ok_or_else(|| format!("`{text}` is no duration such as 250ms, 15s, 2m, 24h or 7d"))?;
    Ok(Duration::from_millis(millis))
}

/// A duration within bounds.
pub(super) fn duration_in(
    text: &str,
    min: Duration,
    max: Option<Duration>,
) -> Result<Duration, String> {
    let value = duration(text)?;
    if value < min {
        return Err(format!("`{text}` is too short; at least {} ms are needed", min.as_millis()));
    }
    match max {
        Some(max) if value > max => {
            Err(format!("`{text}` is too long; at most {} ms are allowed", max.as_millis()))
        }
        _ => Ok(value),
    }
}

/// A size of at least one byte: `512B`, `64KiB`, `1MiB`, `1GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bytes = number_with_unit(text, SIZES)
        .ok_or_else(|| format!("`{text}` is no size such as 512B, 64KiB, 1MiB or 1GiB"))?;
    not_zero(bytes, text)
}

/// A number of at least one.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let count = digits(text).ok_or_else(|| format!("`{text}` is no whole number such as 1000"))?;
    not_zero(count, text)
}

/// Parses a value, or `unlimited` as `None`.
pub(super) fn or_unlimited<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == UNLIMITED {
        return Ok(None);
    }
    parse(text).map(Some).map_err(|error| format!("{error}; no limit is `{UNLIMITED}`"))
}

/// Parses a value, or `off` as `None`.
pub(super) fn or_off<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == "off" {
        return Ok(None);
    }
    parse(text).map(Some).map_err(|error| format!("{error}; none is `off`"))
}

/// `on` or `off`; `true` and `false` mean the same.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!("`{text}` is neither `on` nor `off`")),
    }
}

/// One of several words.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    Err(format!("`{text}` is none of {}", words.join(", ")))
}

/// A socket address. Host names are refused, because what they resolve to may change.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address such as 127.0.0.1:8080 or [::1]:8080"))
}

/// An `http` or `https` URL without user, query and fragment, and without a slash at its end.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let refuse = || format!("`{text}` is no URL such as https://hub.example.com");
    let mut url = Url::parse(text).map_err(|_| refuse())?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    let has_user = !url.username().is_empty() || url.password().is_some();
    if !is_web || has_user || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// An issuer or an audience: a URL. It is kept as written, because it is compared byte for byte.
pub(super) fn identifier(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("`{text}` is no URL such as https://issuer.example.com")),
    }
}

/// A signature algorithm (RFC 7518, section 3.1), by its name in a JWK's or a token's `alg`.
pub(crate) fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is no algorithm; allowed: HS256, HS384, HS512, RS256, RS384, RS512, PS256, \
             PS384, PS512, ES256, ES384, EdDSA"
        )
    })
}

/// The name of a cookie (RFC 6265, section 4.1.1): an HTTP token, other than the name of the
/// draft-08 cookie.
pub(super) fn cookie_name(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(format!(
            "`{}` is no name of a cookie; it must be letters, digits and !#$%&'*+-.^_`|~",
            text.escape_debug()
        ));
    }
    if text == COOKIE_08 {
        return Err(format!("`{COOKIE_08}` is the cookie of draft-08, and no other's"));
    }
    Ok(text.to_owned())
}

fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits(number)?.checked_mul(*factor)
}

fn digits(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

fn not_zero(number: u64, text: &str) -> Result<u64, String> {
    if number == 0 {
        Err(format!("`{text}` is not allowed; at least 1 is needed"))
    } else {
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        for (text, millis) in
            [("250ms", 250), ("15s", 15_000), ("2m", 120_000), ("24h", 86_400_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        let huge = "99999999999999999999s";
        for text in ["", "s", "15", "1.5s", "-1s", "+1s", "1 s", "1h30m", "15S", "1w", huge] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("18446744073709551615d").ok(), None, "overflow is an error");
    }

    #[test]
    fn sizes_are_powers_of_two_and_never_zero() {
        for (text, bytes) in
            [("1B", 1), ("64KiB", 65_536), ("1MiB", 1 << 20), ("1GiB", 1 << 30), ("2TiB", 2 << 40)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["0B", "0KiB", "64", "64KB", "64kib", "1.5MiB", "KiB", "16777216TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zero_is_refused_and_no_limit_is_spelled_unlimited() {
        assert_eq!(or_unlimited("unlimited", count), Ok(None));
        assert_eq!(or_unlimited("7", count), Ok(Some(7)));
        assert_eq!(
            or_unlimited("0", count).unwrap_err(),
            "`0` is not allowed; at least 1 is needed; no limit is `unlimited`"
        );
    }

    #[test]
    fn a_cookie_name_is_an_http_token() {
        for name in ["mercureAuthorization", "__Host-token", "a.b_c~1", "!#$%&'*+-.^_`|~"] {
            assert_eq!(cookie_name(name).as_deref(), Ok(name));
        }
        for name in ["", " ", "a b", "a=b", "a;b", "a,b", "\"a\"", "a/b", "ä", "a\r\n", "a\0"] {
            let error = cookie_name(name).unwrap_err();
            assert!(error.contains("is no name of a cookie"), "{error}");
            assert!(!error.contains(['\r', '\n', '\0']), "{error:?}");
        }
        assert!(cookie_name(COOKIE_08).is_err(), "two dialects in one cookie");
    }

    #[test]
    fn a_base_url_has_neither_user_nor_query() {
        for (text, url) in [
            ("https://hub.example.com", "https://hub.example.com/"),
            ("https://hub.example.com/", "https://hub.example.com/"),
            ("https://example.com/live/", "https://example.com/live"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ] {
            assert_eq!(base_url(text).unwrap().as_str(), url);
        }
        for text in ["", "hub.example.com", "ftp://a", "https://u@a", "https://a?b", "https://a#b"]
        {
            assert!(base_url(text).is_err(), "{text}");
        }
    }
}
