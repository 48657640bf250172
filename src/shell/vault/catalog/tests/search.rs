//! Searching, against a search that looks at everything.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use super::record;
use crate::archive::access::{Action, Actor, Grant, Reason, Request, decide};
use crate::archive::details::Details;
use crate::archive::entry::Resource;
use crate::archive::envelope::Envelope;
use crate::archive::epoch::Epoch;
use crate::archive::record::{Phase, Record, RecordingId};
use crate::archive::search::{Cursor, IndexKey, IndexKeys, Indexed, KeysFault, Query};
use crate::base::time::Stamp;
use crate::seal::random::{Randomness, Seeded};
use crate::seal::receipt::ReceiptState;
use crate::shell::vault::catalog::recordings::{NewRecord, Taken};
use crate::shell::vault::catalog::search::Page;
use crate::shell::vault::catalog::{Catalog, CatalogError};

/// Keys that come from the names of things.
#[derive(Default)]
pub(crate) struct NamedKeys {
    destroyed: Mutex<BTreeSet<RecordingId>>,
    destroyed_epochs: Mutex<BTreeSet<Epoch>>,
}

impl IndexKeys for NamedKeys {
    fn index_keys(&self, epoch: &Epoch) -> Result<Vec<IndexKey>, KeysFault> {
        let mut secret = [0; 32];
        Seeded::new(&[1; 32], &epoch.to_string(), 0).fill(&mut secret);
        let is_destroyed = self.destroyed_epochs.lock().unwrap().contains(epoch);
        Ok((!is_destroyed).then(|| IndexKey::new(&secret)).into_iter().collect())
    }

    fn envelopes(&self, epoch: &Epoch, id: &RecordingId) -> Result<Vec<Envelope>, KeysFault> {
        let is_destroyed = self.destroyed.lock().unwrap().contains(id)
            || self.destroyed_epochs.lock().unwrap().contains(epoch);
        let mut random = Seeded::new(&[2; 32], &format!("{epoch} {id}"), 0);
        Ok((!is_destroyed).then(|| Envelope::generate(*id, &mut random)).into_iter().collect())
    }
}

impl NamedKeys {
    pub(crate) fn destroy(&self, id: RecordingId) {
        self.destroyed.lock().unwrap().insert(id);
    }

    pub(crate) fn indexed(&self, record: &Record, details: &Details) -> Indexed {
        let epoch = record.epoch().unwrap();
        let envelope = self.envelopes(&epoch, &record.id).unwrap().remove(0);
        let terms = self.index_keys(&epoch).unwrap()[0].terms(details);
        Indexed { details: details.seal(&envelope, &mut Seeded::new(&[3; 32], &record.receipt.id, 0)), terms }
    }
}

pub(crate) fn grant(action: Action) -> Grant {
    let actor = Actor::local_administrator("test", Some(Stamp::ZERO));
    let reason = Some(Reason { code: "complaint".into(), text: String::new() });
    let request = Request { actor: &actor, action, resource: Resource::Vault, reason, now: Stamp::ZERO };
    Grant::logged(decide(&request).unwrap(), 0)
}

