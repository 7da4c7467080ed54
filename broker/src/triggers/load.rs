//! A directory of manifests to Brokers and Triggers.
//!
//! *In*: a directory, or the text of one file. *Out*: the [`Object`]s that are sound, and a [`ManifestFault`] with
//! file, line and field path for everything else. *Invariants*: nothing bad in a file stops what is good in it, or in
//! another; of two objects of one name the first by file name and line wins; a Trigger whose Broker is in no manifest
//! is a fault. Blocking; no state. *Not here*: following changes ([`super::manifests`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use schemas::validate::{Fault, is_foreign, parse_broker, parse_trigger};
use serde_json::Value;

use super::convert::{BrokerPart, Defaults, TriggerPart, broker_part, table, trigger_part};
use super::document::{self, Document};
use super::recipient::Lookup;
use super::table::Table;
use crate::clock::UnixMicros;
use crate::names::{BrokerKey, TriggerKey};

/// Largest manifest file read, in bytes: twice what the API server takes as one request.
pub const MANIFEST_BYTES_MAX: u64 = 6 << 20;
/// Most manifest files read from one directory: one for each Trigger of the largest set-up measured.
pub const MANIFEST_FILES_MAX: usize = 20_000;
/// Deepest nesting of lists in lists of objects; nobody nests them twice.
const LIST_DEPTH_MAX: usize = 4;

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object is not served as written.
    Error,
    /// Nothing of ours; left alone.
    Warning,
}

/// Something in a manifest that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestFault {
    /// Name of the file, without its directory.
    pub file: String,
    /// Line, from 1; 0 where it is about the whole directory or file.
    pub line: u64,
    /// Column in characters, from 1, where it is known (of syntax faults).
    pub column: Option<u64>,
    /// Which field, such as `spec.filters[0].exact.TYPE`; empty where it is about the whole.
    pub path: String,
    /// What is wrong, with the fix.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a directory of manifests cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is nothing.
    #[error("--manifests {path}: there is no such directory; create it, or give another")]
    Missing {
        /// The directory.
        path: String,
    },
    /// It is a file.
    #[error("--manifests {path} is no directory; give the directory that holds the YAML files")]
    NotADirectory {
        /// What was given.
        path: String,
    },
    /// It cannot be listed.
    #[error("--manifests {path} cannot be read: {error}")]
    Unreadable {
        /// The directory.
        path: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// It holds more than is sensible.
    #[error("--manifests {path} holds more than {MANIFEST_FILES_MAX} manifests; put several objects into one file")]
    TooMany {
        /// The directory.
        path: String,
    },
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// A Broker.
    Broker(BrokerKey),
    /// A Trigger.
    Trigger(TriggerKey),
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(key) => write!(f, "Broker {key}"),
            Self::Trigger(key) => write!(f, "Trigger {key}"),
        }
    }
}

/// What an object is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A Broker of ours.
    Broker(BrokerPart),
    /// A Broker of another class, which is left alone together with its Triggers.
    Foreign(BrokerKey),
    /// A Trigger.
    Trigger(Box<TriggerPart>),
}

/// A sound object and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Name of its file, without the directory.
    pub file: String,
    /// Its text.
    pub document: Document,
    /// What it says.
    pub part: Part,
}

impl Object {
    /// Which object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match &self.part {
            Part::Broker(part) => ObjectKey::Broker(part.key.clone()),
            Part::Foreign(key) => ObjectKey::Broker(key.clone()),
            Part::Trigger(part) => ObjectKey::Trigger(part.key.clone()),
        }
    }

    /// A fault of this object.
    #[must_use]
    pub fn fault(&self, path: &str, message: impl Into<String>) -> ManifestFault {
        let fault = Fault { path: path.to_owned(), message: message.into() };
        located(&self.file, &self.document, fault)
    }
}

/// What one file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileContent {
    /// The sound objects.
    pub objects: Vec<Object>,
    /// Everything else.
    pub faults: Vec<ManifestFault>,
}

