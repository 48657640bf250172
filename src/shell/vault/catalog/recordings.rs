//! Recordings: taken in once, archived, listed by time, forgotten.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::archive::epoch::{ClassName, Epoch};
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::search::{Cursor, Indexed, Term, length_class};
use crate::base::time::Stamp;
use crate::seal::receipt::{Receipt, ReceiptState};
use crate::shell::vault::catalog::schema::Migration;
use crate::shell::vault::catalog::{
    Catalog, CatalogError, Kind, copies, id_at, number_at, placeholders, recorders, signed, statement, values,
};

/// A recording that comes.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// What may be known of it without a key.
    pub record: Record,
    /// What may not; none while it is staged, and of a call that was not recorded.
    pub indexed: Option<Indexed>,
}

/// What became of a recording that came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Taken {
    /// It was not known.
    New,
    /// It is known already, with the same receipt at the same place of the same log. Nothing was changed.
    Known,
    /// Something else is known by its id, or at its place in its recorder's log. Nothing was changed.
    Conflict(String),
}

/// A staged recording that was put under an envelope.
#[derive(Clone, Debug)]
pub struct Archived {
    /// Which one.
    pub id: RecordingId,
    /// Its retention class.
    pub class: ClassName,
    /// Its files as they are now.
    pub files: Vec<ArchivedFile>,
    /// What of its parties can be found.
    pub indexed: Indexed,
}

/// Which recordings of a list: all of what is said must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Begun then or later.
    pub from: Option<Stamp>,
    /// Begun before.
    pub to: Option<Stamp>,
    /// Of one epoch.
    pub epoch: Option<Epoch>,
    /// As they ended.
    pub state: Option<ReceiptState>,
    /// As far as they are.
    pub phase: Option<Phase>,
}

impl Catalog {
    /// Takes recordings in, all or none; durable when this returns. Each one once, however often it comes: the
    /// answers are in the order of what was given. A few hundred at a time is quickest.
    pub async fn take_in(&self, records: &[NewRecord]) -> Result<Vec<Taken>, CatalogError> {
        let doing = "taking recordings in";
        let mut transaction = self.begin(doing).await?;
        let taken = insert(&mut transaction, self.kind, records).await.map_err(self.fault(doing))?;
        self.commit(doing, transaction).await?;
        Ok(taken)
    }

