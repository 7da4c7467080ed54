//! What the files of a directory hold now, given what they held before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use schemas::validate::validate_update;

use super::load::{
    FileContent, Loaded, ManifestError, ManifestFault, Object, ObjectKey, Part, Severity, list, read_file,
};
use super::seen::Seen;

/// What tells a changed file from an unchanged one without reading it; of the file behind a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
    })
}

#[derive(Debug, Clone, PartialEq)]
struct File {
    stamp: Option<Stamp>,
    content: FileContent,
}

/// The files of a directory by name. Clones share what they hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(BTreeMap<String, Arc<File>>);

/// A look at a directory; files that were not read again are shared with the look before.
#[derive(Debug)]
pub(super) struct Scan(BTreeMap<String, Arc<File>>);

/// Looks at a directory: at every file, or at those whose stamp changed; `None` where no file needed reading and
/// none went away. Blocking.
pub(super) fn scan(directory: &Path, before: &Files, everything: bool) -> Result<Option<Scan>, ManifestError> {
    let names = list(directory)?;
    let mut changed = everything || names.len() != before.0.len();
    let mut files = BTreeMap::new();
    for name in names {
        // The stamp comes first: a change during the reading then shows as one afterwards.
        let stamp = stamp(&directory.join(&name));
        let known = before.0.get(&name).filter(|file| !everything && stamp.is_some() && file.stamp == stamp);
        let file = match known {
            Some(file) => Arc::clone(file),
            None => {
                changed = true;
                Arc::new(File { stamp, content: read_file(directory, &name) })
            }
        };
        files.insert(name, file);
    }
    Ok(changed.then_some(Scan(files)))
}

impl Files {
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.0.values().flat_map(|file| &file.content.objects)
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = &ManifestFault> {
        self.0.values().flat_map(|file| &file.content.faults)
    }

    /// Whether every one of the objects is in some file.
    pub(super) fn have_all(&self, wanted: &[Object]) -> bool {
        let present: BTreeSet<ObjectKey> = self.objects().map(|object| object.key()).collect();
        wanted.iter().all(|object| present.contains(&object.key()))
    }

    /// Whether a file is gone, or has no errors.
    pub(super) fn is_sound(&self, file: &str) -> bool {
        self.0.get(file).is_none_or(|file| !has_errors(&file.content))
    }
}

fn has_errors(content: &FileContent) -> bool {
    content.faults.iter().any(|fault| fault.severity == Severity::Error)
}

impl Scan {
    /// The files as they count: an object of a faulty file that is not in it any more, and one that changed what may
    /// not change, stays as it was. Also the objects that stay so, by file.
    pub(super) fn after(
        self,
        before: &Files,
        served: &Loaded,
        seen: &Seen,
    ) -> (Files, BTreeMap<String, Vec<ObjectKey>>) {
        let old: BTreeMap<ObjectKey, &Object> = served.objects.iter().map(|object| (object.key(), object)).collect();
        let mut kept = BTreeMap::new();
        let mut files = BTreeMap::new();
        for (name, file) in self.0 {
            let last = before.0.get(&name);
            if last.is_some_and(|last| Arc::ptr_eq(last, &file)) {
                files.insert(name, file);
                continue;
            }
            let mut content = file.content.clone();
            let mut stay = refuse_changes(&mut content, &old, seen);
            if has_errors(&content)
                && let Some(last) = last
            {
                let now: BTreeSet<ObjectKey> = content.objects.iter().chain(&stay).map(Object::key).collect();
                let missing = last.content.objects.iter().filter(|object| !now.contains(&object.key()));
                stay.extend(missing.cloned());
            }
            if !stay.is_empty() {
                kept.insert(name.clone(), stay.iter().map(Object::key).collect());
                content.objects.extend(stay);
            }
            files.insert(name, Arc::new(File { stamp: file.stamp, content }));
        }
        (Files(files), kept)
    }
}

/// Takes out the objects that changed what may not change, with a fault each, and returns those that stay in their
/// place.
fn refuse_changes(content: &mut FileContent, old: &BTreeMap<ObjectKey, &Object>, seen: &Seen) -> Vec<Object> {
    let mut stay = Vec::new();
    let faults = &mut content.faults;
    content.objects.retain(|object| {
        let last = old.get(&object.key()).copied();
        let mut refused: Vec<ManifestFault> = last
            .into_iter()
            .flat_map(|last| validate_update(&last.document.value, &object.document.value))
            .map(|fault| object.fault(&fault.path, fault.message))
            .collect();
        if let (None, Part::Trigger(part)) = (last, &object.part)
            && let Some(broker) = seen.broker(&part.key).filter(|broker| **broker != part.broker)
        {
            let message = format!(
                "was Broker {broker} when the Trigger was first read, and is immutable; give the Trigger another name, \
                 or remove it, wait for the broker to notice, and add it again"
            );
            refused.push(object.fault("spec.broker", message));
        }
        let sound = refused.is_empty();
        if !sound {
            stay.extend(last.cloned());
            faults.append(&mut refused);
        }
        sound
    });
    stay
}
