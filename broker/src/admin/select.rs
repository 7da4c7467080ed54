//! Which events of a log a request asks for.

use std::collections::BTreeMap;

use schemas::cesql::Expression;
use schemas::filter::{DIALECTS, EventFilter};

use super::extract::Parameters;
use super::range::Bound;
use super::refusal::Refusal;
use crate::clock::UnixMicros;
use crate::log::{EventLog, Offset};
use crate::matching::{Clause, Filter};

/// Names of the parameters that select events.
pub(super) const EVENT_PARAMETERS: [&str; 6] = ["from", "to", "limit", "filter", "filters", "cesql"];

/// A selection: range, filter and count.
#[derive(Debug)]
pub(super) struct Selection {
    /// First offset.
    pub(super) from: Offset,
    /// One past the last.
    pub(super) to: Offset,
    /// Which of them.
    pub(super) filter: Filter,
    /// How many at the most.
    pub(super) limit: u64,
}

impl Selection {
    /// Reads `from`, `to`, `limit` and the filters; `from` is `from_default` where it is not given.
    pub(super) async fn read(
        parameters: &Parameters,
        log: &dyn EventLog,
        now: UnixMicros,
        from_default: Bound,
    ) -> Result<Self, Refusal> {
        let from = bound(parameters, "from")?.unwrap_or(from_default);
        let to = bound(parameters, "to")?.unwrap_or(Bound::Now);
        let limit = limit(parameters)?;
        let filter = filter(parameters)?;
        Ok(Self { from: from.resolve(log, now).await?, to: to.resolve(log, now).await?, filter, limit })
    }
}

fn bound(parameters: &Parameters, name: &str) -> Result<Option<Bound>, Refusal> {
    let parsed = parameters.get(name).map(str::parse::<Bound>).transpose();
    parsed.map_err(|error| Refusal::parameter(name, error.to_string()))
}

/// The parameter `limit`: how many items at the most.
pub(super) fn limit(parameters: &Parameters) -> Result<u64, Refusal> {
    let number = parameters.get("limit").map(str::parse::<u64>).transpose();
    let fault = |_| Refusal::parameter("limit", "`limit` is no number; write how many items you want at the most");
    Ok(number.map_err(fault)?.unwrap_or(u64::MAX))
}

/// The parameters `filter` (repeatable, `ATTR=VALUE`), `filters` (a Trigger's list, YAML or JSON) and `cesql` (an
/// expression), which must all hold.
fn filter(parameters: &Parameters) -> Result<Filter, Refusal> {
    let mut clauses = Vec::new();
    for pair in parameters.all("filter") {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Refusal::parameter("filter", format!("`{pair}` is no filter; write ATTR=VALUE, such as type=order.created"))
        })?;
        clauses.push(Clause::Exact(BTreeMap::from([(name.to_owned(), value.to_owned())])));
    }
    for text in parameters.all("filters") {
        let list: Vec<EventFilter> = serde_saphyr::from_str(text)
            .map_err(|error| Refusal::parameter("filters", format!("not a list of filters: {error}")))?;
        for (index, filter) in list.iter().enumerate() {
            clauses.push(
                clause(filter).map_err(|fault| Refusal::parameter("filters", format!("filters[{index}]: {fault}")))?,
            );
        }
    }
    if let Some(text) = parameters.get("cesql") {
        cesql(text).map_err(|fault| Refusal::parameter("cesql", fault))?;
        clauses.push(Clause::Cesql(text.to_owned()));
    }
    Filter::compile(None, Some(&clauses)).map_err(|faults| {
        let list: Vec<_> = faults.iter().map(ToString::to_string).collect();
        Refusal::parameter("filter", list.join("; "))
    })
}

/// A filter of the Kubernetes kind as a clause; exactly one of its fields is set.
fn clause(filter: &EventFilter) -> Result<Clause, String> {
    let EventFilter { exact, prefix, suffix, all, any, not, cesql: expression, sql } = filter;
    let list = |clauses: &[EventFilter]| clauses.iter().map(clause).collect::<Result<Vec<_>, _>>();
    let mut found = Vec::new();
    found.extend(exact.clone().map(Clause::Exact));
    found.extend(prefix.clone().map(Clause::Prefix));
    found.extend(suffix.clone().map(Clause::Suffix));
    found.extend(all.as_deref().map(list).transpose()?.map(Clause::All));
    found.extend(any.as_deref().map(list).transpose()?.map(Clause::Any));
    found.extend(not.as_deref().map(clause).transpose()?.map(|clause| Clause::Not(Box::new(clause))));
    found.extend(expression.as_deref().map(cesql).transpose()?.map(Clause::Cesql));
    found.extend(sql.as_deref().map(cesql).transpose()?.map(Clause::Sql));
    match (found.pop(), found.is_empty()) {
        (Some(clause), true) => Ok(clause),
        _ => Err(format!("give exactly one of {}", DIALECTS.join(", "))),
    }
}

/// A CESQL expression, if it can be a filter.
fn cesql(text: &str) -> Result<String, String> {
    let shown = |faults: Vec<schemas::cesql::Fault>| {
        let list: Vec<String> = faults.iter().map(|fault| fault.shown(text)).collect();
        list.join("\n")
    };
    Expression::filter(text).map(|_| text.to_owned()).map_err(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, SpecVersion};

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn filters_must_all_hold() {
        let event = Event::builder(SpecVersion::V1).attribute("id", "1").attribute("source", "/s");
        let event = event.attribute("type", "a.b").attribute("x", "y=z").build().unwrap();
        for (pairs, matches) in [
            (&[][..], true),
            (&[("filter", "type=a.b")], true),
            (&[("filter", "type=a.b"), ("filter", "source=/t")], false),
            (&[("filter", "x=y=z")], true),
            (&[("filters", "[{\"prefix\":{\"type\":\"a.\"}}]"), ("filter", "source=/s")], true),
            (&[("filters", "- any:\n  - exact: {type: q}\n  - not:\n      suffix: {type: .b}\n")], false),
            (&[("cesql", "type = 'a.b' AND x LIKE '%=z'")], true),
            (&[("cesql", "type = 'a.b'"), ("filter", "source=/t")], false),
            (&[("filters", "- cesql: type = 'a.b'\n- not: {sql: EXISTS subject}\n")], true),
        ] {
            let filter = filter(&parameters(pairs)).unwrap();
            assert_eq!(filter.matches(&event), matches, "{pairs:?}");
        }
    }

    #[test]
    fn faults_name_the_parameter() {
        for (name, value, text) in [
            ("filter", "type", "write ATTR=VALUE"),
            ("filter", "Type=x", "no attribute name"),
            ("filters", "{", "not a list of filters"),
            ("filters", "[{}]", "filters[0]: give exactly one"),
            ("filters", "[{exact: {a: b}, prefix: {a: b}}]", "filters[0]: give exactly one"),
            ("filters", "[{any: [{sql: 'type = '}]}]", "not the end\n  type = \n         ^"),
            ("filters", "[{cesql: 'true', sql: 'true'}]", "filters[0]: give exactly one"),
            ("cesql", "type = ", "not the end\n  type = \n         ^"),
            ("cesql", "NOSUCH()", "no function"),
        ] {
            let Refusal(problem) = filter(&parameters(&[(name, value)])).unwrap_err();
            assert_eq!(problem.attribute.as_deref(), Some(name), "{value}");
            assert!(problem.detail.contains(text), "{value}: {}", problem.detail);
        }
        assert!(limit(&parameters(&[("limit", "many")])).is_err());
        assert_eq!(limit(&parameters(&[("limit", "7")])).unwrap(), 7);
    }
}
