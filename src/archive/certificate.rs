//! Certificates of destruction, in the words of NIST SP 800-88 r2: what was erased, how, by whom, at whose word, and
//! what is left of it.
//!
//! A certificate is an entry of the vault's log, and files are made from that entry: it cannot be had without it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::archive::access::{NOTE_BYTES_MAX, Reason};
use crate::archive::entry::IDS_MAX;
use crate::archive::record::{Digest, RecordingId};
use crate::archive::request::{Agreement, Request, What};
use crate::base::time::Stamp;

/// A certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whose log it is in: the vault's public key.
    pub vault: String,
    /// What was erased.
    pub erased: Erased,
    /// Under whose key it was: `CLASS/2026-11`.
    pub epoch: String,
    /// [`METHOD`].
    pub method: String,
    /// [`TECHNIQUE`].
    pub technique: String,
    /// Program and version.
    pub tool: String,
    /// How it was checked that it is so.
    pub verification: String,
    /// Who asked, who agreed and why.
    pub authority: Authority,
    /// Who carried it out.
    pub by: String,
    /// When it was carried out.
    pub at: Stamp,
    /// Number of the log's entry that let it be done.
    pub grant: u64,
    /// How many key places it was erased in.
    pub key_places: u64,
    /// What became of the copies of the sealed files.
    pub copies: Vec<CopiesIn>,
    /// Media that are offline and have copies: unreadable from now on.
    pub media: Vec<String>,
    /// What is left, in words.
    pub remains: Vec<String>,
}

/// What was erased.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Erased {
    /// The envelopes of recordings.
    Recordings(Vec<ErasedRecording>),
    /// The key of an epoch, with all envelopes and the key of its index.
    Epoch,
}

/// A recording that was erased.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedRecording {
    /// Its id.
    pub id: RecordingId,
    /// SHA-256 of the sealed payloads of its files.
    pub sha256: Vec<Digest>,
}

/// Who wanted it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The request's number: its entry in the log.
    pub request: u64,
    /// Custodian who asked.
    pub asked_by: String,
    /// When.
    pub asked_at: Stamp,
    /// Who agreed; with nobody, cooling-off time was over.
    pub agreed: Option<Agreement>,
    /// What it rests on.
    pub what: What,
    /// Why; cut where it is long, for the request's own entry has it.
    pub reason: Reason,
}

impl Authority {
    /// Of a request.
    pub fn of(request: &Request) -> Self {
        let Reason { code, text } = &request.reason;
        Self {
            request: request.number,
            asked_by: request.by.to_string(),
            asked_at: request.at,
            agreed: request.agreed.clone(),
            what: request.what,
            reason: Reason { code: code.clone(), text: cut(text, NOTE_BYTES_MAX) },
        }
    }
}

/// Puts what is to be erased into batches whose certificates are entries of the log: each names its recordings twice,
/// and all of their files. `files` says how many one has.
pub fn batches<T>(all: Vec<T>, files: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for one in all {
        let more = RECORDING_BYTES + files(&one) * FILE_BYTES;
        let fits = |batch: &&mut Vec<T>| batch.len() < IDS_MAX && bytes + more <= RECORDINGS_BYTES_MAX;
        match batches.last_mut().filter(fits) {
            Some(batch) => {
                batch.push(one);
                bytes += more;
            }
            None => {
                batches.push(vec![one]);
                bytes = more;
            }
        }
    }
    batches
}

/// Lines of a certificate that somebody else makes, cut to what it has room for.
pub fn few(lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(LINES_MAX);
    let mut few: Vec<_> = lines.into_iter().take(LINES_MAX).map(|line| cut(&line, LINE_BYTES_MAX)).collect();
    if more > 0 {
        few.push(format!("and {more} more"));
    }
    few
}

/// A text that is no longer than so many bytes, and says where it was cut.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..end])
}

/// What became of the copies in a place.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiesIn {
    /// The place.
    pub place: String,
    /// Where it stands.
    pub site: String,
    /// Objects that were removed.
    pub removed: u64,
    /// Objects that were not there.
    pub absent: u64,
    /// Objects that stay until their lock ends, unreadable.
    pub locked: u64,
    /// Objects that could not be removed now, unreadable; it is tried again.
    pub failed: u64,
}

