//! What one filter costs for one event, in this process: CESQL beside the dialects that say the same.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use anyhow::Context as _;
use broker::event::{Event, SpecVersion};
use broker::matching::{Clause, Filter};
use tokio::time::Instant;

/// Events asked about between two looks at the clock.
const BATCH: u32 = 10_000;

/// The expression that the target is set for.
pub(crate) const EXPRESSION: &str = "type = 'a.b' AND subject LIKE 'x%'";

/// One kind of event.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Which.
    pub(crate) event: &'static str,
    /// Time for `exact` and `prefix`, in seconds; the median of the batches.
    pub(crate) native: f64,
    /// Time for [`EXPRESSION`].
    pub(crate) cesql: f64,
}

/// Asks both filters about every kind of event, each for so long.
pub(crate) fn all(run: Duration) -> anyhow::Result<Vec<Row>> {
    let exact = Clause::Exact(BTreeMap::from([("type".to_owned(), "a.b".to_owned())]));
    let prefix = Clause::Prefix(BTreeMap::from([("subject".to_owned(), "x".to_owned())]));
    let native = compiled(&[exact, prefix])?;
    let cesql = compiled(&[Clause::Cesql(EXPRESSION.to_owned())])?;
    let mut rows = Vec::new();
    for (name, ty, subject, passes) in [
        ("passes", "a.b", Some("x-17"), true),
        ("has another subject", "a.b", Some("y-17"), false),
        ("has no subject", "a.b", None, false),
        ("has another type", "a.c", Some("x-17"), false),
    ] {
        let event = event(ty, subject)?;
        anyhow::ensure!(native.matches(&event) == passes && cesql.matches(&event) == passes, "{name}: wrong answer");
        rows.push(Row { event: name, native: time(&native, &event, run)?, cesql: time(&cesql, &event, run)? });
    }
    Ok(rows)
}

fn compiled(clauses: &[Clause]) -> anyhow::Result<Filter> {
    Filter::compile(None, Some(clauses)).map_err(|faults| anyhow::anyhow!("{faults:?}"))
}

/// An event with what most have.
fn event(ty: &str, subject: Option<&str>) -> anyhow::Result<Event> {
    let mut builder = Event::builder(SpecVersion::V1)
        .attribute("id", "5f0c3c1e-6e0b-4f6c-9d0e-0d9c9a6f7b11")
        .attribute("source", "/shops/eu/7")
        .attribute("type", ty);
    if let Some(subject) = subject {
        builder = builder.attribute("subject", subject);
    }
    let builder = builder
        .attribute("time", "2026-01-01T00:00:00.123Z")
        .attribute("datacontenttype", "application/json")
        .attribute("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    builder.build().context("it has what it must have")
}

fn time(filter: &Filter, event: &Event, run: Duration) -> anyhow::Result<f64> {
    let mut batches = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < run || batches.is_empty() {
        let batch = Instant::now();
        for _ in 0..BATCH {
            black_box(black_box(filter).matches(black_box(event)));
        }
        batches.push(batch.elapsed().as_secs_f64() / f64::from(BATCH));
    }
    batches.sort_by(f64::total_cmp);
    batches.get(batches.len() / 2).copied().context("no batch was run")
}
