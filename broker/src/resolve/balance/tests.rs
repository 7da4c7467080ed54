use std::collections::BTreeMap;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 80))
}

fn ready(peers: &[u8]) -> BTreeSet<SocketAddr> {
    peers.iter().map(|n| address(*n)).collect()
}

struct Rig {
    balancer: Balancer,
    now: Instant,
    rng: fastrand::Rng,
}

impl Rig {
    fn new(peers: &[u8]) -> Self {
        let now = Instant::now();
        let mut balancer = Balancer::default();
        balancer.update(&ready(peers), now);
        Self { balancer, now, rng: fastrand::Rng::with_seed(7) }
    }

    fn take(&mut self) -> Choice {
        self.balancer.take(self.now, &mut self.rng)
    }

    fn done(&mut self, n: u8, ended: Ended, took: Duration) -> bool {
        self.balancer.done(address(n), ended, took, self.now)
    }

    /// Requests one after the other; how many each got.
    fn run(&mut self, requests: usize, took: impl Fn(SocketAddr) -> (Ended, Duration)) -> BTreeMap<SocketAddr, usize> {
        let mut got = BTreeMap::new();
        for _ in 0..requests {
            let Choice::Take(chosen) = self.take() else { break };
            *got.entry(chosen).or_default() += 1;
            let (result, took) = took(chosen);
            self.now += took;
            self.balancer.done(chosen, result, took, self.now);
        }
        got
    }
}

#[test]
fn requests_go_to_who_has_less_to_do() {
    let mut rig = Rig::new(&[1, 2]);
    let got = rig.run(1000, |_| (Ended::Answered, MS));
    assert!(got.values().all(|count| *count > 300), "{got:?}");
    let mut rig = Rig::new(&[1, 2]);
    let slow = address(1);
    let got = rig.run(1000, |at| (Ended::Answered, if at == slow { 50 * MS } else { MS }));
    assert!(got[&slow] < 350, "{got:?}");
    // Three requests that hang on one leave the rest to the other.
    let mut rig = Rig::new(&[1, 2]);
    rig.run(100, |_| (Ended::Answered, MS));
    rig.balancer.peers[0].in_flight = 1000;
    let busy = rig.balancer.peers[0].address;
    let got = rig.run(100, |_| (Ended::Answered, MS));
    assert!(got.get(&busy).copied().unwrap_or_default() < 40, "{got:?}");
}

#[test]
fn a_fresh_endpoint_starts_slowly() {
    let mut rig = Rig::new(&[1]);
    let at_once = |rig: &mut Rig| {
        let mut count = 0;
        while rig.take() == Choice::Take(address(1)) {
            count += 1;
        }
        assert_eq!(rig.take(), Choice::Busy);
        for _ in 0..count {
            rig.balancer.peers[0].in_flight -= 1;
        }
        count
    };
    assert_eq!(at_once(&mut rig), 4);
    for expected in [8, 16, 32] {
        assert_eq!(rig.take(), Choice::Take(address(1)));
        rig.done(1, Ended::Answered, MS);
        assert_eq!(at_once(&mut rig), expected);
    }
}

#[test]
fn who_refuses_rests_and_comes_back() {
    let mut rig = Rig::new(&[1, 2]);
    let got = rig.run(100, |at| if at == address(1) { (Ended::Refused, MS) } else { (Ended::Answered, MS) });
    assert!(got[&address(1)] <= 3, "{got:?}");
    // The last one is never left alone for good: it can be asked again after a rest, which grows.
    let mut rig = Rig::new(&[1]);
    let mut rests = Vec::new();
    for _ in 0..10 {
        assert_eq!(rig.take(), Choice::Take(address(1)));
        rig.done(1, Ended::Refused, MS);
        let Choice::Resting(until) = rig.take() else { panic!("it rests") };
        assert_eq!(rig.balancer.outlook(rig.now), Choice::Resting(until));
        rests.push((until - rig.now).as_millis());
        rig.now = until;
    }
    assert_eq!(rests[..3], [50, 100, 200]);
    assert_eq!(rests.last(), Some(&10_000));
    // A slice that changes, or an answer, ends it.
    rig.take();
    rig.done(1, Ended::Refused, MS);
    rig.balancer.update(&ready(&[1]), rig.now);
    assert_eq!(rig.take(), Choice::Take(address(1)));
}

#[test]
fn who_only_fails_rests_only_where_there_is_another() {
    for (result, runs) in [(Ended::Error, 5), (Ended::Silent, 3)] {
        let mut alone = Rig::new(&[1]);
        let mut pair = Rig::new(&[1, 2]);
        for _ in 0..runs {
            alone.done(1, result, MS);
            assert!(pair.balancer.peers.iter().all(|peer| peer.is_up(pair.now)), "too early");
            pair.done(1, result, MS);
        }
        assert!(alone.balancer.peers[0].is_up(alone.now));
        assert!(!pair.balancer.peers.iter().find(|peer| peer.address == address(1)).unwrap().is_up(pair.now));
        let mut mixed = Rig::new(&[1, 2]);
        for n in 0..20 {
            mixed.done(1, if n % 3 == 2 { Ended::Answered } else { result }, MS);
        }
        // One good answer in between starts the count again; silences in a row of three are not reached.
        assert!(mixed.balancer.peers.iter().all(|peer| peer.is_up(mixed.now)), "{result:?}");
    }
}

#[test]
fn refusals_are_free_while_an_endpoint_is_fresh_or_gone() {
    let mut rig = Rig::new(&[1]);
    assert!(rig.done(1, Ended::Refused, MS));
    rig.now += GRACE;
    assert!(!rig.done(1, Ended::Refused, MS));
    assert!(rig.done(9, Ended::Refused, MS), "no longer in any slice");
}

#[test]
fn nobody_is_nobody() {
    let mut rig = Rig::new(&[]);
    assert_eq!((rig.take(), rig.balancer.outlook(rig.now)), (Choice::Nobody, Choice::Nobody));
    assert!(!rig.balancer.has_any());
    let mut rig = Rig::new(&[1]);
    rig.take();
    rig.balancer.update(&ready(&[]), rig.now);
    rig.done(1, Ended::Answered, MS);
    assert_eq!(rig.take(), Choice::Nobody);
}
