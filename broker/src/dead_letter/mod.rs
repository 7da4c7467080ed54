//! Dead letters: events that could not be delivered, in a log of their own per Broker.
//!
//! A dead letter is stored as the original event with attributes of ours added (see [`letter`]); its id is its
//! offset in the dead-letter log.

pub mod letter;

pub use letter::{DeadLetter, LetterError, Reason};
