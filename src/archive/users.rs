//! All users, as a state that events change: [`Users::apply`] says whether one may be, and has it be.
//!
//! ```text
//! bootstrap, add ─► invited ─enrol─► active ─sign in─► …      ask for roles, or a new factor ─► agreed by another
//!                      ▲                │
//!                      └──── reset ─────┴─ disable ─► disabled
//! ```
//!
//! The vault's log has each change, with the SHA-256 of the state after it ([`Users::seal`]): a state that was edited
//! does not open, and one that was put back is not the one that the log names.

mod own;
mod sealed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::archive::access::{Action, Role, conflict};
use crate::archive::once::{Invite, Kept};
use crate::archive::passkey::{Passkey, PasskeyFault};
use crate::archive::password::Password;
use crate::archive::public_key::Base64Url;
use crate::archive::reach::Reach;
use crate::archive::user::{Factor, NewFactor, Roles, Standing, TOKEN_DAYS_MAX, Token, User, UserName};
use crate::base::time::Stamp;

pub use crate::archive::users::sealed::SealedError;

/// All users, what is asked for them, and tokens.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// How many changes made it.
    generation: u64,
    users: BTreeMap<UserName, User>,
    /// By number: waiting for a second person.
    asked: BTreeMap<u64, Asked>,
    /// By id.
    tokens: BTreeMap<u64, Token>,
    next: u64,
}

/// Something for which a second person is needed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// For whom.
    pub user: UserName,
    /// Who has asked.
    pub by: UserName,
    /// When.
    pub at: Stamp,
    /// What for.
    pub what: Wish,
}

/// What is asked for a user.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wish {
    /// These roles in place of those that they have.
    Roles(Roles),
    /// Another password and second factor.
    Reset,
}

/// Something that happens to users.
#[derive(Clone, Debug)]
pub enum Change {
    /// The first administrator, where there is none who may sign in.
    Bootstrap {
        /// Who.
        user: UserName,
        /// With what they begin.
        invite: Invite,
    },
    /// Somebody new.
    Add {
        /// Who.
        user: UserName,
        /// With which roles: none, unless `by_custodian`.
        roles: Roles,
        /// With what they begin.
        invite: Invite,
        /// Whether a custodian has shown their key, who is the second person then.
        by_custodian: bool,
    },
    /// An invitation was used.
    Enrol {
        /// By whom.
        user: UserName,
        /// Of the secret that was shown.
        shown: Kept,
        /// Their password.
        password: Password,
        /// Their second factor, which they have shown.
        factor: NewFactor,
        /// Of their recovery codes.
        recovery: Vec<Kept>,
    },
    /// Both factors were right.
    SignIn {
        /// Whose.
        user: UserName,
        /// The second one.
        factor: Factor,
    },
    /// Something is asked for a user.
    Ask {
        /// By whom.
        by: UserName,
        /// For whom.
        user: UserName,
        /// What.
        what: Wish,
    },
    /// A second person agrees.
    Agree {
        /// Who.
        by: UserName,
        /// To which number.
        number: u64,
        /// For a [`Wish::Reset`]: with what they begin again.
        invite: Invite,
    },
    /// Other roles, and a custodian was the second person.
    SetRoles {
        /// Whose.
        user: UserName,
        /// Which.
        roles: Roles,
    },
    /// Another password and second factor, and a custodian was the second person.
    Reset {
        /// Whose.
        user: UserName,
        /// With what they begin again.
        invite: Invite,
    },
    /// Somebody else says that a user's roles are still right.
    Certify {
        /// Who; nobody who is a user where a custodian has shown their key.
        by: Option<UserName>,
        /// Whose.
        user: UserName,
        /// The roles that they have seen.
        roles: Roles,
    },
    /// They may not sign in any more.
    Disable {
        /// Who.
        user: UserName,
    },
    /// Another passkey.
    AddPasskey {
        /// Whose.
        user: UserName,
        /// It.
        passkey: Passkey,
    },
    /// A passkey is of no use any more.
    RemovePasskey {
        /// Whose.
        user: UserName,
        /// Which.
        number: u64,
    },
    /// There may be a copy of a passkey: it counts no more.
    BlockPasskey {
        /// Whose.
        user: UserName,
        /// Which.
        number: u64,
    },
    /// Another password, or the same one hashed at another cost.
    SetPassword {
        /// Whose.
        user: UserName,
        /// It.
        password: Password,
        /// What it takes the place of: nothing else does.
        before: Password,
        /// Whether it is the same.
        is_same: bool,
    },
    /// New recovery codes in place of all that there were.
    SetRecovery {
        /// Whose.
        user: UserName,
        /// Of them.
        recovery: Vec<Kept>,
    },
    /// A token for a program.
    MakeToken(Token),
    /// Taken back.
    RevokeToken {
        /// Whose.
        user: UserName,
        /// Which.
        id: u64,
    },
}

