//! Sizes and periods as people write them, and limits that may be absent.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A number of bytes: `512`, `64KiB`, `1MiB`, `10GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A length of time: ISO 8601 (`PT3S`, `P7D`) or friendly (`3s`, `7d`, `1h 30m`). A day is 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A limit, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T>(pub Option<T>);

/// Why a text is no size or period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No number of bytes.
    #[error("`{0}` is no size: write a number and, if you like, a unit: 512, 64KiB, 1MiB, 10GB")]
    Size(String),
    /// No length of time.
    #[error("`{0}` is no length of time: write PT30S, P7D, 30s, 7d, 1h 30m")]
    Period(String),
}

/// Units of sizes, longest first within a family so that printing finds the largest that divides.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// The factor of a unit, in either family, as Kubernetes and disk makers write them.
fn factor(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return None,
    })
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fault = || QuantityError::Size(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits).ok_or_else(fault)?;
        let number: u64 = number.parse().map_err(|_| fault())?;
        let factor = factor(unit.trim()).ok_or_else(fault)?;
        number.checked_mul(factor).map(Self).ok_or_else(fault)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match whole {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Period {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fault = || QuantityError::Period(text.to_owned());
        let span: jiff::Span = text.trim().parse().map_err(|_| fault())?;
        let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| fault())?;
        Duration::try_from(length).map(Self).map_err(|_| fault())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(length) => write!(f, "{length}"),
            Err(_) => write!(f, "PT{}S", self.0.as_secs()),
        }
    }
}

impl<T: FromStr> FromStr for Limit<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text.eq_ignore_ascii_case("none") { Ok(Self(None)) } else { text.parse().map(|limit| Self(Some(limit))) }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("none"),
        }
    }
}

macro_rules! serialize_as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(Size, Period, Limit<Size>, Limit<Period>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes, printed) in [
            ("0", 0, "0"),
            ("512", 512, "512"),
            ("512B", 512, "512"),
            ("1KiB", 1024, "1KiB"),
            ("1 MiB", 1 << 20, "1MiB"),
            ("16Mi", 16 << 20, "16MiB"),
            ("1536KiB", 1536 << 10, "1536KiB"),
            ("10GB", 10_000_000_000, "9765625KiB"),
            ("1k", 1000, "1000"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size, Size(bytes), "{text}");
            assert_eq!(size.to_string(), printed, "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5MiB", "1 QiB", "99999999999TiB", "1MiB2"] {
            assert_eq!(bad.parse::<Size>(), Err(QuantityError::Size(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn periods() {
        for (text, seconds, printed) in [
            ("PT3S", 3.0, "PT3S"),
            ("P7D", 604_800.0, "PT168H"),
            ("7d", 604_800.0, "PT168H"),
            ("1h 30m", 5400.0, "PT1H30M"),
            ("PT0.2S", 0.2, "PT0.2S"),
            ("250ms", 0.25, "PT0.25S"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.0, Duration::from_secs_f64(seconds), "{text}");
            assert_eq!(period.to_string(), printed, "{text}");
        }
        for bad in ["", "7", "-PT3S", "soon", "P1M", "PT"] {
            assert_eq!(bad.parse::<Period>(), Err(QuantityError::Period(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn a_limit_may_be_absent() {
        assert_eq!("none".parse::<Limit<Size>>(), Ok(Limit(None)));
        assert_eq!("1KiB".parse::<Limit<Size>>(), Ok(Limit(Some(Size(1024)))));
        assert!("never".parse::<Limit<Period>>().is_err());
        assert_eq!(Limit::<Size>(None).to_string(), "none");
    }
}
