//! The image, built as a user builds it.

use std::path::PathBuf;
use std::process::Command;

use super::{REPOSITORY, run};

/// Builds the image and returns its archive. What was compiled before is used again: only a first call takes minutes.
///
/// # Errors
/// When it cannot be built; the text is the build's.
pub fn build_image() -> anyhow::Result<PathBuf> {
    let archive = PathBuf::from(format!("{REPOSITORY}/target/image-under-test.tar"));
    let mut build = Command::new(format!("{REPOSITORY}/deploy/image/build"));
    build.args(["--engine", "buildah", "--archive"]).arg(&archive);
    // What cargo tells a test of its package would have the compiled dependencies that look at it made anew.
    let told = std::env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_"))) {
        build.env_remove(name);
    }
    build.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    // There is neither a container engine nor a kernel's overlay to count on.
    run(build.envs([("BUILDAH_ISOLATION", "chroot"), ("STORAGE_DRIVER", "vfs")]))?;
    Ok(archive)
}
