//! Users as they are kept: an edit, an older state, a cut at any point.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sejf::archive::access::Action;
use sejf::archive::entry::Entry;
use sejf::archive::once::{self, Invite};
use sejf::archive::user::{Roles, UserName};
use sejf::archive::users::{Change, UsersFault};
use sejf::base::time::Stamp;
use sejf::seal::random::Seeded;
use sejf::shell::vault::home::Vault;
use sejf::shell::vault::users::{UserStore, UsersError, Voice};

use crate::support::text;
use crate::vault_intake::World;

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn add(vault: &Vault, store: &UserStore, user: &str) -> Result<(), UsersError> {
    let (_, kept) = once::generate(&mut Seeded::new(&[9; 32], user, 0));
    let invite = Invite { kept, until: Stamp::from_unix_nanos(u64::MAX) };
    let change = Change::Add { user: name(user), roles: Roles::new(), invite, by_custodian: false };
    let by = name("ada");
    let voice = Voice::Own { user: &by, origin: "local", action: Action::ManageUsers };
    store.change(vault, voice, &change).map(drop)
}

fn names(vault: &Vault, store: &UserStore) -> Result<Vec<String>, UsersError> {
    Ok(store.users(vault)?.all().map(|(name, _)| name.to_string()).collect())
}

struct Kept {
    world: World,
    file: PathBuf,
}

impl Kept {
    fn new() -> Self {
        let world = World::new();
        let file = world.bench.path("home/users");
        Self { world, file }
    }
}

#[test]
fn an_edit_and_an_older_state_are_found() {
    let kept = Kept::new();
    let (vault, store) = (kept.world.vault(), UserStore::default());
    assert_eq!(names(&vault, &store).unwrap(), Vec::<String>::new());
    add(&vault, &store, "ewa").unwrap();
    let first = fs::read(&kept.file).unwrap();
    add(&vault, &store, "jan").unwrap();
    let second = fs::read(&kept.file).unwrap();
    assert!(!second.windows(3).any(|window| window == b"ewa"), "it is not to be read");
    let refused = |store: &UserStore| matches!(names(&vault, store), Err(UsersError::Changed { .. }));
    for place in (0..second.len()).step_by(7) {
        let mut edited = second.clone();
        edited[place] ^= 1;
        fs::write(&kept.file, &edited).unwrap();
        assert!(refused(&UserStore::default()), "{place}");
    }
    // One that runs sees it too, and nobody is added to what is wrong.
    fs::write(&kept.file, &first).unwrap();
    assert!(refused(&store) && refused(&UserStore::default()));
    assert!(matches!(add(&vault, &store, "ola"), Err(UsersError::Changed { .. })));
    fs::remove_file(&kept.file).unwrap();
    assert!(refused(&store) && refused(&UserStore::default()));
    fs::write(&kept.file, &second).unwrap();
    assert_eq!(names(&vault, &store).unwrap(), ["ewa", "jan"]);
    assert!(matches!(add(&vault, &store, "ewa"), Err(UsersError::Fault(UsersFault::Exists(_)))));
    assert_eq!(names(&vault, &UserStore::default()).unwrap(), ["ewa", "jan"]);
}

/// Killed before the log has it, it is not; after that, it is.
#[test]
fn what_was_killed_half_way_is_done_or_is_not() {
    let kept = Kept::new();
    let (vault, store) = (kept.world.vault(), UserStore::default());
    add(&vault, &store, "ewa").unwrap();
    let first = fs::read(&kept.file).unwrap();
    add(&vault, &store, "jan").unwrap();
    let second = fs::read(&kept.file).unwrap();
    let next = kept.file.with_file_name("users.next");
    fs::write(&kept.file, &first).unwrap();
    fs::write(&next, &second).unwrap();
    assert_eq!(names(&vault, &UserStore::default()).unwrap(), ["ewa", "jan"]);
    assert!(!next.exists() && fs::read(&kept.file).unwrap() == second);
    // Written, and the log never had it.
    fs::write(&next, &first).unwrap();
    assert_eq!(names(&vault, &UserStore::default()).unwrap(), ["ewa", "jan"]);
    add(&vault, &store, "ola").unwrap();
    assert_eq!(names(&vault, &store).unwrap(), ["ewa", "jan", "ola"]);
}

/// What was killed before the file was replaced, while another process has read the file of before: it has not changed.
#[test]
fn what_another_process_was_killed_at_is_finished_by_one_that_runs() {
    let kept = Kept::new();
    let (vault, store) = (kept.world.vault(), UserStore::default());
    add(&vault, &store, "ewa").unwrap();
    let home = kept.world.bench.path("home");
    let copied = Command::new("cp").args(["-a", text(&home), text(&home.with_file_name("copy"))]).status();
    assert!(copied.unwrap().success());
    // The same change, elsewhere: its file, and what the log has of it.
    let elsewhere = Vault::open(&home.with_file_name("copy")).unwrap();
    let (_, before) = elsewhere.log.read_from(0, 1).unwrap();
    add(&elsewhere, &UserStore::default(), "jan").unwrap();
    let (entries, _) = elsewhere.log.read_from(before, 100).unwrap();
    let entries: Vec<_> = entries.iter().map(|bytes| Entry::from_bytes(bytes).unwrap()).collect();
    let next = kept.file.with_file_name("users.next");
    let write = || fs::copy(home.with_file_name("copy/users"), &next).unwrap();
    // Written, and the log never had it.
    write();
    assert_eq!(names(&vault, &store).unwrap(), ["ewa"]);
    assert!(!next.exists(), "what the log does not name is not left there");
    write();
    vault.log.write(&entries).unwrap();
    add(&vault, &store, "ola").unwrap();
    assert_eq!(names(&vault, &store).unwrap(), ["ewa", "jan", "ola"]);
    assert!(!next.exists());
}

#[test]
fn where_the_log_cannot_be_written_nobody_changes() {
    let kept = Kept::new();
    let (vault, store) = (kept.world.vault(), UserStore::default());
    add(&vault, &store, "ewa").unwrap();
    let in_the_way = vault.log.dir().join("receipts/checkpoint.new");
    let before = fs::read(&kept.file).unwrap();
    fs::create_dir(&in_the_way).unwrap();
    assert!(matches!(add(&vault, &store, "jan"), Err(UsersError::Log(_))));
    assert_eq!(fs::read(&kept.file).unwrap(), before);
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(names(&vault, &store).unwrap(), ["ewa"]);
    add(&vault, &store, "jan").unwrap();
    // A log that was put back is no newer than what it says.
    let log = vault.log.dir().join("receipts");
    fs::rename(&log, log.with_file_name("aside")).unwrap();
    assert!(matches!(add(&vault, &store, "ola"), Err(UsersError::LogShrank { .. })));
}

#[test]
fn several_change_them_at_once_and_nothing_is_lost() {
    let kept = Kept::new();
    std::thread::scope(|threads| {
        for thread in 0..3 {
            let vault = kept.world.vault();
            threads.spawn(move || {
                let store = UserStore::default();
                (0..5).for_each(|number| add(&vault, &store, &format!("user{thread}{number}")).unwrap());
            });
        }
    });
    let vault = kept.world.vault();
    let users = UserStore::default().users(&vault).unwrap();
    assert_eq!((users.all().count(), users.generation()), (15, 15));
    let (entries, _) = vault.log.read_from(0, 100).unwrap();
    let told = entries.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok());
    assert_eq!(told.filter(|entry| entry.action == Action::ManageUsers).count(), 15);
}
