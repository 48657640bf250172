//! Holds, base events, requests and tombstones: a copy of what the vault's log says, read up to a place in it.
//!
//! A catalog that is new, or older than the log, is brought up by reading on; so what was destroyed stays so, whatever
//! state of the catalog comes back.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::archive::certificate::{Certificate, Erased};
use crate::archive::epoch::Epoch;
use crate::archive::hold::Hold;
use crate::archive::matter::{Matter, Said};
use crate::archive::record::RecordingId;
use crate::archive::request::Request;
use crate::archive::retention::EpochFacts;
use crate::archive::scope::Scope;
use crate::base::time::Stamp;
use crate::shell::vault::catalog::recordings::epoch_at;
use crate::shell::vault::catalog::schema::Migration;
use crate::shell::vault::catalog::{
    Catalog, CatalogError, id_at, number_at, placeholders, signed, statement,
};

/// How far the log was read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MattersRead {
    /// Entries.
    pub size: u64,
    /// Time of the newest of them, since somebody last said that the clock is right.
    pub newest: Option<Stamp>,
}

/// How many recordings of an epoch there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EpochCount {
    /// Which epoch.
    pub epoch: Epoch,
    /// Recordings that are not destroyed.
    pub left: u64,
    /// Recordings in all.
    pub all: u64,
}

impl Catalog {
    /// How far the log was read.
    pub async fn matters_read(&self) -> Result<MattersRead, CatalogError> {
        let fault = self.fault("reading how far the log was read");
        let row = sqlx::query("SELECT size, newest_ns FROM matters_read")
            .fetch_optional(self.pool())
            .await
            .map_err(fault.clone())?;
        row.as_ref().map_or(Ok(MattersRead::default()), read_at).map_err(fault)
    }

    /// Takes in what the log says after `from`, all or nothing. Whether it was: another process may have been first.
    pub async fn absorb(
        &self,
        from: u64,
        said: &[(u64, Said)],
        to: MattersRead,
    ) -> Result<bool, CatalogError> {
        let doing = "reading the log";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        let taken = begin_at(&mut transaction, from, to).await.map_err(fault.clone())?;
        if taken {
            for (index, said) in said {
                apply(&mut transaction, *index, said).await.map_err(fault.clone())?;
            }
            self.commit(doing, transaction).await?;
        }
        Ok(taken)
    }

    /// All holds, those that were let go included, by name.
    pub async fn holds(&self) -> Result<Vec<Hold>, CatalogError> {
        self.json_of("listing holds", "SELECT hold FROM holds ORDER BY name").await
    }

    /// How many recordings that are not destroyed a scope covers.
    pub async fn count_covered(&self, scope: &Scope) -> Result<u64, CatalogError> {
        let fault = self.fault("counting recordings");
        let Scope { recordings, class, recorder, from, to } = scope;
        let nanos = |at: &Option<Stamp>, other| at.map_or(other, |at| signed(at.as_unix_nanos()));
        let ids: Vec<_> = recordings.iter().collect();
        // None of them means all.
        let parts = if ids.is_empty() { vec![&ids[..]] } else { ids.chunks(ROWS_MAX).collect() };
        let mut count = 0;
        for ids in parts {
            let mut wheres =
                vec!["r.phase <> 'destroyed' AND r.start_ns >= $1 AND r.start_ns < $2".to_owned()];
            let mut texts = Vec::new();
            let texts_of =
                [(class.as_ref().map(ToString::to_string), "e.class"), (recorder.clone(), "c.key")];
            for (text, column) in texts_of {
                if let Some(text) = text {
                    texts.push(text);
                    wheres.push(format!("{column} = ${}", 2 + texts.len()));
                }
            }
            if !ids.is_empty() {
                wheres.push(format!("r.id IN ({})", placeholders(ids.len(), 3 + texts.len())));
            }
            let sql = format!(
                "SELECT COUNT(*) FROM recordings r JOIN recorders c ON c.no = r.recorder
                 LEFT JOIN epochs e ON e.no = r.epoch WHERE {}",
                wheres.join(" AND ")
            );
            let query = statement(sql).bind(nanos(from, 0)).bind(nanos(to, i64::MAX));
            let query = texts.into_iter().fold(query, |query, text| query.bind(text));
            let query = ids.iter().fold(query, |query, id| query.bind(id.as_bytes().to_vec()));
            let row = query.fetch_one(self.pool()).await.map_err(fault.clone())?;
            count += number_at(&row, 0).map_err(fault.clone())?;
        }
        Ok(count)
    }

