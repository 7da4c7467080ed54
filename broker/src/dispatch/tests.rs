//! Dispatch as a whole, on a log and a store in memory, with a scripted subscriber and paused time.

mod batches;
mod delivery;
mod faults;
mod lag;
mod letters;
mod order;
mod replies;
mod restart;
pub(super) mod rig;
mod unresolved;
mod wake;
