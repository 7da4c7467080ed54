use serde_json::json;

use super::*;
use crate::log::Retention;
use crate::triggers::{Recipient, StartPosition, TriggerEntry};

const NOW: UnixMicros = UnixMicros(60_000_000);

fn broker(uid: &str, class: Option<&str>) -> Value {
    let mut object = json!({"metadata": {"namespace": "shop", "name": "b", "uid": uid, "annotations": {}}, "spec": {}});
    if let Some(class) = class {
        object["metadata"]["annotations"][BROKER_CLASS] = json!(class);
    }
    object
}

fn trigger(name: &str, uid: &str, subscriber: Value) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "creationTimestamp": "1970-01-01T00:00:07Z"},
        "spec": {"broker": "b", "subscriber": subscriber},
    })
}

fn uri(uri: &str) -> Value {
    json!({"uri": uri})
}

fn inventory(objects: &[(Kind, Value)]) -> Inventory {
    let mut inventory = Inventory::new(false);
    for (kind, object) in objects {
        inventory.seen(*kind, object, NOW);
    }
    inventory
}

fn ours() -> (Kind, Value) {
    (Kind::Broker, broker("b1", Some("Reveille")))
}

fn made(inventory: &Inventory) -> Table {
    let kept = Retention::default();
    inventory.table(Defaults { retention: kept, dead_letters: kept, concurrency: 8 }, Knowledge::Complete)
}

fn entry(inventory: &Inventory, name: &str) -> Option<TriggerEntry> {
    let key: TriggerKey = format!("shop/{name}").parse().unwrap();
    made(inventory).brokers.values().find_map(|broker| broker.triggers.get(&key)).map(|entry| (**entry).clone())
}

fn doubt(kind: Kind, name: &str, uid: &str) -> Doubt {
    Doubt { kind, names: ("shop".into(), name.into()), uid: uid.into() }
}

#[test]
fn only_brokers_of_our_class_are_served() {
    for (class, default_class, expected) in
        [(Some("Reveille"), false, true), (Some("Kafka"), true, false), (None, false, false), (None, true, true)]
    {
        let mut inventory = Inventory::new(default_class);
        inventory.seen(Kind::Broker, &broker("b1", class), NOW);
        inventory.seen(Kind::Trigger, &trigger("t", "t1", uri("http://x")), NOW);
        assert_eq!(
            made(&inventory).brokers.contains_key(&"shop/b".parse().unwrap()),
            expected,
            "{class:?} {default_class}"
        );
        assert_eq!(made(&inventory).unserved.len(), usize::from(!expected), "a Trigger of another keeps its cursor");
    }
}

#[test]
fn a_trigger_begins_with_its_creation_and_waits_for_an_address() {
    let reference = json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "s"}});
    let mut inventory = inventory(&[ours(), (Kind::Trigger, trigger("t", "t1", reference.clone()))]);
    let first = entry(&inventory, "t").unwrap();
    assert_eq!(first.start, StartPosition::At(UnixMicros(7_000_000)));
    assert_eq!(first.incarnation.as_deref(), Some("t1"));
    let Recipient::Unresolved { what, why } = &first.subscriber else { panic!("{first:?}") };
    assert_eq!(what, "Service shop/s");
    assert!(why.contains("reveille-controller"), "{why}");
    let mut resolved = trigger("t", "t1", reference);
    resolved["status"] = json!({"subscriberUri": "http://s.shop.svc"});
    inventory.seen(Kind::Trigger, &resolved, NOW);
    assert_eq!(entry(&inventory, "t").unwrap().subscriber.target().unwrap().uri, "http://s.shop.svc");
}

