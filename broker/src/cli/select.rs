//! Which events: ranges and filters, as flags.

use std::path::PathBuf;

use super::connect::Parameter;
use super::fault::Fault;

/// A range of a log.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RangeArgs {
    /// First event: `#1000`, `-10` (ten back), `-2h`, `now`, or RFC 3339 [default: the first one kept]
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(super) from: Option<String>,
    /// Where to end, exclusive; as --from [default: now]
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(super) to: Option<String>,
}

/// Filters, which must all hold.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FilterArgs {
    /// Only events whose attribute has exactly this value; may be repeated
    #[arg(long, value_name = "ATTR=VALUE")]
    pub(super) filter: Vec<String>,
    /// File with a Trigger's `filters` list (YAML)
    #[arg(long, value_name = "FILE")]
    pub(super) filters: Option<PathBuf>,
    /// Only events for which this CESQL expression is true, such as "type = 'a' AND subject LIKE 'x%'"
    #[arg(long, value_name = "EXPRESSION")]
    pub(super) cesql: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
}

impl RangeArgs {
    /// As parameters of a request.
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let from = self.from.iter().map(|from| ("from", from.clone()));
        from.chain(self.to.iter().map(|to| ("to", to.clone()))).collect()
    }
}

impl FilterArgs {
    /// As parameters of a request.
    pub(super) fn parameters(&self) -> Result<Vec<Parameter>, Fault> {
        let mut parameters: Vec<Parameter> = self.filter.iter().map(|pair| ("filter", pair.clone())).collect();
        if let Some(path) = &self.filters {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Fault::usage(format!("--filters: cannot read {}: {error}", path.display())))?;
            parameters.push(("filters", text));
        }
        parameters.extend(self.cesql.iter().map(|expression| ("cesql", expression.clone())));
        parameters.extend(self.limit.iter().map(|limit| ("limit", limit.to_string())));
        Ok(parameters)
    }
}
