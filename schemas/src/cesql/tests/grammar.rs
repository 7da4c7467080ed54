//! What is an expression and what is not, and how a fault is shown.

use super::*;
use crate::filter::CESQL_CHARS_MAX;

#[test]
fn white_space_case_and_signs() {
    for (text, value) in [
        (" \t\r\n1\n+\r\t1 ", 2),
        ("1+1", 2),
        ("3-1", 2),
        ("3 -1", 2),
        ("3--1", 4),
        ("3 - -1", 4),
        ("3+-1", 2),
        ("+5", 5),
        ("-5", -5),
        ("--5", 5),
        ("- 5", -5),
        ("-(5)", -5),
        ("2*-3", -6),
        ("-2147483648", i32::MIN),
        ("abs (-1)", 1),
        ("Length( 'a' )", 1),
        ("((((1))))", 1),
    ] {
        check(text, value);
    }
    check("not true Or tRUE aNd NoT fAlse", true);
    check("NOT(TRUE)OR(TRUE)", true);
    check("'a'LIKE'a'", true);
    check("'a'IN('a')", true);
}

#[test]
fn texts_in_quotes() {
    for (text, value) in [
        ("'a\"b'", "a\"b"),
        ("\"a'b\"", "a'b"),
        (r"'a\'b'", "a'b"),
        ("'a''b'", "a'b"),
        (r#""a\"b""#, "a\"b"),
        (r#""a""b""#, "a\"b"),
        (r#"'a\"b'"#, "a\\\"b"),
        (r"'a\nb'", "a\\nb"),
        (r"'a\\b'", r"a\\b"),
        (r"'a\\'", r"a\\"),
        ("''", ""),
        ("' a\n'", " a\n"),
        ("'日本🦀'", "日本🦀"),
        ("'AND'", "AND"),
    ] {
        check(text, value);
    }
}

#[track_caller]
fn refused(text: &str, at: usize, words: &str) {
    match Expression::parse(text) {
        Ok(_) => panic!("{text} is taken"),
        Err(fault) => {
            assert_eq!((fault.at, fault.kind), (at, ErrorKind::Parse), "{text}: {}", fault.message);
            assert!(fault.message.contains(words), "{text}: {}", fault.message);
        }
    }
}

#[test]
fn what_is_no_expression_is_refused_where_it_goes_wrong() {
    for (text, at, words) in [
        ("", 0, "a function or `(` is expected here, not the end"),
        ("   ", 3, "not the end"),
        ("type = ", 7, "not the end"),
        ("type = )", 7, "not `)`"),
        ("type == 'a'", 6, "not `=`"),
        ("type = 'a' subject", 11, "an operator or the end is expected here, not `subject`"),
        ("type = 'a' AND", 14, "not the end"),
        ("AND type", 0, "not `AND`"),
        ("type AND OR x", 9, "not `OR`"),
        ("(type = 'a'", 11, "`)` is expected here, not the end"),
        ("type = 'a')", 10, "not `)`"),
        ("()", 1, "not `)`"),
        ("type = 'a", 7, "no closing '"),
        ("type = \"a'", 7, "no closing \""),
        (r"'a\'", 0, "no closing '"),
        ("type LIKE", 9, "a pattern in quotes"),
        ("type LIKE 123", 10, "a pattern in quotes"),
        ("type LIKE subject", 10, "a pattern in quotes"),
        ("type LIKE LOWER('a')", 10, "a pattern in quotes"),
        ("type NOT 'a'", 5, "not `NOT`"),
        ("type IN", 7, "a set"),
        ("type IN 'a'", 8, "a set"),
        ("type IN ()", 9, "not `)`"),
        ("type IN ('a',)", 13, "not `)`"),
        ("type IN ('a' 'b')", 13, "`,` or `)` is expected here, not `'`"),
        ("EXISTS", 6, "the name of an attribute"),
        ("EXISTS 'a'", 7, "the name of an attribute"),
        ("EXISTS (a)", 7, "the name of an attribute"),
        ("EXISTS TRUE", 7, "the name of an attribute"),
        ("EXISTS 12", 7, "is no attribute name"),
        ("ABS(", 4, "not the end"),
        ("ABS(1", 5, "`,` or `)`"),
        ("ABS(,1)", 4, "not `,`"),
        ("a1b(1)", 0, "no name of a function"),
        ("_a(1)", 0, "no name of a function"),
        ("my_attribute = 1", 0, "no attribute name"),
        ("2147483648", 0, "32 bits"),
        ("-2147483649", 0, "32 bits"),
        ("- 2147483648", 2, "32 bits"),
        ("1 = 99999999999999999999", 4, "32 bits"),
        ("+ 5", 0, "not `+`"),
        ("+type", 0, "not `+`"),
        ("1.5", 1, "not `.`"),
        ("a.b = 1", 1, "not `.`"),
        ("type && id", 5, "not `&`"),
        ("!type", 0, "not `!`"),
        ("type = 'ä' ä", 12, "not `ä`"),
        ("data.x", 4, "not `.`"),
        ("a; b", 1, "not `;`"),
        ("\u{0}", 0, "expected here"),
    ] {
        refused(text, at, words);
    }
}

#[test]
fn depth_and_length_are_limited() {
    let deep = |n: usize, open: &str, close: &str| format!("{}1{}", open.repeat(n), close.repeat(n));
    for (open, close) in [("(", ")"), ("- ", ""), ("NOT ", ""), ("ABS(", ")"), ("1 IN (", ")"), ("CONCAT('',", ")")] {
        assert!(Expression::parse(&deep(NESTING_MAX, open, close)).is_ok(), "{open}");
        let text = deep(NESTING_MAX + 1, open, close);
        let fault = Expression::parse(&text).unwrap_err();
        assert!(fault.message.contains("deeper than 32 levels"), "{open}: {}", fault.message);
    }
    let likes = |n: usize| format!("'a'{}", " LIKE 'a'".repeat(n));
    assert!(Expression::parse(&likes(NESTING_MAX)).is_ok());
    assert!(Expression::parse(&likes(NESTING_MAX + 1)).is_err());
    // Long is not deep.
    let long = format!("type = 'a'{}", " OR type = 'b'".repeat(280));
    assert!(long.chars().count() <= CESQL_CHARS_MAX && Expression::parse(&long).is_ok());
    let text = format!("'{}'", "ä".repeat(CESQL_CHARS_MAX - 2));
    assert!(Expression::parse(&text).is_ok());
    let fault = Expression::parse(&format!("{text} ")).unwrap_err();
    assert_eq!((fault.at, fault.message.contains("longer than 4096")), (text.len(), true));
    let between = |n: usize| format!("type LIKE '%{}_%'", "a".repeat(n));
    assert!(Expression::parse(&between(63)).is_ok());
    refused(&between(64), 0, "at most 64");
}

/// Hostile texts on a small stack: the deepest that is allowed, and far deeper ones.
#[test]
fn no_text_overflows_the_stack() {
    let run = || {
        for open in ["(", "-", "NOT ", "ABS(", "1 IN (", "CONCAT(1,", "- ("] {
            for n in [NESTING_MAX / 2, NESTING_MAX, 5000] {
                for text in [open.repeat(n), format!("{}type", open.repeat(n))] {
                    let _ = Expression::parse(&text);
                }
                let closed = format!("{}type{}", open.repeat(n), ")".repeat(n));
                if let Ok(expression) = Expression::parse(&closed) {
                    let _ = expression.evaluate(&sample(&[]));
                }
            }
        }
    };
    let small = std::thread::Builder::new().stack_size(512 * 1024).spawn(run).unwrap();
    small.join().unwrap();
}

#[test]
fn a_fault_is_shown_with_a_caret_under_it() {
    let shown = |text: &str| Expression::parse(text).unwrap_err().shown(text);
    assert_eq!(
        shown("type = )"),
        "an attribute, a literal, a function or `(` is expected here, not `)`\n  type = )\n         ^"
    );
    assert!(shown("'ä' ö").ends_with("\n  'ä' ö\n      ^"));
    assert!(shown("type = 'a'\n  AND\tsubject ==\n 'b'").ends_with("\n    AND subject ==\n                 ^"));
    assert!(shown("type =").ends_with("\n  type =\n        ^"));
    let long = format!("type IN ({}'a' 'b'{})", "'x', ".repeat(50), ", 'y'".repeat(50));
    let shown = shown(&long);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[1].starts_with("  …") && lines[1].ends_with('…') && lines[1].chars().count() < 130, "{shown}");
    let caret = lines[2].chars().count() - 1;
    assert_eq!(lines[1].chars().skip(caret).take(3).collect::<String>(), "'b'", "{shown}");
}
