//! The segment log on a simulated disk. `REVEILLE_SIM_SEED=N` runs the workload of one seed again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops where it is wrong")]

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker::clock::{Clock, UnixMicros};
use broker::log::segment::format::{FILE_HEADER_BYTES, decode_frame_header};
use broker::log::segment::{Engine, SegmentOptions};
use broker::log::{AppendError, Health, Offset, ReadLimit, Retention};
use tests::sim::disk::Survivors;
use tests::sim::fs::{Call, SimFs};
use tests::sim::walk::{self, DIR, Events, Size, append_one, check_records, event, tiny};

const SALT: u64 = 5;
const ROOMY: Size = Size { ops: 520, random_images: 17 };

fn clock() -> (Arc<AtomicU64>, Clock) {
    let time = Arc::new(AtomicU64::new(1_000_000));
    (time.clone(), Clock::manual(time))
}

fn open(fs: &SimFs, options: SegmentOptions) -> Engine {
    walk::open(fs, options, clock().1).unwrap()
}

/// One segment that holds everything.
fn roomy() -> SegmentOptions {
    SegmentOptions { segment_bytes: 1 << 20, allocate_bytes: 64 << 10, memory_bytes: 0, ..tiny() }
}

fn first_segment() -> PathBuf {
    PathBuf::from(DIR).join(format!("{:020}.seg", 0))
}

fn every_crash_point(seed: u64) {
    let seed = walk::seed_or(seed).unwrap();
    let walked = walk::walk(seed, ROOMY).unwrap_or_else(|error| panic!("REVEILLE_SIM_SEED={seed}: {error:#}"));
    println!("seed {seed}: {walked:?}");
    assert!(walked.points * 20 == walked.images && walked.points > ROOMY.ops / 2, "{walked:?}");
}

#[test]
fn every_crash_point_of_a_workload_1() {
    every_crash_point(1);
}

#[test]
fn every_crash_point_of_a_workload_2() {
    every_crash_point(2);
}

#[test]
fn every_crash_point_of_a_workload_3() {
    every_crash_point(3);
}

#[test]
fn every_crash_point_of_a_workload_4() {
    every_crash_point(4);
}

/// For a night: `REVEILLE_SIM_SEED=N` begins elsewhere.
#[test]
#[ignore = "long: a hundred workloads"]
fn every_crash_point_of_a_hundred_workloads() {
    let begin = walk::seed_or(1000).unwrap();
    for seed in begin..begin + 100 {
        let size = Size { ops: 2000, random_images: 17 };
        let walked = walk::walk(seed, size).unwrap_or_else(|error| panic!("REVEILLE_SIM_SEED={seed}: {error:#}"));
        println!("seed {seed}: {walked:?}");
    }
}

/// The walk itself is tested by a disk whose syncs do nothing: it must notice.
#[test]
fn the_walk_finds_a_disk_that_lies_about_syncs() {
    let error = walk::walk_with(1, Size { random_images: 0, ..ROOMY }, SimFs::ignore_syncs).unwrap_err();
    assert!(format!("{error:#}").contains("acknowledged up to"), "{error:#}");
}

/// A log of 12 events in 6 frames on a durable disk, not closed.
fn six_frames() -> SimFs {
    let fs = SimFs::default();
    let mut engine = open(&fs, roomy());
    for offset in (0..12).step_by(2) {
        engine.commit(&[vec![event(SALT, offset)], vec![event(SALT, offset + 1)]]).unwrap();
    }
    SimFs::on(fs.disk().image(Survivors::Nothing, &mut fastrand::Rng::with_seed(1)))
}

/// Where the frames of the first segment begin and end, and their first offsets.
fn frames(fs: &SimFs) -> Vec<(usize, usize, u64)> {
    let disk = fs.disk();
    let bytes = disk.contents(disk.find(&first_segment()).unwrap());
    let mut at = FILE_HEADER_BYTES;
    let mut found = Vec::new();
    while let Ok(header) = decode_frame_header(&bytes[at..]) {
        let end = at + header.length as usize;
        found.push((at, end, header.base.0));
        at = end;
    }
    found
}

