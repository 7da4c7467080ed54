//! letter: to be written.

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

/// A dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {}
