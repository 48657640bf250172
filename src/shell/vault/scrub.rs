//! Every byte of every copy, read within a period, without keys; what is wrong is mended from a good copy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::archive::access::{Action, Actor, Request};
use crate::archive::entry::{Outcome, Resource};
use crate::archive::record::{Record, RecordingId};
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::vault::copies::{Copier, CopyFault, REWRAPPED, Report};
use crate::shell::vault::place::{Found, Pace, Place};

/// What was read and found.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Scrubbed {
    /// Copies that were read.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that were not what they should be.
    pub wrong: Vec<Finding>,
    /// How many of these there were.
    pub wrong_count: u64,
    /// Copies and places that could not be read, with why: they are as they were last seen. The first few.
    pub unread: Vec<String>,
    /// How many of these there were.
    pub unread_count: u64,
    /// What came of the mending.
    pub mending: Report,
}

impl Scrubbed {
    fn unread(&mut self, what: String) {
        self.unread_count += 1;
        if self.unread.len() < FINDINGS_MAX {
            self.unread.push(what);
        }
    }
}

/// A copy that is not what it should be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Of which recording.
    pub id: RecordingId,
    /// Where.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// Where each place goes on: behind the last copy that was tried, by when it was read before.
pub type Cursors = BTreeMap<String, (Stamp, RecordingId)>;

/// Reads all copies that were not read since `before`, at most as fast as `pace` says, those first that were not
/// read for the longest time. Stopped, it goes on where it was: behind what cannot be read, which is asked for again
/// once all others were read.
pub async fn scrub(
    copier: &Copier<'_>,
    before: Stamp,
    pace: Pace,
    cursors: &mut Cursors,
    is_over: &(dyn Fn() -> bool + Sync),
) -> Result<Scrubbed, CopyFault> {
    // Later than now nothing was read yet, so it would never end.
    let before = before.min(clock::now());
    let mut scrubbed = Scrubbed::default();
    for place in &copier.places {
        let mut after = cursors.remove(place.name());
        let is_through =
            scrub_place(copier, &**place, (before, pace), &mut after, is_over, &mut scrubbed).await?;
        if let (false, Some(after)) = (is_through, after) {
            cursors.insert(place.name().into(), after);
        }
    }
    for (name, error) in &copier.absent {
        scrubbed.unread(format!("`{name}`: {error}"));
    }
    let actor = Actor::vault();
    let (action, resource, now) = (Action::Copy, Resource::Vault, clock::now());
    let grant = copier.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
    let said = serde_json::json!({ "scrub": &scrubbed });
    copier.log.outcome(&grant, Outcome::Done(said))?;
    Ok(scrubbed)
}

/// Whether it has come to its end.
async fn scrub_place(
    copier: &Copier<'_>,
    place: &dyn Place,
    (before, pace): (Stamp, Pace),
    after: &mut Option<(Stamp, RecordingId)>,
    is_over: &(dyn Fn() -> bool + Sync),
    scrubbed: &mut Scrubbed,
) -> Result<bool, CopyFault> {
    let (mut away, mut cleared) = (Away::default(), BTreeSet::new());
    loop {
        let due = copier.catalog.copies_to_read(place.name(), before, *after, BATCH).await?;
        let ids: Vec<RecordingId> = due.iter().map(|(_, id)| *id).collect();
        let records = copier.catalog.get_all(&ids).await?;
        let records: BTreeMap<RecordingId, Record> =
            records.into_iter().map(|record| (record.id, record)).collect();
        let mut wrong = Vec::new();
        for one in &due {
            if is_over() {
                break;
            }
            // What stays unread is not asked for again before all others.
            *after = Some(*one);
            let Some(record) = records.get(&one.1) else { continue };
            clear_up(place, record, &mut cleared).await;
            match read_copy(copier, record, place, before, pace, scrubbed).await? {
                Read::Good | Read::Changed => away.in_a_row = 0,
                // Not a word on this copy: the next run asks for it again.
                Read::Unread if away.is_so(place).await => return Ok(true),
                Read::Unread => {}
                Read::Wrong => {
                    away.in_a_row = 0;
                    // What it is to be mended from is looked at first.
                    read_others(copier, record, place, before, pace, scrubbed).await?;
                    wrong.push(record.id);
                }
            }
        }
        if !wrong.is_empty() {
            scrubbed.mending.add(copier.settle(&wrong, is_over).await?.0);
        }
        if is_over() {
            return Ok(false);
        }
        if due.is_empty() {
            return Ok(true);
        }
    }
}

