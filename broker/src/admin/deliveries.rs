//! One event, and what became of it at every Trigger.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemas::admin::{Attempt, Delivery, DeliveryState, EventDetail};

use super::AdminParts;
use super::extract::{Parameters, Segments, logs_of};
use super::refusal::Refusal;
use super::stream::event_item;
use crate::dead_letter::{DeadLetter, Reason};
use crate::dispatch::status::{AttemptRecord, TriggerStatus};
use crate::log::{BrokerLogs, EventLog, Offset, ReadError, ReadLimit, Record};
use crate::names::TriggerKey;
use crate::state::Cursor;
use crate::triggers::{StartPosition, TriggerEntry};
use crate::wake::WakeState;

/// Records per step of the search for an id, newest first: one page of the log.
const SEARCH_RECORDS: u64 = 1024;

/// `GET …/events/{which}`: an offset as `#7`, or an id (the newest event of that id; `source` tells apart).
pub(super) async fn event(
    State(parts): State<Arc<AdminParts>>,
    Segments((namespace, name, which)): Segments<(String, String, String)>,
    parameters: Parameters,
) -> Result<Json<EventDetail>, Refusal> {
    parameters.only(&["source"])?;
    let logs = logs_of(&parts, &namespace, &name)?;
    let found = match which.strip_prefix('#') {
        Some(text) => {
            let offset = text.parse().map_err(|_| {
                Refusal::parameter("which", format!("`{which}` is no offset; write # and a number, such as #1000"))
            })?;
            at_offset(&*logs.events, Offset(offset)).await?
        }
        None => by_id(&*logs.events, &which, parameters.get("source")).await?,
    };
    let record = found.ok_or_else(|| {
        Refusal::not_found(format!("Broker {namespace}/{name} keeps no event {which}; `reveille events ls` lists them"))
    })?;
    let deliveries = deliveries(&parts, &logs, &record).await?;
    let item = event_item(&record);
    Ok(Json(EventDetail { offset: item.offset, appended: item.appended, event: item.event, deliveries }))
}

async fn at_offset(log: &dyn EventLog, offset: Offset) -> Result<Option<Record>, Refusal> {
    if offset >= log.bounds().next {
        return Ok(None);
    }
    let page = log.read(offset, ReadLimit { records: 1, bytes: 1 }).await?;
    Ok(page.records.into_iter().find(|record| record.offset == offset))
}

/// Walks the log from its end; an id that people ask for is most often a recent one.
async fn by_id(log: &dyn EventLog, id: &str, source: Option<&str>) -> Result<Option<Record>, ReadError> {
    let first = log.bounds().first;
    let mut end = log.bounds().next;
    while end > first {
        let start = Offset(end.0.saturating_sub(SEARCH_RECORDS)).max(first);
        let mut newest = None;
        let mut next = start;
        while next < end {
            let page = log.read(next, ReadLimit::default()).await?;
            let wanted = |record: &Record| {
                record.offset < end
                    && record.event.id() == id
                    && source.is_none_or(|source| record.event.source() == source)
            };
            newest = page.records.into_iter().rfind(wanted).or(newest);
            if page.next <= next {
                break;
            }
            next = page.next;
        }
        if newest.is_some() {
            return Ok(newest);
        }
        end = start;
    }
    Ok(None)
}

async fn deliveries(parts: &AdminParts, logs: &BrokerLogs, record: &Record) -> Result<Vec<Delivery>, Refusal> {
    let table = parts.table.current();
    let Some(broker) = table.brokers.get(&logs.key) else { return Ok(Vec::new()) };
    let dead = dead_at(&*logs.dead_letters, record).await?;
    let cursors = parts.state.load_cursors().await.unwrap_or_else(|error| {
        // The board alone still tells most of it.
        tracing::warn!(%error, "cannot read cursors for the admin API");
        Vec::new()
    });
    let deliveries = broker.triggers.values().map(|trigger| {
        let attempts = parts.board.attempts(&trigger.key, record.offset);
        let status = parts.board.get(&trigger.key);
        let cursor = cursors.iter().find(|(key, cursor)| *key == trigger.key && cursor.broker == logs.key);
        let facts = Facts {
            status: status.as_ref(),
            cursor: cursor.map(|(_, cursor)| cursor),
            dead: dead.contains(&trigger.key),
            attempts: &attempts,
        };
        Delivery {
            trigger: trigger.key.to_string(),
            state: state_of(trigger, record, &facts),
            attempts: attempts.iter().map(attempt_item).collect(),
        }
    });
    Ok(deliveries.collect())
}