/// What a directory holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The objects that are served, by file name and line.
    pub objects: Vec<Object>,
    /// Triggers that are not, as their Broker is in no manifest.
    pub waiting: BTreeMap<TriggerKey, BrokerKey>,
    /// Everything else.
    pub faults: Vec<ManifestFault>,
}

impl Loaded {
    /// The table of these objects; `since` says since when a Trigger is there.
    pub fn table(&self, defaults: Defaults, since: impl Fn(&TriggerKey) -> UnixMicros) -> Table {
        let brokers = self.objects.iter().filter_map(|object| match &object.part {
            Part::Broker(part) => Some(part),
            Part::Foreign(_) | Part::Trigger(_) => None,
        });
        let triggers = self.objects.iter().filter_map(|object| match &object.part {
            Part::Trigger(part) => Some(part.as_ref()),
            Part::Foreign(_) | Part::Broker(_) => None,
        });
        let mut table = table(brokers, triggers, defaults, since);
        table.unserved.extend(self.waiting.iter().map(|(key, broker)| (key.clone(), Some(broker.clone()))));
        table
    }
}

/// Reads every manifest of a directory (`*.yaml`, `*.yml`, `*.json`; symbolic links are followed, hidden files and
/// sub-directories are not looked at).
///
/// # Errors
/// [`ManifestError`] where the directory itself cannot be read; what is wrong inside is in [`Loaded::faults`].
pub fn load_dir(directory: &Path) -> Result<Loaded, ManifestError> {
    let mut contents = Vec::new();
    for file in list(directory)? {
        contents.push(read_file(directory, &file));
    }
    let mut faults: Vec<_> = contents.iter().flat_map(|content| content.faults.clone()).collect();
    let loaded = settle(contents.into_iter().flat_map(|content| content.objects));
    faults.extend(loaded.faults);
    faults.sort();
    Ok(Loaded { faults, ..loaded })
}

/// The names of the manifests in a directory, in order.
pub(super) fn list(directory: &Path) -> Result<Vec<String>, ManifestError> {
    let path = || directory.display().to_string();
    let entries = fs::read_dir(directory).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ManifestError::Missing { path: path() },
        std::io::ErrorKind::NotADirectory => ManifestError::NotADirectory { path: path() },
        _ => ManifestError::Unreadable { path: path(), error },
    })?;
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(|error| ManifestError::Unreadable { path: path(), error })?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let manifest = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        if manifest && !name.starts_with('.') && !entry.path().is_dir() {
            names.insert(name);
        }
        if names.len() > MANIFEST_FILES_MAX {
            return Err(ManifestError::TooMany { path: path() });
        }
    }
    Ok(names.into_iter().collect())
}

/// Reads one file of a directory.
pub(super) fn read_file(directory: &Path, file: &str) -> FileContent {
    let path = directory.join(file);
    let text = fs::metadata(&path).and_then(|metadata| {
        if metadata.len() > MANIFEST_BYTES_MAX {
            return Err(std::io::Error::other(format!("larger than {MANIFEST_BYTES_MAX} bytes")));
        }
        fs::read_to_string(&path)
    });
    match text {
        Ok(text) => read_text(file, &text),
        Err(error) => {
            let fault = whole(file, format!("cannot be read: {error}"));
            FileContent { objects: Vec::new(), faults: vec![fault] }
        }
    }
}

/// Reads the text of one file.
#[must_use]
pub fn read_text(file: &str, text: &str) -> FileContent {
    let mut content = FileContent::default();
    for part in document::parse(text) {
        match part {
            Ok(document) => read_document(file, document, 0, &mut content),
            Err(syntax) => content.faults.push(ManifestFault {
                file: file.to_owned(),
                line: syntax.line,
                column: (syntax.column > 0).then_some(syntax.column),
                path: String::new(),
                message: syntax.message,
                severity: Severity::Error,
            }),
        }
    }
    content
}

