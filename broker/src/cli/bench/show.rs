//! Printing a report.

use std::fmt::Write as _;
use std::io::Write as _;

use super::{Delivery, LoadPlan, LoadReport, Output};

/// Writes the report to stdout.
pub(super) fn print(
    plan: &LoadPlan,
    report: &LoadReport,
    delivery: Option<&Delivery>,
    output: Output,
) -> anyhow::Result<()> {
    let text = match output {
        Output::Json => format!("{}\n", json(plan, report, delivery)),
        Output::Table => table(plan, report, delivery)?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)];

fn milliseconds(report: &LoadReport, quantile: f64) -> f64 {
    (report.latency_at(quantile).as_secs_f64() * 1e6).round() / 1e3
}

pub(super) fn json(plan: &LoadPlan, report: &LoadReport, delivery: Option<&Delivery>) -> serde_json::Value {
    let latency = QUANTILES.map(|(name, quantile)| (name.to_owned(), milliseconds(report, quantile).into()));
    let mut json = serde_json::json!({
        "url": plan.url,
        "connections": plan.connections,
        "events_per_request": plan.batch_events(),
        "size_bytes": plan.size_bytes,
        "seconds": report.elapsed.as_secs_f64(),
        "requests": report.requests,
        "events": report.events,
        "events_per_second": report.events_per_second().round(),
        "latency_ms": serde_json::Map::from_iter(latency),
        "errors": report.errors,
    });
    if let (Some(delivery), Some(json)) = (delivery, json.as_object_mut()) {
        let delivery = serde_json::json!({
            "delivered": delivery.delivered,
            "missing": delivery.missing,
            "duplicates": delivery.duplicates,
            "unacknowledged": delivery.unacknowledged,
            "seconds": delivery.elapsed.as_secs_f64(),
            "events_per_second": rate(delivery).round(),
        });
        json.insert("subscriber".to_owned(), delivery);
    }
    json
}

fn rate(delivery: &Delivery) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
    let events = delivery.delivered as f64;
    events / delivery.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

pub(super) fn table(
    plan: &LoadPlan,
    report: &LoadReport,
    delivery: Option<&Delivery>,
) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let per_second = report.events_per_second();
    writeln!(text, "to           {}", plan.url)?;
    writeln!(text, "accepted     {} events in {:.2} s", report.events, report.elapsed.as_secs_f64())?;
    writeln!(text, "rate         {per_second:.0} events/s over {} connections", plan.connections)?;
    write!(text, "latency     ")?;
    for (name, quantile) in QUANTILES {
        write!(text, " {} {:.3} ms", name.replace('_', "."), milliseconds(report, quantile))?;
    }
    writeln!(text)?;
    for (what, count) in &report.errors {
        writeln!(text, "error        {count} × {what}")?;
    }
    if let Some(delivery) = delivery {
        let Delivery { delivered, missing, duplicates, unacknowledged, elapsed } = delivery;
        writeln!(
            text,
            "delivered    {delivered} events in {:.2} s, {:.0} events/s",
            elapsed.as_secs_f64(),
            rate(delivery)
        )?;
        writeln!(text, "missing      {missing}")?;
        writeln!(text, "duplicates   {duplicates}")?;
        if *unacknowledged > 0 {
            writeln!(text, "unconfirmed  {unacknowledged} came though their request was not answered 2xx")?;
        }
    }
    Ok(text)
}
