//! What recorders' logs say, and what of it is not here yet: so that no receipt is forgotten, however long its files
//! take, and every entry of every log is in one book.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::archive::intake::{Books, Known};
use crate::archive::record::{Record, RecordingId};
use crate::seal::receipt::Receipt;
use crate::seal::tree::Hash;
use crate::shell::vault::catalog::recorders::{self, Position};
use crate::shell::vault::catalog::schema::Migration;
use crate::shell::vault::catalog::tiles;
use crate::shell::vault::catalog::{
    Catalog, CatalogError, id_at, number_at, placeholders, signed, statement, values,
};

/// Entries that a log has more than were known.
#[derive(Clone, Debug, Default)]
pub struct NewEntries {
    /// Receipts, each with its place in the log.
    pub receipts: Vec<(u64, Receipt)>,
    /// Other entries, as they are.
    pub others: Vec<(u64, Vec<u8>)>,
}

impl NewEntries {
    /// Hashes of the entries from `from` to `to`; nothing where these are not all.
    fn leaves(&self, from: u64, to: u64) -> Option<Vec<Hash>> {
        let receipts = self.receipts.iter().map(|(index, receipt)| (*index, Hash::leaf(&receipt.to_entry())));
        let others = self.others.iter().map(|(index, entry)| (*index, Hash::leaf(entry)));
        let all: BTreeMap<u64, Hash> = receipts.chain(others).collect();
        all.keys().copied().eq(from..to).then(|| all.into_values().collect())
    }
}

/// A receipt whose recording is not here.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// Its place in the log.
    pub index: u64,
    /// The receipt.
    pub receipt: Receipt,
    /// Why it was not taken in when that was last tried; empty where it was not tried.
    pub fault: String,
}

impl Catalog {
    /// Says that the log of `recorder` is known up to `position`, with the entries between: all or nothing, and only
    /// where it is known as far as `known`, for that is what they were proved to continue. Whether it was so.
    pub async fn note_log(
        &self,
        recorder: &str,
        known: &Known,
        position: &Position,
        entries: &NewEntries,
    ) -> Result<bool, CatalogError> {
        let doing = "writing what a recorder's log says";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        let number = recorders::number(&mut transaction, recorder).await.map_err(fault.clone())?;
        // First: a second one waits here, and then sees that it is too late.
        if !move_on(&mut transaction, number, known, position).await.map_err(fault.clone())? {
            transaction.rollback().await.map_err(fault)?;
            return Ok(false);
        }
        insert_entries(&mut transaction, number, entries).await.map_err(fault.clone())?;
        if let Some(leaves) = entries.leaves(known.size, position.size) {
            tiles::append(&mut transaction, number, known.size, &leaves).await.map_err(fault)?;
        }
        self.commit(doing, transaction).await?;
        Ok(true)
    }

    /// Has entries of the log of `recorder` without saying how far it is known: those of another catalog, which knows
    /// it. Entries that are there already are left as they are.
    pub async fn add_entries(&self, recorder: &str, entries: &NewEntries) -> Result<(), CatalogError> {
        let doing = "taking over what a recorder's log says";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        let number = recorders::number(&mut transaction, recorder).await.map_err(fault.clone())?;
        insert_entries(&mut transaction, number, entries).await.map_err(fault)?;
        self.commit(doing, transaction).await
    }

