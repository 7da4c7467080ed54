//! The reader of the JSON format.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::decode::{ATTRIBUTES_MAX, BATCH_EVENTS_MAX, finish, version};
use crate::event::{
    AttributeFault, BodyKind, DataFault, DecodeError, Event, EventBuilder, SpecVersion, ValueKind, media_type, rules,
};

/// Padding may be left out, as some encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Those that count as attributes, and `specversion`, `datacontenttype`, `data` and `data_base64`.
const MEMBERS_MAX: usize = ATTRIBUTES_MAX + 4;

/// Room for the members of an ordinary event, so that collecting them allocates once.
const MEMBERS_USUAL: usize = 16;

/// Reads one event; its body is a slice of `text` wherever it can be.
pub(in crate::event) fn read_event(text: &Bytes) -> Result<Event, DecodeError> {
    let mut fault = None;
    let mut members = Vec::with_capacity(MEMBERS_USUAL);
    let seed = EventSeed { text, members: &mut members, fault: &mut fault };
    let mut json = serde_json::Deserializer::from_str(utf8(text)?);
    let read = seed.deserialize(&mut json).and_then(|event| json.end().map(|()| event));
    read.map_err(|error| fault.unwrap_or_else(|| DecodeError::Json(error.to_string())))
}

/// Reads a batch; `index` of an error is that of the event at fault.
pub(in crate::event) fn read_batch(text: &Bytes) -> Result<Vec<Event>, DecodeError> {
    let mut fault = None;
    let mut events = Vec::new();
    let mut inside = false;
    let seed = BatchSeed { text, events: &mut events, fault: &mut fault, inside: &mut inside };
    let mut json = serde_json::Deserializer::from_str(utf8(text)?);
    match seed.deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => Ok(events),
        Err(error) => match fault.unwrap_or_else(|| DecodeError::Json(error.to_string())) {
            fault @ DecodeError::TooManyEvents { .. } => Err(fault),
            fault if inside => Err(DecodeError::InBatch { index: events.len(), fault: Box::new(fault) }),
            fault => Err(fault),
        },
    }
}

fn utf8(text: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(text).map_err(|error| DecodeError::NotUtf8 { at: error.valid_up_to() })
}

/// One member of an event's object; the value is the text as it stood.
type Member<'de> = (Cow<'de, str>, &'de RawValue);

/// Reads an event from an object. What is wrong with the event, other than the JSON, is put into `fault`, because
/// serde's error cannot carry it.
struct EventSeed<'s, 'de> {
    text: &'s Bytes,
    members: &'s mut Vec<Member<'de>>,
    fault: &'s mut Option<DecodeError>,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_, 'de> {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_, 'de> {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        self.members.clear();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            if self.members.len() >= MEMBERS_MAX {
                *self.fault = Some(DecodeError::TooManyAttributes { limit: ATTRIBUTES_MAX });
                return Err(A::Error::custom("too many attributes"));
            }
            if self.members.iter().any(|(earlier, _)| *earlier == name) {
                *self.fault = Some(DecodeError::attribute(&name, AttributeFault::Repeated));
                return Err(A::Error::custom("repeated member"));
            }
            self.members.push((name, map.next_value()?));
        }
        event_of(self.members, self.text).map_err(|fault| {
            *self.fault = Some(fault);
            A::Error::custom("not an event")
        })
    }
}

/// Reads a member's name without copying it, unless it has escapes.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

struct BatchSeed<'s> {
    text: &'s Bytes,
    events: &'s mut Vec<Event>,
    fault: &'s mut Option<DecodeError>,
    /// Whether reading is between the brackets, so that a fault belongs to the next event.
    inside: &'s mut bool,
}

impl<'de> DeserializeSeed<'de> for BatchSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for BatchSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch: a JSON array of CloudEvents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut members = Vec::with_capacity(MEMBERS_USUAL);
        *self.inside = true;
        loop {
            let seed = EventSeed { text: self.text, members: &mut members, fault: self.fault };
            let Some(event) = elements.next_element_seed(seed)? else {
                *self.inside = false;
                return Ok(());
            };
            if self.events.len() >= BATCH_EVENTS_MAX {
                *self.fault = Some(DecodeError::TooManyEvents { limit: BATCH_EVENTS_MAX });
                return Err(A::Error::custom("too many events"));
            }
            self.events.push(event);
        }
    }
}

/// The members that make up the data.
#[derive(Default)]
struct Data<'de> {
    member: Option<&'de RawValue>,
    base64_member: Option<&'de RawValue>,
    /// 0.3: `data` is base64.
    member_is_base64: bool,
    /// Whether a string in `data` is text, not JSON.
    string_is_text: bool,
}