struct Dice(Seeded);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_be_bytes(bytes) % count
    }

    /// Short ones are as likely as long ones.
    fn length(&mut self) -> Duration {
        let bits = self.below(24);
        Duration::from_millis(self.below(1 << bits))
    }

    fn some_of(&mut self, words: &[&str], one_in: u64) -> Vec<String> {
        words.iter().filter(|_| self.below(one_in) == 0).map(|word| (*word).to_owned()).collect()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// Few numbers that begin alike, so that beginnings and coincidences matter.
fn number(dice: &mut Dice) -> String {
    let area = *dice.one(&["22", "221", "61", "2"]);
    format!("+48{area}{:0width$}", dice.below(30) * 37, width = 9 - area.len())
}

fn details(dice: &mut Dice) -> Details {
    let name = ["Jan Novák", "lukasz.nowak", "recepcja", "701", "702"];
    let callee = if dice.below(3) == 0 { (*dice.one(&name)).to_owned() } else { number(dice) };
    Details {
        caller: number(dice),
        callee,
        others: (0..dice.below(4) / 3).map(|_| "+48616161616".to_owned()).collect(),
        trunk: (*dice.one(&["a", "b", "Orange PL"])).into(),
        tags: dice.some_of(&["vip", "complaint", "sale"], 3),
        agents: if dice.below(2) == 0 { vec![format!("agent {}", dice.below(5))] } else { Vec::new() },
        ..Details::default()
    }
}

/// Over three months, in three classes; a few that are staged, or were not recorded.
fn records(dice: &mut Dice, count: u64) -> Vec<(Record, Option<Details>)> {
    let mut all = Vec::new();
    for number in 1..=count {
        let mut record = record(number, dice.below(90 * 86_400 / 60) * 60);
        let length = dice.length();
        record.receipt.end = record.receipt.start.after(length);
        record.receipt.state = *dice.one(&[
            ReceiptState::Complete,
            ReceiptState::Complete,
            ReceiptState::Complete,
            ReceiptState::Interrupted,
            ReceiptState::Unanswered,
        ]);
        record.class = Some(dice.one(&["a", "calls-5y", "calls-6m"]).parse().unwrap());
        if dice.below(20) == 0 {
            (record.class, record.phase) = (None, Phase::Staged);
        }
        let details = record.class.is_some().then(|| details(dice));
        all.push((record, details));
    }
    all
}

fn query(dice: &mut Dice, all: &[(Record, Option<Details>)]) -> Query {
    let mut query = Query::default();
    let one = || all[0].0.receipt.start.before(Duration::from_secs(86_400 * 10));
    let mut ends = [0, 0].map(|_| one().after(Duration::from_secs(dice.below(110 * 86_400))));
    ends.sort();
    query.from = (dice.below(3) == 0).then_some(ends[0]);
    query.to = (dice.below(3) == 0).then_some(ends[1].after(Duration::from_secs(1)));
    if dice.below(2) == 0 {
        let of = dice.one(all).1.clone().unwrap_or_default();
        let party = (*dice.one(&[&of.caller, &of.callee])).clone();
        let length = 5 + dice.below(10) as usize;
        let text = match party.char_indices().nth(length) {
            Some((end, _)) if dice.below(2) == 0 => format!("{}*", &party[..end]),
            _ => party,
        };
        query.parties.extend(text.parse());
    }
    query.trunk = (dice.below(4) == 0).then(|| (*dice.one(&["A", "orange  pl"])).into());
    query.agent = (dice.below(5) == 0).then(|| format!("Agent {}", dice.below(6)));
    query.tags = dice.some_of(&["VIP", "sale"], 6);
    query.class = (dice.below(4) == 0).then(|| dice.one(&["a", "calls-6m", "none"]).parse().unwrap());
    query.state =
        (dice.below(4) == 0).then(|| *dice.one(&[ReceiptState::Complete, ReceiptState::Unanswered]));
    let mut lengths = [0, 0].map(|_| dice.length());
    lengths.sort();
    query.length_min = (dice.below(5) == 0).then_some(lengths[0]);
    query.length_max = (dice.below(5) == 0).then_some(lengths[1]);
    query
}

fn fits(query: &Query, record: &Record, details: Option<&Details>) -> bool {
    let receipt = &record.receipt;
    let length = receipt.end.since(receipt.start);
    query.from.is_none_or(|from| receipt.start >= from)
        && query.to.is_none_or(|to| receipt.start < to)
        && query.class.as_ref().is_none_or(|class| record.class.as_ref() == Some(class))
        && query.state.is_none_or(|state| receipt.state == state)
        && query.length_min.is_none_or(|min| length >= min)
        && query.length_max.is_none_or(|max| length <= max)
        && (!query.needs_terms() || details.is_some_and(|details| query.matches(details)))
}

async fn all_pages(catalog: &Catalog, keys: &NamedKeys, query: &Query, limit: usize) -> Page {
    let grant = grant(Action::Search);
    let mut all = Page::default();
    loop {
        let page = catalog.search(&grant, query, keys, all.next.as_ref(), limit).await.unwrap();
        assert!(page.hits.len() <= limit);
        // It always goes on towards what is older.
        assert!(all.next.is_none() || page.next.is_none() || page.next < all.next);
        all.hits.extend(page.hits);
        all.unreadable.extend(page.unreadable);
        all.next = page.next;
        if all.next.is_none() {
            return all;
        }
    }
}

pub(super) async fn finds_what_a_naive_search_finds(at: String) {
    let mut dice = Dice(Seeded::new(&[4; 32], "search", 0));
    let (catalog, keys) = (Catalog::open(&at).await.unwrap(), NamedKeys::default());
    let mut all = records(&mut dice, 600);
    let new: Vec<NewRecord> = all
        .iter()
        .map(|(record, details)| NewRecord {
            indexed: details.as_ref().map(|details| keys.indexed(record, details)),
            record: record.clone(),
        })
        .collect();
    assert!(catalog.take_in(&new).await.unwrap().iter().all(|taken| *taken == Taken::New));
    all.sort_by_key(|(record, _)| std::cmp::Reverse((record.receipt.start, record.id)));
    let mut found = 0;
    for round in 0..200 {
        let query = query(&mut dice, &all);
        let expected: Vec<_> =
            all.iter().filter(|(record, details)| fits(&query, record, details.as_ref())).collect();
        let page = all_pages(&catalog, &keys, &query, 3 + dice.below(40) as usize).await;
        let hits: Vec<_> = page.hits.iter().map(|hit| hit.record.id).collect();
        let ids: Vec<_> = expected.iter().map(|(record, _)| record.id).collect();
        assert_eq!(hits, ids, "round {round}");
        for (hit, (record, details)) in page.hits.iter().zip(expected) {
            assert_eq!(hit.record, *record);
            assert!(hit.details == *details);
        }
        assert!(page.unreadable.is_empty());
        found += usize::from(!hits.is_empty());
    }
    // Most of the queries have something to find.
    assert!(found > 50, "{found}");
}

pub(super) async fn forgets_what_is_destroyed(at: String) {
    let (catalog, keys) = (Catalog::open(&at).await.unwrap(), NamedKeys::default());
    let details = Details { caller: "+48221234567".into(), ..Details::default() };
    let records: Vec<Record> = (1..=5).map(|number| record(number, number * 60)).collect();
    let new =
        |record: &Record| NewRecord { record: record.clone(), indexed: Some(keys.indexed(record, &details)) };
    catalog.take_in(&records.iter().map(new).collect::<Vec<_>>()).await.unwrap();
    let query = Query { parties: vec!["+4822*".parse().unwrap()], ..Query::default() };
    let found = async || {
        let page = all_pages(&catalog, &keys, &query, 2).await;
        (page.hits.iter().map(|hit| hit.record.receipt_index).collect::<Vec<_>>(), page.unreadable)
    };
    assert_eq!(found().await, (vec![5, 4, 3, 2, 1], vec![]));
    // The envelope first; the catalog is behind.
    keys.destroy(records[4].id);
    assert_eq!(found().await, (vec![4, 3, 2, 1], vec![]));
    catalog.set_destroyed(&[records[4].id]).await.unwrap();
    assert_eq!(found().await, (vec![4, 3, 2, 1], vec![]));
    // Somebody changes the catalog: said, not left out.
    sqlx::query("UPDATE details SET sealed = $1 WHERE id = $2")
        .bind(vec![0u8; 60])
        .bind(records[3].id.as_bytes().to_vec())
        .execute(catalog.pool())
        .await
        .unwrap();
    assert_eq!(found().await, (vec![3, 2, 1], vec![records[3].id]));
    let open = catalog.details(&grant(Action::Open), &keys, &records[3].id).await;
    assert!(matches!(open, Err(CatalogError::Damaged { .. })));
    assert!(catalog.details(&grant(Action::Open), &keys, &records[2].id).await.unwrap().unwrap() == details);
    assert!(catalog.details(&grant(Action::Open), &keys, &records[4].id).await.unwrap().is_none());
    // An epoch without its identity has nothing that can be found.
    keys.destroyed_epochs.lock().unwrap().insert(records[0].epoch().unwrap());
    assert_eq!(found().await, (vec![3], vec![]));
    let refused = catalog.search(&grant(Action::Lock), &query, &keys, None, 5).await.unwrap_err();
    assert!(matches!(refused, CatalogError::NotGranted { .. }), "{refused}");
}

/// Looking through more than one page may cost ends the page, and the next goes on.
pub(super) async fn reads_so_much_at_most(at: String) {
    let (catalog, keys) = (Catalog::open(&at).await.unwrap(), NamedKeys::default());
    let mut all: Vec<NewRecord> = Vec::new();
    for number in 1..=22_000 {
        let mut record = record(number, number);
        record.receipt.end = record.receipt.start.after(Duration::from_secs(60));
        record.receipt.state = ReceiptState::Complete;
        // One fits, and is the oldest.
        if number == 1 {
            record.receipt.end = record.receipt.start.after(Duration::from_secs(61));
        }
        record.files.clear();
        all.push(NewRecord { record, indexed: None });
    }
    for some in all.chunks(2_000) {
        catalog.take_in(some).await.unwrap();
    }
    let (min, max) = (Some(Duration::from_secs(61)), Some(Duration::from_secs(62)));
    let query = Query { length_min: min, length_max: max, ..Query::default() };
    let grant = grant(Action::Search);
    let first = catalog.search(&grant, &query, &keys, None, 10).await.unwrap();
    let next: Cursor = first.next.unwrap();
    assert!(first.hits.is_empty() && next.start > all[0].record.receipt.start);
    let (mut pages, mut found, mut next) = (1, Vec::new(), Some(next));
    while let Some(after) = next {
        let page = catalog.search(&grant, &query, &keys, Some(&after), 10).await.unwrap();
        pages += 1;
        next = page.next;
        found.extend(page.hits.iter().map(|hit| hit.record.id));
    }
    assert_eq!(found, [all[0].record.id]);
    // More of them where a slow machine takes its time.
    assert!((2..=25).contains(&pages), "{pages}");
}
