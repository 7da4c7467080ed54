//! Index: to be written.
