//! The controller's configuration: flags, then the environment, then defaults.
//!
//! *Invariants*: [`Config::times`] reports every fault at once, with the flag's name and the next step. *Not here*:
//! what is done with it.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use serde::Serialize;

use crate::plan::Settings;
use crate::world::Place;

/// Shortest `--lease-duration`: below it a busy API server would cost the lead.
const LEASE_MIN: Duration = Duration::from_secs(2);
/// Shortest and longest `--api-timeout`.
const API_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(290);
/// Where the system looks for the search domains of a pod.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Reconciles Broker and Trigger objects on Kubernetes: resolves what they refer to, and says in their status whether
/// they work, and if not, why.
///
/// It finds the API server by KUBECONFIG, or as a pod of the cluster. The broker delivers without it.
#[derive(Debug, Clone, PartialEq, Eq, clap::Parser, Serialize)]
#[command(name = "reveille-controller", version)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Where /live, /ready and /metrics are; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", env = "REVEILLE_HEALTH_ADDR", default_value = "0.0.0.0:9090")]
    pub(crate) health_addr: SocketAddr,
    /// Treat Brokers without the annotation eventing.knative.dev/broker.class as ours
    #[arg(long, env = "REVEILLE_DEFAULT_CLASS", value_parser = BoolishValueParser::new())]
    pub(crate) default_class: bool,
    /// Name of the Service in front of the broker's ingress
    #[arg(long, value_name = "NAME", env = "REVEILLE_INGRESS_SERVICE", default_value = "reveille-broker")]
    pub(crate) ingress_service: String,
    /// Namespace of that Service, whose EndpointSlices the controller must be allowed to watch [default: --namespace]
    #[arg(long, value_name = "NAME", env = "REVEILLE_INGRESS_NAMESPACE")]
    pub(crate) ingress_namespace: Option<String>,
    /// What the addresses of Brokers begin with, in place of the Service: URL/NAMESPACE/BROKER. Whether anything
    /// answers there is not looked at
    #[arg(long, value_name = "URL", env = "REVEILLE_INGRESS_URL")]
    pub(crate) ingress_url: Option<String>,
    /// How long the Service may be without a ready pod, as in a restart, before Brokers say so, as an ISO 8601 duration
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_INGRESS_GRACE", default_value = "PT30S")]
    pub(crate) ingress_grace: String,
    /// DNS domain of the cluster [default: as in /etc/resolv.conf, else cluster.local]
    #[arg(long, value_name = "DOMAIN", env = "REVEILLE_CLUSTER_DOMAIN")]
    pub(crate) cluster_domain: Option<String>,
    /// Namespace that this controller runs in, where its Lease is
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "reveille-system")]
    pub(crate) namespace: String,
    /// Name of the Lease by which one of several controllers is chosen
    #[arg(long, value_name = "NAME", env = "REVEILLE_LEASE_NAME", default_value = "reveille-controller")]
    pub(crate) lease_name: String,
    /// How long the lead of a controller that is gone still holds, as an ISO 8601 duration
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_LEASE_DURATION", default_value = "PT15S")]
    pub(crate) lease_duration: String,
    /// After how long a silent connection to the API server counts as dead, as an ISO 8601 duration
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_API_TIMEOUT", default_value = "PT60S")]
    pub(crate) api_timeout: String,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "REVEILLE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or per module as in `info,trigger_controller::watch=debug`
    #[arg(long, value_name = "LEVELS", env = "REVEILLE_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// Once the health port is open, print its address to stdout as one line of JSON
    #[arg(long, env = "REVEILLE_PRINT_ADDRS", value_parser = BoolishValueParser::new())]
    pub(crate) print_addrs: bool,
    /// Print the configuration that results from flags, environment and defaults, and exit
    #[arg(long, env = "REVEILLE_PRINT_CONFIG", value_parser = BoolishValueParser::new())]
    pub(crate) print_config: bool,
}

/// The durations, once read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) lease: Duration,
    pub(crate) api_timeout: Duration,
    pub(crate) ingress_grace: Duration,
}

impl Config {
    /// Fills in what depends on the machine: the domain that the text of `/etc/resolv.conf` names.
    pub(crate) fn completed(mut self) -> Self {
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        self.cluster_domain.get_or_insert_with(|| cluster_domain(&text).unwrap_or_else(|| "cluster.local".to_owned()));
        self.ingress_namespace.get_or_insert_with(|| self.namespace.clone());
        self
    }