fn event_of(members: &[Member<'_>], text: &Bytes) -> Result<Event, DecodeError> {
    let uncounted = |name: &str| matches!(name, "specversion" | "datacontenttype" | "data" | "data_base64");
    if members.len() > ATTRIBUTES_MAX && members.iter().filter(|(name, _)| !uncounted(name)).count() > ATTRIBUTES_MAX {
        return Err(DecodeError::TooManyAttributes { limit: ATTRIBUTES_MAX });
    }
    let version = version_of(members)?;
    let mut builder = Event::builder(version);
    let mut data = Data::default();
    for (name, raw) in members {
        match (&**name, version) {
            ("specversion", _) => {}
            ("data", _) => data.member = Some(*raw),
            ("data_base64", SpecVersion::V1) => data.base64_member = (raw.get() != "null").then_some(*raw),
            (name, _) => push_member(&mut builder, &mut data, name, raw, version)
                .map_err(|fault| DecodeError::attribute(name, fault))?,
        }
    }
    // Without the required attributes there is no event; that goes before what may be wrong with its data.
    match data.read(text) {
        Ok((kind, body)) => finish(builder.body(kind, body)),
        Err(fault) => finish(builder).and(Err(DecodeError::Data(fault))),
    }
}

fn version_of(members: &[Member<'_>]) -> Result<SpecVersion, DecodeError> {
    let fault = |fault| DecodeError::attribute("specversion", fault);
    let member = members.iter().find(|(name, raw)| name == "specversion" && raw.get() != "null");
    let (_, raw) = member.ok_or_else(|| fault(AttributeFault::Missing))?;
    let value = string(raw).ok_or_else(|| fault(AttributeFault::NotString))?;
    version(&value.map_err(|Escape| fault(AttributeFault::Escape))?)
}

fn push_member(
    builder: &mut EventBuilder,
    data: &mut Data<'_>,
    name: &str,
    raw: &RawValue,
    version: SpecVersion,
) -> Result<(), AttributeFault> {
    rules::check_name(name)?;
    let (value, kind) = match string(raw) {
        Some(value) => (value.map_err(|Escape| AttributeFault::Escape)?, ValueKind::String),
        None if raw.get() == "null" => return Ok(()),
        None if rules::is_standard(name, version) => return Err(AttributeFault::NotString),
        None => match raw.get() {
            value @ ("true" | "false") => (Cow::Borrowed(value), ValueKind::Boolean),
            other if other.starts_with(['{', '[']) => return Err(AttributeFault::NotScalar),
            other => {
                let number: i32 = other.parse().map_err(|_| AttributeFault::NotInteger)?;
                (Cow::Owned(number.to_string()), ValueKind::Integer)
            }
        },
    };
    rules::check_value(name, &value, version)?;
    match name {
        "datacontenttype" => data.string_is_text = !media_type::is_json(&value),
        // It tells how this message carries the data, which is decoded now; so it is no longer true of the event.
        "datacontentencoding" if version == SpecVersion::V03 => {
            data.member_is_base64 = true;
            return Ok(());
        }
        _ => {}
    }
    builder.push(name, &value, kind);
    Ok(())
}

/// A JSON string whose escapes are not all characters.
#[derive(Debug)]
struct Escape;

/// The text of a JSON string, borrowed unless it has escapes; `None` for another kind of value.
fn string(raw: &RawValue) -> Option<Result<Cow<'_, str>, Escape>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Ok(Cow::Borrowed(inner)));
    }
    Some(serde_json::from_str::<String>(raw.get()).map(Cow::Owned).map_err(|_| Escape))
}

impl Data<'_> {
    fn read(self, text: &Bytes) -> Result<(BodyKind, Bytes), DataFault> {
        let slice = |part: &str| text.slice_ref(part.as_bytes());
        match (self.member, self.base64_member) {
            (None, None) => Ok((BodyKind::None, Bytes::new())),
            (Some(_), Some(_)) => Err(DataFault::Both),
            (None, Some(raw)) => base64_of(raw),
            (Some(raw), None) if self.member_is_base64 => base64_of(raw),
            (Some(raw), None) => match string(raw) {
                Some(value) if self.string_is_text => match value.map_err(|Escape| DataFault::Escape)? {
                    Cow::Borrowed(inner) => Ok((BodyKind::Text, slice(inner))),
                    Cow::Owned(unescaped) => Ok((BodyKind::Text, Bytes::from(unescaped))),
                },
                Some(_) | None => Ok((BodyKind::Json, slice(raw.get()))),
            },
        }
    }
}

/// Whether text is base64 as the reader takes it.
pub(in crate::event) fn is_base64(text: &[u8]) -> bool {
    BASE64.decode(text).is_ok()
}

fn base64_of(raw: &RawValue) -> Result<(BodyKind, Bytes), DataFault> {
    let encoded = string(raw).ok_or(DataFault::NotString)?.map_err(|Escape| DataFault::Base64)?;
    let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| DataFault::Base64)?;
    Ok((BodyKind::Binary, Bytes::from(bytes)))
}
