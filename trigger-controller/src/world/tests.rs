use serde_json::json;

use super::*;

/// A world in which these objects are, of kinds that are all listed.
pub(crate) fn world(objects: &[Value]) -> World {
    let mut world = World::default();
    let mut kinds: BTreeSet<Gvk> = base_kinds().into_iter().collect();
    kinds.extend(objects.iter().map(gvk_of));
    for gvk in &kinds {
        world.begin(gvk);
    }
    for object in objects {
        world.apply(&gvk_of(object), object);
    }
    for gvk in &kinds {
        world.finish(gvk);
    }
    world
}

pub(crate) fn gvk_of(object: &Value) -> Gvk {
    let part = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    Gvk::new(part("apiVersion"), part("kind"))
}

/// An object of namespace `ns`.
pub(crate) fn object(api_version: &str, kind: &str, name: &str, rest: &Value) -> Value {
    let mut object = json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1, "resourceVersion": "10"},
    });
    merge(&mut object, rest);
    object
}

/// Puts the fields of `rest` into `object`, into its maps too.
pub(crate) fn merge(object: &mut Value, rest: &Value) {
    match (object, rest) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

pub(crate) fn broker(rest: &Value) -> Value {
    let class = json!({"metadata": {"annotations": {"eventing.knative.dev/broker.class": "Reveille"}}});
    let mut broker = object("eventing.knative.dev/v1", "Broker", "b", &class);
    merge(&mut broker, rest);
    broker
}

pub(crate) fn trigger(rest: &Value) -> Value {
    let mut trigger = object("eventing.knative.dev/v1", "Trigger", "t", &json!({"spec": {"broker": "b"}}));
    merge(&mut trigger, rest);
    trigger
}

pub(crate) fn service(name: &str, ports: &Value) -> Value {
    object("v1", "Service", name, &json!({"spec": {"ports": ports, "selector": {"app": name}}}))
}

pub(crate) fn key(kind: Kind, name: &str) -> Key {
    Key { kind, place: Place::new("ns", name) }
}

fn to_service(name: &str) -> Value {
    json!({"spec": {"subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": name}}}})
}

#[test]
fn a_change_concerns_whoever_refers_to_the_object() {
    let mut world = world(&[broker(&json!({})), trigger(&to_service("s"))]);
    let all = BTreeSet::from([key(Kind::Trigger, "t")]);
    assert_eq!(world.apply(&Gvk::service(), &service("other", &json!([]))), BTreeSet::new());
    assert_eq!(world.apply(&Gvk::service(), &service("s", &json!([]))), all);
    assert_eq!(
        world.apply(&Gvk::service(), &service("s", &json!([]))),
        BTreeSet::new(),
        "nothing that matters changed"
    );
    assert_eq!(world.delete(&Gvk::service(), &Place::new("ns", "s")), all);
    let changed = broker(&json!({"metadata": {"generation": 2, "resourceVersion": "11"}}));
    let concerned = BTreeSet::from([key(Kind::Broker, "b"), key(Kind::Trigger, "t")]);
    assert_eq!(world.apply(&Gvk::broker(), &changed), concerned);
}

#[test]
fn a_brokers_sink_concerns_its_triggers() {
    let sink = json!({"spec": {"delivery": {"deadLetterSink": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "d"}}}}});
    let mut world = world(&[broker(&sink), trigger(&to_service("s"))]);
    let concerned = BTreeSet::from([key(Kind::Broker, "b"), key(Kind::Trigger, "t")]);
    assert_eq!(world.apply(&Gvk::service(), &service("d", &json!([]))), concerned);
}

#[test]
fn a_workload_concerns_triggers_of_services_that_select_its_pods() {
    let mut world = world(&[trigger(&to_service("s")), service("s", &json!([]))]);
    let deployment = |labels: &Value| {
        object("apps/v1", "Deployment", "d", &json!({"spec": {"template": {"metadata": {"labels": labels}}}}))
    };
    assert_eq!(world.apply(&Gvk::deployment(), &deployment(&json!({"app": "x"}))), BTreeSet::new());
    let concerned = BTreeSet::from([key(Kind::Trigger, "t")]);
    assert_eq!(world.apply(&Gvk::deployment(), &deployment(&json!({"app": "s"}))), concerned);
    assert_eq!(world.delete(&Gvk::deployment(), &Place::new("ns", "d")), concerned);
}

#[test]
fn a_list_without_an_object_deletes_it() {
    let mut world = world(&[trigger(&to_service("s")), service("s", &json!([]))]);
    world.begin(&Gvk::service());
    assert!(
        matches!(world.look_up(&Gvk::service(), &Place::new("ns", "s")), Lookup::Found(_)),
        "until the list is done"
    );
    assert_eq!(world.finish(&Gvk::service()), BTreeSet::from([key(Kind::Trigger, "t")]));
    assert!(matches!(world.look_up(&Gvk::service(), &Place::new("ns", "s")), Lookup::Missing));
}

#[test]
fn an_older_state_of_an_object_is_passed_over() {
    let mut world = world(&[trigger(&json!({"metadata": {"resourceVersion": "100"}, "status": {"x": "new"}}))]);
    let old = trigger(&json!({"metadata": {"resourceVersion": "99"}}));
    assert_eq!(world.apply(&Gvk::trigger(), &old), BTreeSet::new());
    let again = trigger(&json!({"metadata": {"resourceVersion": "9", "uid": "another"}}));
    assert_eq!(world.apply(&Gvk::trigger(), &again), BTreeSet::from([key(Kind::Trigger, "t")]), "made anew");
}

#[test]
fn kinds_that_are_referred_to_are_wanted_as_long_as_they_are() {
    let refer = |kind: &str, namespace: &str| {
        trigger(&json!({"metadata": {"resourceVersion": "11", "annotations": {"knative.dev/dependency":
            r#"{"apiVersion":"sources.knative.dev/v1","kind":"PingSource","name":"p"}"#}},
            "spec": {"subscriber": {"ref": {"apiVersion": "x.dev/v1", "kind": kind, "name": "a", "namespace": namespace}}}}))
    };
    let mut world = world(&[refer("Thing", "ns")]);
    let source = Gvk::new("sources.knative.dev/v1", "PingSource");
    assert_eq!(world.wanted(), BTreeSet::from([source.clone(), Gvk::new("x.dev/v1", "Thing")]));
    world.apply(&Gvk::trigger(), &refer("Other", "ns"));
    assert_eq!(world.wanted(), BTreeSet::from([source.clone(), Gvk::new("x.dev/v1", "Other")]));
    world.apply(&Gvk::trigger(), &refer("Other", "elsewhere"));
    assert_eq!(world.wanted(), BTreeSet::from([source]), "references must stay in their namespace");
    world.delete(&Gvk::trigger(), &Place::new("ns", "t"));
    assert_eq!(world.wanted(), BTreeSet::new());
}

#[test]
fn objects_of_any_shape_are_taken() {
    let mut world = World::default();
    for odd in [
        json!(null),
        json!({"metadata": 5}),
        json!({"metadata": {"name": "x"}, "spec": [1], "status": "?"}),
        json!({"metadata": {"name": "x", "annotations": 7, "managedFields": [3], "ownerReferences": {}},
               "spec": {"broker": 9, "subscriber": [], "ports": 1, "template": 0}, "status": {"conditions": {}, "addresses": [1]}}),
    ] {
        for gvk in base_kinds() {
            world.apply(&gvk, &odd);
        }
    }
}
