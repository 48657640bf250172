//! Taken in once, archived, listed, forgotten.

use super::record;
use crate::archive::epoch::Epoch;
use crate::archive::record::{Phase, Record};
use crate::archive::search::{Cursor, Indexed, Term};
use crate::seal::receipt::ReceiptState;
use crate::seal::tree::Hash;
use crate::shell::vault::catalog::recorders::Position;
use crate::shell::vault::catalog::recordings::{Archived, Filter, NewRecord, Taken};
use crate::shell::vault::catalog::{Catalog, CatalogError};

fn indexed(number: i64) -> Indexed {
    Indexed { details: vec![9; 5], terms: vec![Term(-number), Term(number), Term(i64::MAX)] }
}

fn new(record: Record) -> NewRecord {
    let number = record.receipt_index as i64;
    NewRecord { record, indexed: Some(indexed(number)) }
}

async fn count(catalog: &Catalog, table: &str) -> i64 {
    use sqlx::Row;
    let sql = format!("SELECT COUNT(*) FROM {table}");
    let row = super::super::statement(sql).fetch_one(catalog.pool()).await.unwrap();
    row.try_get(0).unwrap()
}

pub(super) async fn are_taken_in_once(at: String) {
    let catalog = Catalog::open(&at).await.unwrap();
    let all: Vec<_> = (1..=300).map(|number| new(record(number, number))).collect();
    assert!(catalog.take_in(&[]).await.unwrap().is_empty());
    assert!(catalog.take_in(&all[..200]).await.unwrap().iter().all(|taken| *taken == Taken::New));
    catalog.close().await;
    // Opened again, with its tables as they are.
    let catalog = Catalog::open(&at).await.unwrap();
    let taken = catalog.take_in(&all).await.unwrap();
    assert!(taken[..200].iter().all(|taken| *taken == Taken::Known));
    assert!(taken[200..].iter().all(|taken| *taken == Taken::New));
    for one in &all {
        assert_eq!(catalog.get(&one.record.id).await.unwrap().as_ref(), Some(&one.record));
    }
    assert_eq!(catalog.get(&record(999, 1).id).await.unwrap(), None);
    assert_eq!((count(&catalog, "terms").await, count(&catalog, "details").await), (900, 300));
    let ids: Vec<_> = all.iter().map(|one| one.record.id).collect();
    assert_eq!(catalog.get_all(&ids).await.unwrap().len(), 300);
    let places = catalog.receipts_of("recorder-1", 290, 3).await.unwrap();
    assert_eq!(places, [291, 293, 295].map(|number| (number, record(number, number).id)));
    let epochs: Vec<_> = catalog.epochs().await.unwrap().iter().map(Epoch::to_string).collect();
    assert_eq!(epochs, ["calls-5y/2026-11", "calls-6m/2026-11"]);
}

pub(super) async fn conflicts_change_nothing(at: String) {
    let catalog = Catalog::open(&at).await.unwrap();
    let first = new(record(2, 2));
    catalog.take_in(std::slice::from_ref(&first)).await.unwrap();
    let mut other = first.clone();
    other.record.receipt.rule = "other@1".into();
    let mut moved = first.clone();
    moved.record.receipt_index = 4;
    let mut place = new(record(6, 6));
    place.record.receipt_index = 2;
    // In one batch with themselves as well.
    let taken = catalog.take_in(&[other, moved, place, new(record(8, 8)), new(record(8, 8))]).await.unwrap();
    assert!(taken[..3].iter().all(|taken| matches!(taken, Taken::Conflict(_))), "{taken:?}");
    assert_eq!(taken[3..], [Taken::New, Taken::Known]);
    assert_eq!(catalog.get(&first.record.id).await.unwrap(), Some(first.record));
    assert_eq!(count(&catalog, "recordings").await, 2);
}

