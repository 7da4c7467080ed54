//! Values and errors, one test per rule of the specification.

use super::ErrorKind::{Cast, FunctionEvaluation, Generic, Math, MissingAttribute, MissingFunction};
use super::*;

#[test]
fn arithmetic() {
    for (text, value) in [
        ("1 + 2", 3),
        ("1 - 2", -1),
        ("3 * -4", -12),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("-7 / -2", 3),
        ("7 % 2", 1),
        ("-7 % 2", -1),
        ("7 % -2", 1),
        ("-7 % -2", -1),
        ("'4' * TRUE", 4),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 4 - 3", 3),
        ("100 / 10 / 5", 2),
        ("2 * 7 % 4", 2),
        ("2147483647 + 0", i32::MAX),
        ("-2147483648 + 0", i32::MIN),
        ("-2147483648 % -1", 0),
    ] {
        check(text, value);
    }
}

#[test]
fn results_that_do_not_fit_are_math_errors() {
    for text in [
        "2147483647 + 1",
        "-2147483648 - 1",
        "65536 * 65536",
        "-2147483648 / -1",
        "-(-2147483648)",
        "1 / 0",
        "1 % 0",
        "(1 / 0) / 0",
        "-(1 / 0)",
    ] {
        fails(text, 0, &[Math]);
    }
    fails("ABS(-2147483648)", i32::MAX, &[Math]);
    fails("1 / 0 = 1 / 0", false, &[Math, Math]);
    fails("'a' + 'b'", 0, &[Cast, Cast]);
}

#[test]
fn comparisons() {
    for (text, value) in [
        ("1 < 2", true),
        ("2 < 2", false),
        ("2 <= 2", true),
        ("3 > 2", true),
        ("2 >= 3", false),
        ("'10' > '9'", true),
        ("TRUE > FALSE", true),
        ("'a' = 'A'", false),
        ("'a' != 'A'", true),
        ("1 = 1 = TRUE", true),
        ("3 > 2 > 0", true),
        ("1 + 1 = 2", true),
        ("'1' = 1", true),
        ("1 = '1'", true),
        ("1 = '01'", false),
        ("1 = '+1'", false),
        ("'01' = 1", true),
        ("0 = '-0'", false),
        ("-5 = '-5'", true),
        ("'' = ''", true),
        ("TRUE = 1", true),
        ("5 = TRUE", true),
        ("TRUE = 5", false),
        ("TRUE = 'true' AND FALSE = 'false'", true),
        ("TRUE = 'TRUE' OR FALSE = 'FALSE'", false),
    ] {
        check(text, value);
    }
    for text in ["'a' < 1", "1 < 'a'", "'a' = 1", "'a' != 1", "'yes' = TRUE", "'' = 0"] {
        fails(text, false, &[Cast]);
    }
}

#[test]
fn logic_is_one_level_from_left_to_right() {
    for (text, value) in [
        ("TRUE OR FALSE AND FALSE", false),
        ("FALSE AND FALSE OR TRUE", true),
        ("TRUE OR TRUE XOR TRUE", false),
        ("TRUE XOR TRUE OR TRUE", true),
        ("TRUE OR (FALSE AND FALSE)", true),
        ("NOT FALSE AND FALSE", false),
        ("NOT (FALSE AND FALSE)", true),
        ("NOT TRUE = FALSE", true),
        ("'true' AND 1", true),
        ("0 OR 'FALSE'", false),
        ("1 XOR 'TRUE'", false),
        ("FALSE AND 1 / 0 = 1 OR TRUE", true),
        ("FALSE AND missing", false),
        ("TRUE OR missing", true),
        ("FALSE AND NOSUCH()", false),
    ] {
        check(text, value);
    }
    for (text, errors) in [
        ("'a' AND TRUE", &[Cast][..]),
        ("TRUE AND 'a'", &[Cast]),
        ("FALSE XOR 'a'", &[Cast]),
        ("NOT 'a'", &[Cast]),
        ("missing AND 1 / 0 = 1", &[MissingAttribute]),
        ("missing OR 1 / 0 = 1", &[MissingAttribute, Math]),
        ("missing OR TRUE", &[MissingAttribute]),
        ("missing XOR TRUE", &[MissingAttribute]),
        ("missing = 'a' OR TRUE", &[MissingAttribute]),
        ("TRUE XOR TRUE OR missing", &[MissingAttribute]),
    ] {
        fails(text, false, errors);
    }
}

