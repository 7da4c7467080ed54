//! The figures as a page of Markdown, each beside its yardstick.

use std::fmt::Write as _;

use crate::figures::{Figures, Rate};
use crate::matching::{EXPRESSION, Row};

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn micros(seconds: f64) -> String {
    thousands(seconds * 1e6)
}

fn nanos(seconds: f64) -> String {
    thousands(seconds * 1e9)
}

fn percent(part: f64, whole: f64) -> String {
    format!("{:.0} %", 100.0 * part / whole)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The page.
pub(crate) fn markdown(figures: &Figures, machine: &str, quick: bool) -> String {
    let mut text = String::from("# Benchmarks\n\n");
    let command = if quick {
        "cargo run --release -p tests --bin bench -- --quick"
    } else {
        "cargo run --release -p tests --bin bench"
    };
    let _ = writeln!(text, "Made by `{command}`, all in one run, everything on one machine:\n{machine}.\n");
    let rounds = if quick { "Each rate is a single short run" } else { "Rates are medians of several runs" };
    let _ = writeln!(
        text,
        "Events are 1 KiB, binary mode. One load generator loads every server, and each server is a process of its own;\n\
         generator, broker and subscriber share the cores. {rounds}. The yardsticks do less on\n\
         purpose: `axum` answers 202 and keeps nothing, `axum + client` passes each event on and keeps nothing.\n",
    );
    targets(&mut text, figures);
    ingest(&mut text, figures);
    delivery(&mut text, figures);
    text.push('\n');
    text.push_str(&filters(&figures.filters));
    text
}

/// A target, what was reached, whether that is enough.
fn targets(text: &mut String, figures: &Figures) {
    text.push_str("## Targets\n\n| what | target | reached | |\n|---|---|---|---|\n");
    let mut row = |what: &str, target: &str, reached: String, enough: bool| {
        let _ = writeln!(text, "| {what} | {target} | {reached} | {} |", if enough { "yes" } else { "**no**" });
    };
    if let Some(at_64) = figures.ingest_at(64) {
        let ratio = at_64.reveille.events / at_64.axum.events;
        row("durable ingest, 64 connections", "≥ 75 % of bare axum", percent(ratio, 1.0), ratio >= 0.75);
    }
    let ratio = figures.one_subscriber / figures.forward.events;
    row(
        "ingest and delivery to one subscriber",
        "≥ 60 % of axum + client without a log",
        percent(ratio, 1.0),
        ratio >= 0.6,
    );
    let batched = figures.batched.events;
    row(
        "batched ingest, 100 a request",
        "≥ 300,000 events/s",
        format!("{}/s", thousands(batched)),
        batched >= 300_000.0,
    );
    if let Some(alone) = figures.ingest_at(1) {
        let ratio = alone.reveille.p50 / figures.disk.p50;
        row("acknowledgement, median, one connection", "≤ 3 × a lone fdatasync", format!("{ratio:.1} ×"), ratio <= 3.0);
    }
    let what = format!("memory with {} events of backlog", thousands(figures.backlog as f64));
    row(&what, "< 100 MiB", mebibytes(figures.resident), figures.resident < 100 << 20);
    let slowest = |of: fn(&Row) -> f64| figures.filters.iter().map(of).fold(0.0, f64::max);
    let (cesql, ratio) = (slowest(|row| row.cesql), slowest(|row| row.cesql / row.native));
    let reached = format!("{} ns, {ratio:.1} ×", nanos(cesql));
    let enough = cesql <= 150e-9 && ratio <= 3.0;
    row("a CESQL filter, for one event", "≤ 150 ns, ≤ 3 × exact and prefix", reached, enough);
    text.push('\n');
}

fn rate_cells(rate: &Rate) -> String {
    format!("{} | {} | {}", thousands(rate.events), micros(rate.p50), micros(rate.p99))
}

fn ingest(text: &mut String, figures: &Figures) {
    text.push_str("## Ingest\n\nTimes are from request to answer, in µs.\n\n");
    text.push_str("| connections | axum, events/s | p50 | p99 | Reveille, events/s | p50 | p99 | of axum |\n");
    text.push_str("|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for row in &figures.ingest {
        let ratio = percent(row.reveille.events, row.axum.events);
        let (axum, reveille) = (rate_cells(&row.axum), rate_cells(&row.reveille));
        let _ = writeln!(text, "| {} | {axum} | {reveille} | {ratio} |", row.connections);
    }
    let _ = writeln!(text, "| 64, batches of 100 | | | | {} | |", rate_cells(&figures.batched));
    let disk = &figures.disk;
    let _ = writeln!(
        text,
        "\nThe disk alone, `write` + `fdatasync` of 1 KiB one after the other: {} a second, p50 {} µs, p99 {} µs.\n",
        thousands(disk.rate),
        micros(disk.p50),
        micros(disk.p99)
    );
}

fn delivery(text: &mut String, figures: &Figures) {
    text.push_str("## Delivery, 64 connections\n\n| what | events/s | of axum + client |\n|---|---:|---:|\n");
    let whole = figures.forward.events;
    for (what, events) in [
        ("the HTTP client alone, to one subscriber", figures.client),
        ("axum + client, no log", whole),
        ("Reveille, one subscriber: first publish to last delivery", figures.one_subscriber),
        ("Reveille, ten subscribers: deliveries", figures.ten_subscribers),
    ] {
        let _ = writeln!(text, "| {what} | {} | {} |", thousands(events), percent(events, whole));
    }
    let _ = writeln!(
        text,
        "\nCPU of the broker for 100,000 events taken in and delivered once: {:.2} s.",
        figures.cpu_per_100k
    );
    let _ = writeln!(
        text,
        "Memory of the broker with {} events (1 KiB each) waiting for a subscriber that is down: {}.",
        thousands(figures.backlog as f64),
        mebibytes(figures.resident)
    );
}

/// What one filter costs.
pub(crate) fn filters(rows: &[Row]) -> String {
    let mut text = String::from("## Filters\n\n");
    let _ = writeln!(text, "Time that one filter takes for one event: `{EXPRESSION}`, beside `exact` and `prefix`.\n");
    text.push_str("| the event | exact and prefix, ns | CESQL, ns | of native |\n|---|---:|---:|---:|\n");
    for Row { event, native, cesql } in rows {
        let _ = writeln!(text, "| {event} | {} | {} | {:.1} × |", nanos(*native), nanos(*cesql), cesql / native);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::figures::Ingest;

    fn figures(reveille: f64) -> Figures {
        let rate = |events| Rate { events, p50: 0.0003, p99: 0.002 };
        Figures {
            disk: Disk { p50: 0.0002, p99: 0.001, rate: 5000.0 },
            ingest: vec![Ingest { connections: 64, axum: rate(90_000.0), reveille: rate(reveille) }],
            batched: rate(310_000.0),
            client: 59_000.0,
            forward: rate(30_000.0),
            one_subscriber: 20_000.0,
            ten_subscribers: 40_000.0,
            cpu_per_100k: 3.5,
            filters: vec![Row { event: "passes", native: 40e-9, cesql: reveille / 1e12 }],
            backlog: 1_000_000,
            resident: 60 << 20,
        }
    }

    #[test]
    fn targets_are_judged_by_the_figures() {
        let good = markdown(&figures(80_000.0), "2 cores", false);
        assert!(good.contains("| durable ingest, 64 connections | ≥ 75 % of bare axum | 89 % | yes |"), "{good}");
        let bad = markdown(&figures(60_000.0), "2 cores", false);
        assert!(bad.contains("67 % | **no** |"), "{bad}");
        assert!(good.contains("≤ 3 × exact and prefix | 80 ns, 2.0 × | yes |"), "{good}");
        assert!(good.contains("| passes | 40 | 80 | 2.0 × |"), "{good}");
        let slow = markdown(&figures(121_000.0), "2 cores", false);
        assert!(slow.contains("121 ns, 3.0 × | **no** |"), "{slow}");
        assert!(bad.contains("| 64 | 90,000 | 300 | 2,000 | 60,000 | 300 | 2,000 | 67 % |"), "{bad}");
    }
}
