//! The samples, as a person applies them: published from a pod to the Broker's address, delivered to pods.

use tests::harness::eventually;

use crate::kubectl::{REPOSITORY, done};
use crate::setup::Stage;

/// The namespace of the samples.
const SHOP: &[&str] = &["-n", "shop"];
/// Events to publish.
const EVENTS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn samples_deliver_what_a_pod_publishes() {
    let Some(stage) = Stage::new("samples").await else { return };
    let cluster = stage.cluster;
    let shop = |args: &[&str]| done(cluster, &[SHOP, args].concat(), "");
    let samples = format!("{REPOSITORY}/deploy/samples/kubernetes");
    done(cluster, &["apply", "-k", &samples], "");
    shop(&["rollout", "status", "--timeout=60s", "deployment/orders"]);
    shop(&["rollout", "status", "--timeout=60s", "deployment/audit"]);
    for object in ["broker/default", "trigger/orders", "trigger/audit"] {
        cluster.wait("shop", object, "condition=Ready").unwrap();
    }
    let url = shop(&["get", "broker", "default", "-o", "jsonpath={.status.address.url}"]);
    let ingress = url.strip_suffix("/shop/default").unwrap();
    let event = |id: &str, subject: usize, ty: &str| {
        let attributes = format!("\"source\":\"/web\",\"subject\":\"{subject}\",\"type\":\"{ty}\"");
        format!("{{\"specversion\":\"1.0\",\"id\":\"{id}\",{attributes}}}\n")
    };
    let orders = (0..EVENTS).map(|n| event(&format!("order-{n}"), n % 10, "com.example.order.created"));
    let events: String = orders.chain([event("other", 0, "com.example.other")]).collect();
    let send = ["exec", "-i", "deploy/audit", "--", "reveille", "send", "--ingress", ingress, "-n", "shop", "-f", "-"];
    let sent = done(cluster, &[SHOP, &send].concat(), &events);
    assert!(sent.contains("accepted 31 events"), "{sent}");
    let printed = |name: &str| {
        let selector = format!("app.kubernetes.io/name={name}");
        shop(&["logs", "--selector", &selector, "--tail", "-1"])
    };
    let has = |log: &str, id: &str| log.contains(&format!("\"id\":\"{id}\""));
    for name in ["orders", "audit"] {
        eventually(&format!("all orders at {name}"), || {
            let log = printed(name);
            std::future::ready((0..EVENTS).all(|n| has(&log, &format!("order-{n}"))).then_some(()))
        })
        .await;
    }
    eventually("the other event at the audit", || std::future::ready(has(&printed("audit"), "other").then_some(())))
        .await;
    assert!(!has(&printed("orders"), "other"), "its Trigger did not ask for it");
    done(cluster, &["delete", "-k", &samples], "");
}

/// What a person sees of it.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_what_is_ready() {
    let Some(stage) = Stage::new("shown").await else { return };
    stage.subscriber("orders", 2);
    let shown = stage.done(&["get", "brokers,triggers"]);
    let address =
        format!("http://reveille-broker.reveille-system.svc.cluster.local/{}/default", stage.namespace.name());
    assert!(shown.contains(&address), "{shown}");
    assert_eq!(shown.matches(" True ").count() + shown.matches(" True\n").count(), 2, "{shown}");
    let described = stage.done(&["describe", "trigger", "orders"]);
    assert!(described.contains("Subscriber Resolved") || described.contains("SubscriberResolved"), "{described}");
    let policies = stage.system(&["get", "networkpolicies", "-o", "name"]);
    assert_eq!(policies.lines().count(), 3, "{policies}");
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let restarts =
        stage.system(&["get", "pods", "--selector", "app.kubernetes.io/component=controller", "-o", restarts]);
    assert_eq!(restarts, "0 0", "no controller had to be started again");
}