#[test]
fn a_missing_attribute_gives_the_zero_value_of_what_refers_to_it() {
    for text in [
        "missing",
        "NOT missing",
        "missing = ''",
        "'' = missing",
        "missing != 'a'",
        "missing < 1",
        "1 < missing",
        "missing LIKE '%'",
        "missing NOT LIKE 'a'",
        "missing IN ('', 'a')",
        "missing NOT IN ('a')",
        "'a' IN (missing)",
        "'a' NOT IN (missing)",
        "NOT (missing = 'a')",
        "BOOL(missing)",
    ] {
        fails(text, false, &[MissingAttribute]);
    }
    for text in
        ["missing + 1", "1 / missing", "1 % missing", "-missing", "LENGTH(missing)", "INT(missing)", "ABS(missing)"]
    {
        fails(text, 0, &[MissingAttribute]);
    }
    for text in ["CONCAT('a', missing)", "LEFT(missing, 1)", "UPPER(missing)", "STRING(missing)", "LEFT('a', missing)"]
    {
        fails(text, "", &[MissingAttribute]);
    }
    fails("missing = other", false, &[MissingAttribute, MissingAttribute]);
    fails("CONCAT(missing, other, 'a' + 1)", "", &[MissingAttribute, MissingAttribute, Cast]);
}

#[test]
fn attributes_have_the_types_of_the_event() {
    let mut event = sample(&[("text", "7"), ("yes", "TRUE"), ("a1b2", "x"), ("7up", "y")]);
    event.0.insert("count".into(), Value::Integer(7));
    event.0.insert("urgent".into(), Value::Boolean(true));
    for (text, value) in [
        ("urgent", true),
        ("NOT urgent", false),
        ("urgent AND yes", true),
        ("count = 7", true),
        ("count = '7'", true),
        ("count = '07'", false),
        ("text = 7", true),
        ("text = count", true),
        ("count = text", true),
        ("'07' = count", true),
        ("urgent = 'true'", true),
        ("yes = 'true'", false),
        ("yes = urgent", true),
        ("urgent = yes", false),
        ("count IN ('007', 8)", true),
        ("text IN ('007', 8)", false),
        ("text NOT IN ('007', 8)", true),
        ("count LIKE '_'", true),
        ("urgent LIKE 'tr%'", true),
        ("A1B2 = 'x'", true),
        ("7up = 'y'", true),
        ("EXISTS Count", true),
        ("EXISTS counts", false),
        ("specversion = '1.0' AND id = 1 AND source LIKE '/%' AND TYPE = 'a.b'", true),
    ] {
        check_on(&event, text, value, &[]);
    }
    check_on(&event, "count", 7, &[]);
    check_on(&event, "text", "7", &[]);
    check_on(&event, "-count", -7, &[]);
    check_on(&event, "count + text", 14, &[]);
    check_on(&event, "count IN ('a', 7)", false, &[Cast]);
    check_on(&event, "yes + 1", 0, &[Cast]);
}

#[test]
fn casts() {
    for (text, value) in [
        ("INT('+5')", 5),
        ("INT('-2147483648')", i32::MIN),
        ("INT('0010')", 10),
        ("INT(INT('3'))", 3),
        ("ABS('-3')", 3),
        ("ABS(TRUE)", 1),
        ("LENGTH(12345)", 5),
        ("LENGTH(FALSE)", 5),
    ] {
        check(text, value);
    }
    for (text, value) in [("STRING(-0)", "0"), ("STRING(-2147483648)", "-2147483648"), ("STRING(007)", "7")] {
        check(text, value);
    }
    for (text, value) in [("BOOL('tRuE')", true), ("BOOL('FALSE')", false), ("BOOL(0)", false)] {
        check(text, value);
    }
    for text in
        ["INT('')", "INT(' 1')", "INT('1.0')", "INT('2147483648')", "INT('-2147483649')", "INT('0x1')", "INT('+')"]
    {
        fails(text, 0, &[Cast]);
    }
    for text in ["BOOL('')", "BOOL('1')", "BOOL(' true')", "BOOL('yes')"] {
        fails(text, false, &[Cast]);
    }
}

