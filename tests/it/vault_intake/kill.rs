//! Killed at any step, and begun again: nothing lost, nothing twice, nothing half.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sejf::archive::record::{Phase, Record};
use sejf::seal::note::VerifyKey;
use sejf::shell::vault::intake::{Intake, IntakeError, Report, Spool, protocol};

use crate::vault_intake::{World, copy_dir, essence, objects, wait};

/// How recordings come.
#[derive(Clone, Copy)]
enum Way {
    /// From the recorder's folder.
    Folder,
    /// Sent by it.
    Sent,
}

impl Way {
    async fn take_in(self, world: &World, intake: &Intake) -> Result<Report, IntakeError> {
        intake.archive_staged().await?;
        let spool = world.bench.path("spool");
        match self {
            Self::Folder => intake.take_in_folder(&spool).await,
            Self::Sent => {
                let recorder = send(intake, &spool).await?;
                intake.take_in_sent(&recorder).await
            }
        }
    }
}

/// Sends as a recorder does: its log as far as it is not known, then the files that are awaited and not there.
async fn send(intake: &Intake, dir: &Path) -> Result<VerifyKey, IntakeError> {
    let spool = Spool::open(dir)?;
    let recorder = spool.recorder().clone();
    let known = intake.known(&recorder).await?;
    intake.note_piece(&recorder, &spool.piece(known.size)?).await?;
    let folder = protocol::folder(intake, &recorder);
    fs::create_dir_all(&folder).unwrap();
    for awaited in intake.catalog().awaited(&recorder.to_string(), 0, 1_000).await? {
        for file in awaited.receipt.files.iter().filter(|file| !folder.join(&file.name).exists()) {
            fs::copy(dir.join(&file.name), folder.join(&file.name)).unwrap();
        }
    }
    Ok(recorder)
}

/// Takes in until so many steps are done; whether it came to its end.
fn run(world: &World, way: Way, unlocked: bool, steps: usize) -> bool {
    let vault = world.vault();
    let ring = unlocked.then(|| world.unlock(&vault));
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    wait(async {
        let intake = Intake::open(vault).await.unwrap();
        let intake = intake.ending(move |_| counted.fetch_add(1, Ordering::Relaxed) + 1 < steps);
        intake.set_keys(ring);
        let ended = way.take_in(world, &intake).await;
        intake.catalog().close().await;
        match ended {
            Ok(report) => {
                assert!(report.refused.is_empty() && report.missing == 0, "{report:?}");
                true
            }
            Err(IntakeError::Ended(_)) => false,
            Err(error) => panic!("{error}"),
        }
    })
}

/// Runs `first` until every one of its steps, each time on a fresh copy of the same vault, then `then` to its end.
fn at_every_step(first: &dyn Fn(&World, usize) -> bool, then: &dyn Fn(&World)) {
    let world = World::new();
    world.record(&["basic.pcap", "bye-from-callee.pcap"], "spool");
    let (home, store) = (world.bench.path("home"), world.bench.path("store"));
    let (fresh_home, fresh_store) = (world.bench.path("fresh-home"), world.bench.path("fresh-store"));
    copy_dir(&home, &fresh_home);
    copy_dir(&store, &fresh_store);
    let reset = || {
        fs::remove_dir_all(&home).unwrap();
        fs::remove_dir_all(&store).unwrap();
        copy_dir(&fresh_home, &home);
        copy_dir(&fresh_store, &store);
    };
    let plain = world.opened_there("spool");
    then(&world);
    let whole = (essence(&world.records()), objects(&store).into_keys().collect::<Vec<_>>());
    assert!(whole.0.len() > 1 && !whole.1.is_empty());
    for steps in 1.. {
        reset();
        let ended = first(&world, steps);
        then(&world);
        let records = world.records();
        assert_eq!(records.len(), whole.0.len(), "after {steps} steps");
        for (record, whole) in essence(&records).iter().zip(&whole.0) {
            assert_eq!((record.id, record.phase, &record.class), (whole.id, whole.phase, &whole.class));
            assert_eq!(record.receipt, whole.receipt);
        }
        assert_eq!(objects(&store).into_keys().collect::<Vec<_>>(), whole.1, "after {steps} steps");
        assert_eq!(world.opened(), plain, "after {steps} steps");
        assert!(objects(&home.join("incoming")).is_empty(), "after {steps} steps");
        envelopes_are_those_of_recordings(&world);
        if ended {
            assert!(steps > 8, "only {steps} steps");
            return;
        }
    }
}

fn envelopes_are_those_of_recordings(world: &World) {
    let ring = world.unlock(&world.vault());
    let records = world.records();
    let mut ids: Vec<_> =
        records.iter().filter(|record| !record.files.is_empty()).map(|record| record.id).collect();
    ids.sort_unstable();
    let epochs: std::collections::BTreeSet<_> = records.iter().filter_map(|record| record.epoch()).collect();
    let mut kept: Vec<_> = epochs.iter().flat_map(|epoch| ring.recordings(epoch).unwrap()).collect();
    kept.sort_unstable();
    assert_eq!(kept, ids);
}

const WAYS: [Way; 2] = [Way::Folder, Way::Sent];

#[test]
fn unlocked() {
    for way in WAYS {
        at_every_step(&|world, steps| run(world, way, true, steps), &|world| {
            assert!(run(world, way, true, usize::MAX));
        });
    }
}

#[test]
fn locked_and_unlocked_later() {
    for way in WAYS {
        at_every_step(&|world, steps| run(world, way, false, steps), &|world| {
            assert!(run(world, way, false, usize::MAX));
            assert!(run(world, way, true, usize::MAX));
        });
    }
}

/// Staged half way, and put under its envelope before it is staged again.
#[test]
fn locked_and_unlocked_at_once() {
    for way in WAYS {
        at_every_step(&|world, steps| run(world, way, false, steps), &|world| {
            assert!(run(world, way, true, usize::MAX));
            assert!(run(world, way, true, usize::MAX));
        });
    }
}

#[test]
fn while_what_was_staged_is_archived() {
    for way in WAYS {
        let staged = |world: &World| {
            assert!(run(world, way, false, usize::MAX));
            let is_staged = |record: &Record| record.phase == Phase::Staged || record.files.is_empty();
            assert!(world.records().iter().all(is_staged));
        };
        at_every_step(
            &|world, steps| {
                staged(world);
                run(world, way, true, steps)
            },
            &|world| assert!(run(world, way, true, usize::MAX)),
        );
    }
}

/// What was put lazily and never flushed may be there by name and without its bytes.
#[test]
fn after_a_power_failure_objects_that_are_not_whole_are_put_anew() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let plain = world.opened_there("spool");
    let store = world.bench.path("store");
    // Log, envelopes, two objects.
    assert!(!run(&world, Way::Folder, true, 4));
    let cut: Vec<_> = objects(&store).into_keys().collect();
    assert!(!cut.is_empty());
    for path in &cut {
        fs::write(path, b"").unwrap();
    }
    assert!(run(&world, Way::Folder, true, usize::MAX));
    assert_eq!(world.opened(), plain);
}