pub(super) async fn pages_follow_each_other(at: String) {
    let catalog = Catalog::open(&at).await.unwrap();
    // Several begin in the same second.
    let all: Vec<_> = (1..=100).map(|number| new(record(number, (number / 5) * 200_000))).collect();
    catalog.take_in(&all).await.unwrap();
    let mut newest: Vec<Record> = all.iter().map(|one| one.record.clone()).collect();
    newest.sort_by_key(|record| std::cmp::Reverse((record.receipt.start, record.id)));
    let (from, to) = (newest[80].receipt.start, newest[20].receipt.start);
    let epoch = newest[50].epoch();
    type Wanted = Box<dyn Fn(&Record) -> bool>;
    let filters: [(Filter, Wanted); 5] = [
        (Filter::default(), Box::new(|_| true)),
        (
            Filter { from: Some(from), to: Some(to), ..Filter::default() },
            Box::new(move |record| record.receipt.start >= from && record.receipt.start < to),
        ),
        (
            Filter { epoch: epoch.clone(), from: Some(from), ..Filter::default() },
            Box::new(move |record| record.epoch() == epoch && record.receipt.start >= from),
        ),
        (
            Filter { state: Some(ReceiptState::Interrupted), to: Some(to), ..Filter::default() },
            Box::new(move |record| {
                record.receipt.state == ReceiptState::Interrupted && record.receipt.start < to
            }),
        ),
        (Filter { phase: Some(Phase::Staged), ..Filter::default() }, Box::new(|_| false)),
    ];
    for (filter, wanted) in &filters {
        let expected: Vec<&Record> = newest.iter().filter(|record| wanted(record)).collect();
        let mut found: Vec<Record> = Vec::new();
        loop {
            let after = found.last().map(|last| Cursor { start: last.receipt.start, id: last.id });
            let page = catalog.page(after.as_ref(), 7, filter).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

pub(super) async fn staged_become_archived_and_are_destroyed(at: String) {
    let catalog = Catalog::open(&at).await.unwrap();
    let archived = record(3, 3);
    let staged = Record { class: None, phase: Phase::Staged, files: Vec::new(), ..archived.clone() };
    let other = new(record(4, 4));
    catalog.take_in(&[NewRecord { record: staged.clone(), indexed: None }, other.clone()]).await.unwrap();
    let filter = Filter { phase: Some(Phase::Staged), ..Filter::default() };
    assert_eq!(catalog.page(None, 9, &filter).await.unwrap(), [staged]);
    let class = archived.class.clone().unwrap();
    let change = Archived { id: archived.id, class, files: archived.files.clone(), indexed: indexed(3) };
    for _ in 0..2 {
        catalog.set_archived(std::slice::from_ref(&change)).await.unwrap();
        assert_eq!(catalog.get(&archived.id).await.unwrap().as_ref(), Some(&archived));
    }
    let unknown = Archived { id: record(9, 9).id, ..change };
    let refused = catalog.set_archived(&[unknown]).await.unwrap_err();
    assert!(matches!(refused, CatalogError::Unknown { .. }), "{refused}");
    assert_eq!(count(&catalog, "terms").await, 6);
    for _ in 0..2 {
        catalog.set_destroyed(&[archived.id]).await.unwrap();
        let destroyed = Record { phase: Phase::Destroyed, ..archived.clone() };
        assert_eq!(catalog.get(&archived.id).await.unwrap(), Some(destroyed));
        assert_eq!((count(&catalog, "terms").await, count(&catalog, "details").await), (3, 1));
    }
    catalog.set_epoch_destroyed(&other.record.epoch().unwrap()).await.unwrap();
    assert_eq!((count(&catalog, "terms").await, count(&catalog, "details").await), (0, 0));
    assert_eq!(catalog.get(&other.record.id).await.unwrap().unwrap().phase, Phase::Destroyed);
}

pub(super) async fn positions_never_go_back(at: String) {
    let catalog = Catalog::open(&at).await.unwrap();
    let position = |size| Position { size, root: Hash([size as u8; 32]), checkpoint: format!("note {size}") };
    assert_eq!(catalog.recorder_position("a").await.unwrap(), None);
    assert!(catalog.set_recorder_position("a", &position(5)).await.unwrap());
    assert!(catalog.set_recorder_position("b", &position(1)).await.unwrap());
    assert!(!catalog.set_recorder_position("a", &position(4)).await.unwrap());
    assert!(catalog.set_recorder_position("a", &position(6)).await.unwrap());
    assert_eq!(catalog.recorder_position("a").await.unwrap(), Some(position(6)));
    // One whose recordings came before its position has none.
    catalog.take_in(&[new(record(1, 1))]).await.unwrap();
    assert_eq!(catalog.recorder_position("recorder-1").await.unwrap(), None);
    assert_eq!(catalog.recorders().await.unwrap(), ["a", "b", "recorder-1"]);
}

pub(super) async fn several_write_at_once(at: String) {
    let one = |from: u64| {
        let at = at.clone();
        async move {
            let catalog = Catalog::open(&at).await.unwrap();
            let mut new_ones = 0;
            for number in from..from + 20 {
                let taken = catalog.take_in(&[new(record(number, number))]).await.unwrap();
                new_ones += usize::from(taken == [Taken::New]);
            }
            catalog.close().await;
            new_ones
        }
    };
    let counts = futures_util::future::join_all([one(1), one(11), one(21), one(11)]).await;
    assert_eq!(counts.iter().sum::<usize>(), 40);
    let catalog = Catalog::open(&at).await.unwrap();
    assert_eq!((count(&catalog, "recordings").await, count(&catalog, "terms").await), (40, 120));
}
