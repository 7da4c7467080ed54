use super::*;

const DURATION: Duration = Duration::from_secs(15);

fn timing() -> Timing {
    Timing::of(DURATION)
}

fn record(holder: &str, version: u64) -> Option<Record> {
    Some(Record { holder: holder.to_owned(), duration: DURATION, version: version.to_string() })
}

#[test]
fn a_free_lease_is_taken_and_a_held_one_is_not() {
    let now = Instant::now();
    for (record, step) in [
        (None, Step::Create),
        (record("", 1), Step::Take),
        (record("me", 1), Step::Renew),
        (record("you", 1), Step::Wait),
    ] {
        assert_eq!(Elector::new("me", timing()).decide(record, now), step);
    }
}

#[test]
fn another_holder_is_waited_for_as_long_as_it_renews() {
    let start = Instant::now();
    let mut elector = Elector::new("me", timing());
    for round in 0..10 {
        let now = start + Duration::from_secs(10) * round;
        assert_eq!(elector.decide(record("you", u64::from(round)), now), Step::Wait, "renewed each time");
    }
    let last = start + Duration::from_secs(90);
    assert_eq!(elector.decide(record("you", 9), last + DURATION - Duration::from_millis(1)), Step::Wait);
    assert_eq!(elector.decide(record("you", 9), last + DURATION), Step::Take);
}

#[test]
fn a_leader_stops_before_another_may_begin() {
    let start = Instant::now();
    let (mut old, mut new) = (Elector::new("old", timing()), Elector::new("new", timing()));
    assert_eq!(old.decide(None, start), Step::Create);
    old.renewed(start);
    // The other sees the renewal at the earliest moment possible: as it happens.
    assert_eq!(new.decide(record("old", 1), start), Step::Wait);
    let until = old.valid_until(start).unwrap();
    let takes = (0..1000)
        .map(|n| start + Duration::from_millis(100) * n)
        .find(|now| new.decide(record("old", 1), *now) == Step::Take);
    assert!(until + timing().write_limit() < takes.unwrap(), "a write begun at the last moment ends in time");
    assert_eq!(old.valid_until(until), None, "by itself, without an answer from anybody");
}

#[test]
fn a_lease_lost_to_another_is_lost_at_once() {
    let now = Instant::now();
    let mut elector = Elector::new("me", timing());
    elector.renewed(now);
    assert!(elector.valid_until(now).is_some());
    assert_eq!(elector.decide(record("you", 5), now), Step::Wait);
    assert_eq!(elector.valid_until(now), None);
}

#[test]
fn a_leader_renews_rarely_and_hurries_in_trouble() {
    let now = Instant::now();
    let mut elector = Elector::new("me", timing());
    assert_eq!(elector.next(now, true), now + timing().retry, "not the leader: look again soon");
    elector.renewed(now);
    assert_eq!(elector.next(now, true), now + timing().renew);
    assert_eq!(elector.next(now, false), now + timing().retry);
    assert!(timing().renew + timing().retry * 2 < timing().deadline, "one failed renewal does not cost the lead");
}

#[tokio::test(start_paused = true)]
async fn the_lead_ends_by_itself() {
    let (say, hear) = watch::channel(Some(Instant::now() + Duration::from_secs(10)));
    let mut leadership = Leadership(hear);
    assert!(leadership.holds());
    leadership.changed().await;
    assert!(!leadership.holds(), "nobody said anything, time passed");
    say.send_replace(Some(Instant::now() + Duration::from_secs(10)));
    leadership.changed().await;
    assert!(leadership.holds());
}
