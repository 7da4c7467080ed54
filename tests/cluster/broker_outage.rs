//! `reveille serve --kube` without its API server, and with objects that no schema checked.

use std::net::TcpListener;

use tests::cluster::Cluster;
use tests::harness::{Publisher, Sample, Subscriber, eventually};

use super::broker_setup::Setup;

fn uri(subscriber: &Subscriber) -> String {
    format!("{{uri: \"{}\"}}", subscriber.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_during_an_outage_serves_what_it_knew_and_catches_up() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let setup = Setup::new(cluster, "outage").await;
    let (one, two, late) = (Subscriber::start().await, Subscriber::start().await, Subscriber::start().await);
    setup.trigger("one", &uri(&one));
    setup.trigger("two", "{ref: {apiVersion: v1, kind: Service, name: two}}");
    let resolved = format!("{{\"status\":{{\"observedGeneration\":1,\"subscriberUri\":\"{}\"}}}}", two.url());
    setup.kubectl(&["patch", "trigger", "two", "--subresource=status", "--type=merge", "-p", &resolved]);
    let broker = setup.start().await;
    setup.served(&broker, "one", &one.url()).await;
    setup.served(&broker, "two", &two.url()).await;
    assert_eq!((broker.ready_part("kubernetes").await, broker.metric("reveille_kube_connected").await), (None, 1.0));

    setup.gate.shut();
    eventually("it to be noticed", || async { broker.ready_part("kubernetes").await }).await;
    setup.publisher(&broker).series("during", 3).await;
    one.wait_for(3).await;
    broker.kill9().await;
    // While it is away, one Trigger goes and another comes.
    setup.kubectl(&["delete", "trigger", "one"]);
    setup.trigger("late", &uri(&late));
    let broker = setup.start().await;
    let part = broker.ready_part("kubernetes").await.unwrap();
    assert_eq!(part["state"], "degraded");
    assert!(part["detail"].as_str().unwrap().contains("as last known"), "{part}");
    assert_eq!(broker.metric("reveille_kube_connected").await, 0.0);
    setup.publisher(&broker).series("after", 1).await;
    for subscriber in [&one, &two] {
        eventually("the delivery", || async {
            subscriber.ids().iter().any(|id| id.starts_with("after")).then_some(())
        })
        .await;
    }

    setup.gate.open();
    eventually("it to be over", || async { broker.ready_part("kubernetes").await.is_none().then_some(()) }).await;
    setup.gone(&broker, "one").await;
    setup.served(&broker, "late", &late.url()).await;
    assert_eq!(broker.metric("reveille_kube_connected").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_without_the_api_server_waits_and_says_so() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let mut setup = Setup::new(cluster, "first").await;
    setup.gate.shut();
    // A port that is free now: the addresses are told only once it is ready.
    let ingress = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    setup.launch = setup.launch.arg("--ingress-addr", ingress.to_string());
    let publisher = Publisher::new(&format!("http://{ingress}/{}/default", setup.namespace.name()));
    let (broker, ()) = tokio::join!(setup.start(), async {
        let refused = eventually("an answer", || async { publisher.binary(&Sample::new("early")).await.ok() }).await;
        assert_eq!(refused.code, 503, "{}", refused.body);
        assert!(refused.body.contains("starting_up") && refused.headers.contains_key("retry-after"));
        setup.gate.open();
    });
    // Ready means that its Broker takes events.
    assert_eq!(publisher.binary(&Sample::new("a")).await.unwrap().code, 202);
    assert_eq!(broker.ready_part("kubernetes").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_trigger_stops_no_other() {
    let Some(cluster) = Cluster::own_or_skip().await else { return };
    for kind in ["Broker", "Trigger"] {
        cluster.apply(&tests::cluster::without_schema(kind)).unwrap();
    }
    let setup = Setup::with_crds_there(&cluster, "malformed").await;
    let subscriber = Subscriber::start().await;
    setup.trigger("bad", "{uri: 7}");
    setup.trigger("worse", "[1, 2]");
    setup.trigger("good", &uri(&subscriber));
    setup.trigger("spoilt", &uri(&subscriber));
    let broker = setup.start().await;
    setup.served(&broker, "good", &subscriber.url()).await;
    setup.served(&broker, "spoilt", &subscriber.url()).await;
    // One that was good stays as it was.
    setup.trigger("spoilt", "seven");
    let faults = eventually("the faults", || async {
        let faults: schemas::admin::List<String> = broker.admin("/api/v1/faults").await;
        faults.items.iter().any(|fault| fault.contains("/spoilt")).then_some(faults.items)
    })
    .await;
    for (name, kept) in [("bad", false), ("worse", false), ("spoilt", true)] {
        let told = |fault: &String| {
            fault.contains(&format!("/{name}: spec.subscriber")) && fault.contains("as last read") == kept
        };
        assert!(faults.iter().any(told), "{name}: {faults:?}");
    }
    assert!(broker.metric("reveille_kube_faults").await >= 3.0);
    setup.publisher(&broker).series("n", 1).await;
    assert_eq!(subscriber.wait_for(2).await.len(), 2, "both good ones");
}
