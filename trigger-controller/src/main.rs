//! reveille-controller: will reconcile Broker and Trigger objects on Kubernetes.
//!
//! It arrives with the Kubernetes work. Until then it says so and fails, so that nobody mistakes a running process
//! for a working one. `reveille serve --manifests DIR` needs no controller.

use std::process::ExitCode;

const HELP: &str = "reveille-controller reconciles Broker and Trigger objects on Kubernetes.

It is not written yet: it arrives with the Kubernetes support. Until then run the broker by itself:

    reveille serve --manifests DIR

Usage: reveille-controller --help";

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|argument| matches!(argument.as_str(), "--help" | "-h")) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "reveille-controller is not written yet (it arrives with the Kubernetes support); run `reveille serve \
         --manifests DIR` instead, which needs no controller"
    );
    ExitCode::FAILURE
}