/// Reads the whole log page by page: the offsets served, each compared, and those reported as lost.
fn read_all(engine: &Engine) -> (Vec<u64>, Vec<u64>) {
    let (mut served, mut lost) = (Vec::new(), Vec::new());
    let bounds = engine.bounds();
    let mut at = bounds.first;
    while at < bounds.next {
        let page = engine.read(at, ReadLimit { records: 5, bytes: 2000 }).unwrap();
        assert!(page.next > at, "no progress at {at}");
        for record in &page.records {
            assert_eq!(record.event, event(SALT, record.offset.0));
            served.push(record.offset.0);
        }
        lost.extend(page.lost.iter().flat_map(|range| range.start.0..range.end.0));
        at = page.next;
    }
    (served, lost)
}

/// Flips a bit at `at` before a start and says what was served, what was lost, and where the log ends.
fn after_flip(at: usize) -> (Vec<u64>, Vec<u64>, u64) {
    let fs = six_frames();
    fs.corrupt(&first_segment(), |bytes| bytes[at] ^= 0x10);
    let engine = open(&fs, roomy());
    let (served, lost) = read_all(&engine);
    (served, lost, engine.bounds().next.0)
}

#[test]
fn a_flipped_bit_anywhere_in_a_frame_is_noticed_and_costs_one_record_at_the_most() {
    let all = frames(&six_frames());
    let (begin, end, base) = all[2];
    for at in begin..end {
        let (served, lost, next) = after_flip(at);
        assert_eq!(next, 12, "flip at {at}");
        assert!(
            lost.len() <= 1 && lost.iter().all(|offset| [base, base + 1].contains(offset)),
            "flip at {at}: {lost:?}"
        );
        let mut accounted: Vec<u64> = served.iter().chain(&lost).copied().collect();
        accounted.sort_unstable();
        assert_eq!(accounted, (0..12).collect::<Vec<_>>(), "flip at {at}");
        // The frame's header is needed for nothing but finding the records, which are intact.
        assert_eq!(lost.is_empty(), at < begin + 64, "flip at {at}");
    }
}

#[test]
fn a_flipped_bit_in_the_last_frame_is_noticed_too() {
    let all = frames(&six_frames());
    let (begin, end, base) = *all.last().unwrap();
    for at in begin..end {
        let (served, lost, next) = after_flip(at);
        // Nothing after it says that it was synced, so where a sector of it is all zeros it may pass for a tear.
        assert!(served.starts_with(&(0..base).collect::<Vec<_>>()), "flip at {at}");
        assert!(next == base || served.len() + lost.len() == 12, "flip at {at}: {served:?} {lost:?} {next}");
        assert!(lost.len() <= 1, "flip at {at}: {lost:?}");
    }
}

#[test]
fn a_flip_while_the_log_is_open_is_noticed_by_the_reader() {
    let fs = six_frames();
    let engine = open(&fs, roomy());
    let fs = SimFs::on(fs.disk().image(Survivors::Everything, &mut fastrand::Rng::with_seed(1)));
    drop(engine);
    let mut engine = open(&fs, roomy());
    engine.commit(&[vec![event(SALT, 12)]]).unwrap();
    let (begin, end, base) = frames(&fs)[1];
    fs.corrupt(&first_segment(), |bytes| bytes[end - 1] ^= 1);
    assert_eq!(read_all(&engine).1, [base + 1]);
    fs.corrupt(&first_segment(), |bytes| bytes[begin] ^= 1);
    assert_eq!(read_all(&engine).1, [base + 1]);
    assert_eq!(read_all(&engine).0.len(), 12);
}

