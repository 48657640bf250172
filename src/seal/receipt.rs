//! Receipts: one for each recording, an entry of the signed log. Beside them, [`crate::seal::event`].
//!
//! A receipt is readable by everybody, so it holds nothing about who spoke: no number, no name, no
//! Call-ID. It has one text (fields in this order, no spaces), so its hash does not depend on who writes
//! it.

use serde::Deserialize;
use serde::Serialize;

use crate::base::counters::Counters;
use crate::base::time::Stamp;

/// What a recorder says of one recording.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The recording's id (UUIDv7).
    pub id: String,
    /// How it ended.
    pub state: ReceiptState,
    /// Start of the recording.
    pub start: Stamp,
    /// Its end.
    pub end: Stamp,
    /// Its files, sealed. None where a rule kept the call out.
    pub files: Vec<ReceiptFile>,
    /// Rule that decided, with its version; [`UNKNOWN_RULE`] where the recorder died first.
    pub rule: String,
    /// Packets seen, recorded, and not, by reason.
    pub counters: Counters,
    /// Id of the recorder.
    pub recorder: String,
    /// Version of the software.
    pub version: String,
}

/// How a recording ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ReceiptState {
    /// Recorded from start to end.
    Complete,
    /// A rule kept it out.
    ExcludedByRule,
    /// Could not be recorded.
    Failed,
    /// The recorder stopped before the call did.
    Interrupted,
    /// Never answered.
    Unanswered,
}

/// One sealed file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFile {
    /// Name from the directory of recordings: without a folder, but of a canary call with its own.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256 of all of it, in hexadecimal.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
}

/// Why an entry is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Another text than the one that it has.
    #[error("the entry is not in its canonical form")]
    NotCanonical,
    /// A later version of this software wrote it.
    #[error("the entry has schema {found}, this program knows {SCHEMA}: read it with a later version")]
    Schema {
        /// The schema it says.
        found: u32,
    },
    /// Not the JSON of a receipt or event.
    #[error("the entry is neither a receipt nor an event")]
    Unreadable(#[from] serde_json::Error),
}

impl Receipt {
    /// The entry for the log.
    pub fn to_entry(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a receipt has no maps with keys that are not text")
    }

    /// Whether it was written at the start after a recorder that died: what it names is as it was found,
    /// and of the call it says only when it began.
    pub fn is_recovered(&self) -> bool {
        self.state == ReceiptState::Interrupted && self.rule == UNKNOWN_RULE
    }

    /// Reads an entry of the log.
    pub fn from_entry(entry: &[u8]) -> Result<Self, ReceiptError> {
        let SchemaOnly { schema } = serde_json::from_slice(entry)?;
        if schema != SCHEMA {
            return Err(ReceiptError::Schema { found: schema });
        }
        let receipt: Self = serde_json::from_slice(entry)?;
        if receipt.to_entry() == entry { Ok(receipt) } else { Err(ReceiptError::NotCanonical) }
    }
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: u32,
}

pub(super) mod hex {
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error;

    pub(in crate::seal) fn serialize<S: Serializer>(
        bytes: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
        let text: String =
            bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect();
        serializer.serialize_str(&text)
    }

    pub(in crate::seal) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(D::Error::custom("a SHA-256 has 64 hexadecimal digits"));
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit =
                |at: usize| char::from(pair[at]).to_digit(16).ok_or(D::Error::custom("not hexadecimal"));
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Ok(bytes)
    }
}

/// Stands for the rule of a recording that a dead recorder has left.
pub const UNKNOWN_RULE: &str = "unknown";
/// The schema that [`Receipt`] is.
pub const SCHEMA: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            schema: SCHEMA,
            id: "0193c4a5-0000-7000-8000-000000000001".into(),
            state: ReceiptState::ExcludedByRule,
            start: Stamp::from_unix_nanos(1_795_468_121_220_582_001),
            end: Stamp::from_unix_nanos(1_795_468_131_220_582_001),
            files: vec![ReceiptFile { name: "a.opus.age".into(), bytes: 7, sha256: [0xab; 32] }],
            rule: "all@3".into(),
            counters: Counters { captured: 3, recorded: 3, ..Counters::default() },
            recorder: "recorder-1".into(),
            version: "0.1.0".into(),
        }
    }

    #[test]
    fn has_one_text_in_a_fixed_order() {
        let text = String::from_utf8(receipt().to_entry()).unwrap();
        assert!(text.starts_with(r#"{"schema":1,"id":"0193c4a5-0000-7000-8000-000000000001","state":"excluded-by-rule","start":"2026-11-23T21:08:41.220582001Z""#), "{text}");
        assert!(text.ends_with(r#""recorder":"recorder-1","version":"0.1.0"}"#), "{text}");
        assert_eq!(Receipt::from_entry(text.as_bytes()).unwrap(), receipt());
        let spaced = text.replace(",\"id\"", ", \"id\"");
        assert!(matches!(Receipt::from_entry(spaced.as_bytes()), Err(ReceiptError::NotCanonical)));
        let upper = text.replace(&"ab".repeat(32), &"AB".repeat(32));
        assert!(matches!(Receipt::from_entry(upper.as_bytes()), Err(ReceiptError::NotCanonical)));
    }

    #[test]
    fn other_entries_are_told_apart() {
        let text = String::from_utf8(receipt().to_entry()).unwrap();
        let later = text.replace("\"schema\":1", "\"schema\":2,\"new\":true");
        assert!(matches!(Receipt::from_entry(later.as_bytes()), Err(ReceiptError::Schema { found: 2 })));
        let more = text.replace("\"schema\":1", "\"schema\":1,\"number\":\"+420\"");
        assert!(matches!(Receipt::from_entry(more.as_bytes()), Err(ReceiptError::Unreadable(_))));
        assert!(matches!(Receipt::from_entry(b""), Err(ReceiptError::Unreadable(_))));
    }
}
