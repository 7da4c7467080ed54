//! The attribute block: how attributes lie in memory and on disk. The layout is in the parent's documentation.

use bytes::Bytes;

use super::{BodyKind, Event, SpecVersion, ValueKind};

/// The version byte that every block begins with.
pub(super) const BLOCK_VERSION: u8 = 1;
pub(super) const ID: u8 = 1;
pub(super) const SOURCE: u8 = 2;
pub(super) const TYPE: u8 = 3;
pub(super) const SUBJECT: u8 = 4;
pub(super) const TIME: u8 = 5;
pub(super) const DATACONTENTTYPE: u8 = 6;
pub(super) const DATASCHEMA: u8 = 7;
const EXTENSION: u8 = 255;
const HEADER_BYTES: usize = 2;

/// One attribute of an event, borrowed from its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Lower-case name.
    pub name: &'a str,
    /// Canonical string form of the value.
    pub value: &'a str,
    /// The type that the value had on the wire.
    pub kind: ValueKind,
}

/// Why a stored block cannot be read, or an event cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The block ends early, or a length, code or text in it is wrong.
    #[error("attribute block is damaged at byte {at}")]
    Damaged {
        /// Position in the block.
        at: usize,
    },
    /// The block was written by a later release.
    #[error("attribute block has version {0}, this release reads version 1")]
    Version(u8),
    /// `id`, `source` or `type` is missing or empty.
    #[error("required attribute `{0}` is missing or empty")]
    Missing(&'static str),
    /// A name is empty or longer than 255 bytes, or a value longer than 4 GiB.
    #[error("attribute `{0}` has a name or value of a length that cannot be stored")]
    Length(String),
}

/// Writes a block attribute by attribute. It checks that the block will be readable, not that values are legal
/// CloudEvents; that is [`super::decode`]'s work.
#[derive(Debug)]
#[must_use]
pub struct EventBuilder {
    version: SpecVersion,
    block: Vec<u8>,
    body: Bytes,
    seen: u8,
    fault: Option<BlockError>,
}

impl EventBuilder {
    /// An event of this specification version, so far without attributes or data.
    pub fn new(version: SpecVersion) -> Self {
        let mut block = Vec::with_capacity(256);
        block.push(BLOCK_VERSION);
        block.push(match version {
            SpecVersion::V1 => 0,
            SpecVersion::V03 => 1,
        });
        Self { version, block, body: Bytes::new(), seen: 0, fault: None }
    }

    /// Adds an attribute with a string value.
    pub fn attribute(self, name: &str, value: &str) -> Self {
        self.typed_attribute(name, value, ValueKind::String)
    }

    /// Adds an attribute; `value` is the canonical string form of a value of type `kind`.
    pub fn typed_attribute(mut self, name: &str, value: &str, kind: ValueKind) -> Self {
        self.push(name, value, kind);
        self
    }

    /// Adds an attribute to a builder held by reference; see [`EventBuilder::typed_attribute`].
    pub fn push(&mut self, name: &str, value: &str, kind: ValueKind) {
        let Ok(length) = u32::try_from(value.len()) else {
            self.fault = Some(BlockError::Length(name.to_owned()));
            return;
        };
        let code = code_of(name, self.version);
        if !value.is_empty() && (ID..=TYPE).contains(&code) {
            self.seen |= 1 << code;
        }
        self.block.push(code);
        if code == EXTENSION {
            match u8::try_from(name.len()) {
                Ok(length) if length > 0 => {
                    self.block.push(length);
                    self.block.extend_from_slice(name.as_bytes());
                }
                _ => self.fault = Some(BlockError::Length(name.chars().take(64).collect())),
            }
        }
        self.block.push(match kind {
            ValueKind::String => 0,
            ValueKind::Integer => 1,
            ValueKind::Boolean => 2,
        });
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(value.as_bytes());
    }

