//! From a destination to an address.
//!
//! *Responsibility*: what a `ref`, a `uri`, or both lead to, and in plain words why to nothing. *Inputs*: the
//! destination as written, and a look-up in the [`World`]. *Invariants*: pure; references stay in the namespace of
//! the object that holds them; an address whose scheme cannot be delivered to is an address all the same. *Not here*:
//! ready endpoints behind a Service, which are the broker's.

mod service;

use schemas::destination::{Address, Destination, Reference as Written, is_absolute};
use url::Url;

use crate::world::{Gvk, Lookup, Place, Reference, Target, World};

/// A destination whose address is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) uri: String,
    pub(crate) ca_certs: Option<String>,
    pub(crate) audience: Option<String>,
    /// Something that its owner should know, though it is no error: reason and words.
    pub(crate) warning: Option<Why>,
    /// Where its pods are to be found, as annotation `reveille.dev/endpoints` has it, where there are any to be found.
    pub(crate) endpoints: Option<String>,
}

/// Why there is no address, or what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Why {
    /// One word, for programs.
    pub(crate) reason: &'static str,
    /// For people, with the next step.
    pub(crate) message: String,
    /// Nobody knows yet: no error so far.
    pub(crate) pending: bool,
}

impl Why {
    pub(crate) fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message, pending: false }
    }
}

/// Where a destination stands, and what of it decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) world: &'a World,
    /// Namespace of the object that holds the destination.
    pub(crate) namespace: &'a str,
    /// Where it is written, such as `spec.subscriber`.
    pub(crate) field: &'a str,
    /// The port asked for by the holder's annotation.
    pub(crate) port: Option<&'a str>,
    pub(crate) cluster_domain: &'a str,
}

/// The address of a destination.
///
/// # Errors
/// Why there is none.
pub(crate) fn resolve(destination: &Destination, context: Context<'_>) -> Result<Resolved, Why> {
    let mut endpoints = None;
    let address = match (&destination.reference, &destination.uri) {
        (Some(reference), uri) => {
            let mut address;
            (address, endpoints) = of_reference(reference, destination, context)?;
            if let (Some(base), Some(uri)) = (&address.url, uri) {
                address.url = Some(join(base, uri, context.field)?);
            }
            address
        }
        (None, Some(uri)) => Address { url: Some(uri.clone()), ..Address::default() },
        (None, None) => {
            let message = format!("{} has neither ref nor uri; give one of them", context.field);
            return Err(Why::new("InvalidDestination", message));
        }
    };
    let uri = address.url.unwrap_or_default();
    Ok(Resolved {
        warning: warning(&uri, context.field),
        endpoints,
        uri,
        ca_certs: destination.ca_certs.clone().or(address.ca_certs),
        audience: destination.audience.clone().or(address.audience),
    })
}

/// Events for an address that nothing can be sent to are no reason to refuse the Trigger, but worth a word.
fn warning(uri: &str, field: &str) -> Option<Why> {
    let scheme = uri.split(':').next().unwrap_or_default().to_ascii_lowercase();
    (!matches!(scheme.as_str(), "http" | "https")).then(|| {
        let message = format!(
            "`{}` in {field} cannot be delivered to, so events for it become dead letters; use an address that begins \
             with http:// or https://",
            shown(uri)
        );
        Why::new("UnsupportedScheme", message)
    })
}

fn of_reference(
    written: &Written,
    destination: &Destination,
    context: Context<'_>,
) -> Result<(Address, Option<String>), Why> {
    let reference = Reference {
        gvk: Gvk::new(&written.api_version, &written.kind),
        place: Place::new(written.namespace.as_deref().unwrap_or(context.namespace), &written.name),
    };
    let target = find(&reference, context)?;
    if let Some(service) = &target.service {
        let tls = destination.ca_certs.is_some();
        let found = service::find(&reference.place, service, tls, context)?;
        return Ok((Address { url: Some(found.url), ..Address::default() }, found.endpoints));
    }
    Ok((of_addressable(target, &reference, written.address.as_deref(), context)?, None))
}

