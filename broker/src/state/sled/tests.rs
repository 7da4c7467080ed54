use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::state::tests::files::Files;
use crate::state::tests::{contract, cursor, key};

/// Long enough that nothing is flushed unless a test asks for it.
const NEVER: Options = Options { cache_bytes: 1 << 20, flush_interval: Duration::from_secs(3600) };

fn open(data: &Path) -> SledStore {
    SledStore::open(&data.join("state"), NEVER, Arc::new(Files::default())).unwrap()
}

/// What a crash at this moment would leave: the files as they are, while the store is open.
fn crash(data: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    copy(data, image.path());
    image
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn beside(data: &Path, prefix: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect()
}

#[tokio::test]
async fn sled_keeps_the_contract() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    contract(&store).await;
    assert_eq!(store.health(), StoreHealth::Sound);
}

#[tokio::test]
async fn a_crash_takes_only_what_was_not_flushed() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    store.save_cursor(&key("a"), cursor(10, &[4]));
    store.save_cursor(&key("gone"), cursor(1, &[]));
    store.put("x/1".to_owned(), Some(b"one".to_vec()));
    store.flush().await.unwrap();
    store.remove_cursor(&key("gone"));
    store.flush().await.unwrap();
    store.save_cursor(&key("a"), cursor(20, &[]));
    store.put("x/2".to_owned(), Some(b"two".to_vec()));

    let image = crash(data.path());
    let again = open(image.path());
    assert_eq!(again.load_cursors().await, Ok(vec![(key("a"), cursor(10, &[4]))]));
    assert_eq!(again.scan("x").await, Ok(vec![("x/1".to_owned(), b"one".to_vec())]));
}

#[tokio::test]
async fn writes_are_flushed_without_being_asked_to() {
    let data = tempfile::tempdir().unwrap();
    let options = Options { flush_interval: Duration::from_millis(5), ..NEVER };
    let store = SledStore::open(&data.path().join("state"), options, Arc::new(Files::default())).unwrap();
    store.save_cursor(&key("a"), cursor(10, &[]));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let bytes = fs::read(data.path().join("cursors.ckpt")).unwrap();
        if !crate::state::checkpoint::decode_checkpoint(&bytes).entries.is_empty() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "never flushed");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn dropping_flushes_and_frees_the_lock() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    store.save_cursor(&key("a"), cursor(10, &[4]));
    store.put("x".to_owned(), Some(b"one".to_vec()));
    drop(store);
    let again = open(data.path());
    assert_eq!(again.load_cursors().await, Ok(vec![(key("a"), cursor(10, &[4]))]));
    assert_eq!(again.scan("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn cursors_survive_either_copy() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    store.save_cursor(&key("a"), cursor(10, &[4]));
    store.save_cursor(&key("b"), cursor(20, &[]));
    store.remove_cursor(&key("b"));
    store.flush().await.unwrap();
    drop(store);
    let expected = Ok(vec![(key("a"), cursor(10, &[4]))]);

    fs::remove_dir_all(data.path().join("state")).unwrap();
    let store = open(data.path());
    assert_eq!(store.load_cursors().await, expected, "without the database");
    drop(store);

    fs::remove_file(data.path().join("cursors.ckpt")).unwrap();
    let store = open(data.path());
    assert_eq!(store.load_cursors().await, expected, "without the checkpoint");
}

#[tokio::test]
async fn the_newer_copy_counts() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    store.save_cursor(&key("a"), cursor(10, &[]));
    store.save_cursor(&key("b"), cursor(1, &[]));
    store.flush().await.unwrap();
    let old = crash(data.path());
    store.save_cursor(&key("a"), cursor(20, &[]));
    store.remove_cursor(&key("b"));
    store.flush().await.unwrap();
    let new = crash(data.path());

    for (database, checkpoint) in [(&old, &new), (&new, &old)] {
        let mixed = tempfile::tempdir().unwrap();
        copy(database.path(), mixed.path());
        fs::copy(checkpoint.path().join("cursors.ckpt"), mixed.path().join("cursors.ckpt")).unwrap();
        let cursors = open(mixed.path()).load_cursors().await.unwrap();
        assert!(cursors.contains(&(key("a"), cursor(20, &[]))), "{cursors:?}");
        if std::ptr::eq(checkpoint, &new) {
            assert_eq!(cursors.len(), 1, "a removal in the checkpoint beats an older cursor in the database");
        }
    }
}

#[tokio::test]
async fn a_second_opener_is_told_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    store.save_cursor(&key("a"), cursor(10, &[]));
    store.flush().await.unwrap();
    let error = SledStore::open(&data.path().join("state"), NEVER, Arc::new(Files::default())).unwrap_err();
    assert!(matches!(error, StateError::InUse { .. }), "{error:?}");
    let line = error.to_string();
    assert!(line.contains("in use by another broker") && !line.contains('\n'), "{line}");
    assert_eq!(store.load_cursors().await.unwrap().len(), 1, "the first is not disturbed");
    assert_eq!(beside(data.path(), "sled.broken").len(), 0);
}