    /// Says that staged recordings are archived. One that is archived already is left as it is.
    pub async fn set_archived(&self, archived: &[Archived]) -> Result<(), CatalogError> {
        let doing = "archiving recordings";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for one in archived {
            let start = start_of(&mut transaction, &one.id).await.map_err(fault.clone())?;
            let Some(start) = start else {
                return Err(CatalogError::Unknown { catalog: self.name.clone(), id: one.id });
            };
            set_one_archived(&mut transaction, one, start).await.map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await
    }

    /// Says what headers files have now, and what is found by: after they were put under another envelope, whose
    /// details are others as well. Those of before go, whatever comes in their place.
    pub async fn set_headers(
        &self,
        id: &RecordingId,
        files: &[ArchivedFile],
        indexed: Option<&Indexed>,
    ) -> Result<(), CatalogError> {
        let doing = "writing new headers";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for file in files {
            sqlx::query("UPDATE files SET header_sha256 = $1, header_bytes = $2 WHERE id = $3 AND name = $4")
                .bind(file.header_sha256.0.to_vec())
                .bind(signed(file.header_bytes))
                .bind(id.as_bytes().to_vec())
                .bind(file.name.clone())
                .execute(&mut *transaction)
                .await
                .map_err(fault.clone())?;
        }
        // Media have the headers of before, and a copy that did not fit may be the one that does.
        copies::due(&mut transaction, id).await.map_err(fault.clone())?;
        sqlx::query("UPDATE copies SET checked_ns = 0 WHERE id = $1 AND state <> 'good'")
            .bind(id.as_bytes().to_vec())
            .execute(&mut *transaction)
            .await
            .map_err(fault.clone())?;
        match indexed {
            Some(indexed) => replace_indexed(&mut transaction, id, indexed).await,
            None => delete_indexed(&mut transaction, id).await,
        }
        .map_err(fault)?;
        self.commit(doing, transaction).await
    }

    /// Says what a recording is found by now, as where a tag was put on it. Not of one that is destroyed.
    pub async fn set_details(&self, id: &RecordingId, indexed: &Indexed) -> Result<(), CatalogError> {
        let doing = "writing details";
        let mut transaction = self.begin(doing).await?;
        replace_indexed(&mut transaction, id, indexed).await.map_err(self.fault(doing))?;
        self.commit(doing, transaction).await
    }

    /// Forgets who spoke in recordings whose envelopes are destroyed: details and terms go, and that they were
    /// stays. What is deleted is overwritten in a file; of PostgreSQL, `VACUUM` is its owner's.
    pub async fn set_destroyed(&self, ids: &[RecordingId]) -> Result<(), CatalogError> {
        let doing = "forgetting recordings";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for id in ids {
            destroy_one(&mut transaction, id).await.map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await?;
        self.overwrite_log().await
    }

    /// Forgets who spoke in all recordings of an epoch whose identity is destroyed.
    pub async fn set_epoch_destroyed(&self, epoch: &Epoch) -> Result<(), CatalogError> {
        let doing = "forgetting an epoch";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        for sql in [
            "DELETE FROM terms WHERE epoch = (SELECT no FROM epochs WHERE class = $1 AND month = $2)",
            "DELETE FROM details WHERE id IN (SELECT r.id FROM recordings r JOIN epochs e ON e.no = r.epoch
             WHERE e.class = $1 AND e.month = $2)",
            "UPDATE recordings SET phase = 'destroyed'
             WHERE epoch = (SELECT no FROM epochs WHERE class = $1 AND month = $2)",
        ] {
            let query = sqlx::query(sql).bind(epoch.class.as_str().to_owned()).bind(epoch.month.to_string());
            query.execute(&mut *transaction).await.map_err(fault.clone())?;
        }
        self.commit(doing, transaction).await?;
        self.overwrite_log().await
    }

    /// SQLite's log of writes still has pages as they were before something was deleted.
    pub(crate) async fn overwrite_log(&self) -> Result<(), CatalogError> {
        if self.kind == Kind::Sqlite {
            let fault = self.fault("overwriting what was forgotten");
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(self.pool()).await.map_err(fault)?;
        }
        Ok(())
    }

    /// What is known of a recording.
    pub async fn get(&self, id: &RecordingId) -> Result<Option<Record>, CatalogError> {
        Ok(self.get_all(&[*id]).await?.pop())
    }

    /// What is known of recordings; newest first, and of those that there are.
    pub async fn get_all(&self, ids: &[RecordingId]) -> Result<Vec<Record>, CatalogError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("{SELECT} WHERE r.id IN ({}) {NEWEST_FIRST}", placeholders(ids.len(), 1));
        let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
        let rows = query.fetch_all(self.pool()).await.map_err(self.fault("reading recordings"))?;
        self.records(&rows).await
    }

    /// Recordings, newest first, at most `limit`: those after `after`, where that is said.
    pub async fn page(
        &self,
        after: Option<&Cursor>,
        limit: u32,
        filter: &Filter,
    ) -> Result<Vec<Record>, CatalogError> {
        let mut numbers = Vec::new();
        let mut wheres = vec!["TRUE".to_owned()];
        let mut number = |value: u64| {
            numbers.push(signed(value));
            format!("${}", numbers.len())
        };
        wheres.extend(filter.from.map(|at| format!("r.start_ns >= {}", number(at.as_unix_nanos()))));
        wheres.extend(filter.to.map(|at| format!("r.start_ns < {}", number(at.as_unix_nanos()))));
        // No words from outside: these are our own, and so the index of staged recordings can be used.
        wheres.extend(filter.state.map(|state| format!("r.state = '{}'", state_name(state))));
        wheres.extend(filter.phase.map(|phase| format!("r.phase = '{}'", phase.as_str())));
        let start = after.map(|after| number(after.start.as_unix_nanos()));
        let mut next = numbers.len() + 1;
        wheres.extend(start.map(|start| format!("(r.start_ns, r.id) < ({start}, ${next})")));
        next += usize::from(after.is_some());
        if filter.epoch.is_some() {
            wheres.push(format!("e.class = ${next} AND e.month = ${}", next + 1));
        }
        let sql = format!("{SELECT} WHERE {} {NEWEST_FIRST} LIMIT {limit}", wheres.join(" AND "));
        let mut query = numbers.into_iter().fold(statement(sql), |query, number| query.bind(number));
        if let Some(after) = after {
            query = query.bind(after.id.as_bytes().to_vec());
        }
        if let Some(epoch) = &filter.epoch {
            query = query.bind(epoch.class.as_str().to_owned()).bind(epoch.month.to_string());
        }
        let rows = query.fetch_all(self.pool()).await.map_err(self.fault("listing recordings"))?;
        self.records(&rows).await
    }

