//! Why a message is no CloudEvent, in words that a publisher can act on.

/// Why a message could not be read as a CloudEvent, or as several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing in the message says that it is an event.
    #[error(
        "the message has no `ce-` headers and its Content-Type is not application/cloudevents+json; send ce-specversion, ce-id, ce-source and ce-type, or an event in the JSON format"
    )]
    NotAnEvent,
    /// An `application/cloudevents…` media type that is not spoken here.
    #[error(
        "the format `{0}` is not supported; send application/cloudevents+json, application/cloudevents-batch+json or binary mode"
    )]
    UnsupportedFormat(String),
    /// JSON in another character set.
    #[error("the charset `{0}` is not supported; events in the JSON format are UTF-8")]
    UnsupportedCharset(String),
    /// The body of a structured message or batch is not UTF-8.
    #[error("the body is not UTF-8 text: byte {at} is wrong")]
    NotUtf8 {
        /// Position of the first wrong byte.
        at: usize,
    },
    /// The body is not the JSON that it should be.
    #[error("the body is not an event in the JSON format: {0}")]
    Json(String),
    /// One attribute, or a member named like one, is wrong.
    #[error("attribute `{attribute}` {fault}")]
    Attribute {
        /// Its name, cut to a readable length.
        attribute: String,
        /// What is wrong with it.
        fault: AttributeFault,
    },
    /// The data is given in a way that cannot be right.
    #[error("{0}")]
    Data(DataFault),
    /// The event has more attributes than are taken.
    #[error("the event has more than {limit} attributes")]
    TooManyAttributes {
        /// The limit.
        limit: usize,
    },
    /// The batch has more events than are taken.
    #[error("the batch has more than {limit} events; send several smaller batches")]
    TooManyEvents {
        /// The limit.
        limit: usize,
    },
    /// One event of a batch is wrong; so the whole batch is.
    #[error("event {index} of the batch: {fault}")]
    InBatch {
        /// Its position, from 0.
        index: usize,
        /// What is wrong with it.
        fault: Box<DecodeError>,
    },
}

/// What is wrong with one attribute. Each reads on from the attribute's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeFault {
    /// A required attribute is absent.
    #[error("is missing")]
    Missing,
    /// It has no visible character.
    #[error("is empty or blank")]
    Blank,
    /// It stands twice in one event.
    #[error("is given more than once")]
    Repeated,
    /// The name has other characters than the specification allows.
    #[error("is no attribute name: names have the characters a-z and 0-9 only")]
    Name,
    /// The name is longer than can be stored.
    #[error("has a name of more than 255 characters")]
    LongName,
    /// `data` cannot be an attribute's name.
    #[error("is not allowed: `data` is no attribute; in binary mode the data is the body of the message")]
    Data,
    /// `ce-datacontenttype` in binary mode.
    #[error("is not allowed as a `ce-` header: in binary mode it is the Content-Type header")]
    ContentTypeHeader,
    /// The JSON value of a standard attribute is not a string.
    #[error("is not a JSON string")]
    NotString,
    /// The JSON value of an extension is an object or array.
    #[error("is a JSON object or array: attributes are strings, whole numbers or booleans")]
    NotScalar,
    /// The JSON number is no 32-bit integer.
    #[error("is not a whole number from -2147483648 to 2147483647")]
    NotInteger,
    /// The JSON string has an escape that is no character.
    #[error("has an escape in its JSON string that is no Unicode character")]
    Escape,
    /// A character that attribute values must not have.
    #[error("has the character U+{0:04X}, which is a control or noncharacter")]
    Character(u32),
    /// The header's value is no UTF-8 once percent-decoded.
    #[error("is not UTF-8 after percent-decoding")]
    NotUtf8,
    /// `source` is no URI-reference.
    #[error("is no URI-reference")]
    NotUriReference,
    /// `dataschema` is no absolute URI.
    #[error("is no absolute URI (such as https://example.com/schema)")]
    NotAbsoluteUri,
    /// `time` is not RFC 3339.
    #[error("is no RFC 3339 timestamp (such as 2026-01-31T12:00:00Z)")]
    NotTimestamp,
    /// A specification version that is not spoken here.
    #[error("is `{0}`; supported are 1.0 and 0.3")]
    Version(String),
    /// `datacontentencoding` (0.3) is something else than base64.
    #[error("is not `base64`, the only encoding of 0.3 that is supported")]
    Encoding,
}

/// What is wrong with the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DataFault {
    /// Both members are there.
    #[error("`data` and `data_base64` are both given; an event has one of them at most")]
    Both,
    /// `data_base64`, or `data` of a 0.3 event in base64, is not a string.
    #[error("the base64 data is not a JSON string")]
    NotString,
    /// It is a string, but not base64.
    #[error("the base64 data cannot be decoded")]
    Base64,
    /// A string in `data` has an escape that is no character, so it has no bytes.
    #[error("`data` has an escape in its JSON string that is no Unicode character")]
    Escape,
}

/// Longest part of a publisher's own text that an error repeats, in characters.
const QUOTED_CHARS_MAX: usize = 80;

impl DecodeError {
    pub(super) fn attribute(name: &str, fault: AttributeFault) -> Self {
        Self::Attribute { attribute: quoted(name), fault }
    }

    /// The attribute that is at fault, if it is one.
    #[must_use]
    pub fn attribute_name(&self) -> Option<&str> {
        match self {
            Self::Attribute { attribute, .. } => Some(attribute),
            Self::InBatch { fault, .. } => fault.attribute_name(),
            Self::NotAnEvent
            | Self::UnsupportedFormat(_)
            | Self::UnsupportedCharset(_)
            | Self::NotUtf8 { .. }
            | Self::Json(_)
            | Self::Data(_)
            | Self::TooManyAttributes { .. }
            | Self::TooManyEvents { .. } => None,
        }
    }

    /// Which event of a batch is at fault, from 0.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        if let Self::InBatch { index, .. } = self { Some(*index) } else { None }
    }
}

/// A publisher's text, short enough for a message.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}
