//! Log lines: to stderr, as text for people or JSON for machines. *Not here*: what is logged, metrics.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::LogFormat;

/// Sends the process's log lines to stderr. Colours are used on a terminal, unless `NO_COLOR` is set.
///
/// # Errors
/// When `levels` is no log filter, or another log is installed.
pub(crate) fn init(format: LogFormat, levels: &str) -> anyhow::Result<()> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(!no_color && std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Registry::default().with(EnvFilter::try_new(levels.trim())?).with(lines).try_init()?;
    Ok(())
}