#[test]
fn a_file_cut_anywhere_in_its_last_frame_keeps_all_the_others() {
    let all = frames(&six_frames());
    let (begin, end, base) = *all.last().unwrap();
    for cut in begin..end {
        let fs = six_frames();
        fs.corrupt(&first_segment(), |bytes| bytes.truncate(cut));
        let mut engine = open(&fs, roomy());
        assert_eq!(engine.bounds().next, Offset(base), "cut at {cut}");
        check_records(&engine, &mut Events::new(SALT), 0..base).unwrap();
        append_one(&mut engine, SALT, base).unwrap();
        check_records(&engine, &mut Events::new(SALT), 0..base + 1).unwrap();
    }
}

#[test]
fn a_page_of_zeros_in_the_middle_is_damage_and_not_the_end() {
    let fs = six_frames();
    let (begin, _, base) = frames(&fs)[1];
    let (_, end, _) = frames(&fs)[2];
    fs.corrupt(&first_segment(), |bytes| bytes[begin..end].fill(0));
    let mut engine = open(&fs, roomy());
    let (served, lost) = read_all(&engine);
    assert_eq!((served.len(), lost), (8, (base..base + 4).collect()));
    assert_eq!(engine.commit(&[vec![event(SALT, 12)]]).unwrap().first, Offset(12));
    drop(engine);
    let engine = open(&fs, roomy());
    assert_eq!(read_all(&engine).0.len(), 9);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_a_restart_makes_sure() {
    for nth in 0..3 {
        let fs = SimFs::default();
        let mut engine = open(&fs, roomy());
        append_one(&mut engine, SALT, 0).unwrap();
        fs.fail(Call::SyncData, nth, ErrorKind::Other);
        let refused = (1..20).map(|offset| append_one(&mut engine, SALT, offset)).position(|answer| answer.is_err());
        assert_eq!(refused, Some(nth));
        for _ in 0..3 {
            assert!(matches!(append_one(&mut engine, SALT, 99), Err(AppendError::Poisoned(_))));
        }
        assert!(matches!(engine.health(), Health::Poisoned(_)));
        let acknowledged = nth as u64 + 1;
        check_records(&engine, &mut Events::new(SALT), 0..acknowledged).unwrap();
        // The broker starts again on the same machine: the page cache still shows the frame that is not on disk.
        drop(engine);
        let shown = open(&fs, roomy()).bounds().next.0;
        assert_eq!(shown, acknowledged + 1);
        let cut = SimFs::on(fs.disk().image(Survivors::Nothing, &mut fastrand::Rng::with_seed(1)));
        let engine = open(&cut, roomy());
        assert_eq!(engine.bounds().next.0, shown, "what was served after the restart is gone after a power cut");
        check_records(&engine, &mut Events::new(SALT), 0..shown).unwrap();
    }
}

#[test]
fn every_failing_call_leaves_the_log_openable_and_loses_nothing_acknowledged() {
    let calls = [
        Call::Open,
        Call::Write,
        Call::SyncData,
        Call::SyncDir,
        Call::Allocate,
        Call::SetLen,
        Call::Remove,
        Call::Read,
    ];
    for call in calls {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            for nth in 0..30 {
                a_failing_call(call, kind, nth);
            }
        }
    }
}

fn a_failing_call(call: Call, kind: ErrorKind, nth: usize) {
    let fs = SimFs::default();
    let (time, clock) = clock();
    let mut engine = walk::open(&fs, tiny(), clock).unwrap();
    fs.fail(call, nth, kind);
    let (mut acknowledged, mut submitted) = (0, 0);
    for _ in 0..60 {
        time.fetch_add(1_000_000, Ordering::AcqRel);
        submitted = acknowledged + 1;
        if append_one(&mut engine, SALT, acknowledged).is_ok() {
            acknowledged += 1;
        }
    }
    let retention = Retention { bytes: Some(20 << 10), ..Retention::default() };
    let _ = engine.trim(Offset(acknowledged), retention, UnixMicros(time.load(Ordering::Acquire)));
    // A fault that passes must not stop a log that was not poisoned.
    let poisoned = matches!(engine.health(), Health::Poisoned(_));
    assert!(poisoned || acknowledged >= 58, "{call:?} {kind:?} {nth}: {acknowledged}, {:?}", engine.health());
    drop(engine);
    for survivors in [Survivors::Everything, Survivors::Nothing] {
        let image = SimFs::on(fs.disk().image(survivors, &mut fastrand::Rng::with_seed(1)));
        let engine = open(&image, tiny());
        let bounds = engine.bounds();
        assert!(
            (acknowledged..=submitted).contains(&bounds.next.0),
            "{call:?} {kind:?} {nth} {survivors:?}: {bounds:?}"
        );
        check_records(&engine, &mut Events::new(SALT), bounds.first.0..bounds.next.0)
            .unwrap_or_else(|error| panic!("{call:?} {kind:?} {nth} {survivors:?}: {error:#}"));
    }
}

