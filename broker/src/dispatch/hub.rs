//! Where a Broker's router and its workers meet: how far the router is, and to whom it routes.
//!
//! ```text
//!            position                 claimed
//!   ────────────┼────────────────────────┼──────────▶ offsets
//!   all queued  │ page being routed      │ nobody knows yet
//! ```
//! *Invariants*: the router claims a page before it looks at its routes, under the same lock under which a worker
//! attaches, so every offset is either below what the worker was told to read by itself, or routed to it; the
//! position moves only after what matched is queued, so a worker that sees it and then finds its queue empty has
//! everything below it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::feed::Feed;
use crate::log::Offset;
use crate::matching::{Filter, Index};

/// Distance at which a worker that reads by itself attaches and reads the rest while its queue fills: one page.
const JOIN_DISTANCE: u64 = 1024;

/// The workers of a Broker and what each wants.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) index: Index<usize>,
    pub(super) feeds: Vec<Arc<Feed>>,
}

impl Routes {
    /// Builds the index.
    pub(super) fn build(wanted: Vec<(Arc<Feed>, Filter)>) -> Self {
        let (feeds, filters): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        Self { index: Index::build(filters.into_iter().enumerate().collect()), feeds }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hub {
    inner: Mutex<Inner>,
    position: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    claimed: Offset,
    routes: Arc<Routes>,
}

impl Hub {
    /// A hub whose router begins at `start`.
    pub(super) fn new(start: Offset) -> Arc<Self> {
        let inner = Mutex::new(Inner { claimed: start, routes: Arc::default() });
        Arc::new(Self { inner, position: AtomicU64::new(start.0) })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything below is queued to whom it concerns.
    pub(super) fn position(&self) -> Offset {
        Offset(self.position.load(Ordering::Acquire))
    }

    /// The router is going to route everything below `end`, to these.
    pub(super) fn claim(&self, end: Offset) -> Arc<Routes> {
        self.with(|inner| {
            inner.claimed = inner.claimed.max(end);
            inner.routes.clone()
        })
    }

    /// The router has queued everything below `end`.
    pub(super) fn routed(&self, end: Offset) {
        self.position.fetch_max(end.0, Ordering::AcqRel);
    }

    /// Replaces the routes. A new worker attaches only after this.
    pub(super) fn set_routes(&self, routes: Routes) {
        let routes = Arc::new(routes);
        self.with(|inner| inner.routes = routes);
    }

    /// The routes now.
    pub(super) fn routes(&self) -> Arc<Routes> {
        self.with(|inner| inner.routes.clone())
    }

    /// Attaches a worker that has everything below `at`: it reads up to the returned offset by itself and finds
    /// the rest in its feed. `None` when it is too far behind.
    pub(super) fn attach(&self, feed: &Feed, at: Offset) -> Option<Offset> {
        self.with(|inner| {
            let from = inner.claimed.max(at);
            let near = from.0 - at.0 <= JOIN_DISTANCE;
            near.then(|| {
                feed.attach(from);
                from
            })
        })
    }
}
