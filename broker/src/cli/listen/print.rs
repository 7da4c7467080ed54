//! Items as text.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Output;
use crate::clock::UnixMicros;
use crate::event::Event;
use crate::event::json::to_raw_json;

/// Longest part of an event's data in a line for people, in characters.
const DATA_CHARS_MAX: usize = 80;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) output: Output,
    pub(super) colour: bool,
}

/// What a request held, and how it was answered.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) received: UnixMicros,
    pub(super) code: u16,
    /// An event, or what was there instead.
    pub(super) content: Result<Event, String>,
}

#[derive(Serialize)]
struct Json<'a> {
    received: String,
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> Json<'a> {
    fn of(item: &'a Item) -> Self {
        let (event, error) = match &item.content {
            Ok(event) => (Some(to_raw_json(event)), None),
            Err(error) => (None, Some(error.as_str())),
        };
        Self { received: item.received.to_rfc3339(), code: item.code, event, error }
    }
}

/// One item, with the end of its line.
pub(super) fn text(item: &Item, style: Style) -> String {
    let mut text = match style.output {
        Output::Table => line(item, style.colour),
        Output::Ndjson => serde_json::to_string(&Json::of(item)).unwrap_or_default(),
        Output::Json => {
            // Through a value, since the event's own text is not indented.
            let value = serde_json::to_value(Json::of(item)).unwrap_or_default();
            serde_json::to_string_pretty(&value).unwrap_or_default()
        }
    };
    text.push('\n');
    text
}

fn line(item: &Item, colour: bool) -> String {
    let received = item.received.to_rfc3339();
    let mut text = received.get(11..23).unwrap_or(&received).to_owned();
    let (on, off) = match (colour, item.code) {
        (false, _) => ("", ""),
        (true, 200..=299) => ("\u{1b}[32m", "\u{1b}[0m"),
        (true, _) => ("\u{1b}[31m", "\u{1b}[0m"),
    };
    // Writing into memory does not fail.
    let _ = write!(text, "  {on}{}{off}", item.code);
    match &item.content {
        Err(error) => {
            let _ = write!(text, "  {}", printable(error));
        }
        Ok(event) => {
            let (id, source, ty) = (printable(event.id()), printable(event.source()), printable(event.ty()));
            let _ = write!(text, "  {ty}  {source}  {id}");
            if let Some(subject) = event.subject() {
                let _ = write!(text, "  {}", printable(subject));
            }
            let _ = write!(text, "  {}", data(event));
        }
    }
    text
}

fn data(event: &Event) -> String {
    let body = event.body();
    let Ok(text) = std::str::from_utf8(body) else { return format!("({} bytes)", body.len()) };
    let mut cut: String = text.chars().take(DATA_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    printable(&cut)
}

/// Text that cannot move the cursor or change colours of the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
