//! Copies: written down, counted, found when they are due.

use super::record;
use crate::archive::copies::{CopyState, Worm};
use crate::archive::media::Medium;
use crate::archive::record::{Phase, Record, RecordingId};
use crate::base::time::Stamp;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::copies::{Seen, Standing};
use crate::shell::vault::catalog::media::Move;
use crate::shell::vault::catalog::recordings::NewRecord;

fn at(seconds: u64) -> Stamp {
    Stamp::from_unix_nanos(seconds * 1_000_000_000)
}

fn seen(id: RecordingId, place: &str, state: CopyState, seconds: u64) -> Seen {
    Seen { id, place: place.into(), state, at: at(seconds) }
}

pub(super) async fn are_written_down_and_found(address: String) {
    let catalog = Catalog::open(&address).await.unwrap();
    let mut records: Vec<Record> = (1..=10).map(|number| record(number, number)).collect();
    records[9].phase = Phase::Staged;
    let new: Vec<_> =
        records.iter().map(|record| NewRecord { record: record.clone(), indexed: None }).collect();
    catalog.take_in(&new).await.unwrap();
    let ids: Vec<RecordingId> = records[..9].iter().map(|record| record.id).collect();
    assert_eq!(catalog.id_range().await.unwrap(), Some((ids[0], ids[8])));
    // What is staged is not due.
    let due = catalog.copies_due(None, 4).await.unwrap();
    assert_eq!(due.iter().map(|due| due.1).collect::<Vec<_>>(), ids[..4]);
    let rest = catalog.copies_due(due.last().copied(), 9).await.unwrap();
    assert_eq!(rest.iter().map(|due| due.1).collect::<Vec<_>>(), ids[4..]);

    for _ in 0..2 {
        catalog.set_place("a", "here", false).await.unwrap();
        catalog.set_place("m", "safe", true).await.unwrap();
    }
    let failed = Worm::Failed("it was deleted".into());
    catalog.set_worm("a", &failed, at(7)).await.unwrap();
    catalog.set_place("a", "there", false).await.unwrap();
    let places = catalog.places().await.unwrap();
    assert_eq!(
        places.iter().map(|place| (&*place.name, place.offline)).collect::<Vec<_>>(),
        [("a", false), ("m", true)]
    );
    assert_eq!((&*places[0].site, &places[0].worm, places[0].worm_tested), ("there", &failed, Some(at(7))));
    assert_eq!((&places[1].worm, places[1].worm_tested), (&Worm::Untested, None));

    let all: Vec<_> = ids.iter().zip(10..).map(|(id, at)| seen(*id, "a", CopyState::Good, at)).collect();
    catalog.set_copies(&all).await.unwrap();
    // Of a place that nobody knows, there is nothing to write down.
    catalog.set_copies(&[seen(ids[0], "unknown", CopyState::Good, 1)]).await.unwrap();
    let changes = catalog.changes(&ids).await.unwrap();
    // Whoever looked before is not heard.
    catalog.set_standing(&[(ids[0], Standing::Met, changes[&ids[0]] - 1)]).await.unwrap();
    assert_eq!(catalog.copies_due(None, 99).await.unwrap().len(), 9);
    let met: Vec<_> = ids.iter().map(|id| (*id, Standing::Met, changes[id])).collect();
    catalog.set_standing(&met).await.unwrap();
    catalog.set_standing(&[(ids[3], Standing::Short, changes[&ids[3]])]).await.unwrap();
    assert!(catalog.copies_due(None, 9).await.unwrap().is_empty());
    assert_eq!(catalog.copies_met(&ids[2..5]).await.unwrap(), [ids[2], ids[4]]);
    // Seen again as it was: nothing is due. Seen otherwise: it is.
    catalog.set_copies(&[seen(ids[5], "a", CopyState::Good, 30)]).await.unwrap();
    catalog
        .set_copies(&[seen(ids[6], "a", CopyState::Broken, 31), seen(ids[7], "m", CopyState::Good, 32)])
        .await
        .unwrap();
    let due: Vec<_> = catalog.copies_due(None, 9).await.unwrap().into_iter().map(|due| due.1).collect();
    assert_eq!(due, [ids[6], ids[7]]);
    let counts = catalog.standing_counts().await.unwrap();
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [(Standing::Due, 2), (Standing::Short, 1), (Standing::Met, 6)]
    );
    let counts: Vec<_> = catalog
        .copy_counts()
        .await
        .unwrap()
        .into_iter()
        .map(|count| (count.place, count.state, count.count, count.oldest))
        .collect();
    assert_eq!(
        counts,
        [
            ("a".into(), CopyState::Broken, 1, at(31)),
            ("a".into(), CopyState::Good, 8, at(10)),
            ("m".into(), CopyState::Good, 1, at(32)),
        ]
    );
    let unread = catalog.copies_to_read("a", at(12), None, 9).await.unwrap();
    assert_eq!(unread, [(at(10), ids[0]), (at(11), ids[1])]);
    let rest = catalog.copies_to_read("a", at(99), Some(unread[1]), 99).await.unwrap();
    assert_eq!((rest.len(), rest[0]), (7, (at(12), ids[2])));
    assert_eq!(catalog.copies_near("a", &ids[7], 2).await.unwrap(), [ids[7], ids[8]]);
    assert_eq!(catalog.copies_near("a", &ids[8], 3).await.unwrap(), [ids[8], ids[0], ids[1]]);
    let copies = catalog.copies_of(&ids[6..8]).await.unwrap();
    assert_eq!((copies[&ids[6]].len(), copies[&ids[7]].len()), (1, 2));

    catalog.copies_all_due(false).await.unwrap();
    assert_eq!(catalog.copies_due(None, 99).await.unwrap().len(), 3);
    catalog.forget_place("m").await.unwrap();
    assert_eq!(catalog.copies_of(&ids[7..8]).await.unwrap()[&ids[7]].len(), 1);
    catalog.copies_all_due(true).await.unwrap();
    assert_eq!(catalog.copies_due(None, 99).await.unwrap().len(), 9);
    // What is destroyed is nobody's concern.
    catalog.set_destroyed(&ids[..1]).await.unwrap();
    assert_eq!(catalog.copies_due(None, 99).await.unwrap().len(), 8);
    let unread = catalog.copies_to_read("a", at(99), None, 99).await.unwrap();
    assert!(unread.iter().all(|(_, id)| *id != ids[0]) && unread.len() == 8);
    lost_ones_are_found_behind_those_on_media(&catalog, &ids[1..]).await;
}

