//! Who may do what, and why they say they do: one question for everything that is released, changed or destroyed.
//!
//! ```text
//! decide(request) ─► Decision ─the log writes it, durably─► Grant ─► open(grant), purge(grant, plan), …
//!              └───► Refusal  ─the log writes it too
//! ```
//!
//! A [`Grant`] cannot be had without the log: only `shell::vault::log` makes one, once the entry is on the disk.
//!
//! Roles have a [`Reach`]: a reviewer hears the recordings of their own teams and trunks. Where a rule looks at that,
//! whoever asks says whose the recording is ([`decide_within`]); where nobody says, only an unlimited reach will do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::reach::{Belongs, Reach};
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
    /// See holds, requests, what falls due, certificates.
    ListMatters,
    /// See what waits for a second person.
    ListApprovals,
    /// Look for recordings, with what is known of the parties.
    Search,
    /// Decrypt a recording for one listener.
    Open,
    /// Give recordings away.
    Export,
    /// Ask for an export that nobody makes alone.
    AskExport,
    /// Agree to one that another has asked for.
    ApproveExport,
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
    /// See one recording, with who spoke.
    Show,
    /// Read the vault's log.
    ReadLog,
    /// See who the users are, and what is asked for them.
    ListUsers,
    /// Add and disable users; ask for other roles, or for a new second factor.
    ManageUsers,
    /// Agree to what another has asked for a user.
    ApproveUsers,
    /// Reach beyond the own teams and trunks, for a while. Alarms.
    BreakGlass,
    /// Have a token for a program, or take one back.
    MakeToken,
    /// Change what proves who one is: password, passkeys, recovery codes.
    ChangeOwn,
    /// Prove who one is.
    SignIn,
    /// Show the second factor again.
    StepUp,
    /// End a session.
    SignOut,
    /// Say that a user's roles are still right.
    CertifyRoles,
    /// See how the archive stands with what it should be.
    Review,
    /// Have recordings drawn that one hears and judges.
    Sample,
    /// Say what one of them is, whosever it is by now: it was drawn.
    Judge,
    /// Look after what there is, as a vault does by itself: nothing is released, changed or destroyed by it.
    Duty,
    /// See how copies, media, keys and duties stand. Nothing of who spoke.
    ShowStock,
    /// See which calls are being recorded.
    ShowLive,
    /// See who saw and heard a recording, and why.
    ShowAccess,
}

impl Role {
    /// All that there are.
    pub const ALL: [Self; 7] = [
        Self::Operator,
        Self::Reviewer,
        Self::Compliance,
        Self::Custodian,
        Self::Auditor,
        Self::Admin,
        Self::Dpo,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Reviewer => "reviewer",
            Self::Compliance => "compliance",
            Self::Custodian => "custodian",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
            Self::Dpo => "dpo",
        }
    }
}

/// There is no such role.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no role `{0}`: there are {all}", all = names(&Role::ALL).replace(" or ", ", "))]
pub struct NoRole(pub String);

impl std::str::FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| NoRole(text.into()))
    }
}

impl Action {
    /// As the log has it.
    pub fn name(self) -> String {
        serde_json::to_string(&self).unwrap_or_default().trim_matches('"').to_owned()
    }
}

/// Who acts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Actor {
    /// Their name in the log.
    pub name: String,
    /// What they are, and of which recordings.
    pub roles: BTreeMap<Role, Reach>,
    /// The only actions that their token is for; all that their roles may where there is no token.
    pub only: Option<BTreeSet<Action>>,
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
        let roles = roles.into_iter().map(|role| (role, Reach::All)).collect();
        Self { name: format!("local:{user}"), roles, only: None, origin: "local".into(), second_factor }
    }

    /// The vault itself, doing what its policy says: taking in, copying, mending. Never audio, never destruction.
    pub fn vault() -> Self {
        Self {
            name: "vault".into(),
            roles: [(Role::Operator, Reach::All)].into(),
            only: None,
            origin: "local".into(),
            second_factor: None,
        }
    }

    /// Whether one of the roles that may do it reaches a recording.
    pub fn reaches(&self, action: Action, belongs: &Belongs) -> bool {
        reaches(&self.roles, action, belongs)
    }
}

/// The same of whoever has these roles.
pub fn reaches(roles: &BTreeMap<Role, Reach>, action: Action, belongs: &Belongs) -> bool {
    let mut reaches = rule(action).roles.iter().filter_map(|role| roles.get(role));
    reaches.any(|reach| reach.covers(belongs))
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

    /// When.
    pub fn at(&self) -> Stamp {
        self.decision.at
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
    /// It is of none of the actor's teams and trunks.
    #[error("this recording is of none of your teams and trunks")]
    Reach,
    /// The token is for other things.
    #[error("this token is not for that: make one that is, or sign in")]
    Token,
    /// More than one person gives away alone.
    #[error(
        "nobody gives away more than {max} recordings in a day alone: ask with `sejf export ask`, another custodian \
         agrees with `sejf export approve`, then say --request NUMBER"
    )]
    SecondPerson {
        /// What the configuration lets one give away.
        max: u64,
    },
}

fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ")
}

/// Whether it may be done, whosever the recordings are. Deny by default: an action that this does not name is refused.
pub fn decide(request: &Request<'_>) -> Result<Decision, Refusal> {
    decide_within(request, None)
}

/// Whether it may be done on what `belongs` says. Of what nobody says whose it is, an unlimited reach is needed.
pub fn decide_within(request: &Request<'_>, belongs: Option<&Belongs>) -> Result<Decision, Refusal> {
    let Request { actor, action, resource, reason, now } = request;
    let rule = rule(*action);
    if actor.only.as_ref().is_some_and(|only| !only.contains(action)) {
        return Err(Refusal::Token);
    }
    let mut reaches = rule.roles.iter().filter_map(|role| actor.roles.get(role)).peekable();
    if reaches.peek().is_none() {
        return Err(Refusal::Role { needs: rule.roles.to_vec() });
    }
    let covers = |reach: &Reach| belongs.map_or(*reach == Reach::All, |belongs| reach.covers(belongs));
    if rule.reach && !reaches.any(covers) {
        return Err(Refusal::Reach);
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

/// Roles of which one may do it.
pub fn roles_for(action: Action) -> &'static [Role] {
    rule(action).roles
}

struct Rule {
    roles: &'static [Role],
    reason: bool,
    second_factor: bool,
    /// Whether it matters whose the recordings are.
    reach: bool,
}

fn rule(action: Action) -> Rule {
    use Role::{Admin, Auditor, Compliance, Custodian, Dpo, Operator, Reviewer};
    let (roles, reason, second_factor): (&[Role], bool, bool) = match action {
        Action::Configure => (&[Admin], false, false),
        Action::TakeIn | Action::Copy | Action::RestoreTest | Action::Rebuild | Action::Duty => {
            (&[Operator], false, false)
        }
        Action::Media => (&[Operator], true, false),
        Action::Unlock | Action::Rewrap | Action::Drill => (&[Custodian], false, true),
        Action::Lock => (&[Custodian, Operator], false, false),
        Action::Search | Action::Show => (&[Reviewer, Compliance, Auditor, Dpo], false, false),
        Action::ListMatters => (&[Compliance, Custodian, Auditor, Dpo], false, false),
        Action::ListApprovals => (&[Compliance, Custodian, Auditor, Admin, Dpo], false, false),
        Action::Open => (&[Reviewer, Compliance], true, true),
        Action::Export => (&[Compliance], true, true),
        Action::AskExport => (&[Compliance], true, false),
        Action::ApproveExport => (&[Compliance, Custodian], true, true),
        Action::Annotate => (&[Reviewer, Compliance], true, false),
        Action::Hold | Action::NameEvent => (&[Compliance], true, false),
        Action::ReleaseHold => (&[Compliance], true, true),
        Action::AskDestruction => (&[Compliance, Dpo], true, false),
        Action::ApproveDestruction => (&[Custodian, Dpo], true, true),
        // Not who hears recordings.
        Action::Destroy => (&[Custodian, Dpo], true, true),
        Action::ShowStock => (&[Operator, Compliance, Custodian, Auditor], false, false),
        // Of calls whose trunk is not within reach nothing is told; who runs recorders sees no numbers.
        Action::ShowLive => (&[Operator, Reviewer, Compliance], false, false),
        Action::ShowAccess => (&[Compliance, Auditor], false, false),
        Action::ReadLog => (&[Auditor], false, false),
        Action::ListUsers => (&[Admin, Auditor], false, false),
        Action::ManageUsers => (&[Admin], true, true),
        Action::ApproveUsers => (&[Admin, Custodian], false, true),
        Action::BreakGlass => (&[Reviewer, Compliance], true, true),
        Action::MakeToken | Action::ChangeOwn => (&Role::ALL, false, true),
        Action::CertifyRoles => (&[Admin], false, true),
        // Whoever sees to something of it; it says nothing of recordings.
        Action::Review => (&[Operator, Compliance, Custodian, Auditor, Admin, Dpo], false, false),
        Action::Sample | Action::Judge => (&[Reviewer], false, false),
        // By what proves who one is, not by a role.
        Action::SignIn | Action::StepUp | Action::SignOut => (&[], false, false),
    };
    let reach = matches!(
        action,
        Action::Show
            | Action::Open
            | Action::Export
            | Action::AskExport
            | Action::ApproveExport
            | Action::AskDestruction
            | Action::ApproveDestruction
            | Action::Annotate
            | Action::ShowAccess
            | Action::Hold
            | Action::ReleaseHold
            | Action::NameEvent
    );
    Rule { roles, reason, second_factor, reach }
}

/// Two roles that nobody has together, and why. Nobody who hears recordings gives rights or destroys, and who checks
/// does nothing else.
pub fn conflict(roles: impl IntoIterator<Item = Role>) -> Option<(Role, Role, &'static str)> {
    let roles: BTreeSet<Role> = roles.into_iter().collect();
    let both = |(one, other, _): &&(Role, Role, &str)| roles.contains(one) && roles.contains(other);
    let auditor = || {
        let other = roles.iter().find(|role| **role != Role::Auditor)?;
        roles.contains(&Role::Auditor).then_some((Role::Auditor, *other, "who audits does nothing else"))
    };
    CONFLICTS.iter().find(both).copied().or_else(auditor)
}

const CONFLICTS: &[(Role, Role, &str)] = &[
    (Role::Admin, Role::Reviewer, "who gives rights hears no recordings"),
    (Role::Admin, Role::Compliance, "who gives rights hears no recordings"),
    (Role::Admin, Role::Custodian, "who gives rights holds no keys"),
    (Role::Operator, Role::Reviewer, "who runs the vault hears no recordings"),
    (Role::Operator, Role::Compliance, "who runs the vault hears no recordings"),
    (Role::Reviewer, Role::Custodian, "who hears recordings destroys none"),
    (Role::Reviewer, Role::Dpo, "who hears recordings destroys none"),
    (Role::Compliance, Role::Custodian, "who asks for destruction does not agree to it"),
    (Role::Compliance, Role::Dpo, "who hears recordings destroys none"),
];

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
            roles: roles.iter().map(|role| (*role, Reach::All)).collect(),
            only: None,
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

    #[test]
    fn nobody_has_roles_that_together_undo_the_separation() {
        let all_sets = (0_u32..1 << Role::ALL.len()).map(|bits| {
            let has = |(at, role): (usize, Role)| (bits >> at & 1 == 1).then_some(role);
            Role::ALL.into_iter().enumerate().filter_map(has).collect::<Vec<_>>()
        });
        let (mut allowed, mut refused) = (0, 0);
        for roles in all_sets {
            let someone = actor(&roles, Some(at(9_900)));
            let may = |action| ask(&someone, action, Some("any")).is_ok();
            let hears = may(Action::Open) || may(Action::Export);
            let destroys = may(Action::Destroy) || may(Action::ApproveDestruction);
            let is_apart = !(hears && (destroys || may(Action::ManageUsers) || may(Action::Copy)))
                && !(may(Action::ManageUsers) && (may(Action::Unlock) || may(Action::ReadLog)))
                && !(may(Action::ReadLog) && roles.len() > 1);
            match conflict(roles.iter().copied()) {
                None => {
                    allowed += 1;
                    assert!(is_apart, "{roles:?}");
                }
                Some((one, other, _)) => {
                    refused += 1;
                    assert!(roles.contains(&one) && roles.contains(&other) && one != other, "{roles:?}");
                }
            }
        }
        assert!(allowed > Role::ALL.len() && refused > allowed, "{allowed} {refused}");
    }

    #[test]
    fn a_reviewer_hears_their_own_teams_and_trunks_alone() {
        let own = Reach::of(["sales".into()], ["orange".into()]);
        let mut reviewer = actor(&[], Some(at(9_900)));
        reviewer.roles.insert(Role::Reviewer, own);
        let belongs = |team: &str, trunk: &str| Belongs { teams: [team.into()].into(), trunk: trunk.into() };
        let hear = |belongs: Option<&Belongs>| {
            let reason = Some(Reason { code: "quality".into(), text: String::new() });
            let (actor, action, resource) = (&reviewer, Action::Open, Resource::Vault);
            decide_within(&Request { actor, action, resource, reason, now: at(10_000) }, belongs).map(drop)
        };
        assert_eq!(hear(Some(&belongs("sales", "other"))), Ok(()));
        assert_eq!(hear(Some(&belongs("other", "orange"))), Ok(()));
        assert_eq!(hear(Some(&belongs("other", "other"))), Err(Refusal::Reach));
        assert_eq!(hear(Some(&Belongs::default())), Err(Refusal::Reach));
        assert_eq!(hear(None), Err(Refusal::Reach));
        // What is found is looked at one by one.
        assert!(ask(&reviewer, Action::Search, None).is_ok());
        assert!(!reviewer.reaches(Action::Search, &belongs("other", "other")));
    }

    #[test]
    fn a_token_is_for_what_it_says_and_no_role_signs_in() {
        let mut auditor = actor(&[Role::Auditor], None);
        auditor.only = Some([Action::ReadLog].into());
        assert!(ask(&auditor, Action::ReadLog, None).is_ok());
        assert_eq!(ask(&auditor, Action::Search, None), Err(Refusal::Token));
        let everybody = actor(&Role::ALL, Some(at(9_900)));
        for action in [Action::SignIn, Action::StepUp, Action::SignOut] {
            assert!(matches!(ask(&everybody, action, Some("any")), Err(Refusal::Role { .. })));
        }
    }

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{}\"", role.as_str()));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
