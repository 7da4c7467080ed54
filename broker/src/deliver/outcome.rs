//! outcome: to be written.
