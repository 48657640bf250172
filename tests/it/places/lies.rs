//! A store that does wrong: all of it is noticed, when something is put or when it is read.

use super::*;
use crate::places::store::Lie;

/// When it is noticed.
#[derive(Debug, Eq, PartialEq)]
enum Noticed {
    /// The put fails.
    Put,
    /// The put passes; what is read is seen not to be what was put.
    Read,
    /// Nothing was wrong.
    Never,
}

/// Puts and reads, as the archive does.
async fn try_out(place: &dyn Place, reader: &dyn Place, object: &str, content: &Bytes) -> Noticed {
    if place.put_new(object, Content::Bytes(content.clone()), false).await.is_err() {
        return Noticed::Put;
    }
    let found = check(reader, object, content.len() as u64, Digest::of(content), Pace::default()).await;
    if matches!(found, Ok(Found::Good)) { Noticed::Never } else { Noticed::Read }
}

fn content() -> Bytes {
    (0..100_000_u32).map(|at| (at % 253) as u8).collect::<Vec<_>>().into()
}

#[test]
fn every_lie_is_noticed() {
    let expected = [
        (Lie::None, Noticed::Never),
        (Lie::StormThatPasses, Noticed::Never),
        (Lie::PutStoresNothing, Noticed::Put),
        (Lie::PutCutsBody, Noticed::Put),
        // Its tag is not that of what was put.
        (Lie::PutFlipsBit, Noticed::Put),
        (Lie::PutGoesElsewhere, Noticed::Put),
        (Lie::PutGivesOtherTag, Noticed::Put),
        (Lie::PutGivesOtherVersion, Noticed::Put),
        (Lie::PutKeepsOtherChecksum, Noticed::Put),
        (Lie::PutIsLostLater, Noticed::Read),
        (Lie::LongerThanPut, Noticed::Put),
        (Lie::HeadSaysShorter, Noticed::Put),
        (Lie::Storm, Noticed::Put),
        (Lie::GetOtherObject, Noticed::Read),
        (Lie::GetCutBody, Noticed::Read),
        (Lie::GetBrokenBody, Noticed::Read),
        (Lie::GetFlippedBit, Noticed::Read),
        (Lie::GetNothingAtAll, Noticed::Read),
        (Lie::GetIgnoresRange, Noticed::Read),
        (Lie::GetShiftedRange, Noticed::Read),
        (Lie::GetNotFound, Noticed::Read),
        (Lie::GetSlowly, Noticed::Read),
        (Lie::GetEndlessly, Noticed::Read),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (lie, expected) in expected {
        let store = Store::start();
        let place = open_with(&s3(dir.path(), &store.endpoint, "bucket", ""), patient()).unwrap();
        // Whatever else is slow is to be waited for.
        let patience = if lie == Lie::GetSlowly { impatient() } else { patient() };
        let reader = open_with(&s3(dir.path(), &store.endpoint, "bucket", ""), patience).unwrap();
        let noticed = wait(async {
            place.put_new("z", bytes("another object"), false).await.unwrap();
            store.tell(lie);
            try_out(&*place, &*reader, "2026/11/23/a.body", &content()).await
        });
        assert_eq!(noticed, expected, "{lie:?}");
    }
}

#[test]
fn what_is_put_in_parts_is_asked_for_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    fs::write(&file, vec![7; LARGE_BYTES]).unwrap();
    for lie in [Lie::PutStoresNothing, Lie::PutCutsBody, Lie::PutGoesElsewhere, Lie::PutGivesOtherVersion] {
        let store = Store::start();
        let place = open_with(&s3(dir.path(), &store.endpoint, "bucket", ""), patient()).unwrap();
        store.tell(lie);
        let put = wait(place.put_new("large", Content::File { path: file.clone(), skip: 0 }, false));
        assert!(matches!(put, Err(PlaceError::Lies { .. })), "{lie:?}: {put:?}");
    }
}

