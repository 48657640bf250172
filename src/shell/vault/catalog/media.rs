//! Media that were written, what is on them, and who had them when: the register and its custody log.
//!
//! The vault's log has the same entries, signed; this is to look things up in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::archive::media::{Kept, Medium};
use crate::archive::record::{ArchivedFile, Digest, Record, RecordingId};
use crate::base::time::Stamp;
use crate::shell::vault::catalog::schema::Migration;
use crate::shell::vault::catalog::{
    Catalog, CatalogError, id_at, number_at, placeholders, signed, statement, values,
};

/// A medium in the register.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct MediumRow {
    /// Its number.
    pub id: String,
    /// What is written on it.
    pub label: String,
    /// When it was written.
    pub written: Stamp,
    /// When it was last checked.
    pub checked: Stamp,
    /// Whether it was whole then.
    pub is_whole: bool,
    /// Recordings on it.
    pub recordings: u64,
    /// Those of them that were destroyed.
    pub destroyed: u64,
    /// Whether somebody has taken it out.
    pub is_out: bool,
    /// Number of the seal on it; empty where it has none.
    pub seal: String,
    /// Where it lies, or who has it.
    pub place: String,
}

impl MediumRow {
    /// For what is due.
    pub fn kept(&self) -> Kept {
        let Self { id, checked, is_whole, recordings, destroyed, .. } = self.clone();
        Kept { id, checked, is_whole, recordings, destroyed }
    }
}

/// All that the register has of a medium, as it is in the tables.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Registered {
    label: String,
    written: u64,
    checked: u64,
    whole: i64,
    state: String,
    seal: String,
    place: String,
    recordings: Vec<OnIt>,
    moves: Vec<Move>,
}

/// What happened to a medium.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Move {
    /// When.
    pub at: Stamp,
    /// `written`, `check-out`, `check-in`, `verified`, `damaged`, `destroyed`.
    pub what: String,
    /// Who.
    pub who: String,
    /// Seal number.
    pub seal: String,
    /// Where it is then.
    pub place: String,
    /// Why.
    pub reason: String,
    /// Number of the entry in the vault's log.
    pub entry: u64,
}

impl Catalog {
    /// Adds a medium that is complete, with its first entry of custody. `records` are its recordings as they were when
    /// they were written.
    pub async fn add_medium(
        &self,
        medium: &Medium,
        records: &[Record],
        written: &Move,
    ) -> Result<(), CatalogError> {
        let doing = "registering a medium";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        sqlx::query(
            "INSERT INTO media (id, label, written_ns, checked_ns, whole, state, seal, place)
             VALUES ($1, $2, $3, $3, 1, 'in', $4, $5)",
        )
        .bind(medium.id.clone())
        .bind(medium.label.clone())
        .bind(signed(medium.written.as_unix_nanos()))
        .bind(written.seal.clone())
        .bind(written.place.clone())
        .execute(&mut *transaction)
        .await
        .map_err(fault.clone())?;
        let headers: BTreeMap<_, _> =
            records.iter().map(|record| (record.id, headers_of(&record.files))).collect();
        let on_it = medium.recordings.iter().map(|id| (*id, headers.get(id).map(|digest| digest.0.to_vec())));
        insert_on_it(&mut transaction, &medium.id, &on_it.collect::<Vec<_>>())
            .await
            .map_err(fault.clone())?;
        add_move(&mut transaction, &medium.id, written).await.map_err(fault)?;
        self.commit(doing, transaction).await
    }

    /// Says what happened to a medium. Whether there is one of that number.
    pub async fn move_medium(&self, id: &str, moved: &Move) -> Result<bool, CatalogError> {
        let doing = "writing who has a medium";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        let sql = match moved.what.as_str() {
            "check-out" => "UPDATE media SET state = 'out', seal = $1, place = $2 WHERE id = $3",
            "check-in" => "UPDATE media SET state = 'in', seal = $1, place = $2 WHERE id = $3",
            "destroyed" => "UPDATE media SET state = 'destroyed', seal = $1, place = $2 WHERE id = $3",
            "verified" => "UPDATE media SET whole = 1, checked_ns = $4 WHERE id = $3 AND $1 = $1 AND $2 = $2",
            _ => "UPDATE media SET whole = 0, checked_ns = $4 WHERE id = $3 AND $1 = $1 AND $2 = $2",
        };
        let mut query =
            sqlx::query(sql).bind(moved.seal.clone()).bind(moved.place.clone()).bind(id.to_owned());
        if sql.contains("$4") {
            query = query.bind(signed(moved.at.as_unix_nanos()));
        }
        let done = query.execute(&mut *transaction).await.map_err(fault.clone())?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        add_move(&mut transaction, id, moved).await.map_err(fault)?;
        self.commit(doing, transaction).await?;
        Ok(true)
    }

