//! Compiled filters: to be written.

use crate::event::Event;

/// A Trigger's filter, compiled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {}

/// Whether an event matched, and the clause that decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the Trigger wants the event.
    pub matched: bool,
    /// Path of the deciding clause, such as `filters[0].prefix.type`; `filter` when everything passes.
    pub clause: String,
}

impl Filter {
    /// A filter that every event passes.
    #[must_use]
    pub fn everything() -> Self {
        Self {}
    }

    /// Whether the Trigger wants the event.
    #[must_use]
    pub fn matches(&self, _event: &Event) -> bool {
        true
    }
}
