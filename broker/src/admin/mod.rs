//! admin/mod: to be written.