/// Finds the object that is referred to.
///
/// # Errors
/// Why it cannot be found.
fn find<'w>(reference: &Reference, context: Context<'w>) -> Result<&'w Target, Why> {
    let (gvk, place) = (&reference.gvk, &reference.place);
    let field = context.field;
    let what = describe(reference);
    if place.namespace != context.namespace {
        let message = format!(
            "{field}.ref.namespace is `{}`, but a reference must stay in its own namespace, `{}`; leave the field out, \
             or give the address of the other namespace's service as {field}.uri",
            place.namespace, context.namespace
        );
        return Err(Why::new("CrossNamespaceReference", message));
    }
    if !reference.may_have_address() {
        let message = format!(
            "{field}.ref names {what}, and objects of kind {} have no address; refer to a Service in front of it",
            gvk.kind
        );
        return Err(Why::new("NotAddressable", message));
    }
    match context.world.look_up(gvk, place) {
        Lookup::Found(target) => Ok(target),
        Lookup::Missing => {
            let message = format!(
                "{field}.ref names {what}, which does not exist in namespace {}; create it, or correct the name",
                place.namespace
            );
            Err(Why::new("NotFound", message))
        }
        Lookup::KindAbsent => {
            let message = format!(
                "{field}.ref names {what}, but this cluster has no kind {} in {}; correct kind and apiVersion, or \
                 install what brings them",
                gvk.kind,
                gvk.api_version()
            );
            Err(Why::new("KindNotFound", message))
        }
        Lookup::Forbidden(words) => {
            let message = format!(
                "{field}.ref names {what}, which the controller may not read ({words}); grant it get, list and watch \
                 through a ClusterRole labelled duck.knative.dev/addressable: \"true\""
            );
            Err(Why::new("NotPermitted", message))
        }
        Lookup::Pending => {
            let message = format!("{field}.ref names {what}, and the controller is still reading objects of that kind");
            Err(Why { pending: true, ..Why::new("Resolving", message) })
        }
    }
}

fn of_addressable(
    target: &Target,
    reference: &Reference,
    name: Option<&str>,
    context: Context<'_>,
) -> Result<Address, Why> {
    let what = describe(reference);
    let chosen = match name {
        None => target.addresses.first(),
        Some(name) => {
            let named = target.addresses.iter().find(|address| address.name.as_deref() == Some(name));
            if named.is_none() && !target.addresses.is_empty() {
                let names: Vec<&str> = target.addresses.iter().filter_map(|one| one.name.as_deref()).collect();
                let message = format!(
                    "{}.ref.address is `{}`, but {what} has no address of that name (it has: {}); correct it or leave \
                     it out",
                    context.field,
                    shown(name),
                    names.join(", ")
                );
                return Err(Why::new("AddressNotFound", message));
            }
            named
        }
    };
    match chosen {
        Some(address) if address.url.as_deref().is_some_and(has_host) => Ok(address.clone()),
        Some(_) | None => {
            let state = target.ready.as_ref().filter(|ready| ready.status != "True").map_or_else(
                || "its status.address.url is empty; it must be a kind that has an address, and ready".to_owned(),
                |ready| format!("it is not ready: {} {}", ready.reason, ready.message),
            );
            Err(Why::new("AddressNotSet", format!("{what} has no address yet; {}", state.trim_end())))
        }
    }
}

fn has_host(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()))
}

/// RFC 3986 resolution of a relative address.
fn join(base: &str, uri: &str, field: &str) -> Result<String, Why> {
    if is_absolute(uri) {
        let message = format!("{field}.uri is absolute and stands beside ref; give one of the two, or a relative uri");
        return Err(Why::new("InvalidDestination", message));
    }
    let joined = Url::parse(base).and_then(|base| base.join(uri));
    joined.map(String::from).map_err(|error| {
        let message = format!("{field}.uri `{}` cannot be joined to {base}: {error}; correct it", shown(uri));
        Why::new("InvalidDestination", message)
    })
}

/// The object, in words: `Service `name``, with the group where there is one.
pub(crate) fn describe(reference: &Reference) -> String {
    let gvk = &reference.gvk;
    let group = if gvk.group.is_empty() { String::new() } else { format!(" ({})", gvk.api_version()) };
    format!("{} `{}`{group}", gvk.kind, reference.place.name)
}

/// The first part of a text, for a message.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
