//! Addresses, parsed once: reading a URL costs more than looking it up.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use reqwest::Url;

/// Most addresses that are kept parsed. Far more than the Triggers of one broker, at about 300 bytes each; when it is
/// reached the cache starts afresh.
const TARGETS_CACHED_MAX: usize = 16_384;

/// Where a request goes.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// Without user and password.
    pub(super) url: Url,
    /// `host:port`, for messages.
    pub(super) place: String,
    /// Value of the header `Host`.
    pub(super) host: HeaderValue,
    /// User and password of the address, as HTTP wants them.
    pub(super) authorization: Option<HeaderValue>,
}

/// A destination, or why there is none.
pub(super) type Parsed = Arc<Result<Destination, String>>;

/// Parsed addresses by their text.
#[derive(Debug, Default)]
pub(super) struct Targets(RwLock<HashMap<String, Parsed>>);

impl Targets {
    pub(super) fn get(&self, uri: &str) -> Parsed {
        if let Some(parsed) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(uri) {
            return Arc::clone(parsed);
        }
        let parsed = Arc::new(parse(uri));
        let mut cache = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= TARGETS_CACHED_MAX {
            cache.clear();
        }
        cache.insert(uri.to_owned(), Arc::clone(&parsed));
        parsed
    }
}

fn parse(uri: &str) -> Result<Destination, String> {
    let mut url = Url::parse(uri)
        .map_err(|error| format!("`{uri}` is no address that can be dialled: {error}; use http://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{uri}` cannot be dialled: its scheme is `{}`; use http or https", url.scheme()));
    }
    let authorization = authorization(&url);
    // Both refuse only addresses without a host, and http always has one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let host = url.host_str().unwrap_or_default();
    let place = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let named = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let named = HeaderValue::try_from(named).map_err(|error| format!("`{uri}` cannot be dialled: {error}"))?;
    Ok(Destination { host: named, url, place, authorization })
}

fn authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut secret: Vec<u8> = percent_decode_str(url.username()).collect();
    secret.push(b':');
    secret.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(secret))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_dialled_says_so() {
        for (uri, word) in [
            ("bad://uri", "scheme is `bad`"),
            ("ftp://h/", "scheme is `ftp`"),
            ("/only/a/path", "no address"),
            ("", "no address"),
            ("http://", "no address"),
            ("http://h:99999/", "no address"),
        ] {
            let parsed = parse(uri);
            assert!(parsed.as_ref().is_err_and(|why| why.contains(word)), "{uri}: {parsed:?}");
        }
    }

    #[test]
    fn user_and_password_move_into_a_header() {
        let destination = parse("http://a%40b:p@h:81/x?y").unwrap();
        assert_eq!(destination.url.as_str(), "http://h:81/x?y");
        assert_eq!(destination.place, "h:81");
        assert_eq!(destination.authorization.unwrap(), format!("Basic {}", STANDARD.encode("a@b:p")));
        assert!(parse("https://h").unwrap().authorization.is_none());
    }

    #[test]
    fn an_address_is_parsed_once_and_the_cache_is_bounded() {
        let targets = Targets::default();
        assert!(Arc::ptr_eq(&targets.get("http://h/"), &targets.get("http://h/")));
        for n in 0..=TARGETS_CACHED_MAX {
            let _ = targets.get(&format!("http://h/{n}"));
        }
        assert!(targets.0.read().unwrap().len() <= TARGETS_CACHED_MAX);
    }
}
