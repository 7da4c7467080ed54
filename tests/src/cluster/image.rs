//! The image, built as a user builds it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::{REPOSITORY, run};

/// Where buildah keeps what it makes: not among the images of whoever runs the tests. Each build begins anew there.
const STORAGE: &str = "target/image-storage";

/// Builds the image, once in a process, and returns its archive. What an earlier process compiled is used again: only
/// the first call on a machine takes minutes.
///
/// # Errors
/// When it cannot be built; the text is the build's.
pub fn build_image() -> anyhow::Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(archive) = &*built {
        return Ok(archive.clone());
    }
    let storage = PathBuf::from(REPOSITORY).join(STORAGE);
    if storage.exists() {
        std::fs::remove_dir_all(&storage)?;
    }
    std::fs::create_dir_all(&storage)?;
    // There is neither a container engine nor a kernel's overlay to count on.
    let (graph, runtime) = (storage.join("images"), storage.join("run"));
    let settings = format!("[storage]\ndriver = \"vfs\"\ngraphroot = {graph:?}\nrunroot = {runtime:?}\n");
    std::fs::write(storage.join("storage.conf"), settings)?;

    let archive = PathBuf::from(format!("{REPOSITORY}/target/image-under-test.tar"));
    let mut build = at_storage(&format!("{REPOSITORY}/deploy/image/build"));
    build.args(["--engine", "buildah", "--archive"]).arg(&archive).env("BUILDAH_ISOLATION", "chroot");
    // What cargo tells a test of its package would have dependencies that look at it compiled anew.
    let told = std::env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_"))) {
        build.env_remove(name);
    }
    build.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    run(&mut build)?;
    *built = Some(archive.clone());
    Ok(archive)
}

/// buildah, with what [`build_image`] made at hand.
#[must_use]
pub fn buildah() -> Command {
    at_storage("buildah")
}

fn at_storage(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("CONTAINERS_STORAGE_CONF", format!("{REPOSITORY}/{STORAGE}/storage.conf"));
    command
}
