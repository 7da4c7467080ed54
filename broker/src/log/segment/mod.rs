//! segment: to be written.

pub mod fs;
