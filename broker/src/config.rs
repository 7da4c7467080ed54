//! The broker's configuration: one struct, read from flags, then from the environment, then from defaults.
//!
//! *Responsibility*: every option of `reveille serve` with its default and unit, and the check that they go
//! together. *Outputs*: a [`ServeConfig`] that the composition root reads. *Invariants*: [`ServeConfig::validate`]
//! reports every fault at once, with the flag's name and the next step. *Not here*: what the CLI's other
//! sub-commands take; opening files or sockets.

mod quantity;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use serde::Serialize;

pub use quantity::{Limit, Period, QuantityError, Size};

use crate::log::Retention;

/// Largest `--concurrency`: one Trigger may not take more connections than a machine has local ports.
pub const CONCURRENCY_MAX: usize = 16_384;
/// Largest `--max-request-bytes`: a batch is one frame of the log, whose length field and memory cost bound it.
pub const REQUEST_BYTES_MAX: u64 = 256 << 20;
/// Longest `--state-flush-interval`: what a crash repeats must stay small.
pub const FLUSH_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Shortest and longest `--api-timeout`: below, a busy API server would seem dead; above, it ends watches by itself.
pub const API_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(290);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Every option of the broker.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServeConfig {
    /// Where publishers POST events; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", env = "REVEILLE_INGRESS_ADDR", default_value = "0.0.0.0:8080")]
    pub ingress_addr: SocketAddr,
    /// Where /live, /ready and /metrics are
    #[arg(long, value_name = "ADDR:PORT", env = "REVEILLE_HEALTH_ADDR", default_value = "0.0.0.0:9090")]
    pub health_addr: SocketAddr,
    /// Where the admin API is; anything but loopback needs --admin-token-file
    #[arg(long, value_name = "ADDR:PORT", env = "REVEILLE_ADMIN_ADDR", default_value = "127.0.0.1:9091")]
    pub admin_addr: SocketAddr,
    /// File that holds the bearer token which the admin API asks for
    #[arg(long, value_name = "FILE", env = "REVEILLE_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Directory of everything durable; created when missing
    #[arg(long, value_name = "DIR", env = "REVEILLE_DATA", default_value = "./data")]
    pub data: PathBuf,
    /// Directory of Broker and Trigger manifests (YAML), read again when they change
    #[arg(long, value_name = "DIR", env = "REVEILLE_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    /// Take Brokers and Triggers from the Kubernetes API (KUBECONFIG, or the pod's ServiceAccount)
    #[arg(long, env = "REVEILLE_KUBE", value_parser = BoolishValueParser::new())]
    pub kube: bool,
    /// With --kube: serve Brokers that name no class, too
    #[arg(long, env = "REVEILLE_DEFAULT_CLASS", value_parser = BoolishValueParser::new())]
    pub default_class: bool,
    /// With --kube: after how long a silent connection to the API server counts as dead
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_API_TIMEOUT", default_value = "PT60S")]
    pub api_timeout: Period,
    /// Let Triggers start local commands (annotation reveille.dev/exec)
    #[arg(long, env = "REVEILLE_ALLOW_EXEC", value_parser = BoolishValueParser::new())]
    pub allow_exec: bool,
    /// Largest event, in bytes
    #[arg(long, value_name = "SIZE", env = "REVEILLE_MAX_EVENT_BYTES", default_value = "1MiB")]
    pub max_event_bytes: Size,
    /// Largest publish request (a batch), in bytes
    #[arg(long, value_name = "SIZE", env = "REVEILLE_MAX_REQUEST_BYTES", default_value = "16MiB")]
    pub max_request_bytes: Size,
    /// Bytes of publish requests held in memory at once; above it publishers get 503
    #[arg(long, value_name = "SIZE", env = "REVEILLE_MAX_IN_FLIGHT_BYTES", default_value = "64MiB")]
    pub max_in_flight_bytes: Size,
    /// Publishers' connections open at once
    #[arg(long, value_name = "N", env = "REVEILLE_MAX_CONNECTIONS", default_value_t = 4096)]
    pub max_connections: usize,
    /// How long events are kept once every Trigger has settled them; `none` for ever
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_RETENTION_AGE", default_value = "7d")]
    pub retention_age: Limit<Period>,
    /// Size of a Broker's log above which the oldest settled events go; `none` for no limit
    #[arg(long, value_name = "SIZE", env = "REVEILLE_RETENTION_BYTES", default_value = "none")]
    pub retention_bytes: Limit<Size>,
    /// Size of a Broker's log above which the oldest events go EVEN IF NOT DELIVERED; `none` keeps them and
    /// refuses new ones instead when the disk is full
    #[arg(long, value_name = "SIZE", env = "REVEILLE_DISCARD_ABOVE_BYTES", default_value = "none")]
    pub discard_above_bytes: Limit<Size>,
    /// How long dead letters are kept for somebody to look at; `none` for ever
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_DEAD_LETTER_AGE", default_value = "30d")]
    pub dead_letter_age: Limit<Period>,
    /// Size of a Broker's dead-letter log above which the oldest letters go; `none` for no limit
    #[arg(long, value_name = "SIZE", env = "REVEILLE_DEAD_LETTER_BYTES", default_value = "none")]
    pub dead_letter_bytes: Limit<Size>,
    /// How long the log of a Broker that is gone is kept, in case it comes back; longer while a Trigger that exists
    /// has still to get something from it
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_ORPHAN_GRACE", default_value = "PT24H")]
    pub orphan_grace: Period,
    /// How often cursors are made durable: what a crash may deliver twice
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_STATE_FLUSH_INTERVAL", default_value = "PT1S")]
    pub state_flush_interval: Period,
    /// Deliveries under way at once per Trigger that does not say otherwise
    #[arg(long, value_name = "N", env = "REVEILLE_CONCURRENCY", default_value_t = 64)]
    pub concurrency: usize,
    /// How long a stop waits for what is under way
    #[arg(long, value_name = "PERIOD", env = "REVEILLE_DRAIN_TIMEOUT", default_value = "PT25S")]
    pub drain_timeout: Period,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "REVEILLE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or per module as in `info,broker::dispatch=debug`
    #[arg(long, value_name = "LEVELS", env = "REVEILLE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Once ready, print the addresses to stdout as one line of JSON
    #[arg(long, env = "REVEILLE_PRINT_ADDRS", value_parser = BoolishValueParser::new())]
    pub print_addrs: bool,
    /// Print the configuration that results from flags, environment and defaults, and exit
    #[arg(long, env = "REVEILLE_PRINT_CONFIG", value_parser = BoolishValueParser::new())]
    pub print_config: bool,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults(pub Vec<String>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            all => {
                write!(f, "{} faults in the configuration:", all.len())?;
                all.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
            }
        }
    }
}

