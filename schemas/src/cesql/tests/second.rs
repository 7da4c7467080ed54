//! A second evaluator, as plain as can be: it walks the tree as it was parsed, folds nothing, copies everything, and
//! matches patterns by trying. It shares with the first one the tree alone.

use super::super::syntax::{Binary, Syntax, Term, Unary};
use super::*;

/// A value, and the kinds of errors on the way to it.
type Given = (Value<'static>, Vec<ErrorKind>);

fn text(text: impl Into<String>) -> Value<'static> {
    Value::String(text.into().into())
}

fn cast(value: &Value<'_>, target: Type) -> Result<Value<'static>, ErrorKind> {
    Ok(match (target, value) {
        (Type::String, value) => text(value.to_string()),
        (Type::Integer, Value::Integer(value)) => Value::Integer(*value),
        (Type::Integer, Value::Boolean(value)) => Value::Integer(if *value { 1 } else { 0 }),
        (Type::Integer, Value::String(text)) => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let sound = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
            let wide = digits.bytes().fold(0_i64, |sum, b| (sum * 10 + i64::from(b.wrapping_sub(b'0'))).min(1 << 40));
            let wide = if text.starts_with('-') { -wide } else { wide };
            match i32::try_from(wide) {
                Ok(value) if sound => Value::Integer(value),
                _ => return Err(ErrorKind::Cast),
            }
        }
        (Type::Boolean, Value::Boolean(value)) => Value::Boolean(*value),
        (Type::Boolean, Value::Integer(value)) => Value::Boolean(*value != 0),
        (Type::Boolean, Value::String(text)) => match text.to_lowercase().as_str() {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => return Err(ErrorKind::Cast),
        },
    })
}

/// A value cast to a type; `None` if it, or the cast, failed.
fn operand(given: Given, target: Type, errors: &mut Vec<ErrorKind>) -> Option<Value<'static>> {
    let failed = !given.1.is_empty();
    errors.extend(given.1);
    match cast(&given.0, target) {
        Ok(value) if !failed => Some(value),
        Ok(_) => None,
        Err(_) if failed => None,
        Err(kind) => {
            errors.push(kind);
            None
        }
    }
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| like(&text[skipped..], rest)),
        ['\\', c @ ('%' | '_'), rest @ ..] => text.first() == Some(c) && like(&text[1..], rest),
        ['_', rest @ ..] => !text.is_empty() && like(&text[1..], rest),
        [c, rest @ ..] => text.first() == Some(c) && like(&text[1..], rest),
    }
}

pub(super) fn evaluate(syntax: &Syntax, event: &Sample) -> Given {
    let mut errors = Vec::new();
    let value = match &syntax.term {
        Term::Boolean(value) => Value::Boolean(*value),
        Term::Integer(value) => Value::Integer(*value),
        Term::Text(value) => text(value.clone()),
        Term::Attribute(name) => match event.0.get(name) {
            Some(value) => value.clone(),
            None => return (Value::Boolean(false), vec![ErrorKind::MissingAttribute]),
        },
        Term::Exists(name) => Value::Boolean(event.0.contains_key(name)),
        Term::Unary(Unary::Not, inner) => match operand(evaluate(inner, event), Type::Boolean, &mut errors) {
            Some(value) => Value::Boolean(value == Value::Boolean(false)),
            None => Value::Boolean(false),
        },
        Term::Unary(Unary::Negate, inner) => match operand(evaluate(inner, event), Type::Integer, &mut errors) {
            Some(Value::Integer(value)) => fitting(-i64::from(value), &mut errors),
            _ => Value::Integer(0),
        },
        Term::Chain(first, links) => {
            let mut left = evaluate(first, event);
            for link in links {
                left = binary(link.operator, left, &link.right, event);
            }
            return left;
        }
        Term::Like { operand: inner, negated, pattern } => {
            match operand(evaluate(inner, event), Type::String, &mut errors) {
                Some(value) => {
                    let chars = |text: &str| text.chars().collect::<Vec<_>>();
                    Value::Boolean(like(&chars(&value.to_string()), &chars(pattern)) != *negated)
                }
                None => Value::Boolean(false),
            }
        }
        Term::In { operand: inner, negated, set } => {
            let (wanted, mut errors) = evaluate(inner, event);
            let unfit = !errors.is_empty();
            for element in set {
                let (value, more) = evaluate(element, event);
                let failed = !more.is_empty();
                errors.extend(more);
                match cast(&value, wanted.type_of()) {
                    _ if failed || unfit => {}
                    Err(kind) => errors.push(kind),
                    Ok(value) if value == wanted && errors.is_empty() => return (Value::Boolean(!negated), errors),
                    Ok(_) => {}
                }
            }
            return (Value::Boolean(errors.is_empty() && *negated), errors);
        }
        Term::Call { name, arguments } => return call(name, arguments, event),
    };
    (value, errors)
}

fn fitting(wide: i64, errors: &mut Vec<ErrorKind>) -> Value<'static> {
    Value::Integer(i32::try_from(wide).unwrap_or_else(|_| {
        errors.push(ErrorKind::Math);
        0
    }))
}

