//! Globs over config keys: the one implementation for subscriptions, rules and routes.
//!
//! `*` any run of characters, dots included · `?` one character · `[abc]`, `[a-z]`, `[!abc]` one of a set ·
//! `+` exactly one segment. Anchored at both ends, case-sensitive, over Unicode characters.

use std::fmt;

/// A compiled glob.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Char(char),
    AnyChar,
    Set { negated: bool, ranges: Vec<(char, char)> },
    Segment,
    Run,
}

/// Why a text is not a glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobError {
    /// Which character of the text, counted from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (character {})", self.reason, self.at + 1)
    }
}

impl std::error::Error for GlobError {}

impl Glob {
    /// The longest glob, in bytes: as long as the longest key.
    pub const MAX_BYTES: usize = 512;

    /// Compiles a glob.
    ///
    /// # Errors
    /// If it is empty or too long, a set is not closed, or a `+` does not stand alone in its segment.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError { at: 0, reason: "a pattern must not be empty" });
        }
        if text.len() > Self::MAX_BYTES {
            return Err(GlobError { at: Self::MAX_BYTES, reason: "a pattern has at most 512 bytes" });
        }
        let chars: Vec<char> = text.chars().collect();
        let mut tokens = Vec::with_capacity(chars.len());
        let mut at = 0;
        while at < chars.len() {
            at = push_token(&chars, at, &mut tokens)?;
        }
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// Whether the whole of `key` matches. Takes at most `key x pattern` steps, whatever the pattern.
    pub fn matches(&self, key: &str) -> bool {
        // The classic two-pointer walk: between two runs every token takes a length that is fixed by where it starts,
        // so only the last run ever has to be tried at another length.
        let (mut at, mut token) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            if token == self.tokens.len() && at == key.len() {
                return true;
            }
            match self.tokens.get(token) {
                Some(Token::Run) => {
                    retry = Some((at, token));
                    token += 1;
                    continue;
                }
                Some(one) => {
                    if let Some(length) = one.length(&key[at..]) {
                        (at, token) = (at + length, token + 1);
                        continue;
                    }
                }
                None => {}
            }
            let Some((from, run)) = retry else { return false };
            let Some(next) = key[from..].chars().next() else { return false };
            at = from + next.len_utf8();
            retry = Some((at, run));
            token = run + 1;
        }
    }

    /// The text every matching key starts with; the whole key if the glob has no wildcard.
    pub fn literal_prefix(&self) -> String {
        self.beginning().collect()
    }

    /// The characters every matching key starts with.
    pub(crate) fn beginning(&self) -> impl Iterator<Item = char> {
        self.tokens.iter().map_while(|token| if let Token::Char(c) = token { Some(*c) } else { None })
    }

    /// Whether this glob matches one key only.
    pub fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Char(_)))
    }

    /// What it is made of, in order.
    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The glob as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

/// Reads the token that starts at `at` and gives where the next one starts.
fn push_token(chars: &[char], at: usize, tokens: &mut Vec<Token>) -> Result<usize, GlobError> {
    match chars[at] {
        '*' => {
            if tokens.last() != Some(&Token::Run) {
                tokens.push(Token::Run);
            }
        }
        '?' => tokens.push(Token::AnyChar),
        '+' => {
            let alone =
                (at == 0 || chars[at - 1] == '.') && chars.get(at + 1).is_none_or(|next| *next == '.');
            if !alone {
                return Err(GlobError { at, reason: "`+` stands for a whole segment: write `a.+.b`" });
            }
            tokens.push(Token::Segment);
        }
        '[' => return push_set(chars, at, tokens),
        c => tokens.push(Token::Char(c)),
    }
    Ok(at + 1)
}

fn push_set(chars: &[char], open: usize, tokens: &mut Vec<Token>) -> Result<usize, GlobError> {
    let unclosed = GlobError { at: open, reason: "`[` without its `]`" };
    let negated = chars.get(open + 1) == Some(&'!');
    let mut at = open + 1 + usize::from(negated);
    let mut ranges = Vec::new();
    // A `]` that comes first is a member of the set, as in every shell.
    while ranges.is_empty() || chars.get(at) != Some(&']') {
        let low = *chars.get(at).ok_or_else(|| unclosed.clone())?;
        let is_range = chars.get(at + 1) == Some(&'-') && chars.get(at + 2).is_some_and(|c| *c != ']');
        let high = if is_range { chars[at + 2] } else { low };
        if high < low {
            return Err(GlobError { at, reason: "a range in a set runs backwards" });
        }
        ranges.push((low, high));
        at += if is_range { 3 } else { 1 };
    }
    tokens.push(Token::Set { negated, ranges });
    Ok(at + 1)
}

impl Token {
    /// How many bytes at the start of `rest` this token takes; never called for a run.
    fn length(&self, rest: &str) -> Option<usize> {
        let first = rest.chars().next()?;
        match self {
            Self::Segment => Some(rest.find('.').unwrap_or(rest.len())).filter(|length| *length > 0),
            one => one.takes(first).then(|| first.len_utf8()),
        }
    }

    /// Whether this token takes a character, as the only one or as one of several.
    pub(crate) fn takes(&self, one: char) -> bool {
        match self {
            Self::Char(c) => *c == one,
            Self::AnyChar | Self::Run => true,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&one)) != *negated
            }
            Self::Segment => one != '.',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(glob: &str, matching: &[&str], others: &[&str]) {
        let compiled = Glob::new(glob).expect(glob);
        for key in matching {
            assert!(compiled.matches(key), "{glob} should match {key}");
        }
        for key in others {
            assert!(!compiled.matches(key), "{glob} should not match {key}");
        }
    }

    #[test]
    fn globs_match_as_the_contract_says() {
        check("*", &["a", "a.b.c", ""], &[]);
        check(
            "app.database.*",
            &["app.database.host", "app.database.pool.size"],
            &["app.database", "app.databases.x"],
        );
        check("app.?", &["app.x", "app.ü"], &["app.", "app.xy"]);
        check("[a-c]x[!0-9]", &["axz", "cx."], &["dxz", "ax1"]);
        check("[]]x", &["]x"], &["x"]);
        check("app.+.host", &["app.db.host"], &["app.host", "app.a.b.host", "app..host"]);
        check("*.+", &["a.b", "a.b.c"], &["a", "a."]);
        check("*a*b*", &["ab", "xaxbx"], &["ba"]);
        check("App.x", &["App.x"], &["app.x"]);
    }

    #[test]
    fn what_is_no_glob_is_refused_with_its_place() {
        for (text, at) in [("", 0), ("a.[b", 2), ("a+.b", 1), ("[z-a]", 1), ("[]", 0)] {
            assert_eq!(Glob::new(text).expect_err(text).at, at, "{text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let glob = Glob::new(&"*a".repeat(100)).expect("valid");
        assert!(!glob.matches(&format!("{}b", "a".repeat(500))));
    }
}
