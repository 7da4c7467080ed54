//! Every contract of Reveille that crosses a process or disk boundary, and no I/O.

pub mod admin;
pub mod error_code;

pub use error_code::ErrorCode;
