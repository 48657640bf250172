//! Answers of rules, where a message need not tell what is asked.

/// Whether something holds (Kleene's strong logic of three values): of conditions that must all hold the
/// least counts, of those of which one is enough the greatest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Truth {
    /// It does not.
    No,
    /// It cannot be told.
    Unknown,
    /// It does.
    Yes,
}

impl Truth {
    pub(super) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }

    /// What holds, or of which no more can be said than `otherwise`.
    pub(super) fn or(self, otherwise: Self) -> Self {
        self.max(otherwise)
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}