    /// All media that are not destroyed, oldest first; or the one of that number.
    pub async fn media(&self, id: Option<&str>) -> Result<Vec<MediumRow>, CatalogError> {
        let fault = self.fault("listing media");
        let wanted = if id.is_some() { "m.id = $1" } else { "m.state <> 'destroyed'" };
        let sql = format!(
            "SELECT m.id, m.label, m.written_ns, m.checked_ns, m.whole, m.state, m.seal, m.place,
             (SELECT COUNT(*) FROM media_recordings o WHERE o.medium = m.id),
             (SELECT COUNT(*) FROM media_recordings o JOIN recordings r ON r.id = o.id
              WHERE o.medium = m.id AND r.phase = 'destroyed')
             FROM media m WHERE {wanted} ORDER BY m.written_ns, m.id"
        );
        let query = statement(sql);
        let query = if let Some(id) = id { query.bind(id.to_owned()) } else { query };
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        rows.iter().map(medium_at).collect::<Result<_, _>>().map_err(fault)
    }

    /// What happened to a medium, oldest first.
    pub async fn medium_moves(&self, id: &str) -> Result<Vec<Move>, CatalogError> {
        let fault = self.fault("reading who had a medium");
        let rows = sqlx::query(
            "SELECT at_ns, what, who, seal, place, reason, entry FROM media_moves WHERE medium = $1 ORDER BY entry",
        )
        .bind(id.to_owned())
        .fetch_all(self.pool())
        .await
        .map_err(fault.clone())?;
        let read = |row: &AnyRow| -> Result<Move, sqlx::Error> {
            Ok(Move {
                at: Stamp::from_unix_nanos(number_at(row, 0)?),
                what: row.try_get(1)?,
                who: row.try_get(2)?,
                seal: row.try_get(3)?,
                place: row.try_get(4)?,
                reason: row.try_get(5)?,
                entry: number_at(row, 6)?,
            })
        };
        rows.iter().map(read).collect::<Result<_, _>>().map_err(fault)
    }

    /// Takes the register of another catalog over, in the place of what is here: media, what is on them, and who had
    /// them when.
    pub async fn copy_register(&self, from: &Self) -> Result<(), CatalogError> {
        let doing = "taking over the register of media";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for sql in ["DELETE FROM media_moves", "DELETE FROM media_recordings", "DELETE FROM media"] {
            sqlx::query(sql).execute(&mut *transaction).await.map_err(fault.clone())?;
        }
        for id in from.registered_ids().await? {
            let Some(medium) = from.registered(&id).await? else { continue };
            insert_registered(&mut transaction, &id, &medium).await.map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await
    }

    /// What differs from the register of another catalog, a line for each medium.
    pub async fn register_differences(&self, other: &Self) -> Result<Vec<String>, CatalogError> {
        let mut ids = self.registered_ids().await?;
        ids.extend(other.registered_ids().await?);
        ids.sort();
        ids.dedup();
        let mut found = Vec::new();
        for id in ids {
            match (self.registered(&id).await?, other.registered(&id).await?) {
                (Some(one), Some(two)) if one == two => {}
                (Some(_), None) => found.push(format!("medium {id}: only in `{}`", self.name())),
                (None, Some(_)) => found.push(format!("medium {id}: only in `{}`", other.name())),
                _ => found.push(format!("medium {id}: what is on it, or who had it, is not the same")),
            }
        }
        Ok(found)
    }

    /// All media that ever were.
    async fn registered_ids(&self) -> Result<Vec<String>, CatalogError> {
        let fault = self.fault("listing media");
        let rows = sqlx::query("SELECT id FROM media ORDER BY id").fetch_all(self.pool()).await;
        rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect()).map_err(fault)
    }

