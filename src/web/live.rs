//! Calls that are being recorded: what the recorder on this machine says, where vault.toml names its socket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::access::{Action, Actor, Refusal, Role};
use crate::archive::reach::{Belongs, Team};
use crate::seal::random::Randomness;
use crate::shell::control_client::{Client, ClientError};
use crate::shell::status::snapshot::{LiveCall, Snapshot};
use crate::web::call::{Call, ok};
use crate::web::problem::Problem;
use crate::web::shared::{Shared, beside, lock, random};

/// Begins to look: the log has who. Under `watch` what is new is asked for during the next minutes.
pub(super) async fn calls(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let mut bytes = [0; 16];
    random()?.fill(&mut bytes);
    let watch: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    {
        let mut watches = lock(&shared.watches);
        watches.retain(|_, (_, until)| call.now < *until);
        if watches.len() >= WATCHES_MAX {
            return Err(Problem::too_many(60, "too many people are watching live calls"));
        }
        watches.insert(watch.clone(), (call.who()?.name.clone(), call.now.after(LASTS)));
    }
    let mut told = now(&shared, call.who()?.actor.clone()).await?;
    told["watch"] = json!(watch);
    Ok(ok(&told))
}

/// What is new, for who has begun to look.
pub(super) async fn again(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let who = call.who()?;
    call.session()?;
    let known = lock(&shared.watches).get(call.param("watch")).cloned();
    let is_theirs = known.is_some_and(|(user, until)| user == who.name && call.now < until);
    if !is_theirs {
        return Err(Problem::not_found("nobody watches by that name any more: begin anew with /api/v1/live"));
    }
    // Roles may be others by now.
    if !ROLES.iter().any(|role| who.actor.roles.contains_key(role)) {
        return Err(Refusal::Role { needs: ROLES.to_vec() }.into());
    }
    Ok(ok(&now(&shared, who.actor.clone()).await?))
}

async fn now(shared: &Arc<Shared>, actor: Actor) -> Result<Value, Problem> {
    beside(shared, move |shared| {
        let config = &shared.vault().config;
        let Some(path) = config.web.as_ref().and_then(|web| web.recorder.as_ref()) else {
            return Ok(json!({ "configured": false }));
        };
        // Numbers are for who hears recordings, and only where the recorder shows them at all.
        let hears = HEARS.iter().any(|role| actor.roles.contains_key(role));
        Ok(match asked(&shared.vault().home.join(path), hears) {
            Ok((status, calls)) => told(&actor, &config.teams, &status, calls),
            Err(fault) => {
                tracing::warn!("asking the recorder for live calls: {fault}");
                // Which files there are here is for who runs it.
                let is_operator = actor.roles.contains_key(&Role::Operator);
                json!({ "configured": true, "fault": if is_operator { fault.to_string() } else { String::new() } })
            }
        })
    })
    .await
}

fn asked(path: &std::path::Path, parties: bool) -> Result<(Snapshot, Vec<LiveCall>), ClientError> {
    let mut client = Client::connect(path)?;
    let status = client.status()?;
    let calls = match client.calls(parties) {
        // It is configured not to say who speaks.
        Err(ClientError::Refused { .. }) if parties => client.calls(false)?,
        other => other?,
    };
    Ok((status, calls))
}

fn told(actor: &Actor, teams: &[Team], status: &Snapshot, calls: Vec<LiveCall>) -> Value {
    let all = calls.len();
    let mut calls: Vec<_> = calls.into_iter().filter(|call| is_reached(actor, teams, &call.trunk)).collect();
    let is_limited = !actor.reaches(Action::ShowLive, &Belongs::default());
    let count = calls.len();
    calls.truncate(CALLS_MAX);
    // Of parties that are not within reach of who hears, an operator's reach says nothing.
    for call in &mut calls {
        if !hears(actor, teams, &call.trunk) {
            call.parties = None;
        }
    }
    json!({
        "configured": true,
        "calls": calls,
        "count": count,
        "all": (!is_limited).then_some(all),
        "recorder": {
            "version": status.version, "recorder": status.recorder, "started": status.started, "now": status.now,
            "health": status.health, "packets": status.packets, "rates": status.rates, "drops": status.drops,
            "interfaces": status.interfaces, "shedding": status.shedding, "conditions": status.conditions,
            "finished": if is_limited { &[] } else { &status.calls.finished[..] },
            "disk_free_bytes": status.store.disk_free_bytes, "full_in_s": status.store.full_in_s,
            "journal_lag_ms": status.journal.as_ref().map(|journal| journal.lag_ms),
        },
    })
}

