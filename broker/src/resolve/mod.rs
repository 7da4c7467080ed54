//! Where a Service's pods are, and which of them gets the next request.
//!
//! ```text
//!   API server ──▶ feed (EndpointSlices) ──▶ slices (pure) ──▶ Directory ──▶ Port ──▶ balance (pure) ──▶ an address
//!                                                                             └─▶ wakers: is any ready?
//! ```
//! *In*: EndpointSlices of the whole cluster, what requests came to. *Out*: addresses to dial, through [`Routed`]; and
//! readiness, through [`Port`]. *Invariants*: requests go only to endpoints that are ready; those who wait for a
//! Service are woken by its own changes alone; what was last known is used while the API server is away, and where
//! that fails, or nothing is known, the Service's name is dialled. *Not here*: which Service a Trigger means, which
//! the controller says; waking.

mod balance;
mod directory;
pub mod feed;
mod routed;
mod slices;

pub use directory::{Directory, Lease, Port};
pub use routed::Routed;
