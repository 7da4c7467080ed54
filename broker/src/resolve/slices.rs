//! What EndpointSlices say, without what nobody here reads. Pure.
//!
//! *In*: EndpointSlices (`discovery.k8s.io/v1`). *Out*: addresses of a Service's port that may be sent to now.
//! *Invariants*: slices of one Service are joined, whatever their family or ports; a condition that is left out means
//! what the API says it means (`ready` and `serving` true, `terminating` false); addresses of type `FQDN` are ignored.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// The label that names a slice's Service.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// A slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) service: String,
    /// By name; that of an only port may be empty.
    ports: Vec<(String, u16)>,
    /// Those that are ready.
    addresses: Vec<IpAddr>,
}

impl Slice {
    /// Reads a slice; `None` for one that belongs to no Service, or has no addresses that can be dialled.
    pub(super) fn of(slice: &EndpointSlice) -> Option<Self> {
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?.clone();
        if slice.address_type == "FQDN" {
            return None;
        }
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port?).ok().filter(|number| *number > 0)?;
            Some((port.name.clone().unwrap_or_default(), number))
        });
        let ready = slice.endpoints.iter().filter(|endpoint| is_ready(endpoint));
        // Further addresses of an endpoint say nothing that the API would define.
        let addresses = ready.filter_map(|endpoint| endpoint.addresses.first()?.parse().ok());
        Some(Self { service, ports: ports.collect(), addresses: addresses.collect() })
    }
}

/// New requests go to what is ready. A Service that publishes addresses before they are ready says that they are.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

/// The addresses of a port, by its name, over all slices of a Service.
pub(super) fn join<'a>(slices: impl IntoIterator<Item = &'a Slice>, port: &str) -> BTreeSet<SocketAddr> {
    let mut joined = BTreeSet::new();
    for slice in slices {
        for (_, number) in slice.ports.iter().filter(|(name, _)| name == port) {
            joined.extend(slice.addresses.iter().map(|address| SocketAddr::new(*address, *number)));
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(family: &str, ports: &Value, endpoints: &Value) -> Slice {
        let slice = json!({
            "metadata": {"name": "s-1", "namespace": "shop", "labels": {(SERVICE_LABEL): "s"}},
            "addressType": family, "ports": ports, "endpoints": endpoints,
        });
        Slice::of(&serde_json::from_value(slice).unwrap()).unwrap()
    }

    fn joined(slices: &[Slice], port: &str) -> Vec<String> {
        join(slices, port).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn conditions_mean_what_the_api_says() {
        for (conditions, ready) in [
            (json!({"ready": true}), true),
            (json!({"ready": false}), false),
            (json!({}), true),
            (Value::Null, true),
            (json!({"ready": false, "serving": true, "terminating": true}), false),
            // A Service with publishNotReadyAddresses.
            (json!({"ready": true, "serving": false, "terminating": false}), true),
        ] {
            let slice = slice(
                "IPv4",
                &json!([{"name": "", "port": 80}]),
                &json!([{"addresses": ["10.0.0.1", "10.0.0.9"], "conditions": conditions}]),
            );
            let expected: &[&str] = if ready { &["10.0.0.1:80"] } else { &[] };
            assert_eq!(joined(&[slice], ""), expected, "{conditions}");
        }
    }

    #[test]
    fn slices_are_joined_by_the_name_of_the_port() {
        let at = |address: &str| json!([{"addresses": [address]}]);
        let web = |number: u16| json!([{"name": "web", "port": number}, {"name": "admin", "port": 1}]);
        let slices = [
            slice("IPv4", &web(8080), &at("10.0.0.1")),
            slice("IPv4", &web(9090), &at("10.0.0.2")),
            slice("IPv4", &web(8080), &at("10.0.0.1")),
            slice("IPv6", &web(8080), &at("fd00::1")),
            slice("IPv4", &json!([{"name": "web"}]), &at("10.0.0.3")),
            slice("IPv4", &web(8080), &at("not an address")),
        ];
        assert_eq!(joined(&slices, "web"), ["10.0.0.1:8080", "10.0.0.2:9090", "[fd00::1]:8080"]);
        assert_eq!(joined(&slices, "grpc"), [""; 0]);
    }

    #[test]
    fn what_belongs_to_no_service_is_left_out() {
        let of = |slice: Value| Slice::of(&serde_json::from_value(slice).unwrap());
        assert_eq!(of(json!({"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": []})), None);
        let labels = json!({(SERVICE_LABEL): "s"});
        assert_eq!(of(json!({"metadata": {"labels": labels}, "addressType": "FQDN", "endpoints": []})), None);
    }
}
