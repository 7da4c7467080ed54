use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::log::Offset;
use crate::state::codec::{decode_cursor, encode_cursor};
use crate::state::tests::{cursor, key};

fn frame(name: &str, sequence: u64, scanned: Option<u64>) -> Vec<u8> {
    let cursor = scanned.map(|scanned| encode_cursor(&cursor(scanned, &[])).into());
    let mut out = Vec::new();
    put_frame(&mut out, &key(name), &Saved { sequence, cursor });
    out
}

fn scanned(contents: &Contents, name: &str) -> Option<u64> {
    let cursor = contents.entries.get(&key(name))?.cursor.as_deref()?;
    decode_cursor(cursor).ok().map(|cursor| cursor.scanned.0)
}

/// `a` at 10, 20, 30; `b` at 5, then removed; `c` at 7.
fn sample() -> Vec<u8> {
    [
        frame("a", 1, Some(10)),
        frame("b", 2, Some(5)),
        frame("a", 3, Some(20)),
        frame("b", 4, None),
        frame("c", 5, Some(7)),
        frame("a", 6, Some(30)),
    ]
    .concat()
}

#[test]
fn the_newest_entry_counts() {
    let contents = decode_checkpoint(&sample());
    assert_eq!(contents.damaged_bytes, 0);
    assert_eq!(scanned(&contents, "a"), Some(30));
    assert_eq!(contents.entries[&key("b")], Saved { sequence: 4, cursor: None });
    assert_eq!(scanned(&contents, "c"), Some(7));
    let late = [frame("a", 6, Some(30)), frame("a", 1, Some(10))].concat();
    assert_eq!(scanned(&decode_checkpoint(&late), "a"), Some(30), "order in the file does not matter");
}

/// Whatever is left was saved: at most what the whole file says, and one of the values once written.
#[track_caller]
fn check_never_ahead(bytes: &[u8], what: &str) -> Contents {
    let contents = decode_checkpoint(bytes);
    for (name, saved) in [("a", vec![10, 20, 30]), ("b", vec![5]), ("c", vec![7])] {
        if let Some(scanned) = scanned(&contents, name) {
            assert!(saved.contains(&scanned), "{what}: {name} at {scanned}");
        }
    }
    assert!(contents.entries.keys().all(|known| ["a", "b", "c"].contains(&known.name.as_str())), "{what}");
    contents
}

#[test]
fn a_torn_tail_loses_only_itself() {
    let whole = sample();
    let last = frame("a", 6, Some(30)).len();
    for cut in 0..whole.len() {
        let contents = check_never_ahead(&whole[..cut], &format!("cut at {cut}"));
        if cut >= whole.len() - last {
            assert_eq!(scanned(&contents, "a"), Some(20), "cut at {cut}");
            assert_eq!(scanned(&contents, "c"), Some(7), "cut at {cut}");
        }
    }
}

#[test]
fn every_flipped_bit_loses_one_frame_at_most() {
    let whole = sample();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let contents = check_never_ahead(&bytes, &format!("bit {bit} of byte {at}"));
            assert!(contents.damaged_bytes > 0, "bit {bit} of byte {at} is not noticed");
            let newest = [scanned(&contents, "a"), scanned(&contents, "c")];
            let lost = newest.iter().zip([Some(30), Some(7)]).filter(|(got, was)| **got != *was).count();
            assert!(lost <= 1, "bit {bit} of byte {at}: {newest:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_checkpoint(&bytes);
        let _ = decode_checkpoint(&[&MARKER[..], &bytes[..]].concat());
    }

    #[test]
    fn frames_read_back(
        cursors in prop::collection::vec((0..20_u32, prop::option::of(crate::state::codec::tests::any_cursor())), 0..30),
    ) {
        let mut bytes = Vec::new();
        let mut expected = BTreeMap::new();
        for (sequence, (name, cursor)) in cursors.into_iter().enumerate() {
            let saved = Saved { sequence: sequence as u64, cursor: cursor.map(|cursor| encode_cursor(&cursor).into()) };
            put_frame(&mut bytes, &key(&name.to_string()), &saved);
            expected.insert(key(&name.to_string()), saved);
        }
        prop_assert_eq!(decode_checkpoint(&bytes), Contents { entries: expected, damaged_bytes: 0 });
    }
}

#[test]
fn the_file_is_appended_to_and_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cursors.ckpt");
    let files: Arc<dyn FileSystem> = Arc::new(crate::state::tests::files::Files::default());
    let (mut checkpoint, contents) = Checkpoint::open(files.clone(), &path).unwrap();
    assert_eq!(contents, Contents::default());

    checkpoint.write(&[], || frame("a", 1, Some(10))).unwrap();
    checkpoint.write(&frame("a", 2, Some(20)), || panic!("it exists and is small")).unwrap();
    let (mut checkpoint, contents) = Checkpoint::open(files.clone(), &path).unwrap();
    assert_eq!(scanned(&contents, "a"), Some(20));

    let filler = frame("b", 3, Some(5)).repeat(60_000);
    checkpoint.write(&filler, || frame("a", 4, Some(40))).unwrap();
    let (_, contents) = Checkpoint::open(files, &path).unwrap();
    assert_eq!(scanned(&contents, "a"), Some(40));
    assert!(!contents.entries.contains_key(&key("b")), "grown: only the live content is left");
    assert!(std::fs::metadata(&path).unwrap().len() < 200);
}

#[test]
fn after_a_failed_sync_a_new_file_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cursors.ckpt");
    let files = crate::state::tests::files::Files::default();
    let (mut checkpoint, _) = Checkpoint::open(Arc::new(files.clone()), &path).unwrap();
    checkpoint.replace(&frame("a", 1, Some(10))).unwrap();

    files.fail_syncs(1);
    assert!(checkpoint.write(&frame("a", 2, Some(20)), || panic!("not yet")).is_err());
    checkpoint.write(&frame("a", 3, Some(30)), || frame("a", 3, Some(30))).unwrap();
    let (_, contents) = Checkpoint::open(Arc::new(files), &path).unwrap();
    assert_eq!(contents.entries[&key("a")].sequence, 3);
    assert_eq!(std::fs::read(&path).unwrap(), frame("a", 3, Some(30)));
    assert_eq!(Offset(scanned(&contents, "a").unwrap()), Offset(30));
}
