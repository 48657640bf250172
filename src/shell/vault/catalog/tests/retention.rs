//! What the log says, taken in once and in order; what was destroyed stays so.

use std::collections::BTreeSet;

use super::record;
use crate::archive::access::Reason;
use crate::archive::certificate::tests::certificate;
use crate::archive::certificate::{Certificate, CopiesIn, Erased, ErasedRecording};
use crate::archive::hold::Hold;
use crate::archive::matter::{Matter, Said};
use crate::archive::record::{Phase, Record, RecordingId};
use crate::archive::request::{Agreement, Request, What};
use crate::archive::retention::EpochFacts;
use crate::archive::scope::Scope;
use crate::archive::search::{Indexed, Term};
use crate::base::time::Stamp;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::recordings::NewRecord;
use crate::shell::vault::catalog::retention::{EpochCount, MattersRead};

fn at(seconds: u64) -> Stamp {
    Stamp::from_unix_nanos(seconds * 1_000_000_000)
}

fn hold() -> Hold {
    Hold {
        name: "K.17".parse().unwrap(),
        scope: Scope::default(),
        by: "local:root".into(),
        at: at(1),
        reason: None,
        released: None,
    }
}

fn request() -> Request {
    Request {
        number: 2,
        by: "ewa".parse().unwrap(),
        actor: "local:root".into(),
        at: at(1),
        scope: Scope { class: Some("calls-5y".parse().unwrap()), ..Scope::default() },
        what: What::Due,
        due_by: None,
        reason: Reason { code: "retention".into(), text: String::new() },
        agreed: None,
        withdrawn: None,
    }
}

fn agreement(by: &str) -> Agreement {
    Agreement { by: by.parse().unwrap(), actor: "local:root".into(), at: at(2) }
}

fn destroyed(ids: &[RecordingId], epoch: &str) -> Certificate {
    let erased = ids.iter().map(|id| ErasedRecording { id: *id, sha256: Vec::new() }).collect();
    let copies = |place: &str, failed| CopiesIn {
        place: place.into(),
        site: "here".into(),
        removed: 2,
        absent: 0,
        locked: 0,
        failed,
    };
    let copies = vec![copies("first", 0), copies("second", 1)];
    Certificate { erased: Erased::Recordings(erased), epoch: epoch.into(), copies, ..certificate() }
}

pub(super) async fn matters_are_read_once_and_in_order(at_address: String) {
    let catalog = Catalog::open(&at_address).await.unwrap();
    assert_eq!(catalog.matters_read().await.unwrap(), MattersRead::default());
    let (a, b) = (record(1, 1).id, record(2, 2).id);
    let said = [
        (0, Said::Done(Matter::Held(hold()))),
        (1, Said::Done(Matter::Named { at: at(9), recordings: vec![a, b] })),
        (2, Said::Done(Matter::Asked(request()))),
        (3, Said::Done(Matter::Named { at: at(8), recordings: vec![a] })),
        (4, Said::Done(Matter::Named { at: at(10), recordings: vec![b] })),
        (5, Said::Begun(vec![a, b])),
        (6, Said::Ended(vec![b])),
        (7, Said::Begun(vec![a])),
    ];
    let read = MattersRead { size: 8, newest: Some(at(5)) };
    assert!(catalog.absorb(0, &said, read).await.unwrap());
    assert!(!catalog.absorb(0, &said, read).await.unwrap(), "a second time");
    assert_eq!(catalog.matters_read().await.unwrap(), read);
    assert_eq!(catalog.holds().await.unwrap(), [hold()]);
    assert_eq!(catalog.requests().await.unwrap(), [request()]);
    assert_eq!(catalog.events_of(&[a, b]).await.unwrap(), [(a, at(9)), (b, at(10))].into());
    assert_eq!(catalog.begun().await.unwrap(), [(a, 7)], "the last grant counts");
    let said = [
        (8, Said::Done(Matter::Released { hold: hold().name, at: at(6) })),
        (9, Said::Done(Matter::Agreed { request: 2, agreement: agreement("jan") })),
        (10, Said::Done(Matter::Agreed { request: 2, agreement: agreement("ola") })),
        (11, Said::Done(Matter::Withdrawn { request: 2, at: at(7) })),
        // Of what nobody knows.
        (12, Said::Done(Matter::Withdrawn { request: 99, at: at(7) })),
    ];
    let read = MattersRead { size: 13, newest: None };
    assert!(catalog.absorb(8, &said, read).await.unwrap());
    assert_eq!(catalog.matters_read().await.unwrap(), read);
    assert_eq!(catalog.holds().await.unwrap(), [Hold { released: Some(at(6)), ..hold() }]);
    let changed = Request { agreed: Some(agreement("jan")), withdrawn: Some(at(7)), ..request() };
    assert_eq!(catalog.requests().await.unwrap(), [changed]);
}

