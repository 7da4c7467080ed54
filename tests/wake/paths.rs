//! Ways to a Service: two families, slices that move, headless ones, by name; and order.

use std::io::Write as _;

use tests::cluster::Cluster;
use tests::harness::{Answer, Subscriber, eventually};

use super::stage::{Night, each_once, publish};

fn slice(name: &str, service: &str, family: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: {family}\n\
         metadata:\n  name: {name}\n  labels: {{kubernetes.io/service-name: {service}, \
         endpointslice.kubernetes.io/managed-by: test}}\nports: [{{name: \"\", port: 8080, protocol: TCP}}]\n\
         endpoints: [{{addresses: [\"{address}\"]}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_two_families_gets_each_event_once_and_by_the_other_when_one_is_gone() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "families").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    cluster.add_address("fd99::1").unwrap();
    let old = night.pod(|_| Answer::code(200));
    let new = Subscriber::on(cluster.listen_inside("[fd99::1]:8080").unwrap(), |_| Answer::code(200));
    night.stage.apply(&slice("orders-4", "orders", "IPv4", &old.addr().ip().to_string()));
    night.stage.apply(&slice("orders-6", "orders", "IPv6", &new.addr().ip().to_string()));
    let got = || old.received().len() + new.received().len();
    let mut ids = publish(&night.publisher(&broker), "a", 200).await;
    eventually("all to be delivered", || std::future::ready((got() >= 200).then_some(()))).await;
    each_once([old.ids(), new.ids()].concat(), ids.clone());
    assert!(!new.received().is_empty(), "both are used");
    let before = old.ids();
    night.settled(&broker, "orders").await;
    drop(old);
    ids.extend(publish(&night.publisher(&broker), "b", 100).await);
    night.settled(&broker, "orders").await;
    each_once([before, new.ids()].concat(), ids);
    assert_eq!(broker.trigger_in(night.stage.namespace.name(), "orders").await.unwrap().dead_letters, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_that_moves_to_another_service_takes_its_endpoints_along() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "moves").await;
    night.sleeper("orders").await;
    night.sleeper("bills").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    night.served(&broker, "bills").await;
    let pod = night.pod(|_| Answer::code(200));
    let address = pod.addr().ip().to_string();
    night.stage.apply(&slice("moving", "orders", "IPv4", &address));
    night.told("orders", "True", "Awake").await;
    publish(&night.publisher(&broker), "a", 1).await;
    pod.wait_for(1).await;
    night.awake("bills").await;
    night.stage.apply(&slice("moving", "bills", "IPv4", &address));
    pod.wait_for(2).await;
    let host = format!("bills.{}.svc.cluster.local", night.stage.namespace.name());
    assert_eq!(pod.received()[1].header("host"), host);
    night.told("bills", "True", "Awake").await;
    publish(&night.publisher(&broker), "b", 1).await;
    night.awake("orders").await;
    assert_eq!(pod.wait_for(3).await[2].header("host"), host);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_over_a_wake_and_a_pod_that_goes() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "order").await;
    night.sleeper("orders").await;
    night.annotate("trigger", "orders", "reveille.dev/delivery-order=ordered");
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let mut ids = publish(&night.publisher(&broker), "a", 300).await;
    night.awake("orders").await;
    // One that is ready before it listens, then works, then goes.
    let address = night.address();
    night.slice("orders", &[(&address, "true")]);
    let listener = cluster.listen_inside(&format!("{address}:8080")).unwrap();
    let first = Subscriber::on(listener, |_| Answer::code(200));
    first.wait_for(ids.len()).await;
    assert_eq!(first.ids(), ids);
    night.settled(&broker, "orders").await;
    drop(first);
    night.slice("orders", &[]);
    ids.extend(publish(&night.publisher(&broker), "b", 300).await);
    let second = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&second]);
    second.wait_for(300).await;
    assert_eq!(second.ids(), ids[300..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_headless_service_is_woken_and_its_pods_are_dialled() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "headless").await;
    night.stage.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: orders}\n\
         spec: {clusterIP: None, selector: {app: orders}, ports: [{port: 8080}]}\n",
    );
    night.stage.apply(&super::stage::workload("Deployment", "orders", "orders", 0));
    let subscriber = super::controller_setup::to_service("orders");
    night.stage.apply(&super::controller_setup::trigger("orders", "default", &subscriber));
    night.stage.trigger("orders", "True", "").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let ids = publish(&night.publisher(&broker), "e", 10).await;
    night.delivered("orders", ids).await;
    assert_eq!(night.writes_done().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_services_name_nothing_is_sent_before_a_pod_is_ready() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "byname").await;
    night.sleeper("orders").await;
    night.annotate("service", "orders", "reveille.dev/delivery-path=service");
    // What stands for the Service's own address, and is there before any pod.
    let front = night.address();
    let listener = cluster.listen_inside(&format!("{front}:80")).unwrap();
    let service = Subscriber::on(listener, |_| Answer::code(200));
    let within = cluster.within_knowing_hosts().unwrap();
    let name = format!("orders.{}.svc.cluster.local", night.stage.namespace.name());
    let mut hosts = std::fs::File::options().append(true).open(cluster.hosts()).unwrap();
    writeln!(hosts, "{front} {name}").unwrap();
    let broker = night.launch.clone().within(within).start().await.unwrap();
    night.served(&broker, "orders").await;
    let ids = publish(&night.publisher(&broker), "e", 10).await;
    night.awake("orders").await;
    night.told("orders", "Unknown", "Waking").await;
    assert!(service.received().is_empty());
    // Nobody listens at the pod's own address, so this shows that it is not dialled.
    let pod = night.address();
    night.slice("orders", &[(&pod, "true")]);
    service.wait_for(ids.len()).await;
    each_once(service.ids(), ids);
    assert_eq!(service.received()[0].header("host"), name);
    assert_eq!(night.writes_done().await, 1);
}