    async fn registered(&self, id: &str) -> Result<Option<Registered>, CatalogError> {
        let fault = self.fault("reading the register of media");
        let sql = "SELECT label, written_ns, checked_ns, whole, state, seal, place FROM media WHERE id = $1";
        let row = sqlx::query(sql).bind(id.to_owned()).fetch_optional(self.pool()).await;
        let Some(row) = row.map_err(fault.clone())? else { return Ok(None) };
        let on_it = sqlx::query("SELECT id, headers FROM media_recordings WHERE medium = $1 ORDER BY id");
        let on_it = on_it.bind(id.to_owned()).fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = || -> Result<Registered, sqlx::Error> {
            Ok(Registered {
                label: row.try_get(0)?,
                written: number_at(&row, 1)?,
                checked: number_at(&row, 2)?,
                whole: row.try_get(3)?,
                state: row.try_get(4)?,
                seal: row.try_get(5)?,
                place: row.try_get(6)?,
                recordings: on_it.iter().map(on_it_at).collect::<Result<_, _>>()?,
                moves: Vec::new(),
            })
        };
        let registered = read().map_err(fault)?;
        Ok(Some(Registered { moves: self.medium_moves(id).await?, ..registered }))
    }

    /// Offline copies of recordings: on which medium, when it was last checked, and whether it was whole then and has
    /// the headers of now: with those of before, it opens no more. Media that were destroyed are none.
    pub async fn offline_copies(
        &self,
        ids: &[RecordingId],
    ) -> Result<Vec<(RecordingId, MediumRow)>, CatalogError> {
        let fault = self.fault("looking for recordings on media");
        let (mut copies, media) = (Vec::new(), self.media(None).await?);
        for ids in ids.chunks(ROWS_MAX) {
            let sql = format!(
                "SELECT id, medium, headers FROM media_recordings WHERE id IN ({}) ORDER BY id, medium",
                placeholders(ids.len(), 1)
            );
            let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
            let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
            let files = if rows.is_empty() {
                BTreeMap::new()
            } else {
                self.files_of(ids).await.map_err(fault.clone())?
            };
            for row in rows {
                let read = || Ok((id_at(&row, 0)?, row.try_get::<String, _>(1)?, row.try_get(2)?));
                let (id, name, headers): (_, _, Option<Vec<u8>>) = read().map_err(fault.clone())?;
                let Some(medium) = media.iter().find(|medium| medium.id == name) else { continue };
                let now = files.get(&id).map(|files| headers_of(files).0.to_vec());
                let is_whole = medium.is_whole && (headers.is_none() || headers == now);
                copies.push((id, MediumRow { is_whole, ..medium.clone() }));
            }
        }
        Ok(copies)
    }

    /// Media that have one of these recordings, but for those that were destroyed.
    pub async fn media_with(&self, ids: &[RecordingId]) -> Result<BTreeSet<String>, CatalogError> {
        let fault = self.fault("looking for media");
        let mut media = BTreeSet::new();
        for ids in ids.chunks(ROWS_MAX) {
            let sql = format!(
                "SELECT DISTINCT m.id FROM media_recordings o JOIN media m ON m.id = o.medium
                 WHERE m.state <> 'destroyed' AND o.id IN ({})",
                placeholders(ids.len(), 1)
            );
            let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
            let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
            let names: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
            media.extend(names.map_err(fault.clone())?);
        }
        Ok(media)
    }
}

/// A recording on a medium, and the digest of the headers that it has there.
type OnIt = (RecordingId, Option<Vec<u8>>);

async fn insert_registered(
    connection: &mut sqlx::AnyConnection,
    id: &str,
    medium: &Registered,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO media (id, label, written_ns, checked_ns, whole, state, seal, place)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id.to_owned())
    .bind(medium.label.clone())
    .bind(signed(medium.written))
    .bind(signed(medium.checked))
    .bind(medium.whole)
    .bind(medium.state.clone())
    .bind(medium.seal.clone())
    .bind(medium.place.clone())
    .execute(&mut *connection)
    .await?;
    insert_on_it(connection, id, &medium.recordings).await?;
    for moved in &medium.moves {
        insert_move(connection, id, moved).await?;
    }
    Ok(())
}

