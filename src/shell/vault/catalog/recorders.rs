//! Recorders, and how far each one's log is known: what comes next must continue it.

use sqlx::{AnyConnection, Row};

use crate::seal::tree::{HASH_BYTES, Hash};
use crate::shell::vault::catalog::schema::Migration;
use crate::shell::vault::catalog::{Catalog, CatalogError, number_at, signed};

/// How far a recorder's log is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position {
    /// Entries.
    pub size: u64,
    /// Root of the tree of so many.
    pub root: Hash,
    /// The note that its recorder signed, as it came.
    pub checkpoint: String,
}

impl Catalog {
    /// How far the log of `recorder` is known; nothing of one that has not been seen.
    pub async fn recorder_position(&self, recorder: &str) -> Result<Option<Position>, CatalogError> {
        let fault = self.fault("reading a recorder's position");
        let row = sqlx::query("SELECT size, root, checkpoint FROM recorders WHERE key = $1")
            .bind(recorder.to_owned())
            .fetch_optional(self.pool())
            .await
            .map_err(fault.clone())?;
        let read = |row: sqlx::any::AnyRow| -> Result<Option<Position>, sqlx::Error> {
            let root: Option<Vec<u8>> = row.try_get(1)?;
            let Some(root) = root else { return Ok(None) };
            let root = <[u8; HASH_BYTES]>::try_from(root)
                .map_err(|_| sqlx::Error::Decode("a root has 32 bytes".into()))?;
            Ok(Some(Position { size: number_at(&row, 0)?, root: Hash(root), checkpoint: row.try_get(2)? }))
        };
        row.map_or(Ok(None), read).map_err(fault)
    }

    /// Says that the log of `recorder` is known so far. A shorter one than is known already is not taken: the log
    /// never shrinks, and another process may have been quicker. Whether it was taken.
    pub async fn set_recorder_position(
        &self,
        recorder: &str,
        position: &Position,
    ) -> Result<bool, CatalogError> {
        let doing = "writing a recorder's position";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        let number = number(&mut transaction, recorder).await.map_err(fault.clone())?;
        let done = sqlx::query(
            "UPDATE recorders SET size = $1, root = $2, checkpoint = $3 WHERE no = $4 AND size <= $1",
        )
        .bind(signed(position.size))
        .bind(position.root.0.to_vec())
        .bind(position.checkpoint.clone())
        .bind(number)
        .execute(&mut *transaction)
        .await
        .map_err(fault)?;
        self.commit(doing, transaction).await?;
        Ok(done.rows_affected() > 0)
    }

    /// All recorders that were seen, by their keys.
    pub async fn recorders(&self) -> Result<Vec<String>, CatalogError> {
        let fault = self.fault("listing recorders");
        let rows = sqlx::query("SELECT key FROM recorders ORDER BY key")
            .fetch_all(self.pool())
            .await
            .map_err(fault.clone())?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(fault)
    }
}

/// The recorder's number here, which is made where it has none.
pub(super) async fn number(connection: &mut AnyConnection, recorder: &str) -> Result<i64, sqlx::Error> {
    loop {
        let known = sqlx::query("SELECT no FROM recorders WHERE key = $1")
            .bind(recorder.to_owned())
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = known {
            return row.try_get(0);
        }
        // Where another process takes the same number, or names the same recorder, nothing is added: look again.
        sqlx::query(
            "INSERT INTO recorders (no, key, size) SELECT COALESCE(MAX(no), 0) + 1, $1, 0
             FROM recorders WHERE TRUE ON CONFLICT DO NOTHING",
        )
        .bind(recorder.to_owned())
        .execute(&mut *connection)
        .await?;
    }
}

/// See [`Position`]; `root` and `checkpoint` are null before a log was seen.
pub(super) const TABLES: Migration = Migration {
    name: "recorders 1",
    sql: &["CREATE TABLE recorders (
        no BIGINT PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        size BIGINT NOT NULL,
        root BYTEA,
        checkpoint TEXT)"],
};
