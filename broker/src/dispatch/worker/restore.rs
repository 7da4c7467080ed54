//! Where a worker begins: at its cursor, with the attempts and due times of what was not settled, or at the
//! Trigger's start position.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use crate::clock::UnixMicros;
use crate::dead_letter::DeadLetter;
use crate::dispatch::attempt::Means;
use crate::dispatch::budget::Kept;
use crate::dispatch::limits::Pause;
use crate::dispatch::order;
use crate::dispatch::schedule::RETRY_WAIT_MAX;
use crate::dispatch::window::{Restored, Window};
use crate::log::{EventLog, Offset, ReadError, ReadLimit};
use crate::state::{Cursor, Phase, Unsettled};
use crate::triggers::{Order, StartPosition, TriggerEntry};

/// Unsettled offsets that lie this close are read in one page rather than one by one.
const READ_TOGETHER: u64 = 64;

impl Worker {
    /// Makes the window, trying until it works. `false` when told to stop first.
    pub(super) async fn begin(&mut self, cursor: Option<&Cursor>) -> bool {
        let mut pause = Pause::default();
        loop {
            if self.stop.is_some() {
                return false;
            }
            let (means, entry) = (self.means.clone(), self.settings.entry.clone());
            let made = tokio::select! {
                biased;
                told = self.control.changed() => {
                    self.obey(told.is_ok());
                    self.rearrange = false;
                    continue;
                }
                made = window(&means, &entry, cursor) => made,
            };
            match made {
                Ok((window, missing)) => {
                    self.report.meters.discarded_records.inc_by(missing);
                    self.window = window;
                    return true;
                }
                Err(error) => {
                    if pause.is_first() {
                        tracing::error!(
                            broker = %means.logs.key, trigger = %means.key, %error,
                            "cannot find where the trigger begins; will try again"
                        );
                    }
                    let wait = pause.next();
                    tokio::select! {
                        told = self.control.changed() => {
                            self.obey(told.is_ok());
                            self.rearrange = false;
                        }
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }
}

/// The window, and how many unsettled events are no longer in the log.
async fn window(
    means: &Means,
    entry: &TriggerEntry,
    cursor: Option<&Cursor>,
) -> Result<(Window<Kept>, u64), ReadError> {
    let log = &*means.logs.events;
    let Some(cursor) = cursor else {
        let start = position(log, entry.start).await?;
        tracing::info!(broker = %means.logs.key, trigger = %means.key, offset = %start, "trigger starts");
        return Ok((Window::new(start), 0));
    };
    let end = log.bounds().next;
    if cursor.scanned > end {
        tracing::warn!(
            broker = %means.logs.key, trigger = %means.key, offset = %cursor.scanned, next = %end,
            "the cursor lies beyond the end of the log; was the data directory replaced? going on at the end"
        );
    }
    let listed: Vec<Unsettled> = cursor.unsettled.iter().copied().filter(|event| event.offset < end).collect();
    let found = look_up(log, entry.order, &listed).await?;
    let letters = find_letters(means, &listed, &found).await?;
    let (now, now_at) = (means.clock.now(), Instant::now());
    let mut window = Window::resumed(cursor.began, cursor.scanned.min(end));
    let mut missing = 0;
    for unsettled in listed {
        let Some(record) = found.get(&unsettled.offset) else {
            missing += 1;
            continue;
        };
        // A clock that was set back must not make an event wait longer than any retry would.
        let wait = unsettled.due.since(now).min(RETRY_WAIT_MAX);
        window.restore(Restored {
            unsettled,
            lane: record.lane,
            appended: record.appended,
            bytes: record.bytes,
            due_at: (wait > Duration::ZERO).then(|| now_at + wait),
            letter: letters.get(&unsettled.offset).copied(),
        });
    }
    if missing > 0 {
        tracing::warn!(
            broker = %means.logs.key, trigger = %means.key, missing,
            "unsettled events are no longer in the log and are left out"
        );
    }
    tracing::debug!(
        broker = %means.logs.key, trigger = %means.key, offset = %window.scanned(), unsettled = window.len(),
        "trigger goes on"
    );
    Ok((window, missing))
}

async fn position(log: &dyn EventLog, start: StartPosition) -> Result<Offset, ReadError> {
    let bounds = log.bounds();
    match start {
        StartPosition::At(time) | StartPosition::Resume(time) => log.seek_time(time).await,
        StartPosition::Earliest => Ok(bounds.first),
        StartPosition::Latest => Ok(bounds.next),
        StartPosition::Offset(offset) => Ok(offset.max(bounds.first)),
    }
}

/// What has to be known of an unsettled event besides what the cursor says.
#[derive(Debug, Clone, Copy)]
struct Found {
    lane: Option<u64>,
    appended: UnixMicros,
    bytes: usize,
}

/// Reads the records of unsettled events, near ones together.
async fn look_up(log: &dyn EventLog, order: Order, listed: &[Unsettled]) -> Result<BTreeMap<Offset, Found>, ReadError> {
    let mut found = BTreeMap::new();
    let mut rest = listed;
    while let Some((head, _)) = rest.split_first() {
        let near = rest.windows(2).take_while(|pair| match pair {
            [a, b] => b.offset.0.saturating_sub(a.offset.0) <= READ_TOGETHER,
            _ => false,
        });
        let last = rest.get(near.count()).map_or(head.offset, |event| event.offset);
        let records = usize::try_from(last.0.saturating_sub(head.offset.0) + 1).unwrap_or(usize::MAX);
        let limit = ReadLimit { records: records.min(ReadLimit::default().records), ..ReadLimit::default() };
        let next = match log.read(head.offset, limit).await {
            Ok(page) => {
                for record in &page.records {
                    let lane = order::lane(order, &record.event);
                    let bytes = record.event.size_bytes();
                    found.insert(record.offset, Found { lane, appended: record.appended, bytes });
                }
                page.next.max(head.offset.next())
            }
            Err(ReadError::Trimmed { first, .. }) => first.max(head.offset.next()),
            Err(error) => return Err(error),
        };
        let done = rest.partition_point(|event| event.offset < next);
        rest = rest.get(done..).unwrap_or_default();
    }
    Ok(found)
}

/// Finds the dead letters of events that wait for the sink: the cursor does not say where they are. A letter is
/// never older than its event.
async fn find_letters(
    means: &Means,
    listed: &[Unsettled],
    found: &BTreeMap<Offset, Found>,
) -> Result<BTreeMap<Offset, Offset>, ReadError> {
    let wanted = || listed.iter().filter(|event| event.phase == Phase::DeadLetterSink).map(|event| event.offset);
    let mut letters = BTreeMap::new();
    let Some(since) = wanted().filter_map(|offset| found.get(&offset)).map(|found| found.appended).min() else {
        return Ok(letters);
    };
    let log = &*means.logs.dead_letters;
    let mut at = log.seek_time(since).await?;
    while letters.len() < wanted().count() {
        let page = match log.read(at, ReadLimit::default()).await {
            Ok(page) => page,
            Err(ReadError::Trimmed { first, .. }) if first > at => {
                at = first;
                continue;
            }
            Err(error) => return Err(error),
        };
        for record in &page.records {
            let Ok(letter) = DeadLetter::from_event(&record.event) else { continue };
            if letter.trigger == means.key && wanted().any(|offset| offset == letter.offset) {
                letters.insert(letter.offset, record.offset);
            }
        }
        if page.next <= at {
            break;
        }
        at = page.next;
    }
    Ok(letters)
}
