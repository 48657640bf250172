//! Key places that go, come back, rot, and are shared with others.

use super::*;

/// A key place was away, or is of a backup from before.
#[test]
fn a_place_that_comes_back_with_old_files_loses_them() {
    let bench = Bench::new();
    let ring = bench.ring();
    let (calls, other) = (epoch("calls/2026-11"), epoch("calls/2026-12"));
    ring.envelopes_for(&calls, &(0..10).map(id).collect::<Vec<_>>()).unwrap();
    ring.envelopes_for(&other, &(20..30).map(id).collect::<Vec<_>>()).unwrap();
    let old = bench.files(&bench.second());
    ring.destroy_envelopes(&grant(Action::Destroy, Resource::of(&[id(3)])), &calls, &[id(3)]).unwrap();
    let of_other = grant(Action::Destroy, Resource::epoch(&other));
    let kept = ring.destroy_empty_epoch(&of_other, &other);
    assert!(matches!(kept, Err(KeyFault::InUse { count: 10, .. })), "{kept:?}");
    assert_eq!(ring.store().destroyed_by(&other).unwrap(), None);
    ring.destroy_epoch(&of_other, &other).unwrap();
    assert_eq!(ring.store().destroyed_by(&other).unwrap(), Some(of_other.entry()));
    let everyone = bench.people.custody(2, &["ewa", "jan"]);
    drop(ring.rotate(&grant(Action::Rewrap, Resource::Vault), KeyKind::X25519, &everyone).unwrap());

    // Away: read, and nothing changed.
    std::fs::rename(bench.second(), bench.dir.path().join("away")).unwrap();
    let store = bench.open_on(CutDisk::whole()).unwrap();
    assert_eq!(store.absent(), [bench.second()]);
    let ring = store.unlock(&bench.people.keys(&["ewa", "jan"])).unwrap();
    assert_eq!(ring.recordings(&calls).unwrap().len(), 9);
    assert!(matches!(ring.envelopes_for(&calls, &[id(50)]), Err(KeyFault::Absent { .. })));
    let destroy = grant(Action::Destroy, Resource::of(&[id(4)]));
    assert!(matches!(ring.destroy_envelopes(&destroy, &calls, &[id(4)]), Err(KeyFault::Absent { .. })));
    // The place that is away may be the only one that has it: nobody takes it for gone.
    let strange = epoch("strange/2026-11");
    assert!(matches!(ring.destroy_envelopes(&destroy, &strange, &[id(4)]), Err(KeyFault::Absent { .. })));
    assert_eq!(ring.recordings(&calls).unwrap().len(), 9);

    // Back, as it was.
    for (name, bytes) in old {
        let path = bench.second().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let store = bench.open_on(CutDisk::whole()).unwrap();
    let ring = store.unlock(&bench.people.keys(&["ewa", "jan"])).unwrap();
    let ids = |envelopes: &[Envelope]| envelopes.iter().map(Envelope::id).collect::<BTreeSet<_>>();
    let expected: BTreeSet<_> = (0..10).filter(|number| *number != 3).map(id).collect();
    assert_eq!(ids(&bench.survivors()), expected);
    assert_eq!(bench.files(&bench.home().join("keys")), bench.files(&bench.second()));
    assert!(matches!(ring.epoch(&other), Err(KeyFault::Destroyed(_))));
}

/// A key place may be the top of a file system, with what others have there.
#[test]
fn what_is_not_ours_in_a_key_place_is_left_alone() {
    let bench = Bench::new();
    let store = bench.create_on(CutDisk::whole()).unwrap();
    let second = bench.second();
    let theirs = [
        "notes/.draft.new",
        "notes/a.1.age",
        "notes/a.2.age",
        "b.1.json",
        "b.2.json",
        ".c.new",
        "root-x/.d.new",
    ];
    for name in theirs {
        let path = second.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "theirs").unwrap();
    }
    let ours =
        [".root-7.new/scheme.json", ".destroy.begun.new", "epochs/.x.new", "root-1/custody/.ewa.age.new"];
    for name in ours {
        let path = second.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "half").unwrap();
    }
    assert_eq!(store.repair().unwrap().shredded, 4);
    assert!(theirs.iter().all(|name| std::fs::read(second.join(name)).is_ok_and(|there| there == b"theirs")));
    assert!(ours.iter().all(|name| !second.join(name).exists()));
    assert!(!bench.home().join("keys/b.2.json").exists(), "nor is it copied");
}

