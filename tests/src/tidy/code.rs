//! Just enough of a Rust scanner: which characters are code, and where blocks end.
//!
//! It keeps every newline where it was, so that lines of the result are lines of the file.

/// `text` with every comment, string and character literal blanked out.
pub(super) fn only_code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let in_word = out.chars().next_back().is_some_and(is_word);
        let literal = literal_length(rest, in_word);
        if literal == 0 {
            out.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        } else {
            let (blanked, after) = rest.split_at_checked(literal).unwrap_or((rest, ""));
            out.extend(blanked.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    out
}

/// Length in bytes of the comment or literal that `text` begins with; 0 when it begins with code.
fn literal_length(text: &str, in_word: bool) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    if text.starts_with('\'') {
        return character(text);
    }
    if in_word {
        return 0;
    }
    let prefix =
        ["br", "cr", "r"].into_iter().find(|p| text.strip_prefix(p).is_some_and(|t| t.starts_with(['"', '#'])));
    prefix.map_or(0, |prefix| raw_string(text, prefix.len()))
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A lifetime is code; only `'x'` and `'\…'` are characters.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(text, '\''),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

fn raw_string(text: &str, prefix: usize) -> usize {
    let after = text.get(prefix..).unwrap_or_default();
    let hashes = after.len() - after.trim_start_matches('#').len();
    let Some(body) = after.get(hashes..).and_then(|body| body.strip_prefix('"')) else {
        return 0;
    };
    let close = format!("\"{}", "#".repeat(hashes));
    let opening = prefix + hashes + 1;
    body.find(&close).map_or(text.len(), |at| opening + at + close.len())
}

/// Whether `c` may stand in an identifier.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Line (from 1) of byte `at`.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count() + 1
}

/// Where the item that begins at byte `from` of `code` ends: behind its block, or behind its semicolon.
/// Parentheses and brackets on the way (arguments, array types, attributes) are passed over.
pub(super) fn item_end(code: &str, from: usize) -> usize {
    let mut braces = 0_usize;
    let mut others = 0_usize;
    for (at, c) in code.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && others == 0 {
                    return at + 1;
                }
            }
            ';' if braces == 0 && others == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Byte positions at which `word` stands in `code` as a word of its own.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code.get(..*at).and_then(|text| text.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blanked() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("}\"{", x)"#, "f(      , x)"),
            ("f(r#\"a\"}\"#)", "f(        )"),
            ("let c = '{'; fn f<'a>(x: &'a str)", "let c =    ; fn f<'a>(x: &'a str)"),
            (r"let c = '\'';", "let c =     ;"),
            ("br\"}\" for\"x\"", "      for   "),
            ("r#type", "r#type"),
        ] {
            assert_eq!(only_code(text), code, "{text}");
        }
    }

    #[test]
    fn items_end_behind_block_or_semicolon() {
        for (code, item) in
            [("fn f(a: [u8; 2]) { { } } x", "fn f(a: [u8; 2]) { { } }"), ("mod tests; x", "mod tests;"), ("x {", "x {")]
        {
            assert_eq!(code.get(..item_end(code, 0)), Some(item));
        }
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("fn fnord a_fn fn", "fn").collect::<Vec<_>>(), [0, 14]);
    }
}
