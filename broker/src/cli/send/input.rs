//! Where the events to send come from: flags, or lines of JSON.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::SendArgs;
use crate::cli::fault::Fault;
use crate::event::{BodyKind, Event, SpecVersion, ValueKind, decode, json};

/// Longest line, in bytes: the largest request that a broker can be told to take.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Events one after the other.
pub(super) enum Input {
    /// The same event again, `left` times; with a new id each time, unless one was given.
    Flags { event: Event, fresh_ids: bool, left: u64 },
    /// A line each.
    Lines { reader: Box<dyn BufRead>, name: String, line: u64, done: bool },
}

/// A line of `events export`.
#[derive(Deserialize)]
struct Exported<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
    /// Only our own lines have it; a CloudEvent may have an attribute called `event`.
    #[serde(rename = "offset")]
    _offset: u64,
}

/// The input that the arguments ask for.
pub(super) fn open(args: &SendArgs) -> Result<Input, Fault> {
    let Some(path) = &args.file else {
        let event = from_flags(args)?;
        return Ok(Input::Flags { event, fresh_ids: args.id.is_none(), left: args.count.get() });
    };
    let (reader, name): (Box<dyn BufRead>, _) = if path == Path::new("-") {
        (Box::new(BufReader::new(io::stdin())), "stdin".to_owned())
    } else {
        let file = File::open(path);
        let file = file.map_err(|error| Fault::usage(format!("--file: cannot read {}: {error}", path.display())))?;
        (Box::new(BufReader::new(file)), path.display().to_string())
    };
    Ok(Input::Lines { reader, name, line: 0, done: false })
}

fn from_flags(args: &SendArgs) -> Result<Event, Fault> {
    let id = args.id.clone().unwrap_or_else(new_id);
    let mut attributes = vec![("id".to_owned(), id)];
    attributes.extend(args.source.iter().map(|source| ("source".to_owned(), source.clone())));
    attributes.extend(args.ty.iter().map(|ty| ("type".to_owned(), ty.clone())));
    attributes.extend(args.subject.iter().map(|subject| ("subject".to_owned(), subject.clone())));
    for pair in &args.attr {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Fault::usage(format!("--attr `{pair}` has no value; write --attr {pair}=VALUE")))?;
        attributes.push((name.to_owned(), value.to_owned()));
    }
    let data = args.data.as_deref().map(read_data).transpose()?;
    if data.is_some() {
        attributes.push(("datacontenttype".to_owned(), args.content_type.clone()));
    }
    check(&attributes)?;
    let mut builder = Event::builder(SpecVersion::V1);
    for (name, value) in &attributes {
        builder.push(name, value, ValueKind::String);
    }
    if let Some(data) = data {
        let json = args.content_type.eq_ignore_ascii_case("application/json");
        if json && serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_err() {
            let hint = "--data is no JSON; quote it as in --data '{\"n\":1}', or say what it is with --content-type text/plain";
            return Err(Fault::usage(hint));
        }
        builder = builder.body(BodyKind::Binary, data);
    }
    builder.build().map_err(|error| Fault::usage(error.to_string()))
}

fn read_data(text: &str) -> Result<Bytes, Fault> {
    match text.strip_prefix('@') {
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(path) => match std::fs::read(path) {
            Ok(data) => Ok(data.into()),
            Err(error) => Err(Fault::usage(format!("--data: cannot read {path}: {error}"))),
        },
    }
}

/// The attributes by the rules that the broker has, so that a fault is told before anything is sent.
fn check(attributes: &[(String, String)]) -> Result<(), Fault> {
    let mut members = serde_json::Map::from_iter([("specversion".to_owned(), "1.0".into())]);
    for (name, value) in attributes {
        if members.insert(name.clone(), value.clone().into()).is_some() {
            return Err(Fault::usage(format!("attribute `{name}` is given twice")));
        }
    }
    let text = serde_json::Value::Object(members).to_string();
    let decoded = decode::decode_structured("application/cloudevents+json", text.into());
    decoded.map(drop).map_err(|error| Fault::usage(error.to_string()))
}

/// Ids that sort by time.
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Input {
    /// Whether nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Flags { left, .. } => *left == 0,
            Self::Lines { done, .. } => *done,
        }
    }
}

impl Iterator for Input {
    type Item = Result<Event, Fault>;

    fn next(&mut self) -> Option<Result<Event, Fault>> {
        match self {
            Self::Flags { left: 0, .. } => None,
            Self::Flags { event, fresh_ids, left } => {
                *left -= 1;
                if *fresh_ids {
                    *event = event.with_attributes(&[("id", &new_id())], &[]);
                }
                Some(Ok(event.clone()))
            }
            Self::Lines { reader, name, line, done } => {
                let next = next_line(reader, name, line);
                *done = next.is_none();
                next
            }
        }
    }
}

fn next_line(reader: &mut dyn BufRead, name: &str, number: &mut u64) -> Option<Result<Event, Fault>> {
    loop {
        let mut text = Vec::new();
        *number += 1;
        match reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut text) {
            Ok(0) => return None,
            Ok(_) if text.trim_ascii().is_empty() => {}
            Ok(_) => {
                let text = text.trim_ascii();
                let exported = serde_json::from_slice::<Exported<'_>>(text);
                let event = exported.as_ref().map_or(text, |line| line.event.get().as_bytes());
                let event = json::from_json_slice(event);
                return Some(event.map_err(|error| Fault::usage(format!("{name}, line {number}: {error}"))));
            }
            // The next read would fail in the same way.
            Err(error) => {
                eprintln!("error: cannot read {name} further: {error}");
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static str) -> Vec<Result<String, String>> {
        let reader = Box::new(text.as_bytes());
        let input = Input::Lines { reader, name: "f".to_owned(), line: 0, done: false };
        input.map(|event| event.map(|event| event.id().to_owned()).map_err(|fault| fault.to_string())).collect()
    }

    #[test]
    fn lines_are_events_or_exported_items() {
        let found = lines(
            "{\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"/s\",\"type\":\"t\"}\n\n\
             {\"offset\":7,\"appended\":\"x\",\"event\":{\"specversion\":\"1.0\",\"id\":\"b\",\"source\":\"/s\",\"type\":\"t\"}}\n\
             {\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/s\",\"type\":\"t\"}\n\
             {\"specversion\":\"1.0\",\"id\":\"c\",\"source\":\"/s\",\"type\":\"t\"}",
        );
        assert_eq!(found.len(), 4);
        assert_eq!((&found[0], &found[1], &found[3]), (&Ok("a".into()), &Ok("b".into()), &Ok("c".into())));
        let fault = found[2].as_ref().unwrap_err();
        assert!(fault.starts_with("f, line 4: ") && fault.contains("id"), "{fault}");
    }
}
