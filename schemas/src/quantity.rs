//! Byte counts such as `10Gi`, as Kubernetes writes quantities.

/// Why a text is no byte count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no number of bytes; write for example 500Mi, 10Gi, 1.5Gi or 1000000")]
pub struct QuantityError(String);

/// The suffixes and what they multiply by.
const SUFFIXES: [(&str, u128); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

/// Most decimals read; more would be parts of a byte even under the largest suffix people use.
const DECIMALS_MAX: usize = 9;

/// Reads a number of bytes with an optional suffix; parts of a byte are cut off.
///
/// # Errors
/// [`QuantityError`] where the text is no such number, or more than 2^64 − 1 bytes.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    bytes(text).ok_or_else(|| QuantityError(text.chars().take(64).collect()))
}

fn bytes(text: &str) -> Option<u64> {
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, *factor)))
        .unwrap_or((text, 1));
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > DECIMALS_MAX {
        return None;
    }
    let scale = 10_u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let part = decimals.parse::<u128>().ok()?.checked_mul(factor)?.checked_div(scale)?;
    let sum = whole.parse::<u128>().ok()?.checked_mul(factor)?.checked_add(part)?;
    u64::try_from(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_bytes(text).ok(), expected, "{text}");
        check("0", Some(0));
        check("1000000", Some(1_000_000));
        check("10Gi", Some(10 << 30));
        check("1.5Ki", Some(1536));
        check("10k", Some(10_000));
        check("15Ei", Some(15 << 60));
        check("16Ei", None);
        for bad in ["", "Gi", "-1", "10 Gi", "10gb", "1.5.5Gi", ".5Gi", "1.", "1e3", "ten", "9".repeat(50).as_str()] {
            check(bad, None);
        }
        assert!(parse_bytes("10gb").unwrap_err().to_string().contains("10Gi"));
    }
}
