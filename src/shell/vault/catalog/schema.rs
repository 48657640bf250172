//! The catalog's tables, made and brought up to date by migrations: one SQL text for both databases.
//!
//! Whoever owns tables lists their migrations in [`MIGRATIONS`], at its end. One that was released never changes.

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use crate::shell::vault::catalog::{
    CatalogError, Kind, awaited, copies, media, recorders, recordings, retention, tiles,
};

/// A step from one version of the tables to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    /// Its name, for ever: the table `versions` has it once it is done.
    pub(crate) name: &'static str,
    /// Statements, in PostgreSQL's words; [`statement`] says what becomes of them for SQLite.
    pub(crate) sql: &'static [&'static str],
}

/// All of them, in the order they are done.
const MIGRATIONS: &[Migration] = &[
    recorders::TABLES,
    recordings::TABLES,
    retention::TABLES,
    media::TABLES,
    copies::TABLES,
    awaited::TABLES,
    copies::CHANGES,
    media::HEADERS,
    tiles::TABLES,
];

/// Brings the tables up to date, in one transaction that no other process is in at the same time.
pub(super) async fn migrate(
    connection: &mut AnyConnection,
    kind: Kind,
    catalog: &str,
) -> Result<(), CatalogError> {
    let fault = |source| CatalogError::Database { doing: "making tables", catalog: catalog.into(), source };
    if kind == Kind::Postgres {
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(LOCK)
            .execute(&mut *connection)
            .await
            .map_err(fault)?;
    }
    let versions = "CREATE TABLE IF NOT EXISTS versions (name TEXT PRIMARY KEY)";
    sqlx::query(versions).execute(&mut *connection).await.map_err(fault)?;
    let rows = sqlx::query("SELECT name FROM versions").fetch_all(&mut *connection).await.map_err(fault)?;
    let done: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(fault)?;
    if let Some(later) = done.iter().find(|name| MIGRATIONS.iter().all(|known| known.name != **name)) {
        return Err(CatalogError::Later { catalog: catalog.into(), migration: later.clone() });
    }
    for migration in MIGRATIONS.iter().filter(|known| !done.iter().any(|name| name == known.name)) {
        for sql in migration.sql {
            let sql = AssertSqlSafe(statement(sql, kind));
            sqlx::query(sql).execute(&mut *connection).await.map_err(fault)?;
        }
        sqlx::query("INSERT INTO versions (name) VALUES ($1)")
            .bind(migration.name)
            .execute(&mut *connection)
            .await
            .map_err(fault)?;
    }
    Ok(())
}

/// What SQLite calls otherwise: bytes, and a table that is its own index (`CLUSTERED` at the end).
fn statement(sql: &str, kind: Kind) -> String {
    match kind {
        Kind::Sqlite => sql.replace(" BYTEA", " BLOB").replace(") CLUSTERED", ") WITHOUT ROWID"),
        Kind::Postgres => sql.replace(") CLUSTERED", ")"),
    }
}

/// Only one process at a time makes tables: a number that nobody else's lock should have.
const LOCK: i64 = 0x5e1f_ca7a;