#[test]
fn what_turns_bad_stays_and_stops_no_other() {
    let good = trigger("t", "t1", uri("http://one"));
    let mut inventory =
        inventory(&[ours(), (Kind::Trigger, good), (Kind::Trigger, trigger("u", "u1", uri("http://u")))]);
    let bad = trigger("t", "t1", json!({"uri": 7}));
    assert!(inventory.seen(Kind::Trigger, &bad, NOW));
    assert!(!inventory.seen(Kind::Trigger, &bad, NOW), "told once");
    assert_eq!(inventory.records(Kind::Trigger).len(), 2, "the good one stays in the store");
    assert_eq!(entry(&inventory, "t").unwrap().subscriber.shown(), "http://one");
    assert!(entry(&inventory, "u").is_some());
    let faults = inventory.faults();
    assert!(faults[0].starts_with("Trigger shop/t: spec.subscriber.uri") && faults[0].ends_with("as last read)"));
    inventory.seen(Kind::Trigger, &trigger("t", "t1", uri("http://two")), NOW);
    assert_eq!((entry(&inventory, "t").unwrap().subscriber.shown(), inventory.faults().len()), ("http://two", 0));
    let mut moved = trigger("t", "t1", uri("http://three"));
    moved["spec"]["broker"] = json!("other");
    inventory.seen(Kind::Trigger, &moved, NOW);
    assert!(inventory.faults()[0].contains("immutable"));
    assert_eq!(entry(&inventory, "t").unwrap().subscriber.shown(), "http://two");
    // Another object of the same name that is bad from the start.
    inventory.seen(Kind::Trigger, &trigger("t", "t2", json!({})), NOW);
    assert_eq!(inventory.records(Kind::Trigger).len(), 1, "the former one is gone");
    assert!(entry(&inventory, "t").is_none());
    assert!(made(&inventory).unserved.contains_key(&"shop/t".parse().unwrap()));
}

#[test]
fn only_the_object_that_was_named_is_gone() {
    let mut inventory = inventory(&[ours(), (Kind::Trigger, trigger("t", "t2", uri("http://x")))]);
    inventory.gone(&doubt(Kind::Trigger, "t", "t1"));
    assert!(entry(&inventory, "t").is_some(), "it was a former one of this name");
    let doubts = inventory.missing(Kind::Trigger, &BTreeSet::new());
    assert_eq!(doubts, [doubt(Kind::Trigger, "t", "t2")], "a list without it only casts doubt");
    assert!(entry(&inventory, "t").is_some());
    assert_eq!(inventory.missing(Kind::Trigger, &[("shop".into(), "t".into())].into()), []);
    inventory.gone(&doubts[0]);
    assert!(entry(&inventory, "t").is_none());
    inventory.gone(&doubt(Kind::Broker, "b", "b1"));
    assert!(made(&inventory).brokers.is_empty());
}

#[test]
fn what_was_stored_makes_the_same_table() {
    let first = inventory(&[ours(), (Kind::Trigger, trigger("t", "t1", uri("http://x")))]);
    let mut second = Inventory::new(false);
    for kind in [Kind::Broker, Kind::Trigger] {
        for (names, record) in first.records(kind) {
            second.restore(kind, names.clone(), record.clone());
        }
    }
    assert_eq!(made(&first), made(&second));
    second.seen(Kind::Trigger, &trigger("t", "t1", uri("http://x")), NOW);
    let names = ("shop".to_owned(), "t".to_owned());
    let [first, second] = [&first, &second].map(|held| held.records(Kind::Trigger)[&names].clone());
    assert!(Arc::ptr_eq(&first, &second), "nothing to store");
}

#[test]
fn triggers_of_others_are_neither_stored_nor_blamed() {
    let of = |name: &str, broker: &str, subscriber: Value| {
        let mut object = trigger(name, name, subscriber);
        object["spec"]["broker"] = json!(broker);
        (Kind::Trigger, object)
    };
    let mut inventory = inventory(&[
        of("good", "b", uri("http://x")),
        of("bad", "b", json!(7)),
        of("foreign", "kafka", uri("http://x")),
        of("odd", "kafka", json!(7)),
    ]);
    assert_eq!((inventory.faults().len(), inventory.records(Kind::Trigger).len()), (0, 0), "no Broker is ours yet");
    inventory.seen(ours().0, &ours().1, NOW);
    let faults = inventory.faults();
    assert!(faults.iter().all(|fault| fault.starts_with("Trigger shop/bad: ")) && !faults.is_empty(), "{faults:?}");
    let stored: Vec<&str> = inventory.records(Kind::Trigger).keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!((stored, inventory.counts()), (vec!["good"], (1, 1)));
    let (kind, odd) = of("odd", "kafka", json!(8));
    assert!(!inventory.seen(kind, &odd, NOW), "somebody else's fault");
}