    /// Sets the data.
    pub fn body(mut self, kind: BodyKind, body: Bytes) -> Self {
        let bits = match kind {
            BodyKind::None => 0,
            BodyKind::Binary => 1,
            BodyKind::Json => 2,
            BodyKind::Text => 3,
        };
        if let Some(flags) = self.block.get_mut(1) {
            *flags = (*flags & 0b11) | (bits << 2);
        }
        self.body = body;
        self
    }

    /// Finishes the event.
    ///
    /// # Errors
    /// [`BlockError::Missing`] without `id`, `source` and `type`; [`BlockError::Length`] for a name or value that
    /// cannot be stored.
    pub fn build(self) -> Result<Event, BlockError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        for (code, name) in [(ID, "id"), (SOURCE, "source"), (TYPE, "type")] {
            if self.seen & (1 << code) == 0 {
                return Err(BlockError::Missing(name));
            }
        }
        Ok(Event { block: Bytes::from(self.block), body: self.body })
    }
}

/// `dataschema` and `schemaurl` are the standard attribute in one version each, and an extension in the other.
fn code_of(name: &str, version: SpecVersion) -> u8 {
    match name {
        "id" => ID,
        "source" => SOURCE,
        "type" => TYPE,
        "subject" => SUBJECT,
        "time" => TIME,
        "datacontenttype" => DATACONTENTTYPE,
        "dataschema" if version == SpecVersion::V1 => DATASCHEMA,
        "schemaurl" if version == SpecVersion::V03 => DATASCHEMA,
        _ => EXTENSION,
    }
}

fn name_of(code: u8, version: SpecVersion) -> Option<&'static str> {
    Some(match code {
        ID => "id",
        SOURCE => "source",
        TYPE => "type",
        SUBJECT => "subject",
        TIME => "time",
        DATACONTENTTYPE => "datacontenttype",
        DATASCHEMA if version == SpecVersion::V03 => "schemaurl",
        DATASCHEMA => "dataschema",
        _ => return None,
    })
}

/// Iterator over the attributes of a block.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
    version: SpecVersion,
}

/// One entry as it lies in the block.
struct Entry<'a> {
    code: u8,
    name: &'a [u8],
    kind: u8,
    value: &'a [u8],
}

/// Splits the first entry off; `None` when the bytes do not hold a whole one.
fn split_entry(rest: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&code, rest) = rest.split_first()?;
    let (name, rest) = if code == EXTENSION {
        let (&length, rest) = rest.split_first()?;
        rest.split_at_checked(usize::from(length))?
    } else {
        (&[][..], rest)
    };
    let (&kind, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((Entry { code, name, kind, value }, rest))
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (entry, rest) = split_entry(self.rest)?;
        self.rest = rest;
        let name = match name_of(entry.code, self.version) {
            Some(name) => name,
            None => std::str::from_utf8(entry.name).ok()?,
        };
        let kind = match entry.kind {
            1 => ValueKind::Integer,
            2 => ValueKind::Boolean,
            _ => ValueKind::String,
        };
        Some(Attribute { name, value: std::str::from_utf8(entry.value).ok()?, kind })
    }
}

pub(super) fn attributes(block: &[u8]) -> Attributes<'_> {
    Attributes { rest: block.get(HEADER_BYTES..).unwrap_or_default(), version: spec_version(block) }
}

/// The value of a standard attribute by its code, without looking at the text of any other.
pub(super) fn standard(block: &[u8], code: u8) -> Option<&str> {
    let mut rest = block.get(HEADER_BYTES..)?;
    while let Some((entry, after)) = split_entry(rest) {
        if entry.code == code {
            return std::str::from_utf8(entry.value).ok();
        }
        rest = after;
    }
    None
}

pub(super) fn spec_version(block: &[u8]) -> SpecVersion {
    match block.get(1).map(|flags| flags & 0b11) {
        Some(1) => SpecVersion::V03,
        _ => SpecVersion::V1,
    }
}

pub(super) fn body_kind(block: &[u8]) -> BodyKind {
    match block.get(1).map(|flags| (flags >> 2) & 0b11) {
        Some(1) => BodyKind::Binary,
        Some(2) => BodyKind::Json,
        Some(3) => BodyKind::Text,
        _ => BodyKind::None,
    }
}

