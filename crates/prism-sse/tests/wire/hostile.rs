//! Text and bytes chosen to break a line-based format.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Fragments with a meaning in the format or in the library, or that careless encoders mishandle.
pub(crate) const FRAGMENTS: &[&str] = &[
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\r\r",
    "\0",
    "\u{feff}",
    "\u{2028}",
    "\u{2029}",
    "\u{85}",
    "\u{b}",
    "\u{c}",
    "\t",
    ":",
    " ",
    "data:",
    "data: x",
    "event:",
    "event: evil",
    "id:",
    "id: 666",
    "retry:",
    "retry: 1",
    "\ndata: x\n\n",
    "\"",
    "\\",
    "</script>",
    "#",
    "#1.1",
    "earliest",
    "prism.",
    "é",
    "日本",
    "🦀",
    "a",
];

/// Whole values: every fragment alone, the empty text, and combinations that have injected fields
/// in other implementations.
pub(crate) fn values() -> Vec<String> {
    let mut values: Vec<String> = FRAGMENTS.iter().map(|&fragment| fragment.to_owned()).collect();
    let more = [
        "",
        "a\nb",
        "a\rb",
        "a\r\nb",
        "a\n\rb",
        "trailing\n",
        "trailing\n\n",
        "trailing\r",
        "  two leading spaces",
        " one leading space",
        "trailing space ",
        ": a comment",
        "a\0b",
        "x\n\nevent: evil\ndata: injected\n\n",
        "x\r\rdata: injected\r\r",
        "x\r\n\r\ndata: injected\r\n\r\n",
        "x\nid: 666\nretry: 1",
        "\u{feff}data: x\n\n",
        "\n\u{feff}data: x\n\n",
        "x\u{2028}\u{2028}data: injected\u{2028}\u{2028}",
        "prism.open",
        "prism.gap",
        "#0.0",
        "\"}\n\ndata: {\"reason\":\"",
        "\\u000a\\n\\",
        "\u{7f}\u{80}\u{9f}",
        "\u{1}\u{1f}",
        "\u{10ffff}",
    ];
    values.extend(more.map(str::to_owned));
    values.extend([255, 256, 300].map(|len| "x".repeat(len)));
    // 255 and 256 bytes of two-byte characters, so that a limit in characters would be noticed.
    values.extend([format!("x{}", "é".repeat(127)), "é".repeat(128)]);
    values
}

/// Text of joined fragments, and sometimes of arbitrary characters.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => vec(select(FRAGMENTS), 0..8).prop_map(|parts| parts.concat()),
        2 => select(values()),
        1 => vec(any::<char>(), 0..40).prop_map(String::from_iter),
        1 => (250..260_usize).prop_map(|len| "n".repeat(len)),
    ]
}

/// Bytes that resemble a stream in about half of the cases.
pub(crate) fn stream_text() -> impl Strategy<Value = Vec<u8>> {
    const NOISE: &[&[u8]] = &[
        b"\n",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"data",
        b"data:",
        b"data: ",
        b"data: a\n",
        b"event",
        b"event:",
        b"event: b\n",
        b"id",
        b"id:",
        b"id: 7",
        b"retry",
        b"retry: 1000\n",
        b"retry:+5\n",
        b"retry: 99999999999999999999999\n",
        b"unknown: c\n",
        b"Data: d\n",
        b":",
        b" ",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\xff",
        b"\xe2\x82",
        b"\xf0\x9f\xa6\x80",
        b"\xe2\x80\xa8",
        b"0",
        b"xyz",
    ];
    let mark = prop_oneof![3 => Just(&b""[..]), 1 => Just(&b"\xef\xbb\xbf"[..])];
    (mark, vec(select(NOISE), 0..40)).prop_map(|(mark, parts)| [mark, &parts.concat()].concat())
}
