//! URI Templates: a template matches exactly its expansions.

use std::fmt::Write;

use prism_sse::{InvalidSelector, Selector, Topic, limits};
use proptest::prelude::*;

fn matches(template: &str, topic: &str) -> bool {
    let selector = Selector::template(template).unwrap();
    assert_eq!(selector.kind(), "template", "{template}");
    selector.matches(&Topic::try_from(topic).unwrap())
}

/// The templates and expansions of RFC 6570, section 3.2, for every operator and modifier.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("{var}", &["value"]),
    ("{hello}", &["Hello%20World%21"]),
    ("{half}", &["50%25"]),
    ("O{empty}X", &["OX"]),
    ("O{undef}X", &["OX"]),
    ("{x,y}", &["1024,768"]),
    ("{x,hello,y}", &["1024,Hello%20World%21,768"]),
    ("?{x,empty}", &["?1024,"]),
    ("?{x,undef}", &["?1024"]),
    ("?{undef,y}", &["?768"]),
    ("{var:3}", &["val"]),
    ("{var:30}", &["value"]),
    ("{list}", &["red,green,blue"]),
    ("{list*}", &["red,green,blue"]),
    ("{keys}", &["semi,%3B,dot,.,comma,%2C"]),
    ("{keys*}", &["semi=%3B,dot=.,comma=%2C"]),
    ("{+var}", &["value"]),
    ("{+hello}", &["Hello%20World!"]),
    ("{+half}", &["50%25"]),
    ("{base}index", &["http%3A%2F%2Fexample.com%2Fhome%2Findex"]),
    ("{+base}index", &["http://example.com/home/index"]),
    ("O{+empty}X", &["OX"]),
    ("{+path}/here", &["/foo/bar/here"]),
    ("here?ref={+path}", &["here?ref=/foo/bar"]),
    ("up{+path}{var}/here", &["up/foo/barvalue/here"]),
    ("{+x,hello,y}", &["1024,Hello%20World!,768"]),
    ("{+path,x}/here", &["/foo/bar,1024/here"]),
    ("{+path:6}/here", &["/foo/b/here"]),
    ("{+list}", &["red,green,blue"]),
    ("{+keys*}", &["semi=;,dot=.,comma=,"]),
    ("{#var}", &["#value"]),
    ("{#hello}", &["#Hello%20World!"]),
    ("foo{#empty}", &["foo#"]),
    ("foo{#undef}", &["foo"]),
    ("{#x,hello,y}", &["#1024,Hello%20World!,768"]),
    ("{#path:6}/here", &["#/foo/b/here"]),
    ("{#keys}", &["#semi,;,dot,.,comma,,"]),
    ("{.who}", &[".fred"]),
    ("{.who,who}", &[".fred.fred"]),
    ("{.half,who}", &[".50%25.fred"]),
    ("www{.dom*}", &["www.example.com"]),
    ("X{.var:3}", &["X.val"]),
    ("X{.empty}", &["X."]),
    ("X{.undef}", &["X"]),
    ("X{.list}", &["X.red,green,blue"]),
    ("X{.list*}", &["X.red.green.blue"]),
    ("X{.keys*}", &["X.semi=%3B.dot=..comma=%2C"]),
    ("{/who}", &["/fred"]),
    ("{/half,who}", &["/50%25/fred"]),
    ("{/var,empty}", &["/value/"]),
    ("{/var,x}/here", &["/value/1024/here"]),
    ("{/var:1,var}", &["/v/value"]),
    ("{/list}", &["/red,green,blue"]),
    ("{/list*,path:4}", &["/red/green/blue/%2Ffoo"]),
    ("{/keys*}", &["/semi=%3B/dot=./comma=%2C"]),
    ("{;who}", &[";who=fred"]),
    ("{;empty}", &[";empty"]),
    ("{;v,empty,who}", &[";v=6;empty;who=fred"]),
    ("{;v,undef,who}", &[";v=6;who=fred"]),
    ("{;hello:5}", &[";hello=Hello"]),
    ("{;list}", &[";list=red,green,blue"]),
    ("{;list*}", &[";list=red;list=green;list=blue"]),
    ("{;keys*}", &[";semi=%3B;dot=.;comma=%2C"]),
    ("{?who}", &["?who=fred"]),
    ("{?x,y,empty}", &["?x=1024&y=768&empty="]),
    ("{?x,y,undef}", &["?x=1024&y=768"]),
    ("{?var:3}", &["?var=val"]),
    ("{?list*}", &["?list=red&list=green&list=blue"]),
    ("{?keys*}", &["?semi=%3B&dot=.&comma=%2C"]),
    ("?fixed=yes{&x}", &["?fixed=yes&x=1024"]),
    ("{&var:3}", &["&var=val"]),
    ("{&keys}", &["&keys=semi,%3B,dot,.,comma,%2C"]),
];

