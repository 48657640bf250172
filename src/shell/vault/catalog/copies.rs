//! Copies: what was found in which place, and when; which recordings have too few.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::archive::copies::{CopyFacts, CopyState, PlaceFacts, Worm};
use crate::archive::record::RecordingId;
use crate::base::time::Stamp;
use crate::shell::vault::catalog::schema::Migration;
use crate::shell::vault::catalog::{
    Catalog, CatalogError, id_at, number_at, placeholders, signed, statement,
};

/// How a recording stands with what its class asks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    /// Something has changed, and nobody has looked since.
    Due,
    /// Something is missing that we cannot do: a medium to write, a place to add.
    Short,
    /// All is there. Its recorder may free its own.
    Met,
}

/// A copy that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Of which recording.
    pub id: RecordingId,
    /// In which place.
    pub place: String,
    /// What was found.
    pub state: CopyState,
    /// When.
    pub at: Stamp,
}

/// What is known of the copies in a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlaceCounts {
    /// The place.
    pub place: String,
    /// As they were found.
    pub state: CopyState,
    /// How many.
    pub count: u64,
    /// When the one was looked at that was not looked at for the longest time.
    pub oldest: Stamp,
}

impl Standing {
    /// The name that the catalog uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Short => "short",
            Self::Met => "met",
        }
    }
}

impl Catalog {
    /// Says that there is a place: configured, or a medium. What the self-test said of it stays.
    pub async fn set_place(&self, name: &str, site: &str, offline: bool) -> Result<(), CatalogError> {
        // Where another process takes the same number, nothing is added: the second time it is there.
        for _ in 0..2 {
            sqlx::query(
                "INSERT INTO places (no, name, site, offline, worm, worm_fault, worm_ns)
                 SELECT COALESCE(MAX(no), 0) + 1, $1, $2, $3, 'untested', '', 0 FROM places WHERE TRUE
                 ON CONFLICT DO NOTHING",
            )
            .bind(name.to_owned())
            .bind(site.to_owned())
            .bind(i64::from(offline))
            .execute(self.pool())
            .await
            .map_err(self.fault("adding a place"))?;
        }
        sqlx::query("UPDATE places SET site = $1, offline = $2 WHERE name = $3")
            .bind(site.to_owned())
            .bind(i64::from(offline))
            .bind(name.to_owned())
            .execute(self.pool())
            .await
            .map_err(self.fault("changing a place"))?;
        Ok(())
    }

    /// What the self-test said of a place.
    pub async fn set_worm(&self, name: &str, worm: &Worm, at: Stamp) -> Result<(), CatalogError> {
        let (state, fault) = match worm {
            Worm::Untested => ("untested", ""),
            Worm::Passed => ("passed", ""),
            Worm::Failed(fault) => ("failed", fault.as_str()),
        };
        sqlx::query("UPDATE places SET worm = $1, worm_fault = $2, worm_ns = $3 WHERE name = $4")
            .bind(state.to_owned())
            .bind(fault.to_owned())
            .bind(signed(at.as_unix_nanos()))
            .bind(name.to_owned())
            .execute(self.pool())
            .await
            .map_err(self.fault("writing down a self-test"))?;
        Ok(())
    }

