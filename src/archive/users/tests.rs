use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::archive::once;
use crate::archive::password::Cost;
use crate::archive::totp;
use crate::seal::note::Signer;
use crate::seal::random::{Randomness, Seeded};

const CHEAP: Cost = Cost { memory_mib: 1, passes: 1 };

fn at(seconds: u64) -> Stamp {
    Stamp::from_unix_nanos((1_800_000_000 + seconds) * 1_000_000_000)
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn roles(roles: &[Role]) -> Roles {
    roles.iter().map(|role| (*role, Reach::All)).collect()
}

struct World {
    users: Users,
    random: Seeded,
    password: Password,
}

impl World {
    fn new() -> Self {
        let mut random = Seeded::new(&[1; 32], "users", 0);
        let password = Password::new("x", "correct horse battery", CHEAP, &mut random).unwrap();
        Self { users: Users::default(), random, password }
    }

    fn invite(&mut self, until: Stamp) -> (once::Shown, Invite) {
        let (shown, kept) = once::generate(&mut self.random);
        (shown, Invite { kept, until })
    }

    fn enrol(&mut self, user: &str, shown: &str, now: Stamp) -> Result<totp::Secret, UsersFault> {
        let secret = totp::Secret::generate(&mut self.random);
        let (_, recovery) = once::recovery_codes(&mut self.random);
        let change = Change::Enrol {
            user: name(user),
            shown: Kept::of(shown),
            password: self.password.clone(),
            factor: NewFactor::Totp(secret.clone(), totp::step(now)),
            recovery,
        };
        self.users.apply(&change, now).map(|()| secret)
    }

    fn member(&mut self, user: &str, has: &[Role]) -> totp::Secret {
        let (shown, invite) = self.invite(at(60));
        let add = Change::Add { user: name(user), roles: roles(has), invite, by_custodian: true };
        self.users.apply(&add, at(0)).unwrap();
        self.enrol(user, &shown, at(1)).unwrap()
    }

    fn ask(&mut self, by: &str, user: &str, what: Wish) -> Result<u64, UsersFault> {
        let number = self.users.next_number();
        self.users.apply(&Change::Ask { by: name(by), user: name(user), what }, at(2)).map(|()| number)
    }

    fn agree(&mut self, by: &str, number: u64) -> Result<(), UsersFault> {
        let (_, invite) = self.invite(at(60));
        self.users.apply(&Change::Agree { by: name(by), number, invite }, at(3))
    }
}

#[test]
fn the_first_administrator_is_made_once_and_their_invitation_counts_once() {
    let mut world = World::new();
    let (shown, invite) = world.invite(at(900));
    let bootstrap = |invite| Change::Bootstrap { user: name("ewa"), invite };
    world.users.apply(&bootstrap(invite), at(0)).unwrap();
    assert_eq!(world.users.invited(&shown, at(899)), Some(&name("ewa")));
    assert_eq!(world.users.invited(&shown, at(900)), None);
    assert_eq!(world.enrol("ewa", &shown, at(900)), Err(UsersFault::Invitation));
    // Too late: another, and the one of before is worth nothing.
    let (again, invite) = world.invite(at(2_000));
    world.users.apply(&bootstrap(invite), at(1_000)).unwrap();
    assert_eq!(world.enrol("ewa", &shown, at(1_001)), Err(UsersFault::Invitation));
    world.enrol("ewa", &again, at(1_001)).unwrap();
    assert_eq!(world.enrol("ewa", &again, at(1_002)), Err(UsersFault::Invitation));
    let (_, invite) = world.invite(at(9_000));
    assert_eq!(world.users.apply(&bootstrap(invite), at(1_003)), Err(UsersFault::HasAdmin));
}

#[test]
fn a_second_factor_counts_once() {
    let mut world = World::new();
    let secret = world.member("ewa", &[Role::Reviewer]);
    let user = |world: &World| world.users.get(&name("ewa")).unwrap().clone();
    let now = at(300);
    let code = format!("{:06}", secret.code(totp::step(now)));
    let factor = user(&world).factor(&code, now).unwrap();
    let sign_in = Change::SignIn { user: name("ewa"), factor };
    world.users.apply(&sign_in, now).unwrap();
    // Two tries that have both found it right: one of them is first.
    assert_eq!(world.users.apply(&sign_in, now), Err(UsersFault::Code));
    assert_eq!(user(&world).factor(&code, now), None);
    let (shown, kept) = once::recovery_codes(&mut world.random);
    world.users.users.get_mut(&name("ewa")).unwrap().recovery = kept;
    let factor = user(&world).factor(&shown[3].to_lowercase(), now).unwrap();
    let sign_in = Change::SignIn { user: name("ewa"), factor };
    world.users.apply(&sign_in, now).unwrap();
    assert_eq!(world.users.apply(&sign_in, now), Err(UsersFault::Code));
    assert_eq!((user(&world).factor(&shown[3], now), user(&world).recovery_codes()), (None, 9));
}

#[test]
fn roles_and_resets_take_a_second_person() {
    let mut world = World::new();
    for (user, has) in [("ada", Role::Admin), ("ola", Role::Admin), ("jan", Role::Reviewer)] {
        world.member(user, &[has]);
    }
    let wish = |role| Wish::Roles(roles(&[role]));
    assert_eq!(world.ask("ada", "ada", wish(Role::Custodian)), Err(UsersFault::SamePerson));
    let number = world.ask("ada", "jan", wish(Role::Compliance)).unwrap();
    for who in ["ada", "jan"] {
        assert_eq!(world.agree(who, number), Err(UsersFault::SamePerson));
    }
    assert_eq!(world.agree("ola", number + 7), Err(UsersFault::NotAsked(number + 7)));
    assert!(world.users.get(&name("jan")).unwrap().roles.contains_key(&Role::Reviewer));
    world.agree("ola", number).unwrap();
    assert_eq!(world.users.get(&name("jan")).unwrap().roles, roles(&[Role::Compliance]));
    assert_eq!(world.agree("ola", number), Err(UsersFault::NotAsked(number)));
    let both = Wish::Roles(roles(&[Role::Admin, Role::Reviewer]));
    assert!(matches!(world.ask("ada", "jan", both), Err(UsersFault::Conflict { .. })));
    // What is asked anew is what counts.
    let first = world.ask("ada", "jan", wish(Role::Auditor)).unwrap();
    let second = world.ask("ada", "jan", wish(Role::Reviewer)).unwrap();
    let reset = world.ask("ada", "jan", Wish::Reset).unwrap();
    assert_eq!(world.agree("ola", first), Err(UsersFault::NotAsked(first)));
    world.agree("ola", second).unwrap();
    world.agree("ola", reset).unwrap();
    assert_eq!(world.users.get(&name("jan")).unwrap().standing, Standing::Invited);
    let (_, invite) = world.invite(at(60));
    let alone = Change::Add { user: name("eva"), roles: roles(&[Role::Dpo]), invite, by_custodian: false };
    assert_eq!(world.users.apply(&alone, at(3)), Err(UsersFault::NeedsSecond));
}

#[test]
fn who_is_disabled_proves_nothing_any_more() {
    let mut world = World::new();
    let secret = world.member("ewa", &[Role::Auditor]);
    let (shown, kept) = once::generate(&mut world.random);
    let token = |only: &[Action], until| {
        let only: BTreeSet<_> = only.iter().copied().collect();
        Change::MakeToken(Token::new(name("ewa"), "ci".into(), only, kept, at(5), until))
    };
    world.users.apply(&token(&[Action::ReadLog], at(1_000)), at(5)).unwrap();
    assert!(world.users.token(&shown, at(999)).is_some());
    assert!(world.users.token(&shown, at(1_000)).is_none() && world.users.token("", at(6)).is_none());
    let far = at(0).after(Duration::from_secs(91 * 86_400));
    let wrong = [(&[Action::Open][..], at(1_000)), (&[], at(1_000)), (&[Action::Search], far)];
    for (only, until) in wrong {
        assert_eq!(world.users.apply(&token(only, until), at(5)), Err(UsersFault::Token));
    }
    let others = Change::RevokeToken { user: name("jan"), id: 0 };
    assert_eq!(world.users.apply(&others, at(6)), Err(UsersFault::NoToken(0)));
    world.users.apply(&Change::Disable { user: name("ewa") }, at(6)).unwrap();
    let ewa = world.users.get(&name("ewa")).unwrap();
    let code = format!("{:06}", secret.code(totp::step(at(300))));
    assert!(ewa.password().is_none() && ewa.factor(&code, at(300)).is_none());
    assert!(ewa.actor(&name("ewa"), "", None).roles.is_empty());
    assert!(world.users.token(&shown, at(7)).is_none());
    let (_, invite) = world.invite(at(60));
    let again = Change::Add { user: name("ewa"), roles: Roles::new(), invite, by_custodian: false };
    assert_eq!(world.users.apply(&again, at(8)), Err(UsersFault::Exists(name("ewa"))));
    let (_, invite) = world.invite(at(60));
    let reset = Change::Reset { user: name("ewa"), invite };
    assert_eq!(world.users.apply(&reset, at(8)), Err(UsersFault::Disabled(name("ewa"))));
}

#[test]
fn an_edit_does_not_open_and_nothing_secret_is_told() {
    let mut world = World::new();
    let secret = world.member("ewa", &[Role::Auditor]);
    let signer = |seed| Signer::from_seed("vault", &[seed; 32]).unwrap();
    let sealed = world.users.seal(&signer(1), &mut world.random);
    assert_eq!(Users::open(&sealed, &signer(1)).unwrap(), world.users);
    assert_eq!(Users::open(&sealed, &signer(2)), Err(SealedError));
    for place in 0..sealed.len() {
        let mut edited = sealed.clone();
        edited[place] ^= 1;
        assert_eq!(Users::open(&edited, &signer(1)), Err(SealedError), "{place}");
    }
    for length in 0..sealed.len().min(40) {
        assert_eq!(Users::open(&sealed[..length], &signer(1)), Err(SealedError));
    }
    let (shown, invite) = world.invite(at(900));
    let kept = serde_json::to_string(&invite.kept).unwrap();
    let (user, number) = (name("ewa"), 0);
    let secrets = [secret.to_base32().to_string(), shown.to_string(), kept.trim_matches('"').to_owned()];
    for change in [
        Change::Bootstrap { user: user.clone(), invite: invite.clone() },
        Change::Add { user: user.clone(), roles: Roles::new(), invite: invite.clone(), by_custodian: false },
        Change::Enrol {
            user: user.clone(),
            shown: invite.kept,
            password: world.password.clone(),
            factor: NewFactor::Totp(secret, 1),
            recovery: vec![invite.kept],
        },
        Change::SignIn { user: user.clone(), factor: Factor::Recovery(invite.kept) },
        Change::Agree { by: user.clone(), number, invite: invite.clone() },
        Change::Reset { user: user.clone(), invite: invite.clone() },
        Change::MakeToken(Token::new(user, "ci".into(), BTreeSet::new(), invite.kept, at(0), at(1))),
    ] {
        let told = change.told(&world.users).to_string();
        assert!(secrets.iter().all(|secret| !told.contains(secret.as_str())), "{told}");
        assert!(!told.contains("hash") && !told.contains("salt"), "{told}");
    }
}

/// Whatever is tried in whatever order: what is refused changes nothing, no one has roles that conflict, and nobody got
/// theirs without a second person.
#[test]
fn no_order_of_changes_undoes_the_separation() {
    let mut world = World::new();
    let people = ["ada", "ola", "jan", "eva"];
    people.iter().for_each(|user| drop(world.member(user, &[Role::Admin])));
    let (mut done, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = [0; 6];
        world.random.fill(&mut bytes);
        let (who, whom) = (people[usize::from(bytes[0] % 4)], people[usize::from(bytes[1] % 4)]);
        let has: Vec<_> = Role::ALL
            .into_iter()
            .enumerate()
            .filter(|(at, _)| bytes[2] >> at & 1 == 1)
            .map(|(_, r)| r)
            .collect();
        let number = world.users.next_number().saturating_sub(u64::from(bytes[3] % 4));
        let before = world.users.clone();
        let applied = match bytes[4] % 4 {
            0 => world.ask(who, whom, Wish::Roles(roles(&has))).map(drop),
            1 => world.ask(who, whom, Wish::Reset).map(drop),
            _ => world.agree(who, number),
        };
        match applied {
            Ok(()) => {
                done += 1;
                assert_eq!(world.users.generation(), before.generation() + 1);
            }
            Err(_) => {
                refused += 1;
                assert_eq!(world.users, before, "round {round}");
            }
        }
        for person in people.map(name) {
            let (was, is) = (before.get(&person).unwrap(), world.users.get(&person).unwrap());
            assert_eq!(conflict(is.roles.keys().copied()), None);
            if was.roles != is.roles || was.password != is.password {
                let asked = &before.asked[&number];
                assert!(
                    asked.user == person && asked.by != name(who) && person != name(who),
                    "round {round}"
                );
            }
        }
    }
    assert!(done > 1_000 && refused > 1_000, "{done} {refused}");
}
