//! The log on disk: append-only segment files with group commit.
//!
//! *Responsibility*: everything that [`crate::log::EventLog`] promises, on one directory. *Inputs*: batches of
//! events, and a [`fs::FileSystem`]. *Outputs*: the files described in [`mod@format`], [`record`] and [`footer`].
//!
//! ```text
//! append ▸ queue (owner) ▸ one frame, one write, one fdatasync (writer) ▸ publish (view) ▸ tickets
//!                                                                          │
//! read ◂ frames in memory, or pread with checksums (reader) ◂──────────────┘
//! open ▸ footers of sealed segments, frames of the last (recover, gather, scan, salvage)
//! ```
//!
//! *Invariants*: one frame is unsynced at a time; readers see only what is durable; a bad stretch is cut only when
//! it cannot have been acknowledged, otherwise it is named and what is around it is served. *Not here*: who may
//! let a record go (the caller hands in `settled`).

pub mod bloom;
pub mod footer;
pub mod format;
pub mod fs;
mod fs_real;
mod gather;
mod handle;
pub mod index;
pub mod inspect;
mod options;
mod owner;
mod reader;
pub mod record;
mod recover;
mod retain;
mod room;
mod salvage;
mod scan;
mod spans;
mod view;
mod writer;

pub use fs_real::RealFs;
pub use handle::SegmentLog;
pub use options::{LogMetrics, OpenError, SegmentOptions};
pub use writer::Engine;

#[cfg(test)]
mod tests;
