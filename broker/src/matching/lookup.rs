//! Attribute names as filters know them, and their values in an event's block.

use crate::event::Event;

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
