//! Whose voice.

use serde::{Deserialize, Serialize};

/// A side of a call: *participant* in RFC 7865.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// Sent the first INVITE. Left channel.
    Caller,
    /// Was called. Right channel.
    Callee,
    /// Not known: media without signalling.
    Unknown,
}

impl Party {
    /// The one they talk to.
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
            Self::Unknown => Self::Unknown,
        }
    }
}
