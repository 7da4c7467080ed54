//! sled: to be written.
