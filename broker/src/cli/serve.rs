//! `reveille serve`: checks the configuration and runs the broker.

use std::io::Write;

use super::fault::Fault;
use crate::app;
use crate::config::ServeConfig;

/// Runs the broker until a signal ends it, or only prints its configuration.
pub(super) async fn run<W: Write>(config: ServeConfig, out: impl FnOnce() -> W) -> Result<(), Fault> {
    let checked = config.validate().map_err(|faults| Fault::usage(faults.to_string()));
    if config.print_config {
        let mut out = out();
        out.write_all(config.to_yaml()?.as_bytes())?;
        out.flush()?;
        return checked;
    }
    checked?;
    Ok(Box::pin(app::run(config)).await?)
}
