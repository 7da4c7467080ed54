//! From filters in Kubernetes' spelling to [`Clause`]s.

use schemas::TriggerSpec;
use schemas::filter::{DIALECTS, EventFilter};
use schemas::validate::Fault;

use crate::matching::{Clause, Filter};

/// Compiles a Trigger's filter. A filter that cannot be understood is refused, so that no event passes which nobody
/// asked for.
///
/// # Errors
/// Every fault with its path from the object's root.
pub(super) fn filter(spec: &TriggerSpec) -> Result<Filter, Vec<Fault>> {
    let mut faults = Vec::new();
    let clauses = clauses("spec.filters", &spec.filters, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let attributes = spec.filter.as_ref().and_then(|filter| filter.attributes.as_ref());
    Filter::compile(attributes, Some(&clauses)).map_err(|faults| {
        let rooted = |path: String| format!("spec.{path}");
        faults.into_iter().map(|fault| Fault { path: rooted(fault.path), message: fault.message }).collect()
    })
}

fn clauses(path: &str, filters: &[EventFilter], faults: &mut Vec<Fault>) -> Vec<Clause> {
    let each = filters.iter().enumerate();
    each.filter_map(|(index, filter)| clause(&format!("{path}[{index}]"), filter, faults)).collect()
}

fn clause(path: &str, filter: &EventFilter, faults: &mut Vec<Fault>) -> Option<Clause> {
    let mut found: Vec<Clause> = Vec::new();
    found.extend(filter.exact.clone().map(Clause::Exact));
    found.extend(filter.prefix.clone().map(Clause::Prefix));
    found.extend(filter.suffix.clone().map(Clause::Suffix));
    found.extend(filter.all.as_ref().map(|list| Clause::All(clauses(&format!("{path}.all"), list, faults))));
    found.extend(filter.any.as_ref().map(|list| Clause::Any(clauses(&format!("{path}.any"), list, faults))));
    found.extend(
        filter
            .not
            .as_ref()
            .and_then(|inner| clause(&format!("{path}.not"), inner, faults).map(|inner| Clause::Not(Box::new(inner)))),
    );
    found.extend(filter.cesql.clone().map(Clause::Cesql));
    found.extend(filter.sql.clone().map(Clause::Sql));
    // A `not` whose inner filter is refused has been reported there.
    if found.len() > 1 || (found.is_empty() && filter.not.is_none()) {
        let message = format!("give exactly one of {}", DIALECTS.join(", "));
        faults.push(Fault { path: path.to_owned(), message });
    }
    found.pop()
}
