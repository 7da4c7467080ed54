//! Media types: which content mode a message is in, and whether data is JSON.
//!
//! All comparisons ignore case and parameters, as HTTP wants.

/// Media type of one event in the JSON format (structured mode).
pub const STRUCTURED_JSON: &str = "application/cloudevents+json";
/// Media type of a batch of events in the JSON format.
pub const BATCH_JSON: &str = "application/cloudevents-batch+json";
/// What data without a `datacontenttype` is, if it came in the JSON format's `data` member.
pub const JSON: &str = "application/json";

const CLOUDEVENTS: &str = "application/cloudevents";

/// How a message carries its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in headers, data as the body.
    Binary,
    /// One event in the JSON format.
    Structured,
    /// A JSON array of events in the JSON format.
    Batch,
    /// A CloudEvents format that we do not read.
    Unsupported,
}

/// A media type without its parameters.
#[must_use]
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim_matches([' ', '\t'])
}

/// The content mode that a `Content-Type` announces.
#[must_use]
pub fn mode(content_type: &str) -> Mode {
    let is_cloudevents =
        |essence: &str| essence.get(..CLOUDEVENTS.len()).is_some_and(|head| head.eq_ignore_ascii_case(CLOUDEVENTS));
    let essence = essence(content_type);
    if !is_cloudevents(essence) {
        Mode::Binary
    } else if essence.eq_ignore_ascii_case(BATCH_JSON) {
        Mode::Batch
    } else if essence.eq_ignore_ascii_case(STRUCTURED_JSON) {
        Mode::Structured
    } else {
        Mode::Unsupported
    }
}

/// The `charset` parameter, without quotes.
#[must_use]
pub fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let named = name.trim_matches([' ', '\t']).eq_ignore_ascii_case("charset");
        named.then(|| value.trim_matches([' ', '\t']).trim_matches('"'))
    })
}

/// Whether data of this media type is JSON: its subtype is `json`, or ends in `+json`.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let Some((_, subtype)) = essence(content_type).split_once('/') else { return false };
    let suffix = subtype.rsplit('+').next().unwrap_or(subtype);
    suffix.eq_ignore_ascii_case("json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (content_type, expected) in [
            ("application/cloudevents+json", Mode::Structured),
            ("Application/CloudEvents+JSON; charset=utf-8", Mode::Structured),
            ("application/cloudevents+json;x=y", Mode::Structured),
            ("application/cloudevents-batch+json", Mode::Batch),
            ("APPLICATION/CLOUDEVENTS-BATCH+JSON ; charset=UTF-8", Mode::Batch),
            ("application/cloudevents+avro", Mode::Unsupported),
            ("application/cloudevents-batch+protobuf", Mode::Unsupported),
            ("application/cloudevents", Mode::Unsupported),
            ("application/json", Mode::Binary),
            ("application/cloudevent", Mode::Binary),
            ("text/plain; a=application/cloudevents+json", Mode::Binary),
            ("", Mode::Binary),
        ] {
            assert_eq!(mode(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn json_is_told_by_the_subtype_alone() {
        for json in ["application/json", "text/json", "application/foo+json; charset=utf-8", "APPLICATION/X+JSON"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["text/plain", "json", "application/json5", "application/jsonx+xml", "", "text/plain; a=x/json"] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn charset_is_read_from_the_parameters() {
        assert_eq!(charset("a/b; charset=utf-8"), Some("utf-8"));
        assert_eq!(charset("a/b; x=1; CharSet=\"UTF-16\""), Some("UTF-16"));
        assert_eq!(charset("a/b"), None);
    }
}
