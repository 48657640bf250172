//! Somebody who uses the vault: name, roles, what proves who they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::archive::access::{Action, Actor, Role};
use crate::archive::once::{self, Invite, Kept};
use crate::archive::passkey::{Passkey, Shown};
use crate::archive::password::Password;
use crate::archive::public_key::Base64Url;
use crate::archive::reach::Reach;
use crate::archive::totp;
use crate::base::time::Stamp;

/// A user's name: as short as one types it, and nothing that a log or a page would show otherwise than it is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

/// It cannot be a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a user's name has 1 to {NAME_CHARS_MAX} letters a to z, digits and `. _ @ -`, and begins with a letter or digit"
)]
pub struct NotAName;

impl UserName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the log has it: nobody is taken for who acts on the vault's own machine.
    pub fn actor(&self) -> String {
        format!("user:{}", self.0)
    }
}

impl FromStr for UserName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(is_letter);
        let is_plain = text.bytes().all(|byte| is_letter(byte) || b"._@-".contains(&byte));
        if begins && is_plain && text.len() <= NAME_CHARS_MAX { Ok(Self(text.into())) } else { Err(NotAName) }
    }
}

impl TryFrom<String> for UserName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Roles, each with its reach.
pub type Roles = BTreeMap<Role, Reach>;

/// How somebody stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Has not yet set a password and a second factor.
    Invited,
    /// May sign in.
    Active,
    /// May not.
    Disabled,
}

/// A user, with what the vault keeps of their secrets. Whoever is disabled stays, so that nobody takes over the name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What they are.
    pub roles: Roles,
    /// How they stand.
    pub standing: Standing,
    /// Since when they are a user.
    pub since: Stamp,
    /// When they signed in last.
    pub signed_in: Option<Stamp>,
    /// When they set password and second factor: sessions of before are over.
    pub enrolled: Option<Stamp>,
    /// When another said last that their roles are right, or gave them; nothing since they were added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified: Option<Stamp>,
    pub(super) invite: Option<Invite>,
    pub(super) password: Option<Password>,
    pub(super) totp: Option<totp::Secret>,
    /// The last step whose code counted.
    pub(super) used: Option<u64>,
    pub(super) recovery: Vec<Kept>,
    /// By number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) passkeys: BTreeMap<u64, Passkey>,
}

/// What proved to be the second factor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Factor {
    /// The code of a step.
    Totp(u64),
    /// A recovery code, which is used up.
    Recovery(Kept),
    /// The passkey of a number.
    Passkey(u64, Shown),
    /// The word of an identity provider, which has seen two.
    Provider,
}

/// The second factor that somebody begins with.
#[derive(Clone, Debug)]
pub enum NewFactor {
    /// An app, and the step whose code showed that they have it.
    Totp(totp::Secret, u64),
    /// A passkey.
    Passkey(Passkey),
}

impl Factor {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Totp(_) => "totp",
            Self::Recovery(_) => "recovery-code",
            Self::Passkey(..) => "passkey",
            Self::Provider => "oidc",
        }
    }
}

impl User {
    /// Somebody new, who sets password and second factor with an invitation.
    pub fn invited(roles: Roles, invite: Invite, now: Stamp) -> Self {
        Self {
            roles,
            standing: Standing::Invited,
            since: now,
            signed_in: None,
            enrolled: None,
            certified: None,
            invite: Some(invite),
            password: None,
            totp: None,
            used: None,
            recovery: Vec::new(),
            passkeys: BTreeMap::new(),
        }
    }

    /// Their password, where they may sign in with it.
    pub fn password(&self) -> Option<&Password> {
        self.password.as_ref().filter(|_| self.standing == Standing::Active)
    }

    /// Which second factor a code is; nothing where it is none, or counted before.
    pub fn factor(&self, code: &str, now: Stamp) -> Option<Factor> {
        if self.standing != Standing::Active {
            return None;
        }
        let step = self.totp.as_ref().and_then(|secret| secret.check(code, now, self.used));
        step.map(Factor::Totp).or_else(|| {
            let code = Kept::of(&once::plain(code));
            self.recovery.iter().find(|kept| kept.is_same(&code)).map(|kept| Factor::Recovery(*kept))
        })
    }

    /// Whether they have a second factor.
    pub fn has_second_factor(&self) -> bool {
        self.totp.is_some() || !self.good_passkeys().is_empty()
    }

    /// Since when their roles are known to be right.
    pub fn certified_since(&self) -> Stamp {
        self.certified.unwrap_or(self.since)
    }

    /// Recovery codes that are left.
    pub fn recovery_codes(&self) -> usize {
        self.recovery.len()
    }

    /// Passkeys, by number; those of who may not sign in are none.
    pub fn passkeys(&self) -> impl Iterator<Item = (u64, &Passkey)> {
        let all = self.passkeys.iter().filter(|_| self.standing == Standing::Active);
        all.map(|(number, passkey)| (*number, passkey))
    }

    /// Passkeys that count.
    pub fn good_passkeys(&self) -> Vec<&Passkey> {
        self.passkeys().map(|(_, passkey)| passkey).filter(|passkey| passkey.blocked.is_none()).collect()
    }

    /// The passkey of an id.
    pub fn passkey(&self, id: &Base64Url) -> Option<(u64, &Passkey)> {
        self.passkeys().find(|(_, passkey)| passkey.id == *id)
    }

    /// As authenticators know them; nothing where they have no passkey.
    pub fn handle(&self) -> Option<&Base64Url> {
        self.passkeys.values().next().map(Passkey::handle)
    }

    /// Whether an app shows codes for them.
    pub fn has_totp(&self) -> bool {
        self.totp.is_some() && self.standing == Standing::Active
    }

    /// Whether an invitation of theirs is this one.
    pub fn is_invited_by(&self, shown: &Kept, now: Stamp) -> bool {
        self.standing != Standing::Disabled
            && self.invite.as_ref().is_some_and(|invite| invite.is(shown, now))
    }

    /// Who acts, from where.
    pub fn actor(&self, name: &UserName, origin: &str, second_factor: Option<Stamp>) -> Actor {
        let is_active = self.standing == Standing::Active;
        let roles = if is_active { self.roles.clone() } else { Roles::new() };
        Actor { name: name.actor(), roles, only: None, origin: origin.into(), second_factor }
    }
}

/// A token for a program that acts for a user. It shows no second factor, so it opens, exports and destroys nothing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// For whom.
    pub user: UserName,
    /// What for, in the user's own word.
    pub label: String,
    /// What it may be used for, of what the user's roles may.
    pub only: BTreeSet<Action>,
    /// Since when.
    pub since: Stamp,
    /// Until when.
    pub until: Stamp,
    pub(super) kept: Kept,
}

impl Token {
    /// One that was made just now.
    pub fn new(
        user: UserName,
        label: String,
        only: BTreeSet<Action>,
        kept: Kept,
        now: Stamp,
        until: Stamp,
    ) -> Self {
        Self { user, label, only, since: now, until, kept }
    }
}

/// Characters of the longest name.
pub const NAME_CHARS_MAX: usize = 64;
/// Days that a token lasts at most.
pub const TOKEN_DAYS_MAX: u64 = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["ewa", "e.nowak@example.org", "7", &"a".repeat(64)] {
            assert_eq!(name.parse::<UserName>().unwrap().as_str(), name);
        }
        for name in
            ["", "Ewa", "-ewa", ".ewa", "ewa kot", "user:ewa", "ewa\n", "łukasz", "../ewa", &"a".repeat(65)]
        {
            assert_eq!(name.parse::<UserName>(), Err(NotAName), "{name}");
        }
    }
}
