//! Numbers and addresses of people, on their way past a log.

use std::fmt;

/// A value that prints as `…`, in `{}` and in `{:?}`: what of a caller, a callee or a peer must not stand
/// in a log by accident.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns what is hidden, to work with.
    pub const fn inner(&self) -> &T {
        &self.0
    }

    /// Returns what prints as it is. Only as an argument of `debug!` or `trace!`: a test reads the sources
    /// and finds it anywhere else.
    pub const fn at_debug(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Redacted<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_sees_it() {
        let number = Redacted::new("+48221234567");
        assert_eq!(format!("{number} {number:?} {:?}", Some(number)), "… … Some(…)");
        assert_eq!((*number.inner(), *number.at_debug()), ("+48221234567", "+48221234567"));
    }
}
