//! Whether a broker's data plane stands behind the address that is handed out.
//!
//! *Inputs*: the EndpointSlices of its Service. *Invariants*: it counts as served from the first ready endpoint until
//! somebody with a clock says that it has lacked one for too long. *Not here*: how long that is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{KindState, Place};

/// What is seen of it.
#[derive(Debug, Default)]
pub(crate) struct DataPlane {
    /// The slices, and whether each has a ready endpoint.
    slices: BTreeMap<Place, bool>,
    served: bool,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing<'w> {
    /// An endpoint is ready, or was a moment ago.
    Served,
    /// None is.
    Unserved,
    /// Nobody knows yet.
    Unread,
    /// Nobody may know; the API server's words.
    Hidden(&'w str),
}

impl DataPlane {
    /// A slice as it is now, or gone. Whether that changes how the data plane stands.
    pub(super) fn set(&mut self, place: &Place, slice: Option<&Value>) -> bool {
        match slice {
            Some(slice) => self.slices.insert(place.clone(), has_ready_endpoint(slice)),
            None => self.slices.remove(place),
        };
        let begins = !self.served && self.has_endpoint();
        self.served |= begins;
        begins
    }

    fn has_endpoint(&self) -> bool {
        self.slices.values().any(|ready| *ready)
    }

    /// Whether it counts as served and has no ready endpoint.
    pub(super) fn falters(&self) -> bool {
        self.served && !self.has_endpoint()
    }

    /// It has faltered for too long.
    pub(super) fn give_up(&mut self) {
        self.served = self.has_endpoint();
    }

    pub(super) fn standing<'w>(&self, kind: &'w KindState) -> Standing<'w> {
        match kind {
            _ if self.served => Standing::Served,
            KindState::Pending => Standing::Unread,
            KindState::Listed => Standing::Unserved,
            KindState::Forbidden(words) => Standing::Hidden(words),
            KindState::Absent => Standing::Hidden("the API server has no EndpointSlices"),
        }
    }
}

/// An endpoint that does not say whether it is ready is.
fn has_ready_endpoint(slice: &Value) -> bool {
    let endpoints = slice.get("endpoints").and_then(Value::as_array);
    endpoints.is_some_and(|endpoints| {
        endpoints.iter().any(|endpoint| {
            let addressed = endpoint.get("addresses").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
            addressed && endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true)
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_addressed_endpoint_that_is_ready_counts() {
        for (endpoints, ready) in [
            (json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]), true),
            (json!([{"addresses": ["10.0.0.1"], "conditions": {}}]), true),
            (json!([{"addresses": ["10.0.0.1"]}]), true),
            (json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": true}}]), false),
            (json!([{"addresses": [], "conditions": {"ready": true}}]), false),
            (json!([{"addresses": ["a"], "conditions": {"ready": false}}, {"addresses": ["b"]}]), true),
            (json!([]), false),
            (json!(null), false),
            (json!([7]), false),
        ] {
            assert_eq!(has_ready_endpoint(&json!({"endpoints": endpoints})), ready, "{endpoints}");
        }
    }

    #[test]
    fn it_is_served_until_it_has_faltered_for_too_long() {
        let place = |name| Place::new("ns", name);
        let (up, down) = (json!({"endpoints": [{"addresses": ["a"]}]}), json!({"endpoints": []}));
        let mut plane = DataPlane::default();
        assert_eq!(plane.standing(&KindState::Pending), Standing::Unread);
        assert_eq!(plane.standing(&KindState::Forbidden("no".into())), Standing::Hidden("no"));
        assert!(!plane.set(&place("a"), Some(&down)) && !plane.falters());
        assert_eq!(plane.standing(&KindState::Listed), Standing::Unserved);
        assert!(plane.set(&place("a"), Some(&up)) && !plane.set(&place("b"), Some(&up)));
        plane.set(&place("a"), None);
        assert!(!plane.falters());
        assert!(!plane.set(&place("b"), Some(&down)) && plane.falters());
        assert_eq!(plane.standing(&KindState::Listed), Standing::Served, "for a moment");
        assert!(!plane.set(&place("c"), Some(&up)) && !plane.falters(), "it is back in time");
        plane.give_up();
        assert_eq!(plane.standing(&KindState::Listed), Standing::Served);
        plane.set(&place("c"), None);
        plane.give_up();
        assert_eq!((plane.standing(&KindState::Listed), plane.falters()), (Standing::Unserved, false));
    }
}
