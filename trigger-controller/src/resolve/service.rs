//! The address of a core Service: scheme and port; and where its pods are found.

use super::{Context, Why, shown};
use crate::world::{Place, PortFacts, ServiceFacts};

/// Where a Service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// `http://NAME.NAMESPACE.svc.DOMAIN`, with the port unless it is the scheme's own.
    pub(super) url: String,
    /// `NAME` or `NAME:PORT`, where Kubernetes keeps EndpointSlices of its pods. A certificate belongs to the
    /// Service's name, so what is spoken to by TLS is dialled by that.
    pub(super) endpoints: Option<String>,
}

/// Finds address and endpoints.
///
/// # Errors
/// Why no port can be chosen.
pub(super) fn find(place: &Place, service: &ServiceFacts, tls: bool, context: Context<'_>) -> Result<Found, Why> {
    let port = choose(place, service, context)?;
    let protocol = port.and_then(|port| port.app_protocol.as_deref());
    let tls = tls || protocol == Some("https");
    let (scheme, usual) = if tls { ("https", 443) } else { ("http", 80) };
    let host = format!("{}.{}.svc.{}", place.name, place.namespace, context.cluster_domain);
    let url = match port {
        Some(port) if port.number != usual => format!("{scheme}://{host}:{}", port.number),
        Some(_) | None => format!("{scheme}://{host}"),
    };
    let kept = !tls && !service.is_external_name && !service.selector.is_empty();
    let endpoints = port.filter(|_| kept).map(|port| match &port.name {
        Some(name) => format!("{}:{name}", place.name),
        None => place.name.clone(),
    });
    Ok(Found { url, endpoints })
}

/// The port that an annotation names (the Trigger's, else the Service's), else the only one, else `http`, else 80.
/// `None` for a Service that lists no ports, which is dialled at the usual one.
fn choose<'s>(place: &Place, service: &'s ServiceFacts, context: Context<'_>) -> Result<Option<&'s PortFacts>, Why> {
    let ports = &service.ports;
    if service.only_other_protocols {
        let message = format!("Service `{}` has no TCP port; events are sent by HTTP over TCP, so add one", place.name);
        return Err(Why::new("PortNotFound", message));
    }
    if let Some(asked) = context.port.or(service.port.as_deref()) {
        let named = ports.iter().find(|port| port.name.as_deref() == Some(asked) || port.number.to_string() == asked);
        return named.map(Some).ok_or_else(|| {
            let message = format!(
                "annotation reveille.dev/port asks for `{}`, but Service `{}` has {}; correct one of the two",
                shown(asked),
                place.name,
                list(ports)
            );
            Why::new("PortNotFound", message)
        });
    }
    if let [] | [_] = ports.as_slice() {
        return Ok(ports.first());
    }
    let http = ports.iter().find(|port| port.name.as_deref() == Some("http"));
    http.or_else(|| ports.iter().find(|port| port.number == 80)).map(Some).ok_or_else(|| {
        let message = format!(
            "Service `{}` has {} and none is called http or is 80; name the one to use by annotation \
             reveille.dev/port on the Trigger or the Service",
            place.name,
            list(ports)
        );
        Why::new("PortNotFound", message)
    })
}

fn list(ports: &[PortFacts]) -> String {
    let one = |port: &PortFacts| match &port.name {
        Some(name) => format!("{name} ({})", port.number),
        None => port.number.to_string(),
    };
    match ports {
        [] => "no ports".to_owned(),
        [only] => format!("only port {}", one(only)),
        several => format!("ports {}", several.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}
