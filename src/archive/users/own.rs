//! What people prove who they are by: the first time, each time, and what they change of it themselves.

use crate::archive::once::{Invite, Kept};
use crate::archive::passkey::{Passkey, PasskeyFault};
use crate::archive::password::Password;
use crate::archive::user::{Factor, NewFactor, Standing, User, UserName};
use crate::archive::users::{LABEL_BYTES_MAX, Users, UsersFault};
use crate::base::time::Stamp;

impl Users {
    /// An invitation is used: whoever shows it has a password and a second factor from now on.
    pub(super) fn enrol(
        &mut self,
        name: &UserName,
        (shown, password): (&Kept, &Password),
        factor: &NewFactor,
        recovery: &[Kept],
        now: Stamp,
    ) -> Result<(), UsersFault> {
        let is_it = |invite: &Invite| invite.kept == *shown && now < invite.until;
        let number = self.next;
        if let NewFactor::Passkey(passkey) = factor {
            self.is_new(passkey)?;
        }
        let user = self.user_mut(name)?;
        user.invite.take_if(|invite| is_it(invite)).ok_or(UsersFault::Invitation)?;
        (user.totp, user.used) = (None, None);
        user.passkeys.clear();
        match factor {
            NewFactor::Totp(secret, step) => {
                (user.totp, user.used) = (Some(secret.clone()), Some(*step));
            }
            NewFactor::Passkey(passkey) => drop(user.passkeys.insert(number, passkey.clone())),
        }
        user.standing = Standing::Active;
        (user.password, user.recovery) = (Some(password.clone()), recovery.to_vec());
        (user.signed_in, user.enrolled) = (Some(now), Some(now));
        self.next += u64::from(matches!(factor, NewFactor::Passkey(_)));
        Ok(())
    }

    /// A second factor was right: it is used up.
    pub(super) fn sign_in(&mut self, name: &UserName, factor: Factor, now: Stamp) -> Result<(), UsersFault> {
        let user = self.user_mut(name)?;
        if user.standing != Standing::Active {
            return Err(UsersFault::Code);
        }
        match factor {
            // Another try with the same code may have been first.
            Factor::Totp(step) if user.used.is_some_and(|used| step <= used) => return Err(UsersFault::Code),
            Factor::Totp(step) => user.used = Some(step),
            Factor::Recovery(kept) => {
                let place = user.recovery.iter().position(|one| *one == kept).ok_or(UsersFault::Code)?;
                user.recovery.remove(place);
            }
            Factor::Provider => {}
            Factor::Passkey(number, shown) => {
                let passkey = user.passkeys.get_mut(&number).ok_or(UsersFault::NoPasskey(number))?;
                if passkey.blocked.is_some() {
                    return Err(PasskeyFault::Blocked.into());
                }
                // Another try with the same answer may have been first.
                if passkey.is_copied(shown) {
                    return Err(PasskeyFault::Copied.into());
                }
                (passkey.counter, passkey.is_synced) = (shown.counter, shown.is_synced);
                passkey.used = Some(now);
            }
        }
        user.signed_in = Some(now);
        Ok(())
    }

    /// Another passkey.
    pub(super) fn add_passkey(&mut self, name: &UserName, passkey: &Passkey) -> Result<(), UsersFault> {
        self.is_new(passkey)?;
        let number = self.next;
        let user = self.active_mut(name)?;
        if user.handle().is_some_and(|handle| handle != passkey.handle()) {
            // One of before was removed meanwhile, and another is known by another name.
            return Err(PasskeyFault::Challenge.into());
        }
        if user.passkeys.len() >= PASSKEYS_MAX {
            return Err(UsersFault::TooMany("passkeys"));
        }
        user.passkeys.insert(number, passkey.clone());
        self.next += 1;
        Ok(())
    }

    /// One is taken away, where another second factor stays.
    pub(super) fn remove_passkey(&mut self, name: &UserName, number: u64) -> Result<(), UsersFault> {
        let user = self.active_mut(name)?;
        let passkey = user.passkeys.get(&number).ok_or(UsersFault::NoPasskey(number))?;
        let others = user.good_passkeys().len() - usize::from(passkey.blocked.is_none());
        if others == 0 && user.totp.is_none() {
            return Err(UsersFault::LastFactor);
        }
        user.passkeys.remove(&number);
        Ok(())
    }

    /// A passkey of somebody who is not disabled.
    pub(super) fn passkey_mut(&mut self, name: &UserName, number: u64) -> Result<&mut Passkey, UsersFault> {
        let user = self.user_mut(name)?;
        user.passkeys.get_mut(&number).ok_or(UsersFault::NoPasskey(number))
    }

    /// Another hash of a password, where it is still the one that was there before.
    pub(super) fn set_password(
        &mut self,
        name: &UserName,
        password: &Password,
        before: &Password,
    ) -> Result<(), UsersFault> {
        let user = self.active_mut(name)?;
        if user.password.as_ref() != Some(before) {
            return Err(UsersFault::PasswordChanged);
        }
        user.password = Some(password.clone());
        Ok(())
    }

    /// New recovery codes: those of before are dead.
    pub(super) fn set_recovery(&mut self, name: &UserName, recovery: &[Kept]) -> Result<(), UsersFault> {
        self.active_mut(name)?.recovery = recovery.to_vec();
        Ok(())
    }

    fn is_new(&self, passkey: &Passkey) -> Result<(), UsersFault> {
        let is_named = (1..=LABEL_BYTES_MAX).contains(&passkey.name.len());
        if !is_named || passkey.name.chars().any(char::is_control) {
            return Err(UsersFault::PasskeyName);
        }
        let mut all = self.users.values().flat_map(|user| user.passkeys.values());
        if all.any(|known| known.id == passkey.id) { Err(UsersFault::SamePasskey) } else { Ok(()) }
    }

    fn active_mut(&mut self, name: &UserName) -> Result<&mut User, UsersFault> {
        let user = self.user_mut(name)?;
        if user.standing == Standing::Active { Ok(user) } else { Err(UsersFault::Invitation) }
    }
}

/// Passkeys that somebody has at once.
const PASSKEYS_MAX: usize = 20;