/// Whose a call that goes on is: of its agents nothing is known yet.
fn belongs(teams: &[Team], trunk: &str) -> Belongs {
    let is_of = |team: &&Team| !trunk.is_empty() && team.trunks.contains(trunk);
    let teams: BTreeSet<_> = teams.iter().filter(is_of).map(|team| team.name.clone()).collect();
    Belongs { teams, trunk: trunk.into() }
}

fn is_reached(actor: &Actor, teams: &[Team], trunk: &str) -> bool {
    actor.reaches(Action::ShowLive, &belongs(teams, trunk))
}

fn hears(actor: &Actor, teams: &[Team], trunk: &str) -> bool {
    let belongs = belongs(teams, trunk);
    HEARS.iter().filter_map(|role| actor.roles.get(role)).any(|reach| reach.covers(&belongs))
}

const HEARS: [Role; 2] = [Role::Reviewer, Role::Compliance];
const ROLES: [Role; 3] = [Role::Operator, Role::Reviewer, Role::Compliance];
const CALLS_MAX: usize = 500;
const WATCHES_MAX: usize = 1_000;
/// After this it is asked anew whether somebody may, and the log has it.
const LASTS: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::reach::Reach;
    use crate::base::time::Stamp;
    use crate::shell::status::snapshot::{CallState, Parties};

    fn live(trunk: &str) -> LiveCall {
        LiveCall {
            id: trunk.into(),
            trunk: trunk.into(),
            rule: "all@1".into(),
            format: "opus".into(),
            since: Stamp::ZERO,
            state: CallState::Talking,
            codecs: Default::default(),
            packets: 1,
            lost: 0,
            loss_percent: 0.0,
            jitter_ms: 0.0,
            kbit_s: 64.0,
            parties: Some(Parties { caller: "+48221234567".into(), callee: "+48227654321".into() }),
        }
    }

    /// Trunks of calls that are told, and whether numbers are.
    fn seen(roles: &[(Role, Reach)]) -> Vec<(String, bool)> {
        let roles = roles.iter().cloned().collect();
        let actor =
            Actor { name: "x".into(), roles, only: None, origin: "local".into(), second_factor: None };
        let teams = [Team { name: "sales".into(), agents: BTreeSet::new(), trunks: ["a".to_owned()].into() }];
        let told = told(&actor, &teams, &Snapshot::default(), vec![live("a"), live("b"), live("")]);
        let calls = told["calls"].as_array().cloned().unwrap_or_default();
        calls
            .iter()
            .map(|call| (call["trunk"].as_str().unwrap_or_default().into(), call["parties"].is_object()))
            .collect()
    }

    #[test]
    fn calls_beyond_reach_are_not_told_and_numbers_only_to_who_hears() {
        let of = |trunk: &str, numbers| (trunk.to_owned(), numbers);
        let sales = || Reach::of(["sales".to_owned()], []);
        assert_eq!(seen(&[(Role::Operator, Reach::All)]), [of("a", false), of("b", false), of("", false)]);
        assert_eq!(seen(&[(Role::Reviewer, Reach::All)]), [of("a", true), of("b", true), of("", true)]);
        assert_eq!(seen(&[(Role::Reviewer, sales())]), [of("a", true)]);
        assert_eq!(seen(&[(Role::Compliance, Reach::of([], ["b".to_owned()]))]), [of("b", true)]);
        assert_eq!(seen(&[(Role::Auditor, Reach::All)]), []);
    }
}
