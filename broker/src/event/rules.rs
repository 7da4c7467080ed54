//! Which attribute names and values are legal CloudEvents. Pure checks; values are never changed.

use super::SpecVersion;
use super::fault::AttributeFault;

/// Longest attribute name, in bytes: its length is one byte of the block.
const NAME_BYTES_MAX: usize = 255;

/// Checks an attribute's name.
pub(super) fn check_name(name: &str) -> Result<(), AttributeFault> {
    if name == "data" {
        Err(AttributeFault::Data)
    } else if name.len() > NAME_BYTES_MAX {
        Err(AttributeFault::LongName)
    } else if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        Err(AttributeFault::Name)
    } else {
        Ok(())
    }
}

/// Whether the attribute is one that the specification defines, so that its JSON value must be a string.
pub(super) fn is_standard(name: &str, version: SpecVersion) -> bool {
    match name {
        "id" | "source" | "type" | "subject" | "time" | "datacontenttype" => true,
        "dataschema" => version == SpecVersion::V1,
        "schemaurl" | "datacontentencoding" => version == SpecVersion::V03,
        _ => false,
    }
}

/// Checks the value of an attribute with a legal name.
pub(super) fn check_value(name: &str, value: &str, version: SpecVersion) -> Result<(), AttributeFault> {
    check_characters(value)?;
    let good = |good: bool, fault: AttributeFault| if good { Ok(()) } else { Err(fault) };
    match name {
        "id" | "type" | "subject" | "datacontenttype" => good(!is_blank(value), AttributeFault::Blank),
        "source" if is_blank(value) => Err(AttributeFault::Blank),
        "source" => good(is_uri_reference(value), AttributeFault::NotUriReference),
        "time" => good(is_timestamp(value), AttributeFault::NotTimestamp),
        "dataschema" | "schemaurl" if is_standard(name, version) => {
            good(is_absolute_uri(value), AttributeFault::NotAbsoluteUri)
        }
        "datacontentencoding" if version == SpecVersion::V03 => {
            good(value.eq_ignore_ascii_case("base64"), AttributeFault::Encoding)
        }
        _ => Ok(()),
    }
}

fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}

/// Strings have no C0 or C1 controls and no noncharacters.
fn check_characters(value: &str) -> Result<(), AttributeFault> {
    if value.bytes().all(|b| matches!(b, 0x20..=0x7e)) {
        return Ok(());
    }
    let illegal = |c: &char| {
        let code = u32::from(*c);
        c.is_control() || (code & 0xFFFE) == 0xFFFE || (0xFDD0..=0xFDEF).contains(&code)
    };
    value.chars().find(illegal).map_or(Ok(()), |c| Err(AttributeFault::Character(u32::from(c))))
}

/// The scheme of a URI, if the text before the first `:` can be one.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let sound = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    sound.then_some((scheme, rest))
}

fn is_absolute_uri(value: &str) -> bool {
    scheme(value).is_some_and(|(_, rest)| !rest.is_empty()) && !value.contains(char::is_whitespace)
}

/// A sanity check, not the whole grammar of RFC 3986: several SDKs send a `source` that holds percent-escapes without
/// escaping the `%` itself, and those must not be refused for what decoding makes of them.
fn is_uri_reference(value: &str) -> bool {
    let edges = !value.starts_with(char::is_whitespace) && !value.ends_with(char::is_whitespace);
    edges && (!value.contains("://") || value.find("://") > value.find(['/', '?', '#']) || scheme(value).is_some())
}

