//! kubectl as the user's hand.

use std::process::Output;

use tests::cluster::Cluster;

/// The repository.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Everything that kubectl said.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs kubectl, which must succeed; its standard output.
pub(crate) fn done(cluster: &Cluster, args: &[&str], input: &str) -> String {
    let output = cluster.kubectl_stdin(args, input).unwrap();
    assert!(output.status.success(), "kubectl {}: {}\n{input}", args.join(" "), said(&output));
    String::from_utf8(output.stdout).unwrap()
}