/// Walks a whole block and says what is wrong with it.
pub(super) fn check(block: &[u8]) -> Result<(), BlockError> {
    match block.first() {
        Some(&BLOCK_VERSION) if block.len() >= HEADER_BYTES => {}
        Some(&BLOCK_VERSION) | None => return Err(BlockError::Damaged { at: 0 }),
        Some(&version) => return Err(BlockError::Version(version)),
    }
    let damaged = |rest: &[u8]| BlockError::Damaged { at: block.len() - rest.len() };
    let mut rest = block.get(HEADER_BYTES..).unwrap_or_default();
    let mut seen = 0_u8;
    while !rest.is_empty() {
        let (entry, after) = split_entry(rest).ok_or_else(|| damaged(rest))?;
        let named = name_of(entry.code, SpecVersion::V1).is_some()
            || (entry.code == EXTENSION && !entry.name.is_empty() && std::str::from_utf8(entry.name).is_ok());
        if !named || entry.kind > 2 || std::str::from_utf8(entry.value).is_err() {
            return Err(damaged(rest));
        }
        if (ID..=TYPE).contains(&entry.code) && !entry.value.is_empty() {
            seen |= 1 << entry.code;
        }
        rest = after;
    }
    for (code, name) in [(ID, "id"), (SOURCE, "source"), (TYPE, "type")] {
        if seen & (1 << code) == 0 {
            return Err(BlockError::Missing(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Event {
        Event::builder(SpecVersion::V1)
            .attribute("id", "1")
            .attribute("source", "/s")
            .attribute("type", "t")
            .typed_attribute("count", "7", ValueKind::Integer)
            .body(BodyKind::Binary, Bytes::from_static(b"body"))
            .build()
            .unwrap()
    }

    #[test]
    fn what_is_built_reads_back() {
        let event = sample();
        let again = Event::from_parts(event.block().clone(), event.body().clone()).unwrap();
        assert_eq!(again, event);
        assert_eq!((again.id(), again.source(), again.ty(), again.subject()), ("1", "/s", "t", None));
        assert_eq!(again.attribute("count").unwrap().kind, ValueKind::Integer);
        assert_eq!(again.attribute("specversion").unwrap().value, "1.0");
        assert_eq!(again.body_kind(), BodyKind::Binary);
    }

    #[test]
    fn every_cut_of_a_block_is_refused_or_lacks_an_attribute() {
        let event = sample();
        let whole = event.block();
        for cut in 0..whole.len() {
            let kept = Event::from_parts(whole.slice(..cut), Bytes::new());
            if let Ok(kept) = kept {
                assert!(kept.attribute("count").is_none(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn attributes_can_be_set_and_removed() {
        let event = sample().with_attributes(&[("count", "8"), ("new", "x")], &["id", "nothing"]);
        assert_eq!(event.id(), "1");
        assert_eq!(event.attribute("count").unwrap().value, "8");
        assert_eq!(event.attribute("new").unwrap().value, "x");
        assert_eq!(&event.body()[..], b"body");
        assert!(event.with_attributes(&[], &["new"]).attribute("new").is_none());
    }

    #[test]
    fn the_schema_attribute_has_the_name_of_its_version() {
        for (version, standard, extension) in
            [(SpecVersion::V1, "dataschema", "schemaurl"), (SpecVersion::V03, "schemaurl", "dataschema")]
        {
            let event = Event::builder(version)
                .attribute("id", "1")
                .attribute("source", "/s")
                .attribute("type", "t")
                .attribute(extension, "x")
                .attribute(standard, "https://a/b")
                .build()
                .unwrap();
            assert_eq!(event.dataschema(), Some("https://a/b"));
            assert_eq!(event.attribute(standard).unwrap().value, "https://a/b");
            assert_eq!(event.attribute(extension).unwrap().value, "x");
        }
    }

    #[test]
    fn required_attributes_are_required() {
        let built = Event::builder(SpecVersion::V1).attribute("id", "1").attribute("source", "").build();
        assert_eq!(built, Err(BlockError::Missing("source")));
    }
}
