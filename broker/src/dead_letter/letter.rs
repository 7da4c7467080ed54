//! One dead letter, and its form in the dead-letter log.
//!
//! *Responsibility*: [`DeadLetter`] ⇄ the [`Event`] that is stored. *Invariants*: [`DeadLetter::from_event`] gives
//! back the original event byte for byte, whatever attributes it had, those of our reserved prefix included: ours
//! stand behind all of the original's, and the first of them marks where they begin. *Not here*: when an event
//! becomes a dead letter, and who is told ([`crate::dispatch`]).
//!
//! Attributes added, in this order (all strings but `code`, an integer that is left out without an answer):
//! `reveilledltrigger` (namespace/name), `…offset`, `…reason`, `…code`, `…error`, `…attempts`, `…failedat`
//! (RFC 3339), `…dest` (the address as written), `…body` (base64 of the beginning of the answer's body).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::clock::UnixMicros;
use crate::event::{Attribute, BlockError, Event, ValueKind};
use crate::log::Offset;
use crate::names::TriggerKey;

/// Longest error text that is stored, in bytes: enough for a chain of causes, small beside an event.
pub const ERROR_TEXT_BYTES_MAX: usize = 2048;

/// The prefix of our attributes in the dead-letter log.
pub const ATTRIBUTE_PREFIX: &str = "reveilledl";

const TRIGGER: &str = "reveilledltrigger";
const OFFSET: &str = "reveilledloffset";
const REASON: &str = "reveilledlreason";
const CODE: &str = "reveilledlcode";
const ERROR: &str = "reveilledlerror";
const ATTEMPTS: &str = "reveilledlattempts";
const FAILED_AT: &str = "reveilledlfailedat";
const DEST: &str = "reveilledldest";
const BODY: &str = "reveilledlbody";

/// Why an event is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All retries were used.
    RetriesExhausted,
    /// The subscriber refused it with an answer that is not retried.
    Refused,
    /// The subscriber's address cannot be dialled at all.
    BadAddress,
    /// A reply had used up its hops (`knativebrokerttl`).
    HopLimit,
    /// The event's record was damaged on disk.
    Unreadable,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::RetriesExhausted, Self::Refused, Self::BadAddress, Self::HopLimit, Self::Unreadable];

    /// The name that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "RetriesExhausted",
            Self::Refused => "Refused",
            Self::BadAddress => "BadAddress",
            Self::HopLimit => "HopLimit",
            Self::Unreadable => "Unreadable",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The Trigger that could not deliver it.
    pub trigger: TriggerKey,
    /// Where the event stands in the Broker's log; for a reply, where the event stands that it answers.
    pub offset: Offset,
    /// Why.
    pub reason: Reason,
    /// HTTP status of the last attempt, if there was an answer.
    pub code: Option<u16>,
    /// What was wrong, in plain words.
    pub error: String,
    /// Attempts made.
    pub attempts: u32,
    /// When the last one failed.
    pub failed_at: UnixMicros,
    /// The address that failed, as written.
    pub error_dest: String,
    /// Beginning of the last answer's body.
    pub error_body: Bytes,
    /// The event, as it was before it became a dead letter.
    pub event: Event,
}