/// Recordings on a medium, each with the digest of the headers it has there.
async fn insert_on_it(
    connection: &mut sqlx::AnyConnection,
    medium: &str,
    recordings: &[OnIt],
) -> Result<(), sqlx::Error> {
    for some in recordings.chunks(ROWS_MAX) {
        let sql =
            format!("INSERT INTO media_recordings (id, medium, headers) VALUES {}", values(some.len(), 3, 1));
        let bind = |query: sqlx::query::Query<'static, sqlx::Any, _>, (id, headers): &OnIt| {
            query.bind(id.as_bytes().to_vec()).bind(medium.to_owned()).bind(headers.clone())
        };
        some.iter().fold(statement(sql), bind).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn add_move(connection: &mut sqlx::AnyConnection, id: &str, moved: &Move) -> Result<(), sqlx::Error> {
    insert_move(connection, id, moved).await?;
    // They have an offline copy more, or less.
    sqlx::query(
        "UPDATE recordings SET copies = 'due', copies_changes = copies_changes + 1
         WHERE id IN (SELECT id FROM media_recordings WHERE medium = $1)",
    )
    .bind(id.to_owned())
    .execute(&mut *connection)
    .await
    .map(drop)
}

async fn insert_move(
    connection: &mut sqlx::AnyConnection,
    id: &str,
    moved: &Move,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO media_moves (medium, entry, at_ns, what, who, seal, place, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id.to_owned())
    .bind(signed(moved.entry))
    .bind(signed(moved.at.as_unix_nanos()))
    .bind(moved.what.clone())
    .bind(moved.who.clone())
    .bind(moved.seal.clone())
    .bind(moved.place.clone())
    .bind(moved.reason.clone())
    .execute(&mut *connection)
    .await
    .map(drop)
}

fn on_it_at(row: &AnyRow) -> Result<OnIt, sqlx::Error> {
    Ok((id_at(row, 0)?, row.try_get(1)?))
}

fn medium_at(row: &AnyRow) -> Result<MediumRow, sqlx::Error> {
    let (whole, state): (i64, String) = (row.try_get(4)?, row.try_get(5)?);
    Ok(MediumRow {
        id: row.try_get(0)?,
        label: row.try_get(1)?,
        written: Stamp::from_unix_nanos(number_at(row, 2)?),
        checked: Stamp::from_unix_nanos(number_at(row, 3)?),
        is_whole: whole == 1,
        is_out: state == "out",
        seal: row.try_get(6)?,
        place: row.try_get(7)?,
        recordings: number_at(row, 8)?,
        destroyed: number_at(row, 9)?,
    })
}

/// Of all headers of a recording together.
fn headers_of(files: &[ArchivedFile]) -> Digest {
    Digest::of(&files.iter().flat_map(|file| file.header_sha256.0).collect::<Vec<u8>>())
}

const ROWS_MAX: usize = 256;

/// Which headers were written; none of what was written before it was asked.
pub(super) const HEADERS: Migration =
    Migration { name: "media headers", sql: &["ALTER TABLE media_recordings ADD COLUMN headers BYTEA"] };

/// No word of who spoke. Media outlive the rows of recordings, so nothing refers to those.
pub(super) const TABLES: Migration = Migration {
    name: "media 1",
    sql: &[
        "CREATE TABLE media (
            id TEXT PRIMARY KEY,
            label TEXT NOT NULL,
            written_ns BIGINT NOT NULL,
            checked_ns BIGINT NOT NULL,
            whole BIGINT NOT NULL,
            state TEXT NOT NULL,
            seal TEXT NOT NULL,
            place TEXT NOT NULL)",
        "CREATE TABLE media_recordings (
            id BYTEA NOT NULL,
            medium TEXT NOT NULL REFERENCES media (id),
            PRIMARY KEY (id, medium)) CLUSTERED",
        "CREATE INDEX media_recordings_by_medium ON media_recordings (medium)",
        "CREATE TABLE media_moves (
            medium TEXT NOT NULL REFERENCES media (id),
            entry BIGINT NOT NULL,
            at_ns BIGINT NOT NULL,
            what TEXT NOT NULL,
            who TEXT NOT NULL,
            seal TEXT NOT NULL,
            place TEXT NOT NULL,
            reason TEXT NOT NULL,
            PRIMARY KEY (medium, entry)) CLUSTERED",
    ],
};
