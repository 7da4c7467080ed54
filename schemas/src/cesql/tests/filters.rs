//! Expressions that are to decide which events pass: what is refused beforehand, what an index may use.

use super::*;

#[track_caller]
fn refused(text: &str, expected: &[(usize, ErrorKind, &str)]) {
    let faults = Expression::filter(text).err().unwrap_or_default();
    let found: Vec<(usize, ErrorKind)> = faults.iter().map(|fault| (fault.at, fault.kind)).collect();
    let wanted: Vec<(usize, ErrorKind)> = expected.iter().map(|(at, kind, _)| (*at, *kind)).collect();
    assert_eq!(found, wanted, "{text}: {faults:?}");
    for (fault, (_, _, words)) in faults.iter().zip(expected) {
        assert!(fault.message.contains(words), "{text}: {}", fault.message);
    }
}

#[test]
fn what_no_event_can_pass_is_refused() {
    refused("type = ", &[(7, ErrorKind::Parse, "not the end")]);
    refused("LENGHT(type) > 3", &[(0, ErrorKind::MissingFunction, "did you mean `LENGTH`?")]);
    refused("TRUE OR NOSUCHTHING(1)", &[(8, ErrorKind::MissingFunction, "there are INT, BOOL")]);
    refused("type = 'a' AND ABS(1, 2) = 1", &[(15, ErrorKind::MissingFunction, "takes one argument, not 2")]);
    refused("SUBSTRING(type) = 'a'", &[(0, ErrorKind::MissingFunction, "takes 2 or 3 arguments, not 1")]);
    refused("CONCAT_WS() = 'a'", &[(0, ErrorKind::MissingFunction, "takes 1 or more arguments, not 0")]);
    refused("1 + 1", &[(0, ErrorKind::Generic, "gives an integer")]);
    refused("LOWER(type)", &[(0, ErrorKind::Generic, "gives a text")]);
    refused("'true'", &[(0, ErrorKind::Generic, "gives a text")]);
    refused("-type", &[(0, ErrorKind::Generic, "gives an integer")]);
    refused("1 / 0 = 1", &[(2, ErrorKind::Math, "division by zero")]);
    refused("sequence > 'abc'", &[]);
    refused("type = 'a' AND 'x' < 1", &[(15, ErrorKind::Cast, "`x` is not an integer")]);
    refused("(id = 'a' AND 'x' < 1) AND type = 'a'", &[(14, ErrorKind::Cast, "`x` is not an integer")]);
    refused("NOT (LEFT('a', -1) = type)", &[(5, ErrorKind::FunctionEvaluation, "below zero")]);
    refused("type IN (1 / 0)", &[(11, ErrorKind::Math, "division by zero")]);
}

#[test]
fn what_some_event_could_pass_is_not() {
    for text in [
        "type = 'a'",
        "urgent",
        "TRUE",
        "FALSE",
        "1 = 2",
        "missing = 'a'",
        "type = 'a' OR 1 / 0 = 1",
        "FALSE AND 1 / 0 = 1",
        "TRUE OR 1 / 0 = 1",
        "type IN ('a', 1 / 0)",
        "NOT (type = 'a' AND 1 / 0 = 1)",
        "type = 5",
        "LENGTH(type) > 3",
    ] {
        refused(text, &[]);
    }
}

#[test]
fn what_is_required_of_an_event() {
    let check = |text: &str, expected: &[(&str, &[&str])]| {
        let expression = Expression::parse(text).unwrap();
        let required = expression.required();
        let found: Vec<(&str, Vec<&str>)> =
            required.iter().map(|(name, values)| (name, values.iter().copied().collect())).collect();
        let wanted: Vec<(&str, Vec<&str>)> = expected.iter().map(|(name, values)| (*name, values.to_vec())).collect();
        assert_eq!(found, wanted, "{text}");
    };
    check("type = 'a'", &[("type", &["a"])]);
    check("type = 'a' AND subject LIKE 'x%'", &[("type", &["a"])]);
    check("subject LIKE 'x%' AND (type = 'a' AND id = 'b')", &[("id", &["b"]), ("type", &["a"])]);
    check("type = 'a' OR type = 'b'", &[("type", &["a", "b"])]);
    check("type = 'a' XOR type = 'b'", &[("type", &["a", "b"])]);
    check("type IN ('a', 'b') AND type IN ('c')", &[("type", &["c"])]);
    check("type = CONCAT('a', '.', 'b')", &[("type", &["a.b"])]);
    check("TRUE AND type = 'a'", &[("type", &["a"])]);
    for text in [
        "type = 'a' OR subject LIKE 'x%'",
        "type = 'a' AND id = 'b' OR TRUE = urgent",
        "type != 'a'",
        "'a' = type",
        "type = 5",
        "type = TRUE",
        "type = subject",
        "NOT (type = 'a')",
        "type NOT IN ('a')",
        "type IN ('a', subject)",
        "count IN ('7')",
        "count IN ('TRUE')",
        "type = 'a' = TRUE",
        "LOWER(type) = 'a'",
    ] {
        check(text, &[]);
    }
}

#[test]
fn looks_are_counted() {
    for (text, looks) in [
        ("TRUE", 0),
        ("type = 'a'", 1),
        ("type IN ('a', id) OR LENGTH(source) > 3", 4),
        ("NOT EXISTS a AND -b LIKE 'x'", 2),
    ] {
        assert_eq!(Expression::parse(text).unwrap().looks(), looks, "{text}");
    }
}
