//! exec: to be written.
