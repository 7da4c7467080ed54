//! Single flight: however many ask for the same thing at the same time, the work is done once and all get its result.
//!
//! *Inputs*: a key and the work. *Outputs*: a [`Flight`] to wait on. *Invariants*: at most one piece of work per key
//! is under way; the work runs in a task of its own, so no waiter's going away stops it; the key is free again before
//! the first waiter sees the result, also when the work panics. *Not here*: keeping results.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Most flights under way at once: one per sleeping subscriber of the largest broker we have in mind.
pub const FLIGHTS_MAX: usize = 16_384;

/// Why a flight has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlightError {
    /// As many flights as [`FLIGHTS_MAX`] are under way.
    #[error("too many wakes are under way at once; they are tried again as others end")]
    Full,
    /// The work panicked, or the runtime is shutting down.
    #[error("the work ended without a result")]
    Lost,
}

type Flights<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

/// Work under way, by key. Clones share it.
#[derive(Debug, Clone)]
pub struct SingleFlight<K, V>(Flights<K, V>);

/// A place among those who wait for one piece of work.
#[derive(Debug)]
#[must_use = "the result is here"]
pub struct Flight<V>(Result<watch::Receiver<Option<V>>, FlightError>);

/// The work's end of a flight. However the work ends, the key is free before the waiters know.
struct Landing<K: Eq + Hash, V> {
    flights: Flights<K, V>,
    key: K,
    sender: watch::Sender<Option<V>>,
    result: Option<V>,
}

impl<K: Eq + Hash, V> Landing<K, V> {
    fn land(mut self, result: V) {
        self.result = Some(result);
    }
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        // Without a result, waiters learn of it when the sender goes with the rest.
        if let Some(result) = self.result.take() {
            self.sender.send_replace(Some(result));
        }
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the flight of `key`, or begins one with the work that `start` makes. Must be called within a runtime.
    pub fn join<F>(&self, key: &K, start: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return Flight(Ok(flight.clone()));
        }
        if flights.len() >= FLIGHTS_MAX {
            return Flight(Err(FlightError::Full));
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key.clone(), receiver.clone());
        let landing = Landing { flights: Arc::clone(&self.0), key: key.clone(), sender, result: None };
        let work = start();
        tokio::spawn(async move {
            let result = work.await;
            landing.land(result);
        });
        Flight(Ok(receiver))
    }

    /// Whether work is under way for `key`.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }
}

impl<V: Clone> Flight<V> {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`FlightError`] when there is none.
    ///
    /// # Cancel safety
    /// May be dropped; the work goes on.
    pub async fn result(self) -> Result<V, FlightError> {
        let mut receiver = self.0?;
        let result = receiver.wait_for(Option::is_some).await.map_err(|_| FlightError::Lost)?.clone();
        result.ok_or(FlightError::Lost)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_all_who_ask() {
        let (flights, done) = (SingleFlight::<&str, usize>::default(), Arc::new(AtomicUsize::new(0)));
        let (go, gate) = oneshot::channel::<()>();
        let mut gate = Some(gate);
        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let (done, gate) = (Arc::clone(&done), gate.take());
                flights.join(&"a", || async move {
                    gate.unwrap().await.unwrap();
                    done.fetch_add(1, Ordering::SeqCst) + 1
                })
            })
            .collect();
        let other = flights.join(&"b", || async { 7 });
        assert_eq!(other.result().await, Ok(7), "another key does not wait");
        go.send(()).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.result().await, Ok(1));
        }
        assert!(!flights.contains(&"a"));
        assert_eq!(flights.join(&"a", || async { 2 }).result().await, Ok(2), "the next flight is a new one");
    }

    #[tokio::test]
    async fn the_work_outlives_the_one_who_began_it() {
        let flights = SingleFlight::<u8, u8>::default();
        let (go, gate) = oneshot::channel::<u8>();
        drop(flights.join(&1, || async { gate.await.unwrap() }));
        let second = flights.join(&1, || async { unreachable!("the first is under way") });
        go.send(5).unwrap();
        assert_eq!(second.result().await, Ok(5));
    }

    #[tokio::test]
    async fn a_panic_frees_the_key_and_tells_the_waiters() {
        let flights = SingleFlight::<u8, u8>::default();
        let (go, gate) = oneshot::channel::<()>();
        let first = flights.join(&1, || async {
            gate.await.unwrap();
            panic!("as intended")
        });
        let second = flights.join(&1, || async { 1 });
        go.send(()).unwrap();
        assert_eq!(first.result().await, Err(FlightError::Lost));
        assert_eq!(second.result().await, Err(FlightError::Lost));
        assert_eq!(flights.join(&1, || async { 3 }).result().await, Ok(3));
    }

    #[tokio::test]
    async fn flights_are_bounded() {
        let flights = SingleFlight::<usize, ()>::default();
        let held: Vec<_> = (0..FLIGHTS_MAX).map(|n| flights.join(&n, std::future::pending)).collect();
        let over = flights.join(&FLIGHTS_MAX, std::future::pending);
        assert_eq!(over.result().await, Err(FlightError::Full));
        drop(held);
    }
}
