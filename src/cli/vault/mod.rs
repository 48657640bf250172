//! `sejf vault`: the archive. One file a group of subcommands.

mod bootstrap;
mod catalog;
mod duties;
mod enrol;
mod init;
mod keys;
mod leak;
mod notify;
mod running;
mod search;
mod serve;
mod status;
mod take_in;
mod unlock;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use crate::seal::identity::Identities;
use crate::shell::vault::home::Vault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::unlocking;

/// The archive: keeps recordings, lets the right people hear them, destroys them in time.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Bootstrap(bootstrap::Args),
    Enrol(enrol::Args),
    Init(init::Args),
    Keys(keys::Args),
    Notify(notify::Args),
    Running(running::Args),
    Serve(serve::Args),
    Catalog(catalog::Args),
    Search(search::Args),
    Status(status::Args),
    TakeIn(take_in::Args),
    Unlock(unlock::Args),
    User(user::Args),
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Bootstrap(args) => bootstrap::run(args),
        Command::Enrol(args) => enrol::run(args),
        Command::Init(args) => init::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Notify(args) => notify::run(args),
        Command::Running(args) => running::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Catalog(args) => catalog::run(args),
        Command::Search(args) => search::run(args),
        Command::Status(args) => status::run(args),
        Command::TakeIn(args) => take_in::run(args),
        Command::Unlock(args) => unlock::run(args),
        Command::User(args) => user::run(args),
    }
}

/// Which vault.
#[derive(Debug, clap::Args)]
pub(super) struct HomeArg {
    /// Home of the vault: the folder with `vault.toml`.
    #[arg(value_name = "HOME")]
    home: PathBuf,
}

impl HomeArg {
    pub(super) fn open(&self) -> anyhow::Result<Vault> {
        Ok(Vault::open(&self.home)?)
    }
}

/// Keys of custodians who are here.
#[derive(Debug, clap::Args)]
pub(super) struct CustodianArgs {
    /// Identity file of a custodian; once for each who is here. Also taken: files named `custodian…` in
    /// `$CREDENTIALS_DIRECTORY`, as systemd's LoadCredentialEncrypted= puts them there.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// File with a passphrase for identity files that are under one. May be given several times.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Vec<PathBuf>,
}

impl CustodianArgs {
    pub(super) fn load(&self) -> anyhow::Result<Vec<Identities>> {
        let (mut keys, mut passphrases) = unlocking::credentials()?;
        keys.extend(self.identity.iter().cloned());
        passphrases.extend(self.passphrase_file.iter().cloned());
        anyhow::ensure!(!keys.is_empty(), "no custodian's key was given: say -i FILE for each who is here");
        Ok(unlocking::identities(&keys, &passphrases)?)
    }

    pub(super) fn unlock(&self, vault: &Vault) -> anyhow::Result<KeyRing> {
        Ok(vault.unlock(&self.load()?)?)
    }

    /// The same where nobody needs to be here.
    pub(super) fn unlock_if_any(&self, vault: &Vault) -> anyhow::Result<Option<Arc<KeyRing>>> {
        let is_none = self.identity.is_empty() && unlocking::credentials()?.0.is_empty();
        if is_none { Ok(None) } else { Ok(Some(Arc::new(self.unlock(vault)?))) }
    }
}

/// Why something is done.
#[derive(Debug, clap::Args)]
pub(super) struct ReasonArgs {
    /// Code of the reason: one of `reason_codes` in the vault's configuration.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// More on the reason, or a ticket: at most 1,024 bytes, which stay in the log.
    #[arg(long, value_name = "TEXT", default_value = "", requires = "reason")]
    note: String,
}

impl ReasonArgs {
    pub(super) fn load(&self, vault: &Vault) -> anyhow::Result<Option<crate::archive::access::Reason>> {
        Ok(self.reason.as_ref().map(|code| vault.reason(code, &self.note)).transpose()?)
    }
}

/// Runs something that waits for databases and places.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("starting to wait for the catalog")?.block_on(future))
}
