//! `sejf vault search`: recordings, newest first, with who spoke.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crate::archive::access::{Action, Request};
use crate::archive::entry::Resource;
use crate::archive::epoch::ClassName;
use crate::archive::search::{Cursor, Query, Wanted};
use crate::base::time::Stamp;
use crate::cli::scope::time;
use crate::cli::text::{clean_line, json};
use crate::cli::vault::{CustodianArgs, HomeArg, ReasonArgs};
use crate::seal::receipt::ReceiptState;
use crate::shell::clock;
use crate::shell::vault::catalog::search::Hit;

/// Finds recordings: all of what is said must hold. Newest first.
///
/// Exit code: 0 something was found, 1 nothing was.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    #[command(flatten)]
    custodians: CustodianArgs,
    #[command(flatten)]
    reason: ReasonArgs,
    /// A number or name of somebody who spoke, or how it begins: `+4822*`. May be given several times.
    #[arg(long, value_name = "NUMBER|NAME")]
    party: Vec<Wanted>,
    /// Trunk the call came over.
    #[arg(long)]
    trunk: Option<String>,
    /// Who of the call centre's people spoke.
    #[arg(long)]
    agent: Option<String>,
    /// A tag. May be given several times.
    #[arg(long)]
    tag: Vec<String>,
    /// Retention class.
    #[arg(long)]
    class: Option<ClassName>,
    /// How it ended: complete, interrupted, failed, excluded-by-rule, unanswered.
    #[arg(long, value_parser = state)]
    state: Option<ReceiptState>,
    /// Begun then or later: 2026-11-23 or 2026-11-23T21:08:41Z, in UTC.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Stamp>,
    /// Begun before.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Stamp>,
    /// Not shorter, in seconds.
    #[arg(long, value_name = "SECONDS")]
    min_length: Option<u32>,
    /// Not longer, in seconds.
    #[arg(long, value_name = "SECONDS")]
    max_length: Option<u32>,
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Goes on where a page before ended: as it said.
    #[arg(long, value_name = "PLACE")]
    after: Option<Cursor>,
    /// A line of JSON each; one with `fault` for each whose details do not open, and a last one with `next`, for --after,
    /// where there may be more.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let seconds = |length: Option<u32>| length.map(|length| Duration::from_secs(length.into()));
    let query = Query {
        from: args.from,
        to: args.to,
        parties: args.party.clone(),
        trunk: args.trunk.clone(),
        agent: args.agent.clone(),
        tags: args.tag.clone(),
        class: args.class.clone(),
        state: args.state,
        length_min: seconds(args.min_length),
        length_max: seconds(args.max_length),
    };
    query.check()?;
    let vault = args.home.open()?;
    let reason = args.reason.load(&vault)?;
    let ring = args.custodians.unlock(&vault)?;
    let actor = vault.actor_of(&ring);
    // What is looked for is not in the log: everybody who audits may read that.
    let (action, resource, now) = (Action::Search, Resource::Vault, clock::now());
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason, now })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (hits, next, unreadable) = runtime.block_on(async {
        let catalog = vault.catalog().await?;
        let (mut hits, mut unreadable, mut after) = (Vec::new(), Vec::new(), args.after);
        loop {
            let left = args.limit - hits.len();
            let page = catalog.search(&grant, &query, &ring, after.as_ref(), left).await?;
            hits.extend(page.hits);
            unreadable.extend(page.unreadable);
            after = page.next;
            // A page that would cost too much ends early: there may be more.
            if after.is_none() || hits.len() >= args.limit {
                break;
            }
        }
        catalog.close().await;
        anyhow::Ok((hits, after, unreadable))
    })?;
    let mut out = std::io::stdout().lock();
    for hit in &hits {
        writeln!(out, "{}", if args.json { line_of_json(hit)? } else { line(hit) })?;
    }
    for id in &unreadable {
        if args.json {
            writeln!(out, "{}", json(&serde_json::json!({ "id": id, "fault": UNREADABLE }))?)?;
        } else {
            writeln!(out, "! {id}: {UNREADABLE}")?;
        }
    }
    if let Some(next) = next {
        if args.json {
            writeln!(out, "{}", json(&serde_json::json!({ "next": next.to_string() }))?)?;
        } else {
            writeln!(out, "More with --after {next}")?;
        }
    }
    Ok(ExitCode::from(u8::from(hits.is_empty())))
}

fn line(hit: &Hit) -> String {
    let receipt = &hit.record.receipt;
    let (start, seconds) = (&receipt.start.to_string()[..19], receipt.end.since(receipt.start).as_secs());
    let who = hit.details.as_ref().map_or_else(
        || hit.record.phase.as_str().to_owned(),
        |details| format!("{} → {}", details.caller, details.callee),
    );
    clean_line(&format!("{start}Z {seconds:>6} s  {}  {who}", hit.record.id))
}

fn line_of_json(hit: &Hit) -> serde_json::Result<String> {
    let record = &hit.record;
    json(&serde_json::json!({
        "id": record.id, "start": record.receipt.start, "end": record.receipt.end, "state": record.receipt.state,
        "class": record.class, "phase": record.phase, "details": hit.details,
    }))
}

fn state(text: &str) -> Result<ReceiptState, String> {
    let states = "complete, interrupted, failed, excluded-by-rule, unanswered";
    serde_json::from_value(text.into()).map_err(|_| format!("one of {states}"))
}

const UNREADABLE: &str = "its details do not open: the catalog was changed; `sejf vault catalog rebuild`";
