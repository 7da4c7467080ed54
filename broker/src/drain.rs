//! drain: to be written.