    /// Places in a recorder's log that recordings here have, from `from` on, in order, at most `limit`.
    pub async fn receipts_of(
        &self,
        recorder: &str,
        from: u64,
        limit: u32,
    ) -> Result<Vec<(u64, RecordingId)>, CatalogError> {
        let fault = self.fault("listing a recorder's receipts");
        let sql = format!(
            "SELECT receipt_index, id FROM recordings
             WHERE recorder = (SELECT no FROM recorders WHERE key = $1) AND receipt_index >= $2
             ORDER BY receipt_index LIMIT {limit}"
        );
        let query = statement(sql).bind(recorder.to_owned()).bind(signed(from));
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| Ok((number_at(row, 0)?, id_at(row, 1)?));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Epochs that have recordings, newest month first.
    pub async fn epochs(&self) -> Result<Vec<Epoch>, CatalogError> {
        let fault = self.fault("listing epochs");
        let rows = sqlx::query("SELECT class, month FROM epochs ORDER BY month DESC, class")
            .fetch_all(self.pool())
            .await
            .map_err(fault.clone())?;
        rows.iter().map(|row| epoch_at(row, 0, 1)).collect::<Result<_, _>>().map_err(fault)
    }

    async fn records(&self, rows: &[AnyRow]) -> Result<Vec<Record>, CatalogError> {
        let fault = self.fault("reading recordings");
        let ids: Vec<RecordingId> =
            rows.iter().map(|row| id_at(row, 0)).collect::<Result<_, _>>().map_err(fault.clone())?;
        let mut files = self.files_of(&ids).await.map_err(fault)?;
        let read = |(row, id): (&AnyRow, &RecordingId)| {
            let files = files.remove(id).unwrap_or_default();
            record_at(row, *id, files).map_err(|source| self.damaged(*id, source))
        };
        rows.iter().zip(&ids).map(read).collect()
    }

    pub(super) async fn files_of(
        &self,
        ids: &[RecordingId],
    ) -> Result<BTreeMap<RecordingId, Vec<ArchivedFile>>, sqlx::Error> {
        let mut files: BTreeMap<RecordingId, Vec<ArchivedFile>> = BTreeMap::new();
        for ids in ids.chunks(ROWS_MAX) {
            let sql = format!(
                "SELECT id, name, header_sha256, header_bytes, body_sha256, body_bytes FROM files
                 WHERE id IN ({}) ORDER BY id, place",
                placeholders(ids.len(), 1)
            );
            let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
            for row in query.fetch_all(self.pool()).await? {
                let file = ArchivedFile {
                    name: row.try_get(1)?,
                    header_sha256: digest_at(&row, 2)?,
                    header_bytes: number_at(&row, 3)?,
                    body_sha256: digest_at(&row, 4)?,
                    body_bytes: number_at(&row, 5)?,
                };
                files.entry(id_at(&row, 0)?).or_default().push(file);
            }
        }
        Ok(files)
    }
}

async fn insert(
    connection: &mut AnyConnection,
    kind: Kind,
    records: &[NewRecord],
) -> Result<Vec<Taken>, sqlx::Error> {
    // In order, so that two who do the same wait for each other in one direction only.
    let names: BTreeSet<&str> = records.iter().map(|new| new.record.recorder.as_str()).collect();
    let wanted: BTreeSet<Epoch> = records.iter().filter_map(|new| new.record.epoch()).collect();
    let (mut recorders, mut epochs) = (BTreeMap::new(), BTreeMap::new());
    for name in names {
        let number = recorders::number(connection, name).await?;
        if kind == Kind::Postgres {
            // Who looks whether a recording is known must be alone with its recorder, as SQLite's writer is.
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(RECORDER_LOCKS + number)
                .execute(&mut *connection)
                .await?;
        }
        recorders.insert(name.to_owned(), number);
    }
    for epoch in wanted {
        let number = epoch_number(connection, &epoch).await?;
        epochs.insert(epoch, number);
    }
    let mut all = Vec::with_capacity(records.len());
    for records in records.chunks(ROWS_MAX) {
        let taken = compare(connection, records, &recorders).await?;
        let new: Vec<&NewRecord> = records
            .iter()
            .zip(&taken)
            .filter_map(|(record, taken)| (*taken == Taken::New).then_some(record))
            .collect();
        insert_recordings(connection, &new, &recorders, &epochs).await?;
        insert_files(connection, new.iter().map(|new| (&new.record.id, &new.record.files[..]))).await?;
        let indexed = new.iter().filter_map(|new| {
            let epoch = new.record.epoch().and_then(|epoch| epochs.get(&epoch))?;
            Some((&new.record.id, new.record.receipt.start, *epoch, new.indexed.as_ref()?))
        });
        insert_indexed(connection, &indexed.collect::<Vec<_>>()).await?;
        all.extend(taken);
    }
    Ok(all)
}

/// What is new of these, and what is not.
async fn compare(
    connection: &mut AnyConnection,
    records: &[NewRecord],
    recorders: &BTreeMap<String, i64>,
) -> Result<Vec<Taken>, sqlx::Error> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let number = |record: &Record| recorders.get(&record.recorder).copied().unwrap_or_default();
    let sql = format!(
        "SELECT r.id, r.recorder, r.receipt_index, p.entry FROM recordings r JOIN receipts p ON p.id = r.id
         WHERE r.id IN ({})",
        placeholders(records.len(), 1)
    );
    let query =
        records.iter().fold(statement(sql), |query, new| query.bind(new.record.id.as_bytes().to_vec()));
    let mut known = BTreeMap::new();
    for row in query.fetch_all(&mut *connection).await? {
        let place: (i64, u64) = (row.try_get(1)?, number_at(&row, 2)?);
        known.insert(id_at(&row, 0)?, (place, row.try_get::<String, _>(3)?.into_bytes()));
    }
    let mut places = BTreeSet::new();
    for row in same_places(records, &number).fetch_all(&mut *connection).await? {
        places.insert((row.try_get::<i64, _>(0)?, number_at(&row, 1)?));
    }
    let mut taken = Vec::with_capacity(records.len());
    for NewRecord { record, .. } in records {
        let place = (number(record), record.receipt_index);
        let entry = record.receipt.to_entry();
        taken.push(match known.get(&record.id) {
            Some(known) if *known == (place, entry.clone()) => Taken::Known,
            Some(_) => Taken::Conflict("another receipt is known by this id".into()),
            None if places.contains(&place) => {
                Taken::Conflict("another recording is known at this place of its recorder's log".into())
            }
            None => {
                known.insert(record.id, (place, entry));
                places.insert(place);
                Taken::New
            }
        });
    }
    Ok(taken)
}