/// However many come before them of which a medium has a copy.
async fn lost_ones_are_found_behind_those_on_media(catalog: &Catalog, ids: &[RecordingId]) {
    let missing: Vec<_> = ids.iter().map(|id| seen(*id, "a", CopyState::Missing, 90)).collect();
    catalog.set_copies(&missing).await.unwrap();
    let changes = catalog.changes(ids).await.unwrap();
    let short: Vec<_> = ids.iter().map(|id| (*id, Standing::Short, changes[id])).collect();
    catalog.set_standing(&short).await.unwrap();
    assert_eq!(catalog.copies_lost(99).await.unwrap(), ids);
    let (medium, written) = (
        Medium {
            schema: 1,
            id: "m-9".into(),
            label: "safe 3".into(),
            vault: "vault+1+a".into(),
            written: at(9),
            recordings: ids[..5].to_vec(),
        },
        Move {
            at: at(9),
            what: "written".into(),
            who: "local:root".into(),
            seal: "A 17".into(),
            place: "bank".into(),
            reason: "audit".into(),
            entry: 9,
        },
    );
    catalog.add_medium(&medium, &[], &written).await.unwrap();
    assert_eq!(catalog.copies_lost(99).await.unwrap(), ids[5..]);
    assert_eq!(catalog.copies_lost(2).await.unwrap(), ids[5..7], "behind the first five");
}
