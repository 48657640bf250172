//! Who may do what, and why they say they do: one question for everything that is released, changed or destroyed.
//!
//! ```text
//! decide(request) ─► Decision ─the log writes it, durably─► Grant ─► open(grant), purge(grant, plan), …
//!              └───► Refusal  ─the log writes it too
//! ```
//!
//! A [`Grant`] cannot be had without the log: only `shell::vault::log` makes one, once the entry is on the disk.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::archive::entry::{Entry, Outcome, Resource};
use crate::base::time::Stamp;

/// What somebody may be. Nobody has all of them in an organisation that separates duties.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Recorders, storage, copies, media. Never audio.
    Operator,
    /// Hears recordings.
    Reviewer,
    /// Holds, exports, asks for destruction.
    Compliance,
    /// Keys: unlocks, rotates, approves destruction.
    Custodian,
    /// Reads the log. Nothing else.
    Auditor,
    /// Users and roles. Never audio.
    Admin,
    /// Erasure requests.
    Dpo,
}

/// What can be done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Begin an archive, or change its configuration.
    Configure,
    /// Take recordings in.
    TakeIn,
    /// Hand the root identity to a vault that runs.
    Unlock,
    /// Take it away.
    Lock,
    /// Put keys under others: new shares, re-wrapped envelopes.
    Rewrap,
    /// Try whether the keys still open what they should.
    Drill,
    /// Look for recordings, with what is known of the parties.
    Search,
    /// Decrypt a recording for one listener.
    Open,
    /// Give recordings away.
    Export,
    /// Add a note, label, correction or redacted copy.
    Annotate,
    /// Keep recordings from destruction.
    Hold,
    /// Let a hold go.
    ReleaseHold,
    /// Say that the event from which a class counts has come.
    NameEvent,
    /// Ask for destruction.
    AskDestruction,
    /// Agree to what another has asked for.
    ApproveDestruction,
    /// Carry out what is due and agreed.
    Destroy,
    /// Make copies, and mend them.
    Copy,
    /// Restore for practice.
    RestoreTest,
    /// Write a medium, move one, check one.
    Media,
    /// Make the catalog anew.
    Rebuild,
}

/// Who acts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Actor {
    /// Their name in the log.
    pub name: String,
    /// What they are.
    pub roles: BTreeSet<Role>,
    /// From where.
    pub origin: String,
    /// When they last showed a second factor.
    pub second_factor: Option<Stamp>,
}

impl Actor {
    /// Who can read the vault's files and its signing key can do all of it anyway: what holds them is the log, the
    /// custodians' keys, and that destruction takes two. The second factor is the custodian's key.
    pub fn local_administrator(user: &str, second_factor: Option<Stamp>) -> Self {
        use Role::{Admin, Auditor, Compliance, Custodian, Dpo, Operator, Reviewer};
        let roles = [Operator, Reviewer, Compliance, Custodian, Auditor, Admin, Dpo];
        Self { name: format!("local:{user}"), roles: roles.into(), origin: "local".into(), second_factor }
    }

    /// The vault itself, doing what its policy says: taking in, copying, mending. Never audio, never destruction.
    pub fn vault() -> Self {
        Self {
            name: "vault".into(),
            roles: [Role::Operator].into(),
            origin: "local".into(),
            second_factor: None,
        }
    }
}

/// Why somebody does it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// One of the configured codes: `complaint`, `court-order`, `retention`.
    pub code: String,
    /// Free text, or a ticket; at most [`NOTE_BYTES_MAX`].
    pub text: String,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub actor: &'a Actor,
    /// What for.
    pub action: Action,
    /// On what.
    pub resource: Resource,
    /// Why.
    pub reason: Option<Reason>,
    /// When.
    pub now: Stamp,
}

/// It may be done, once the log has it. Has no effect by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "nothing is granted before the log has it"]
pub struct Decision {
    pub(crate) actor: String,
    pub(crate) origin: String,
    pub(crate) action: Action,
    pub(crate) resource: Resource,
    pub(crate) reason: Option<Reason>,
    pub(crate) at: Stamp,
}

/// It was granted, and the log says so. Cannot be copied: one grant, one act.
#[derive(Debug)]
pub struct Grant {
    decision: Decision,
    entry: u64,
}

impl Grant {
    /// To be called by the log alone, once entry number `entry` is on the disk.
    pub(crate) fn logged(decision: Decision, entry: u64) -> Self {
        Self { decision, entry }
    }

    /// What is granted.
    pub fn action(&self) -> Action {
        self.decision.action
    }

    /// On what.
    pub fn resource(&self) -> &Resource {
        &self.decision.resource
    }

    /// To whom.
    pub fn actor(&self) -> &str {
        &self.decision.actor
    }

    /// Why.
    pub fn reason(&self) -> Option<&Reason> {
        self.decision.reason.as_ref()
    }

    /// A further entry on the same matter.
    pub(crate) fn entry_of(&self, at: Stamp, outcome: Outcome) -> Entry {
        Entry { at, ..Entry::of(&self.decision, outcome) }
    }

    /// Number of the entry that says so.
    pub fn entry(&self) -> u64 {
        self.entry
    }
}

