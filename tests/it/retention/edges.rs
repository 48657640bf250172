//! Destruction where something is in the way: what cannot be removed, places that are away, words that came in between.

use sejf::archive::access::{Action, Request};
use sejf::archive::entry::{Outcome, Resource};
use sejf::shell::vault::keyfault::KeyFault;
use sejf::shell::vault::matters::catch_up;

use super::*;

/// Adds a recorder whose spool is on this machine.
fn configure_spool(bench: &Bench) -> PathBuf {
    let (path, spool) = (bench.home().join("vault.toml"), bench.path("spool"));
    let config = std::fs::read_to_string(&path).expect("configuration");
    std::fs::write(path, format!("{config}\n[[recorder]]\nkey = \"recorder\"\nspool = {spool:?}\n"))
        .expect("configuration");
    spool
}

#[test]
fn whatever_stays_is_certified_and_tried_again() {
    let bench = Bench::with_files(&[(OLD, 110)], 12);
    let spool = configure_spool(&bench);
    // A folder in a file's place: nobody unlinks that, whoever runs the test.
    let names =
        || bench.records.iter().flat_map(|record| &record.receipt.files).map(|file| spool.join(&file.name));
    names().for_each(|path| std::fs::create_dir_all(path).expect("folder"));
    let (vault, ring) = bench.unlock();
    bench.agree(&vault, &scope(&bench.ids(0..110)));
    let done = bench.destroy(&vault, &ring, &|_| true).expect("destroyed");
    assert_eq!(done, Done { recordings: 110, received: 110, ..Done::default() });
    let certificates = bench.certificates(&vault);
    assert_eq!(certificates.iter().map(|(_, one)| one.recordings().len()).sum::<usize>(), 110, "each once");
    for (_, one) in &certificates {
        let words = format!("{} files as they came could not be removed", one.recordings().len() * 12);
        assert!(one.remains.iter().any(|line| line.contains(&words)), "{:?}", one.remains);
    }
    drop((vault, ring));
    let run = bench.sejf(&["destroy", "run"], &["ewa", "jan"]);
    assert!(
        run.status.code() == Some(1) && said(&run).contains("110 have files as they came"),
        "{}",
        said(&run)
    );
    names().for_each(|path| {
        std::fs::remove_dir(&path).and_then(|()| std::fs::write(path, "x")).expect("a file");
    });
    assert_success(&bench.sejf(&["destroy", "run"], &["ewa", "jan"]));
    assert_eq!(files(&spool), Vec::<PathBuf>::new());
}

/// A reason stands in the log with all that is done because of it.
#[test]
fn a_note_that_the_log_has_no_room_for_is_refused() {
    let bench = Bench::new(&[(OLD, 1)]);
    let (id, note) = (bench.records[0].id.to_string(), "x".repeat(1_025));
    let ask = ["destroy", "ask", "--recording", &id, "--reason", "retention", "--note"];
    let refused = bench.sejf(&[&ask[..], &[&note]].concat(), &["ewa"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("1025 bytes"), "{}", said(&refused));
    assert_success(&bench.sejf(&[&ask[..], &[&note[1..]]].concat(), &["ewa"]));
}

/// All of January 2020, epoch and all.
fn january() -> Scope {
    Scope {
        class: Some("calls-5y".parse().expect("a class")),
        to: Some(Stamp::from_unix_nanos(1_580_515_200_000_000_000)),
        ..Scope::default()
    }
}

fn january_epoch() -> Epoch {
    "calls-5y/2020-01".parse().expect("an epoch")
}

/// What another process does meanwhile.
fn elsewhere(bench: &Bench, act: impl Fn(&Vault, &KeyRing) + Send + Sync) {
    std::thread::scope(|threads| {
        let act = || {
            let (vault, ring) = bench.unlock();
            act(&vault, &ring);
        };
        threads.spawn(act).join().expect("done");
    });
}

fn lay_hold(vault: &Vault, name: &str, scope: &Scope) {
    block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        let name = name.parse().expect("a name");
        speaker(vault, "ola").hold(vault, &catalog, &name, scope).await.expect("held");
        catalog.close().await;
    });
}

/// Runs a destruction in which something happens at the first time that an epoch's destruction is granted.
fn destroy_with(bench: &Bench, act: &(dyn Fn(&Vault, &KeyRing) + Sync)) -> Done {
    let (vault, ring) = bench.unlock();
    let grants = AtomicUsize::new(0);
    // The first is of the recordings.
    let go_on = |step| {
        if step == Step::Granted && grants.fetch_add(1, Ordering::Relaxed) == 1 {
            elsewhere(bench, |vault, ring| act(vault, ring));
        }
        true
    };
    bench.destroy(&vault, &ring, &go_on).expect("destroyed")
}