fn binary(operator: Binary, left: Given, right: &Syntax, event: &Sample) -> Given {
    let mut errors = Vec::new();
    if matches!(operator, Binary::And | Binary::Or | Binary::Xor) {
        let left = operand(left, Type::Boolean, &mut errors);
        let is_true = left == Some(Value::Boolean(true));
        let decided = if operator == Binary::And { !is_true } else { operator == Binary::Or && is_true };
        if decided {
            return (Value::Boolean(is_true), errors);
        }
        let right = operand(evaluate(right, event), Type::Boolean, &mut errors);
        let (Some(_), Some(right)) = (left, right) else { return (Value::Boolean(false), errors) };
        let right = right == Value::Boolean(true);
        return (Value::Boolean(if operator == Binary::Xor { is_true != right } else { right }), errors);
    }
    if matches!(operator, Binary::Equal | Binary::NotEqual) {
        let right = evaluate(right, event);
        let target = right.0.type_of();
        let unfit = !left.1.is_empty() || !right.1.is_empty();
        errors.extend(left.1);
        errors.extend(right.1);
        if unfit {
            return (Value::Boolean(false), errors);
        }
        return match cast(&left.0, target) {
            Ok(left) => (Value::Boolean((left == right.0) == (operator == Binary::Equal)), errors),
            Err(kind) => (Value::Boolean(false), vec![kind]),
        };
    }
    let left = operand(left, Type::Integer, &mut errors);
    let right = operand(evaluate(right, event), Type::Integer, &mut errors);
    let zero = match operator {
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => Value::Boolean(false),
        _ => Value::Integer(0),
    };
    let (Some(Value::Integer(left)), Some(Value::Integer(right))) = (left, right) else { return (zero, errors) };
    let (x, y) = (i64::from(left), i64::from(right));
    let value = match operator {
        Binary::Less => Value::Boolean(x < y),
        Binary::LessOrEqual => Value::Boolean(x <= y),
        Binary::Greater => Value::Boolean(x > y),
        Binary::GreaterOrEqual => Value::Boolean(x >= y),
        Binary::Divide | Binary::Remainder if y == 0 => {
            errors.push(ErrorKind::Math);
            zero
        }
        Binary::Add => fitting(x + y, &mut errors),
        Binary::Subtract => fitting(x - y, &mut errors),
        Binary::Multiply => fitting(x * y, &mut errors),
        Binary::Divide => fitting(x / y, &mut errors),
        _ => fitting(x % y, &mut errors),
    };
    (value, errors)
}

fn call(name: &str, arguments: &[Syntax], event: &Sample) -> Given {
    let (text_type, integer) = (Type::String, Type::Integer);
    let (types, gives) = match (name, arguments.len()) {
        ("INT" | "ABS", 1) => (vec![integer], integer),
        ("BOOL", 1) => (vec![Type::Boolean], Type::Boolean),
        ("LENGTH", 1) => (vec![text_type], integer),
        ("STRING" | "LOWER" | "UPPER" | "TRIM", 1) => (vec![text_type], text_type),
        ("LEFT" | "RIGHT" | "SUBSTRING", 2) => (vec![text_type, integer], text_type),
        ("SUBSTRING", 3) => (vec![text_type, integer, integer], text_type),
        ("CONCAT", n) => (vec![text_type; n], text_type),
        ("CONCAT_WS", n @ 1..) => (vec![text_type; n], text_type),
        _ => return (Value::Boolean(false), vec![ErrorKind::MissingFunction]),
    };
    let mut errors = Vec::new();
    let mut values = Vec::new();
    for (argument, target) in arguments.iter().zip(types) {
        values.extend(operand(evaluate(argument, event), target, &mut errors));
    }
    if !errors.is_empty() {
        return (gives.zero().into_owned(), errors);
    }
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    let number = |at: usize| match values.get(at) {
        Some(Value::Integer(value)) => i64::from(*value),
        _ => 0,
    };
    let chars: Vec<char> = texts.first().map(|text| text.chars().collect()).unwrap_or_default();
    let length = chars.len() as i64;
    let slice = |from: i64, to: i64| {
        let (from, to) = (from.clamp(0, length) as usize, to.clamp(0, length) as usize);
        text(chars[from..to.max(from)].iter().collect::<String>())
    };
    let value = match name {
        "INT" | "BOOL" | "STRING" => values[0].clone(),
        "ABS" if number(0) == i64::from(i32::MIN) => return (Value::Integer(i32::MAX), vec![ErrorKind::Math]),
        "ABS" => Value::Integer(number(0).abs() as i32),
        "LENGTH" => Value::Integer(length as i32),
        "LOWER" => text(texts[0].to_lowercase()),
        "UPPER" => text(texts[0].to_uppercase()),
        "TRIM" => text(texts[0].trim()),
        "CONCAT" => text(texts.concat()),
        "CONCAT_WS" => text(texts[1..].join(&texts[0])),
        "LEFT" | "RIGHT" if number(1) < 0 => return (values[0].clone(), vec![ErrorKind::FunctionEvaluation]),
        "LEFT" => slice(0, number(1)),
        "RIGHT" => slice(length - number(1), length),
        _ => {
            let (position, wanted) = (number(1), if values.len() > 2 { number(2) } else { length });
            if position > length || position < -length || wanted < 0 {
                return (text(""), vec![ErrorKind::FunctionEvaluation]);
            }
            let begin = if position < 0 { length + position } else { position - 1 };
            if position == 0 { text("") } else { slice(begin, begin + wanted) }
        }
    };
    (value, errors)
}