fn read_document(file: &str, document: Document, depth: usize, content: &mut FileContent) {
    let text = |field: &str| document.value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let ours = version.is_empty() || group == schemas::broker::GROUP;
    match kind.as_str() {
        "List" | "BrokerList" | "TriggerList" if depth < LIST_DEPTH_MAX => {
            for element in document.elements("items") {
                read_document(file, element, depth + 1, content);
            }
        }
        "Broker" | "Trigger" if ours => match read_object(&document, &kind) {
            Ok(part) => content.objects.push(Object { file: file.to_owned(), document, part }),
            Err(faults) => {
                content.faults.extend(faults.into_iter().map(|fault| located(file, &document, fault)));
            }
        },
        "" => {
            let message = "names no kind; write `kind: Broker` or `kind: Trigger`".to_owned();
            content.faults.push(located(file, &document, Fault { path: "kind".into(), message }));
        }
        other => {
            let message = format!("{other} ({version}) is left alone; only Brokers and Triggers are read here");
            let fault = located(file, &document, Fault { path: "kind".into(), message });
            content.faults.push(ManifestFault { severity: Severity::Warning, ..fault });
        }
    }
}

fn read_object(document: &Document, kind: &str) -> Result<Part, Vec<Fault>> {
    if kind == "Trigger" {
        return parse_trigger(&document.value)
            .and_then(|trigger| trigger_part(&trigger, Lookup::Nobody))
            .map(|part| Part::Trigger(Box::new(part)));
    }
    if is_foreign(&document.value) {
        let name = |field: &str| document.value.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
        let namespace = name("namespace").unwrap_or(super::convert::NAMESPACE_DEFAULT);
        let key = BrokerKey::parse(namespace, name("name").unwrap_or_default());
        return key
            .map(Part::Foreign)
            .map_err(|error| vec![Fault { path: "metadata.name".into(), message: error.to_string() }]);
    }
    parse_broker(&document.value).and_then(|broker| broker_part(&broker, Lookup::Nobody)).map(Part::Broker)
}

/// A fault of a file or directory as a whole.
pub(super) fn whole(file: &str, message: String) -> ManifestFault {
    let file = file.to_owned();
    ManifestFault { file, line: 0, column: None, path: String::new(), message, severity: Severity::Error }
}

fn located(file: &str, document: &Document, fault: Fault) -> ManifestFault {
    ManifestFault {
        file: file.to_owned(),
        line: document.line_of(&fault.path),
        column: None,
        path: fault.path,
        message: fault.message,
        severity: Severity::Error,
    }
}

/// The objects that are served, of those of all files in order: the first of each name, and no Trigger without its
/// Broker.
pub(super) fn settle(objects: impl IntoIterator<Item = Object>) -> Loaded {
    let mut first: BTreeMap<ObjectKey, (String, u64)> = BTreeMap::new();
    let mut loaded = Loaded::default();
    for object in objects {
        let key = object.key();
        if let Some((file, line)) = first.get(&key) {
            let message = format!("{key} is already at {file}:{line}, which is used; rename or remove one of the two");
            loaded.faults.push(object.fault("metadata.name", message));
        } else {
            first.insert(key, (object.file.clone(), object.document.line));
            loaded.objects.push(object);
        }
    }
    let foreign: BTreeSet<BrokerKey> = loaded
        .objects
        .iter()
        .filter_map(|object| if let Part::Foreign(key) = &object.part { Some(key.clone()) } else { None })
        .collect();
    let Loaded { objects, waiting, faults } = &mut loaded;
    objects.retain(|object| match &object.part {
        Part::Foreign(_) => false,
        Part::Broker(_) => true,
        Part::Trigger(part) if foreign.contains(&part.broker) => false,
        Part::Trigger(part) if first.contains_key(&ObjectKey::Broker(part.broker.clone())) => true,
        Part::Trigger(part) => {
            let message = format!("Broker {} is in no manifest; add it, or name one that is", part.broker);
            faults.push(object.fault("spec.broker", message));
            waiting.insert(part.key.clone(), part.broker.clone());
            false
        }
    });
    loaded
}

#[cfg(test)]
mod tests;
