//! The cursor checkpoint at every crash point: what is read back is never older than the last flush that a sound store
//! answered, and never newer than what was saved. The database beside it is a real one, and left out of the recovery:
//! the checkpoint has to do alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use broker::clock::UnixMicros;
use broker::log::{LogId, Offset};
use broker::names::TriggerKey;
use broker::state::checkpoint::decode_checkpoint;
use broker::state::codec::decode_cursor;
use broker::state::{Cursor, Options, Phase, SledStore, StateStore, StoreHealth, Unsettled};

use super::disk::{Disk, Survivors};
use super::fs::{Entry, Note, SimFs};

/// Unsettled events of a cursor: so many that the file is written anew once in a while, which happens above 1 MiB.
const UNSETTLED: u64 = 4000;

/// What a walk saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct Walked {
    /// Images that were recovered from.
    pub images: usize,
    /// Times that the file was replaced by a new one.
    pub replaced: usize,
}

fn cursor(round: u64) -> Cursor {
    let event = |n: u64| Unsettled {
        offset: Offset(round + n * 1000),
        attempts: 3,
        due: UnixMicros(1_700_000_000_000_000 + n * 7_919_000),
        phase: Phase::Subscriber,
    };
    let broker = "ns/broker".parse().expect("a key");
    let unsettled = (0..UNSETTLED).map(event).collect();
    Cursor {
        incarnation: None,
        broker,
        log: LogId(7),
        began: Offset(0),
        scanned: Offset(round),
        unsettled,
        retired: None,
    }
}

/// Saves one cursor after the other, and reads the checkpoint of every image of every point back.
///
/// # Errors
/// The first image that breaks the promise, with its place.
pub async fn walk(rounds: u64, prepare: impl FnOnce(&SimFs)) -> Result<Walked> {
    let fs = SimFs::default();
    prepare(&fs);
    let data = tempfile::tempdir()?;
    let directory = data.path().join("state");
    let trigger: TriggerKey = "ns/orders".parse()?;
    let options = Options { flush_interval: Duration::from_secs(3600), ..Options::default() };
    let store = SledStore::open(&directory, options, Arc::new(fs.clone()))?;
    for round in 1..=rounds {
        fs.note(Note::Submitted(round));
        store.save_cursor(&trigger, cursor(round));
        store.flush().await?;
        // A store that has lost its checkpoint for the moment answers for the database alone, and says so.
        if store.health() == StoreHealth::Sound {
            fs.note(Note::Acknowledged(round));
        }
    }
    ensure!(store.health() == StoreHealth::Sound, "it has not recovered by itself: {:?}", store.health());
    check(&fs, &directory.with_file_name("cursors.ckpt"), &trigger)
}

fn check(fs: &SimFs, path: &Path, trigger: &TriggerKey) -> Result<Walked> {
    let mut walked = Walked::default();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut disk = Disk::default();
    let (mut saved, mut flushed) = (0, 0);
    for (place, entry) in fs.journal().into_iter().enumerate() {
        let op = match entry {
            Entry::Note(Note::Submitted(round)) => {
                saved = round;
                continue;
            }
            Entry::Note(Note::Acknowledged(round)) => {
                flushed = round;
                continue;
            }
            Entry::Note(Note::Trimming(_)) => continue,
            Entry::Op(op) => op,
        };
        walked.replaced += usize::from(matches!(op, super::disk::Op::Rename(..)));
        disk.apply(&op);
        for survivors in [Survivors::Nothing, Survivors::Everything, Survivors::LastWriteTorn, Survivors::Some] {
            let image = disk.image(survivors, &mut rng);
            let found = recovered(&image, path, trigger);
            let found = found.with_context(|| format!("after entry {place}, {survivors:?}"))?;
            ensure!(
                (flushed..=saved).contains(&found),
                "after entry {place}, {survivors:?}: read {found}, flushed {flushed}, saved {saved}"
            );
            walked.images += 1;
        }
    }
    Ok(walked)
}

/// The round that the checkpoint of an image tells of; 0 for none.
fn recovered(image: &Disk, path: &Path, trigger: &TriggerKey) -> Result<u64> {
    let Some(inode) = image.find(path) else { return Ok(0) };
    let contents = decode_checkpoint(image.contents(inode));
    let Some(bytes) = contents.entries.get(trigger).and_then(|entry| entry.cursor.clone()) else { return Ok(0) };
    let read = decode_cursor(&bytes)?;
    ensure!(read == cursor(read.scanned.0), "another cursor than the one saved");
    Ok(read.scanned.0)
}