pub(super) async fn what_is_destroyed_is_buried(at_address: String) {
    let catalog = Catalog::open(&at_address).await.unwrap();
    let records: Vec<_> = [1, 2, 4, 3].map(|number| record(number, number)).into();
    let ids: Vec<_> = records[..2].iter().map(|record| record.id).collect();
    let epoch = records[0].epoch().unwrap();
    let whole = records[3].epoch().unwrap();
    let said = [
        (0, Said::Begun(ids.clone())),
        (1, Said::Done(Matter::Destroyed(destroyed(&ids, &epoch.to_string())))),
        (2, Said::Begun(ids[..1].to_vec())),
        (
            3,
            Said::Done(Matter::Destroyed(Certificate {
                erased: Erased::Epoch,
                epoch: whole.to_string(),
                ..certificate()
            })),
        ),
    ];
    let read = MattersRead { size: 4, newest: Some(at(1)) };
    assert!(catalog.absorb(0, &said, read).await.unwrap());
    assert!(catalog.begun().await.unwrap().is_empty(), "nothing is left to finish");
    assert_eq!(catalog.tombstones(&epoch).await.unwrap(), ids);
    let epochs: BTreeSet<_> = catalog.epochs_with_tombstones().await.unwrap().into_iter().collect();
    assert_eq!(epochs, [(epoch.clone(), false), (whole.clone(), true)].into());
    // They come back, as a rebuild brings them.
    let new = |record: &crate::archive::record::Record| NewRecord {
        record: record.clone(),
        indexed: Some(Indexed { details: vec![9; 5], terms: vec![Term(1)] }),
    };
    catalog.take_in(&records.iter().map(new).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(catalog.bury().await.unwrap(), 3);
    assert_eq!(catalog.bury().await.unwrap(), 0);
    for record in &records {
        let phase = if record.id == records[2].id { Phase::Archived } else { Phase::Destroyed };
        assert_eq!(catalog.get(&record.id).await.unwrap().unwrap().phase, phase);
    }
    let counts = catalog.count_epochs().await.unwrap();
    let facts = |left, oldest_staged| EpochFacts { left, oldest_staged };
    assert_eq!(catalog.epoch_facts(&epoch).await.unwrap(), facts(1, None));
    let staged = Record { class: None, phase: Phase::Staged, ..record(9, 9) };
    let start = staged.receipt.start;
    catalog.take_in(&[NewRecord { record: staged, indexed: None }]).await.unwrap();
    assert_eq!(catalog.epoch_facts(&whole).await.unwrap(), facts(0, Some(start)));
    assert_eq!(counts, [EpochCount { epoch, left: 1, all: 3 }, EpochCount { epoch: whole, left: 0, all: 1 }]);
    let left: Vec<_> = ids.iter().map(|id| ("second".to_owned(), *id)).collect();
    assert_eq!(catalog.leftovers().await.unwrap(), left);
    catalog.swept("second", &ids[0]).await.unwrap();
    assert_eq!(catalog.leftovers().await.unwrap(), left[1..]);
}
