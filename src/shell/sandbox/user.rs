//! Who the process is. Names are read from `/etc/passwd` and `/etc/group` and nowhere else: asking the
//! name service would load code and open sockets in a process that is still root.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::{Gid, Uid, geteuid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid, set_thread_uid};

/// An account, as numbers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// As it was asked for.
    pub name: String,
    /// User id; not 0.
    pub uid: u32,
    /// Primary group; not 0.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// The account files cannot be read.
    #[error("reading `{path}` for user `{name}`: {source}")]
    Io {
        /// The account.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such account.
    #[error(
        "user `{name}` is not in /etc/passwd: make it with `systemd-sysusers`, or write its ids as `UID:GID`"
    )]
    Unknown {
        /// The account.
        name: String,
    },
    /// The account is root.
    #[error("user `{name}` is root, or in group root: name one that is not")]
    Root {
        /// The account.
        name: String,
    },
}

impl User {
    /// Looks up `name`, or takes `UID:GID` as it is.
    pub fn find(name: &str) -> Result<Self, UserError> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|source| UserError::Io {
                name: name.into(),
                path: path.into(),
                source,
            })
        };
        match numbers(name) {
            Some(_) => Self::find_in("", "", name),
            None => Self::find_in(&read(PASSWD)?, &read(GROUP)?, name),
        }
    }

    /// [`User::find`] in the text of `/etc/passwd` (passwd(5)) and `/etc/group` (group(5)).
    fn find_in(passwd: &str, group: &str, name: &str) -> Result<Self, UserError> {
        let known = numbers(name).or_else(|| {
            let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let entry = fields.into_iter().find(|fields| fields.first() == Some(&name))?;
            Some((entry.get(2)?.parse().ok()?, entry.get(3)?.parse().ok()?))
        });
        let Some((uid, gid)) = known else { return Err(UserError::Unknown { name: name.into() }) };
        let groups: Vec<u32> = group
            .lines()
            .filter_map(|line| {
                let fields: Vec<_> = line.split(':').collect();
                let is_member = fields.get(3)?.split(',').any(|member| member.trim() == name);
                fields.get(2)?.parse().ok().filter(|_| is_member)
            })
            .collect();
        if uid == 0 || gid == 0 || groups.contains(&0) {
            return Err(UserError::Root { name: name.into() });
        }
        Ok(Self { name: name.into(), uid, gid, groups })
    }
}

/// Number of a group, by its name in `/etc/group` or as it is.
pub fn group_id(name: &str) -> Option<u32> {
    if let Ok(id) = name.parse() {
        return Some(id);
    }
    let groups = std::fs::read_to_string(GROUP).ok()?;
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = lines.find(|fields| fields.first() == Some(&name))?;
    entry.get(2)?.parse().ok()
}

fn numbers(text: &str) -> Option<(u32, u32)> {
    let (uid, gid) = text.split_once(':')?;
    // All ones means "as it is" to the kernel.
    let number = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX);
    Some((number(uid)?, number(gid)?))
}

/// Becomes `user`, and makes sure that it can write and that there is no way back.
pub(super) fn change(user: Option<&User>, writable: &[PathBuf]) -> Result<String, String> {
    if getuid().is_root() || geteuid().is_root() {
        let user = user.ok_or("the process is root and no user is configured: name one, such as `sejf`")?;
        become_user(user).map_err(|(what, error)| format!("{what} of user `{}`: {error}", user.name))?;
        if set_thread_uid(Uid::ROOT).is_ok() {
            return Err(format!("user `{}` could become root again", user.name));
        }
    } else if let Some(user) = user.filter(|user| user.uid != getuid().as_raw()) {
        let now = getuid().as_raw();
        return Err(format!(
            "runs as user {now}, cannot become `{}`: start as root or as that user",
            user.name
        ));
    }
    let uid = getuid().as_raw();
    match writable.iter().find(|path| !is_writable(path)) {
        Some(path) => Err(format!("user {uid} cannot write `{}`: give the directory to it", path.display())),
        None => Ok(format!("user {uid}")),
    }
}

fn become_user(user: &User) -> Result<(), (&'static str, rustix::io::Errno)> {
    // Groups while still root, the user last.
    let gid = Gid::from_raw(user.gid);
    let uid = Uid::from_raw(user.uid);
    let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    set_thread_groups(&groups).map_err(|error| ("taking the groups", error))?;
    set_thread_res_gid(gid, gid, gid).map_err(|error| ("taking the group", error))?;
    set_thread_res_uid(uid, uid, uid).map_err(|error| ("taking the id", error))
}

fn is_writable(path: &Path) -> bool {
    access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/sh\nsejf:x:998:997:Call recorder:/:/usr/sbin/nologin\n\
        broken:x:many:1::/:\nhalf:x\nadmin:x:1000:0::/:/bin/sh\n";
    const GROUPS: &str = "root:x:0:clerk\nsejf:x:997:\nvoip:x:996:freeswitch,sejf\nodd\nclerks:x:995:clerk\n";

    #[test]
    fn accounts_are_found_with_their_groups() {
        let found = User::find_in(ACCOUNTS, GROUPS, "sejf").unwrap();
        assert_eq!((found.uid, found.gid, found.groups), (998, 997, vec![996]));
        let found = User::find_in("", "", "12:34").unwrap();
        assert_eq!((found.uid, found.gid, found.groups), (12, 34, vec![]));
    }

    #[test]
    fn accounts_that_are_missing_broken_or_root_are_refused() {
        for name in ["nobody-here", "broken", "half", "", "12", "12:x", "4294967295:1"] {
            let found = User::find_in(ACCOUNTS, GROUPS, name);
            assert!(matches!(found, Err(UserError::Unknown { .. })), "{name}: {found:?}");
        }
        for name in ["root", "0:12", "12:0", "admin"] {
            let found = User::find_in(ACCOUNTS, GROUPS, name);
            assert!(matches!(found, Err(UserError::Root { .. })), "{name}: {found:?}");
        }
        let accounts = format!("{ACCOUNTS}clerk:x:1001:1001::/:\n");
        assert!(matches!(User::find_in(&accounts, GROUPS, "clerk"), Err(UserError::Root { .. })));
    }
}