/// It may not be done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// None of the actor's roles may.
    #[error("this takes the role {}", names(needs))]
    Role {
        /// The roles of which one would do.
        needs: Vec<Role>,
    },
    /// No reason was given.
    #[error("this takes a reason: say why, with --reason CODE --note TEXT")]
    Reason,
    /// The second factor is missing or was shown too long ago.
    #[error("this takes a second factor shown within the last {} minutes", SECOND_FACTOR_MINUTES)]
    SecondFactor,
}

fn names(roles: &[Role]) -> String {
    let name = |role: &Role| serde_json::to_string(role).unwrap_or_default().trim_matches('"').to_owned();
    roles.iter().map(name).collect::<Vec<_>>().join(" or ")
}

/// Whether it may be done. Deny by default: an action that this does not name is refused.
pub fn decide(request: &Request<'_>) -> Result<Decision, Refusal> {
    let Request { actor, action, resource, reason, now } = request;
    let rule = rule(*action);
    if !rule.roles.iter().any(|role| actor.roles.contains(role)) {
        return Err(Refusal::Role { needs: rule.roles.to_vec() });
    }
    if rule.reason && reason.as_ref().is_none_or(|reason| reason.code.trim().is_empty()) {
        return Err(Refusal::Reason);
    }
    let is_fresh = |shown: Stamp| shown <= *now && now.since(shown).as_secs() <= SECOND_FACTOR_MINUTES * 60;
    if rule.second_factor && !actor.second_factor.is_some_and(is_fresh) {
        return Err(Refusal::SecondFactor);
    }
    Ok(Decision {
        actor: actor.name.clone(),
        origin: actor.origin.clone(),
        action: *action,
        resource: resource.clone(),
        reason: reason.clone(),
        at: *now,
    })
}

struct Rule {
    roles: &'static [Role],
    reason: bool,
    second_factor: bool,
}

fn rule(action: Action) -> Rule {
    use Role::{Admin, Auditor, Compliance, Custodian, Dpo, Operator, Reviewer};
    let (roles, reason, second_factor): (&[Role], bool, bool) = match action {
        Action::Configure => (&[Admin], false, false),
        Action::TakeIn | Action::Copy | Action::RestoreTest | Action::Rebuild => (&[Operator], false, false),
        Action::Media => (&[Operator], true, false),
        Action::Unlock | Action::Rewrap | Action::Drill => (&[Custodian], false, true),
        Action::Lock => (&[Custodian, Operator], false, false),
        Action::Search => (&[Reviewer, Compliance, Auditor, Dpo], false, false),
        Action::Open => (&[Reviewer, Compliance], true, true),
        Action::Export => (&[Compliance], true, true),
        Action::Annotate => (&[Reviewer, Compliance], true, false),
        Action::Hold | Action::NameEvent => (&[Compliance], true, false),
        Action::ReleaseHold => (&[Compliance], true, true),
        Action::AskDestruction => (&[Compliance, Dpo], true, false),
        Action::ApproveDestruction => (&[Custodian, Dpo], true, true),
        Action::Destroy => (&[Compliance, Custodian, Dpo], true, true),
    };
    Rule { roles, reason, second_factor }
}

/// How long a second factor counts.
pub const SECOND_FACTOR_MINUTES: u64 = 5;
/// Bytes of a reason's text: it stands in the log with all that is done because of it.
pub const NOTE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(roles: &[Role], second_factor: Option<Stamp>) -> Actor {
        Actor {
            name: "ewa".into(),
            roles: roles.iter().copied().collect(),
            origin: "local".into(),
            second_factor,
        }
    }

    fn at(seconds: u64) -> Stamp {
        Stamp::from_unix_nanos(seconds * 1_000_000_000)
    }

    fn ask(actor: &Actor, action: Action, reason: Option<&str>) -> Result<Decision, Refusal> {
        let reason = reason.map(|code| Reason { code: code.into(), text: String::new() });
        decide(&Request { actor, action, resource: Resource::Vault, reason, now: at(10_000) })
    }

    #[test]
    fn nobody_hears_without_role_reason_and_second_factor() {
        let fresh = Some(at(9_900));
        assert!(ask(&actor(&[Role::Reviewer], fresh), Action::Open, Some("complaint")).is_ok());
        for role in [Role::Operator, Role::Admin, Role::Auditor, Role::Custodian, Role::Dpo] {
            let refused = ask(&actor(&[role], fresh), Action::Open, Some("complaint"));
            assert!(matches!(refused, Err(Refusal::Role { .. })), "{role:?}");
        }
        let reviewer = actor(&[Role::Reviewer], fresh);
        assert_eq!(ask(&reviewer, Action::Open, None), Err(Refusal::Reason));
        assert_eq!(ask(&reviewer, Action::Open, Some(" ")), Err(Refusal::Reason));
        for shown in [None, Some(at(9_699)), Some(at(10_001))] {
            let reviewer = actor(&[Role::Reviewer], shown);
            assert_eq!(ask(&reviewer, Action::Open, Some("complaint")), Err(Refusal::SecondFactor));
        }
    }

    #[test]
    fn the_vault_itself_neither_opens_nor_destroys() {
        for action in [Action::Open, Action::Export, Action::Destroy, Action::ReleaseHold, Action::Search] {
            assert!(matches!(ask(&Actor::vault(), action, Some("any")), Err(Refusal::Role { .. })));
        }
        assert!(ask(&Actor::vault(), Action::TakeIn, None).is_ok());
    }
}
