//! Who failed to sign in before this vault was started again: the log knows. Starting it anew gives nobody more tries.

use std::net::IpAddr;
use std::time::Duration;

use crate::archive::access::Action;
use crate::archive::entry::{Entry, Outcome};
use crate::archive::throttle::Throttle;
use crate::base::time::Stamp;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::home::Vault;

/// Reads on backwards until what is said is of no use any more, then goes through it in order.
pub(super) fn failures(vault: &Vault, now: Stamp) -> Result<Throttle, ReceiptsError> {
    let (_, size) = vault.log.read_from(0, 1)?;
    let (mut to, since) = (size, now.before(LOOKED_BACK));
    let mut told: Vec<Entry> = Vec::new();
    while to > size.saturating_sub(ENTRIES_MAX) {
        let from = to.saturating_sub(ENTRIES);
        let (entries, _) = vault.log.read_from(from, to - from)?;
        let entries = entries.iter().rev().filter_map(|bytes| Entry::from_bytes(bytes).ok());
        let before = told.len();
        let mut is_old = false;
        for entry in entries {
            is_old |= entry.at < since;
            told.extend(Some(entry).filter(|entry| entry.at >= since && is_ours(entry)));
        }
        tracing::debug!(from, found = told.len() - before, "who failed to sign in");
        if is_old || from == 0 {
            break;
        }
        to = from;
    }
    let mut throttle = Throttle::default();
    for entry in told.iter().rev() {
        let Ok(from) = entry.origin.parse::<IpAddr>() else { continue };
        let account = entry.actor.trim_start_matches("user:");
        match &entry.outcome {
            // Nothing can be guessed of a passkey, and nobody is to lock out its owner by it.
            Outcome::Failed(what) if what == PASSKEY => throttle.failed("", from.into(), entry.at),
            Outcome::Failed(what) if COUNTED.contains(&what.as_str()) => {
                throttle.failed(account, from.into(), entry.at);
            }
            // Both factors: an identity provider's word may be one alone.
            Outcome::Done(told) if told["change"] != "first-factor" => {
                throttle.succeeded(account, from.into());
            }
            Outcome::Done(_) | Outcome::Failed(_) | Outcome::Granted | Outcome::Refused(_) => {}
        }
    }
    Ok(throttle)
}

fn is_ours(entry: &Entry) -> bool {
    matches!(entry.action, Action::SignIn | Action::StepUp)
}

/// What `sign_in` says of tries that failed, and not of those that were not let in.
pub(super) const COUNTED: [&str; 3] = [NAME_OR_PASSWORD, INVITATION, CODE];
pub(super) const NAME_OR_PASSWORD: &str = "name or password";
pub(super) const INVITATION: &str = "invitation";
pub(super) const CODE: &str = "code";
pub(super) const PASSKEY: &str = "passkey";
/// Where somebody signed in within this, others do not lock them out.
const LOOKED_BACK: Duration = Duration::from_secs(30 * 86_400);
const ENTRIES: u64 = 4_096;
const ENTRIES_MAX: u64 = 65_536;
