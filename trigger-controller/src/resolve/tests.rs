use serde_json::{Value, json};

use super::*;
use crate::world::tests::{object, service, world};

/// The address, or the reason and words why there is none.
fn address(objects: &[Value], destination: &Value, port: Option<&str>) -> Result<String, (String, String)> {
    let world = world(objects);
    let destination: Destination = serde_json::from_value(destination.clone()).unwrap();
    let context = Context { world: &world, namespace: "ns", field: "spec.subscriber", port, cluster_domain: "c.l" };
    resolve(&destination, context).map(|found| found.uri).map_err(|why| (why.reason.to_owned(), why.message))
}

fn to(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"ref": {"apiVersion": api_version, "kind": kind, "name": name}})
}

#[test]
fn ports_of_services() {
    let service_of = |ports: Value| service("s", &ports);
    let annotated = |ports: &Value, port: &str| {
        let mut service = service("s", ports);
        crate::world::tests::merge(&mut service, &json!({"metadata": {"annotations": {"reveille.dev/port": port}}}));
        service
    };
    let two = json!([{"name": "admin", "port": 9090}, {"name": "http", "port": 8080}]);
    let odd = json!([{"name": "a", "port": 9090}, {"name": "b", "port": 8080}]);
    for (service, asked, expected) in [
        (service_of(json!([{"port": 80}])), None, Ok("http://s.ns.svc.c.l")),
        (service_of(json!([{"name": "x", "port": 8080}])), None, Ok("http://s.ns.svc.c.l:8080")),
        (service_of(json!([])), None, Ok("http://s.ns.svc.c.l")),
        (service_of(two.clone()), None, Ok("http://s.ns.svc.c.l:8080")),
        (service_of(two.clone()), Some("admin"), Ok("http://s.ns.svc.c.l:9090")),
        (service_of(two.clone()), Some("9090"), Ok("http://s.ns.svc.c.l:9090")),
        (annotated(&two, "admin"), None, Ok("http://s.ns.svc.c.l:9090")),
        (annotated(&two, "admin"), Some("http"), Ok("http://s.ns.svc.c.l:8080")),
        (service_of(json!([{"name": "a", "port": 9090}, {"name": "b", "port": 80}])), None, Ok("http://s.ns.svc.c.l")),
        (service_of(json!([{"port": 443, "appProtocol": "https"}])), None, Ok("https://s.ns.svc.c.l")),
        (service_of(odd), None, Err("ports a (9090), b (8080) and none is called http or is 80")),
        (service_of(json!([{"port": 80}])), Some("web"), Err("asks for `web`, but Service `s` has only port 80")),
        (service_of(json!([{"port": 53, "protocol": "UDP"}])), None, Err("has no TCP port")),
    ] {
        match (address(&[service], &to("v1", "Service", "s"), asked), expected) {
            (Ok(url), Ok(expected)) => assert_eq!(url, expected),
            (Err((reason, words)), Err(expected)) => {
                assert_eq!(reason, "PortNotFound");
                assert!(words.contains(expected), "{words}");
            }
            (got, expected) => panic!("{got:?} is not {expected:?}"),
        }
    }
}

#[test]
fn addressables_of_any_kind() {
    let thing = |status: &Value| object("x.dev/v1", "Thing", "a", &json!({"status": status}));
    let both = json!({"address": {"url": "http://old"}, "addresses": [
        {"name": "https", "url": "https://first/p"}, {"name": "http", "url": "http://second"}]});
    let named = |name: &str| json!({"ref": {"apiVersion": "x.dev/v1", "kind": "Thing", "name": "a", "address": name}});
    let plain = to("x.dev/v1", "Thing", "a");
    for (status, destination, expected) in [
        (json!({"address": {"url": "http://a.ns/x"}}), plain.clone(), Ok("http://a.ns/x")),
        (both.clone(), plain.clone(), Ok("https://first/p")),
        (both.clone(), named("http"), Ok("http://second")),
        (both, named("grpc"), Err(("AddressNotFound", "it has: https, http"))),
        (json!({"address": {"url": ""}}), plain.clone(), Err(("AddressNotSet", "has no address yet"))),
        (json!({"address": {"url": "http://"}}), plain.clone(), Err(("AddressNotSet", "has no address yet"))),
        (
            json!({"conditions": [{"type": "Ready", "status": "False", "reason": "RevisionMissing", "message": "no image"}]}),
            plain,
            Err(("AddressNotSet", "it is not ready: RevisionMissing no image")),
        ),
    ] {
        match (address(&[thing(&status)], &destination, None), expected) {
            (Ok(url), Ok(expected)) => assert_eq!(url, expected),
            (Err((reason, words)), Err((expected, part))) => {
                assert_eq!(reason, expected);
                assert!(words.contains(part), "{words}");
            }
            (got, expected) => panic!("{got:?} is not {expected:?}"),
        }
    }
}