/// Its folder is then the empty one beneath.
#[test]
fn a_place_that_goes_away_later_is_read_around_and_nothing_is_changed() {
    let bench = Bench::new();
    let ring = bench.ring();
    let calls = epoch("calls/2026-11");
    ring.envelopes_for(&calls, &[id(1)]).unwrap();
    let away = bench.dir.path().join("away");
    std::fs::rename(bench.second(), &away).unwrap();
    std::fs::create_dir(bench.second()).unwrap();
    assert_eq!(ring.store().absent(), [bench.second()]);
    assert!(ring.envelope(&calls, &id(1)).unwrap().is_some());
    assert!(matches!(ring.envelopes_for(&calls, &[id(2)]), Err(KeyFault::Absent { .. })));
    let destroy = grant(Action::Destroy, Resource::of(&[id(1)]));
    assert!(matches!(ring.destroy_envelopes(&destroy, &calls, &[id(1)]), Err(KeyFault::Absent { .. })));
    assert!(matches!(ring.epoch(&epoch("calls/2026-12")), Err(KeyFault::Absent { .. })));
    let again = ring.store().unlock(&bench.people.keys(&["jan", "ola"])).unwrap();
    assert!(again.envelope(&calls, &id(1)).unwrap().is_some());
    assert_eq!(std::fs::read_dir(bench.second()).unwrap().count(), 0);
    std::fs::remove_dir(bench.second()).unwrap();
    std::fs::rename(&away, bench.second()).unwrap();
    ring.envelopes_for(&calls, &[id(2)]).unwrap();
    // One that answers with an error, as a host that is gone.
    std::fs::rename(bench.second(), &away).unwrap();
    std::fs::write(bench.second(), "no folder").unwrap();
    let store = bench.open_on(CutDisk::whole()).unwrap();
    assert_eq!(store.absent(), [bench.second()]);
    let ring = store.unlock(&bench.people.keys(&["jan", "ola"])).unwrap();
    assert!(ring.envelope(&calls, &id(2)).unwrap().is_some());
}

#[test]
fn a_new_place_gets_everything_and_that_of_another_vault_is_refused() {
    let bench = Bench::new();
    let ring = bench.ring();
    ring.envelopes_for(&epoch("calls/2026-11"), &[id(1)]).unwrap();
    let third = bench.dir.path().join("third");
    let places = [bench.second(), third.clone()];
    let open = || KeyStore::open_on(&bench.home(), &places, "vault", CutDisk::whole());
    let store = open().unwrap();
    assert!(matches!(store.repair(), Err(KeyFault::Absent { .. })));
    store.begin_place(&third, "vault").unwrap();
    assert!(open().unwrap().repair().unwrap().copied > 0);
    assert_eq!(bench.files(&third), bench.files(&bench.second()));
    std::fs::write(third.join("vault.id"), "another\n").unwrap();
    assert!(matches!(open(), Err(KeyFault::Foreign { .. })));
}

#[test]
fn a_file_that_has_rotted_in_one_place_is_read_from_the_other_and_mended() {
    let bench = Bench::new();
    let ring = bench.ring();
    let calls = epoch("calls/2026-11");
    ring.envelopes_for(&calls, &(0..300).map(id).collect::<Vec<_>>()).unwrap();
    let whole = bench.files(&bench.second());
    let mut rotten = 0;
    for (name, bytes) in &whole {
        if name.extension().is_some_and(|ext| ext == "age") && !name.to_string_lossy().contains("custody") {
            let mut bytes = bytes.clone();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(bench.home().join("keys").join(name), bytes).unwrap();
            rotten += 1;
        }
    }
    assert_eq!(rotten, 3);
    let ring = ring.store().unlock(&bench.people.keys(&["ewa", "ola"])).unwrap();
    assert_eq!(ring.recordings(&calls).unwrap().len(), 300);
    let checked = ring.check().unwrap();
    assert_eq!((checked.epochs, checked.envelopes, checked.mended, checked.lost.len()), (1, 300, 3, 0));
    assert_eq!(bench.files(&bench.home().join("keys")), whole);
    // In both: told, and the others still work.
    let group = PathBuf::from("envelopes/calls/2026-11/000000.1.age");
    for place in bench.places() {
        std::fs::write(place.join(&group), "rotten").unwrap();
    }
    let ring = ring.store().unlock(&bench.people.keys(&["ewa", "ola"])).unwrap();
    assert_eq!(ring.recordings(&calls).unwrap().len(), 44);
    assert_eq!(ring.check().unwrap().lost.len(), 1);
    ring.envelopes_for(&calls, &[id(900)]).unwrap();
    // Whether it was in the damaged one nobody knows: it is to be finished, and holds up nothing else.
    let destroy = |ring: &KeyRing, number| {
        ring.destroy_envelopes(&grant(Action::Destroy, Resource::of(&[id(number)])), &calls, &[id(number)])
    };
    assert!(matches!(destroy(&ring, 1), Err(KeyFault::Damaged { .. })));
    let ring = ring.store().unlock(&bench.people.keys(&["ewa", "ola"])).unwrap();
    assert_eq!(destroy(&ring, 900).unwrap(), 1);
    assert!(matches!(destroy(&ring, 2), Err(KeyFault::Damaged { .. })));
    let custody = bench.people.custody(2, &["ewa", "jan"]);
    drop(ring.rotate(&grant(Action::Rewrap, Resource::Vault), KeyKind::X25519, &custody).unwrap());
    // A copy of the key place is found: both are destroyed in it.
    for place in bench.places() {
        std::fs::write(place.join(&group), &whole[&group]).unwrap();
    }
    let ring = bench.open_on(CutDisk::whole()).unwrap().unlock(&bench.people.keys(&["ewa", "jan"])).unwrap();
    let there = ring.recordings(&calls).unwrap();
    assert!(there.contains(&id(3)) && !there.contains(&id(1)) && !there.contains(&id(2)));
    let begun = bench.home().join("keys").join(BEGUN);
    assert!(!begun.exists());
    std::fs::write(&begun, "rotten").unwrap();
    ring.store().unlock(&bench.people.keys(&["ewa", "jan"])).unwrap();
    assert!(begun.exists());
}
