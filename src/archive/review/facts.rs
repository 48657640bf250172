//! What is known when a review is made.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::archive::copies::Worm;
use crate::archive::duties::Standing;
use crate::archive::media::Due;
use crate::archive::review::Digested;
use crate::base::time::Stamp;

/// What is known, or why it is not.
pub type Known<T> = Result<T, String>;

/// All of it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When.
    pub now: Stamp,
    /// Public key of the vault's log.
    pub vault: String,
    /// Program and version.
    pub tool: String,
    /// Who may sign in.
    pub users: Known<Vec<UserFacts>>,
    /// Keys.
    pub keys: Known<KeyFacts>,
    /// Places with copies.
    pub places: Known<Vec<PlaceStands>>,
    /// Copies of all recordings.
    pub copies: Known<CopiesFacts>,
    /// Removable media.
    pub media: Known<Vec<MediumFacts>>,
    /// What the vault does by itself.
    pub duties: Vec<Standing>,
    /// Certificates with which the vault and its recorders prove who they are.
    pub certificates: Vec<CertificateFacts>,
    /// Recorders.
    pub recorders: Known<Vec<RecorderFacts>>,
    /// What the vault's log says.
    pub log: Digested,
    /// When another host last signed what the log was; nothing where none is configured.
    pub witnessed: Option<Known<Stamp>>,
    /// When an entry of the log last went to another host; nothing where none is configured.
    pub forwarded: Option<Known<Stamp>>,
    /// What is known against this version; nothing where nobody says where that stands.
    pub advisories: Option<Known<Advisories>>,
}

/// A user.
#[derive(Clone, Debug)]
pub struct UserFacts {
    /// Name.
    pub name: String,
    /// Whether they may sign in.
    pub is_active: bool,
    /// Whether they may not any more.
    pub is_disabled: bool,
    /// Whether they have roles.
    pub has_roles: bool,
    /// Whether they have a second factor.
    pub has_second_factor: bool,
    /// Recovery codes that are left.
    pub recovery_codes: usize,
    /// When two people last said which roles are right.
    pub certified: Stamp,
    /// Tokens for programs.
    pub tokens: Vec<TokenFacts>,
}

/// A token.
#[derive(Clone, Debug)]
pub struct TokenFacts {
    /// Number.
    pub number: u64,
    /// Since when.
    pub since: Stamp,
    /// Until when.
    pub until: Stamp,
}

/// Keys.
#[derive(Clone, Debug, Default)]
pub struct KeyFacts {
    /// Epochs of this month and the coming ones that have no recipient.
    pub lacking: Vec<String>,
    /// Of these, how many are of this month or the next.
    pub urgent: usize,
    /// Months ahead for which there should be keys.
    pub months: u32,
    /// How many custodians it takes.
    pub threshold: u16,
    /// Custodians.
    pub custodians: Vec<CustodianFacts>,
    /// Key places that are not there.
    pub absent: Vec<String>,
    /// Key places in all.
    pub places: usize,
    /// When the root key was given to custodians.
    pub made: Stamp,
}

/// A custodian.
#[derive(Clone, Debug)]
pub struct CustodianFacts {
    /// Name.
    pub name: String,
    /// When they last showed that their share opens.
    pub shown: Option<Stamp>,
}

/// A place.
#[derive(Clone, Debug)]
pub struct PlaceStands {
    /// Name.
    pub name: String,
    /// Why it is not reached; nothing where it is.
    pub absent: Option<String>,
    /// Whether it is configured to keep what was written once.
    pub is_to_be_worm: bool,
    /// What the self-test said.
    pub worm: Worm,
    /// When.
    pub worm_tested: Option<Stamp>,
    /// Copies that were as they should be when they were read last.
    pub good: u64,
    /// Copies that were broken or missing.
    pub wrong: u64,
    /// When the copy was read that was not read for the longest time.
    pub oldest_read: Option<Stamp>,
}

/// Copies.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopiesFacts {
    /// Recordings.
    pub recordings: u64,
    /// Of these, with too few copies.
    pub short: u64,
    /// Of these, taken in longer ago than that may be.
    pub short_for_long: u64,
    /// Recordings of which no good copy is known.
    pub lost: u64,
    /// Whether a class needs WORM.
    pub need_worm: bool,
}

/// A medium.
#[derive(Clone, Debug)]
pub struct MediumFacts {
    /// Number.
    pub id: String,
    /// What is due.
    pub due: Due,
}

/// A certificate.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    /// Whose.
    pub subject: String,
    /// When it ends.
    pub until: Known<Stamp>,
    /// Whether the vault makes it anew by itself.
    pub is_renewed: bool,
}

/// A recorder.
#[derive(Clone, Debug)]
pub struct RecorderFacts {
    /// Name.
    pub name: String,
    /// When something of it was last taken in.
    pub taken_in: Option<Stamp>,
    /// Entries of its log that are known.
    pub log_size: u64,
    /// Of these, entries that are in no book.
    pub missing: u64,
    /// Receipts whose files have not come.
    pub awaited: u64,
    /// Version of the program that wrote its newest receipt or event.
    pub version: Option<String>,
    /// Frames that were captured, by its receipts of the last days.
    pub captured: u64,
    /// Of these, in no recording because something could not keep up, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What its log says last of things that stand still: interfaces that are down, a journal that is not written.
    pub troubles: Vec<String>,
    /// When the newest event of its log was.
    pub newest_event: Option<Stamp>,
}

/// What is known against a version of the program, or what it is built of.
#[derive(Clone, Debug, Default)]
pub struct Advisories {
    /// As of when.
    pub at: Option<Stamp>,
    /// `RUSTSEC-2026-0001 (crate 1.2.3)`.
    pub open: Vec<String>,
}

impl Advisories {
    /// Reads what `cargo audit --json` says.
    pub fn parse(bytes: &[u8]) -> Known<Self> {
        let read: Audit = serde_json::from_slice(bytes)
            .map_err(|fault| format!("what `cargo audit --json` says is otherwise: {fault}"))?;
        let at = read.database.last_updated.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let at = at.and_then(|at| u64::try_from(at.as_nanosecond()).ok()).map(Stamp::from_unix_nanos);
        let open = read.vulnerabilities.list.into_iter().take(OPEN_MAX);
        let name = |one: Vulnerability| {
            format!(
                "{} ({} {})",
                plain(&one.advisory.id),
                plain(&one.package.name),
                plain(&one.package.version)
            )
        };
        Ok(Self { at, open: open.map(name).collect() })
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_graphic()).take(64).collect()
}

#[derive(Deserialize)]
struct Audit {
    database: Database,
    vulnerabilities: Vulnerabilities,
}

#[derive(Deserialize)]
struct Database {
    #[serde(rename = "last-updated")]
    last_updated: Option<String>,
}

#[derive(Deserialize)]
struct Vulnerabilities {
    list: Vec<Vulnerability>,
}

#[derive(Deserialize)]
struct Vulnerability {
    advisory: Advisory,
    package: Package,
}

#[derive(Deserialize)]
struct Advisory {
    id: String,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

const OPEN_MAX: usize = 1_000;