/// Capacities at which the disk is full in the middle of a reservation, a write, a footer, a new file.
#[test]
fn a_full_disk_stops_appends_and_they_go_on_by_themselves() {
    for capacity in (2000..30_000).step_by(97) {
        full_and_on(capacity);
    }
}

fn full_and_on(capacity: usize) {
    let fs = SimFs::default();
    let (time, clock) = clock();
    let mut engine = walk::open(&fs, tiny(), clock).unwrap();
    fs.set_capacity(Some(capacity));
    let mut next = 0;
    let reason = loop {
        match append_one(&mut engine, SALT, next) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(reason, AppendError::Full(_)), "{capacity}: {reason:?}");
    assert!(matches!(engine.health(), Health::Full(_)));
    check_records(&engine, &mut Events::new(SALT), 0..next).unwrap();
    fs.set_capacity(Some(capacity + (1 << 20)));
    // It is not tried again at once: the disk is left in peace.
    assert!(matches!(append_one(&mut engine, SALT, next), Err(AppendError::Full(_))));
    time.fetch_add(500_000, Ordering::AcqRel);
    append_one(&mut engine, SALT, next).unwrap_or_else(|error| panic!("{capacity}: {error}"));
    assert_eq!(engine.health(), Health::Writable);
    for offset in next + 1..next + 20 {
        append_one(&mut engine, SALT, offset).unwrap();
    }
    drop(engine);
    let cut = SimFs::on(fs.disk().image(Survivors::Nothing, &mut fastrand::Rng::with_seed(1)));
    let engine = open(&cut, tiny());
    assert_eq!(engine.bounds().next, Offset(next + 20), "{capacity}");
    check_records(&engine, &mut Events::new(SALT), 0..next + 20).unwrap();
}

#[test]
fn retention_frees_a_full_disk_at_once() {
    let fs = SimFs::default();
    let mut engine = open(&fs, tiny());
    fs.set_capacity(Some(30_000));
    let mut next = 0;
    while append_one(&mut engine, SALT, next).is_ok() {
        next += 1;
    }
    let retention = Retention { bytes: Some(8 << 10), ..Retention::default() };
    let trimmed = engine.trim(Offset(next), retention, UnixMicros(0)).unwrap();
    assert!(trimmed.segments > 0);
    append_one(&mut engine, SALT, next).unwrap();
}

#[tokio::test]
async fn every_crash_point_of_the_cursor_checkpoint() {
    let walked = tests::sim::cursors::walk(60, |_| {}).await.unwrap();
    println!("{walked:?}");
    assert!(walked.images > 400 && walked.replaced > 0, "{walked:?}");
}

#[tokio::test]
async fn the_walk_of_the_checkpoint_finds_a_disk_that_lies_about_syncs() {
    let walked = tests::sim::cursors::walk(5, SimFs::ignore_syncs).await;
    assert!(walked.is_err(), "{walked:?}");
}

#[tokio::test]
async fn a_checkpoint_that_fails_at_any_call_keeps_what_was_flushed() {
    for (call, nth) in [(Call::Write, 3), (Call::SyncData, 3), (Call::SyncDir, 0), (Call::Open, 2)] {
        let walked = tests::sim::cursors::walk(8, |fs| fs.fail(call, nth, ErrorKind::StorageFull)).await;
        assert!(walked.is_ok(), "{call:?}: {walked:?}");
    }
}
