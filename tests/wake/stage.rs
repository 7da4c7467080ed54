//! A sleeping workload, its Service and Trigger; controller and broker around them.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;
use tests::cluster::{ApiProxy, Cluster, Write, condition};
use tests::harness::{Answer, BrokerProcess, Home, Launch, Publisher, Received, Subscriber, eventually};

use super::controller_setup::{ControllerProcess, Stage, service, trigger};

const SYSTEM: &str = "reveille-system";
const ACCOUNT: &str = "reveille-broker";

/// A namespace with a Broker, and both programs.
pub(crate) struct Night<'a> {
    // Dropped before the stage, whose next user finds no other controller then.
    _controller: ControllerProcess,
    pub(crate) stage: Stage<'a>,
    pub(crate) cluster: &'a Cluster,
    pub(crate) launch: Launch,
    _home: Home,
}

impl<'a> Night<'a> {
    pub(crate) async fn begin(cluster: &'a Cluster, prefix: &str) -> Self {
        Self::through(cluster, prefix, None).await
    }

    /// The same with a broker that speaks with the API server through a proxy.
    pub(crate) async fn behind_a_proxy(cluster: &'a Cluster, prefix: &str) -> (Self, ApiProxy) {
        let proxy = cluster.api_proxy_inside().unwrap();
        (Self::through(cluster, prefix, Some(&proxy)).await, proxy)
    }

    async fn through(cluster: &'a Cluster, prefix: &str, proxy: Option<&ApiProxy>) -> Self {
        let stage = Stage::new(cluster, prefix).await;
        let controller = stage.start().await;
        let home = Home::new();
        let launch = launch(cluster, &home, proxy);
        stage.broker().await;
        Self { stage, cluster, launch, _controller: controller, _home: home }
    }

    pub(crate) async fn start(&self) -> BrokerProcess {
        self.launch.start().await.unwrap()
    }

    /// Somebody else scales a Deployment.
    pub(crate) async fn scale(&self, name: &str, replicas: u32) {
        let namespace = self.stage.namespace.name();
        let uri = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale");
        let request = http::Request::patch(uri).header(http::header::CONTENT_TYPE, "application/merge-patch+json");
        let body = format!("{{\"spec\":{{\"replicas\":{replicas}}}}}").into_bytes();
        let _: Value = self.stage.client().request(request.body(body).unwrap()).await.unwrap();
    }

    /// Sets an annotation of an object, such as `trigger`, `orders`.
    pub(crate) fn annotate(&self, kind: &str, name: &str, annotation: &str) {
        let noted = self.stage.namespace.kubectl(&["annotate", kind, name, annotation]).unwrap();
        assert!(noted.status.success(), "{noted:?}");
    }

    /// A Deployment at zero with that name, its Service and a Trigger for it, which is ready.
    pub(crate) async fn sleeper(&self, name: &str) {
        self.stage.apply(&workload("Deployment", name, name, 0));
        self.service_and_trigger(name).await;
    }

    pub(crate) async fn service_and_trigger(&self, name: &str) {
        self.stage.apply(&service(name).replace("spec: {", &format!("spec: {{selector: {{app: {name}}}, ")));
        let subscriber = format!("{{ref: {{apiVersion: v1, kind: Service, name: {name}}}}}");
        self.stage.apply(&trigger(name, "default", &subscriber));
        self.stage.trigger(name, "True", "").await;
    }

    pub(crate) fn publisher(&self, broker: &BrokerProcess) -> Publisher {
        broker.publisher_in(self.stage.namespace.name(), "default")
    }

    /// Waits until the broker has the Trigger, with the Service's address.
    pub(crate) async fn served(&self, broker: &BrokerProcess, name: &str) {
        eventually(&format!("the broker to serve {name}"), || async {
            let item = broker.trigger_in(self.stage.namespace.name(), name).await?;
            item.subscriber.starts_with("http").then_some(())
        })
        .await;
    }

    /// Waits until everything was delivered to a Trigger.
    pub(crate) async fn settled(&self, broker: &BrokerProcess, name: &str) {
        eventually(&format!("all to be delivered to {name}"), || async {
            (broker.trigger_in(self.stage.namespace.name(), name).await?.lag.events == 0).then_some(())
        })
        .await;
    }

