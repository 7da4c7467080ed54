//! Generated expressions: both evaluators agree, whatever is nested in what; nothing panics on any text.

use proptest::prelude::*;

use super::*;

fn literals() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "TRUE",
            "false",
            "0",
            "1",
            "-1",
            "7",
            "'7'",
            "2147483647",
            "-2147483648",
            "''",
            "'true'",
            "'a'",
            "\"ab\"",
            "'a.b'",
            "'-1'",
            "' a b '",
            "'ä🦀'",
            "'A'",
        ])
        .prop_map(str::to_owned),
        any::<i32>().prop_map(|value| value.to_string()),
    ]
}

fn attributes() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["type", "id", "subject", "missing", "count", "urgent", "word"]).prop_map(str::to_owned)
}

fn patterns() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["%", "_", "a", "b", ".", "7", "t", r"\%", r"\_", r"\x", "🦀"]),
        0..6,
    )
    .prop_map(|parts| format!("'{}'", parts.concat()))
}

fn expressions() -> impl Strategy<Value = String> {
    let exists = attributes().prop_map(|name| format!("EXISTS {name}"));
    let leaf = prop_oneof![3 => literals(), 3 => attributes(), 1 => exists];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let operator = prop::sample::select(vec![
            "AND", "OR", "XOR", "=", "!=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%",
        ]);
        let function = prop::sample::select(vec![
            "INT",
            "BOOL",
            "STRING",
            "LENGTH",
            "CONCAT",
            "CONCAT_WS",
            "LOWER",
            "UPPER",
            "TRIM",
            "LEFT",
            "RIGHT",
            "SUBSTRING",
            "ABS",
            "NOSUCH",
        ]);
        let not = prop::sample::select(vec!["", "NOT "]);
        let list = prop::collection::vec(inner.clone(), 1..4).prop_map(|items| items.join(", "));
        let arguments = prop_oneof![4 => list.clone(), 1 => Just(String::new())];
        prop_oneof![
            2 => inner.clone().prop_map(|inner| format!("({inner})")),
            6 => (inner.clone(), operator, inner.clone()).prop_map(|(left, operator, right)| {
                format!("{left} {operator} {right}")
            }),
            1 => inner.clone().prop_map(|inner| format!("NOT {inner}")),
            1 => inner.clone().prop_map(|inner| format!("-{inner}")),
            2 => (inner.clone(), not.clone(), patterns()).prop_map(|(left, not, pattern)| {
                format!("{left} {not}LIKE {pattern}")
            }),
            2 => (inner, not, list).prop_map(|(left, not, set)| format!("{left} {not}IN ({set})")),
            3 => (function, arguments).prop_map(|(name, arguments)| format!("{name}({arguments})")),
        ]
    })
}

fn events() -> impl Strategy<Value = Sample> {
    let text = prop::sample::select(vec!["a", "ab", "a.b", "7", "true", "", "FALSE", "🦀"]);
    let subject = prop::option::of(text.clone());
    (text, subject, any::<bool>(), -9..9_i32).prop_map(|(word, subject, urgent, count)| {
        let mut event = sample(&[("word", word)]);
        event.0.extend(subject.map(|subject| ("subject".to_owned(), Value::String(subject.into()))));
        event.0.insert("urgent".into(), Value::Boolean(urgent));
        event.0.insert("count".into(), Value::Integer(count));
        event
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_evaluators_agree(text in expressions(), event in events()) {
        let Ok(syntax) = super::super::parse::parse(&text) else {
            // The only texts made here that are refused are too deep.
            prop_assert!(Expression::parse(&text).is_err_and(|fault| fault.message.contains("deeper")), "{}", text);
            return Ok(());
        };
        let (value, errors) = second::evaluate(&syntax, &event);
        let expression = Expression::parse(&text).unwrap();
        let first = expression.evaluate(&event);
        let kinds: Vec<ErrorKind> = first.errors.iter().map(|error| error.kind).collect();
        prop_assert_eq!((&first.value, &kinds), (&value, &errors), "{}", text);
        let passes = value == Value::Boolean(true) && errors.is_empty();
        prop_assert_eq!(expression.passes(&event), passes, "{}", text);
        if passes {
            let faults = Expression::filter(&text).err().unwrap_or_default();
            prop_assert!(faults.iter().all(|fault| fault.kind == ErrorKind::MissingFunction), "{}: {:?}", text, faults);
            for (name, values) in expression.required().iter() {
                let value = event.attribute(name).map(|value| value.to_string());
                prop_assert!(value.is_some_and(|value| values.contains(value.as_str())), "{} requires {}", text, name);
            }
        }
    }

    #[test]
    fn nothing_panics(text in prop_oneof![".{0,60}", "[ a-zA-Z0-9_'\"()<>=!,%+*/\\\\-]{0,60}", expressions()], cut in 0..60_usize) {
        let cut: String = text.chars().take(cut).collect();
        for text in [text, cut] {
            match Expression::filter(&text) {
                Ok(expression) => {
                    let _ = expression.evaluate(&sample(&[]));
                }
                Err(faults) => {
                    prop_assert!(!faults.is_empty());
                    for fault in faults {
                        prop_assert!(text.is_char_boundary(fault.at));
                        prop_assert!(fault.shown(&text).ends_with('^'));
                    }
                }
            }
        }
    }
}