    /// All requests for destruction, by number.
    pub async fn requests(&self) -> Result<Vec<Request>, CatalogError> {
        self.json_of("listing requests", "SELECT request FROM requests ORDER BY no").await
    }

    async fn json_of<T: serde::de::DeserializeOwned>(
        &self,
        doing: &'static str,
        sql: &'static str,
    ) -> Result<Vec<T>, CatalogError> {
        let fault = self.fault(doing);
        let rows = sqlx::query(sql).fetch_all(self.pool()).await.map_err(fault.clone())?;
        rows.iter().map(|row| json_at(row, 0)).collect::<Result<_, _>>().map_err(fault)
    }

    /// When the events came from which recordings count; of those that have one.
    pub async fn events_of(&self, ids: &[RecordingId]) -> Result<BTreeMap<RecordingId, Stamp>, CatalogError> {
        let fault = self.fault("reading events");
        let mut events = BTreeMap::new();
        for ids in ids.chunks(ROWS_MAX) {
            let sql =
                format!("SELECT id, at_ns FROM base_events WHERE id IN ({})", placeholders(ids.len(), 1));
            let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
            for row in query.fetch_all(self.pool()).await.map_err(fault.clone())? {
                let at = number_at(&row, 1).map_err(fault.clone())?;
                events.insert(id_at(&row, 0).map_err(fault.clone())?, Stamp::from_unix_nanos(at));
            }
        }
        Ok(events)
    }