    /// Replicas and generation of a workload.
    pub(crate) async fn replicas(&self, plural: &str, name: &str) -> (i64, i64) {
        let namespace = self.stage.namespace.name();
        let uri = format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}");
        let request = http::Request::get(uri).body(Vec::new()).unwrap();
        let object: Value = self.stage.client().request(request).await.unwrap();
        (object["spec"]["replicas"].as_i64().unwrap(), object["metadata"]["generation"].as_i64().unwrap())
    }

    /// Waits until the condition `SubscriberAwake` of a Trigger has that status and reason; gives its message.
    pub(crate) async fn told(&self, name: &str, status: &str, reason: &str) -> String {
        eventually(&format!("{name} to be SubscriberAwake={status} {reason}"), || async {
            let object = self.stage.get("triggers", name).await?;
            let found = condition(&object, "SubscriberAwake")?;
            assert_eq!(condition(&object, "Ready")?["status"], "True", "sleep is no error");
            (found["status"] == status && found["reason"] == reason)
                .then(|| found["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    pub(crate) async fn awake(&self, name: &str) {
        eventually(&format!("{name} to be scaled up"), || async {
            (self.replicas("deployments", name).await.0 > 0).then_some(())
        })
        .await;
    }

    /// Once `name` is scaled up, gives it a pod that takes everything, and waits until that has each of `ids` once.
    pub(crate) async fn delivered(&self, name: &str, ids: Vec<String>) {
        self.awake(name).await;
        let pod = self.pod(|_| Answer::code(200));
        self.ready(name, &[&pod]);
        pod.wait_for(ids.len()).await;
        each_once(pod.ids(), ids);
    }

    /// What the broker wrote here, besides the status of Triggers.
    pub(crate) async fn writes(&self) -> Vec<Write> {
        let user = format!("system:serviceaccount:{SYSTEM}:{ACCOUNT}");
        let here = |write: &Write| write.user == user && write.namespace == self.stage.namespace.name();
        let picked = |write: &Write| here(write) && write.resource != "triggers";
        self.cluster.audit_writes(picked).await.unwrap()
    }

    /// How many of those the API server did.
    pub(crate) async fn writes_done(&self) -> usize {
        self.writes().await.iter().filter(|write| write.code == 200).count()
    }

    /// A server inside the cluster at an address of its own.
    pub(crate) fn pod(&self, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Subscriber {
        Subscriber::on(self.cluster.listen_inside(&format!("{}:8080", self.address())).unwrap(), script)
    }

    /// An address inside the cluster that nobody has yet.
    pub(crate) fn address(&self) -> String {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let address = format!("10.99.1.{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.cluster.add_address(&address).unwrap();
        address
    }

    /// Writes an EndpointSlice of the Service `name`; `endpoints` are addresses and `ready` (`null`, too).
    pub(crate) fn slice(&self, name: &str, endpoints: &[(&str, &str)]) {
        let one =
            |(address, ready): &(&str, &str)| format!("{{addresses: [{address}], conditions: {{ready: {ready}}}}}");
        let endpoints: Vec<String> = endpoints.iter().map(one).collect();
        self.stage.apply(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata:\n  name: {name}-test\n  labels: {{kubernetes.io/service-name: {name}, \
             endpointslice.kubernetes.io/managed-by: test}}\nports: [{{name: \"\", port: 8080, protocol: TCP}}]\n\
             endpoints: [{}]\n",
            endpoints.join(", ")
        ));
    }

    pub(crate) fn ready(&self, name: &str, pods: &[&Subscriber]) {
        let addresses: Vec<String> = pods.iter().map(|pod| pod.addr().ip().to_string()).collect();
        let endpoints: Vec<(&str, &str)> = addresses.iter().map(|address| (address.as_str(), "true")).collect();
        self.slice(name, &endpoints);
    }
}

/// A broker on a home of its own, that speaks with the API server directly or through a proxy.
pub(crate) fn launch(cluster: &Cluster, home: &Home, proxy: Option<&ApiProxy>) -> Launch {
    let kubeconfig = match proxy {
        None => cluster.kubeconfig_inside_as(SYSTEM, ACCOUNT).unwrap(),
        Some(proxy) => proxy.kubeconfig(&cluster.kubeconfig_as(SYSTEM, ACCOUNT).unwrap()).unwrap(),
    };
    Launch::kube(Path::new(env!("CARGO_BIN_EXE_reveille-under-test")), home, &kubeconfig).within(cluster.within())
}

/// A workload whose pods carry `app: LABEL`.
pub(crate) fn workload(kind: &str, name: &str, label: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: {label}}}}}\n  template:\n    metadata: {{labels: {{app: {label}}}}}\n    \
         spec: {{containers: [{{name: a, image: none}}]}}\n"
    )
}

/// Publishes `count` events with that beginning of their ids; each is acknowledged.
pub(crate) async fn publish(publisher: &Publisher, prefix: &str, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
    for part in ids.chunks(500) {
        let samples: Vec<_> = part.iter().map(|id| tests::harness::Sample::new(id)).collect();
        assert_eq!(publisher.batch(&samples).await.unwrap().code, 202);
    }
    ids
}

/// The same ids, in any order, each once.
pub(crate) fn each_once(mut got: Vec<String>, mut expected: Vec<String>) {
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);
}
