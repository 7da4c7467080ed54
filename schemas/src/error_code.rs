//! Public error codes: what every error answer of the ingress and the admin API is called.
//!
//! *Responsibility*: one closed list of codes with their HTTP status and meaning, and [`Problem`], the body
//! (`application/problem+json`, RFC 9457) that carries them. *Invariants*: a code's text and status never change
//! once released. *Not here*: which failure of a part of the program has which code; each server maps its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Media type of a [`Problem`].
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// The request is no CloudEvent, or an attribute or the data of it is not legal.
    MalformedEvent,
    /// An `application/cloudevents…` format that the broker does not speak.
    UnsupportedFormat,
    /// No such Broker.
    UnknownBroker,
    /// The path is none of ours.
    BadPath,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// One event is larger than the broker takes.
    EventTooLarge,
    /// The request is larger than the broker takes.
    RequestTooLarge,
    /// More is under way than the broker holds in memory.
    Overloaded,
    /// The log has no room.
    OutOfSpace,
    /// The log stopped after a failed write.
    LogUnavailable,
    /// The broker is stopping.
    ShuttingDown,
    /// The broker does not know yet which Brokers there are.
    StartingUp,
    /// The request did not arrive in time.
    RequestTimeout,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// A parameter or body of an admin request is wrong.
    BadRequest,
    /// The thing asked for does not exist.
    NotFound,
    /// The request is understood, and not done because of the state of things.
    Refused,
    /// A fault of the broker; its log says more.
    Internal,
}

/// The facts about one code, so that each is stated once.
struct Facts {
    text: &'static str,
    title: &'static str,
    status: u16,
    retryable: bool,
    no_side_effects: bool,
}

/// A row of the table in [`ErrorCode::facts`].
const fn row(text: &'static str, title: &'static str, status: u16, retryable: bool, no_side_effects: bool) -> Facts {
    Facts { text, title, status, retryable, no_side_effects }
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 18] = [
        Self::MalformedEvent,
        Self::UnsupportedFormat,
        Self::UnknownBroker,
        Self::BadPath,
        Self::MethodNotAllowed,
        Self::EventTooLarge,
        Self::RequestTooLarge,
        Self::Overloaded,
        Self::OutOfSpace,
        Self::LogUnavailable,
        Self::ShuttingDown,
        Self::StartingUp,
        Self::RequestTimeout,
        Self::Unauthorized,
        Self::BadRequest,
        Self::NotFound,
        Self::Refused,
        Self::Internal,
    ];

    /// text, title, status, retryable, without side effects
    const fn facts(self) -> Facts {
        match self {
            Self::MalformedEvent => row("malformed_event", "The request is not a valid CloudEvent", 400, false, true),
            Self::UnsupportedFormat => {
                row("unsupported_format", "The CloudEvents format is not supported", 415, false, true)
            }
            Self::UnknownBroker => row("unknown_broker", "There is no such Broker", 404, false, true),
            Self::BadPath => row("bad_path", "There is nothing at this path", 404, false, true),
            Self::MethodNotAllowed => {
                row("method_not_allowed", "The method is not allowed at this path", 405, false, true)
            }
            Self::EventTooLarge => row("event_too_large", "The event is too large", 413, false, true),
            Self::RequestTooLarge => row("request_too_large", "The request is too large", 413, false, true),
            Self::Overloaded => row("overloaded", "The broker has too much under way", 503, true, true),
            Self::OutOfSpace => row("out_of_space", "The broker's log is out of space", 507, true, true),
            // The write may have reached the disk before its sync failed.
            Self::LogUnavailable => row("log_unavailable", "The broker's log takes no events", 503, true, false),
            Self::ShuttingDown => row("shutting_down", "The broker is stopping", 503, true, true),
            Self::StartingUp => row("starting_up", "The broker does not know its Brokers yet", 503, true, true),
            Self::RequestTimeout => row("request_timeout", "The request did not arrive in time", 408, true, true),
            Self::Unauthorized => row("unauthorized", "Credentials are missing or wrong", 401, false, true),
            Self::BadRequest => row("bad_request", "The request is not valid", 400, false, true),
            Self::NotFound => row("not_found", "There is no such thing", 404, false, true),
            Self::Refused => row("refused", "The request was refused", 409, false, true),
            Self::Internal => row("internal", "The broker failed", 500, true, false),
        }
    }

    /// The stable text of the code, such as `malformed_event`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.facts().text
    }

    /// What it means, in one line without details.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().title
    }

    /// The HTTP status that it is sent with.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.facts().status
    }

    /// Whether the very same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.facts().retryable
    }

    /// Whether the request certainly changed nothing: nothing of it is stored.
    #[must_use]
    pub const fn has_no_side_effects(self) -> bool {
        self.facts().no_side_effects
    }

    /// The code of this text; `None` for a text that is no code.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).ok_or_else(|| serde::de::Error::custom(format_args!("`{text}` is no error code")))
    }
}

/// The body of an error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What happened, for programs.
    pub code: ErrorCode,
    /// The HTTP status.
    pub status: u16,
    /// What the code means.
    pub title: String,
    /// What happened to whom, and the next step.
    pub detail: String,
    /// The CloudEvents attribute, or the parameter, that is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Position in a batch of the event at fault, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
}

impl Problem {
    /// A problem with this code.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            title: code.title().to_owned(),
            detail: detail.into(),
            attribute: None,
            index: None,
        }
    }

    /// Names the attribute or parameter at fault.
    #[must_use]
    pub fn with_attribute(mut self, attribute: impl Into<String>) -> Self {
        self.attribute = Some(attribute.into());
        self
    }

    /// Says which event of a batch is at fault.
    #[must_use]
    pub fn with_index(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.status, self.code, self.detail)?;
        if let Some(attribute) = &self.attribute {
            write!(f, " [attribute {attribute}]")?;
        }
        self.index.map_or(Ok(()), |index| write!(f, " [event {index} of the batch]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_distinct_and_read_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_text(code.as_str()), Some(code));
            assert!((400..600).contains(&code.status()), "{code}");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        }
        assert_eq!(ErrorCode::from_text("nonsense"), None);
    }

    #[test]
    fn a_code_that_may_have_stored_something_says_so() {
        let unsure: Vec<_> = ErrorCode::ALL.into_iter().filter(|code| !code.has_no_side_effects()).collect();
        assert_eq!(unsure, [ErrorCode::LogUnavailable, ErrorCode::Internal]);
    }

    #[test]
    fn a_problem_names_the_attribute() {
        let problem = Problem::new(ErrorCode::MalformedEvent, "`id` is empty").with_attribute("id").with_index(2);
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            text,
            r#"{"code":"malformed_event","status":400,"title":"The request is not a valid CloudEvent","detail":"`id` is empty","attribute":"id","index":2}"#
        );
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
        assert_eq!(problem.to_string(), "400 (malformed_event): `id` is empty [attribute id] [event 2 of the batch]");
    }
}