impl Certificate {
    /// What it says, for a signed note: a title, then JSON.
    pub fn to_text(&self) -> String {
        let json = serde_json::to_string_pretty(self)
            .expect("a certificate has no maps with keys that are not text");
        format!("{TITLE}\n{json}\n")
    }

    /// Reads what [`Certificate::to_text`] wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        let json = text.strip_prefix(TITLE)?.strip_prefix('\n')?;
        serde_json::from_str(json).ok()
    }

    /// Which recordings it is of; none where it is of an epoch.
    pub fn recordings(&self) -> &[ErasedRecording] {
        match &self.erased {
            Erased::Recordings(recordings) => recordings,
            Erased::Epoch => &[],
        }
    }

    /// A page for people. `number` is that of its entry in the log.
    pub fn to_html(&self, number: u64) -> String {
        let mut rows = String::new();
        let mut row = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(rows, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
        };
        let authority = &self.authority;
        row("Certificate", &format!("entry {number} of the log of {}", self.vault));
        row("Sanitization method", &self.method);
        row("Technique", &self.technique);
        row("Standard", STANDARD);
        row("Tool", &self.tool);
        row("What", &self.what());
        row("Verification", &self.verification);
        row("Request", &format!("{} ({})", authority.request, basis(authority.what)));
        row("Asked by", &format!("{}, {}", authority.asked_by, authority.asked_at));
        row(
            "Agreed by",
            &match &authority.agreed {
                Some(agreed) => format!("{}, {}", agreed.by, agreed.at),
                None => "nobody: it was not taken back in the cooling-off time".into(),
            },
        );
        row("Reason", &format!("{} {}", authority.reason.code, authority.reason.text));
        row("Carried out by", &format!("{}, {}", self.by, self.at));
        row("Key places", &self.key_places.to_string());
        for copies in &self.copies {
            let CopiesIn { removed, absent, locked, failed, .. } = copies;
            row(
                &format!("Copies in {} ({})", copies.place, copies.site),
                &format!(
                    "{removed} objects removed, {absent} not there, {locked} locked, {failed} not reached"
                ),
            );
        }
        self.media.iter().for_each(|medium| row("Medium, offline", medium));
        self.remains.iter().for_each(|remains| row("What remains", remains));
        for recording in self.recordings() {
            let hashes: Vec<_> = recording.sha256.iter().map(Digest::to_string).collect();
            row(
                &format!("Recording {}", recording.id),
                &format!("sealed payloads, SHA-256: {}", hashes.join(", ")),
            );
        }
        format!("{HTML_HEAD}<h1>Certificate of destruction</h1>\n<table>\n{rows}</table>\n")
    }

    fn what(&self) -> String {
        match &self.erased {
            Erased::Recordings(recordings) => {
                format!("the keys (envelopes) of {} recordings of {}", recordings.len(), self.epoch)
            }
            Erased::Epoch => {
                format!("the key of {}, with all envelopes and the key of its index", self.epoch)
            }
        }
    }
}