#[test]
fn the_key_of_an_epoch_is_kept_for_what_comes_in_between() {
    let late = |bench: &Bench, vault: &Vault, ring: &KeyRing| {
        let start = Stamp::from_unix_nanos((OLD + 99) * 1_000_000_000);
        bench.archive(vault, ring, 99, start)
    };
    let take_in = |vault: &Vault, record: Record| {
        block_on(async {
            let catalog = vault.catalog().await.expect("the catalog");
            catalog.take_in(&[NewRecord { record, indexed: None }]).await.expect("taken in");
            catalog.close().await;
        });
    };
    let held = |_: &Bench, vault: &Vault, _: &KeyRing| lay_hold(vault, "K.1", &january());
    // Intake has come as far as the envelope, or to the end; or it was locked.
    let begun = |bench: &Bench, vault: &Vault, ring: &KeyRing| drop(late(bench, vault, ring));
    let archived = |bench: &Bench, vault: &Vault, ring: &KeyRing| take_in(vault, late(bench, vault, ring));
    let staged = |bench: &Bench, vault: &Vault, ring: &KeyRing| {
        let record = Record { class: None, phase: Phase::Staged, ..late(bench, vault, ring) };
        let id = [record.id];
        take_in(vault, record);
        let (ewa, action) = (speaker(vault, "ewa"), Action::Destroy);
        let (actor, reason, now) = (&ewa.actor, ewa.reason.clone(), ewa.now);
        let asked = vault.log.ask(&Request { actor, action, resource: Resource::of(&id), reason, now });
        let grant = asked.expect("granted");
        ring.destroy_envelopes(&grant, &january_epoch(), &id).expect("none is left");
        vault.log.outcome(&grant, Outcome::Failed("for the test".into())).expect("logged");
    };
    type Between<'a> = &'a (dyn Fn(&Bench, &Vault, &KeyRing) + Sync);
    let between: [(&str, Between<'_>); 4] =
        [("held", &held), ("begun", &begun), ("archived", &archived), ("staged", &staged)];
    for (name, act) in between {
        let bench = Bench::new(&[(OLD, 2)]);
        let (vault, ring) = bench.unlock();
        bench.agree(&vault, &january());
        drop((vault, ring));
        let done = destroy_with(&bench, &|vault, ring| act(&bench, vault, ring));
        assert_eq!(done, Done { recordings: 2, spared: 1, ..Done::default() }, "{name}");
        let (vault, _) = bench.unlock();
        assert!(!vault.keys.is_destroyed(&january_epoch()).expect("a look"), "{name}");
        assert_eq!(bench.certificates(&vault).len(), 1, "{name}");
    }
}

/// The key is gone and the run was stopped: whatever is said then, it is certified.
#[test]
fn a_key_that_is_gone_is_certified_whatever_was_said_since() {
    let bench = Bench::new(&[(OLD, 2)]);
    let (vault, ring) = bench.unlock();
    let number = bench.agree(&vault, &january());
    let erased = AtomicUsize::new(0);
    let go_on = |step| step != Step::Erased || erased.fetch_add(1, Ordering::Relaxed) == 0;
    assert!(matches!(bench.destroy(&vault, &ring, &go_on), Err(MattersError::Stopped)));
    assert!(vault.keys.is_destroyed(&january_epoch()).expect("a look"));
    lay_hold(&vault, "K.1", &january());
    block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        speaker(&vault, "ewa").withdraw(&vault, &catalog, number).await.expect("withdrawn");
        catalog.close().await;
    });
    drop((vault, ring));
    let (vault, ring) = bench.unlock();
    assert_eq!(
        bench.destroy(&vault, &ring, &|_| true).expect("destroyed"),
        Done { epochs: 1, ..Done::default() }
    );
    let certificates = bench.certificates(&vault);
    assert_eq!(certificates.len(), 2);
    assert!(certificates.iter().all(|(_, one)| one.authority.request == number));
    assert_eq!(bench.destroy(&vault, &ring, &|_| true).expect("destroyed"), Done::default());
}

