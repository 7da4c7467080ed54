//! The sub-commands.

pub mod bench;
pub mod listen;
