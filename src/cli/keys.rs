//! Options that name keys.

use std::path::PathBuf;

use crate::seal::identity::Identities;
use crate::seal::recipient::Recipients;
use crate::shell::keys;

/// Who can open the recordings.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct RecipientArgs {
    /// Who can open the recordings: an age recipient (`age1…`, `age1pq1…`, a plugin's) or an SSH
    /// public key. May be given several times: each of them can open.
    #[arg(long, short, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// File of recipients, one a line; empty lines and lines that begin with `#` are skipped.
    #[arg(long, short = 'R', value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
}

impl RecipientArgs {
    pub(super) fn load(&self) -> anyhow::Result<Recipients> {
        Ok(keys::recipients(&self.recipient, &self.recipients_file)?)
    }
}

/// What opens recordings.
#[derive(Debug, clap::Args)]
pub(super) struct IdentityArgs {
    /// Identity file, as `sejf keygen` or `age-keygen` makes it, or an SSH private key. May be given
    /// several times.
    #[arg(long, short, value_name = "FILE", required = true)]
    identity: Vec<PathBuf>,
}

impl IdentityArgs {
    pub(super) fn load(&self) -> anyhow::Result<Identities> {
        Ok(keys::identities(&self.identity)?)
    }
}

/// The same where it is a choice.
#[derive(Debug, clap::Args)]
pub(super) struct OptionalIdentityArgs {
    /// Identity file: also open every file and hold its manifest against the receipts.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
}

impl OptionalIdentityArgs {
    pub(super) fn load(&self) -> anyhow::Result<Option<Identities>> {
        if self.identity.is_empty() { Ok(None) } else { Ok(Some(keys::identities(&self.identity)?)) }
    }
}
