//! Patterns of `LIKE`, prepared: `%` is any number of characters, `_` is one, `\%` and `\_` are themselves.
//!
//! Matching takes time linear in the text for any pattern: what stands between two `%` is searched for once, from left
//! to right, and all that follows begins behind it.

/// Most characters between two `%` where `_` is among them: as many as one machine word has bits, which is what makes the
/// search for them linear.
const SEARCHED_CHARS_MAX: usize = 64;

/// A prepared pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What the text begins with; the whole text where there is no `%`.
    first: Piece,
    /// What must be found behind it, in order, and what the text ends with; `None` without `%`.
    rest: Option<(Vec<Sought>, Piece)>,
}

/// Characters in a row, each given or (`None`) any.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Mixed(Vec<Option<char>>),
}

/// A piece that may lie anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sought {
    Plain(String),
    /// For each character of the piece, the positions at which it fits, as bits; then those at which any fits, and the bit
    /// of the last position.
    Mixed {
        fits: Vec<(char, u64)>,
        any: u64,
        last: u64,
    },
}

impl Pattern {
    /// Prepares a pattern.
    ///
    /// # Errors
    /// In plain words, for what cannot be searched for in linear time.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let mut pieces = vec![Vec::new()];
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            let wanted = match c {
                '%' => {
                    pieces.push(Vec::new());
                    continue;
                }
                '_' => None,
                '\\' => Some(chars.next_if(|next| matches!(next, '%' | '_')).unwrap_or('\\')),
                c => Some(c),
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(wanted);
            }
        }
        let mut pieces = pieces.into_iter();
        let first = Piece::new(pieces.next().unwrap_or_default());
        let rest = match pieces.next_back() {
            None => None,
            Some(end) => {
                let middle = pieces.filter(|piece| !piece.is_empty()).map(Sought::new);
                Some((middle.collect::<Result<_, _>>()?, Piece::new(end)))
            }
        };
        Ok(Self { first, rest })
    }

    /// Whether the whole text is as the pattern says.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(behind) = self.first.after(text) else { return false };
        let Some((middle, end)) = &self.rest else { return behind.is_empty() };
        let Some(mut within) = end.before(behind) else { return false };
        for sought in middle {
            match sought.after(within) {
                Some(rest) => within = rest,
                None => return false,
            }
        }
        true
    }
}

impl Piece {
    fn new(wanted: Vec<Option<char>>) -> Self {
        match wanted.iter().copied().collect() {
            Some(plain) => Self::Plain(plain),
            None => Self::Mixed(wanted),
        }
    }

    /// The text behind this piece, if it begins with it.
    fn after<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            // Comparing nothing with an empty String's dangling pointer costs some processors 80 ns.
            Self::Plain(plain) if plain.is_empty() => Some(text),
            Self::Plain(plain) => text.strip_prefix(plain.as_str()),
            Self::Mixed(wanted) => {
                let mut chars = text.chars();
                for wanted in wanted {
                    let c = chars.next()?;
                    if wanted.is_some_and(|wanted| wanted != c) {
                        return None;
                    }
                }
                Some(chars.as_str())
            }
        }
    }

    /// The text before this piece, if it ends with it.
    fn before<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Plain(plain) if plain.is_empty() => Some(text),
            Self::Plain(plain) => text.strip_suffix(plain.as_str()),
            Self::Mixed(wanted) => {
                let mut chars = text.chars();
                for wanted in wanted.iter().rev() {
                    let c = chars.next_back()?;
                    if wanted.is_some_and(|wanted| wanted != c) {
                        return None;
                    }
                }
                Some(chars.as_str())
            }
        }
    }
}

impl Sought {
    fn new(wanted: Vec<Option<char>>) -> Result<Self, String> {
        let length = wanted.len();
        let wanted = match Piece::new(wanted) {
            Piece::Plain(plain) => return Ok(Self::Plain(plain)),
            Piece::Mixed(wanted) => wanted,
        };
        if length > SEARCHED_CHARS_MAX {
            return Err(format!(
                "the pattern has {length} characters with `_` among them between two `%`; at most {SEARCHED_CHARS_MAX} \
                 are allowed"
            ));
        }
        let mut fits: Vec<(char, u64)> = Vec::new();
        let mut any = 0;
        for (position, wanted) in wanted.iter().enumerate() {
            let bit = 1_u64 << position;
            match wanted {
                None => any |= bit,
                Some(c) => match fits.iter_mut().find(|(known, _)| known == c) {
                    Some((_, bits)) => *bits |= bit,
                    None => fits.push((*c, bit)),
                },
            }
        }
        Ok(Self::Mixed { fits, any, last: 1 << (length - 1) })
    }

    /// The text behind the first place where this lies.
    fn after<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Plain(plain) => text.split_once(plain.as_str()).map(|(_, behind)| behind),
            Self::Mixed { fits, any, last } => {
                // Bit n: the characters read last are the first n + 1 of the piece.
                let mut begun = 0_u64;
                let mut chars = text.chars();
                while let Some(c) = chars.next() {
                    let fit = fits.iter().find(|(known, _)| *known == c).map_or(0, |(_, bits)| *bits);
                    begun = ((begun << 1) | 1) & (fit | any);
                    if begun & last != 0 {
                        return Some(chars.as_str());
                    }
                }
                None
            }
        }
    }
}
