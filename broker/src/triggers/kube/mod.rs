//! Brokers and Triggers from the Kubernetes API.
//!
//! ```text
//!   API server ──▶ feed (list, watch, back-off) ──▶ service ──▶ inventory (pure) ──▶ Table
//!                                                      └─▶ store: what is needed to make the table again
//! ```
//! *In*: objects of the class `Reveille`. *Out*: a [`TableSource`](super::TableSource), faults, and what is wrong with
//! the connection.
//! *Invariants*: an object that cannot be understood stops no other, and stays as it was last understood; an object is
//! gone only when the API server said so of this very object (by UID), never because a list lacks it; without the API
//! server the last table is served, also after a restart. *Not here*: looking up addresses, which the controller does.

mod feed;
mod inventory;
mod record;
mod service;
mod store;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use service::{KubeConfig, KubeService, StartError};

/// What is wrong at the moment.
#[derive(Debug, Clone, Default)]
pub struct Kube(Arc<ArcSwap<State>>);

#[derive(Debug, Default)]
struct State {
    faults: Vec<String>,
}

impl Kube {
    /// Objects that cannot be used, each with its fields.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.0.load().faults.clone()
    }
}