/// Why a stored event is no dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterError {
    /// It has none of our attributes.
    #[error("the event has no `{TRIGGER}`: it is no dead letter")]
    NoLetter,
    /// An attribute of ours is missing or cannot be read.
    #[error("dead letter: attribute `{0}` is missing or cannot be read")]
    Attribute(&'static str),
    /// The event itself cannot be put together.
    #[error("dead letter: {0}")]
    Block(#[from] BlockError),
}

impl DeadLetter {
    /// The event that is stored in the dead-letter log.
    ///
    /// # Errors
    /// [`LetterError::Block`] when the attributes cannot be stored; not for an event that a log has held.
    pub fn to_event(&self) -> Result<Event, LetterError> {
        let mut builder = Event::builder(self.event.spec_version());
        for Attribute { name, value, kind } in self.event.attributes() {
            builder.push(name, value, kind);
        }
        builder.push(TRIGGER, &self.trigger.to_string(), ValueKind::String);
        builder.push(OFFSET, &self.offset.0.to_string(), ValueKind::String);
        builder.push(REASON, self.reason.as_str(), ValueKind::String);
        if let Some(code) = self.code {
            builder.push(CODE, &code.to_string(), ValueKind::Integer);
        }
        builder.push(ERROR, beginning(&self.error), ValueKind::String);
        builder.push(ATTEMPTS, &self.attempts.to_string(), ValueKind::String);
        builder.push(FAILED_AT, &self.failed_at.to_rfc3339(), ValueKind::String);
        builder.push(DEST, &self.error_dest, ValueKind::String);
        builder.push(BODY, &STANDARD.encode(&self.error_body), ValueKind::String);
        Ok(builder.body(self.event.body_kind(), self.event.body().clone()).build()?)
    }

    /// Reads a stored dead letter.
    ///
    /// # Errors
    /// [`LetterError`] names the attribute that is missing or wrong.
    pub fn from_event(stored: &Event) -> Result<Self, LetterError> {
        // The last one is ours: an original may have carried the same name.
        let begin = stored.attributes().enumerate().filter(|(_, a)| a.name == TRIGGER).last();
        let begin = begin.map(|(position, _)| position).ok_or(LetterError::NoLetter)?;
        let ours = |name: &'static str| {
            let found = stored.attributes().skip(begin).find(|attribute| attribute.name == name);
            found.map(|attribute| attribute.value).ok_or(LetterError::Attribute(name))
        };
        let number = |name: &'static str| ours(name)?.parse::<u64>().map_err(|_| LetterError::Attribute(name));
        let code = match ours(CODE) {
            Ok(text) => Some(text.parse().map_err(|_| LetterError::Attribute(CODE))?),
            Err(_) => None,
        };
        let mut builder = Event::builder(stored.spec_version());
        for Attribute { name, value, kind } in stored.attributes().take(begin) {
            builder.push(name, value, kind);
        }
        Ok(Self {
            trigger: ours(TRIGGER)?.parse().map_err(|_| LetterError::Attribute(TRIGGER))?,
            offset: Offset(number(OFFSET)?),
            reason: Reason::from_name(ours(REASON)?).ok_or(LetterError::Attribute(REASON))?,
            code,
            error: ours(ERROR)?.to_owned(),
            attempts: u32::try_from(number(ATTEMPTS)?).map_err(|_| LetterError::Attribute(ATTEMPTS))?,
            failed_at: UnixMicros::from_rfc3339(ours(FAILED_AT)?).ok_or(LetterError::Attribute(FAILED_AT))?,
            error_dest: ours(DEST)?.to_owned(),
            error_body: STANDARD.decode(ours(BODY)?).map_err(|_| LetterError::Attribute(BODY))?.into(),
            event: builder.body(stored.body_kind(), stored.body().clone()).build()?,
        })
    }

    /// The event for a dead letter sink: the original with Knative's `knativeerrordest`, `knativeerrorcode` and
    /// `knativeerrordata`.
    #[must_use]
    pub fn for_sink(&self) -> Event {
        // Without an answer there is no status; Knative says 500 then, and the text of the error is the data.
        let code = self.code.unwrap_or(500).to_string();
        let data: &[u8] = if self.code.is_some() { &self.error_body } else { beginning(&self.error).as_bytes() };
        let data = STANDARD.encode(data);
        let mut set = vec![("knativeerrordest", self.error_dest.as_str()), ("knativeerrorcode", code.as_str())];
        if !data.is_empty() {
            set.push(("knativeerrordata", data.as_str()));
        }
        self.event.with_attributes(&set, &["knativeerrordata"])
    }
}

