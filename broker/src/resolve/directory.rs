//! What is known of the endpoints of all Services, and who waits for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::balance::{Balancer, Choice, Ended};
use super::slices::{Slice, join};
use crate::triggers::ServicePort;

/// Ports that are kept although nobody uses them at the moment: they remember who answers how fast.
const PORTS_IDLE_MAX: usize = 4096;

/// `(namespace, name)`.
pub(super) type Names = (String, String);

/// The endpoints of all Services. Clones share it.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Whether what is known is current: `None` before the first list, then the trouble there is with following it.
    current: watch::Sender<Option<Result<(), String>>>,
    /// There has been a whole list.
    read: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    slices: BTreeMap<Names, Slice>,
    ports: HashMap<ServicePort, Arc<Port>>,
}

/// A port of a Service, and its endpoints.
#[derive(Debug)]
pub struct Port {
    inner: Mutex<(Balancer, fastrand::Rng)>,
    changed: watch::Sender<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Directory {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            current: watch::Sender::new(None),
            read: AtomicBool::new(false),
        }))
    }
}

impl Directory {
    /// The port's endpoints, as they are and will be.
    #[must_use]
    pub fn port(&self, of: &ServicePort) -> Arc<Port> {
        let mut state = locked(&self.0.state);
        if let Some(port) = state.ports.get(of) {
            return port.clone();
        }
        if state.ports.len() >= PORTS_IDLE_MAX {
            state.ports.retain(|_, port| Arc::strong_count(port) > 1);
        }
        let port = Arc::new(Port {
            inner: Mutex::new((Balancer::default(), fastrand::Rng::new())),
            changed: watch::Sender::new(()),
        });
        port.update(&state.ready(of), Instant::now());
        state.ports.insert(of.clone(), port.clone());
        port
    }

    /// Whether what is known is current. While it is not, an endpoint that is not known may exist.
    #[must_use]
    pub fn is_current(&self) -> bool {
        matches!(*self.0.current.borrow(), Some(Ok(())))
    }

    /// Whether all endpoints were known at some time: before, nobody can say that a Service has none.
    #[must_use]
    pub fn was_read(&self) -> bool {
        self.0.read.load(Ordering::Acquire)
    }

    /// What is wrong with following the EndpointSlices, if anything.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &*self.0.current.borrow() {
            None => Some("the EndpointSlices have not been read yet".to_owned()),
            Some(Ok(())) => None,
            Some(Err(trouble)) => Some(trouble.clone()),
        }
    }

    /// Waits until something is known, or it is known that nothing can be.
    pub async fn settled(&self) {
        // The sender lives in this very object.
        let _ = self.0.current.subscribe().wait_for(Option::is_some).await;
    }

    /// A slice as it is now; `None`: it is gone.
    pub(super) fn set(&self, names: Names, slice: Option<Slice>) {
        let mut state = locked(&self.0.state);
        let old = match &slice {
            Some(slice) => state.slices.insert(names.clone(), slice.clone()),
            None => state.slices.remove(&names),
        };
        if old == slice {
            return;
        }
        let services: BTreeSet<String> = old.into_iter().chain(slice).map(|slice| slice.service).collect();
        let now = Instant::now();
        for (of, port) in &state.ports {
            if of.namespace == names.0 && services.contains(&of.service) {
                port.update(&state.ready(of), now);
            }
        }
    }

    /// These are all the slices there are.
    pub(super) fn only(&self, listed: &BTreeSet<Names>) {
        let gone: Vec<Names> = {
            let state = locked(&self.0.state);
            state.slices.keys().filter(|names| !listed.contains(*names)).cloned().collect()
        };
        for names in gone {
            self.set(names, None);
        }
        let first = !self.0.read.swap(true, Ordering::AcqRel);
        self.follows(Ok(()));
        if first {
            // That there is no endpoint is news now.
            for port in locked(&self.0.state).ports.values() {
                port.changed.send_replace(());
            }
        }
    }

    /// The API server answers: after a whole list, what is known is current again.
    pub(super) fn answers(&self) {
        if self.was_read() {
            self.follows(Ok(()));
        }
    }

    /// Whether the slices are followed.
    pub(super) fn follows(&self, now: Result<(), String>) {
        self.0.current.send_if_modified(|current| {
            let differs = current.as_ref() != Some(&now);
            *current = Some(now);
            differs
        });
    }
}

impl State {
    fn ready(&self, of: &ServicePort) -> BTreeSet<SocketAddr> {
        let first = (of.namespace.clone(), String::new());
        let here = self.slices.range(first..).take_while(|((namespace, _), _)| *namespace == of.namespace);
        join(here.map(|(_, slice)| slice).filter(|slice| slice.service == of.service), &of.port)
    }
}

impl Port {
    fn update(&self, ready: &BTreeSet<SocketAddr>, now: Instant) {
        locked(&self.inner).0.update(ready, now);
        self.changed.send_replace(());
    }

