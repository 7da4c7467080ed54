//! Attribute values in HTTP headers: one pass of percent-encoding, as the CloudEvents HTTP binding has it.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS};

/// What is written as `%XX`: space, `"`, `%`, and all outside U+0021 to U+007E (bytes above ASCII always are).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Whether the value stands in a header as it is.
pub(super) fn is_plain(value: &str) -> bool {
    value.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b'"' && b != b'%')
}

/// The header form of a value.
pub(super) fn encode(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, ENCODED).to_string()
}

/// The value that a header's bytes stand for: a double-quoted value is unquoted first, then every `%XX` is decoded
/// once. A `%` that begins no such triplet is kept, because several SDKs send values unencoded. `None` when the
/// result is not UTF-8.
pub(super) fn decode(raw: &[u8]) -> Option<Cow<'_, str>> {
    let unquoted = unquote(raw);
    if memchr::memchr(b'%', unquoted.as_ref()).is_none() {
        return match unquoted {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode(&unquoted).collect();
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// Takes the quotes and backslash escapes off; what is not wholly one quoted string is left as it is.
fn unquote(raw: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = raw.strip_prefix(b"\"") else { return Cow::Borrowed(raw) };
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' if bytes.as_slice().is_empty() => return Cow::Owned(text),
            b'"' => break,
            b'\\' => match bytes.next() {
                Some(&escaped) => text.push(escaped),
                None => break,
            },
            other => text.push(other),
        }
    }
    Cow::Borrowed(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decoding() {
        for (raw, expected) in [
            ("plain", Some("plain")),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀")),
            ("%e2%82%ac", Some("€")),
            ("%41", Some("A")),
            ("%2520", Some("%20")),
            ("100%", Some("100%")),
            ("5% of%2", Some("5% of%2")),
            ("%C0%A0", None),
            ("%ff", None),
            ("\"a b\"", Some("a b")),
            ("\"a \\\"b\\\" \\\\ %22\"", Some("a \"b\" \\ \"")),
            ("\"unfinished", Some("\"unfinished")),
            ("\"a\" b", Some("\"a\" b")),
            ("\"a\\", Some("\"a\\")),
            ("\"", Some("\"")),
            ("\"\"", Some("")),
            ("", Some("")),
            ("Euro €", Some("Euro €")),
        ] {
            assert_eq!(decode(raw.as_bytes()).as_deref(), expected, "{raw}");
        }
        assert_eq!(decode(b"\xff"), None);
    }

    #[test]
    fn encoding() {
        assert_eq!(encode("Euro € \"q\" 100%~!"), "Euro%20%E2%82%AC%20%22q%22%20100%25~!");
        assert!(is_plain("a!~"));
        for coded in ["a b", "\"", "%", "é", "\n", "\u{7f}"] {
            assert!(!is_plain(coded), "{coded:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|b| matches!(b, 0x21..=0x7e)));
            let decoded = decode(encoded.as_bytes());
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(raw in any::<Vec<u8>>()) {
            let _ = decode(&raw);
        }
    }
}