#[test]
fn what_was_begun_is_certified_at_the_word_that_it_was_begun_at() {
    let bench = Bench::new(&[(OLD, 2)]);
    let (vault, ring) = bench.unlock();
    let number = bench.agree(&vault, &scope(&bench.ids(0..2)));
    let stopped = bench.destroy(&vault, &ring, &|step| step != Step::Erased);
    assert!(matches!(stopped, Err(MattersError::Stopped)));
    assert!(bench.agree(&vault, &scope(&bench.ids(0..2))) > number);
    let done = bench.destroy(&vault, &ring, &|_| true).expect("destroyed");
    assert_eq!(done, Done { recordings: 2, finished: 2, ..Done::default() });
    assert_eq!(bench.certificates(&vault)[0].1.authority.request, number);
}

#[test]
fn nothing_is_taken_for_gone_while_a_key_place_is_away() {
    let bench = Bench::new(&[(OLD, 2)]);
    let (vault, ring) = bench.unlock();
    bench.agree(&vault, &scope(&bench.ids(0..2)));
    drop((vault, ring));
    std::fs::rename(bench.path("keys-2"), bench.path("away")).expect("renamed");
    let (vault, ring) = bench.unlock();
    let refused = bench.destroy(&vault, &ring, &|_| true);
    assert!(matches!(refused, Err(MattersError::Keys(KeyFault::Absent { .. }))), "{refused:?}");
    assert!(bench.destroyed(&vault).is_empty() && bench.certificates(&vault).is_empty());
    let begun = block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        catch_up(&vault, &catalog).await.expect("the log");
        let begun = catalog.begun().await.expect("begun");
        catalog.close().await;
        begun
    });
    assert_eq!(begun, [], "nothing is granted that cannot be done");
}

#[test]
fn a_hold_that_would_hold_nothing_is_refused_or_says_so() {
    let bench = Bench::new(&[(OLD, 3), (LATER, 2)]);
    let add = |name: &str, more: &[&str]| {
        let output = bench.sejf(&[&["hold", "add", name, "--reason", "court-order"][..], more].concat(), &[]);
        (output.status.code(), said(&output))
    };
    for (what, wrong) in [("--class", "calls-6y"), ("--recorder", "recorde"), ("--recorder", "recorder+00")] {
        let (code, said) = add("K.0", &[what, wrong]);
        assert!(code == Some(2) && said.contains(wrong) && said.contains("there are"), "{said}");
    }
    for (name, more, words) in [
        ("K.1", &["--class", "calls-5y"][..], "5 recordings now"),
        ("K.2", &["--recorder", "recorder", "--from", "2020-03-01"], "2 recordings now"),
        ("K.3", &["--recording", &bench.records[0].id.to_string()], "1 recording now"),
        ("K.4", &["--recording", "0193c4a5-0000-7000-8000-000000000001"], "no recording yet"),
        ("K.5", &["--all"], "5 recordings now"),
    ] {
        let (code, said) = add(name, more);
        assert!(code == Some(0) && said.contains(words), "{name}: {said}");
    }
    let plan = said(&bench.sejf(&["destroy", "plan"], &[]));
    assert!(plan.contains("4  kept: hold K.1") && plan.contains("1  kept: hold K.3"), "{plan}");
    // By the name that its key begins with.
    let made = crate::vault_made::MadeVault::new();
    let name = made.recorder.split('+').next().expect("a name");
    let add = ["hold", "add", text(&made.home), "K.1", "--recorder", name, "--reason", "court-order"];
    assert_success(&sejf(&add));
    let listed = sejf(&["hold", "list", text(&made.home), "--json"]);
    let hold = crate::support::lines(&listed.stdout).remove(0);
    assert_eq!(hold["scope"]["recorder"], made.recorder, "{hold}");
}

#[test]
fn of_two_holds_by_one_name_at_once_one_is_told_that_it_does_not_hold() {
    let bench = Bench::new(&[(OLD, 4)]);
    let laid = |name: &str, id: RecordingId| {
        let vault = Vault::open(&bench.home()).expect("the vault");
        let (name, scope) = (name.parse().expect("a name"), scope(&[id].into()));
        block_on(async {
            let catalog = vault.catalog().await.expect("the catalog");
            let laid = speaker(&vault, "ola").hold(&vault, &catalog, &name, &scope).await;
            catalog.close().await;
            match laid {
                Ok(()) => Some(id),
                Err(MattersError::HoldExists(_)) => None,
                Err(fault) => panic!("{fault}"),
            }
        })
    };
    for round in 0..4 {
        let name = format!("K.{round}");
        let all = std::sync::Barrier::new(bench.records.len());
        let held: Vec<RecordingId> = std::thread::scope(|threads| {
            let lay = |record: &Record| {
                let (id, name, all, laid) = (record.id, &name, &all, &laid);
                threads.spawn(move || {
                    all.wait();
                    laid(name, id)
                })
            };
            let laying: Vec<_> = bench.records.iter().map(lay).collect();
            laying.into_iter().filter_map(|one| one.join().expect("done")).collect()
        });
        assert_eq!(held.len(), 1, "{name}");
        let vault = Vault::open(&bench.home()).expect("the vault");
        let listed = block_on(async {
            let catalog = vault.catalog().await.expect("the catalog");
            let holds = catalog.holds().await.expect("holds");
            catalog.close().await;
            holds
        });
        let scope = &listed.iter().find(|hold| hold.name.as_str() == name).expect("a hold").scope;
        assert_eq!(scope.recordings, held.into_iter().collect(), "the one that was told");
    }
}