/// Which of the places in logs that these have are taken.
fn same_places(
    records: &[NewRecord],
    number: &dyn Fn(&Record) -> i64,
) -> sqlx::query::Query<'static, sqlx::Any, sqlx::any::AnyArguments> {
    let sql = format!(
        "SELECT recorder, receipt_index FROM recordings WHERE (recorder, receipt_index) IN (VALUES {})",
        values(records.len(), 2, 1)
    );
    records.iter().fold(statement(sql), |query, new| {
        query.bind(number(&new.record)).bind(signed(new.record.receipt_index))
    })
}

async fn insert_recordings(
    connection: &mut AnyConnection,
    new: &[&NewRecord],
    recorders: &BTreeMap<String, i64>,
    epochs: &BTreeMap<Epoch, i64>,
) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO recordings (id, recorder, receipt_index, state, start_ns, end_ns, length_class, epoch, phase,
         taken_in_ns) VALUES {}",
        values(new.len(), 10, 1)
    );
    let mut query = statement(sql);
    for NewRecord { record, .. } in new {
        let receipt = &record.receipt;
        query = query
            .bind(record.id.as_bytes().to_vec())
            .bind(recorders.get(&record.recorder).copied())
            .bind(signed(record.receipt_index))
            .bind(state_name(receipt.state))
            .bind(signed(receipt.start.as_unix_nanos()))
            .bind(signed(receipt.end.max(receipt.start).as_unix_nanos()))
            .bind(length_class(receipt.end.since(receipt.start)))
            .bind(record.epoch().and_then(|epoch| epochs.get(&epoch).copied()))
            .bind(record.phase.as_str())
            .bind(signed(record.taken_in.as_unix_nanos()));
    }
    query.execute(&mut *connection).await?;
    let sql = format!("INSERT INTO receipts (id, entry) VALUES {}", values(new.len(), 2, 1));
    let mut query = statement(sql);
    for NewRecord { record, .. } in new {
        let entry = String::from_utf8(record.receipt.to_entry())
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        query = query.bind(record.id.as_bytes().to_vec()).bind(entry);
    }
    query.execute(&mut *connection).await.map(drop)
}

