//! The columns of each kind of item.

use std::time::Duration;

use jiff::Timestamp;
use schemas::admin::{BrokerItem, DeadLetterItem, EventDetail, EventItem, TriggerItem};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::output::Show;

/// Longest text in a cell, in characters, where `-o wide` does not ask for all of it.
const CELL_CHARS: usize = 48;

/// The attributes that a table shows.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Brief {
    /// `id`
    #[serde(default)]
    pub(super) id: String,
    /// `source`
    #[serde(default)]
    pub(super) source: String,
    /// `type`
    #[serde(default, rename = "type")]
    pub(super) ty: String,
    /// `subject`
    #[serde(default)]
    pub(super) subject: String,
}

/// Reads the attributes of an event that a table shows.
pub(super) fn brief(event: &RawValue) -> Brief {
    serde_json::from_str(event.get()).unwrap_or_default()
}

/// The beginning of a text.
fn short(text: &str, wide: bool) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(if wide { usize::MAX } else { CELL_CHARS }).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

/// A number of bytes for people: `1.5 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(size, _)| count >= *size) {
        // Two digits of precision; what an f64 cannot hold exactly is far below them.
        Some((size, unit)) => format!("{:.1} {unit}", count as f64 / *size as f64),
        None => format!("{count} B"),
    }
}

/// A length of time for people: `3s`, `5m`, `2h`, `9d`.
pub(super) fn length(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0 if seconds > 0.0 => "<1s".to_owned(),
        0..120 => format!("{whole}s"),
        120..7200 => format!("{}m", whole / 60),
        7200..172_800 => format!("{}h", whole / 3600),
        _ => format!("{}d", whole / 86_400),
    }
}

/// A moment of the API, cut to milliseconds.
pub(super) fn moment(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(|_| text.to_owned(), |moment| format!("{moment:.3}"))
}

/// Something that may be absent.
fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

impl Show for EventItem {
    fn heads(wide: bool) -> &'static [&'static str] {
        let heads = &["OFFSET", "APPENDED", "TYPE", "SOURCE", "ID", "SUBJECT"];
        if wide { heads } else { heads.split_at(5).0 }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let Brief { id, source, ty, subject } = brief(&self.event);
        let mut cells = vec![format!("#{}", self.offset), moment(&self.appended)];
        cells.extend([ty, source, id].map(|text| short(&text, wide)));
        if wide {
            cells.push(or_dash(Some(&subject)));
        }
        cells
    }

    fn name(&self) -> String {
        format!("#{}", self.offset)
    }
}

impl Show for EventDetail {
    fn heads(_: bool) -> &'static [&'static str] {
        &["OFFSET", "APPENDED"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![format!("#{}", self.offset), moment(&self.appended)]
    }

    fn name(&self) -> String {
        format!("#{}", self.offset)
    }
}

impl Show for BrokerItem {
    fn heads(wide: bool) -> &'static [&'static str] {
        let heads =
            &["NAMESPACE", "NAME", "EVENTS", "SIZE", "TRIGGERS", "DEAD", "HEALTH", "FIRST", "NEXT", "OLDEST", "NEWEST"];
        if wide { heads } else { heads.split_at(7).0 }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.namespace.clone(),
            self.name.clone(),
            self.next_offset.saturating_sub(self.first_offset).to_string(),
            bytes(self.bytes),
            self.triggers.to_string(),
            self.dead_letters.to_string(),
            short(&self.health, wide),
        ];
        if wide {
            cells.extend([format!("#{}", self.first_offset), format!("#{}", self.next_offset)]);
            cells.extend([&self.oldest, &self.newest].map(|at| at.as_deref().map_or_else(|| "-".to_owned(), moment)));
        }
        cells
    }

    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl Show for TriggerItem {
    fn heads(wide: bool) -> &'static [&'static str] {
        let heads = &[
            "NAMESPACE",
            "NAME",
            "BROKER",
            "STATE",
            "LAG",
            "OLDEST",
            "IN FLIGHT",
            "RETRYING",
            "DEAD",
            "LAST ERROR",
            "LAG SIZE",
            "SUBSCRIBER",
        ];
        if wide { heads } else { heads.split_at(10).0 }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.namespace.clone(),
            self.name.clone(),
            self.broker.clone(),
            self.state.as_str().to_owned(),
            self.lag.events.to_string(),
            if self.lag.oldest_seconds > 0.0 { length(self.lag.oldest_seconds) } else { "-".to_owned() },
            self.in_flight.to_string(),
            self.retrying.to_string(),
            self.dead_letters.to_string(),
            short(&or_dash(self.last_error.as_deref()), wide),
        ];
        if wide {
            cells.extend([bytes(self.lag.bytes), self.subscriber.clone()]);
        }
        cells
    }

    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl Show for DeadLetterItem {
    fn heads(wide: bool) -> &'static [&'static str] {
        let heads = &[
            "ID",
            "OFFSET",
            "TRIGGER",
            "REASON",
            "CODE",
            "ATTEMPTS",
            "FAILED AT",
            "TYPE",
            "ERROR",
            "SOURCE",
            "EVENT ID",
        ];
        if wide { heads } else { heads.split_at(9).0 }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let Brief { id, source, ty, .. } = brief(&self.event);
        let mut cells = vec![
            self.id.to_string(),
            format!("#{}", self.offset),
            self.trigger.clone(),
            self.reason.clone(),
            self.code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            self.attempts.to_string(),
            moment(&self.failed_at),
            short(&ty, wide),
            short(&or_dash(self.error.as_deref()), wide),
        ];
        if wide {
            cells.extend([source, id]);
        }
        cells
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lengths_for_people() {
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")] {
            assert_eq!(bytes(count), text);
        }
        for (seconds, text) in
            [(0.0, "0s"), (0.2, "<1s"), (119.9, "119s"), (180.0, "3m"), (7200.0, "2h"), (200_000.0, "2d")]
        {
            assert_eq!(length(seconds), text);
        }
        assert_eq!(short(&"x".repeat(60), false).chars().count(), CELL_CHARS + 1);
    }
}
