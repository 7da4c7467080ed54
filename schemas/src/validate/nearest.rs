//! The word somebody probably meant.

/// Longest words compared, in characters; longer ones are no slips of the finger.
const WORD_CHARS_MAX: usize = 64;

/// The candidate that differs from `word` by case alone, or by at most two slips (and half of its length), if any.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(WORD_CHARS_MAX).flat_map(char::to_lowercase).collect();
    candidates
        .into_iter()
        .map(|candidate| {
            let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            (distance(&word, &letters), letters.len(), candidate)
        })
        .filter(|(slips, length, _)| *slips <= 2 && slips * 2 <= *length)
        .min_by_key(|(slips, ..)| *slips)
        .map(|(.., candidate)| candidate)
}

/// Letters to insert, remove or replace to make one word of the other (Levenshtein).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.iter().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(right) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            before = replaced.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let words = ["subscriber", "broker", "filter", "filters", "uri"];
        let check = |word: &str, expected: Option<&str>| assert_eq!(nearest(word, words), expected, "{word}");
        check("Broker", Some("broker"));
        check("subcriber", Some("subscriber"));
        check("borker", Some("broker"));
        check("filtr", Some("filter"));
        check("url", Some("uri"));
        check("x", None);
        check("", None);
        check("sink", None);
    }
}