    /// Places that were ever said to be; none of them takes anything as far as the catalog knows.
    pub async fn places(&self) -> Result<Vec<PlaceFacts>, CatalogError> {
        let fault = self.fault("listing places");
        let rows =
            sqlx::query("SELECT name, site, offline, worm, worm_fault, worm_ns FROM places ORDER BY no")
                .fetch_all(self.pool())
                .await
                .map_err(fault.clone())?;
        let read = |row: &AnyRow| {
            let worm: String = row.try_get(3)?;
            let worm = match worm.as_str() {
                "passed" => Worm::Passed,
                "failed" => Worm::Failed(row.try_get(4)?),
                _ => Worm::Untested,
            };
            let tested = number_at(row, 5)?;
            Ok(PlaceFacts {
                name: row.try_get(0)?,
                site: row.try_get(1)?,
                offline: row.try_get::<i64, _>(2)? != 0,
                takes: false,
                worm,
                worm_tested: (tested > 0).then(|| Stamp::from_unix_nanos(tested)),
            })
        };
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Writes down what was found in places that are known; all or nothing. How the recordings stand is due to be
    /// looked at where it may have changed: of how many copies that was.
    pub async fn set_copies(&self, seen: &[Seen]) -> Result<u64, CatalogError> {
        let doing = "writing down copies";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        let mut changed = 0;
        for seen in seen {
            let id = seen.id.as_bytes().to_vec();
            let known = sqlx::query(
                "SELECT c.state FROM copies c JOIN places p ON p.no = c.place WHERE c.id = $1 AND p.name = $2",
            )
            .bind(id.clone())
            .bind(seen.place.clone())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(fault.clone())?;
            let known: Option<String> = known.map(|row| row.try_get(0)).transpose().map_err(fault.clone())?;
            sqlx::query(
                "INSERT INTO copies (id, place, state, checked_ns)
                 SELECT $1, no, $2, $3 FROM places WHERE name = $4
                 ON CONFLICT (id, place) DO UPDATE SET state = EXCLUDED.state, checked_ns = EXCLUDED.checked_ns",
            )
            .bind(id.clone())
            .bind(seen.state.as_str().to_owned())
            .bind(signed(seen.at.as_unix_nanos()))
            .bind(seen.place.clone())
            .execute(&mut *transaction)
            .await
            .map_err(fault.clone())?;
            if known.as_deref() != Some(seen.state.as_str()) {
                changed += 1;
                due(&mut transaction, &seen.id).await.map_err(fault.clone())?;
            }
        }
        self.commit(doing, transaction).await?;
        Ok(changed)
    }

    /// How often something of these has changed: to be asked before one looks, for [`Catalog::set_standing`].
    pub async fn changes(&self, ids: &[RecordingId]) -> Result<BTreeMap<RecordingId, u64>, CatalogError> {
        let fault = self.fault("asking what has changed");
        let mut changes = BTreeMap::new();
        for ids in ids.chunks(ROWS_MAX) {
            let sql = format!(
                "SELECT id, copies_changes FROM recordings WHERE id IN ({})",
                placeholders(ids.len(), 1)
            );
            let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
            for row in query.fetch_all(self.pool()).await.map_err(fault.clone())? {
                let read = || Ok((id_at(&row, 0)?, number_at(&row, 1)?));
                let (id, count) = read().map_err(fault.clone())?;
                changes.insert(id, count);
            }
        }
        Ok(changes)
    }

    /// Forgets all copies in a place: of a medium that was destroyed, or a place that is no more.
    pub async fn forget_place(&self, name: &str) -> Result<(), CatalogError> {
        let doing = "forgetting a place";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for sql in [
            "UPDATE recordings SET copies = 'due', copies_changes = copies_changes + 1 WHERE id IN
             (SELECT c.id FROM copies c JOIN places p ON p.no = c.place WHERE p.name = $1)",
            "DELETE FROM copies WHERE place = (SELECT no FROM places WHERE name = $1)",
            "DELETE FROM places WHERE name = $1",
        ] {
            sqlx::query(sql).bind(name.to_owned()).execute(&mut *transaction).await.map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await
    }

    /// Copies of recordings.
    pub async fn copies_of(
        &self,
        ids: &[RecordingId],
    ) -> Result<BTreeMap<RecordingId, Vec<CopyFacts>>, CatalogError> {
        let fault = self.fault("listing copies");
        let mut copies: BTreeMap<RecordingId, Vec<CopyFacts>> = BTreeMap::new();
        for ids in ids.chunks(ROWS_MAX) {
            let sql = format!(
                "SELECT c.id, p.name, c.state, c.checked_ns FROM copies c JOIN places p ON p.no = c.place
                 WHERE c.id IN ({}) ORDER BY c.id, c.place",
                placeholders(ids.len(), 1)
            );
            let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
            for row in query.fetch_all(self.pool()).await.map_err(fault.clone())? {
                let read = |row: &AnyRow| {
                    let state: String = row.try_get(2)?;
                    let state = CopyState::from_name(&state)
                        .ok_or_else(|| sqlx::Error::Decode(format!("`{state}` is no state").into()))?;
                    let checked = Stamp::from_unix_nanos(number_at(row, 3)?);
                    Ok((id_at(row, 0)?, CopyFacts { place: row.try_get(1)?, state, checked }))
                };
                let (id, copy) = read(&row).map_err(fault.clone())?;
                copies.entry(id).or_default().push(copy);
            }
        }
        Ok(copies)
    }

    /// Archived recordings whose copies are to be looked at, oldest first; those after `after`, where that is said.
    pub async fn copies_due(
        &self,
        after: Option<(Stamp, RecordingId)>,
        limit: u32,
    ) -> Result<Vec<(Stamp, RecordingId)>, CatalogError> {
        let fault = self.fault("listing copies that are due");
        let (start, id) = after.unwrap_or((Stamp::ZERO, RecordingId::from_bytes([0; 16])));
        let sql = format!(
            "SELECT start_ns, id FROM recordings
             WHERE copies = 'due' AND phase = 'archived' AND (start_ns, id) > ($1, $2)
             ORDER BY start_ns, id LIMIT {limit}"
        );
        let query = statement(sql).bind(signed(start.as_unix_nanos())).bind(id.as_bytes().to_vec());
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| Ok((Stamp::from_unix_nanos(number_at(row, 0)?), id_at(row, 1)?));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Archived recordings of which no good copy is known, neither in a place nor on a medium: the first of them.
    pub async fn copies_lost(&self, limit: usize) -> Result<Vec<RecordingId>, CatalogError> {
        let (mut after, mut lost) = (None, Vec::new());
        loop {
            // Those that media keep may be as many as there are.
            let some = self.in_no_place(after, limit).await?;
            after = some.last().copied();
            let is_last = some.len() < limit;
            let ids: Vec<RecordingId> = some.into_iter().map(|(_, id)| id).collect();
            let on_media = self.offline_copies(&ids).await?;
            let kept: BTreeSet<_> =
                on_media.iter().filter(|(_, medium)| medium.is_whole).map(|(id, _)| *id).collect();
            lost.extend(ids.into_iter().filter(|id| !kept.contains(id)));
            if is_last || lost.len() >= limit {
                lost.truncate(limit);
                return Ok(lost);
            }
        }
    }

    /// Archived recordings of which there is no good copy in any place, oldest first.
    async fn in_no_place(
        &self,
        after: Option<(Stamp, RecordingId)>,
        limit: usize,
    ) -> Result<Vec<(Stamp, RecordingId)>, CatalogError> {
        let fault = self.fault("looking for recordings without a good copy");
        let (start, id) = after.unwrap_or((Stamp::ZERO, RecordingId::from_bytes([0; 16])));
        let sql = format!(
            "SELECT r.start_ns, r.id FROM recordings r
             WHERE r.copies = 'short' AND r.phase = 'archived' AND (r.start_ns, r.id) > ($1, $2)
             AND NOT EXISTS (SELECT 1 FROM copies c WHERE c.id = r.id AND c.state = 'good')
             ORDER BY r.start_ns, r.id LIMIT {limit}"
        );
        let query = statement(sql).bind(signed(start.as_unix_nanos())).bind(id.as_bytes().to_vec());
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| Ok((Stamp::from_unix_nanos(number_at(row, 0)?), id_at(row, 1)?));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Has all recordings looked at again: when places or classes were changed. Which have all they need is looked
    /// at too where `also_met`.
    pub async fn copies_all_due(&self, also_met: bool) -> Result<(), CatalogError> {
        // Those that are due already are being looked at, perhaps, as things were.
        let sql = if also_met {
            "UPDATE recordings SET copies = 'due', copies_changes = copies_changes + 1"
        } else {
            "UPDATE recordings SET copies = 'due', copies_changes = copies_changes + 1 WHERE copies <> 'met'"
        };
        sqlx::query(sql).execute(self.pool()).await.map_err(self.fault("having copies looked at"))?;
        Ok(())
    }

    /// Says how recordings stand, after a look at them, and how often something of them had changed before it: what
    /// has changed since is due.
    pub async fn set_standing(&self, standing: &[(RecordingId, Standing, u64)]) -> Result<(), CatalogError> {
        let doing = "writing down how recordings stand";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for (id, standing, changes) in standing {
            sqlx::query("UPDATE recordings SET copies = $1 WHERE id = $2 AND copies_changes = $3")
                .bind(standing.as_str().to_owned())
                .bind(id.as_bytes().to_vec())
                .bind(signed(*changes))
                .execute(&mut *transaction)
                .await
                .map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await
    }

    /// Which of these have all copies that their classes ask for: their recorders may free their own.
    pub async fn copies_met(&self, ids: &[RecordingId]) -> Result<Vec<RecordingId>, CatalogError> {
        let fault = self.fault("asking for copies");
        let mut met = Vec::new();
        for ids in ids.chunks(ROWS_MAX) {
            let sql = format!(
                "SELECT id FROM recordings WHERE copies = 'met' AND phase = 'archived' AND id IN ({}) ORDER BY id",
                placeholders(ids.len(), 1)
            );
            let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
            let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
            let read: Result<Vec<_>, _> = rows.iter().map(|row| id_at(row, 0)).collect();
            met.extend(read.map_err(fault.clone())?);
        }
        Ok(met)
    }

    /// Copies in a place that were not read since `before`, the longest ago first; those after `after`, where that
    /// is said.
    pub async fn copies_to_read(
        &self,
        place: &str,
        before: Stamp,
        after: Option<(Stamp, RecordingId)>,
        limit: u32,
    ) -> Result<Vec<(Stamp, RecordingId)>, CatalogError> {
        let fault = self.fault("listing copies to read");
        let (checked, id) = after.unwrap_or((Stamp::ZERO, RecordingId::from_bytes([0; 16])));
        let sql = format!(
            "SELECT c.checked_ns, c.id FROM copies c JOIN recordings r ON r.id = c.id
             WHERE c.place = (SELECT no FROM places WHERE name = $1) AND c.checked_ns < $2
             AND (c.checked_ns, c.id) > ($3, $4) AND r.phase = 'archived'
             ORDER BY c.checked_ns, c.id LIMIT {limit}"
        );
        let query = statement(sql)
            .bind(place.to_owned())
            .bind(signed(before.as_unix_nanos()))
            .bind(signed(checked.as_unix_nanos()))
            .bind(id.as_bytes().to_vec());
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| Ok((Stamp::from_unix_nanos(number_at(row, 0)?), id_at(row, 1)?));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Good copies in a place, from an id on, and from the first on where there are too few after it: for samples.
    pub async fn copies_near(
        &self,
        place: &str,
        from: &RecordingId,
        limit: u32,
    ) -> Result<Vec<RecordingId>, CatalogError> {
        let fault = self.fault("taking a sample of copies");
        let mut found = Vec::new();
        for (compare, is_enough) in [(">=", false), ("<", true)] {
            let sql = format!(
                "SELECT c.id FROM copies c JOIN recordings r ON r.id = c.id
                 WHERE c.place = (SELECT no FROM places WHERE name = $1) AND c.state = 'good'
                 AND r.phase = 'archived' AND c.id {compare} $2 ORDER BY c.id LIMIT {limit}"
            );
            let query = statement(sql).bind(place.to_owned()).bind(from.as_bytes().to_vec());
            let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
            let read: Result<Vec<_>, _> = rows.iter().map(|row| id_at(row, 0)).collect();
            found.extend(read.map_err(fault.clone())?);
            if is_enough || found.len() >= limit as usize {
                break;
            }
        }
        found.truncate(limit as usize);
        Ok(found)
    }

    /// The first and last archived recording by id, where there is one.
    pub async fn id_range(&self) -> Result<Option<(RecordingId, RecordingId)>, CatalogError> {
        let fault = self.fault("looking for the first and last recording");
        let mut ends = Vec::new();
        for order in ["ASC", "DESC"] {
            let sql =
                format!("SELECT id FROM recordings WHERE phase = 'archived' ORDER BY id {order} LIMIT 1");
            let row = statement(sql).fetch_optional(self.pool()).await.map_err(fault.clone())?;
            ends.extend(row.map(|row| id_at(&row, 0)).transpose().map_err(fault.clone())?);
        }
        Ok(if let [first, last] = ends[..] { Some((first, last)) } else { None })
    }

    /// How many archived recordings stand how.
    pub async fn standing_counts(&self) -> Result<BTreeMap<Standing, u64>, CatalogError> {
        let fault = self.fault("counting recordings");
        let rows = sqlx::query(
            "SELECT copies, COUNT(*) FROM recordings WHERE phase = 'archived' GROUP BY copies ORDER BY copies",
        )
        .fetch_all(self.pool())
        .await
        .map_err(fault.clone())?;
        let all = [Standing::Due, Standing::Short, Standing::Met];
        let read = |row: &AnyRow| {
            let name: String = row.try_get(0)?;
            let standing = all.into_iter().find(|standing| standing.as_str() == name);
            let standing =
                standing.ok_or_else(|| sqlx::Error::Decode(format!("`{name}` is no standing").into()))?;
            Ok((standing, number_at(row, 1)?))
        };
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// How many copies there are in each place, as they were found.
    pub async fn copy_counts(&self) -> Result<Vec<PlaceCounts>, CatalogError> {
        let fault = self.fault("counting copies");
        let rows = sqlx::query(
            "SELECT p.name, c.state, COUNT(*), MIN(c.checked_ns) FROM copies c JOIN places p ON p.no = c.place
             JOIN recordings r ON r.id = c.id WHERE r.phase = 'archived'
             GROUP BY p.name, c.state ORDER BY p.name, c.state",
        )
        .fetch_all(self.pool())
        .await
        .map_err(fault.clone())?;
        let read = |row: &AnyRow| {
            let state: String = row.try_get(1)?;
            let state = CopyState::from_name(&state)
                .ok_or_else(|| sqlx::Error::Decode(format!("`{state}` is no state").into()))?;
            let oldest = Stamp::from_unix_nanos(number_at(row, 3)?);
            Ok(PlaceCounts { place: row.try_get(0)?, state, count: number_at(row, 2)?, oldest })
        };
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }
}

/// Has a recording's copies looked at.
pub(super) async fn due(connection: &mut AnyConnection, id: &RecordingId) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE recordings SET copies = 'due', copies_changes = copies_changes + 1 WHERE id = $1")
        .bind(id.as_bytes().to_vec())
        .execute(connection)
        .await
        .map(drop)
}

const ROWS_MAX: usize = 256;

/// What comes while somebody looks must not be lost.
pub(super) const CHANGES: Migration = Migration {
    name: "copies changes",
    sql: &["ALTER TABLE recordings ADD COLUMN copies_changes BIGINT NOT NULL DEFAULT 0"],
};

/// How a recording stands is with the recording: what is due is found without going through all of them.
pub(super) const TABLES: Migration = Migration {
    name: "copies 1",
    sql: &[
        "CREATE TABLE places (
            no BIGINT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            site TEXT NOT NULL,
            offline BIGINT NOT NULL,
            worm TEXT NOT NULL,
            worm_fault TEXT NOT NULL,
            worm_ns BIGINT NOT NULL)",
        "CREATE TABLE copies (
            id BYTEA NOT NULL REFERENCES recordings (id),
            place BIGINT NOT NULL REFERENCES places (no),
            state TEXT NOT NULL,
            checked_ns BIGINT NOT NULL,
            PRIMARY KEY (id, place)) CLUSTERED",
        "CREATE INDEX copies_by_check ON copies (place, checked_ns, id)",
        "ALTER TABLE recordings ADD COLUMN copies TEXT NOT NULL DEFAULT 'due'",
        "CREATE INDEX recordings_unmet ON recordings (copies, start_ns, id) WHERE copies <> 'met'",
    ],
};
