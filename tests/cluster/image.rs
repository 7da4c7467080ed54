//! The image: its size, its labels, and that it runs with nothing around it.

use std::path::Path;
use std::process::{Command, Output};

use tests::cluster::build_image;

use crate::kubectl::said;

/// Most bytes of the image as a registry keeps it and a node pulls it.
const IMAGE_BYTES_MAX: u64 = 25_000_000;
/// Most bytes of what it holds, unpacked.
const UNPACKED_BYTES_MAX: u64 = 25_000_000;
/// As buildah stores it.
const IMAGE: &str = "localhost/reveille:0.1.0";

fn buildah(args: &[&str]) -> String {
    let output = tests::cluster::buildah().args(args).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs a program with the image's files as its whole file system, as the image's user.
fn inside(root: &str, program: &str, args: &[&str]) -> Output {
    let program = Path::new("/usr/local/bin").join(program);
    Command::new("chroot").args(["--userspec=65532:65532", root]).arg(program).args(args).output().unwrap()
}

#[test]
fn the_image_is_small_static_and_runs_as_nobody() {
    if !rustix::process::geteuid().is_root() && std::env::var_os("CI").is_none() {
        println!("skipped: building an image without a container engine needs root");
        return;
    }
    let size = std::fs::metadata(build_image().unwrap()).unwrap().len();
    assert!(size < IMAGE_BYTES_MAX, "the archive has {size} bytes");
    let inspected: serde_json::Value = serde_json::from_str(&buildah(&["inspect", "--type", "image", IMAGE])).unwrap();
    let config = &inspected["OCIv1"]["config"];
    assert_eq!(config["User"], "65532:65532");
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default();
    assert_eq!((label("title"), label("version"), label("licenses")), ("reveille", "0.1.0", "Apache-2.0"));
    assert!(!label("revision").is_empty() && !label("description").is_empty());

    let container = buildah(&["from", "--pull-never", IMAGE]);
    let root = buildah(&["mount", &container]);
    // The second name of a program that both share is a link, and takes nothing.
    let length = |path: &str| std::fs::symlink_metadata(format!("{root}/{path}")).unwrap().len();
    let held = ["usr/local/bin/reveille", "usr/local/bin/reveille-controller", "etc/ssl/certs/ca-certificates.crt"];
    let held: u64 = held.into_iter().map(length).sum();
    assert!(held < UNPACKED_BYTES_MAX, "it holds {held} bytes");
    // There is no loader and no library in it, so what runs needs none.
    for program in ["reveille", "reveille-controller"] {
        let output = inside(&root, program, &["--help"]);
        assert!(output.status.success(), "{program}: {}", said(&output));
        let usage = format!("Usage: {program} ");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&usage), "{program}: {}", said(&output));
    }
    // Makes the HTTP client, which refuses to be made without certificate authorities, and gets as far as dialling. A
    // bare chroot has no random device, so the event brings its id.
    let output = inside(
        &root,
        "reveille",
        &["send", "--ingress", "http://127.0.0.1:1", "--id", "1", "--type", "a", "--source", "b"],
    );
    assert_eq!(output.status.code(), Some(5), "unreachable, and nothing else: {}", said(&output));
    buildah(&["rm", &container]);
}
