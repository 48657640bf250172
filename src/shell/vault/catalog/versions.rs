//! Versions of recordings: their files among the recording's, and what is found by now.

use sqlx::{AnyConnection, Row};

use crate::archive::record::{ArchivedFile, RecordingId, version_in};
use crate::archive::search::Indexed;
use crate::shell::vault::catalog::recordings::{insert_files_after, replace_indexed};
use crate::shell::vault::catalog::{Catalog, CatalogError, Kind, copies, number_at};

/// A version that comes.
#[derive(Clone, Debug)]
pub struct NewVersion<'a> {
    /// Of which recording.
    pub id: RecordingId,
    /// Which one.
    pub number: u32,
    /// Its files.
    pub files: &'a [ArchivedFile],
    /// What the recording is found by from now on.
    pub indexed: &'a Indexed,
    /// Places that had the recording and have not got these files.
    pub behind: &'a [String],
}

/// What became of a version that came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Added {
    /// It was added.
    Yes,
    /// Another has the number, or one before it is missing. Nothing was changed.
    Taken,
    /// The recording is destroyed, or not archived yet. Nothing was changed.
    NotArchived,
}

impl Catalog {
    /// Adds a version: its files, and what the recording is found by, all or nothing; durable when this returns. The
    /// recording's copies are due to be looked at.
    pub async fn add_version(&self, new: &NewVersion<'_>) -> Result<Added, CatalogError> {
        let doing = "adding a version";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        let added = add(&mut transaction, self.kind(), new).await.map_err(fault)?;
        if added == Added::Yes {
            self.commit(doing, transaction).await?;
        }
        Ok(added)
    }
}

async fn add(connection: &mut AnyConnection, kind: Kind, new: &NewVersion<'_>) -> Result<Added, sqlx::Error> {
    let id = new.id.as_bytes().to_vec();
    // Who looks which number is next must be alone with the recording, as SQLite's writer is.
    let alone = if kind == Kind::Postgres { " FOR UPDATE" } else { "" };
    let sql = format!("SELECT 1 FROM recordings WHERE id = $1 AND phase = 'archived'{alone}");
    let row = super::statement(sql).bind(id.clone()).fetch_optional(&mut *connection).await?;
    if row.is_none() {
        return Ok(Added::NotArchived);
    }
    let rows = sqlx::query("SELECT name, place FROM files WHERE id = $1")
        .bind(id.clone())
        .fetch_all(&mut *connection)
        .await?;
    let (mut last, mut next_place) = (0, 0);
    for row in &rows {
        let name: String = row.try_get(0)?;
        last = last.max(version_in(&name, &new.id).unwrap_or_default());
        next_place = next_place.max(number_at(row, 1)? + 1);
    }
    if last.checked_add(1) != Some(new.number) {
        return Ok(Added::Taken);
    }
    insert_files_after(connection, &new.id, new.files, next_place).await?;
    replace_indexed(connection, &new.id, new.indexed).await?;
    for place in new.behind {
        sqlx::query(
            "UPDATE copies SET state = 'missing', checked_ns = 0
             WHERE id = $1 AND place = (SELECT no FROM places WHERE name = $2)",
        )
        .bind(id.clone())
        .bind(place.clone())
        .execute(&mut *connection)
        .await?;
    }
    copies::due(connection, &new.id).await?;
    Ok(Added::Yes)
}