    /// Whether a request may be sent now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(locked(&self.inner).0.outlook(Instant::now()), Choice::Take(_))
    }

    /// Whether any endpoint is ready, be it that it does not listen yet.
    #[must_use]
    pub fn has_any(&self) -> bool {
        locked(&self.inner).0.has_any()
    }

    /// Whether it has no endpoint that has been ready for a while.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        locked(&self.inner).0.is_starting(Instant::now())
    }

    /// Waits until `there` says so; it is asked at each change of the endpoints.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn until(&self, there: impl Fn() -> bool) {
        let mut changed = self.changed.subscribe();
        while !there() {
            // The sender lives in this very object.
            let _ = changed.changed().await;
        }
    }

    /// Waits until a request may be sent.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn up(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            let outlook = locked(&self.inner).0.outlook(Instant::now());
            match outlook {
                Choice::Take(_) => return,
                Choice::Resting(until) => {
                    let _ = tokio::time::timeout_at(until, changed.changed()).await;
                }
                Choice::Busy | Choice::Nobody => {
                    // The sender lives in this very object.
                    let _ = changed.changed().await;
                }
            }
        }
    }

    /// An endpoint for one request; waits where all have as many as they may. `None`: there is none to send to.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn take(self: &Arc<Self>) -> Option<Lease> {
        let mut changed = self.changed.subscribe();
        loop {
            let now = Instant::now();
            let choice = {
                let (balancer, rng) = &mut *locked(&self.inner);
                balancer.take(now, rng)
            };
            match choice {
                Choice::Take(address) => return Some(Lease { port: self.clone(), address, began: now, over: false }),
                Choice::Busy => {
                    let _ = changed.changed().await;
                }
                Choice::Resting(_) | Choice::Nobody => return None,
            }
        }
    }

    fn done(&self, address: SocketAddr, ended: Ended, took: Duration) -> bool {
        let free = locked(&self.inner).0.done(address, ended, took, Instant::now());
        self.changed.send_replace(());
        free
    }
}

/// One request's place at an endpoint.
#[derive(Debug)]
#[must_use = "the endpoint counts it as under way"]
pub struct Lease {
    port: Arc<Port>,
    address: SocketAddr,
    began: Instant,
    over: bool,
}

impl Lease {
    /// The endpoint.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request ended. Says whether a refused connection would be no event's fault.
    pub(super) fn end(mut self, ended: Ended) -> bool {
        self.over = true;
        self.port.done(self.address, ended, self.began.elapsed())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.over {
            self.port.done(self.address, Ended::Dropped, self.began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(service: &str, addresses: &[&str]) -> Option<Slice> {
        let endpoints: Vec<_> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
        let slice = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"name": "web", "port": 80}], "endpoints": endpoints,
        });
        Slice::of(&serde_json::from_value(slice).unwrap())
    }

    fn names(name: &str) -> Names {
        ("shop".to_owned(), name.to_owned())
    }

    fn web(service: &str) -> ServicePort {
        ServicePort { namespace: "shop".into(), service: service.into(), port: "web".into() }
    }

    #[tokio::test]
    async fn who_waits_for_a_service_is_woken_by_its_slices_alone() {
        let directory = Directory::default();
        let port = directory.port(&web("a"));
        let mut changed = port.changed.subscribe();
        let up = tokio::spawn({
            let port = port.clone();
            async move { port.up().await }
        });
        directory.set(names("b-1"), slice("b", &["10.0.0.9"]));
        directory.set(("other".into(), "a-1".into()), slice("a", &["10.0.0.8"]));
        tokio::task::yield_now().await;
        assert!(!up.is_finished() && !port.has_any());
        assert!(!changed.has_changed().unwrap());
        directory.set(names("a-1"), slice("a", &["10.0.0.1"]));
        up.await.unwrap();
        changed.changed().await.unwrap();
        directory.set(names("a-1"), slice("a", &["10.0.0.1"]));
        assert!(!changed.has_changed().unwrap(), "nothing has changed");
        assert_eq!(port.take().await.unwrap().address().to_string(), "10.0.0.1:80");
        assert!(directory.port(&web("b")).is_up(), "what was known before it was asked for");
    }

    #[tokio::test]
    async fn slices_move_and_go() {
        let directory = Directory::default();
        assert!(!directory.is_current());
        directory.set(names("x"), slice("a", &["10.0.0.1"]));
        directory.set(names("y"), slice("a", &["10.0.0.2"]));
        let port = directory.port(&web("a"));
        directory.only(&[names("y")].into());
        let lease = port.take().await.unwrap();
        assert_eq!(lease.address().to_string(), "10.0.0.2:80");
        directory.set(names("y"), slice("b", &["10.0.0.2"]));
        assert!(!port.has_any() && directory.port(&web("b")).has_any());
        assert!(lease.end(Ended::Refused), "it is gone: nobody's fault");
        directory.set(names("y"), None);
        assert!(!directory.port(&web("b")).has_any());
        directory.follows(Err("gone".into()));
        directory.settled().await;
        assert_eq!((directory.is_current(), directory.trouble()), (false, Some("gone".into())));
        directory.follows(Ok(()));
        assert_eq!(directory.trouble(), None);
    }

    #[tokio::test]
    async fn a_request_waits_for_its_turn() {
        let directory = Directory::default();
        directory.set(names("x"), slice("a", &["10.0.0.1"]));
        let port = directory.port(&web("a"));
        let mut leases = Vec::new();
        for _ in 0..4 {
            leases.push(port.take().await.unwrap());
        }
        let fifth = tokio::spawn({
            let port = port.clone();
            async move { port.take().await.map(|lease| lease.address()) }
        });
        tokio::task::yield_now().await;
        assert!(!fifth.is_finished());
        drop(leases.pop());
        assert!(fifth.await.unwrap().is_some());
    }
}