#[test]
fn like() {
    for (text, value) in [
        ("'abc' LIKE 'abc'", true),
        ("'abc' LIKE 'ab'", false),
        ("'abc' LIKE 'Abc'", false),
        ("'' LIKE ''", true),
        ("'' LIKE '%'", true),
        ("'' LIKE '_'", false),
        ("'abc' LIKE '%'", true),
        ("'abc' LIKE '%%'", true),
        ("'abc' LIKE 'a%'", true),
        ("'abc' LIKE '%c'", true),
        ("'abc' LIKE '%b%'", true),
        ("'abc' LIKE '%d%'", false),
        ("'abc' LIKE 'a%c'", true),
        ("'ac' LIKE 'a%c'", true),
        ("'a' LIKE 'a%a'", false),
        ("'abab' LIKE '%ab'", true),
        ("'aab' LIKE '%ab%b'", false),
        ("'abbb' LIKE 'a%b%b'", true),
        ("'abc' LIKE 'a_c'", true),
        ("'abbc' LIKE 'a_c'", false),
        ("'abc' LIKE '___'", true),
        ("'abc' LIKE '____'", false),
        ("'xxabcyy' LIKE '%a_c%'", true),
        ("'xxabdyy' LIKE '%a_c%'", false),
        ("'aXbXc' LIKE 'a_%_c'", true),
        ("'aXc' LIKE 'a_%_c'", false),
        ("'mississippi' LIKE 'm%iss%_ip%'", true),
        ("'mississippi' LIKE 'm%iss%_iss%'", false),
        ("'äöü' LIKE '_ö_'", true),
        ("'äöü' LIKE '%ö%'", true),
        ("'a🦀c' LIKE 'a_c'", true),
        ("'100%' LIKE '100\\%'", true),
        ("'1000' LIKE '100\\%'", false),
        ("'a_b' LIKE 'a\\_b'", true),
        ("'axb' LIKE 'a\\_b'", false),
        ("'a\\b' LIKE 'a\\b'", true),
        ("'abc' NOT LIKE 'a%'", false),
        ("'abc' NOT LIKE 'b%'", true),
        ("'a.c' LIKE 'a.c'", true),
        ("'abc' LIKE 'a.c'", false),
        ("'a*c' LIKE 'a*c'", true),
        ("'line\nbreak' LIKE 'line%break'", true),
        ("12 LIKE '1_'", true),
        ("TRUE LIKE 't%'", true),
        ("NOT FALSE LIKE 'true'", true),
        ("-1 LIKE '-_'", true),
        ("'it''s' LIKE 'it\\'s'", true),
        ("\"say \\\"x\\\"\" LIKE '%\"x\"'", true),
        ("'abc' LIKE 'a%' LIKE 'true'", true),
        ("'abc' LIKE 'a%' IN (TRUE)", true),
    ] {
        check(text, value);
    }
    // LIKE binds tighter than `+`.
    check("1 + 1 LIKE '1'", 2);
}

#[test]
fn in_takes_the_type_of_what_is_looked_for() {
    for (text, value) in [
        ("1 IN (1)", true),
        ("1 IN ('01')", true),
        ("'1' IN ('01')", false),
        ("'1' IN (1)", true),
        ("1 NOT IN (2, 3)", true),
        ("1 IN (1 + 0, 1 / 0)", true),
        ("'a' IN (LOWER('A'))", true),
        ("TRUE IN (5)", true),
        ("1 IN (2) = FALSE", true),
        ("1 IN (1) AND 2 NOT IN (1)", true),
        ("(1 IN (1, 2)) IN (TRUE)", true),
        ("'a' IN ('b', CONCAT('', 'a'))", true),
    ] {
        check(text, value);
    }
    for (text, errors) in [
        ("1 IN ('a')", &[Cast][..]),
        ("1 IN ('a', 1)", &[Cast]),
        ("1 NOT IN ('a')", &[Cast]),
        ("1 IN (1 / 0, 2)", &[Math]),
        ("missing IN (1 / 0)", &[MissingAttribute, Math]),
        ("TRUE IN ('x', 'y')", &[Cast, Cast]),
    ] {
        fails(text, false, errors);
    }
}

#[test]
fn exists() {
    check("EXISTS id AND EXISTS source AND EXISTS type AND EXISTS specversion", true);
    check("EXISTS subject", false);
    check("NOT EXISTS subject", true);
    check("EXISTS subject AND subject = 'a'", false);
    check("EXISTS id = TRUE", true);
    check("exists ID", true);
    check_on(&sample(&[("subject", "")]), "EXISTS subject", true, &[]);
}

