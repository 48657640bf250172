//! `sejf vault bootstrap`: the first administrator.

use std::process::ExitCode;

use crate::archive::access::{Action, Request};
use crate::archive::entry::Resource;
use crate::archive::user::UserName;
use crate::archive::users::Change;
use crate::cli::vault::HomeArg;
use crate::cli::vault::user::{invitation, print_invitation};
use crate::shell::clock;
use crate::shell::vault::users::{UserStore, Voice};

/// Invites the first administrator of users, where there is none who may sign in: nobody is there by default. Prints an
/// invitation that counts once, within 15 minutes: with it password and second factor are set (POST /api/v1/enrol).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Name of the administrator.
    #[arg(value_name = "NAME")]
    name: UserName,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let now = clock::now();
    let (actor, resource) = (vault.actor(&[]), Resource::User(args.name.to_string()));
    let request = Request { actor: &actor, action: Action::Configure, resource, reason: None, now };
    let grant = vault.log.ask(&request)?;
    let (shown, invite) = invitation(now.after(LASTS))?;
    let until = invite.until;
    let change = Change::Bootstrap { user: args.name.clone(), invite };
    UserStore::default().change(&vault, Voice::Granted(&grant), &change)?;
    print_invitation(&args.name, &shown, until)?;
    Ok(ExitCode::SUCCESS)
}

const LASTS: std::time::Duration = std::time::Duration::from_secs(15 * 60);
