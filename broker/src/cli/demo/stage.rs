//! What the demo needs before it begins: directories, ports, manifests.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{Period, ServeConfig};

/// Port of the ingress, of health and of the admin API, where they are free.
const PORTS: [(&str, u16); 3] = [("ingress", 8080), ("health", 9090), ("admin", 9091)];

/// Directories and ports of one run.
#[derive(Debug)]
pub(super) struct Stage {
    directory: PathBuf,
    /// Removes the directory at the end, where it is ours.
    temporary: Option<tempfile::TempDir>,
    ports: [SocketAddr; 3],
    program: PathBuf,
    notices: Vec<String>,
}

impl Stage {
    /// Makes the directories, looks for ports and writes the manifests.
    pub(super) fn set(data: Option<&Path>, free_ports: bool) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let temporary = match data {
            Some(_) => None,
            None => {
                Some(tempfile::Builder::new().prefix("reveille-demo-").tempdir().context("cannot make a directory")?)
            }
        };
        let directory =
            temporary.as_ref().map(tempfile::TempDir::path).or(data).unwrap_or_else(|| Path::new(".")).to_owned();
        let mut notices = Vec::new();
        let ports = PORTS.map(|(name, port)| {
            let wanted = local(port);
            if free_ports {
                return local(0);
            }
            if TcpListener::bind(wanted).is_ok() {
                return wanted;
            }
            notices.push(format!("Port {port} is taken, so the {name} address gets a free one."));
            local(0)
        });
        let stage = Self { directory, temporary, ports, program, notices };
        stage.write_manifests()?;
        Ok(stage)
    }

    /// What turned out other than usual.
    pub(super) fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Where the sample Broker and Triggers are.
    pub(super) fn manifests(&self) -> PathBuf {
        self.directory.join("manifests")
    }

    /// Where everything durable is.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Whether the directory goes when the demo ends.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// The broker's configuration.
    pub(super) fn config(&self) -> ServeConfig {
        let [ingress_addr, health_addr, admin_addr] = self.ports;
        ServeConfig {
            ingress_addr,
            health_addr,
            admin_addr,
            allow_exec: true,
            // The admin API shows deliveries as often as cursors are saved; the story measures with it.
            state_flush_interval: Period(Duration::from_millis(20)),
            ..ServeConfig::local(self.data(), self.manifests())
        }
    }

    /// This program, as one types it in this shell.
    pub(super) fn command(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        let on_path = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|directory| same_file(&directory.join(name), &self.program))
        });
        if on_path {
            return name.to_string_lossy().into_owned();
        }
        let here = std::env::current_dir().unwrap_or_default();
        let path = self.program.strip_prefix(here).unwrap_or(&self.program);
        let path = if path.components().count() == 1 { Path::new(".").join(path) } else { path.to_owned() };
        shell_word(&path.to_string_lossy())
    }

    fn write_manifests(&self) -> anyhow::Result<()> {
        let directory = self.manifests();
        let cannot = || format!("cannot write to {}; choose another --data directory", self.directory.display());
        std::fs::create_dir_all(&directory).with_context(cannot)?;
        let (sleeper, broken) = (free_address()?, free_address()?);
        let program = shell_word(&self.program.to_string_lossy());
        let triggers = manifest(
            include_str!("triggers.yaml"),
            &[
                ("sleeper-command", &quoted(&format!("exec {program} listen --addr {sleeper} --quiet"))),
                ("sleeper-address", &sleeper.to_string()),
                ("broken-command", &quoted(&format!("exec {program} listen --addr {broken} --quiet --code 503"))),
                ("broken-address", &broken.to_string()),
            ],
        );
        for (file, text) in [("broker.yaml", include_str!("broker.yaml")), ("triggers.yaml", &triggers)] {
            std::fs::write(directory.join(file), text).with_context(cannot)?;
        }
        Ok(())
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// An address that nobody listens at. Another program may take it before the subscriber does; then the story says
/// that the subscriber did not come up.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(local(0)).context("cannot find a free port")?;
    listener.local_addr().context("cannot find a free port")
}

/// Fills in the `{{places}}` of a template.
fn manifest(template: &str, values: &[(&str, &String)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

/// A YAML scalar: JSON strings are YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A word for `/bin/sh`.
fn shell_word(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if !text.is_empty() && text.chars().all(harmless) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell_and_yaml() {
        for text in ["/usr/bin/reveille", "/a b/it's \"here\"/$x", "é"] {
            let script = format!("printf %s {}", shell_word(text));
            let printed = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap().stdout;
            assert_eq!(String::from_utf8(printed).unwrap(), text);
            assert_eq!(serde_saphyr::from_str::<String>(&quoted(text)).unwrap(), text);
        }
    }

    #[test]
    fn manifests_are_filled_in() {
        let home = tempfile::tempdir().unwrap();
        let stage = Stage::set(Some(home.path()), true).unwrap();
        let triggers = std::fs::read_to_string(stage.manifests().join("triggers.yaml")).unwrap();
        assert!(!triggers.contains("{{") && triggers.contains("--code 503"), "{triggers}");
        assert!(!stage.is_temporary());
        assert_eq!(stage.config().validate(), Ok(()));
    }
}
