//! Every copy is read again: what is found, what is mended, and what stands in nobody's way.

use super::*;

/// 100 corruptions over all copies: all found, all mended.
#[test]
fn a_scrub_finds_and_mends_a_hundred_corruptions() {
    let mut archive = Archive::new(THREE, "");
    let mut random = Seeded::new(&[6; 32], "corruptions", 0);
    let mut next = |below: usize| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        (u64::from_be_bytes(bytes) % below as u64) as usize
    };
    wait(async {
        archive.take_in(60).await;
        assert_eq!(archive.run().await.met, 60);
        let mut planted = std::collections::BTreeSet::new();
        let mut how = 0;
        while planted.len() < 100 {
            let (record, place) = (next(60), next(3));
            // Two of three copies at most.
            let others = planted.iter().filter(|(other, at)| *other == record && *at != place).count();
            if others < 2 && planted.insert((record, place)) {
                let all = objects(&archive.records[record]);
                archive.damage(ALL[place], &all[next(all.len())].name, how);
                how += 1;
            }
        }
        let later = now().after(Duration::from_secs(9));
        let scrubbed = archive
            .with(async |copier| {
                scrub(copier, later, Pace::default(), &mut Cursors::new(), &|| false).await.unwrap()
            })
            .await;
        assert_eq!((scrubbed.copies, scrubbed.wrong.len(), scrubbed.wrong_count), (180, 100, 100));
        let found = scrubbed.wrong.iter().map(|finding| {
            let record = archive.records.iter().position(|record| record.id == finding.id).unwrap();
            (record, ALL.iter().position(|place| *place == finding.place).unwrap())
        });
        assert_eq!(found.collect::<std::collections::BTreeSet<_>>(), planted);
        let mending = &scrubbed.mending;
        assert_eq!((mending.mended, mending.failed, mending.lost.len()), (100, 0, 0), "{mending:?}");
        archive.assert_whole(ALL).await;
        assert_eq!(archive.standing().await, [(Standing::Met, 60)]);
        // Read a moment ago, so nothing is to be read.
        let earlier = now().before(Duration::from_secs(3_600));
        let again = archive.with(async |copier| {
            scrub(copier, earlier, Pace::default(), &mut Cursors::new(), &|| false).await.unwrap()
        });
        assert_eq!(again.await.copies, 0);
    });
}

/// A kill leaves what was being written: it goes, and what somebody writes now stays.
#[test]
fn what_was_cut_off_is_cleared_up() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(1).await;
        archive.run().await;
        let copying = archive.vault.home.join("copying");
        assert_eq!(fs::read_dir(&copying).unwrap().count(), 0);
        fs::write(copying.join("1-0.copying"), "of one that died").unwrap();
        let object = archive.dir.path().join("second").join(archive.records[0].slip_object());
        let [old, new] = [".1-0.tmp", ".2-0.tmp"].map(|name| object.with_file_name(name));
        fs::write(&old, "half").unwrap();
        fs::write(&new, "half").unwrap();
        let days = Duration::from_secs(2 * 86_400);
        fs::File::open(&old).unwrap().set_modified(std::time::SystemTime::now() - days).unwrap();
        let later = now().after(Duration::from_secs(9));
        archive
            .with(async |copier| {
                assert_eq!(fs::read_dir(&copying).unwrap().count(), 1, "its own");
                // Another one beside it has its own too, and removes nobody's.
                let catalog = archive.catalog().await;
                let other = Copier::open_with(&archive.vault, &catalog, patient()).await.unwrap();
                assert_eq!(fs::read_dir(&copying).unwrap().count(), 2);
                drop(other);
                scrub(copier, later, Pace::default(), &mut Cursors::new(), &|| false).await.unwrap()
            })
            .await;
        assert_eq!(fs::read_dir(&copying).unwrap().count(), 0);
        assert!(!old.exists() && new.exists());
    });
}

/// Else what it lies before would never be read again.
#[test]
fn one_object_that_a_place_cannot_give_does_not_end_a_scrub() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(5).await;
        archive.run().await;
        // All are as old, and the newest of what is read together comes first.
        archive.store.refuse(&objects(&archive.records[4])[0].name);
        archive.damage("store", &objects(&archive.records[0])[0].name, 0);
        let scrub = async || {
            let later = now().after(Duration::from_secs(9));
            archive
                .with(async |copier| {
                    scrub(copier, later, Pace::default(), &mut Cursors::new(), &|| false).await.unwrap()
                })
                .await
        };
        let scrubbed = scrub().await;
        assert_eq!(
            (scrubbed.copies, scrubbed.wrong_count, scrubbed.unread_count),
            (14, 1, 1),
            "{scrubbed:?}"
        );
        assert!(scrubbed.unread[0].contains(&archive.records[4].id.to_string()), "{scrubbed:?}");
        assert_eq!(scrubbed.mending.mended, 1);
        archive.store.tell(Lie::Storm);
        // A few are tried before it is given up; the other places are read.
        let scrubbed = scrub().await;
        assert_eq!(
            (scrubbed.copies, scrubbed.wrong_count, scrubbed.unread_count),
            (10, 0, 3),
            "{scrubbed:?}"
        );
    });
}

/// However short its slices are: what cannot be read is not asked for first each time.
#[test]
fn a_scrub_that_is_stopped_again_and_again_reads_all_others() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(5).await;
        archive.run().await;
        archive.store.refuse(&objects(&archive.records[4])[0].name);
        let before = now();
        let (mut cursors, mut copies, mut unread) = (Cursors::new(), 0, 0);
        for _ in 0..20 {
            // In the third place it is stopped after one copy: the others say twice that there is nothing to be read.
            let asked = AtomicU64::new(0);
            let is_over = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
            let cursors = &mut cursors;
            let scrubbed = archive
                .with(async |copier| scrub(copier, before, Pace::default(), cursors, &is_over).await.unwrap())
                .await;
            (copies, unread) = (copies + scrubbed.copies, unread + scrubbed.unread_count);
        }
        assert!(copies == 14 && unread >= 1, "{copies} read, {unread} not");
        let left = archive.catalog().await.copies_to_read("store", before, None, 9).await.unwrap();
        let left: Vec<_> = left.into_iter().map(|(_, id)| id).collect();
        assert_eq!(left, [archive.records[4].id]);
    });
}

#[test]
fn copies_that_are_each_broken_elsewhere_mend_each_other() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(2).await;
        archive.run().await;
        let all = objects(&archive.records[0]);
        for (place, object) in ALL.iter().zip(&all) {
            archive.damage(place, &object.name, 0);
        }
        // And one of which an object is whole in no place.
        let gone = objects(&archive.records[1]);
        for place in ALL {
            archive.damage(place, &gone[0].name, 1);
        }
        let later = now().after(Duration::from_secs(9));
        let scrubbed = archive
            .with(async |copier| {
                scrub(copier, later, Pace::default(), &mut Cursors::new(), &|| false).await.unwrap()
            })
            .await;
        assert_eq!(scrubbed.wrong_count, 6);
        let report = archive.run().await;
        let lost = archive.records.pop().unwrap();
        assert_eq!(report.lost, [lost.id]);
        for config in &archive.vault.config.places {
            let place = open_with(config, patient()).unwrap();
            for object in &all {
                let found = check(&*place, &object.name, object.bytes, object.sha256, Pace::default()).await;
                assert_eq!(found.unwrap(), Found::Good, "{} in {}", object.name, config.name);
            }
        }
    });
}