/// Why it cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersFault {
    /// There is one.
    #[error("there is an administrator who may sign in: they add users")]
    HasAdmin,
    /// The name is taken.
    #[error("there is a user `{0}` already, or there was one: choose another name")]
    Exists(UserName),
    /// There is none.
    #[error("there is no user `{0}`")]
    Unknown(UserName),
    /// Disabled.
    #[error("user `{0}` is disabled")]
    Disabled(UserName),
    /// It was used, or is too old, or never was.
    #[error("the invitation is not valid, or not any more: have another one made")]
    Invitation,
    /// It counted before, or they have none.
    #[error("the code is not valid, or was used")]
    Code,
    /// A passkey that proves nothing.
    #[error(transparent)]
    Passkey(#[from] PasskeyFault),
    /// No such passkey.
    #[error("there is no passkey {0} of yours")]
    NoPasskey(u64),
    /// Somebody has it already.
    #[error("this passkey is registered already")]
    SamePasskey,
    /// Nothing would be left to sign in with.
    #[error("this is the last second factor: add another one first")]
    LastFactor,
    /// Its name.
    #[error("a passkey's name has 1 to {LABEL_BYTES_MAX} bytes")]
    PasskeyName,
    /// The password is another by now.
    #[error("the password was changed in the meantime: begin anew")]
    PasswordChanged,
    /// Roles that nobody has together.
    #[error("nobody is both {} and {}: {why}", one.as_str(), other.as_str())]
    Conflict {
        /// One of them.
        one: Role,
        /// The other.
        other: Role,
        /// Why.
        why: &'static str,
    },
    /// A role is given without a second person.
    #[error("roles take a second person: add the user without any, and ask for them")]
    NeedsSecond,
    /// The same person.
    #[error("this takes another person than who asked for it, or whom it is for")]
    SamePerson,
    /// They have others by now.
    #[error("`{0}` has other roles by now: look at them again")]
    OtherRoles(UserName),
    /// Nobody has asked.
    #[error("nothing of the number {0} is asked")]
    NotAsked(u64),
    /// Too many of something.
    #[error("there are too many {0}: have some away first")]
    TooMany(&'static str),
    /// No such token.
    #[error("there is no token {0} of yours")]
    NoToken(u64),
    /// It would last too long, or is for something that takes a second factor, or for nothing.
    #[error("a token lasts at most {TOKEN_DAYS_MAX} days, and is for some of what takes no second factor")]
    Token,
}

impl Change {
    /// Whose change it is.
    pub fn user(&self, users: &Users) -> Option<UserName> {
        Some(match self {
            Self::Bootstrap { user, .. }
            | Self::Add { user, .. }
            | Self::Enrol { user, .. }
            | Self::SignIn { user, .. }
            | Self::Ask { user, .. }
            | Self::SetRoles { user, .. }
            | Self::Reset { user, .. }
            | Self::Certify { user, .. }
            | Self::Disable { user }
            | Self::AddPasskey { user, .. }
            | Self::RemovePasskey { user, .. }
            | Self::BlockPasskey { user, .. }
            | Self::SetPassword { user, .. }
            | Self::SetRecovery { user, .. }
            | Self::RevokeToken { user, .. } => user.clone(),
            Self::MakeToken(token) => token.user.clone(),
            Self::Agree { number, .. } => users.asked.get(number)?.user.clone(),
        })
    }

    /// What the log says of it: no secrets, nor what is kept of them. To be asked before it is applied.
    pub fn told(&self, users: &Users) -> serde_json::Value {
        let mut told = match self {
            Self::Bootstrap { invite, .. } => json!({ "change": "bootstrap", "until": invite.until }),
            Self::Add { roles, invite, by_custodian, .. } => {
                json!({ "change": "add", "roles": roles, "until": invite.until, "custodian": by_custodian })
            }
            Self::Enrol { factor: NewFactor::Totp(..), .. } => json!({ "change": "enrol", "factor": "totp" }),
            Self::Enrol { factor: NewFactor::Passkey(_), .. } => {
                json!({ "change": "enrol", "factor": "passkey", "passkey": users.next })
            }
            Self::SignIn { factor: Factor::Passkey(number, shown), .. } => {
                json!({ "change": "sign-in", "factor": "passkey", "passkey": number, "verified": shown.is_verified })
            }
            Self::SignIn { factor, .. } => json!({ "change": "sign-in", "factor": factor.as_str() }),
            Self::AddPasskey { passkey, .. } => {
                json!({ "change": "add-passkey", "passkey": users.next, "party": passkey.party })
            }
            Self::RemovePasskey { number, .. } => json!({ "change": "remove-passkey", "passkey": number }),
            Self::BlockPasskey { number, .. } => {
                json!({ "change": "block-passkey", "passkey": number, "alarm": "passkey-copied" })
            }
            Self::SetPassword { is_same: true, .. } => json!({ "change": "rehash-password" }),
            Self::SetPassword { .. } => json!({ "change": "set-password" }),
            Self::SetRecovery { recovery, .. } => {
                json!({ "change": "recovery-codes", "count": recovery.len() })
            }
            Self::Ask { what, .. } => json!({ "change": "ask", "number": users.next, "what": what }),
            Self::Agree { number, .. } => {
                json!({ "change": "agree", "number": number, "asked": users.asked.get(number) })
            }
            Self::SetRoles { roles, .. } => json!({ "change": "roles", "roles": roles, "custodian": true }),
            Self::Reset { .. } => json!({ "change": "reset", "custodian": true }),
            Self::Certify { by, roles, .. } => {
                json!({ "change": "certify", "roles": roles, "custodian": by.is_none() })
            }
            Self::Disable { .. } => json!({ "change": "disable" }),
            Self::MakeToken(token) => {
                json!({ "change": "token", "number": users.next, "only": token.only, "until": token.until })
            }
            Self::RevokeToken { id, .. } => json!({ "change": "revoke-token", "number": id }),
        };
        told["user"] = json!(self.user(users));
        told
    }

    /// Whether sessions of the user end with it.
    pub fn ends_sessions(&self) -> bool {
        match self {
            Self::Agree { .. } | Self::SetRoles { .. } | Self::Reset { .. } | Self::Disable { .. } => true,
            Self::Bootstrap { .. } | Self::Enrol { .. } => true,
            Self::Add { .. } | Self::SignIn { .. } | Self::Ask { .. } | Self::Certify { .. } => false,
            Self::MakeToken(_) | Self::RevokeToken { .. } => false,
            Self::AddPasskey { .. } | Self::RemovePasskey { .. } | Self::BlockPasskey { .. } => false,
            // Whose it is says which of them go on.
            Self::SetPassword { .. } | Self::SetRecovery { .. } => false,
        }
    }
}

impl Users {
    /// How many changes made it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A user.
    pub fn get(&self, name: &UserName) -> Option<&User> {
        self.users.get(name)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = (&UserName, &User)> {
        self.users.iter()
    }

    /// What waits for a second person, by number.
    pub fn asked(&self) -> impl Iterator<Item = (u64, &Asked)> {
        self.asked.iter().map(|(number, asked)| (*number, asked))
    }

    /// Tokens of a user, by number.
    pub fn tokens(&self, user: &UserName) -> impl Iterator<Item = (u64, &Token)> {
        self.tokens.iter().filter(move |(_, token)| token.user == *user).map(|(id, token)| (*id, token))
    }

    /// The token that somebody shows, where it counts, and its user may sign in.
    pub fn token(&self, shown: &str, now: Stamp) -> Option<(&Token, &User)> {
        let shown = Kept::of(shown);
        let token = self.tokens.values().find(|token| token.kept.is_same(&shown) && now < token.until)?;
        let user = self.users.get(&token.user).filter(|user| user.standing == Standing::Active)?;
        Some((token, user))
    }

    /// Whose invitation somebody shows.
    pub fn invited(&self, shown: &str, now: Stamp) -> Option<&UserName> {
        let shown = Kept::of(shown);
        self.users.iter().find(|(_, user)| user.is_invited_by(&shown, now)).map(|(name, _)| name)
    }

    /// Whose the passkey of an id is. Nobody has it twice, and no two have it.
    pub fn passkey(&self, id: &Base64Url) -> Option<(&UserName, &User, u64, &Passkey)> {
        let of = |(name, user): (_, &'_ User)| user.passkey(id).map(|(number, _)| (name, number));
        let (name, number) = self.users.iter().find_map(of)?;
        let user = self.users.get(name)?;
        Some((name, user, number, user.passkeys.get(&number)?))
    }

    /// The number that the next thing asked for, or token, has.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Whether an administrator may sign in.
    pub fn has_admin(&self) -> bool {
        let is_admin =
            |user: &User| user.standing == Standing::Active && user.roles.contains_key(&Role::Admin);
        self.users.values().any(is_admin)
    }

    /// Has something happen; nothing of it where it may not.
    pub fn apply(&mut self, change: &Change, now: Stamp) -> Result<(), UsersFault> {
        match change {
            Change::Bootstrap { user, invite } => self.bootstrap(user, invite, now)?,
            Change::Add { user, roles, invite, by_custodian } => {
                self.add(user, roles, invite, *by_custodian, now)?;
            }
            Change::Enrol { user, shown, password, factor, recovery } => {
                self.enrol(user, (shown, password), factor, recovery, now)?;
            }
            Change::SignIn { user, factor } => self.sign_in(user, *factor, now)?,
            Change::Ask { by, user, what } => self.ask(by, user, what, now)?,
            Change::Agree { by, number, invite } => self.agree(by, *number, invite, now)?,
            Change::SetRoles { user, roles } => self.set_roles(user, roles, now)?,
            Change::Reset { user, invite } => self.reset(user, invite)?,
            Change::Certify { by, user, roles } => self.certify(by.as_ref(), user, roles, now)?,
            Change::Disable { user } => self.disable(user)?,
            Change::AddPasskey { user, passkey } => self.add_passkey(user, passkey)?,
            Change::RemovePasskey { user, number } => self.remove_passkey(user, *number)?,
            Change::BlockPasskey { user, number } => self.passkey_mut(user, *number)?.blocked = Some(now),
            Change::SetPassword { user, password, before, .. } => {
                self.set_password(user, password, before)?;
            }
            Change::SetRecovery { user, recovery } => self.set_recovery(user, recovery)?,
            Change::MakeToken(token) => self.make_token(token, now)?,
            Change::RevokeToken { user, id } => {
                let is_theirs = self.tokens.get(id).is_some_and(|token| token.user == *user);
                is_theirs.then(|| self.tokens.remove(id)).ok_or(UsersFault::NoToken(*id))?;
            }
        }
        self.generation += 1;
        Ok(())
    }

    fn bootstrap(&mut self, name: &UserName, invite: &Invite, now: Stamp) -> Result<(), UsersFault> {
        if self.has_admin() {
            return Err(UsersFault::HasAdmin);
        }
        // One who did not come in time may be asked again.
        let is_free =
            |user: &User| user.standing == Standing::Invited && user.roles.contains_key(&Role::Admin);
        if self.users.get(name).is_some_and(|user| !is_free(user)) {
            return Err(UsersFault::Exists(name.clone()));
        }
        let roles = [(Role::Admin, Reach::All)].into();
        self.insert(name, User::invited(roles, invite.clone(), now))
    }

    fn add(
        &mut self,
        name: &UserName,
        roles: &Roles,
        invite: &Invite,
        by_custodian: bool,
        now: Stamp,
    ) -> Result<(), UsersFault> {
        if self.users.contains_key(name) {
            return Err(UsersFault::Exists(name.clone()));
        }
        if !roles.is_empty() && !by_custodian {
            return Err(UsersFault::NeedsSecond);
        }
        apart(roles)?;
        self.insert(name, User::invited(roles.clone(), invite.clone(), now))
    }

    fn insert(&mut self, name: &UserName, user: User) -> Result<(), UsersFault> {
        if self.users.len() >= USERS_MAX {
            return Err(UsersFault::TooMany("users"));
        }
        self.users.insert(name.clone(), user);
        Ok(())
    }

    fn ask(&mut self, by: &UserName, user: &UserName, what: &Wish, now: Stamp) -> Result<(), UsersFault> {
        self.user_mut(user)?;
        if by == user {
            return Err(UsersFault::SamePerson);
        }
        if let Wish::Roles(roles) = what {
            apart(roles)?;
        }
        if self.asked.len() >= ASKED_MAX {
            return Err(UsersFault::TooMany("requests that wait"));
        }
        let asked = Asked { user: user.clone(), by: by.clone(), at: now, what: what.clone() };
        // What was asked for the same before is no more.
        self.asked.retain(|_, before| before.user != asked.user || kind(&before.what) != kind(&asked.what));
        self.asked.insert(self.next, asked);
        self.next += 1;
        Ok(())
    }

    fn agree(&mut self, by: &UserName, number: u64, invite: &Invite, now: Stamp) -> Result<(), UsersFault> {
        let asked = self.asked.get(&number).ok_or(UsersFault::NotAsked(number))?.clone();
        if *by == asked.by || *by == asked.user {
            return Err(UsersFault::SamePerson);
        }
        match &asked.what {
            Wish::Roles(roles) => self.set_roles(&asked.user, roles, now)?,
            Wish::Reset => self.reset(&asked.user, invite)?,
        }
        self.asked.remove(&number);
        Ok(())
    }

    fn set_roles(&mut self, name: &UserName, roles: &Roles, now: Stamp) -> Result<(), UsersFault> {
        apart(roles)?;
        let user = self.user_mut(name)?;
        user.roles = roles.clone();
        // Two people have just said that they are right.
        user.certified = Some(now);
        Ok(())
    }

    fn certify(
        &mut self,
        by: Option<&UserName>,
        name: &UserName,
        roles: &Roles,
        now: Stamp,
    ) -> Result<(), UsersFault> {
        if by == Some(name) {
            return Err(UsersFault::SamePerson);
        }
        let user = self.user_mut(name)?;
        if user.roles != *roles {
            return Err(UsersFault::OtherRoles(name.clone()));
        }
        user.certified = Some(now);
        Ok(())
    }

    fn reset(&mut self, name: &UserName, invite: &Invite) -> Result<(), UsersFault> {
        let user = self.user_mut(name)?;
        let (roles, since, signed_in) = (user.roles.clone(), user.since, user.signed_in);
        let certified = user.certified;
        *user = User { signed_in, certified, ..User::invited(roles, invite.clone(), since) };
        self.tokens.retain(|_, token| token.user != *name);
        Ok(())
    }

    fn disable(&mut self, name: &UserName) -> Result<(), UsersFault> {
        let user = self.user_mut(name)?;
        *user = User {
            standing: Standing::Disabled,
            invite: None,
            password: None,
            totp: None,
            recovery: Vec::new(),
            passkeys: BTreeMap::new(),
            ..user.clone()
        };
        self.tokens.retain(|_, token| token.user != *name);
        self.asked.retain(|_, asked| asked.user != *name && asked.by != *name);
        Ok(())
    }

    fn make_token(&mut self, token: &Token, now: Stamp) -> Result<(), UsersFault> {
        self.user_mut(&token.user)?;
        let longest = now.after(std::time::Duration::from_secs(TOKEN_DAYS_MAX * 86_400));
        let is_some = !token.only.is_empty() && token.only.iter().all(|action| FOR_TOKENS.contains(action));
        if !is_some || token.until > longest || token.until <= now || token.label.len() > LABEL_BYTES_MAX {
            return Err(UsersFault::Token);
        }
        self.tokens.retain(|_, token| now < token.until);
        if self.tokens(&token.user).count() >= TOKENS_MAX {
            return Err(UsersFault::TooMany("tokens"));
        }
        self.tokens.insert(self.next, token.clone());
        self.next += 1;
        Ok(())
    }

    /// Somebody who is not disabled.
    fn user_mut(&mut self, name: &UserName) -> Result<&mut User, UsersFault> {
        let user = self.users.get_mut(name).ok_or_else(|| UsersFault::Unknown(name.clone()))?;
        if user.standing == Standing::Disabled { Err(UsersFault::Disabled(name.clone())) } else { Ok(user) }
    }
}

fn apart(roles: &Roles) -> Result<(), UsersFault> {
    match conflict(roles.keys().copied()) {
        Some((one, other, why)) => Err(UsersFault::Conflict { one, other, why }),
        None => Ok(()),
    }
}

fn kind(wish: &Wish) -> bool {
    matches!(wish, Wish::Reset)
}

/// What a token may be for. All else takes a second factor, which no program has.
pub const FOR_TOKENS: [Action; 4] = [Action::Search, Action::Show, Action::ReadLog, Action::ListUsers];
const USERS_MAX: usize = 10_000;
const ASKED_MAX: usize = 1_000;
const TOKENS_MAX: usize = 32;
/// Bytes of what somebody calls a token or a passkey.
pub const LABEL_BYTES_MAX: usize = 128;