    /// Receipts whose recordings are not here, from the place `from` of the log on, at most `limit`.
    pub async fn awaited(&self, recorder: &str, from: u64, limit: u32) -> Result<Vec<Awaited>, CatalogError> {
        let fault = self.fault("listing what is awaited");
        let sql = format!(
            "SELECT place, entry, fault FROM awaited WHERE recorder = (SELECT no FROM recorders WHERE key = $1)
             AND place >= $2 ORDER BY place LIMIT {limit}"
        );
        let query = statement(sql).bind(recorder.to_owned()).bind(signed(from));
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        rows.iter().map(awaited_at).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// The receipt of one recording, where it is awaited.
    pub async fn awaited_one(
        &self,
        recorder: &str,
        id: &RecordingId,
    ) -> Result<Option<Awaited>, CatalogError> {
        let fault = self.fault("looking whether a recording is awaited");
        let row = sqlx::query(
            "SELECT place, entry, fault FROM awaited WHERE recorder = (SELECT no FROM recorders WHERE key = $1)
             AND id = $2 ORDER BY place LIMIT 1",
        )
        .bind(recorder.to_owned())
        .bind(id.as_bytes().to_vec())
        .fetch_optional(self.pool())
        .await
        .map_err(fault.clone())?;
        row.as_ref().map(awaited_at).transpose().map_err(fault)
    }

    /// Which of these recordings are awaited of a recorder.
    pub async fn awaited_of(
        &self,
        recorder: &str,
        ids: &[RecordingId],
    ) -> Result<BTreeSet<RecordingId>, CatalogError> {
        let fault = self.fault("looking which recordings are awaited");
        let mut awaited = BTreeSet::new();
        for ids in ids.chunks(ROWS_MAX) {
            let sql = format!(
                "SELECT id FROM awaited WHERE recorder = (SELECT no FROM recorders WHERE key = $1) AND id IN ({})",
                placeholders(ids.len(), 2)
            );
            let query = statement(sql).bind(recorder.to_owned());
            let query = ids.iter().fold(query, |query, id| query.bind(id.as_bytes().to_vec()));
            for row in query.fetch_all(self.pool()).await.map_err(fault.clone())? {
                awaited.insert(id_at(&row, 0).map_err(fault.clone())?);
            }
        }
        Ok(awaited)
    }

    /// Says why receipts could not be taken in.
    pub async fn set_awaited_faults(
        &self,
        recorder: &str,
        faults: &[(u64, String)],
    ) -> Result<(), CatalogError> {
        let doing = "writing why something is awaited";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for (index, why) in faults {
            sqlx::query(
                "UPDATE awaited SET fault = $1
                 WHERE recorder = (SELECT no FROM recorders WHERE key = $2) AND place = $3",
            )
            .bind(why.clone())
            .bind(recorder.to_owned())
            .bind(signed(*index))
            .execute(&mut *transaction)
            .await
            .map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await
    }

    /// Has receipts awaited again whose recordings are staged, each with why they cannot be archived, and forgets that
    /// they are staged: all or nothing.
    pub async fn await_again(&self, again: &[(Record, String)]) -> Result<(), CatalogError> {
        let doing = "having staged recordings awaited again";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for (record, why) in again {
            await_one_again(&mut transaction, record, why).await.map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await
    }

    /// Says that recordings have been taken in.
    pub async fn set_arrived(&self, recorder: &str, indexes: &[u64]) -> Result<(), CatalogError> {
        let doing = "writing what has arrived";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for indexes in indexes.chunks(ROWS_MAX) {
            let numbers: Vec<String> = indexes.iter().map(|index| signed(*index).to_string()).collect();
            let sql = format!(
                "DELETE FROM awaited WHERE recorder = (SELECT no FROM recorders WHERE key = $1)
                 AND place IN ({})",
                numbers.join(",")
            );
            let query = statement(sql).bind(recorder.to_owned());
            query.execute(&mut *transaction).await.map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await
    }

    /// How many entries of a recorder's log are in which book.
    pub async fn books(&self, recorder: &str) -> Result<Books, CatalogError> {
        let fault = self.fault("counting a recorder's entries");
        let sql = "SELECT c.size, (SELECT COUNT(*) FROM recordings r WHERE r.recorder = c.no),
            (SELECT COUNT(*) FROM awaited a WHERE a.recorder = c.no),
            (SELECT COUNT(*) FROM recorder_events v WHERE v.recorder = c.no) FROM recorders c WHERE c.key = $1";
        let row = sqlx::query(sql)
            .bind(recorder.to_owned())
            .fetch_optional(self.pool())
            .await
            .map_err(fault.clone())?;
        let Some(row) = row else { return Ok(Books::default()) };
        let number = |column| number_at(&row, column).map_err(fault.clone());
        let (size, recordings) = (number(0)?, number(1)?);
        Ok(Books { size, recordings, awaited: number(2)?, events: number(3)? })
    }

    /// Entries of a recorder's log that are no receipts, from the place `from` on, at most `limit`.
    pub async fn recorder_events(
        &self,
        recorder: &str,
        from: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Vec<u8>)>, CatalogError> {
        let fault = self.fault("listing what happened to a recorder");
        let sql = format!(
            "SELECT place, entry FROM recorder_events
             WHERE recorder = (SELECT no FROM recorders WHERE key = $1) AND place >= $2
             ORDER BY place LIMIT {limit}"
        );
        let query = statement(sql).bind(recorder.to_owned()).bind(signed(from));
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| Ok((number_at(row, 0)?, row.try_get(1)?));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }
}

fn awaited_at(row: &AnyRow) -> Result<Awaited, sqlx::Error> {
    let entry: String = row.try_get(1)?;
    let receipt =
        Receipt::from_entry(entry.as_bytes()).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Awaited { index: number_at(row, 0)?, receipt, fault: row.try_get(2)? })
}

async fn await_one_again(
    connection: &mut AnyConnection,
    record: &Record,
    why: &str,
) -> Result<(), sqlx::Error> {
    let id = record.id.as_bytes().to_vec();
    // Another process may have archived it just now; it waits here until we are done, or we for it.
    let mine = sqlx::query("UPDATE recordings SET phase = 'staged' WHERE id = $1 AND phase = 'staged'");
    if mine.bind(id.clone()).execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(());
    }
    for sql in [
        "DELETE FROM files WHERE id = $1",
        "DELETE FROM receipts WHERE id = $1",
        "DELETE FROM recordings WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.clone()).execute(&mut *connection).await?;
    }
    let number = recorders::number(connection, &record.recorder).await?;
    let receipts = vec![(record.receipt_index, record.receipt.clone())];
    insert_entries(connection, number, &NewEntries { receipts, others: Vec::new() }).await?;
    let sql = "UPDATE awaited SET fault = $1 WHERE recorder = $2 AND place = $3";
    let query = sqlx::query(sql).bind(why.to_owned()).bind(number).bind(signed(record.receipt_index));
    query.execute(connection).await.map(drop)
}

/// Whether the log was known as far as `known`, and so is known up to `position` now.
async fn move_on(
    connection: &mut AnyConnection,
    recorder: i64,
    known: &Known,
    position: &Position,
) -> Result<bool, sqlx::Error> {
    let sql = "UPDATE recorders SET size = $1, root = $2, checkpoint = $3
        WHERE no = $4 AND size = $5 AND (root = $6 OR (root IS NULL AND size = 0))";
    let query = sqlx::query(sql)
        .bind(signed(position.size))
        .bind(position.root.0.to_vec())
        .bind(position.checkpoint.clone())
        .bind(recorder)
        .bind(signed(known.size))
        .bind(known.root.0.to_vec());
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

async fn insert_entries(
    connection: &mut AnyConnection,
    recorder: i64,
    entries: &NewEntries,
) -> Result<(), sqlx::Error> {
    for receipts in entries.receipts.chunks(ROWS_MAX) {
        let sql = format!(
            "INSERT INTO awaited (recorder, place, id, entry, fault) VALUES {} ON CONFLICT DO NOTHING",
            values(receipts.len(), 5, 1)
        );
        let mut query = statement(sql);
        for (index, receipt) in receipts {
            // A receipt has one text, which is JSON.
            let entry = String::from_utf8_lossy(&receipt.to_entry()).into_owned();
            // One that is no id is refused when it is looked at.
            let id =
                receipt.id.parse::<RecordingId>().map_or_else(|_| Vec::new(), |id| id.as_bytes().to_vec());
            query = query.bind(recorder).bind(signed(*index)).bind(id).bind(entry).bind(String::new());
        }
        query.execute(&mut *connection).await?;
    }
    for others in entries.others.chunks(ROWS_MAX) {
        let sql = format!(
            "INSERT INTO recorder_events (recorder, place, entry) VALUES {} ON CONFLICT DO NOTHING",
            values(others.len(), 3, 1)
        );
        let mut query = statement(sql);
        for (index, entry) in others {
            query = query.bind(recorder).bind(signed(*index)).bind(entry.clone());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Rows of one statement.
const ROWS_MAX: usize = 256;

pub(super) const TABLES: Migration = Migration {
    name: "awaited 1",
    sql: &[
        "CREATE TABLE awaited (
            recorder BIGINT NOT NULL REFERENCES recorders (no),
            place BIGINT NOT NULL,
            id BYTEA NOT NULL,
            entry TEXT NOT NULL,
            fault TEXT NOT NULL,
            PRIMARY KEY (recorder, place)) CLUSTERED",
        "CREATE INDEX awaited_by_id ON awaited (recorder, id)",
        "CREATE TABLE recorder_events (
            recorder BIGINT NOT NULL REFERENCES recorders (no),
            place BIGINT NOT NULL,
            entry BYTEA NOT NULL,
            PRIMARY KEY (recorder, place)) CLUSTERED",
    ],
};