    /// The durations.
    ///
    /// # Errors
    /// Every fault of the configuration.
    pub(crate) fn times(&self) -> Result<Times, String> {
        let mut faults = Vec::new();
        let mut period = |flag: &str, text: &str, sound: &dyn Fn(Duration) -> bool, range: String| {
            match schemas::duration::parse(text) {
                Ok(length) if sound(length) => return length,
                Ok(_) => faults.push(format!("{flag} {text} is not {range}")),
                Err(error) => faults.push(format!("{flag}: {error}")),
            }
            Duration::ZERO
        };
        let whole = |length: Duration| length >= LEASE_MIN && length.subsec_nanos() == 0;
        let lease = period("--lease-duration", &self.lease_duration, &whole, "whole seconds, 2 or more".to_owned());
        let range = "between PT2S and PT290S".to_owned();
        let api = period("--api-timeout", &self.api_timeout, &|length| API_TIMEOUT.contains(&length), range);
        let any = |_: Duration| true;
        let ingress_grace = period("--ingress-grace", &self.ingress_grace, &any, String::new());
        if let Some(url) = &self.ingress_url
            && !url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        {
            faults.push(format!("--ingress-url `{url}` is no address; write for instance http://broker.example"));
        }
        if let Err(error) = self.log_level.parse::<tracing_subscriber::EnvFilter>() {
            faults.push(format!("--log-level `{}`: {error}; use for instance `info`", self.log_level));
        }
        if faults.is_empty() { Ok(Times { lease, api_timeout: api, ingress_grace }) } else { Err(faults.join("\n")) }
    }

    /// What plans are made by.
    pub(crate) fn settings(&self) -> Settings {
        let cluster_domain = self.cluster_domain.clone().unwrap_or_default();
        let namespace = self.ingress_namespace.as_deref().unwrap_or_default();
        let ingress_url = self.ingress_url.as_deref().map_or_else(
            || format!("http://{}.{namespace}.svc.{cluster_domain}", self.ingress_service),
            |url| url.trim_end_matches('/').to_owned(),
        );
        let service = Place::new(namespace, &self.ingress_service);
        let ingress_service = self.ingress_url.is_none().then_some(service);
        Settings { default_class: self.default_class, cluster_domain, ingress_url, ingress_service }
    }
}

/// The domain in the search entry that begins with `svc.`, as pods have it.
fn cluster_domain(resolv_conf: &str) -> Option<String> {
    let searches = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("search"));
    let mut entries = searches.flat_map(str::split_whitespace);
    entries.find_map(|entry| entry.strip_prefix("svc.")).map(|domain| domain.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn config(arguments: &[&str]) -> Config {
        Config::parse_from([&["reveille-controller"], arguments].concat())
    }

    #[test]
    fn the_address_of_brokers_comes_from_the_service_or_as_given() {
        for (arguments, url) in [
            (&["--cluster-domain", "c.l"][..], "http://reveille-broker.reveille-system.svc.c.l"),
            (&["--cluster-domain", "d", "--namespace", "ns"], "http://reveille-broker.ns.svc.d"),
            (&["--ingress-service", "s", "--ingress-namespace", "n", "--cluster-domain", "d"], "http://s.n.svc.d"),
            (&["--ingress-url", "https://events.example/in/"], "https://events.example/in"),
        ] {
            let settings = config(arguments).completed().settings();
            assert_eq!(settings.ingress_url, url);
            let looked_at =
                settings.ingress_service.map(|service| format!("http://{}.{}.svc", service.name, service.namespace));
            assert!(looked_at.map_or_else(|| url.starts_with("https:"), |service| url.starts_with(&service)), "{url}");
        }
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let error = config(&["--lease-duration", "PT1S", "--api-timeout", "soon", "--ingress-url", "broker"]).times();
        let error = error.unwrap_err();
        for part in ["--lease-duration PT1S", "--api-timeout", "--ingress-url `broker`"] {
            assert!(error.contains(part), "{error}");
        }
        let times = config(&[]).times().unwrap();
        assert_eq!((times.lease, times.api_timeout), (Duration::from_secs(15), Duration::from_secs(60)));
    }

    #[test]
    fn the_domain_is_read_as_pods_have_it() {
        let pod = "nameserver 10.96.0.10\nsearch ns.svc.k8s.example svc.k8s.example k8s.example\noptions ndots:5\n";
        assert_eq!(cluster_domain(pod).as_deref(), Some("k8s.example"));
        assert_eq!(cluster_domain("nameserver 1.1.1.1\nsearch example.com\n"), None);
    }
}