#[tokio::test]
async fn a_broken_database_is_moved_aside() {
    let data = tempfile::tempdir().unwrap();
    type Damage = fn(&Path);
    let breakages: [(&str, Damage); 3] = [
        ("configuration", |state| fs::write(state.join("conf"), b"nonsense of sixteen bytes").unwrap()),
        ("not a directory", |state| {
            fs::remove_file(state.join("db")).unwrap();
            fs::create_dir(state.join("db")).unwrap();
        }),
        ("crashes", |state| fs::write(state.with_extension("opening"), b"xx").unwrap()),
    ];
    for (at, (what, damage)) in breakages.into_iter().enumerate() {
        let scanned = 10 + at as u64;
        let store = open(data.path());
        store.save_cursor(&key("a"), cursor(scanned, &[]));
        store.flush().await.unwrap();
        drop(store);

        damage(&data.path().join("state"));
        let store = open(data.path());
        assert_eq!(store.load_cursors().await, Ok(vec![(key("a"), cursor(scanned, &[]))]), "{what}");
        assert_eq!(store.health(), StoreHealth::Sound, "{what}");
        let aside = data.path().join(format!("sled.broken-{}", at + 1));
        assert_eq!(beside(data.path(), "sled.broken"), [aside], "{what}: only the last is kept");
        assert_eq!(beside(data.path(), "state.opening"), [] as [PathBuf; 0], "{what}");
    }
}

/// sled notices much damage, and panics on some of it; whatever it says, cursors come from the checkpoint.
#[tokio::test]
async fn a_damaged_database_never_moves_a_cursor_ahead() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    for scanned in 1..=5 {
        store.save_cursor(&key("a"), cursor(scanned, &[]));
        store.flush().await.unwrap();
    }
    drop(store);
    let size = fs::metadata(data.path().join("state/db")).unwrap().len();
    for at in (0..size.min(2048)).step_by(128) {
        let image = crash(data.path());
        let path = image.path().join("state/db");
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 0x55;
        fs::write(&path, bytes).unwrap();
        let store = open(image.path());
        assert_eq!(store.load_cursors().await, Ok(vec![(key("a"), cursor(5, &[]))]), "byte {at}");
    }
}

#[tokio::test]
async fn values_of_a_wrong_size_are_refused_aloud() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    store.put("x".to_owned(), Some(vec![1; VALUE_BYTES_MAX - 1]));
    assert_eq!(store.flush().await, Ok(()));
    store.put("y".to_owned(), Some(vec![1; VALUE_BYTES_MAX]));
    let error = store.flush().await.unwrap_err().to_string();
    assert!(error.contains("y: 65537 bytes"), "{error}");
    assert_eq!(store.flush().await, Ok(()), "said once");
    assert_eq!(store.scan("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_cursor_too_large_for_sled_is_checkpointed() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    let window: Vec<u64> = (0..20_000).map(|n| n * 1000).collect();
    store.save_cursor(&key("a"), cursor(20_000_000, &window));
    store.flush().await.unwrap();
    drop(store);
    let blobs = fs::read_dir(data.path().join("state/blobs")).unwrap().count();
    assert_eq!(blobs, 0);
    assert_eq!(open(data.path()).load_cursors().await, Ok(vec![(key("a"), cursor(20_000_000, &window))]));
}

#[tokio::test]
async fn a_failing_checkpoint_is_written_again() {
    let data = tempfile::tempdir().unwrap();
    let files = Files::default();
    let store = SledStore::open(&data.path().join("state"), NEVER, Arc::new(files.clone())).unwrap();
    files.fail_syncs(1);
    store.save_cursor(&key("a"), cursor(10, &[]));
    assert_eq!(store.flush().await, Ok(()), "the database has it");
    assert!(matches!(store.health(), StoreHealth::Degraded(reason) if reason.contains("checkpoint")));
    assert_eq!(store.flush().await, Ok(()));
    assert_eq!(store.health(), StoreHealth::Sound);
    drop(store);
    fs::remove_dir_all(data.path().join("state")).unwrap();
    assert_eq!(open(data.path()).load_cursors().await.unwrap().len(), 1);
}

#[tokio::test]
async fn ten_thousand_cursors_flush_quickly() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    let names: Vec<TriggerKey> = (0..10_000).map(|n| key(&format!("trigger-{n}"))).collect();
    let mut slowest = Duration::ZERO;
    for round in 1..=3 {
        let began = tokio::time::Instant::now();
        for name in &names {
            store.save_cursor(name, cursor(round * 100, &[round, round + 1, round + 5]));
        }
        store.flush().await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    // A debug build on a busy machine; in release it is some tens of milliseconds.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert_eq!(store.load_cursors().await.unwrap().len(), 10_000);
    assert!(fs::metadata(data.path().join("cursors.ckpt")).unwrap().len() < 8 << 20);
}

#[tokio::test]
async fn a_disk_that_is_full_at_start_leaves_the_checkpoint_to_work_with() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    store.save_cursor(&key("a"), cursor(10, &[]));
    store.flush().await.unwrap();
    drop(store);
    // The first thing that is written at an open goes to a device that is always full.
    let first_written = data.path().join("state.opening");
    std::os::unix::fs::symlink("/dev/full", &first_written).unwrap();
    let store = open(data.path());
    assert!(matches!(store.health(), StoreHealth::Degraded(reason) if reason.contains("space")));
    assert_eq!(store.load_cursors().await, Ok(vec![(key("a"), cursor(10, &[]))]));
    store.save_cursor(&key("a"), cursor(20, &[]));
    assert!(store.flush().await.is_err(), "values other than cursors are not durable");
    drop(store);
    fs::remove_file(first_written).unwrap();
    let store = open(data.path());
    assert_eq!(store.health(), StoreHealth::Sound);
    assert_eq!(store.load_cursors().await, Ok(vec![(key("a"), cursor(20, &[]))]), "both copies are level again");
}

#[test]
fn a_place_that_cannot_be_written_is_refused_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let error = SledStore::open(&file.join("state"), NEVER, Arc::new(Files::default())).unwrap_err().to_string();
    assert!(error.contains("file/state") && error.contains("must be writable") && !error.contains('\n'), "{error}");
}
