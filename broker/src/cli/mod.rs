//! cli/mod: to be written.
