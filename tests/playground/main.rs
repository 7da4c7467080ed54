//! A Kubernetes with Reveille installed, for a person to play in: `tests/cluster/playground`.
//!
//! *Outputs*: what to type, on stdout. *Invariants*: it ends on Ctrl-C, and with it everything that it started.

use anyhow::ensure;
use tests::cluster::Cluster;

/// Published and subscribed to in here.
const SAMPLES: &str = "deploy/samples/kubernetes";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let ended = tokio::signal::ctrl_c();
    tokio::select! {
        played = play() => played,
        ended = ended => Ok(ended?),
    }
}

async fn play() -> anyhow::Result<()> {
    ensure!(Cluster::possible_or_skip(), "no playground on this machine");
    eprintln!("starting a Kubernetes; the first time its programs are built, which takes some minutes");
    let cluster = Cluster::node().await?;
    eprintln!("building the image and installing it; the first time that takes some minutes more");
    cluster.load_reveille().await?;
    cluster.offer_volume("reveille-data")?;
    cluster.install_reveille("deploy")?;
    let ingress = cluster.reach_ingress()?;
    let kubeconfig = cluster.kubeconfig();
    println!(
        "Reveille is ready. In another terminal, from the root of this repository:

  export KUBECONFIG={}
  kubectl apply -k {SAMPLES}
  kubectl -n shop get brokers,triggers,pods
  reveille send --ingress http://{ingress} -n shop --type com.example.order.created --source /me
  kubectl -n shop logs --follow deploy/audit
  kubectl -n reveille-system port-forward reveille-broker-0 9091 &
  reveille tail -n shop
  reveille triggers ls

kubectl is at {}. Ctrl-C ends it all.",
        kubeconfig.display(),
        cluster.programs().join("kubectl").display(),
    );
    std::future::pending().await
}
