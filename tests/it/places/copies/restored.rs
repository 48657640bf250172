//! Samples from every place, restored and opened.

use sejf::shell::vault::restore_test::restore_test;

use super::*;

#[test]
fn a_sample_from_every_place_is_restored_and_opened() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(8).await;
        archive.run().await;
        let target = archive.dir.path().join("restored");
        let restore = async |sample: u32, target: &Path, keys: bool| {
            let mut random = Seeded::new(&[8; 32], "sample", 0);
            let keys = keys.then_some(&archive.ring);
            archive.with(async |copier| restore_test(copier, keys, sample, target, &mut random).await).await
        };
        let report = restore(50, &target, true).await.unwrap();
        assert!(report.is_good(), "{report:?}");
        for place in &report.places {
            assert_eq!((place.sample.len(), place.files, place.opened), (8, 24, 16));
            assert_eq!((place.decoded, place.decoded_s), (8, 8));
        }
        assert!(restore(1, &target, true).await.is_err(), "the folder is not empty");
        let locked = restore(3, &archive.dir.path().join("locked"), false).await.unwrap();
        assert!(locked.is_good() && locked.places.iter().all(|place| place.opened == 0 && place.files == 9));
        // No plain byte anywhere.
        for entry in fs::read_dir(target.join("store")).unwrap() {
            let restored = fs::read(entry.unwrap().path()).unwrap();
            assert!(restored.starts_with(b"age-encryption.org/v1") || restored.starts_with(b"{\"schema\":"));
            assert!(!restored.windows(8).any(|eight| eight == b"OpusHead"));
        }
        let all = objects(&archive.records[4]);
        archive.damage("second", &all[0].name, 0);
        archive.store.lose(&objects(&archive.records[2])[3].name);
        let report = restore(50, &archive.dir.path().join("again"), true).await.unwrap();
        let failures: Vec<_> = report.places.iter().map(|place| place.failures.len()).collect();
        assert_eq!((report.is_good(), failures), (false, vec![0, 1, 1]), "{report:?}");
        archive.store.tell(Lie::Storm);
        let report = restore(2, &archive.dir.path().join("storm"), true).await.unwrap();
        // Of two recordings the sound, the manifest and the slip.
        assert_eq!((report.is_good(), report.places[2].failures.len()), (false, 6), "{report:?}");
    });
}

/// What is sealed well, copied well and opens well, and is no sound all the same.
#[test]
fn what_does_not_play_is_told() {
    for (fault, words) in [
        (Sealed::Longer, "s of sound, and its manifest says"),
        (Sealed::Spoilt, "page 2 of the sound is damaged"),
        (Sealed::Unended, "failed to fill whole buffer"),
    ] {
        let mut archive = Archive::new(THREE, "");
        archive.fault = fault;
        wait(async {
            archive.take_in(1).await;
            archive.run().await;
            let restore = async |name: &str, keys: Option<&KeyRing>| {
                let (target, mut random) =
                    (archive.dir.path().join(name), Seeded::new(&[8; 32], "sample", 0));
                archive.with(async |copier| restore_test(copier, keys, 9, &target, &mut random).await).await
            };
            let report = restore("unlocked", Some(&archive.ring)).await.unwrap();
            assert!(!report.is_good());
            for place in &report.places {
                let [failure] = &place.failures[..] else { panic!("{report:?}") };
                assert!(failure.contains(words) && failure.contains(".opus.age"), "{failure}");
            }
            assert!(restore("locked", None).await.unwrap().is_good());
        });
    }
}
