//! Texts that values of a message are held against.

use std::fmt;
use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};

/// What a value must look like, letters in either case:
///
/// | written | matches |
/// |---|---|
/// | `+48221234567` | exactly this |
/// | `+48*`, `*.example.com`, `*scanner*` | `*` stands for anything, also nothing |
/// | `re:^\+48(22\|61)` | a regular expression, anywhere in the value unless anchored |
///
/// Time is linear in the value, which is cut at [`VALUE_BYTES_MAX`] before.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// What stands between the stars; one piece where there is no star.
    Pieces(Vec<Box<[u8]>>),
    Regex(Regex),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Nothing would be asked.
    #[error("an empty pattern matches nothing: leave the key out, or write `*`")]
    Empty,
    /// The expression is wrong or too large.
    #[error("regular expression `{text}`: {reason}")]
    Regex {
        /// As written.
        text: String,
        /// What the library says, in one line.
        reason: String,
    },
    /// Longer than a pattern may be.
    #[error("a pattern of {have} bytes is more than {PATTERN_BYTES_MAX}")]
    TooLong {
        /// Bytes there are.
        have: usize,
    },
}

impl Pattern {
    /// Whether `value` matches. Looks at the first [`VALUE_BYTES_MAX`] bytes.
    pub fn matches(&self, value: &[u8]) -> bool {
        let value = cut(value);
        match &self.kind {
            Kind::Regex(regex) => regex.is_match(value),
            Kind::Pieces(pieces) => match pieces.as_slice() {
                [] => false,
                [whole] => value.eq_ignore_ascii_case(whole),
                [first, middle @ .., last] => between(value, first, middle, last),
            },
        }
    }
}

/// The part of a value that patterns look at.
pub(super) fn cut(value: &[u8]) -> &[u8] {
    &value[..value.len().min(VALUE_BYTES_MAX)]
}

fn between(value: &[u8], first: &[u8], middle: &[Box<[u8]>], last: &[u8]) -> bool {
    let Some(mut rest) = strip_prefix(value, first) else { return false };
    for piece in middle {
        match find(rest, piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest[rest.len() - last.len()..].eq_ignore_ascii_case(last)
}

fn strip_prefix<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = value.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn find(value: &[u8], piece: &[u8]) -> Option<usize> {
    if piece.is_empty() {
        return Some(0);
    }
    value.windows(piece.len()).position(|window| window.eq_ignore_ascii_case(piece))
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong { have: text.len() });
        }
        let kind = match text.strip_prefix(REGEX_MARK) {
            Some(regex) => Kind::Regex(compile(regex)?),
            None => Kind::Pieces(text.split('*').map(|piece| piece.as_bytes().into()).collect()),
        };
        Ok(Self { text: text.into(), kind })
    }
}

fn compile(text: &str) -> Result<Regex, PatternError> {
    let built = RegexBuilder::new(text)
        .case_insensitive(true)
        // `\w` of all scripts is large, and numbers and domains are ASCII.
        .unicode(false)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_CACHE_BYTES_MAX)
        .nest_limit(REGEX_NEST_MAX)
        .build();
    built.map_err(|error| PatternError::Regex { text: text.into(), reason: reason(&error) })
}

/// The library draws the place over several lines; the last one says what is wrong.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("too large: it needs more than {limit} bytes when compiled")
        }
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            last.strip_prefix("error: ").unwrap_or(last).into()
        }
    }
}

