//! `sejf vault user`: who may sign in, and as what.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crate::archive::access::{Action, Grant, Request, Role};
use crate::archive::entry::Resource;
use crate::archive::once::{self, Invite, Shown};
use crate::archive::reach::Reach;
use crate::archive::user::{Roles, User, UserName};
use crate::archive::users::{Change, Users};
use crate::base::time::Stamp;
use crate::cli::text::{columns, json};
use crate::cli::vault::{CustodianArgs, HomeArg, ReasonArgs};
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::home::Vault;
use crate::shell::vault::users::{UserStore, Voice};

/// Who may sign in to the vault over HTTPS, and as what. What changes somebody takes a custodian's key: that is the
/// second person, as another administrator is over HTTPS.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(AddArgs),
    Certify(CertifyArgs),
    Disable(OneArgs),
    List(ListArgs),
    ResetFactor(ResetArgs),
    Roles(RolesArgs),
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Add(args) => add(args),
        Command::Certify(args) => certify(args),
        Command::Disable(args) => disable(args),
        Command::List(args) => list(args),
        Command::ResetFactor(args) => reset_factor(args),
        Command::Roles(args) => roles(args),
    }
}

/// Somebody, by whom and why.
#[derive(Debug, clap::Args)]
struct Whom {
    #[command(flatten)]
    home: HomeArg,
    /// Name of the user.
    #[arg(value_name = "NAME")]
    name: UserName,
    #[command(flatten)]
    custodians: CustodianArgs,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// Adds a user, and prints an invitation that counts once, within a day: with it they set password and second factor.
#[derive(Debug, clap::Args)]
struct AddArgs {
    #[command(flatten)]
    whom: Whom,
    /// Role, and how far it reaches: `reviewer:team=sales,trunk=orange`, or `reviewer` for every recording. May be given
    /// several times.
    #[arg(long = "role", value_name = "ROLE[:REACH]", value_parser = role)]
    roles: Vec<(Role, Reach)>,
}

/// Gives a user these roles, and no others. There are admin, auditor, compliance, custodian, dpo, operator, reviewer;
/// some nobody has together.
#[derive(Debug, clap::Args)]
struct RolesArgs {
    #[command(flatten)]
    whom: Whom,
    /// Role, and how far it reaches: `reviewer:team=sales,trunk=orange`, or `reviewer` for every recording. May be given
    /// several times; not at all takes all roles away.
    #[arg(long = "role", value_name = "ROLE[:REACH]", value_parser = role)]
    roles: Vec<(Role, Reach)>,
}

/// Says that a user's roles are still right, as every 90 days somebody has to; prints them. `sejf vault user list` says when
/// that was last said of whom.
#[derive(Debug, clap::Args)]
struct CertifyArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Has a user not sign in any more: at once, and for good.
#[derive(Debug, clap::Args)]
struct OneArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Has a user set password and second factor anew, with an invitation that this prints.
#[derive(Debug, clap::Args)]
struct ResetArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Lists users.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    home: HomeArg,
    /// A line of JSON each.
    #[arg(long)]
    json: bool,
}

fn add(args: &AddArgs) -> anyhow::Result<ExitCode> {
    let (shown, invite) = invitation(clock::now().after(INVITED))?;
    let (user, until) = (args.whom.name.clone(), invite.until);
    let roles = all(&args.roles)?;
    change(&args.whom, &Change::Add { user, roles, invite, by_custodian: true })?;
    print_invitation(&args.whom.name, &shown, until)?;
    Ok(ExitCode::SUCCESS)
}

fn roles(args: &RolesArgs) -> anyhow::Result<ExitCode> {
    change(&args.whom, &Change::SetRoles { user: args.whom.name.clone(), roles: all(&args.roles)? })?;
    Ok(ExitCode::SUCCESS)
}

fn certify(args: &CertifyArgs) -> anyhow::Result<ExitCode> {
    let vault = args.whom.home.open()?;
    let user = args.whom.name.clone();
    let users = UserStore::default().users(&vault)?;
    let roles = users.get(&user).map(|known| known.roles.clone()).unwrap_or_default();
    let grant = granted(&vault, &args.whom, Action::CertifyRoles)?;
    let change = Change::Certify { by: None, user: user.clone(), roles: roles.clone() };
    UserStore::default().change(&vault, Voice::Granted(&grant), &change)?;
    writeln!(std::io::stdout().lock(), "{user}: {}", in_words(&roles))?;
    Ok(ExitCode::SUCCESS)
}

fn disable(args: &OneArgs) -> anyhow::Result<ExitCode> {
    change(&args.whom, &Change::Disable { user: args.whom.name.clone() })?;
    Ok(ExitCode::SUCCESS)
}