async fn insert_files<'a>(
    connection: &mut AnyConnection,
    files: impl Iterator<Item = (&'a RecordingId, &'a [ArchivedFile])>,
) -> Result<(), sqlx::Error> {
    let files: Vec<_> =
        files.flat_map(|(id, files)| (0..).zip(files).map(move |(place, file)| (id, place, file))).collect();
    insert_placed(connection, &files).await
}

/// Files beside those that a recording has, from a place on.
pub(super) async fn insert_files_after(
    connection: &mut AnyConnection,
    id: &RecordingId,
    files: &[ArchivedFile],
    first: u64,
) -> Result<(), sqlx::Error> {
    let files: Vec<_> = (first..).zip(files).map(|(place, file)| (id, place, file)).collect();
    insert_placed(connection, &files).await
}

async fn insert_placed(
    connection: &mut AnyConnection,
    files: &[(&RecordingId, u64, &ArchivedFile)],
) -> Result<(), sqlx::Error> {
    for files in files.chunks(ROWS_MAX) {
        let sql = format!(
            "INSERT INTO files (id, place, name, header_sha256, header_bytes, body_sha256, body_bytes) VALUES {}",
            values(files.len(), 7, 1)
        );
        let mut query = statement(sql);
        for (id, place, file) in files {
            query = query
                .bind(id.as_bytes().to_vec())
                .bind(signed(*place))
                .bind(file.name.clone())
                .bind(file.header_sha256.0.to_vec())
                .bind(signed(file.header_bytes))
                .bind(file.body_sha256.0.to_vec())
                .bind(signed(file.body_bytes));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Details and terms: id, start, epoch's number, and what there is.
async fn insert_indexed(
    connection: &mut AnyConnection,
    all: &[(&RecordingId, Stamp, i64, &Indexed)],
) -> Result<(), sqlx::Error> {
    if all.is_empty() {
        return Ok(());
    }
    let sql = format!("INSERT INTO details (id, sealed, terms) VALUES {}", values(all.len(), 3, 1));
    let mut query = statement(sql);
    for (id, _, _, indexed) in all {
        let terms = indexed.terms.iter().flat_map(|term| term.0.to_be_bytes()).collect::<Vec<u8>>();
        query = query.bind(id.as_bytes().to_vec()).bind(indexed.details.clone()).bind(terms);
    }
    query.execute(&mut *connection).await?;
    let mut terms: Vec<_> = all
        .iter()
        .flat_map(|(id, start, epoch, indexed)| {
            indexed.terms.iter().map(move |term| (*epoch, *term, *start, **id))
        })
        .collect();
    // In the order of the table, so that each of its pages is touched once.
    terms.sort_unstable();
    terms.dedup();
    for terms in terms.chunks(ROWS_MAX) {
        let sql =
            format!("INSERT INTO terms (epoch, term, start_ns, id) VALUES {}", values(terms.len(), 4, 1));
        let mut query = statement(sql);
        for (epoch, term, start, id) in terms {
            query = query
                .bind(*epoch)
                .bind(term.0)
                .bind(signed(start.as_unix_nanos()))
                .bind(id.as_bytes().to_vec());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn start_of(connection: &mut AnyConnection, id: &RecordingId) -> Result<Option<Stamp>, sqlx::Error> {
    let row = sqlx::query("SELECT entry FROM receipts WHERE id = $1")
        .bind(id.as_bytes().to_vec())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let receipt = receipt_at(&row, 0)?;
    Ok(Some(receipt.start))
}

async fn set_one_archived(
    connection: &mut AnyConnection,
    one: &Archived,
    start: Stamp,
) -> Result<(), sqlx::Error> {
    let epoch = epoch_number(connection, &Epoch::of(one.class.clone(), start)).await?;
    let done = sqlx::query(
        "UPDATE recordings SET phase = 'archived', epoch = $1 WHERE id = $2 AND phase = 'staged'",
    )
    .bind(epoch)
    .bind(one.id.as_bytes().to_vec())
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query("DELETE FROM files WHERE id = $1")
        .bind(one.id.as_bytes().to_vec())
        .execute(&mut *connection)
        .await?;
    insert_files(connection, [(&one.id, &one.files[..])].into_iter()).await?;
    insert_indexed(connection, &[(&one.id, start, epoch, &one.indexed)]).await
}

pub(super) async fn replace_indexed(
    connection: &mut AnyConnection,
    id: &RecordingId,
    indexed: &Indexed,
) -> Result<(), sqlx::Error> {
    let row = sqlx::query("SELECT epoch FROM recordings WHERE id = $1 AND phase = 'archived'")
        .bind(id.as_bytes().to_vec())
        .fetch_optional(&mut *connection)
        .await?;
    let epoch: Option<i64> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    let start = start_of(connection, id).await?;
    let (Some(epoch), Some(start)) = (epoch, start) else { return Ok(()) };
    delete_indexed(connection, id).await?;
    insert_indexed(connection, &[(id, start, epoch, indexed)]).await
}

async fn destroy_one(connection: &mut AnyConnection, id: &RecordingId) -> Result<(), sqlx::Error> {
    delete_indexed(connection, id).await?;
    sqlx::query("UPDATE recordings SET phase = 'destroyed' WHERE id = $1")
        .bind(id.as_bytes().to_vec())
        .execute(&mut *connection)
        .await
        .map(drop)
}

/// Terms are beside the details, so that they are found without a key and without going through the index.
async fn delete_indexed(connection: &mut AnyConnection, id: &RecordingId) -> Result<(), sqlx::Error> {
    let known = sqlx::query(
        "SELECT d.terms, r.epoch, r.start_ns FROM details d JOIN recordings r ON r.id = d.id WHERE d.id = $1",
    )
    .bind(id.as_bytes().to_vec())
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = known {
        let (epoch, start): (Option<i64>, i64) = (row.try_get(1)?, row.try_get(2)?);
        for term in terms_at(&row, 0)? {
            sqlx::query("DELETE FROM terms WHERE epoch = $1 AND term = $2 AND start_ns = $3 AND id = $4")
                .bind(epoch)
                .bind(term.0)
                .bind(start)
                .bind(id.as_bytes().to_vec())
                .execute(&mut *connection)
                .await?;
        }
    }
    sqlx::query("DELETE FROM details WHERE id = $1")
        .bind(id.as_bytes().to_vec())
        .execute(&mut *connection)
        .await
        .map(drop)
}

/// The terms in a column: eight bytes each.
pub(super) fn terms_at(row: &AnyRow, column: usize) -> Result<Vec<Term>, sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    let (terms, rest) = bytes.as_chunks();
    let terms = terms.iter().map(|bytes| Term(i64::from_be_bytes(*bytes))).collect();
    if rest.is_empty() { Ok(terms) } else { Err(decode("terms have eight bytes each")) }
}

/// The epoch's number here, which is made where it has none.
async fn epoch_number(connection: &mut AnyConnection, epoch: &Epoch) -> Result<i64, sqlx::Error> {
    let (class, month) = (epoch.class.as_str(), epoch.month.to_string());
    loop {
        let known = sqlx::query("SELECT no FROM epochs WHERE class = $1 AND month = $2")
            .bind(class.to_owned())
            .bind(month.clone())
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = known {
            return row.try_get(0);
        }
        // Where another process takes the same number, or names the same epoch, nothing is added: look again.
        sqlx::query(
            "INSERT INTO epochs (no, class, month) SELECT COALESCE(MAX(no), 0) + 1, $1, $2
             FROM epochs WHERE TRUE ON CONFLICT DO NOTHING",
        )
        .bind(class.to_owned())
        .bind(month.clone())
        .execute(&mut *connection)
        .await?;
    }
}

fn record_at(row: &AnyRow, id: RecordingId, files: Vec<ArchivedFile>) -> Result<Record, sqlx::Error> {
    let class: Option<String> = row.try_get(4)?;
    let class = class.map(|class| class.parse()).transpose().map_err(decode)?;
    let phase: String = row.try_get(5)?;
    let phase = Phase::from_name(&phase).ok_or_else(|| decode(format!("`{phase}` is no phase")))?;
    Ok(Record {
        id,
        recorder: row.try_get(1)?,
        receipt_index: number_at(row, 2)?,
        receipt: receipt_at(row, 3)?,
        class,
        phase,
        taken_in: Stamp::from_unix_nanos(number_at(row, 6)?),
        files,
    })
}

fn receipt_at(row: &AnyRow, column: usize) -> Result<Receipt, sqlx::Error> {
    let entry: String = row.try_get(column)?;
    Receipt::from_entry(entry.as_bytes()).map_err(decode)
}

pub(super) fn epoch_at(row: &AnyRow, class: usize, month: usize) -> Result<Epoch, sqlx::Error> {
    let (class, month): (String, String) = (row.try_get(class)?, row.try_get(month)?);
    Ok(Epoch { class: class.parse().map_err(decode)?, month: month.parse().map_err(decode)? })
}

fn digest_at(row: &AnyRow, column: usize) -> Result<Digest, sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    <[u8; 32]>::try_from(bytes).map(Digest).map_err(|_| decode("a SHA-256 has 32 bytes"))
}

fn decode(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(source.into())
}

/// The name that the catalog uses, which is that of receipts.
pub(super) fn state_name(state: ReceiptState) -> &'static str {
    match state {
        ReceiptState::Complete => "complete",
        ReceiptState::ExcludedByRule => "excluded-by-rule",
        ReceiptState::Failed => "failed",
        ReceiptState::Interrupted => "interrupted",
        ReceiptState::Unanswered => "unanswered",
    }
}

const SELECT: &str = "SELECT r.id, c.key, r.receipt_index, p.entry, e.class, r.phase, r.taken_in_ns
    FROM recordings r JOIN recorders c ON c.no = r.recorder JOIN receipts p ON p.id = r.id
    LEFT JOIN epochs e ON e.no = r.epoch";
const NEWEST_FIRST: &str = "ORDER BY r.start_ns DESC, r.id DESC";
/// Rows of one statement: with ten columns, well below what SQLite takes.
const ROWS_MAX: usize = 256;
/// Numbers of locks that nobody else's should have: this and a recorder's number.
const RECORDER_LOCKS: i64 = 0x5e1f_0000_0000;

/// Narrow rows, so that a list is read from few pages; what is long is in tables of its own.
pub(super) const TABLES: Migration = Migration {
    name: "recordings 1",
    sql: &[
        "CREATE TABLE epochs (
            no BIGINT PRIMARY KEY,
            class TEXT NOT NULL,
            month TEXT NOT NULL,
            UNIQUE (class, month))",
        "CREATE TABLE recordings (
            id BYTEA NOT NULL PRIMARY KEY,
            recorder BIGINT NOT NULL REFERENCES recorders (no),
            receipt_index BIGINT NOT NULL,
            state TEXT NOT NULL,
            start_ns BIGINT NOT NULL,
            end_ns BIGINT NOT NULL,
            length_class BIGINT NOT NULL,
            epoch BIGINT REFERENCES epochs (no),
            phase TEXT NOT NULL,
            taken_in_ns BIGINT NOT NULL,
            UNIQUE (recorder, receipt_index)) CLUSTERED",
        "CREATE TABLE receipts (
            id BYTEA NOT NULL PRIMARY KEY REFERENCES recordings (id),
            entry TEXT NOT NULL)",
        "CREATE TABLE files (
            id BYTEA NOT NULL REFERENCES recordings (id),
            place BIGINT NOT NULL,
            name TEXT NOT NULL,
            header_sha256 BYTEA NOT NULL,
            header_bytes BIGINT NOT NULL,
            body_sha256 BYTEA NOT NULL,
            body_bytes BIGINT NOT NULL,
            PRIMARY KEY (id, place)) CLUSTERED",
        "CREATE TABLE details (
            id BYTEA NOT NULL PRIMARY KEY REFERENCES recordings (id),
            sealed BYTEA NOT NULL,
            terms BYTEA NOT NULL)",
        "CREATE TABLE terms (
            epoch BIGINT NOT NULL,
            term BIGINT NOT NULL,
            start_ns BIGINT NOT NULL,
            id BYTEA NOT NULL,
            PRIMARY KEY (epoch, term, start_ns, id)) CLUSTERED",
        "CREATE INDEX recordings_by_start ON recordings (start_ns, id)",
        "CREATE INDEX recordings_by_epoch ON recordings (epoch, start_ns, id)",
        "CREATE INDEX recordings_by_state ON recordings (state, start_ns, id)",
        "CREATE INDEX recordings_by_length ON recordings (length_class, start_ns, id)",
        "CREATE INDEX recordings_staged ON recordings (start_ns, id) WHERE phase = 'staged'",
    ],
};
