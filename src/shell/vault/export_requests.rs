//! Requests for exports, in the vault's log: see [`crate::archive::export_request`].

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::archive::access::Action;
use crate::archive::entry::{Entry, Resource};
use crate::archive::export_request::{self, ExportRequest, RequestError, Requests, Word};
use crate::archive::person::Person;
use crate::archive::record::RecordingId;
use crate::archive::request::Agreement;
use crate::base::time::Stamp;
use crate::shell::disk::remedy;
use crate::shell::locks;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::home::Vault;
use crate::shell::vault::log::{Denied, ENTRIES_AT_ONCE, VaultLog};
use crate::shell::vault::matters::Speaker;

/// Why a request was not said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportRequestError {
    /// The request gets nobody further.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Nothing was granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// Without a reason.
    #[error("this takes a reason: say why, with --reason CODE --note TEXT")]
    NoReason,
    /// The lock.
    #[error("locking `{}`: {source}{}", path.display(), remedy(source))]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody exports.
    #[error("another export is being made: try again when it has ended")]
    Busy,
}

/// Nobody else makes an export or takes a request back, until it is dropped.
#[derive(Debug)]
pub struct Alone {
    _file: File,
}

/// Waits so long for whoever exports now.
pub fn alone(vault: &Vault, patience: Duration) -> Result<Alone, ExportRequestError> {
    let path = vault.home.join(LOCK);
    let taken = locks::file_alone(&path, patience);
    match taken.map_err(|source| ExportRequestError::Lock { path, source })? {
        Some(file) => Ok(Alone { _file: file }),
        None => Err(ExportRequestError::Busy),
    }
}

/// Reads all requests, or those from number `from` on.
pub fn read(log: &VaultLog, from: u64) -> Result<Requests, ReceiptsError> {
    let mut requests = Requests::default();
    log.each(from, |_, bytes| -> Result<(), ReceiptsError> {
        // What a later version writes is no word that this one knows.
        if let Ok(entry) = Entry::from_bytes(bytes) {
            requests.read(&entry);
        }
        Ok(())
    })?;
    Ok(requests)
}

/// Recordings that `actor` has given away, or had leave to, within a day before `now` at nobody else's word.
pub fn given_alone(log: &VaultLog, actor: &str, now: Stamp) -> Result<u64, ReceiptsError> {
    let since = Stamp::from_unix_nanos(now.since(Stamp::ZERO).saturating_sub(DAY).as_nanos() as u64);
    let (_, size) = log.read_from(u64::MAX, 0)?;
    let (mut end, mut exports) = (size, Vec::new());
    while end > 0 {
        let from = end.saturating_sub(ENTRIES_AT_ONCE);
        let (entries, _) = log.read_from(from, end - from)?;
        let entries: Vec<Entry> = entries.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok()).collect();
        let is_last = entries.first().is_some_and(|entry| entry.at < since);
        let recent = entries.into_iter().filter(|entry| entry.at >= since && entry.action == Action::Export);
        exports.extend(recent.rev());
        if is_last {
            break;
        }
        end = from;
    }
    Ok(export_request::given_alone(exports.iter().rev(), actor))
}

/// Asks for an export. The request's number.
pub fn ask(
    vault: &Vault,
    speaker: &Speaker,
    recordings: &[RecordingId],
    receiver: &str,
    recipients: Vec<String>,
) -> Result<u64, ExportRequestError> {
    ExportRequest::fits(recordings.len())?;
    let by = speaker.people().into_iter().next().ok_or(RequestError::NoCustodian)?;
    let reason = speaker.reason.clone().ok_or(ExportRequestError::NoReason)?;
    let grant = speaker.ask(vault, Action::AskExport, Resource::of(recordings))?;
    let request = ExportRequest {
        number: grant.entry(),
        by,
        actor: grant.actor().into(),
        at: speaker.now,
        recordings: recordings.to_vec(),
        receiver: receiver.into(),
        recipients,
        reason,
    };
    let number = request.number;
    vault.log.outcome(&grant, Word::ExportAsked(request).outcome())?;
    Ok(number)
}

/// Agrees to what another has asked for. Who it was.
pub fn approve(vault: &Vault, speaker: &Speaker, number: u64) -> Result<Person, ExportRequestError> {
    let by = read(&vault.log, number)?.get(number)?.approver(&speaker.people())?.clone();
    let grant = speaker.ask(vault, Action::ApproveExport, Resource::Request(number))?;
    let agreement = Agreement { by: by.clone(), actor: grant.actor().into(), at: speaker.now };
    vault.log.outcome(&grant, Word::ExportAgreed { request: number, agreement }.outcome())?;
    Ok(by)
}

/// Takes a request back, unless it is just being made.
pub fn withdraw(
    vault: &Vault,
    speaker: &Speaker,
    number: u64,
    patience: Duration,
) -> Result<(), ExportRequestError> {
    let _alone = alone(vault, patience)?;
    read(&vault.log, number)?.get(number)?.is_open()?;
    let grant = speaker.ask(vault, Action::AskExport, Resource::Request(number))?;
    vault.log.outcome(&grant, Word::ExportWithdrawn { request: number, at: speaker.now }.outcome())?;
    Ok(())
}

const LOCK: &str = "exports.lock";
/// How long to wait for whoever exports now: not for long.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The same, where a browser waits for an answer.
pub const PATIENCE_AT_A_BROWSER: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 3_600);
