//! encode: to be written.
