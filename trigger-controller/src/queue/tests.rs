use super::*;
use crate::world::Kind;
use crate::world::tests::key;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn each_object_once_and_brokers_first() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for key in [key(Kind::Trigger, "t"), key(Kind::Broker, "b"), key(Kind::Trigger, "t")] {
        queue.add(key, now);
    }
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.pop(now), Some(key(Kind::Broker, "b")));
    assert_eq!(queue.pop(now), Some(key(Kind::Trigger, "t")));
    assert_eq!((queue.pop(now), queue.due(now)), (None, None));
}

#[test]
fn an_object_is_not_looked_at_while_it_is_written() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let key = key(Kind::Trigger, "t");
    queue.begin(&key);
    queue.add(key.clone(), now);
    assert_eq!(queue.pop(now), None);
    queue.succeeded(&key, now);
    assert_eq!(queue.pop(now), Some(key), "it changed meanwhile");
}

#[test]
fn failures_wait_longer_each_time_whatever_changes_around_them() {
    let mut now = Instant::now();
    let mut queue = Queue::default();
    let key = key(Kind::Trigger, "t");
    for millis in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000] {
        queue.begin(&key);
        queue.failed(&key, now);
        queue.add(key.clone(), now);
        let due = now + Duration::from_millis(millis);
        assert_eq!(queue.due(now), Some(due));
        assert_eq!(queue.pop(due - Duration::from_millis(1)), None);
        assert_eq!(queue.pop(due), Some(key.clone()));
        now = due;
    }
    queue.settled(&key);
    queue.begin(&key);
    queue.failed(&key, now);
    assert_eq!(queue.due(now), Some(now + BACKOFF_FIRST));
}

#[test]
fn an_object_that_waits_for_its_references_is_looked_at_when_they_come() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let key = key(Kind::Trigger, "t");
    queue.add_later(key.clone(), seconds(5), now);
    assert_eq!(queue.pop(now), None);
    queue.add(key.clone(), now);
    assert_eq!(queue.pop(now), Some(key));
    assert_eq!(queue.len(), 0);
}

#[test]
fn an_object_that_is_written_over_and_over_rests() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let key = key(Kind::Trigger, "t");
    for _ in 0..WRITES_AT_ONCE {
        assert_eq!(queue.must_rest(&key, now), None);
        queue.succeeded(&key, now);
    }
    assert_eq!(queue.must_rest(&key, now), Some(seconds(1)));
    queue.succeeded(&key, now + seconds(1));
    assert_eq!(queue.must_rest(&key, now + seconds(1)), Some(seconds(2)), "the row goes on");
    let later = now + seconds(60);
    assert_eq!(queue.must_rest(&key, later), None);
    queue.succeeded(&key, later);
    assert_eq!(queue.must_rest(&key, later), None, "the row has ended");
}

#[test]
fn what_is_gone_is_forgotten() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let key = key(Kind::Trigger, "t");
    queue.begin(&key);
    queue.failed(&key, now);
    queue.forget(&key);
    assert_eq!((queue.len(), queue.due(now)), (0, None));
}