    /// Recordings whose destruction was granted, and of which nothing was heard since, with the number of the entry
    /// that granted it last.
    pub async fn begun(&self) -> Result<Vec<(RecordingId, u64)>, CatalogError> {
        let fault = self.fault("listing what was begun");
        let rows = sqlx::query("SELECT id, entry FROM begun ORDER BY id").fetch_all(self.pool()).await;
        let rows = rows.map_err(fault.clone())?;
        let read = |row: &AnyRow| Ok((id_at(row, 0)?, number_at(row, 1)?));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Numbers of the log's entries that are certificates, in order.
    pub async fn certificates(&self) -> Result<Vec<u64>, CatalogError> {
        let fault = self.fault("listing certificates");
        let sql = "SELECT entry FROM tombstones UNION SELECT entry FROM epoch_tombstones ORDER BY 1";
        let rows = sqlx::query(sql).fetch_all(self.pool()).await.map_err(fault.clone())?;
        rows.iter().map(|row| number_at(row, 0)).collect::<Result<_, _>>().map_err(fault)
    }

    /// Recordings of an epoch that were destroyed, by the log.
    pub async fn tombstones(&self, epoch: &Epoch) -> Result<Vec<RecordingId>, CatalogError> {
        let fault = self.fault("listing what was destroyed");
        let rows = sqlx::query("SELECT id FROM tombstones WHERE class = $1 AND month = $2 ORDER BY id")
            .bind(epoch.class.as_str().to_owned())
            .bind(epoch.month.to_string())
            .fetch_all(self.pool())
            .await
            .map_err(fault.clone())?;
        rows.iter().map(|row| id_at(row, 0)).collect::<Result<_, _>>().map_err(fault)
    }

    /// Epochs of which something was destroyed, and whether their keys were.
    pub async fn epochs_with_tombstones(&self) -> Result<Vec<(Epoch, bool)>, CatalogError> {
        let fault = self.fault("listing what was destroyed");
        let sql = "SELECT class, month, CAST(MAX(whole) AS BIGINT) FROM (
                SELECT DISTINCT class, month, 0 AS whole FROM tombstones
                UNION ALL SELECT class, month, 1 AS whole FROM epoch_tombstones) t
            GROUP BY class, month ORDER BY month, class";
        let rows = sqlx::query(sql).fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| Ok((epoch_at(row, 0, 1)?, number_at(row, 2)? > 0));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Forgets who spoke in recordings that the log says were destroyed, where the catalog has them still. How many
    /// there were.
    pub async fn bury(&self) -> Result<u64, CatalogError> {
        let fault = self.fault("looking for what was destroyed");
        let mut buried = 0;
        loop {
            let sql = format!(
                "SELECT r.id FROM tombstones t JOIN recordings r ON r.id = t.id WHERE r.phase <> 'destroyed'
                 UNION SELECT r.id FROM epoch_tombstones t
                    JOIN epochs e ON e.class = t.class AND e.month = t.month
                    JOIN recordings r ON r.epoch = e.no WHERE r.phase <> 'destroyed'
                 LIMIT {ROWS_MAX}"
            );
            let rows = statement(sql).fetch_all(self.pool()).await.map_err(fault.clone())?;
            let ids: Vec<_> =
                rows.iter().map(|row| id_at(row, 0)).collect::<Result<_, _>>().map_err(fault.clone())?;
            if ids.is_empty() {
                return Ok(buried);
            }
            self.set_destroyed(&ids).await?;
            buried += ids.len() as u64;
        }
    }

    /// How many recordings of an epoch are not destroyed, and whether some may be of it that are staged.
    pub async fn epoch_facts(&self, epoch: &Epoch) -> Result<EpochFacts, CatalogError> {
        let fault = self.fault("counting recordings of an epoch");
        let sql = "SELECT
            (SELECT COUNT(*) FROM recordings r JOIN epochs e ON e.no = r.epoch
             WHERE e.class = $1 AND e.month = $2 AND r.phase <> 'destroyed'),
            (SELECT MIN(start_ns) FROM recordings WHERE phase = 'staged')";
        let query = sqlx::query(sql).bind(epoch.class.as_str().to_owned()).bind(epoch.month.to_string());
        let row = query.fetch_one(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| {
            let oldest: Option<i64> = row.try_get(1)?;
            let oldest = oldest.map(|oldest| u64::try_from(oldest).unwrap_or_default());
            Ok(EpochFacts { left: number_at(row, 0)?, oldest_staged: oldest.map(Stamp::from_unix_nanos) })
        };
        read(&row).map_err(fault)
    }

    /// How many recordings each epoch has.
    pub async fn count_epochs(&self) -> Result<Vec<EpochCount>, CatalogError> {
        let fault = self.fault("counting recordings of epochs");
        let sql = "SELECT e.class, e.month, COUNT(CASE WHEN r.phase <> 'destroyed' THEN 1 END), COUNT(r.id)
            FROM epochs e LEFT JOIN recordings r ON r.epoch = e.no
            GROUP BY e.class, e.month ORDER BY e.month, e.class";
        let rows = sqlx::query(sql).fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| {
            let epoch = epoch_at(row, 0, 1)?;
            Ok(EpochCount { epoch, left: number_at(row, 2)?, all: number_at(row, 3)? })
        };
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Recordings that are destroyed and of which objects are left in a place.
    pub async fn leftovers(&self) -> Result<Vec<(String, RecordingId)>, CatalogError> {
        let fault = self.fault("listing what is left");
        let rows =
            sqlx::query("SELECT place, id FROM leftovers ORDER BY place, id").fetch_all(self.pool()).await;
        let read = |row: &AnyRow| Ok((row.try_get(0)?, id_at(row, 1)?));
        let rows = rows.map_err(fault.clone())?;
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Says that a place has objects of destroyed recordings that could not be removed.
    pub async fn leave(&self, place: &str, ids: &[RecordingId]) -> Result<(), CatalogError> {
        let doing = "writing down what is left";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for id in ids {
            leave_one(&mut transaction, place, id).await.map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await
    }

    /// Says that a place has no objects of a destroyed recording any more.
    pub async fn swept(&self, place: &str, id: &RecordingId) -> Result<(), CatalogError> {
        let query = sqlx::query("DELETE FROM leftovers WHERE place = $1 AND id = $2")
            .bind(place.to_owned())
            .bind(id.as_bytes().to_vec());
        query.execute(self.pool()).await.map(drop).map_err(self.fault("sweeping what is left"))
    }
}

fn read_at(row: &AnyRow) -> Result<MattersRead, sqlx::Error> {
    let newest: Option<i64> = row.try_get(1)?;
    let newest = newest.and_then(|newest| u64::try_from(newest).ok()).map(Stamp::from_unix_nanos);
    Ok(MattersRead { size: number_at(row, 0)?, newest })
}

/// Moves the place in the log, where it is `from`.
async fn begin_at(connection: &mut AnyConnection, from: u64, to: MattersRead) -> Result<bool, sqlx::Error> {
    sqlx::query("INSERT INTO matters_read (no, size) VALUES (1, 0) ON CONFLICT DO NOTHING")
        .execute(&mut *connection)
        .await?;
    let done = sqlx::query("UPDATE matters_read SET size = $1, newest_ns = $2 WHERE no = 1 AND size = $3")
        .bind(signed(to.size))
        .bind(to.newest.map(|newest| signed(newest.as_unix_nanos())))
        .bind(signed(from))
        .execute(&mut *connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

async fn apply(connection: &mut AnyConnection, index: u64, said: &Said) -> Result<(), sqlx::Error> {
    match said {
        Said::Begun(ids) => {
            for id in ids {
                let known =
                    sqlx::query("SELECT 1 FROM tombstones WHERE id = $1").bind(id.as_bytes().to_vec());
                if known.fetch_optional(&mut *connection).await?.is_some() {
                    // Destroyed before, and once more because it came back.
                    continue;
                }
                // What was granted before and came to nothing else is decided about anew: the last grant counts.
                sqlx::query(
                    "INSERT INTO begun (id, entry) VALUES ($1, $2)
                     ON CONFLICT (id) DO UPDATE SET entry = excluded.entry",
                )
                .bind(id.as_bytes().to_vec())
                .bind(signed(index))
                .execute(&mut *connection)
                .await?;
            }
            Ok(())
        }
        Said::Ended(ids) => end(connection, ids).await,
        Said::Done(Matter::Held(hold)) => {
            let query = sqlx::query("INSERT INTO holds (name, hold) VALUES ($1, $2) ON CONFLICT DO NOTHING");
            query.bind(hold.name.to_string()).bind(json(hold)?).execute(connection).await.map(drop)
        }
        Said::Done(Matter::Released { hold, at }) => {
            let query = sqlx::query("SELECT hold FROM holds WHERE name = $1").bind(hold.to_string());
            let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(()) };
            let released = Hold { released: Some(*at), ..json_at(&row, 0)? };
            let query = sqlx::query("UPDATE holds SET hold = $1 WHERE name = $2");
            query.bind(json(&released)?).bind(hold.to_string()).execute(connection).await.map(drop)
        }
        Said::Done(Matter::Named { at, recordings }) => {
            for id in recordings {
                // Of two the later one: nothing is destroyed earlier than either says.
                sqlx::query(
                    "INSERT INTO base_events (id, at_ns) VALUES ($1, $2) ON CONFLICT (id)
                     DO UPDATE SET at_ns = excluded.at_ns WHERE excluded.at_ns > base_events.at_ns",
                )
                .bind(id.as_bytes().to_vec())
                .bind(signed(at.as_unix_nanos()))
                .execute(&mut *connection)
                .await?;
            }
            Ok(())
        }
        Said::Done(Matter::Asked(request)) => {
            let sql = "INSERT INTO requests (no, request) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            let query = sqlx::query(sql).bind(signed(request.number)).bind(json(request)?);
            query.execute(connection).await.map(drop)
        }
        Said::Done(Matter::Agreed { request, agreement }) => {
            // The first word counts: another process may have been quicker.
            change_request(connection, *request, |request| {
                request.agreed.get_or_insert_with(|| agreement.clone());
            })
            .await
        }
        Said::Done(Matter::Withdrawn { request, at }) => {
            change_request(connection, *request, |request| request.withdrawn = Some(*at)).await
        }
        Said::Done(Matter::Destroyed(certificate)) => destroyed(connection, index, certificate).await,
    }
}

async fn end(connection: &mut AnyConnection, ids: &[RecordingId]) -> Result<(), sqlx::Error> {
    for id in ids {
        let query = sqlx::query("DELETE FROM begun WHERE id = $1").bind(id.as_bytes().to_vec());
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn change_request(
    connection: &mut AnyConnection,
    number: u64,
    change: impl FnOnce(&mut Request),
) -> Result<(), sqlx::Error> {
    let query = sqlx::query("SELECT request FROM requests WHERE no = $1").bind(signed(number));
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let mut request = json_at(&row, 0)?;
    change(&mut request);
    let query = sqlx::query("UPDATE requests SET request = $1 WHERE no = $2");
    query.bind(json(&request)?).bind(signed(number)).execute(connection).await.map(drop)
}

async fn destroyed(
    connection: &mut AnyConnection,
    index: u64,
    certificate: &Certificate,
) -> Result<(), sqlx::Error> {
    let epoch: Epoch = certificate.epoch.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    if certificate.erased == Erased::Epoch {
        let sql =
            "INSERT INTO epoch_tombstones (class, month, entry) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let query = sqlx::query(sql).bind(epoch.class.as_str().to_owned()).bind(epoch.month.to_string());
        return query.bind(signed(index)).execute(connection).await.map(drop);
    }
    let ids: Vec<_> = certificate.recordings().iter().map(|recording| recording.id).collect();
    let left = certificate.copies.iter().filter(|copies| copies.locked + copies.failed > 0);
    let places: Vec<_> = left.map(|copies| copies.place.clone()).collect();
    for id in &ids {
        let sql =
            "INSERT INTO tombstones (id, entry, class, month) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        sqlx::query(sql)
            .bind(id.as_bytes().to_vec())
            .bind(signed(index))
            .bind(epoch.class.as_str().to_owned())
            .bind(epoch.month.to_string())
            .execute(&mut *connection)
            .await?;
        for place in &places {
            leave_one(&mut *connection, place, id).await?;
        }
    }
    end(connection, &ids).await
}

async fn leave_one(connection: &mut AnyConnection, place: &str, id: &RecordingId) -> Result<(), sqlx::Error> {
    let query = sqlx::query("INSERT INTO leftovers (place, id) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    query.bind(place.to_owned()).bind(id.as_bytes().to_vec()).execute(connection).await.map(drop)
}

fn json(value: &impl serde::Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn json_at<T: serde::de::DeserializeOwned>(row: &AnyRow, column: usize) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

const ROWS_MAX: usize = 256;

/// Holds and requests are JSON: they are few, and read as a whole.
pub(super) const TABLES: Migration = Migration {
    name: "retention 1",
    sql: &[
        "CREATE TABLE matters_read (no BIGINT PRIMARY KEY, size BIGINT NOT NULL, newest_ns BIGINT)",
        "CREATE TABLE holds (name TEXT PRIMARY KEY, hold TEXT NOT NULL)",
        "CREATE TABLE requests (no BIGINT PRIMARY KEY, request TEXT NOT NULL)",
        "CREATE TABLE base_events (id BYTEA NOT NULL PRIMARY KEY, at_ns BIGINT NOT NULL) CLUSTERED",
        "CREATE TABLE tombstones (
            id BYTEA NOT NULL PRIMARY KEY,
            entry BIGINT NOT NULL,
            class TEXT NOT NULL,
            month TEXT NOT NULL) CLUSTERED",
        "CREATE INDEX tombstones_by_epoch ON tombstones (class, month)",
        "CREATE TABLE epoch_tombstones (
            class TEXT NOT NULL,
            month TEXT NOT NULL,
            entry BIGINT NOT NULL,
            PRIMARY KEY (class, month))",
        "CREATE TABLE begun (id BYTEA NOT NULL PRIMARY KEY, entry BIGINT NOT NULL) CLUSTERED",
        "CREATE TABLE leftovers (
            place TEXT NOT NULL,
            id BYTEA NOT NULL,
            PRIMARY KEY (place, id)) CLUSTERED",
    ],
};
