//! `application/x-www-form-urlencoded`, as bodies and queries have it, read strictly: invalid UTF-8
//! is refused instead of replaced.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::problem::Problem;

type NameValue<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The name-value pairs of a form or query, in order (WHATWG URL, section 5.1). The value of a
/// name without `=` is empty.
pub(super) fn pairs(form: &[u8]) -> impl Iterator<Item = Result<NameValue<'_>, Problem>> {
    let pairs = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        Ok((decode(name)?, decode(value)?))
    })
}

fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Problem> {
    let refuse = |_| Problem::bad_request("A name or a value is not valid UTF-8.");
    if !bytes.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| refuse(()));
    }
    let spaced: Vec<u8> =
        bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded = percent_decode(&spaced).collect();
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| refuse(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(form: &str) -> Vec<(String, String)> {
        let owned = |pair: Result<NameValue<'_>, Problem>| {
            let (name, value) = pair.unwrap();
            (name.into_owned(), value.into_owned())
        };
        pairs(form.as_bytes()).map(owned).collect()
    }

    #[test]
    fn pairs_are_decoded_as_browsers_encode_them() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            decoded("a=1+2&&b%2B=%2B%zz&c&=d&e=f=g&%C3%A9=%E2%82%AC"),
            [
                pair("a", "1 2"),
                pair("b+", "+%zz"),
                pair("c", ""),
                pair("", "d"),
                pair("e", "f=g"),
                pair("é", "€"),
            ]
        );
        assert_eq!(decoded(""), []);
    }

    #[test]
    fn invalid_utf_8_is_refused() {
        for form in [&b"a=%FF"[..], b"%FF=a", b"a=\xff", b"a=%C3", b"x=y&a=%ed%a0%80"] {
            assert!(pairs(form).any(|pair| pair.is_err()), "{form:?}");
        }
    }
}