/// As written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Begins a regular expression.
const REGEX_MARK: &str = "re:";
/// Longest pattern.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// Bytes of a value that are looked at: more than any number, name or domain has, and few enough that the
/// worst expression is done in milliseconds.
pub const VALUE_BYTES_MAX: usize = 1_024;
/// A compiled expression: what it costs on the worst value grows with it.
const REGEX_BYTES_MAX: usize = 64 << 10;
/// What an expression may keep while it matches.
const REGEX_CACHE_BYTES_MAX: usize = 1 << 20;
/// Groups inside each other.
const REGEX_NEST_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(value.as_bytes())
    }

    #[test]
    fn texts_stars_and_expressions() {
        for (pattern, value, want) in [
            ("+48221234567", "+48221234567", true),
            ("+48221234567", "+482212345678", false),
            ("Alice", "aLICE", true),
            ("+48*", "+48", true),
            ("+48*", "+4822", true),
            ("+48*", "+4922", false),
            ("*.example.com", "SBC1.Example.Com", true),
            ("*.example.com", "example.com", false),
            ("*scanner*", "friendly-Scanner/1", true),
            ("*scanner*", "friendly", false),
            ("a*b*a", "aba", true),
            ("a*b*a", "ab", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("**", "x", true),
            ("re:^\\+48(22|61)", "+4861000", true),
            ("re:^\\+48(22|61)", "0048610", false),
            ("re:scanner$", "a SCANNER", true),
            ("re:", "anything", true),
        ] {
            assert_eq!(matches(pattern, value), want, "{pattern} on {value}");
        }
        // Bytes, whatever they mean; letters of other scripts as they are written.
        assert!("re:^\\xff$".parse::<Pattern>().unwrap().matches(&[0xff]));
        assert!(matches("re:^za.{4}", "zażółć") && matches("re:żó", "zażółć"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let error = |text: &str| text.parse::<Pattern>().unwrap_err();
        assert_eq!(error(""), PatternError::Empty);
        assert_eq!(error(&"x".repeat(1_025)), PatternError::TooLong { have: 1_025 });
        assert!(error("re:(").to_string().contains("unclosed group"), "{}", error("re:("));
        assert!(error("re:(a{1000}){1000}").to_string().contains("too large"));
        assert!(error("re:(a)\\1").to_string().contains("backreferences"));
    }

    /// Patterns and inputs that blow up where a matcher backtracks: each is done in bounded time, which
    /// is counted in bytes looked at, and none panics.
    #[test]
    fn a_thousand_evil_pairs_have_an_answer() {
        let shapes = [
            "re:(a+)+$",
            "re:(a|a)*$",
            "re:(a|aa)+$",
            "re:(.*a){20}$",
            "re:([a-z]+)*\\d",
            "re:^(([a-z])+.)+[A-Z]([a-z])+$",
            "re:(x+x+)+y",
            "re:(?:a?){30}a{30}",
            "re:[01]*1[01]{12}$",
            "*a*a*a*a*a*a*a*a*b",
        ];
        let (mut matched, mut state) = (0, 7_u32);
        for round in 0..1_000_usize {
            let pattern: Pattern = shapes[round % shapes.len()].parse().unwrap();
            let mut input = vec![b"ax01"[round / 10 % 4]; 64 + round * 97];
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % input.len();
            input[at] = (state >> 24) as u8;
            matched += usize::from(pattern.matches(&input));
            // Nothing after the bound decides.
            input.truncate(VALUE_BYTES_MAX);
            let whole = pattern.matches(&input);
            input.extend_from_slice(b"b!");
            assert!(input.len() <= VALUE_BYTES_MAX || pattern.matches(&input) == whole);
        }
        assert!((100..1_000).contains(&matched), "{matched}");
    }

    #[test]
    fn hostile_patterns_are_refused_or_compiled() {
        let mut state = 3_u32;
        let mut compiled = 0;
        for round in 0..1_000_usize {
            let mut text = String::from("re:");
            for _ in 0..round % 40 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(
                    [
                        "(", ")", "*", "+", "{9}", "{1,99}", "[^", "]", "|", "\\", "a", ".", "\\p{L}",
                        "(?i)", "é",
                    ][(state >> 20) as usize % 15],
                );
            }
            if let Ok(pattern) = text.parse::<Pattern>() {
                compiled += 1;
                let _ = pattern.matches(&[0xc3; 100]);
            }
        }
        assert!(compiled > 20, "{compiled}");
    }
}