#[test]
fn the_examples_of_rfc_6570_match() {
    for (template, topics) in EXAMPLES {
        for topic in *topics {
            assert!(matches(template, topic), "{template} {topic}");
        }
    }
}

#[test]
fn texts_that_are_no_expansion_do_not_match() {
    let cases: &[(&str, &[&str])] = &[
        (
            "/books/{id}",
            &["/books", "/books/1/2", "/books/a:b", "/books/é", "/books/a b", "books/1"],
        ),
        // A percent sign is encoded as a triplet; characters that need no encoding are not.
        ("{x}", &["50%", "%4", "%zz", "%41", "%FF", "%C3", "a/b", "a=b"]),
        ("{+x}", &["50%", "a b", "\"", "<a>", "é"]),
        // A prefix counts characters, and does not apply to lists.
        ("{x:3}", &["abcd", "%C3%A9%C3%A9%C3%A9%C3%A9", "a,b"]),
        ("{+x:2}", &["abc", "%41%42%43"]),
        ("{x}{/y}", &["a/b/c"]),
        ("{/x,y}", &["/a/b/c", "a", "a/b"]),
        ("{.x}", &["a", "./"]),
        ("{;x}", &[";x=", ";y", ";x1", "x"]),
        ("{;x:2}", &[";x=", ";x=abc"]),
        ("{?x}", &["?x", "?y=1", "?x=1&x=2", "x=1", "?", "&x=1"]),
        ("{?x,y}", &["?y=1&x=1", "?x=1,y=1", "?x=1&"]),
        ("{?x*}", &["?x", "?x=1;y=2", "?x=1&y", "?a=b=c"]),
        ("{x*}", &["a=b,c", "a=b=c", "a,b=c"]),
        ("{/x*}", &["/a=b/c", "a/b"]),
        ("{#x}", &["x", "#x#y z"]),
        ("a{x}c", &["ac/", "abcd", "xac", "bc"]),
    ];
    for (template, topics) in cases {
        for topic in *topics {
            assert!(!matches(template, topic), "{template} {topic}");
        }
    }
}

#[test]
fn a_template_matches_the_topic_with_its_own_text() {
    for (template, _) in EXAMPLES {
        assert!(matches(template, template), "{template}");
    }
    assert!(matches("/é/{x}", "/é/{x}"));
    assert!(matches("/é/{x}", "/%C3%A9/1"), "literals are matched in their encoded form");
    assert!(!matches("/é/{x}", "/é/1"));
}

#[test]
fn invalid_templates_are_refused() {
    let long = "{x:10000}";
    let refused = [
        "{", "{}", "{x", "a{x}}", "{x}}", "{{x}}", "{x{y}}", "{ x}", "{x }", "{x,}", "{,x}",
        "{x,,y}", "{x..y}", "{.}", "{x.}", "{+}", "{?}", "{=x}", "{,}", "{!x}", "{@x}", "{|x}",
        "{x*y}", "{x**}", "{*}", "{x:}", "{x:0}", "{x:01}", "{x:-1}", "{x:+1}", "{x:1a}", "{x:3*}",
        "{x*:3}", long, "{x%}", "{x%4}", "{x-y}", "{é}", "{$x}", "a%{x}", "a%4g{x}", "a b{x}",
        "\"{x}", "<{x}>", "\\{x}", "^{x}", "`{x}", "a|{x}",
    ];
    for text in refused {
        assert!(Selector::template(text).is_err(), "{text}");
    }
    let taken = ["{x:9999}", "{_}", "{x.y}", "{%41b}", "{1}", "'{x}", "é{x}", "%41{x}", "{+x*}"];
    for text in taken {
        Selector::template(text).unwrap();
    }
}