fn reset_factor(args: &ResetArgs) -> anyhow::Result<ExitCode> {
    let (shown, invite) = invitation(clock::now().after(INVITED))?;
    let until = invite.until;
    change(&args.whom, &Change::Reset { user: args.whom.name.clone(), invite })?;
    print_invitation(&args.whom.name, &shown, until)?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let (actor, now) = (vault.actor(&[]), clock::now());
    let (action, resource) = (Action::ListUsers, Resource::Vault);
    let _granted = vault.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
    let users = UserStore::default().users(&vault)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        for (name, user) in users.all() {
            let (roles, standing) = (&user.roles, user.standing);
            let line = serde_json::json!({
                "user": name, "standing": standing, "roles": roles, "since": user.since, "signed_in": user.signed_in,
                "certified": user.certified_since(),
            });
            writeln!(out, "{}", json(&line)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    write!(out, "{}", columns(&rows(&users)))?;
    for (number, asked) in users.asked() {
        writeln!(out, "Request {number}: for {}, by {}, waits for a second person", asked.user, asked.by)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(users: &Users) -> Vec<Vec<String>> {
    let day = |at: Stamp| at.to_string().get(..10).unwrap_or_default().to_owned();
    let row = |(name, user): (&UserName, &User)| {
        let standing = serde_json::to_value(user.standing).unwrap_or_default();
        let seen = user.signed_in.map_or("never".to_owned(), day);
        let standing = standing.as_str().unwrap_or_default().to_owned();
        let roles = format!("{} (certified {})", in_words(&user.roles), day(user.certified_since()));
        vec![name.to_string(), standing, seen, roles]
    };
    users.all().map(row).collect()
}

fn in_words(roles: &Roles) -> String {
    let word = |(role, reach): (&Role, &Reach)| match reach {
        Reach::All => role.as_str().to_owned(),
        Reach::Of { teams, trunks } => {
            let teams = teams.iter().map(|team| format!("team={team}"));
            let all: Vec<_> = teams.chain(trunks.iter().map(|trunk| format!("trunk={trunk}"))).collect();
            format!("{}:{}", role.as_str(), all.join(","))
        }
    };
    let all: Vec<_> = roles.iter().map(word).collect();
    if all.is_empty() { "no role".into() } else { all.join(" ") }
}

fn change(whom: &Whom, change: &Change) -> anyhow::Result<()> {
    let vault = whom.home.open()?;
    let grant = granted(&vault, whom, Action::ManageUsers)?;
    UserStore::default().change(&vault, Voice::Granted(&grant), change)?;
    Ok(())
}

fn granted(vault: &Vault, whom: &Whom, action: Action) -> anyhow::Result<Grant> {
    let reason = whom.reason.load(vault)?;
    let custodians = vault.keys.prove(&whom.custodians.load()?)?.custodians();
    anyhow::ensure!(
        !custodians.is_empty(),
        "the keys that were given open no custodian's share: name one with -i"
    );
    let (actor, resource, now) =
        (vault.actor(&custodians), Resource::User(whom.name.to_string()), clock::now());
    Ok(vault.log.ask(&Request { actor: &actor, action, resource, reason, now })?)
}

fn all(roles: &[(Role, Reach)]) -> anyhow::Result<Roles> {
    let all: Roles = roles.iter().cloned().collect();
    anyhow::ensure!(
        all.len() == roles.len(),
        "a role was given twice: put its teams and trunks into one --role"
    );
    Ok(all)
}

/// `reviewer:team=sales,trunk=orange`.
fn role(text: &str) -> Result<(Role, Reach), String> {
    let (name, reach) = text.split_once(':').map_or((text, None), |(name, reach)| (name, Some(reach)));
    let role = name.parse::<Role>().map_err(|fault| fault.to_string())?;
    let (mut teams, mut trunks) = (Vec::new(), Vec::new());
    for part in reach.into_iter().flat_map(|reach| reach.split(',')) {
        match part.split_once('=') {
            Some(("team", team)) if !team.is_empty() => teams.push(team.to_owned()),
            Some(("trunk", trunk)) if !trunk.is_empty() => trunks.push(trunk.to_owned()),
            _ => return Err(format!("`{part}` is neither team=NAME nor trunk=NAME")),
        }
    }
    Ok((role, Reach::of(teams, trunks)))
}

/// A new invitation.
pub(super) fn invitation(until: Stamp) -> anyhow::Result<(Shown, Invite)> {
    let (shown, kept) = once::generate(&mut OsRandom::new()?);
    Ok((shown, Invite { kept, until }))
}

/// Shown here, and never again.
pub(super) fn print_invitation(user: &UserName, shown: &Shown, until: Stamp) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "invitation for {user}, until {}Z: counts once",
        until.to_string().get(..19).unwrap_or_default()
    )?;
    writeln!(out, "{}", **shown)?;
    Ok(())
}

const INVITED: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_with_its_reach() {
        assert_eq!(role("admin"), Ok((Role::Admin, Reach::All)));
        let some = Reach::of(["sales".to_owned(), "help".to_owned()], ["a b".to_owned()]);
        let text = "reviewer:team=help,team=sales,trunk=a b";
        assert_eq!(role(text), Ok((Role::Reviewer, some.clone())));
        assert_eq!(in_words(&[(Role::Reviewer, some)].into()), text);
        // What is misspelt is no role for everything.
        for wrong in ["root", "reviewer:", "reviewer:sales", "reviewer:team=", "reviewer:teams=sales", ""] {
            assert!(role(wrong).is_err(), "{wrong}");
        }
        assert!(all(&[(Role::Admin, Reach::All), (Role::Admin, Reach::All)]).is_err());
    }
}
