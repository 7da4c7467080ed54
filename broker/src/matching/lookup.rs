//! Attribute names as filters know them, and their values in an event's block.

use std::borrow::Cow;

use schemas::cesql::{Attributes, Value};

use crate::event::{Event, ValueKind};

/// Derived from `datacontenttype`: its media type without parameters.
const MEDIA_TYPE: &str = "datamediatype";

/// The name under which an attribute is compared: `schemaurl` (0.3) and `dataschema` (1.0) are one.
pub(super) fn canonical(name: &str) -> &str {
    if name == "schemaurl" { "dataschema" } else { name }
}

/// All that a filter can see of an event: `specversion`, the attributes in order of arrival under their canonical
/// names, then `datamediatype`. Where a name comes twice, the first counts.
pub(super) fn visible(event: &Event) -> impl Iterator<Item = (&str, &str)> {
    let version = std::iter::once(("specversion", event.spec_version().as_str()));
    let stored = event.attributes().map(|attribute| (canonical(attribute.name), attribute.value));
    let derived = std::iter::once_with(|| event.datacontenttype()).flatten();
    version.chain(stored).chain(derived.map(|full| (MEDIA_TYPE, full.split(';').next().unwrap_or(full).trim())))
}

/// The value of one attribute by its canonical name.
pub(super) fn value<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    visible(event).find(|(visible, _)| *visible == name).map(|(_, value)| value)
}

/// What CESQL sees of an event: the same names, with the types that the JSON format told.
impl Attributes for Event {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        let text = |text| Value::String(Cow::Borrowed(text));
        // These are always there or have a place of their own; what remains is looked for.
        match name {
            "type" => return Some(text(self.ty())),
            "source" => return Some(text(self.source())),
            "id" => return Some(text(self.id())),
            "subject" => return self.subject().map(text),
            "specversion" => return Some(text(self.spec_version().as_str())),
            _ => {}
        }
        let name = canonical(name);
        match self.attributes().find(|attribute| canonical(attribute.name) == name) {
            Some(found) => Some(match (found.kind, found.value) {
                (ValueKind::Integer, value) => value.parse().map_or_else(|_| text(value), Value::Integer),
                (ValueKind::Boolean, "true") => Value::Boolean(true),
                (ValueKind::Boolean, "false") => Value::Boolean(false),
                (ValueKind::Boolean | ValueKind::String, value) => text(value),
            }),
            None => value(self, name).map(text),
        }
    }
}