fn basis(what: What) -> &'static str {
    match what {
        What::Due => "retention time over",
        What::Unneeded => "minimum retention over, no longer needed",
        What::Erasure => "erasure asked for by the data subject, GDPR article 17",
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The schema that [`Certificate`] is.
pub const SCHEMA: u32 = 1;
/// Sanitization method, in the standard's words.
pub const METHOD: &str = "Purge";
/// Technique, in the standard's words.
pub const TECHNIQUE: &str = "Cryptographic Erase (CE)";
/// The standard.
pub const STANDARD: &str = "NIST SP 800-88 Rev. 2";
/// Bytes of an entry that recordings take at most, but for one alone; the rest is for who, why, and what is left.
const RECORDINGS_BYTES_MAX: usize = 40 * 1024;
/// An id in the entry's resource, and once more with the names of fields.
const RECORDING_BYTES: usize = 39 + 58;
/// A hash in hexadecimal, with quotes and comma.
const FILE_BYTES: usize = 67;
/// Lines of [`few`].
const LINES_MAX: usize = 16;
const LINE_BYTES_MAX: usize = 200;
const ELLIPSIS: &str = "…";
const TITLE: &str = "sejf certificate of destruction, NIST SP 800-88 Rev. 2";
const HTML_HEAD: &str = "<!doctype html>\n<meta charset=\"utf-8\">\n<title>Certificate of destruction</title>\n\
    <style>body{font:14px sans-serif;max-width:60em;margin:2em auto}th{text-align:left;vertical-align:top;\
    padding-right:2em;white-space:nowrap}td{overflow-wrap:anywhere}</style>\n";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn certificate() -> Certificate {
        Certificate {
            schema: SCHEMA,
            vault: "vault+1+a".into(),
            erased: Erased::Recordings(vec![ErasedRecording {
                id: RecordingId::from_bytes([1; 16]),
                sha256: vec![Digest::of(b"body")],
            }]),
            epoch: "calls-5y/2026-11".into(),
            method: METHOD.into(),
            technique: TECHNIQUE.into(),
            tool: "sejf 0.1.0".into(),
            verification: "read back".into(),
            authority: Authority {
                request: 7,
                asked_by: "ewa".into(),
                asked_at: Stamp::ZERO,
                agreed: None,
                what: What::Due,
                reason: Reason { code: "retention".into(), text: "<b>T-17</b>\n\nit is over".into() },
            },
            by: "local:root".into(),
            at: Stamp::ZERO,
            grant: 9,
            key_places: 2,
            copies: vec![CopiesIn {
                place: "first".into(),
                site: "here".into(),
                removed: 4,
                absent: 0,
                locked: 0,
                failed: 0,
            }],
            media: vec!["M-3".into()],
            remains: vec!["copies on M-3, unreadable".into()],
        }
    }

    #[test]
    fn batches_have_room_in_an_entry_however_many_files_there_are() {
        for files in [0, 1, 3, 12, 64] {
            let batches = batches((0..250).collect(), |_| files);
            assert_eq!(batches.iter().flatten().copied().collect::<Vec<_>>(), (0..250).collect::<Vec<_>>());
            let largest = batches.iter().map(Vec::len).max().unwrap();
            assert!(
                (1..=IDS_MAX).contains(&largest) && (files > 3 || largest == IDS_MAX),
                "{files}: {largest}"
            );
            let ids: Vec<_> = (0..largest).map(|_| RecordingId::from_bytes([0xff; 16])).collect();
            let erased =
                ids.iter().map(|id| ErasedRecording { id: *id, sha256: vec![Digest::of(b""); files] });
            let erased = Erased::Recordings(erased.collect());
            let bytes = serde_json::to_vec(&(erased, crate::archive::entry::Resource::of(&ids))).unwrap();
            assert!(bytes.len() < RECORDINGS_BYTES_MAX + 200, "{files}: {}", bytes.len());
        }
        // One alone may have more: its receipt is an entry of a log too, and has its hashes in it.
        assert_eq!(batches(vec![1, 2], |_| 900).len(), 2);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("żółw", 7), "żółw");
        assert_eq!(cut("żółw", 6), "ż…");
        assert_eq!(cut(&"ż".repeat(9_000), NOTE_BYTES_MAX).len(), NOTE_BYTES_MAX - 1);
        let lines = few(vec!["x".repeat(999); 40]);
        assert!(lines.len() == LINES_MAX + 1 && lines.iter().all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(lines.last().unwrap(), "and 24 more");
    }

    #[test]
    fn it_is_read_as_it_is_written_and_a_page_steers_no_browser() {
        let certificate = certificate();
        assert_eq!(Certificate::from_text(&certificate.to_text()), Some(certificate.clone()));
        // A signed note ends at its last empty line: nobody may put one in.
        assert!(!certificate.to_text().contains("\n\n"));
        let page = certificate.to_html(12);
        assert!(page.contains("&lt;b&gt;T-17") && !page.contains("<b>"), "{page}");
        for words in ["Cryptographic Erase (CE)", "NIST SP 800-88 Rev. 2", "entry 12", "M-3", "Purge"] {
            assert!(page.contains(words), "{words}");
        }
    }
}
