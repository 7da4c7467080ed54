//! The directories of a broker: its data, its manifests, and whatever else a test keeps.

use std::path::{Path, PathBuf};

use super::{BrokerManifest, TriggerManifest};

/// The directories of one broker; removed when dropped.
#[derive(Debug)]
pub struct Home(tempfile::TempDir);

impl Home {
    /// Fresh directories, with one Broker `default`.
    #[must_use]
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// The same below a directory of choice, for those who care which disk it is on.
    ///
    /// # Panics
    /// When that directory cannot be written.
    #[must_use]
    pub fn below(directory: &Path) -> Self {
        let home = Self(tempfile::Builder::new().prefix("reveille-").tempdir_in(directory).expect("a directory"));
        std::fs::create_dir(home.manifests()).expect("a directory for manifests");
        home.broker(&BrokerManifest::new("default"));
        home
    }

    /// What is given as `--data`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// What is given as `--manifests`.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.0.path().join("manifests")
    }

    /// A path for whatever else a test needs to keep.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a manifest file whole: the broker never sees half of it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn manifest(&self, file: &str, text: &str) {
        let draft = self.path("draft");
        std::fs::write(&draft, text).expect("a manifest can be written");
        std::fs::rename(&draft, self.manifests().join(file)).expect("a manifest can be put in place");
    }

    /// Removes a manifest file.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove_manifest(&self, file: &str) {
        std::fs::remove_file(self.manifests().join(file)).expect("the manifest is there");
    }

    /// Writes a Broker into a file of its own, `broker-NAME.yaml`.
    pub fn broker(&self, broker: &BrokerManifest) {
        let yaml = broker.yaml();
        self.manifest(&format!("broker-{}.yaml", name_in(&yaml)), &yaml);
    }

    /// Writes a Trigger into a file of its own, `trigger-NAME.yaml`.
    pub fn trigger(&self, trigger: &TriggerManifest) {
        let yaml = trigger.yaml();
        self.manifest(&format!("trigger-{}.yaml", name_in(&yaml)), &yaml);
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

fn name_in(yaml: &str) -> &str {
    yaml.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap_or_default()
}
