//! Names and values as forms and queries write them, read strictly: what is not UTF-8 is refused.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::problem::Problem;

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of a form, in order (WHATWG URL, section 5.1). A name without `=` has no value.
pub(super) fn pairs(form: &[u8]) -> impl Iterator<Item = Result<Pair<'_>, Problem>> {
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

    fn read(form: &str) -> Vec<(String, String)> {
        let owned = |pair: Result<Pair<'_>, Problem>| {
            let (name, value) = pair.unwrap();
            (name.into_owned(), value.into_owned())
        };
        pairs(form.as_bytes()).map(owned).collect()
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read("a=1+2&&b%2B=%2B%zz&c&=d&e=f=g&%C3%A9=%E2%82%AC"),
            [
                pair("a", "1 2"),
                pair("b+", "+%zz"),
                pair("c", ""),
                pair("", "d"),
                pair("e", "f=g"),
                pair("é", "€"),
            ]
        );
        assert_eq!(read(""), []);
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        for form in [&b"a=%FF"[..], b"%FF=a", b"a=\xff", b"a=%C3", b"x=y&a=%ed%a0%80"] {
            assert!(pairs(form).any(|pair| pair.is_err()), "{form:?}");
        }
    }
}
