//! Which endpoint gets the next request. Pure: the caller brings clock and chance.
//!
//! *In*: addresses that are ready, what requests came to. *Out*: an address, or from when on to ask again.
//! *Invariants*: of two endpoints chosen at random the less loaded one gets the request (in flight × latency, where a
//! peak counts at once and is forgotten over [`DECAY`]); a fresh endpoint gets few requests at first, twice as many
//! after each that it answers; one that refuses connections is left alone for a while, one that only fails is while
//! there is another; the last one never is for good.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// After this long without news, a latency counts for about a third.
const DECAY: Duration = Duration::from_secs(10);
/// Latency that is assumed of an endpoint that has not answered yet: low, so that it is tried.
const LATENCY_FIRST: f64 = 0.001;
/// Requests that a fresh endpoint gets at once: one for each core of a small pod, so that its caches may warm up.
const FRESH_LIMIT: u32 = 4;
/// Where the limit of an endpoint that works ends: above what a Trigger may have under way at once.
const LIMIT_MAX: u32 = 1 << 16;
/// First time that an endpoint which refuses connections is left alone: about what a server needs from its first
/// readiness to its listener.
const REST_FIRST: Duration = Duration::from_millis(50);
/// Longest such time.
const REST_MAX: Duration = Duration::from_secs(10);
/// Requests in a row without an answer after which an endpoint rests, if there is another.
const SILENCES: u32 = 3;
/// Answers of 500 and above in a row after which an endpoint rests, if there is another.
const ERRORS: u32 = 5;
/// From its readiness on, refused connections are an endpoint's start, not an event's failure.
const GRACE: Duration = Duration::from_secs(10);

/// What a request to an endpoint came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// An answer below 500.
    Answered,
    /// An answer of 500 or above.
    Error,
    /// No connection.
    Refused,
    /// A connection, but no answer.
    Silent,
    /// Given up by ourselves; says nothing.
    Dropped,
}

#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    since: Instant,
    in_flight: u32,
    limit: u32,
    latency: f64,
    measured: Instant,
    rests_until: Option<Instant>,
    rest: Duration,
    silences: u32,
    errors: u32,
}

impl Peer {
    fn fresh(address: SocketAddr, now: Instant) -> Self {
        Self {
            address,
            since: now,
            in_flight: 0,
            limit: FRESH_LIMIT,
            latency: LATENCY_FIRST,
            measured: now,
            rests_until: None,
            rest: REST_FIRST,
            silences: 0,
            errors: 0,
        }
    }

    fn is_up(&self, now: Instant) -> bool {
        self.rests_until.is_none_or(|until| until <= now)
    }

    fn cost(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.measured).as_secs_f64() / DECAY.as_secs_f64();
        let latency = LATENCY_FIRST + (self.latency - LATENCY_FIRST) * (-age).exp();
        latency.max(LATENCY_FIRST) * f64::from(self.in_flight + 1)
    }

    /// A peak counts at once, better news by and by.
    fn measure(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let age = now.saturating_duration_since(self.measured).as_secs_f64() / DECAY.as_secs_f64();
        let weight = (-age).exp();
        self.latency = took.max(self.latency * weight + took * (1.0 - weight));
        self.measured = now;
    }

    fn rest(&mut self, now: Instant) {
        self.rests_until = Some(now + self.rest);
        self.rest = (self.rest * 2).min(REST_MAX);
        self.limit = FRESH_LIMIT;
        (self.silences, self.errors) = (0, 0);
    }
}

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// To this address.
    Take(SocketAddr),
    /// All that are up have as many requests as they may; ask again when one has ended.
    Busy,
    /// All rest; ask again then, or when the endpoints change.
    Resting(Instant),
    /// There is none.
    Nobody,
}

/// The endpoints of a port.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    peers: Vec<Peer>,
}

impl Balancer {
    /// These are ready now. One that was and is goes on as it was, but rests no longer: its slice has changed.
    pub(super) fn update(&mut self, ready: &BTreeSet<SocketAddr>, now: Instant) {
        self.peers.retain(|peer| ready.contains(&peer.address));
        for peer in &mut self.peers {
            peer.rests_until = None;
        }
        for address in ready {
            if !self.peers.iter().any(|peer| peer.address == *address) {
                self.peers.push(Peer::fresh(*address, now));
            }
        }
    }

    /// Whether any is ready, resting or not.
    pub(super) fn has_any(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Whether none has been ready for longer than [`GRACE`].
    pub(super) fn is_starting(&self, now: Instant) -> bool {
        self.peers.iter().all(|peer| now.saturating_duration_since(peer.since) < GRACE)
    }

    /// What [`Balancer::take`] would say, without the address: for who only wants to know whether there is one.
    pub(super) fn outlook(&self, now: Instant) -> Choice {
        match self.peers.iter().find(|peer| peer.is_up(now)) {
            Some(peer) => Choice::Take(peer.address),
            None => self.rests_until(),
        }
    }

    fn rests_until(&self) -> Choice {
        let first = self.peers.iter().filter_map(|peer| peer.rests_until).min();
        first.map_or(Choice::Nobody, Choice::Resting)
    }

    /// Chooses an endpoint and counts the request as under way there.
    pub(super) fn take(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Choice {
        let free: Vec<usize> = (0..self.peers.len())
            .filter(|at| self.peers.get(*at).is_some_and(|peer| peer.is_up(now) && peer.in_flight < peer.limit))
            .collect();
        let two = [rng.usize(..free.len().max(1)), rng.usize(..free.len().max(1))];
        let two = two.into_iter().filter_map(|at| free.get(at).copied());
        let cost = |at: &usize| self.peers.get(*at).map_or(f64::MAX, |peer| peer.cost(now));
        let Some(chosen) = two.min_by(|a, b| cost(a).total_cmp(&cost(b))) else {
            return if self.peers.iter().any(|peer| peer.is_up(now)) { Choice::Busy } else { self.rests_until() };
        };
        match self.peers.get_mut(chosen) {
            Some(peer) => {
                peer.in_flight += 1;
                Choice::Take(peer.address)
            }
            None => Choice::Nobody,
        }
    }

    /// A request to that address ended. Says whether the endpoint is so fresh that a refused connection is no fault.
    pub(super) fn done(&mut self, address: SocketAddr, ended: Ended, took: Duration, now: Instant) -> bool {
        let others = self.peers.iter().any(|peer| peer.address != address && peer.is_up(now));
        // One that is gone from the slices was on its way out, which is no event's fault either.
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == address) else { return true };
        peer.in_flight = peer.in_flight.saturating_sub(1);
        match ended {
            Ended::Answered => {
                peer.measure(took, now);
                (peer.silences, peer.errors, peer.rest) = (0, 0, REST_FIRST);
                peer.limit = peer.limit.saturating_mul(2).min(LIMIT_MAX);
            }
            Ended::Error => {
                peer.measure(took, now);
                peer.silences = 0;
                peer.errors += 1;
                if others && peer.errors >= ERRORS {
                    peer.rest(now);
                }
            }
            Ended::Silent => {
                peer.silences += 1;
                if others && peer.silences >= SILENCES {
                    peer.rest(now);
                }
            }
            Ended::Refused => peer.rest(now),
            Ended::Dropped => {}
        }
        now.saturating_duration_since(peer.since) < GRACE
    }
}

#[cfg(test)]
mod tests;