impl ServeConfig {
    /// The configuration that results from no flag at all, with the environment left aside, for use inside a
    /// program: loopback addresses with free ports.
    #[must_use]
    pub fn local(data: PathBuf, manifests: PathBuf) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            ingress_addr: loopback,
            health_addr: loopback,
            admin_addr: loopback,
            admin_token_file: None,
            data,
            manifests: Some(manifests),
            kube: false,
            default_class: false,
            api_timeout: Period(Duration::from_secs(60)),
            allow_exec: false,
            max_event_bytes: Size(1 << 20),
            max_request_bytes: Size(16 << 20),
            max_in_flight_bytes: Size(64 << 20),
            max_connections: 4096,
            retention_age: Limit(Some(Period(Duration::from_secs(7 * 24 * 3600)))),
            retention_bytes: Limit(None),
            discard_above_bytes: Limit(None),
            dead_letter_age: Limit(Some(Period(Duration::from_secs(30 * 24 * 3600)))),
            dead_letter_bytes: Limit(None),
            orphan_grace: Period(Duration::from_secs(24 * 3600)),
            state_flush_interval: Period(Duration::from_secs(1)),
            concurrency: 64,
            drain_timeout: Period(Duration::from_secs(25)),
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            print_addrs: false,
            print_config: false,
        }
    }

    /// How much of a log is kept where its Broker does not say.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention {
            age: self.retention_age.0.map(|age| age.0),
            bytes: self.retention_bytes.0.map(|size| size.0),
            discard_above_bytes: self.discard_above_bytes.0.map(|size| size.0),
        }
    }

    /// How much of a dead-letter log is kept where its Broker does not say.
    #[must_use]
    pub fn dead_letter_retention(&self) -> Retention {
        Retention {
            age: self.dead_letter_age.0.map(|age| age.0),
            bytes: self.dead_letter_bytes.0.map(|size| size.0),
            discard_above_bytes: None,
        }
    }

    /// Checks that the options go together.
    ///
    /// # Errors
    /// [`ConfigFaults`] with every fault there is.
    pub fn validate(&self) -> Result<(), ConfigFaults> {
        let mut faults = Vec::new();
        self.check_access(&mut faults);
        self.check_sizes(&mut faults);
        self.check_numbers(&mut faults);
        if let Err(error) = self.log_level.parse::<tracing_subscriber::EnvFilter>() {
            faults.push(format!("--log-level `{}`: {error}; use for instance `info`", self.log_level));
        }
        if faults.is_empty() { Ok(()) } else { Err(ConfigFaults(faults)) }
    }

    fn check_access(&self, faults: &mut Vec<String>) {
        match (self.kube, &self.manifests) {
            (true, Some(_)) => faults.push("--kube and --manifests are both given; give one of the two".to_owned()),
            (false, None) => {
                faults.push("there is no source of Brokers and Triggers; give --manifests DIR or --kube".to_owned());
            }
            (true, None) | (false, Some(_)) => {}
        }
        if self.default_class && !self.kube {
            faults.push("--default-class goes with --kube; leave it out, or give --kube".to_owned());
        }
        if !self.admin_addr.ip().is_loopback() && self.admin_token_file.is_none() {
            faults.push(format!(
                "--admin-addr {} is open to other machines; give --admin-token-file FILE, or use 127.0.0.1",
                self.admin_addr
            ));
        }
        let addrs = [("ingress", self.ingress_addr), ("health", self.health_addr), ("admin", self.admin_addr)];
        for (index, (name, addr)) in addrs.iter().enumerate() {
            for (other, same) in addrs.iter().skip(index + 1) {
                if addr == same && addr.port() != 0 {
                    faults.push(format!("--{name}-addr and --{other}-addr are both {addr}; give them different ports"));
                }
            }
        }
    }

    fn check_sizes(&self, faults: &mut Vec<String>) {
        let sizes = [
            ("--max-event-bytes", self.max_event_bytes),
            ("--max-request-bytes", self.max_request_bytes),
            ("--max-in-flight-bytes", self.max_in_flight_bytes),
        ];
        faults.extend(sizes.iter().filter(|(_, size)| size.0 == 0).map(|(flag, _)| format!("{flag} must not be 0")));
        if self.max_request_bytes.0 > REQUEST_BYTES_MAX {
            faults.push(format!(
                "--max-request-bytes {} is more than the {} that one append can hold",
                self.max_request_bytes,
                Size(REQUEST_BYTES_MAX)
            ));
        }
        for pair in sizes.windows(2) {
            if let [(small, less), (large, more)] = pair
                && less > more
            {
                faults.push(format!("{small} {less} is more than {large} {more}; raise the second"));
            }
        }
        if let (Some(keep), Some(discard)) = (self.retention_bytes.0, self.discard_above_bytes.0)
            && discard < keep
        {
            faults.push(format!(
                "--discard-above-bytes {discard} is less than --retention-bytes {keep}; raise the first"
            ));
        }
    }

    fn check_numbers(&self, faults: &mut Vec<String>) {
        if self.concurrency == 0 || self.concurrency > CONCURRENCY_MAX {
            faults.push(format!("--concurrency {} is not between 1 and {CONCURRENCY_MAX}", self.concurrency));
        }
        if !API_TIMEOUT.contains(&self.api_timeout.0) || self.api_timeout.0.subsec_nanos() != 0 {
            let (least, most) = (Period(*API_TIMEOUT.start()), Period(*API_TIMEOUT.end()));
            faults.push(format!("--api-timeout {} is not whole seconds from {least} to {most}", self.api_timeout));
        }
        if self.max_connections == 0 {
            faults.push("--max-connections must not be 0".to_owned());
        }
        let flush = self.state_flush_interval;
        if flush.0.is_zero() || flush.0 > FLUSH_INTERVAL_MAX {
            let longest = Period(FLUSH_INTERVAL_MAX);
            faults.push(format!("--state-flush-interval {flush} is not above zero and up to {longest}"));
        }
        for (flag, age) in [("--retention-age", self.retention_age), ("--dead-letter-age", self.dead_letter_age)] {
            if age.0.is_some_and(|age| age.0.is_zero()) {
                faults.push(format!("{flag} must not be 0; write `none` to keep all for ever"));
            }
        }
    }

    /// The configuration as YAML, one option a line.
    ///
    /// # Errors
    /// Only when a path is not UTF-8.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(self)?)
    }
}

#[cfg(test)]
mod tests;
