//! Which event types and sources a segment holds, as a Bloom filter, so that a filtered replay can pass a segment
//! over without reading it. Pure. It may say yes wrongly, never no.

use std::collections::HashSet;

use super::format::{Fields, FormatError};

/// Distinct values gathered per segment; with more of them the filter says yes to everything. 4,096 values take a
/// filter of 6 KiB, and 64 KiB while the segment is being written.
pub const DISTINCT_MAX: usize = 4096;
/// 12 bits for each value and 4 probes: about one wrong yes in 300.
const BITS_PER_VALUE: usize = 12;
const PROBES: u64 = 4;

/// Which attribute a value stood in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `type`
    Type,
    /// `source`
    Source,
}

/// FNV-1a over a tag and the value; part of the file format.
fn hash(field: Field, value: &str) -> u64 {
    let tag: u8 = match field {
        Field::Type => b't',
        Field::Source => b's',
    };
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    value.bytes().fold(step(0xcbf2_9ce4_8422_2325, tag), step)
}

/// The values of a segment that is being written.
#[derive(Debug, Clone, Default)]
pub struct Distinct {
    hashes: HashSet<u64>,
    saturated: bool,
}

impl Distinct {
    /// Takes a value in.
    pub fn add(&mut self, field: Field, value: &str) {
        if self.saturated {
            return;
        }
        self.hashes.insert(hash(field, value));
        if self.hashes.len() > DISTINCT_MAX {
            self.saturated = true;
            self.hashes = HashSet::new();
        }
    }

    /// Whether the segment may hold such an event.
    #[must_use]
    pub fn may_hold(&self, field: Field, value: &str) -> bool {
        self.saturated || self.hashes.contains(&hash(field, value))
    }

    /// The filter of all values taken in.
    #[must_use]
    pub fn filter(&self) -> Bloom {
        if self.saturated {
            return Bloom::default();
        }
        let mut words = vec![0_u64; (self.hashes.len() * BITS_PER_VALUE).div_ceil(64).max(1)];
        for hash in &self.hashes {
            for bit in probes(*hash, words.len()) {
                if let Some(word) = words.get_mut(bit / 64) {
                    *word |= 1 << (bit % 64);
                }
            }
        }
        Bloom { words }
    }
}

/// Which bits stand for a hash in a filter of so many words.
fn probes(hash: u64, words: usize) -> impl Iterator<Item = usize> {
    let bits = u64::try_from(words.max(1)).unwrap_or(1) * 64;
    let step = hash.rotate_left(32) | 1;
    (0..PROBES).map(move |probe| {
        let bit = hash.wrapping_add(step.wrapping_mul(probe)) % bits;
        usize::try_from(bit).unwrap_or_default()
    })
}

/// A finished filter; one without bits says yes to everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bloom {
    words: Vec<u64>,
}

impl Bloom {
    /// Whether the segment may hold such an event.
    #[must_use]
    pub fn may_hold(&self, field: Field, value: &str) -> bool {
        let set = |bit: usize| self.words.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0);
        self.words.is_empty() || probes(hash(field, value), self.words.len()).all(set)
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&u32::try_from(self.words.len()).unwrap_or(0).to_le_bytes());
        for word in &self.words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self, FormatError> {
        let count = usize::try_from(fields.u32()?).map_err(|_| FormatError::Length)?;
        let mut fields = Fields(fields.bytes(count.checked_mul(8).ok_or(FormatError::Length)?)?);
        let mut words = Vec::with_capacity(count);
        while !fields.0.is_empty() {
            words.push(fields.u64()?);
        }
        Ok(Self { words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_denies_what_it_holds_and_seldom_claims_what_it_does_not() {
        let mut distinct = Distinct::default();
        let value = |n: usize| format!("com.example.{n}");
        for n in 0..1000 {
            distinct.add(Field::Type, &value(n));
        }
        let filter = distinct.filter();
        assert!(
            (0..1000).all(|n| filter.may_hold(Field::Type, &value(n)) && distinct.may_hold(Field::Type, &value(n)))
        );
        let wrong = (1000..11_000).filter(|n| filter.may_hold(Field::Type, &value(*n))).count();
        assert!(wrong < 200, "{wrong} of 10,000");
        let swapped = (0..1000).filter(|n| filter.may_hold(Field::Source, &value(*n))).count();
        assert!(swapped < 50, "{swapped} of 1,000");
    }

    #[test]
    fn too_many_values_make_it_say_yes() {
        let mut distinct = Distinct::default();
        (0..=DISTINCT_MAX).for_each(|n| distinct.add(Field::Source, &n.to_string()));
        assert!(distinct.may_hold(Field::Type, "any") && distinct.filter().may_hold(Field::Type, "any"));
    }
}
