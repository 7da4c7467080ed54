//! Asking a broker's admin API.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, Url};
use schemas::admin::Problem;
use serde::de::DeserializeOwned;

use super::fault::{Exit, Fault};
use super::lines::Lines;

/// How long a connection may take: long enough for a distant cluster, short enough to wait for at a terminal.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a single answer may take; a search for an id in a large log reads all of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the broker is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AdminArgs {
    /// The broker's admin API
    #[arg(long, value_name = "URL", env = "REVEILLE_ADMIN", default_value = "http://127.0.0.1:9091")]
    pub(super) admin: String,
    /// File that holds the admin API's bearer token
    #[arg(long, value_name = "FILE", env = "REVEILLE_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
}

/// Which Broker.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BrokerArgs {
    /// Namespace
    #[arg(short, long, env = "REVEILLE_NAMESPACE", default_value = "default")]
    pub(super) namespace: String,
    /// Broker
    #[arg(long, value_name = "NAME", env = "REVEILLE_BROKER", default_value = "default")]
    pub(super) broker: String,
}

/// A parameter of a request.
pub(super) type Parameter = (&'static str, String);

/// The admin API of one broker.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    http: Client,
    base: Url,
    token: Option<HeaderValue>,
}

/// An HTTP client that goes straight to the address it is given.
pub(super) fn http_client() -> Result<Client, Fault> {
    let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = builder.connect_timeout(CONNECT_TIMEOUT).build();
    client.map_err(|error| Fault::new(Exit::Failed, format!("cannot set up the HTTP client: {}", cause(&error))))
}

/// Reads a URL that a person wrote; the flag is named when it is none.
pub(super) fn parse_url(text: &str, flag: &str) -> Result<Url, Fault> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| Fault::usage(format!("{flag} `{text}` is no address; write for instance http://127.0.0.1:9091")))
}

/// What lies behind an error of the HTTP client, in few words.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut source = error.source();
    let mut text = error.to_string();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { text }
}

impl AdminArgs {
    /// The API at the address.
    pub(super) fn connect(&self) -> Result<Admin, Fault> {
        let base = parse_url(&self.admin, "--admin")?;
        let token = self.token_file.as_deref().map(|path| {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Fault::new(Exit::Failed, format!("cannot read the token file {}: {error}", path.display()))
            })?;
            HeaderValue::from_str(&format!("Bearer {}", text.trim())).map_err(|_| {
                Fault::new(
                    Exit::Failed,
                    format!("{} holds no token: it has characters no header takes", path.display()),
                )
            })
        });
        let token = token.transpose()?;
        Ok(Admin { http: http_client()?, base, token })
    }
}

impl Admin {
    fn url(&self, segments: &[&str], parameters: &[Parameter]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        url
    }

    async fn ask(&self, url: Url, limit: Option<Duration>) -> Result<Response, Fault> {
        let mut request = self.http.get(url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => Err(problem.into()),
            Err(_) => Err(Fault::new(
                Exit::Failed,
                format!("{} answered HTTP {status}: this is no admin API of Reveille; check --admin", self.base),
            )),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Fault {
        let message = format!(
            "cannot reach the broker's admin API at {}: {}; start a broker with `reveille serve` (or `reveille demo`), \
             or say where it is with --admin URL",
            self.base.as_str().trim_end_matches('/'),
            cause(error)
        );
        Fault::new(Exit::Unreachable, message)
    }

    /// One answer.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        parameters: &[Parameter],
    ) -> Result<T, Fault> {
        let response = self.ask(self.url(segments, parameters), Some(ANSWER_TIMEOUT)).await?;
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| {
            let message = format!("{} sent something this release cannot read: {error}", self.base);
            Fault::new(Exit::Failed, message)
        })
    }

    /// An answer that comes line by line.
    pub(super) async fn stream(&self, segments: &[&str], parameters: &[Parameter]) -> Result<Lines, Fault> {
        self.ask(self.url(segments, parameters), None).await.map(Lines::new)
    }
}
