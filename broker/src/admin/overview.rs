//! Brokers and Triggers, and how they stand.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemas::admin::{BrokerItem, Lag, List, OrphanDetail, TriggerItem, TriggerState};

use super::AdminParts;
use super::extract::{Parameters, Segments};
use super::refusal::Refusal;
use crate::clock::UnixMicros;
use crate::dispatch::status::TriggerStatus;
use crate::log::{Bounds, Health, Orphan};
use crate::names::{BrokerKey, TriggerKey};
use crate::triggers::{Table, TriggerEntry};
use crate::wake::WakeState;

/// `GET /api/v1/brokers`
pub(super) async fn brokers(
    State(parts): State<Arc<AdminParts>>,
    parameters: Parameters,
) -> Result<Json<List<BrokerItem>>, Refusal> {
    parameters.only(&["namespace"])?;
    let table = parts.table.current();
    let mut keys: BTreeSet<BrokerKey> = table.brokers.keys().cloned().collect();
    keys.extend(parts.logs.all().iter().map(|logs| logs.key.clone()));
    let wanted = |key: &&BrokerKey| parameters.get("namespace").is_none_or(|ns| key.namespace.as_str() == ns);
    let mut items: Vec<_> = keys.iter().filter(wanted).map(|key| broker_item(&parts, &table, key)).collect();
    // One that has just come back is no orphan any more.
    let orphans = parts.orphans.all();
    let gone = orphans.iter().filter(|orphan| !keys.contains(&orphan.key) && wanted(&&orphan.key));
    items.extend(gone.map(orphan_item));
    items.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(Json(List { items }))
}

