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
    inventory.table(Defaults { retention: Retention::default(), concurrency: 8 }, false)
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
    let (change, new) = inventory.seen(Kind::Trigger, &bad, NOW);
    assert!(change.is_none() && new, "the good one stays in the store");
    assert!(!inventory.seen(Kind::Trigger, &bad, NOW).1, "told once");
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
    let (change, _) = inventory.seen(Kind::Trigger, &trigger("t", "t2", json!({})), NOW);
    assert!(matches!(change, Some((_, _, None))), "the former one is gone");
    assert!(entry(&inventory, "t").is_none());
    assert!(made(&inventory).unserved.contains(&"shop/t".parse().unwrap()));
}

#[test]
fn only_the_object_that_was_named_is_gone() {
    let mut inventory = inventory(&[ours(), (Kind::Trigger, trigger("t", "t2", uri("http://x")))]);
    assert_eq!(inventory.gone(&doubt(Kind::Trigger, "t", "t1")), None, "a former one of this name");
    assert!(entry(&inventory, "t").is_some());
    let doubts = inventory.missing(Kind::Trigger, &BTreeSet::new());
    assert_eq!(doubts, [doubt(Kind::Trigger, "t", "t2")], "a list without it only casts doubt");
    assert!(entry(&inventory, "t").is_some());
    assert_eq!(inventory.missing(Kind::Trigger, &[("shop".into(), "t".into())].into()), []);
    assert!(inventory.gone(&doubts[0]).is_some());
    assert!(entry(&inventory, "t").is_none());
    inventory.gone(&doubt(Kind::Broker, "b", "b1"));
    assert!(made(&inventory).brokers.is_empty());
}

#[test]
fn what_was_stored_makes_the_same_table() {
    let mut first = Inventory::new(false);
    let mut second = Inventory::new(false);
    for (kind, object) in [ours(), (Kind::Trigger, trigger("t", "t1", uri("http://x")))] {
        let (kind, names, record) = first.seen(kind, &object, NOW).0.unwrap();
        second.restore(kind, names, record.unwrap());
    }
    assert_eq!(made(&first), made(&second));
    assert_eq!(
        second.seen(Kind::Trigger, &trigger("t", "t1", uri("http://x")), NOW),
        (None, false),
        "nothing to store"
    );
}
