//! Log lines: to stderr, as text for people or JSON for machines, with a filter that can be changed while running.
//!
//! *Responsibility*: the format, the filter and the handle that replaces it. *Inputs*: the configuration, and
//! `NO_COLOR`. *Invariants*: one subscriber for the process, installed once by the composition root. *Not here*: what
//! is logged, metrics.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;

/// Longest filter, in bytes: room for a directive for every module.
pub const FILTER_BYTES_MAX: usize = 4096;

/// The Kubernetes client logs each error that it returns; it is logged where it is handled.
const CLIENT_ERRORS: &str = "kube_client::client::builder=off";

/// Why logging could not be set up or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("`{filter}` is no log filter: {reason}; write a level (info) or directives (info,broker::deliver=debug)")]
    Filter {
        /// What was asked for, cut short.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else has taken the process's log already, or it is gone.
    #[error("logging: {0}")]
    Unavailable(String),
}

/// Reads and replaces the log filter of the running process. Clones share it.
#[derive(Debug, Clone)]
pub struct TelemetryHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
}

impl TelemetryHandle {
    /// The filter in force.
    #[must_use]
    pub fn filter(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// [`TelemetryError::Filter`] when the text is no filter; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), TelemetryError> {
        let parsed = parse(filter)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(parsed).map_err(|error| TelemetryError::Unavailable(error.to_string()))?;
        filter.trim().clone_into(&mut current);
        Ok(())
    }
}

/// Sends the process's log lines to stderr. Colours are used on a terminal, unless `NO_COLOR` is set.
///
/// # Errors
/// [`TelemetryError::Filter`] when `filter` is none; [`TelemetryError::Unavailable`] when called twice.
pub fn init(format: LogFormat, filter: &str) -> Result<TelemetryHandle, TelemetryError> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colors = !no_color && std::io::stderr().is_terminal();
    let (subscriber, handle) = build(format, filter, colors, std::io::stderr)?;
    subscriber.try_init().map_err(|error| TelemetryError::Unavailable(error.to_string()))?;
    Ok(handle)
}

/// The subscriber and its handle, without installing it.
pub(crate) fn build<W>(
    format: LogFormat,
    filter: &str,
    colors: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, TelemetryHandle), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (layer, reload) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(writer).with_ansi(colors);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let handle = TelemetryHandle { filter: reload, current: Arc::new(Mutex::new(filter.trim().to_owned())) };
    Ok((Registry::default().with(layer).with(lines), handle))
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let refuse = |reason: &str| TelemetryError::Filter {
        filter: filter.trim().chars().take(80).collect(),
        reason: reason.to_owned(),
    };
    if filter.trim().is_empty() {
        return Err(refuse("it is empty"));
    }
    if filter.len() > FILTER_BYTES_MAX {
        return Err(refuse("it is longer than 4096 bytes"));
    }
    let filter = EnvFilter::try_new(filter.trim()).map_err(|error| refuse(&error.to_string()))?;
    match CLIENT_ERRORS.parse() {
        Ok(directive) => Ok(filter.add_directive(directive)),
        Err(_) => Ok(filter),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What was logged, for a test to look at.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    fn logging(format: LogFormat, colors: bool, work: impl FnOnce(&Lines, &TelemetryHandle)) {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, handle) = build(format, "info", colors, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || work(&lines, &handle));
    }

    #[test]
    fn lines_are_text_or_json() {
        logging(LogFormat::Text, false, |lines, _| {
            tracing::warn!(trigger = "ns/a", "late");
            let text = lines.take();
            assert!(text.contains("WARN") && text.contains("late trigger=\"ns/a\""), "{text}");
            assert!(!text.contains('\u{1b}'), "no colours: {text}");
        });
        logging(LogFormat::Json, true, |lines, _| {
            tracing::info!(trigger = "ns/a", offset = 7, "settled");
            let line: serde_json::Value = serde_json::from_str(&lines.take()).unwrap();
            assert_eq!((&line["message"], &line["trigger"]), (&"settled".into(), &"ns/a".into()));
            assert_eq!((&line["offset"], &line["level"]), (&7.into(), &"INFO".into()));
        });
        logging(LogFormat::Text, true, |lines, _| {
            tracing::info!("colourful");
            assert!(lines.take().contains('\u{1b}'));
        });
    }

    #[test]
    fn the_filter_can_be_changed() {
        logging(LogFormat::Text, false, |lines, handle| {
            tracing::debug!("hidden");
            assert_eq!(lines.take(), "");
            handle.set_filter(" info,broker=debug ").unwrap();
            assert_eq!(handle.filter(), "info,broker=debug");
            tracing::debug!("shown");
            assert!(lines.take().contains("shown"));
            for bad in ["", "  ", "broker=loud", "a=b=c", &"x".repeat(FILTER_BYTES_MAX + 1)] {
                let error = handle.set_filter(bad).unwrap_err();
                assert!(matches!(error, TelemetryError::Filter { .. }), "{bad}: {error}");
            }
            assert_eq!(handle.filter(), "info,broker=debug", "a bad filter changes nothing");
        });
    }

    #[test]
    fn a_bad_filter_is_refused_at_the_start() {
        let error = init(LogFormat::Text, "broker=loud").unwrap_err();
        assert!(error.to_string().starts_with("`broker=loud` is no log filter: "), "{error}");
    }
}
