//! Names of Brokers and Triggers, as Kubernetes spells them.

use std::fmt;
use std::str::FromStr;

/// Longest name or namespace accepted, in bytes (Kubernetes' DNS subdomain limit).
pub const NAME_BYTES_MAX: usize = 253;

/// A namespace or object name: a DNS subdomain of RFC 1123 (`[a-z0-9.-]`, alphanumeric at both ends),
/// so that it is safe as a path segment of a URL and of the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(std::sync::Arc<str>);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no Kubernetes name: use 1 to 253 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
)]
pub struct NameError(String);

impl Name {
    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        let bytes = text.as_bytes();
        let sound = bytes.len() <= NAME_BYTES_MAX
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(inner)
            && !text.contains("..");
        if sound { Ok(Self(text.into())) } else { Err(NameError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which Broker: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerKey {
    /// The Broker's namespace.
    pub namespace: Name,
    /// The Broker's name.
    pub name: Name,
}

/// Which Trigger: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TriggerKey {
    /// The Trigger's namespace.
    pub namespace: Name,
    /// The Trigger's name.
    pub name: Name,
}

macro_rules! key {
    ($key:ident) => {
        impl $key {
            /// Builds a key from two texts.
            ///
            /// # Errors
            /// [`NameError`] names the part that is no Kubernetes name.
            pub fn parse(namespace: &str, name: &str) -> Result<Self, NameError> {
                Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
            }
        }

        impl fmt::Display for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }

        impl FromStr for $key {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let (namespace, name) = text.split_once('/').ok_or_else(|| NameError(text.to_owned()))?;
                Self::parse(namespace, name)
            }
        }
    };
}

key!(BrokerKey);
key!(TriggerKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "default", "a-b", "a.b", "0", &"x".repeat(253)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "..", "a..b", ".a", "é", &"x".repeat(254)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_print_as_they_parse() {
        let key: TriggerKey = "ns/orders".parse().unwrap();
        assert_eq!(key.to_string(), "ns/orders");
        assert!("orders".parse::<TriggerKey>().is_err());
    }
}