#[test]
fn copies_of_a_place_that_is_away_are_removed_when_it_is_back() {
    for is_mount_point_there in [false, true] {
        let bench = Bench::new(&[(OLD, 3)]);
        let (vault, ring) = bench.unlock();
        bench.agree(&vault, &scope(&bench.ids(0..2)));
        drop((vault, ring));
        let (store, away) = (bench.path("store-2"), bench.path("away"));
        std::fs::rename(&store, &away).expect("renamed");
        if is_mount_point_there {
            std::fs::create_dir(&store).expect("folder");
        }
        let run = || bench.sejf(&["destroy", "run"], &["ewa", "jan"]);
        for words in ["2 recordings and", "0 recordings and"] {
            let ran = run();
            assert!(ran.status.code() == Some(1) && said(&ran).contains(words), "{}", said(&ran));
            assert!(said(&ran).contains("2 have objects left"), "{}", said(&ran));
        }
        let (vault, _) = bench.unlock();
        let certificate = bench.certificates(&vault).remove(0).1;
        let counts = certificate.copies.iter().map(|copies| (copies.removed, copies.absent, copies.failed));
        assert_eq!(counts.collect::<Vec<_>>(), [(4, 0, 0), (0, 0, 4)]);
        if is_mount_point_there {
            std::fs::remove_dir(&store).expect("removed");
        }
        std::fs::rename(&away, &store).expect("renamed");
        assert_success(&run());
        let names: String = files(&store).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            names.matches(".body").count() + names.matches(".hdr").count(),
            2,
            "of the third: {names}"
        );
    }
}

/// As an operator does it who has second thoughts: between two steps, and the next run goes on.
#[test]
fn a_run_that_is_interrupted_stops_between_two_steps_and_the_next_one_goes_on() {
    const COUNT: usize = 60;
    let bench = Bench::new(&[(OLD, COUNT as u64)]);
    let (vault, ring) = bench.unlock();
    // Each is a batch of its own.
    for number in 0..COUNT {
        bench.agree(&vault, &scope(&bench.ids(number..number + 1)));
    }
    drop((vault, ring));
    let (home, keys) = (bench.home(), [bench.path("ewa"), bench.path("jan")]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sejf"));
    command.args(["destroy", "run", text(&home), "-i", text(&keys[0]), "-i", text(&keys[1])]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("the program runs");
    let pages = || {
        let is_page = |path: &&std::path::PathBuf| path.extension().is_some_and(|end| end == "html");
        files(&home.join(CERTIFICATES)).iter().filter(is_page).count()
    };
    while pages() == 0 && child.try_wait().expect("a look").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("interrupted");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("Stopped. What was begun is finished by the next run."),
        "{}",
        said(&output)
    );
    assert!((1..COUNT).contains(&pages()), "{}", pages());
    assert_success(&bench.sejf(&["destroy", "run"], &["ewa", "jan"]));
    let (vault, ring) = bench.unlock();
    assert_eq!(bench.destroyed(&vault), bench.ids(0..COUNT));
    let certificates = bench.certificates(&vault);
    let certified: Vec<_> =
        certificates.iter().flat_map(|(_, one)| one.recordings()).map(|one| one.id).collect();
    assert_eq!(certified.len(), COUNT, "each once");
    assert_eq!(ring.came_back(), 0);
}

/// A plan changes nothing, and a run does not move what later clocks are held against.
#[test]
fn the_clock_is_held_against_its_first_reading() {
    let bench = Bench::new(&[(OLD, 1)]);
    let read = || std::fs::read(bench.home().join("clock.json")).ok();
    bench.sejf(&["destroy", "plan"], &[]);
    assert_eq!(read(), None);
    assert_success(&bench.sejf(&["destroy", "run"], &["ewa", "jan"]));
    let first = read().expect("a reading");
    assert_success(&bench.sejf(&["destroy", "run"], &["ewa", "jan"]));
    assert_eq!(read(), Some(first));
}
