//! The proxy in front of the API server: without a rule it changes nothing, and each fault is what it says.

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use tests::cluster::{ApiProxy, Cluster, Fault, Namespace};
use tests::harness::eventually;

/// A proxy, and a client through it, with a service account's rights.
async fn through<'a>(cluster: &'a Cluster, name: &str) -> (Namespace<'a>, ApiProxy, Api<ConfigMap>) {
    let namespace = cluster.namespace(name).unwrap();
    namespace
        .apply(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: worker}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: maps}\n\
             rules: [{apiGroups: [\"\"], resources: [configmaps], verbs: [\"*\"]}]\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: maps}\n\
             roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: maps}\n\
             subjects: [{kind: ServiceAccount, name: worker}]\n",
        )
        .unwrap();
    let proxy = cluster.api_proxy().await.unwrap();
    let kubeconfig = proxy.kubeconfig(&cluster.kubeconfig_as(namespace.name(), "worker").unwrap()).unwrap();
    let client = Cluster::client_from(&kubeconfig).await.unwrap();
    let maps = Api::namespaced(client, namespace.name());
    (namespace, proxy, maps)
}

fn map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

async fn create(maps: &Api<ConfigMap>, name: &str) -> Result<ConfigMap, kube::Error> {
    maps.create(&PostParams::default(), &map(name)).await
}

/// The name of the next map that a watch reports as added; its error, or `None` at its end.
async fn added(
    watch: &mut (impl Stream<Item = Result<WatchEvent<ConfigMap>, kube::Error>> + Unpin),
) -> Option<Result<String, kube::Error>> {
    loop {
        match watch.next().await? {
            Ok(WatchEvent::Added(map)) => return Some(Ok(map.metadata.name.unwrap())),
            Ok(WatchEvent::Error(status)) => return Some(Err(kube::Error::Api(status))),
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

fn only(name: &str) -> WatchParams {
    // A bookmark may come at any time, and would be taken for news.
    WatchParams::default().fields(&format!("metadata.name={name}")).disable_bookmarks()
}

fn code(result: Result<ConfigMap, kube::Error>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not an answer that refuses: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_requests_and_watches_pass() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (_namespace, proxy, maps) = through(cluster, "pass").await;
    let mut watch = maps.watch(&only("one"), "0").await.unwrap().boxed();
    create(&maps, "one").await.unwrap();
    assert_eq!(added(&mut watch).await.unwrap().unwrap(), "one", "while the watch stands");
    let patch = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
    maps.patch("one", &PatchParams::apply("someone"), &Patch::Apply(patch)).await.unwrap();
    assert_eq!(maps.get("one").await.unwrap().data.unwrap()["a"], "b");
    assert!(matches!(create(&maps, "one").await, Err(kube::Error::Api(status)) if status.reason == "AlreadyExists"));
    let elsewhere: Api<ConfigMap> = Api::namespaced(maps.into_client(), "default");
    assert!(matches!(elsewhere.list(&ListParams::default()).await, Err(kube::Error::Api(s)) if s.code == 403));
    assert_eq!(proxy.faults(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_in_place_of_the_api_server() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (namespace, proxy, maps) = through(cluster, "answer").await;
    for (status, reason) in [
        (StatusCode::CONFLICT, "Conflict"),
        (StatusCode::GONE, "Expired"),
        (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    ] {
        proxy.fail_next(1, Some(Method::POST), "*/configmaps*", Fault::Answer(status));
        let refused = create(&maps, "refused").await;
        assert!(matches!(&refused, Err(kube::Error::Api(said)) if said.reason == reason), "{refused:?}");
        assert_eq!(code(refused), status.as_u16());
    }
    assert_eq!(code(maps.get("refused").await), 404, "the API server saw none of them");
    // kube's own clients try again by themselves after a 429, so another one looks at it.
    let url = format!("{}/api/v1/namespaces/{}/configmaps", proxy.url(), namespace.name());
    proxy.fail(None, "*/configmaps*", Fault::Answer(StatusCode::TOO_MANY_REQUESTS));
    let told = tests::harness::http_client().get(url).send().await.unwrap();
    assert_eq!((told.status(), told.headers()["retry-after"].as_bytes()), (StatusCode::TOO_MANY_REQUESTS, &b"1"[..]));
    let status: serde_json::Value = told.json().await.unwrap();
    assert_eq!((&status["kind"], &status["reason"]), (&"Status".into(), &"TooManyRequests".into()));
    proxy.heal();
    proxy.fail(Some(Method::DELETE), "*", Fault::Answer(StatusCode::CONFLICT));
    create(&maps, "other-methods-pass").await.unwrap();
    assert_eq!(proxy.faults(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stalled_goes_on_when_healed() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (namespace, proxy, maps) = through(cluster, "stall").await;
    let mut watch = maps.watch(&only("late"), "0").await.unwrap().boxed();
    proxy.fail(None, "*", Fault::Stall);
    let creation = tokio::spawn({
        let maps = maps.clone();
        async move { create(&maps, "stalled").await }
    });
    eventually("the request to be stalled", || std::future::ready((proxy.faults() == 1).then_some(()))).await;
    namespace.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late}\n").unwrap();
    assert!(!creation.is_finished());
    let found = namespace.kubectl(&["get", "configmaps", "--output", "name"]).unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("late") && !found.contains("stalled"), "{found}");
    // What the watch has to say is there, and it says it only once healed.
    let early = std::future::poll_fn(|context| std::task::Poll::Ready(watch.poll_next_unpin(context).is_ready())).await;
    assert!(!early, "a stalled watch spoke");
    proxy.heal();
    creation.await.unwrap().unwrap();
    assert_eq!(added(&mut watch).await.unwrap().unwrap(), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_closes_requests_and_standing_watches() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (_namespace, proxy, maps) = through(cluster, "cut").await;
    let mut watch = maps.watch(&only("never"), "0").await.unwrap().boxed();
    proxy.fail(None, "*", Fault::Cut);
    assert!(!matches!(added(&mut watch).await, Some(Ok(_))), "the watch ends");
    let refused = create(&maps, "cut").await.unwrap_err();
    assert!(!matches!(refused, kube::Error::Api(_)), "no answer at all: {refused}");
    proxy.heal();
    assert_eq!(code(maps.get("cut").await), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_to_a_write_that_was_done() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (_namespace, proxy, maps) = through(cluster, "lost").await;
    proxy.fail_next(1, Some(Method::POST), "*", Fault::LoseAnswer);
    let lost = create(&maps, "done").await.unwrap_err();
    assert!(!matches!(lost, kube::Error::Api(_)), "no answer at all: {lost}");
    maps.get("done").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_can_be_told_that_it_is_too_old() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (_namespace, proxy, maps) = through(cluster, "expire").await;
    proxy.fail_next(1, Some(Method::GET), "*watch=true*", Fault::ExpireWatch);
    let expired: Vec<_> = maps.watch(&WatchParams::default(), "1").await.unwrap().try_collect().await.unwrap();
    assert!(matches!(expired.as_slice(), [WatchEvent::Error(status)] if status.code == 410), "{expired:?}");
}
