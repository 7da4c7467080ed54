use std::fs;
use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::log::contract_suite::event;
use crate::log::segment::{Engine, LogMetrics, SegmentOptions};

/// A closed log of 60 events of about 1 KiB, one a frame, in segments of 16 KiB; and its files.
fn log_dir() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentOptions { segment_bytes: 16 << 10, allocate_bytes: 4 << 10, ..SegmentOptions::default() };
    let mut engine =
        Engine::open(Arc::new(RealFs), dir.path(), options, Clock::system(), LogMetrics::default()).unwrap();
    for n in 0..60 {
        engine.commit(&[vec![event(n, 1000)]]).unwrap();
    }
    engine.finish();
    let mut files: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    assert!(files.len() > 3);
    (dir, files)
}

fn dumped(dir: &Path, range: Range<u64>) -> (Vec<u64>, Vec<Range<Offset>>) {
    let mut offsets = Vec::new();
    let lost = dump(dir, Offset(range.start)..Offset(range.end), &mut |record| {
        assert_eq!(record.event, event(record.offset.0, 1000));
        offsets.push(record.offset.0);
        Ok(())
    });
    (offsets, lost.unwrap())
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_sound_log_is_found_sound_and_dumps_whole() {
    let (dir, files) = log_dir();
    let report = verify(dir.path()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.records(), report.segments.len()), (60, files.len()));
    assert_eq!(report.segments.iter().filter(|segment| segment.sealed).count(), files.len() - 1);
    assert_eq!(dumped(dir.path(), 0..60), ((0..60).collect(), vec![]));
    assert_eq!(dumped(dir.path(), 17..23), ((17..23).collect(), vec![]));
}

#[test]
fn damage_is_named_by_file_position_and_offset() {
    let (dir, files) = log_dir();
    // The third frame of the second segment; 48 bytes of file header, frames of equal length.
    let second = &verify(dir.path()).unwrap().segments[1];
    let frame = (second.base.0, usize::try_from(verify_frame_bytes(&files[1])).unwrap());
    flip(&files[1], 48 + 2 * frame.1 + 200);
    let report = verify(dir.path()).unwrap();
    assert!(!report.is_sound());
    let damage = &report.segments[1].damage[0];
    assert_eq!(damage.file, files[1]);
    assert_eq!(damage.position.start, (48 + 2 * frame.1) as u64);
    assert_eq!(report.lost(), [Offset(frame.0 + 2)..Offset(frame.0 + 3)]);
    assert_eq!(report.records(), 59);
    assert!(report.to_string().contains(&format!("lost: #{} up to #{}", frame.0 + 2, frame.0 + 3)), "{report}");
    let (offsets, lost) = dumped(dir.path(), 0..60);
    assert_eq!((offsets.len(), lost), (59, report.lost()));
}

fn verify_frame_bytes(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    u64::from(super::super::format::decode_frame_header(&bytes[48..]).unwrap().length)
}

#[test]
fn a_missing_file_is_a_gap() {
    let (dir, files) = log_dir();
    let segments = verify(dir.path()).unwrap().segments;
    fs::remove_file(&files[1]).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.gaps, [segments[1].base..segments[2].base]);
    assert!(!report.is_sound());
    assert_eq!(dumped(dir.path(), 0..60).1, report.gaps);
}

#[test]
fn a_damaged_file_header_loses_nothing() {
    let (dir, files) = log_dir();
    flip(&files[1], 20);
    let report = verify(dir.path()).unwrap();
    assert!(report.segments[1].fault.is_some());
    assert_eq!((report.records(), report.lost()), (60, vec![]));
}

#[test]
fn a_directory_without_a_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(verify(dir.path()), Err(InspectError::NoLog { .. })));
    assert!(matches!(log_dirs(dir.path()), Err(InspectError::NoLog { .. })));
    let (logs, _) = log_dir();
    assert_eq!(log_dirs(logs.path()).unwrap(), [logs.path()]);
}