fn attempt_item(attempt: &AttemptRecord) -> Attempt {
    Attempt {
        at: attempt.at.to_rfc3339(),
        endpoint: attempt.endpoint.to_string(),
        code: attempt.code,
        seconds: attempt.seconds,
        error: attempt.error.clone(),
    }
}

/// The Triggers at which the event is a dead letter. A dead letter is younger than its event, so the search begins
/// at the event's append time.
async fn dead_at(letters: &dyn EventLog, record: &Record) -> Result<BTreeSet<TriggerKey>, ReadError> {
    let mut dead = BTreeSet::new();
    let end = letters.bounds().next;
    let mut next = letters.seek_time(record.appended).await?;
    while next < end {
        let page = letters.read(next, ReadLimit::default()).await?;
        for stored in &page.records {
            // A reply that ran out of hops is filed under the event it answers, which was delivered.
            if let Ok(letter) = DeadLetter::from_event(&stored.event)
                && letter.offset == record.offset
                && letter.reason != Reason::HopLimit
            {
                dead.insert(letter.trigger);
            }
        }
        if page.next <= next {
            break;
        }
        next = page.next;
    }
    Ok(dead)
}

/// What is known of one event at one Trigger.
struct Facts<'a> {
    status: Option<&'a TriggerStatus>,
    cursor: Option<&'a Cursor>,
    dead: bool,
    attempts: &'a [AttemptRecord],
}

/// Where an event stands at a Trigger. Pure.
fn state_of(trigger: &TriggerEntry, record: &Record, facts: &Facts<'_>) -> DeliveryState {
    if !trigger.filter.matches(&record.event) || begins_after(trigger.start, record, facts) {
        return DeliveryState::Filtered;
    }
    if facts.dead {
        return DeliveryState::Dead;
    }
    if settled(record.offset, facts) {
        return DeliveryState::Delivered;
    }
    let failed = facts.attempts.last().is_some_and(|attempt| attempt.error.is_some());
    let unsettled = facts.cursor.and_then(|cursor| cursor.unsettled.iter().find(|u| u.offset == record.offset));
    let asleep = facts.status.is_some_and(|status| matches!(status.wake, Some(WakeState::Asleep | WakeState::Waking)));
    if failed || unsettled.is_some_and(|unsettled| unsettled.attempts > 0) {
        DeliveryState::Retrying
    } else if asleep {
        DeliveryState::Asleep
    } else {
        DeliveryState::Pending
    }
}

/// Whether the event was done with. The board is of now but has only the ends of the window; the cursor has the
/// whole window, but may be one flush interval old.
fn settled(offset: Offset, facts: &Facts<'_>) -> bool {
    let Some(status) = facts.status else {
        let known = facts.cursor.filter(|cursor| offset < cursor.scanned);
        return known.is_some_and(|cursor| cursor.unsettled.iter().all(|u| u.offset != offset));
    };
    if offset >= status.scanned {
        return false;
    }
    if offset < status.floor || status.unsettled == 0 {
        return true;
    }
    match facts.attempts.last() {
        Some(attempt) => attempt.error.is_none(),
        None => facts.cursor.is_some_and(|cursor| {
            offset < cursor.scanned && cursor.unsettled.iter().all(|unsettled| unsettled.offset != offset)
        }),
    }
}

/// Whether the Trigger began after the event. Where it began is kept with its cursor; its start position alone would
/// not tell (`latest`), and may have been changed since.
fn begins_after(start: StartPosition, record: &Record, facts: &Facts<'_>) -> bool {
    let began = facts.status.map(|status| status.began).or_else(|| facts.cursor.map(|cursor| cursor.began));
    match (began, start) {
        (Some(began), _) if began > Offset(0) => record.offset < began,
        (_, StartPosition::At(moment)) => record.appended < moment,
        (_, StartPosition::Offset(offset)) => record.offset < offset,
        // A worker that has not begun yet is going to begin at the end.
        (None, StartPosition::Latest) => true,
        (_, StartPosition::Earliest | StartPosition::Latest | StartPosition::Resume(_)) => false,
    }
}