/// The text up to the limit, cut between characters.
fn beginning(text: &str) -> &str {
    let end = (0..=text.len().min(ERROR_TEXT_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{BodyKind, SpecVersion};

    fn event(extra: &[(&str, &str, ValueKind)], body: &[u8]) -> Event {
        let mut builder = Event::builder(SpecVersion::V1)
            .attribute("id", "1")
            .attribute("source", "/s")
            .attribute("type", "t")
            .body(BodyKind::Json, Bytes::copy_from_slice(body));
        for (name, value, kind) in extra {
            builder.push(name, value, *kind);
        }
        builder.build().unwrap()
    }

    fn letter(event: Event) -> DeadLetter {
        DeadLetter {
            trigger: "ns/orders".parse().unwrap(),
            offset: Offset(7),
            reason: Reason::RetriesExhausted,
            code: Some(503),
            error: "HTTP 503".to_owned(),
            attempts: 4,
            failed_at: UnixMicros(1_700_000_000_123_456),
            error_dest: "http://localhost/x".to_owned(),
            error_body: Bytes::from_static(b"a\r\nb\0\xff"),
            event,
        }
    }

    #[test]
    fn a_letter_in_a_letter_gives_both_back() {
        let inner = letter(event(&[("count", "7", ValueKind::Integer)], b"{}"));
        let outer = DeadLetter { reason: Reason::Refused, code: None, ..letter(inner.to_event().unwrap()) };
        let again = DeadLetter::from_event(&outer.to_event().unwrap()).unwrap();
        assert_eq!(again, outer);
        assert_eq!(DeadLetter::from_event(&again.event).unwrap(), inner);
    }

    #[test]
    fn what_is_no_letter_is_refused() {
        assert_eq!(DeadLetter::from_event(&event(&[], b"")), Err(LetterError::NoLetter));
        let damaged = event(&[(TRIGGER, "ns/a", ValueKind::String)], b"");
        assert!(matches!(DeadLetter::from_event(&damaged), Err(LetterError::Attribute(_))));
    }

    #[test]
    fn names_are_legal_attribute_names() {
        for name in [TRIGGER, OFFSET, REASON, CODE, ERROR, ATTEMPTS, FAILED_AT, DEST, BODY] {
            assert!(name.starts_with(ATTRIBUTE_PREFIX) && name.len() <= 20, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
        }
    }

    #[test]
    fn the_sink_is_told_as_knative_does() {
        let check = |code, error: &str, body: &'static [u8], expected: [Option<&str>; 3]| {
            let old = event(&[("knativeerrordata", "old", ValueKind::String)], b"{}");
            let letter = DeadLetter { code, error: error.into(), error_body: Bytes::from_static(body), ..letter(old) };
            let told = letter.for_sink();
            let value = |name| told.attribute(name).map(|a| a.value.to_owned());
            let got = ["knativeerrordest", "knativeerrorcode", "knativeerrordata"].map(value);
            assert_eq!(got, expected.map(|text| text.map(str::to_owned)));
            assert_eq!(told.body(), letter.event.body());
        };
        let dest = Some("http://localhost/x");
        check(Some(422), "HTTP 422", b"no\xff\n", [dest, Some("422"), Some("bm//Cg==")]);
        check(Some(422), "HTTP 422", b"", [dest, Some("422"), None]);
        check(None, "connection refused", b"", [dest, Some("500"), Some("Y29ubmVjdGlvbiByZWZ1c2Vk")]);
    }

    proptest! {
        #[test]
        fn every_letter_reads_back(
            body in proptest::collection::vec(any::<u8>(), 0..1024),
            error in ".{0,300}", dest in ".{0,80}", code in proptest::option::of(100_u16..1000), reason in 0_usize..5,
        ) {
            let letter = DeadLetter {
                error_body: body.clone().into(), error, error_dest: dest, code, reason: Reason::ALL[reason],
                ..letter(event(&[("a", "ü", ValueKind::String), ("reveilledlcode", "9", ValueKind::Integer)], &body))
            };
            let stored = letter.to_event().unwrap();
            prop_assert_eq!(DeadLetter::from_event(&stored).unwrap(), letter);
        }
    }
}