/// `GET /api/v1/brokers/{namespace}/{name}`
pub(super) async fn broker(
    State(parts): State<Arc<AdminParts>>,
    Segments((namespace, name)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Json<BrokerItem>, Refusal> {
    parameters.only(&[])?;
    let table = parts.table.current();
    let key = BrokerKey::parse(&namespace, &name).ok();
    let known = |key: &BrokerKey| table.brokers.contains_key(key) || parts.logs.get(&namespace, &name).is_some();
    let orphans = parts.orphans.all();
    if let Some(orphan) = orphans.iter().find(|orphan| key.as_ref() == Some(&orphan.key) && !known(&orphan.key)) {
        return Ok(Json(orphan_item(orphan)));
    }
    let key = key.filter(known).ok_or_else(|| {
        Refusal::not_found(format!(
            "there is no Broker {namespace}/{name}; `reveille brokers ls` lists those there are"
        ))
    })?;
    Ok(Json(broker_item(&parts, &table, &key)))
}

fn broker_item(parts: &AdminParts, table: &Table, key: &BrokerKey) -> BrokerItem {
    let logs = parts.logs.get(key.namespace.as_str(), key.name.as_str());
    let bounds = logs.as_ref().map(|logs| logs.events.bounds()).unwrap_or_default();
    let letters = logs.as_ref().map(|logs| logs.dead_letters.bounds()).unwrap_or_default();
    let health = match logs.as_ref().map(|logs| logs.events.health()) {
        Some(Health::Writable) => "writable".to_owned(),
        Some(Health::Full(why)) => format!("full: {why}"),
        Some(Health::Poisoned(why)) => format!("stopped after a failed write: {why}"),
        None => "not open; the broker's own log says why".to_owned(),
    };
    BrokerItem {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        first_offset: bounds.first.0,
        next_offset: bounds.next.0,
        bytes: bounds.bytes,
        oldest: bounds.oldest.map(UnixMicros::to_rfc3339),
        newest: bounds.newest.map(UnixMicros::to_rfc3339),
        triggers: table.brokers.get(key).map_or(0, |broker| broker.triggers.len() as u64),
        dead_letters: letters.next.0.saturating_sub(letters.first.0),
        health,
        orphaned: None,
    }
}

fn orphan_item(orphan: &Orphan) -> BrokerItem {
    let bounds = orphan.bounds.unwrap_or_default();
    let until = orphan.until.to_rfc3339();
    let held_by: Vec<String> = orphan.held_by.iter().map(ToString::to_string).collect();
    let health = match held_by.as_slice() {
        [] => format!("orphaned: the Broker is gone; its log is removed after {until}"),
        held => format!(
            "orphaned: the Broker is gone; its log stays while these Triggers have events to get from it: {}; make the \
             Broker again, or delete them",
            held.join(", ")
        ),
    };
    BrokerItem {
        namespace: orphan.key.namespace.to_string(),
        name: orphan.key.name.to_string(),
        first_offset: bounds.first.0,
        next_offset: bounds.next.0,
        bytes: orphan.disk_bytes,
        oldest: bounds.oldest.map(UnixMicros::to_rfc3339),
        newest: bounds.newest.map(UnixMicros::to_rfc3339),
        triggers: 0,
        dead_letters: orphan.dead_letters,
        health,
        orphaned: Some(OrphanDetail { since: orphan.since.to_rfc3339(), until, held_by }),
    }
}

/// `GET /api/v1/triggers`
pub(super) async fn triggers(
    State(parts): State<Arc<AdminParts>>,
    parameters: Parameters,
) -> Result<Json<List<TriggerItem>>, Refusal> {
    parameters.only(&["namespace", "broker"])?;
    let table = parts.table.current();
    let same = |name, value: &str| parameters.get(name).is_none_or(|wanted| wanted == value);
    let all = table.brokers.values().flat_map(|broker| broker.triggers.values());
    let wanted = all.filter(|trigger| {
        same("namespace", trigger.key.namespace.as_str()) && same("broker", trigger.broker.name.as_str())
    });
    let mut items: Vec<_> = wanted.map(|trigger| trigger_item(&parts, trigger)).collect();
    items.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(Json(List { items }))
}

/// `GET /api/v1/triggers/{namespace}/{name}`
pub(super) async fn trigger(
    State(parts): State<Arc<AdminParts>>,
    Segments((namespace, name)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Json<TriggerItem>, Refusal> {
    parameters.only(&[])?;
    let table = parts.table.current();
    let key = TriggerKey::parse(&namespace, &name).ok();
    let entry = key.and_then(|key| table.brokers.values().find_map(|broker| broker.triggers.get(&key)));
    let entry = entry.ok_or_else(|| {
        let detail = format!("there is no Trigger {namespace}/{name}; `reveille triggers ls` lists those there are");
        Refusal::not_found(detail)
    })?;
    Ok(Json(trigger_item(&parts, entry)))
}

fn trigger_item(parts: &AdminParts, trigger: &TriggerEntry) -> TriggerItem {
    let logs = parts.logs.get(trigger.broker.namespace.as_str(), trigger.broker.name.as_str());
    let bounds = logs.as_ref().map(|logs| logs.events.bounds());
    let status = parts.board.get(&trigger.key);
    let closed = logs.is_none().then(|| format!("the log of Broker {} is not open", trigger.broker));
    TriggerItem {
        namespace: trigger.key.namespace.to_string(),
        name: trigger.key.name.to_string(),
        broker: trigger.broker.name.to_string(),
        subscriber: trigger.subscriber.shown().to_owned(),
        state: if closed.is_some() { TriggerState::Failing } else { state_of(status.as_ref()) },
        lag: lag(status.as_ref(), bounds.unwrap_or_default(), parts.clock.now()),
        in_flight: status.as_ref().map_or(0, |status| status.in_flight),
        retrying: status.as_ref().map_or(0, |status| status.retrying),
        dead_letters: status.as_ref().map_or(0, |status| status.dead_letters),
        last_error: closed.or_else(|| status.and_then(|status| status.last_error)),
    }
}

fn state_of(status: Option<&TriggerStatus>) -> TriggerState {
    let Some(status) = status else { return TriggerState::Awake };
    match status.wake {
        Some(WakeState::Failed) => TriggerState::Failing,
        _ if status.failing => TriggerState::Failing,
        Some(WakeState::Asleep) => TriggerState::Asleep,
        Some(WakeState::Waking) => TriggerState::Waking,
        Some(WakeState::Awake) | None => TriggerState::Awake,
    }
}

fn lag(status: Option<&TriggerStatus>, bounds: Bounds, now: UnixMicros) -> Lag {
    let Some(status) = status else { return Lag { events: 0, bytes: 0, oldest_seconds: 0.0 } };
    let lag = status.lag(&bounds);
    Lag {
        events: lag.events,
        bytes: lag.bytes,
        oldest_seconds: status.oldest_unsettled.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()),
    }
}

/// `GET /api/v1/faults`
pub(super) async fn faults(
    State(parts): State<Arc<AdminParts>>,
    parameters: Parameters,
) -> Result<Json<List<String>>, Refusal> {
    parameters.only(&[])?;
    Ok(Json(List { items: (parts.faults)() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Offset;

    fn status(scanned: u64, unsettled: u64, wake: Option<WakeState>, failing: bool) -> TriggerStatus {
        TriggerStatus {
            broker: BrokerKey::parse("ns", "b").unwrap(),
            began: Offset(0),
            scanned: Offset(scanned),
            floor: Offset(0),
            letters_floor: None,
            unsettled,
            retrying: 0,
            in_flight: 0,
            dead_letters: 0,
            wake,
            failing,
            last_error: None,
            oldest_unsettled: (unsettled > 0).then_some(UnixMicros(1_000_000)),
        }
    }

    #[test]
    fn states() {
        for (wake, failing, expected) in [
            (None, false, TriggerState::Awake),
            (None, true, TriggerState::Failing),
            (Some(WakeState::Asleep), false, TriggerState::Asleep),
            (Some(WakeState::Waking), false, TriggerState::Waking),
            (Some(WakeState::Awake), true, TriggerState::Failing),
            (Some(WakeState::Failed), false, TriggerState::Failing),
        ] {
            assert_eq!(state_of(Some(&status(0, 0, wake, failing))), expected, "{wake:?} {failing}");
        }
        assert_eq!(state_of(None), TriggerState::Awake);
    }

    #[test]
    fn lag_counts_what_waits_and_what_was_not_read() {
        let bounds = Bounds { first: Offset(10), next: Offset(110), bytes: 5_000, ..Bounds::default() };
        let seen = lag(Some(&status(100, 2, None, false)), bounds, UnixMicros(3_500_000));
        assert_eq!(seen, Lag { events: 12, bytes: 600, oldest_seconds: 2.5 });
        let none = lag(Some(&status(110, 0, None, false)), bounds, UnixMicros(3_500_000));
        assert_eq!(none, Lag { events: 0, bytes: 0, oldest_seconds: 0.0 });
    }
}