#[test]
fn texts() {
    for (text, value) in [
        ("CONCAT()", ""),
        ("CONCAT('a')", "a"),
        ("CONCAT('a', 1, TRUE)", "a1true"),
        ("CONCAT_WS(',')", ""),
        ("CONCAT_WS(',', 'a')", "a"),
        ("CONCAT_WS(', ', 'a', 2, 'c')", "a, 2, c"),
        ("concat_ws('', 'a', 'b')", "ab"),
        ("LOWER('ÄbC')", "äbc"),
        ("UPPER('äbC')", "ÄBC"),
        ("TRIM('  a b\t\r\n')", "a b"),
        ("TRIM('\u{2003}\u{85}a\u{a0}')", "a"),
        ("TRIM('\u{1}a\u{200b}')", "\u{1}a\u{200b}"),
        ("TRIM('   ')", ""),
        ("TRIM(CONCAT(' ', 'a '))", "a"),
        ("LEFT('abc', 2)", "ab"),
        ("LEFT('abc', 0)", ""),
        ("LEFT('abc', 9)", "abc"),
        ("LEFT('äöü', 2)", "äö"),
        ("LEFT('abc', '2')", "ab"),
        ("LEFT(12345, 2)", "12"),
        ("RIGHT('abc', 2)", "bc"),
        ("RIGHT('abc', 0)", ""),
        ("RIGHT('abc', 3)", "abc"),
        ("RIGHT('abc', 9)", "abc"),
        ("RIGHT('äöü', 1)", "ü"),
        ("RIGHT(LEFT(CONCAT('ab', 'cd'), 3), 2)", "bc"),
        ("SUBSTRING('abcde', 1)", "abcde"),
        ("SUBSTRING('abcde', 3)", "cde"),
        ("SUBSTRING('abcde', 5)", "e"),
        ("SUBSTRING('abcde', 0)", ""),
        ("SUBSTRING('abcde', -2)", "de"),
        ("SUBSTRING('abcde', -5)", "abcde"),
        ("SUBSTRING('abcde', 2, 3)", "bcd"),
        ("SUBSTRING('abcde', 2, 0)", ""),
        ("SUBSTRING('abcde', 2, 99)", "bcde"),
        ("SUBSTRING('abcde', 2, 2147483647)", "bcde"),
        ("SUBSTRING('abcde', -3, 2)", "cd"),
        ("SUBSTRING('abcde', 0, 2)", ""),
        ("SUBSTRING('äöü', 2, 1)", "ö"),
        ("SUBSTRING('', 0)", ""),
        ("SUBSTRING(12345, 2, '2')", "23"),
    ] {
        check(text, value);
    }
    check("LENGTH('äö🦀')", 3);
    check("LENGTH('')", 0);
}

#[test]
fn functions_that_cannot_work_with_their_arguments() {
    fails("LEFT('abc', -1)", "abc", &[FunctionEvaluation]);
    fails("RIGHT('abc', -1)", "abc", &[FunctionEvaluation]);
    for text in [
        "SUBSTRING('abc', 4)",
        "SUBSTRING('abc', -4)",
        "SUBSTRING('abc', 4, 1)",
        "SUBSTRING('abc', 1, -1)",
        "SUBSTRING('abc', 0, -1)",
        "SUBSTRING('', 1)",
        "SUBSTRING('abc', -2147483648)",
    ] {
        fails(text, "", &[FunctionEvaluation]);
    }
    fails("LEFT('abc', 'x')", "", &[Cast]);
    fails("LENGTH(LEFT('abc', -1))", 0, &[FunctionEvaluation]);
    fails("ABS(ABS(-2147483648))", 0, &[Math]);
    fails("LEFT('abc', -1) = 'abc'", false, &[FunctionEvaluation]);
}

#[test]
fn functions_that_there_are_not() {
    for text in
        ["NOSUCH()", "nosuch(1, missing)", "ABS()", "ABS(1, 2)", "LEFT('a')", "CONCAT_WS()", "SUBSTRING('a', 1, 1, 1)"]
    {
        fails(text, false, &[MissingFunction]);
    }
    fails("ABC('a') = 'a'", false, &[MissingFunction]);
    fails("NOT ABC()", false, &[MissingFunction]);
    fails("1 + ABC()", 0, &[MissingFunction]);
}

#[test]
fn a_short_expression_makes_no_long_text() {
    let event = sample(&[("long", &"x".repeat(1 << 20))]);
    check_on(&event, "LENGTH(CONCAT(long))", 1 << 20, &[]);
    check_on(&event, "CONCAT(long, 'x')", "", &[Generic]);
    check_on(&event, "CONCAT_WS(long, 'x', 'y')", "", &[Generic]);
    check_on(&event, "LENGTH(CONCAT(long, long, long))", 0, &[Generic]);
}