/// RFC 3339 `date-time`, ranges included; a leap second is legal.
pub(super) fn is_timestamp(value: &str) -> bool {
    let number = |from: usize, to: usize| -> Option<u32> {
        let digits = value.as_bytes().get(from..to)?;
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    };
    let mark = |at: usize, marks: &[u8]| value.as_bytes().get(at).is_some_and(|byte| marks.contains(byte));
    let fields = (|| Some((number(0, 4)?, number(5, 7)?, number(8, 10)?, number(11, 13)?, number(14, 16)?)))();
    let Some((year, month, day, hour, minute)) = fields else { return false };
    let marks = mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt") && mark(13, b":") && mark(16, b":");
    let in_range = (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60;
    if !marks || !in_range || number(17, 19).is_none_or(|second| second > 60) {
        return false;
    }
    let rest = value.get(19..).unwrap_or_default();
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    is_zone(zone.as_bytes())
}

fn is_zone(zone: &[u8]) -> bool {
    match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1 @ b'0'..=b'2', h2, b':', b'0'..=b'5', m2] => {
            h2.is_ascii_digit() && m2.is_ascii_digit() && (*h1 < b'2' || *h2 < b'4')
        }
        _ => false,
    }
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        for good in [
            "2020-01-01T01:00:00.1230000+02:00",
            "2018-04-05T17:31:00Z",
            "2024-02-29t23:59:60z",
            "0000-12-31T00:00:00-23:59",
        ] {
            assert!(is_timestamp(good), "{good}");
        }
        for bad in [
            "",
            "2018-04-05",
            "2018-04-05T17:31:00",
            "2018-04-05 17:31:00Z",
            "2023-02-29T00:00:00Z",
            "2018-13-05T17:31:00Z",
            "2018-04-31T17:31:00Z",
            "2018-04-05T24:00:00Z",
            "2018-04-05T17:31:61Z",
            "2018-04-05T17:31:00.Z",
            "2018-04-05T17:31:00+24:00",
            "2018-04-05T17:31:00+0200",
            "2018-04-05T17:31:00Zz",
            "+018-04-05T17:31:00Z",
            "2018-04-05T17:31:0éZ",
        ] {
            assert!(!is_timestamp(bad), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(check_name("c1d2e3"), Ok(()));
        assert_eq!(check_name("data"), Err(AttributeFault::Data));
        assert_eq!(check_name(&"x".repeat(256)), Err(AttributeFault::LongName));
        for bad in ["", "my_ext", "Bad", "a-b", "é", "a b"] {
            assert_eq!(check_name(bad), Err(AttributeFault::Name), "{bad}");
        }
    }

    #[test]
    fn values() {
        use AttributeFault as F;
        let (v1, v03) = (SpecVersion::V1, SpecVersion::V03);
        for (name, value, version, expected) in [
            ("id", "1", v1, Ok(())),
            ("id", "", v1, Err(F::Blank)),
            ("type", " \u{3000}", v1, Err(F::Blank)),
            ("subject", "", v1, Err(F::Blank)),
            ("datacontenttype", " ", v1, Err(F::Blank)),
            ("ext", "", v1, Ok(())),
            ("ext", "Euro €😀", v1, Ok(())),
            ("ext", "a\tb", v1, Err(F::Character(9))),
            ("ext", "\u{85}", v1, Err(F::Character(0x85))),
            ("ext", "\u{7f}", v1, Err(F::Character(0x7f))),
            ("ext", "\u{fdd0}", v1, Err(F::Character(0xfdd0))),
            ("ext", "\u{1ffff}", v1, Err(F::Character(0x1ffff))),
            ("source", "", v1, Err(F::Blank)),
            ("source", "/a b", v1, Ok(())),
            ("source", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", v1, Ok(())),
            ("source", "1-555-123-4567", v1, Ok(())),
            ("source", "/redirect?to=9x://y", v1, Ok(())),
            ("source", " /a", v1, Err(F::NotUriReference)),
            ("source", "://a", v1, Err(F::NotUriReference)),
            ("source", "1http://a", v1, Err(F::NotUriReference)),
            ("dataschema", "https://a/b", v1, Ok(())),
            ("dataschema", "/b", v1, Err(F::NotAbsoluteUri)),
            ("dataschema", "a:", v1, Err(F::NotAbsoluteUri)),
            ("dataschema", "", v1, Err(F::NotAbsoluteUri)),
            ("dataschema", "/b", v03, Ok(())),
            ("schemaurl", "/b", v03, Err(F::NotAbsoluteUri)),
            ("schemaurl", "/b", v1, Ok(())),
            ("time", "now", v1, Err(F::NotTimestamp)),
            ("datacontentencoding", "Base64", v03, Ok(())),
            ("datacontentencoding", "gzip", v03, Err(F::Encoding)),
            ("datacontentencoding", "gzip", v1, Ok(())),
        ] {
            assert_eq!(check_value(name, value, version), expected, "{name}={value:?}");
        }
    }
}
