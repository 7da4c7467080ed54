//! A CloudEvent in memory and on disk: one compact block of attributes ahead of an untouched body.
//!
//! *Responsibility*: [`Event`] and its block; the codecs beside it turn HTTP messages and JSON into events
//! and back. *Invariants*: an [`Event`]'s block is well formed (every way to make one checks it), its `id`,
//! `source` and `type` are present and not empty, attribute order is that of arrival, and body bytes are those
//! that were published. *Not here*: which attributes are legal ([`decode`]), storage, matching.
//!
//! Block layout, version 1; integers little-endian:
//!
//! ```text
//! byte 0      BLOCK_VERSION
//! byte 1      bits 0..2 spec version (0 = 1.0, 1 = 0.3), bits 2..4 body kind
//! entries     code u8 | if code = EXTENSION: name length u8, name | value kind u8 | value length u32 | value (UTF-8)
//! ```

mod block;
pub mod decode;
pub mod encode;
mod fault;
pub mod json;
pub mod media_type;
mod percent;
mod rules;
pub mod sdk;

pub use block::{Attribute, Attributes, BlockError, EventBuilder};
pub use fault::{AttributeFault, DataFault, DecodeError};

use bytes::Bytes;

/// The attribute that counts an event's remaining hops, and so bounds loops of replies (Knative's name). It stays between
/// the broker and itself: no subscriber sees it, and none can set it on a reply.
pub const HOPS_ATTRIBUTE: &str = "knativebrokerttl";

/// CloudEvents specification version of an event. It is kept as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecVersion {
    /// `1.0`
    V1,
    /// `0.3`
    V03,
}

impl SpecVersion {
    /// The value of the `specversion` attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V03 => "0.3",
        }
    }
}

/// How the body reached us, which decides how the JSON format writes it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// The event has no data.
    None,
    /// Bytes: the body of a binary-mode message, or a decoded `data_base64`.
    Binary,
    /// JSON text exactly as it stood in the `data` member of a structured event.
    Json,
    /// Text that stood in `data` as a JSON string under a media type that is not JSON.
    Text,
}

/// The type of an attribute's value, where the JSON format told it; everything in HTTP headers is a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// String, URI, URI-reference, timestamp or binary: the wire has one form for them.
    String,
    /// A 32-bit signed integer.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// One CloudEvent. Cloning is cheap: both halves are shared, not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    block: Bytes,
    body: Bytes,
}

impl Event {
    /// Starts an event; see [`EventBuilder`].
    pub fn builder(version: SpecVersion) -> EventBuilder {
        EventBuilder::new(version)
    }

    /// Puts an event together from a stored block and body.
    ///
    /// # Errors
    /// [`BlockError`] when the block is not one that [`EventBuilder`] writes.
    pub fn from_parts(block: Bytes, body: Bytes) -> Result<Self, BlockError> {
        block::check(&block)?;
        Ok(Self { block, body })
    }

    /// The attribute block, as stored.
    #[must_use]
    pub fn block(&self) -> &Bytes {
        &self.block
    }

    /// The body; empty when there is none (see [`Event::body_kind`]).
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Block and body, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.block.len() + self.body.len()
    }

    /// Attribute `id`.
    #[must_use]
    pub fn id(&self) -> &str {
        block::standard(&self.block, block::ID).unwrap_or_default()
    }

    /// Attribute `source`.
    #[must_use]
    pub fn source(&self) -> &str {
        block::standard(&self.block, block::SOURCE).unwrap_or_default()
    }

    /// Attribute `type`.
    #[must_use]
    pub fn ty(&self) -> &str {
        block::standard(&self.block, block::TYPE).unwrap_or_default()
    }

    /// Attribute `subject`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        block::standard(&self.block, block::SUBJECT)
    }

    /// Attribute `time`, as it was written.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        block::standard(&self.block, block::TIME)
    }

    /// Attribute `datacontenttype`.
    #[must_use]
    pub fn datacontenttype(&self) -> Option<&str> {
        block::standard(&self.block, block::DATACONTENTTYPE)
    }

    /// Attribute `dataschema` (1.0) or `schemaurl` (0.3).
    #[must_use]
    pub fn dataschema(&self) -> Option<&str> {
        block::standard(&self.block, block::DATASCHEMA)
    }

    /// Any attribute by its name, `specversion` included; names are lower-case.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        if name == "specversion" {
            return Some(Attribute {
                name: "specversion",
                value: self.spec_version().as_str(),
                kind: ValueKind::String,
            });
        }
        self.attributes().find(|attribute| attribute.name == name)
    }

    /// All attributes but `specversion`, in order of arrival.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'_> {
        block::attributes(&self.block)
    }

    /// Attribute `specversion`.
    #[must_use]
    pub fn spec_version(&self) -> SpecVersion {
        block::spec_version(&self.block)
    }

    /// How the body came.
    #[must_use]
    pub fn body_kind(&self) -> BodyKind {
        block::body_kind(&self.block)
    }

    /// The same event in memory of its own, so that keeping it does not keep a larger buffer (a log frame, a
    /// request body) alive.
    #[must_use]
    pub fn detach(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.size_bytes());
        bytes.extend_from_slice(&self.block);
        bytes.extend_from_slice(&self.body);
        let mut block = Bytes::from(bytes);
        let body = block.split_off(self.block.len());
        Self { block, body }
    }

    /// A copy with the attributes of `set` written (as strings, replacing those of the same name) and those of
    /// `remove` left out. `id`, `source` and `type` cannot be removed. The body is shared.
    #[must_use]
    pub fn with_attributes(&self, set: &[(&str, &str)], remove: &[&str]) -> Self {
        let mut builder = EventBuilder::new(self.spec_version());
        for attribute in self.attributes() {
            let required = matches!(attribute.name, "id" | "source" | "type");
            let replaced = set.iter().any(|(name, _)| *name == attribute.name);
            let removed = !required && remove.contains(&attribute.name);
            if !replaced && !removed {
                builder = builder.typed_attribute(attribute.name, attribute.value, attribute.kind);
            }
        }
        for (name, value) in set {
            builder = builder.attribute(name, value);
        }
        builder.body(self.body_kind(), self.body.clone()).build().unwrap_or_else(|_| self.clone())
    }
}