#[test]
fn old_versions_are_not_taken_for_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    for (lie, is_put) in [(Lie::GetOldVersion, true), (Lie::PutOverwritesNothing, false)] {
        let store = Store::start();
        let place = open_with(&s3(dir.path(), &store.endpoint, "bucket", ""), patient()).unwrap();
        wait(async {
            place.put_new("a.hdr", bytes("first"), false).await.unwrap();
            store.tell(lie);
            let put = place.mend("a.hdr", bytes("other")).await;
            assert_eq!(put.is_ok(), is_put, "{lie:?}: {put:?}");
            let found = check(&*place, "a.hdr", 5, Digest::of(b"other"), Pace::default()).await.unwrap();
            assert!(matches!(found, Found::Wrong(_)), "{lie:?}: {found:?}");
        });
    }
}

#[test]
fn removals_locks_and_lists_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start();
    let place = open_with(&s3(dir.path(), &store.endpoint, "bucket", ""), patient()).unwrap();
    let hour = Duration::from_secs(3_600);
    let lied = |outcome: Result<(), PlaceError>| matches!(outcome, Err(PlaceError::Lies { .. }));
    wait(async {
        for name in ["a", "b", "c", "d", "e"] {
            place.put_new(name, bytes("x"), false).await.unwrap();
        }
        store.tell(Lie::DeleteDoesNothing);
        assert!(lied(place.remove("a").await.map(drop)));
        store.tell(Lie::ListOutOfOrder);
        assert!(lied(place.list("", None, 9).await.map(drop)));
        store.tell(Lie::ListOtherNames);
        let listed = place.list("", None, 9).await;
        assert!(!listed.is_ok_and(|names| names.iter().any(|name| name.contains(".."))));
        for lie in [Lie::LockIsNotKept, Lie::LockIsShorter, Lie::LockIsOfTheWeakerKind] {
            store.tell(lie);
            let name = format!("{lie:?}");
            place.put_new(&name, bytes("x"), false).await.unwrap();
            assert!(lied(place.lock(&name, now().after(hour)).await), "{lie:?}");
        }
        store.tell(Lie::None);
        locks(&*place).await;
    });
}

#[test]
fn a_store_that_lets_anything_through_is_not_worm() {
    let dir = tempfile::tempdir().unwrap();
    let lies = [
        Lie::WormLetsDelete,
        Lie::WormLetsDeleteWithBypass,
        Lie::WormLetsShorten,
        Lie::WormLetsWeaken,
        Lie::WormRefusesAndDeletes,
        Lie::WormRefusesAndShortens,
        Lie::WormOverwritesInPlace,
        Lie::WormDeletesWithoutVersion,
        Lie::WormCannotTell,
        Lie::WormKeepsNoVersions,
        Lie::WormRefusesLocks,
        Lie::LockIsNotKept,
        Lie::LockIsShorter,
        Lie::LockIsOfTheWeakerKind,
        Lie::GetFlippedBit,
    ];
    for lie in lies {
        let store = Store::start();
        let place = open_with(&s3(dir.path(), &store.endpoint, "bucket", ""), patient()).unwrap();
        store.tell(lie);
        let worm = wait(place.worm_test(now()));
        // This one lies to those who ask for a part, which the test does not.
        let expected = lie == Lie::GetFlippedBit;
        let passed = matches!(worm, Ok(Worm::Passed));
        assert_eq!(passed, expected, "{lie:?}: {worm:?}");
        assert!(store.requests() > 0);
    }
}

#[test]
fn canaries_do_not_pile_up_where_they_are_not_locked_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::start();
    let place = open_with(&s3(dir.path(), &store.endpoint, "bucket", ""), patient()).unwrap();
    store.tell(Lie::WormLetsDelete);
    for _ in 0..3 {
        assert!(matches!(wait(place.worm_test(now())).unwrap(), Worm::Failed(_)));
    }
    assert!(store.keys().len() <= 1, "{:?}", store.keys());
    // What only begins like them is not ours to remove.
    let theirs = ["canary-songs", "canary/notes", "canary"];
    wait(async {
        for name in theirs {
            place.put_new(name, bytes("theirs"), false).await.unwrap();
        }
        place.worm_test(now()).await.unwrap();
    });
    let keys = store.keys();
    assert!(theirs.iter().all(|name| keys.contains(&format!("sejf/{name}"))), "{keys:?}");
}
