//! Conversion between [`Event`] and the CloudEvents SDK's event, for programs that hold one of those.
//!
//! The SDK's type holds less than ours: times become UTC with its own precision, `dataschema` becomes a normalised
//! URL, JSON data becomes a value (order of keys and long numbers change), and attribute order is lost. So nothing
//! between publisher and subscriber passes through here.

use cloudevents::event::{Data, ExtensionValue};
use cloudevents::{AttributesReader, Event as SdkEvent};

use super::decode::finish;
use super::fault::{AttributeFault, DecodeError};
use super::{BodyKind, Event, EventBuilder, SpecVersion, ValueKind, json, media_type, rules};

/// Why the SDK's event type cannot hold one of our events.
#[derive(Debug, thiserror::Error)]
#[error("the event does not fit the CloudEvents SDK's type: {0}")]
pub struct SdkError(#[from] serde_json::Error);

impl TryFrom<&Event> for SdkEvent {
    type Error = SdkError;

    fn try_from(event: &Event) -> Result<Self, SdkError> {
        let mut attributes = Vec::with_capacity(event.block().len() + 256);
        json::write_attributes(event, &mut attributes);
        let mut converted: Self = serde_json::from_slice(&attributes)?;
        let text = || std::str::from_utf8(event.body()).ok();
        let data = match event.body_kind() {
            BodyKind::None => return Ok(converted),
            BodyKind::Json => Data::Json(serde_json::from_slice(event.body())?),
            BodyKind::Text => text().map_or_else(|| Data::Binary(event.body().to_vec()), |text| text.into()),
            BodyKind::Binary => Data::Binary(event.body().to_vec()),
        };
        converted.set_data_unchecked(data);
        Ok(converted)
    }
}

impl TryFrom<&SdkEvent> for Event {
    type Error = DecodeError;

    fn try_from(event: &SdkEvent) -> Result<Self, DecodeError> {
        let version = match event.specversion() {
            cloudevents::event::SpecVersion::V10 => SpecVersion::V1,
            cloudevents::event::SpecVersion::V03 => SpecVersion::V03,
        };
        let mut builder = Self::builder(version);
        for (name, value) in event.iter_attributes() {
            if name != "specversion" {
                push(&mut builder, name, &value.to_string(), ValueKind::String, version)?;
            }
        }
        for (name, value) in event.iter_extensions() {
            match value {
                ExtensionValue::String(text) => push(&mut builder, name, text, ValueKind::String, version)?,
                ExtensionValue::Boolean(flag) => {
                    push(&mut builder, name, &flag.to_string(), ValueKind::Boolean, version)?;
                }
                ExtensionValue::Integer(number) => {
                    let number =
                        i32::try_from(*number).map_err(|_| DecodeError::attribute(name, AttributeFault::NotInteger))?;
                    push(&mut builder, name, &number.to_string(), ValueKind::Integer, version)?;
                }
            }
        }
        let is_json = event.datacontenttype().is_none_or(media_type::is_json);
        let (kind, body) = match event.data() {
            None => (BodyKind::None, Vec::new()),
            Some(Data::Binary(bytes)) => (BodyKind::Binary, bytes.clone()),
            Some(Data::String(text)) if !is_json => (BodyKind::Text, text.clone().into_bytes()),
            Some(Data::String(text)) => {
                (BodyKind::Json, serde_json::Value::from(text.as_str()).to_string().into_bytes())
            }
            Some(Data::Json(value)) => (BodyKind::Json, value.to_string().into_bytes()),
        };
        finish(builder.body(kind, body.into()))
    }
}

fn push(
    builder: &mut EventBuilder,
    name: &str,
    value: &str,
    kind: ValueKind,
    version: SpecVersion,
) -> Result<(), DecodeError> {
    rules::check_name(name)
        .and_then(|()| rules::check_value(name, value, version))
        .map_err(|fault| DecodeError::attribute(name, fault))?;
    builder.push(name, value, kind);
    Ok(())
}

#[cfg(test)]
mod tests;
