//! End to end: the real broker as a process, real sockets, real files, real publishers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed assertion is what a test is for")]

#[path = "../it/cesql.rs"]
mod cesql;
#[path = "../it/cli.rs"]
mod cli;
#[path = "../it/conformance_delivery.rs"]
mod conformance_delivery;
#[path = "../it/conformance_ingress.rs"]
mod conformance_ingress;
#[path = "../it/conformance_replies.rs"]
mod conformance_replies;
#[path = "../it/conformance_routing.rs"]
mod conformance_routing;
#[path = "../it/dead_letter.rs"]
mod dead_letter;
#[path = "../it/deliver.rs"]
mod deliver;
#[path = "../it/demo.rs"]
mod demo;
#[path = "../it/faults.rs"]
mod faults;
#[path = "../it/manifests.rs"]
mod manifests;
#[path = "../it/observe.rs"]
mod observe;
#[path = "../it/order.rs"]
mod order;
#[path = "../it/orphans.rs"]
mod orphans;
#[path = "../it/publish.rs"]
mod publish;
#[path = "../it/restart.rs"]
mod restart;
#[path = "../it/sdk.rs"]
mod sdk;
#[path = "../it/signals.rs"]
mod signals;
#[path = "../it/wake.rs"]
mod wake;

use std::path::Path;

use tests::harness::{Ack, BrokerProcess, Home, Launch};

/// The program under test: `broker/src/main.rs`, built beside these tests so that it is never an old one.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_reveille-under-test"))
}

/// How a broker on `home` is started.
fn launch(home: &Home) -> Launch {
    Launch::new(program(), home)
}

/// A broker on `home`, ready.
async fn start(home: &Home) -> BrokerProcess {
    launch(home).start().await.unwrap()
}

/// That a publish was accepted.
fn accepted(ack: reqwest::Result<Ack>) {
    let ack = ack.unwrap();
    assert_eq!(ack.code, 202, "{}", ack.body);
}