#[test]
fn a_hostile_template_takes_no_longer_than_its_size_allows() {
    let begin = std::time::Instant::now();
    let expressions =
        ["{+a*}", "{+a}", "{a}", "{/a*}", "{?a*,b*}", "{;a*}", "{a:9999}", "{a:999}", "{+a}a"];
    for expression in expressions {
        // As many as are allowed.
        let mut template = String::new();
        while Selector::template(&format!("{template}{expression}!")).is_ok() {
            template += expression;
        }
        template += "!";
        for part in ["a", "/", "a=b&", "%41", ",", ";a=a"] {
            let topic = part.repeat(1000 / part.len());
            assert!(!matches(&template, &topic), "{template} {topic}");
        }
    }
    // A backtracking matcher would take exponential time.
    assert!(begin.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_template_that_could_take_too_many_steps_is_refused() {
    for (expression, most) in [("{?a*}", 10), ("{/a*}", 10), ("{a:999}", 15), ("{a:9999}", 64)] {
        assert!(Selector::template(&expression.repeat(most)).is_ok(), "{expression}");
        let error = Selector::template(&expression.repeat(most + 1)).unwrap_err();
        match error {
            InvalidSelector::TooCostly { steps } => {
                let allowed = limits::PATTERN_STEPS_MAX;
                assert!(steps > allowed);
                let message = format!(
                    "the pattern takes {steps} steps to match a topic of 1024 bytes; at most \
                     {allowed} are allowed"
                );
                assert_eq!(error.to_string(), message);
            }
            _ => assert_eq!((most, error), (64, InvalidSelector::TooComplex)),
        }
    }
}

#[test]
fn a_template_holds_no_more_than_a_pattern_may() {
    // Each of these characters takes three bytes in the text and nine in an expansion.
    let template = |count: usize| Selector::template(&("€".repeat(count) + "{x}"));
    assert!(template(1300).is_ok());
    assert_eq!(template(1364), Err(InvalidSelector::TooLarge));
}

#[test]
fn a_prefix_longer_than_any_topic_is_no_bound() {
    let topic = "a".repeat(1024);
    assert!(matches("{x:9999}", &topic) && matches("{x:1024}", &topic));
    assert!(!matches("{x:1023}", &topic) && matches("{x:1023}", &topic[1..]));
    assert!(!matches("{x:9999}", "a,b"), "a prefix is no list");
}

/// A value of RFC 6570.
#[derive(Clone, Debug)]
enum Value {
    Undefined,
    Text(String),
    List(Vec<String>),
    Pairs(Vec<(String, String)>),
}

fn value() -> impl Strategy<Value = Value> {
    let text = "[a-c.~/:?#,;=&%é€𝄞 \"{}-]{0,5}";
    prop_oneof![
        1 => Just(Value::Undefined),
        4 => text.prop_map(Value::Text),
        2 => prop::collection::vec(text, 1..4).prop_map(Value::List),
        2 => prop::collection::vec(("[a-c._~]{1,3}", text), 1..4).prop_map(Value::Pairs),
    ]
}

#[derive(Clone, Debug)]
struct Expression {
    operator: &'static str,
    variables: Vec<(String, Modifier, Value)>,
}

#[derive(Clone, Copy, Debug)]
enum Modifier {
    None,
    Prefix(usize),
    Explode,
}

fn expression() -> impl Strategy<Value = Expression> {
    let operator = prop::sample::select(&["", "+", "#", ".", "/", ";", "?", "&"][..]);
    let modifier = prop_oneof![
        Just(Modifier::None),
        (1..5_usize).prop_map(Modifier::Prefix),
        Just(Modifier::Explode)
    ];
    let variable = ("[a-c]{1,2}(\\.[a-c_])?", modifier, value());
    (operator, prop::collection::vec(variable, 1..4))
        .prop_map(|(operator, variables)| Expression { operator, variables })
}

fn template() -> impl Strategy<Value = Vec<(String, Option<Expression>)>> {
    prop::collection::vec(("[a-c/.,?&=é-]{0,3}", prop::option::weighted(0.8, expression())), 1..4)
}

/// The template's text.
fn template_text(template: &[(String, Option<Expression>)]) -> String {
    let mut out = String::new();
    for (literal, expression) in template {
        out.push_str(literal);
        let Some(Expression { operator, variables }) = expression else { continue };
        let variables: Vec<String> = variables
            .iter()
            .map(|(name, modifier, _)| match modifier {
                Modifier::None => name.clone(),
                Modifier::Prefix(most) => format!("{name}:{most}"),
                Modifier::Explode => format!("{name}*"),
            })
            .collect();
        write!(out, "{{{operator}{}}}", variables.join(",")).unwrap();
    }
    out
}

fn encode(text: &str, reserved: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let triplet = rest.get(..3).filter(|it| {
            it.starts_with('%') && it.as_bytes()[1..].iter().all(u8::is_ascii_hexdigit)
        });
        if let (true, Some(triplet)) = (reserved, triplet) {
            out.push_str(triplet);
            rest = &rest[3..];
            continue;
        }
        let is_kept = c.is_ascii_alphanumeric()
            || "-._~".contains(c)
            || (reserved && ":/?#[]@!$&'()*+,;=".contains(c));
        if is_kept {
            out.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| write!(out, "%{b:02X}").unwrap());
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Expands an expression as in RFC 6570, section 3.2.1.
fn expand(expression: &Expression) -> String {
    let (first, separator, named, if_empty, reserved) = match expression.operator {
        "" => ("", ",", false, "", false),
        "+" => ("", ",", false, "", true),
        "#" => ("#", ",", false, "", true),
        "." => (".", ".", false, "", false),
        "/" => ("/", "/", false, "", false),
        ";" => (";", ";", true, "", false),
        "?" => ("?", "&", true, "=", false),
        _ => ("&", "&", true, "=", false),
    };
    let encode = |text: &str| encode(text, reserved);
    let with_name = |name: &str, value: String| {
        if value.is_empty() { format!("{name}{if_empty}") } else { format!("{name}={value}") }
    };
    let pair = |(name, value): &(String, String), between| {
        format!("{}{between}{}", encode(name), encode(value))
    };
    let mut defined = Vec::new();
    for (name, modifier, value) in &expression.variables {
        let explode = matches!(modifier, Modifier::Explode);
        let value = match value {
            Value::Undefined => continue,
            Value::Text(text) => {
                let most = if let Modifier::Prefix(most) = modifier { *most } else { usize::MAX };
                encode(&text.chars().take(most).collect::<String>())
            }
            // A prefix applies to strings only.
            Value::List(_) | Value::Pairs(_) if matches!(modifier, Modifier::Prefix(_)) => continue,
            Value::List(items) if explode && named => {
                let items = items.iter().map(|item| with_name(name, encode(item)));
                defined.push(items.collect::<Vec<_>>().join(separator));
                continue;
            }
            Value::Pairs(pairs) if explode && named => {
                let pairs = pairs.iter().map(|(name, value)| with_name(name, encode(value)));
                defined.push(pairs.collect::<Vec<_>>().join(separator));
                continue;
            }
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| encode(item)).collect();
                items.join(if explode { separator } else { "," })
            }
            Value::Pairs(pairs) => {
                let pairs: Vec<String> =
                    pairs.iter().map(|it| pair(it, if explode { "=" } else { "," })).collect();
                pairs.join(if explode { separator } else { "," })
            }
        };
        defined.push(if named { with_name(name, value) } else { value });
    }
    let begin = if defined.is_empty() { "" } else { first };
    format!("{begin}{}", defined.join(separator))
}

proptest! {
    #[test]
    fn a_template_matches_each_of_its_expansions(template in template()) {
        let text = template_text(&template);
        let mut topic = String::new();
        for (literal, expression) in &template {
            topic.push_str(&encode(literal, true));
            topic.extend(expression.as_ref().map(expand));
        }
        let is_topic = !topic.is_empty() && text.contains('{');
        prop_assert!(!is_topic || matches(&text, &topic), "{} {}", text, topic);
    }

    #[test]
    fn any_text_is_a_template_or_an_error(text in "[a{}/:*?&;,.+#1%é]{0,12}", topic in ".{1,12}") {
        if let (Ok(selector), Ok(topic)) = (Selector::template(&text), Topic::try_from(&*topic)) {
            selector.matches(&topic);
            let own = Topic::try_from(&*text);
            prop_assert!(own.is_err() || selector.matches(&own.unwrap()));
        }
    }
}
