//! Rust source as tokens, without what is in comments, strings and characters.

/// A name, a number, `::`, or one character of anything else.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Counted from 1.
    pub(super) line: usize,
    /// Whether it is compiled for tests only.
    pub(super) test: bool,
    /// How many `mod name { }` of this file are around it.
    pub(super) inline_modules: usize,
}

/// All tokens of a file, not yet marked as tests or counted into modules.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    Lexer { text, at: 0, line: 1 }.tokens()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn tokens(mut self) -> Vec<Token<'a>> {
        let mut tokens = Vec::new();
        while let Some(c) = self.rest().chars().next() {
            let (start, line) = (self.at, self.line);
            let rest = self.rest();
            if c.is_whitespace() {
                self.skip(c.len_utf8());
                continue;
            } else if rest.starts_with("//") {
                self.skip(rest.find('\n').unwrap_or(rest.len()));
                continue;
            } else if rest.starts_with("/*") {
                self.skip_block_comment();
                continue;
            } else if let Some(hashes) = raw_string_hashes(rest) {
                self.skip_raw_string(hashes);
                continue;
            } else if let Some(quote) =
                ["\"", "b\"", "c\""].iter().find(|it| rest.starts_with(**it))
            {
                self.skip(quote.len());
                self.skip_quoted('"');
                continue;
            } else if c == '\'' {
                self.skip_character();
                continue;
            } else if rest.starts_with("::") {
                self.skip(2);
            } else if rest.starts_with("$crate") {
                self.skip("$crate".len());
            } else {
                self.skip(word_len(rest).max(c.len_utf8()));
            }
            let text = &self.text[start..self.at];
            tokens.push(Token { text, line, test: false, inline_modules: 0 });
        }
        tokens
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self, len: usize) {
        self.line += self.rest()[..len].matches('\n').count();
        self.at += len;
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut open = 0;
        loop {
            let rest = self.rest();
            let Some(next) = rest.chars().next() else { return };
            if rest.starts_with("/*") {
                open += 1;
                self.skip(2);
            } else if rest.starts_with("*/") {
                open -= 1;
                self.skip(2);
                if open == 0 {
                    return;
                }
            } else {
                self.skip(next.len_utf8());
            }
        }
    }

    fn skip_raw_string(&mut self, hashes: usize) {
        let end = format!("\"{}", "#".repeat(hashes));
        let rest = self.rest();
        let open = rest.find('"').map_or(rest.len(), |at| at + 1);
        let len = rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len());
        self.skip(len);
    }

    /// The rest of a literal, up to a quote that no backslash precedes.
    fn skip_quoted(&mut self, quote: char) {
        let mut escaped = false;
        while let Some(c) = self.rest().chars().next() {
            self.skip(c.len_utf8());
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => return,
                _ => {}
            }
        }
    }

    /// A character literal, or the name of a lifetime or label, which matters to no check.
    fn skip_character(&mut self) {
        let mut chars = self.rest()[1..].chars();
        let first = chars.next();
        if first == Some('\\') || chars.next() == Some('\'') {
            self.skip(1);
            self.skip_quoted('\'');
        } else {
            self.skip(1 + word_len(&self.rest()[1..]));
        }
    }
}

fn word_len(text: &str) -> usize {
    // A raw name, such as `r#type`, is the name.
    let raw = if text.starts_with("r#") { 2 } else { 0 };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    raw + text[raw..].find(|c| !is_word(c)).unwrap_or(text.len() - raw)
}

/// How many `#` a raw string has that starts here.
fn raw_string_hashes(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let after = rest.trim_start_matches('#');
    after.starts_with('"').then(|| rest.len() - after.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_have_no_tokens() {
        let text = r####"
            // a::b
            /* a /* nested */ b */
            x("\"quoted", r#"raw " raw"#, b"bytes", br##"a"##, c"c", 'c', '\'', b'\\', '"', 'é');
            fn f<'a>(y: &'a str) {}
            r"raw";
            z
        "####;
        let texts: Vec<&str> = tokens(text).iter().map(|it| it.text).collect();
        let texts = texts.join("");
        assert_eq!(texts, "x(,,,,,,,b,,);fnf<>(y:&str){};z");
        assert_eq!(tokens(text).last().unwrap().line, 7);
    }
}