/// Tells a place that cannot be asked from a few objects that it cannot give.
#[derive(Default)]
struct Away {
    in_a_row: u32,
    in_all: u32,
}

impl Away {
    /// Of one more that was not read: whether the others are not worth trying.
    async fn is_so(&mut self, place: &dyn Place) -> bool {
        self.in_a_row += 1;
        self.in_all += 1;
        self.in_all >= UNREAD_MAX
            || (self.in_a_row.is_multiple_of(UNREAD_IN_A_ROW) && place.list("", None, 1).await.is_err())
    }
}

/// Removes what puts that were cut off have left beside a recording; in each folder once.
async fn clear_up(place: &dyn Place, record: &Record, cleared: &mut BTreeSet<String>) {
    let slip = record.slip_object();
    let folder = slip.rsplit_once('/').map_or("", |(folder, _)| folder);
    if !folder.is_empty()
        && cleared.insert(folder.into())
        && let Err(error) = place.clear_up(folder, clock::now().before(CUT_OFF)).await
    {
        tracing::warn!(%error, "what puts that were cut off have left is not removed");
    }
}

/// The copies of one recording in other places, where they are due as well.
async fn read_others(
    copier: &Copier<'_>,
    record: &Record,
    but: &dyn Place,
    before: Stamp,
    pace: Pace,
    scrubbed: &mut Scrubbed,
) -> Result<(), CopyFault> {
    let known = copier.catalog.copies_of(&[record.id]).await?;
    for copy in known.values().flatten().filter(|copy| copy.place != but.name() && copy.checked < before) {
        if let Some(place) = copier.place(&copy.place) {
            read_copy(copier, record, &**place, before, pace, scrubbed).await?;
        }
    }
    Ok(())
}

enum Read {
    Good,
    Wrong,
    /// Put under another envelope, or destroyed, while it was read.
    Changed,
    Unread,
}

async fn read_copy(
    copier: &Copier<'_>,
    record: &Record,
    place: &dyn Place,
    before: Stamp,
    pace: Pace,
    scrubbed: &mut Scrubbed,
) -> Result<Read, CopyFault> {
    let Some(_turn) = copier.turn().await? else {
        scrubbed.unread(format!("`{}`: {}: {REWRAPPED}", place.name(), record.id));
        return Ok(Read::Changed);
    };
    let found = match copier.look(record, place, pace).await {
        Ok(found) => found,
        Err(error) => {
            scrubbed.unread(format!("`{}`: {}: {error}", place.name(), record.id));
            return Ok(Read::Unread);
        }
    };
    if found != Found::Good && !copier.is_current(record).await? {
        return Ok(Read::Changed);
    }
    // Not before, even if the clock goes back: else it would be read for ever.
    copier.note(record, place.name(), &found, clock::now().max(before)).await?;
    scrubbed.copies += 1;
    scrubbed.bytes += record.files.iter().map(|file| file.header_bytes + file.body_bytes).sum::<u64>();
    let what = match found {
        Found::Good => return Ok(Read::Good),
        Found::Missing => "it is not there".to_owned(),
        Found::Wrong(what) => what,
    };
    scrubbed.wrong_count += 1;
    if scrubbed.wrong.len() < FINDINGS_MAX {
        scrubbed.wrong.push(Finding { id: record.id, place: place.name().into(), what });
    }
    Ok(Read::Wrong)
}

const BATCH: u32 = 64;
const FINDINGS_MAX: usize = 100;
/// A put takes less.
const CUT_OFF: Duration = Duration::from_secs(24 * 3_600);
/// After so many, a place is asked whether it is there at all.
const UNREAD_IN_A_ROW: u32 = 3;
/// After so many it is of no use, whatever it says.
const UNREAD_MAX: u32 = 200;