#[test]
fn relative_addresses_are_joined() {
    let thing = object("x.dev/v1", "Thing", "a", &json!({"status": {"address": {"url": "http://h/ns/b"}}}));
    let objects = [service("s", &json!([{"port": 80}])), thing];
    for (api_version, kind, name, uri, expected) in [
        ("v1", "Service", "s", "/update", "http://s.ns.svc.c.l/update"),
        ("v1", "Service", "s", "?q=1", "http://s.ns.svc.c.l/?q=1"),
        ("x.dev/v1", "Thing", "a", "/x", "http://h/x"),
        ("x.dev/v1", "Thing", "a", "x", "http://h/ns/x"),
        ("x.dev/v1", "Thing", "a", "?q", "http://h/ns/b?q"),
    ] {
        let mut destination = to(api_version, kind, name);
        crate::world::tests::merge(&mut destination, &json!({"uri": uri}));
        assert_eq!(address(&objects, &destination, None).unwrap(), expected, "{uri}");
    }
}

#[test]
fn what_cannot_be_found_says_why() {
    let other = json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "s", "namespace": "other"}});
    for (destination, reason, words) in [
        (to("v1", "Service", "nope"), "NotFound", "Service `nope`, which does not exist in namespace ns; create it"),
        (other, "CrossNamespaceReference", "must stay in its own namespace, `ns`"),
        (to("apps/v1", "Deployment", "d"), "NotAddressable", "refer to a Service in front of it"),
        (to("v1", "Pod", "p"), "NotAddressable", "objects of kind Pod have no address"),
    ] {
        let (got, message) = address(&[], &destination, None).unwrap_err();
        assert_eq!(got, reason);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn kinds_that_are_absent_forbidden_or_unread() {
    use crate::world::KindState;
    let destination: Destination = serde_json::from_value(to("x.dev/v1", "Thing", "a")).unwrap();
    for (state, reason, pending) in [
        (Some(KindState::Absent), "KindNotFound", false),
        (Some(KindState::Forbidden("no, said RBAC".into())), "NotPermitted", false),
        (None, "Resolving", true),
    ] {
        let mut world = world(&[]);
        if let Some(state) = state {
            world.refuse(&Gvk::new("x.dev/v1", "Thing"), state);
        }
        let context =
            Context { world: &world, namespace: "ns", field: "spec.subscriber", port: None, cluster_domain: "c.l" };
        let why = resolve(&destination, context).unwrap_err();
        assert_eq!((why.reason, why.pending), (reason, pending));
    }
}

#[test]
fn certificates_and_audience_of_the_destination_win() {
    let status = json!({"addresses": [{"url": "https://h", "CACerts": "theirs", "audience": "them"}]});
    let world = world(&[object("x.dev/v1", "Thing", "a", &json!({"status": status}))]);
    let mut destination: Destination = serde_json::from_value(to("x.dev/v1", "Thing", "a")).unwrap();
    let context =
        Context { world: &world, namespace: "ns", field: "spec.subscriber", port: None, cluster_domain: "c.l" };
    let found = resolve(&destination, context).unwrap();
    assert_eq!((found.ca_certs.as_deref(), found.audience.as_deref()), (Some("theirs"), Some("them")));
    destination.ca_certs = Some("mine".into());
    assert_eq!(resolve(&destination, context).unwrap().ca_certs.as_deref(), Some("mine"));
}

#[test]
fn an_address_that_cannot_work_is_an_address_with_a_warning() {
    let world = world(&[]);
    let destination: Destination = serde_json::from_value(json!({"uri": "bad://uri"})).unwrap();
    let context =
        Context { world: &world, namespace: "ns", field: "spec.subscriber", port: None, cluster_domain: "c.l" };
    let found = resolve(&destination, context).unwrap();
    assert_eq!(found.uri, "bad://uri");
    assert_eq!(found.warning.unwrap().reason, "UnsupportedScheme");
}
