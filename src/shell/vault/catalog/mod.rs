//! The catalog: what there is, where, and how it is found. SQLite beside the vault, or PostgreSQL for a fleet.
//!
//! It holds no key and no plain number or name: parties are in `details`, sealed under the recording's envelope, and
//! are found through terms keyed by their epoch (see [`crate::archive::search`]). It is disposable: [`rebuild`] makes
//! it anew from the objects and the keys alone.
//!
//! ```text
//! recorders ◄─ recordings ─► epochs        one row a recording, what everybody may know
//!                 ├─ receipts              what its recorder signed
//!                 ├─ files                 its objects and those of its versions, with their hashes
//!                 ├─ copies ─► places      what was found where, and when
//!                 ├─ details               sealed
//!                 └─ terms                 keyed, newest first within their epoch
//! ```
//!
//! One SQL text for both databases: `$1`, `ON CONFLICT`, pages by key. Numbers are `BIGINT`, bytes `BYTEA`.

pub mod anew;
pub mod awaited;
pub mod copies;
mod keys;
pub mod media;
pub mod rebuild;
pub mod recorders;
pub mod recordings;
pub mod retention;
pub mod review;
mod schema;
pub mod search;
#[cfg(test)]
mod tests;
pub mod tiles;
pub mod versions;

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Row, Transaction};

use crate::archive::access::Action;
use crate::archive::epoch::Epoch;
use crate::archive::record::RecordingId;

/// A catalog that is open. Cheap to clone; several processes may have it open.
#[derive(Clone, Debug)]
pub struct Catalog {
    pool: AnyPool,
    kind: Kind,
    /// Its address without a password.
    name: String,
}

/// Which database it is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// Why the catalog does not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The address names no database that we may use.
    #[error("catalog `{catalog}`: {fault}")]
    Address {
        /// Its address.
        catalog: String,
        /// What is wrong, and what to write.
        fault: String,
    },
    /// The file cannot be made.
    #[error("making catalog `{catalog}`: {source}")]
    Create {
        /// The file.
        catalog: String,
        /// Why.
        source: std::io::Error,
    },
    /// The database refuses, or cannot be reached.
    #[error("{doing} in catalog `{catalog}`: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Its address.
        catalog: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A later version of this program has changed the tables.
    #[error("catalog `{catalog}` was made by a later version (`{migration}`): use that version")]
    Later {
        /// Its address.
        catalog: String,
        /// What this version does not know.
        migration: String,
    },
    /// A row is not what was written.
    #[error(
        "catalog `{catalog}`: recording {id}: {fault}; `sejf vault catalog rebuild` makes the catalog anew"
    )]
    Damaged {
        /// Its address.
        catalog: String,
        /// Whose row.
        id: RecordingId,
        /// What is wrong.
        fault: String,
    },
    /// A place cannot be read.
    #[error(transparent)]
    Place(#[from] crate::shell::vault::place::PlaceError),
    /// The query cannot be answered.
    #[error("searching: {0}")]
    Query(#[from] crate::archive::search::QueryError),
    /// Keys are not to be had.
    #[error("searching in epoch {epoch}: {source}; unlock the vault with `sejf vault unlock`")]
    Keys {
        /// Whose key.
        epoch: Epoch,
        /// Why.
        source: crate::archive::search::KeysFault,
    },
    /// What is granted is something else.
    #[error("who spoke is shown to those alone who were granted a search, and this is a grant to {action:?}")]
    NotGranted {
        /// What it is for.
        action: Action,
    },
    /// No such recording.
    #[error("catalog `{catalog}` has no recording {id}")]
    Unknown {
        /// Its address.
        catalog: String,
        /// Which one.
        id: RecordingId,
    },
}

impl Catalog {
    /// Opens the catalog at `sqlite:PATH` or `postgres://…`, and makes or updates its tables.
    pub async fn open(address: &str) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let name = without_password(address);
        let (kind, url) = match address.strip_prefix("sqlite:") {
            Some(path) => (Kind::Sqlite, sqlite_url(path.trim_start_matches("//"), &name)?),
            None => (Kind::Postgres, postgres_url(address, &name)?),
        };
        let settings = if kind == Kind::Sqlite { SQLITE_SETTINGS } else { POSTGRES_SETTINGS };
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| Box::pin(set(connection, settings)))
            .connect(&url)
            .await
            .map_err(|source| CatalogError::Database {
                doing: "connecting",
                catalog: name.clone(),
                source,
            })?;
        let catalog = Self { pool, kind, name };
        let mut transaction = catalog.begin("making tables").await?;
        schema::migrate(&mut transaction, kind, &catalog.name).await?;
        catalog.commit("making tables", transaction).await?;
        Ok(catalog)
    }

    /// The catalog in a file.
    pub async fn open_file(path: &Path) -> Result<Self, CatalogError> {
        let path = path.to_str().ok_or_else(|| CatalogError::Address {
            catalog: path.display().to_string(),
            fault: "the path is not UTF-8: choose another".into(),
        })?;
        Self::open(&format!("sqlite:{path}")).await
    }

    /// Its address, without a password.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which database it is in.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Waits for what is going on, then closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Where statements are run that stand alone.
    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Begins to write. SQLite has one writer at a time, and who reads first and writes then may find it too late.
    pub(crate) async fn begin(&self, doing: &'static str) -> Result<Transaction<'static, Any>, CatalogError> {
        let begin = if self.kind == Kind::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        self.pool.begin_with(begin).await.map_err(self.fault(doing))
    }

    /// What was written is on the disk when this returns.
    pub(crate) async fn commit(
        &self,
        doing: &'static str,
        transaction: Transaction<'static, Any>,
    ) -> Result<(), CatalogError> {
        transaction.commit().await.map_err(self.fault(doing))
    }

    /// For `map_err`: what was being done.
    pub(crate) fn fault(&self, doing: &'static str) -> impl Fn(sqlx::Error) -> CatalogError + Clone {
        let catalog = self.name.clone();
        move |source| CatalogError::Database { doing, catalog: catalog.clone(), source }
    }

    pub(crate) fn damaged(&self, id: RecordingId, fault: impl std::fmt::Display) -> CatalogError {
        CatalogError::Damaged { catalog: self.name.clone(), id, fault: fault.to_string() }
    }
}

async fn set(connection: &mut AnyConnection, settings: &'static [&'static str]) -> Result<(), sqlx::Error> {
    for setting in settings {
        sqlx::query(*setting).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A statement whose text was put together: of our own words and placeholders, never of what somebody gave.
pub(crate) fn statement(sql: String) -> Query<'static, Any, AnyArguments> {
    sqlx::query(AssertSqlSafe(sql))
}

/// `($1,$2),($3,$4)`: placeholders for rows, from number `first`.
pub(crate) fn values(rows: usize, columns: usize, first: usize) -> String {
    let row = |row: usize| {
        let numbers: Vec<String> =
            (0..columns).map(|column| format!("${}", first + row * columns + column)).collect();
        format!("({})", numbers.join(","))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(",")
}

/// `$1,$2`: placeholders for `count` values, from number `first`.
pub(crate) fn placeholders(count: usize, first: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(",")
}

/// The id in a column.
pub(crate) fn id_at(row: &AnyRow, column: usize) -> Result<RecordingId, sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| sqlx::Error::Decode("an id has 16 bytes".into()))?;
    Ok(RecordingId::from_bytes(bytes))
}

/// An unsigned number in a column. Databases have signed ones: nothing of ours is above 2⁶³.
pub(crate) fn number_at(row: &AnyRow, column: usize) -> Result<u64, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// For a column: stops at its end, which is in the year 2262.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The URL of a file, which is made readable for its owner alone.
fn sqlite_url(path: &str, name: &str) -> Result<String, CatalogError> {
    use std::os::unix::fs::OpenOptionsExt;
    if path.is_empty() || path.contains(":memory:") {
        let fault = "write sqlite:PATH, with the path of a file".into();
        return Err(CatalogError::Address { catalog: name.into(), fault });
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| CatalogError::Create { catalog: name.into(), source })?;
    let mut url = String::from("sqlite://");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(url)
}

/// Beyond this machine only TLS, and only with a server that proves its name.
fn postgres_url(address: &str, name: &str) -> Result<String, CatalogError> {
    let fault = |fault: &str| CatalogError::Address { catalog: name.into(), fault: fault.into() };
    let rest = address
        .strip_prefix("postgres://")
        .or_else(|| address.strip_prefix("postgresql://"))
        .ok_or_else(|| fault("write sqlite:PATH or postgres://USER@HOST/DATABASE?sslmode=verify-full"))?;
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let host = place.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let option = |wanted: &str| {
        options.split('&').filter_map(|option| option.split_once('=')).find(|(name, _)| *name == wanted)
    };
    let is_socket = host.is_empty() && option("host").is_some_and(|(_, dir)| dir.starts_with(['/', '%']));
    let is_loopback = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|local| host == *local || host.strip_prefix(local).is_some_and(|rest| rest.starts_with(':')));
    let is_verified = option("sslmode").is_some_and(|(_, mode)| mode == "verify-full");
    let is_redirected = !host.is_empty() && (option("host").is_some() || option("hostaddr").is_some());
    if is_redirected || !(is_socket || is_loopback || is_verified) {
        return Err(fault("beyond this machine add ?sslmode=verify-full, and name the host before the `/`"));
    }
    Ok(address.into())
}

fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.into() };
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let place = match place.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
        None => place.into(),
    };
    let is_secret = |option: &&str| option.starts_with("password");
    let options: Vec<&str> =
        options.split('&').filter(|option| !option.is_empty() && !is_secret(option)).collect();
    let mark = if options.is_empty() { "" } else { "?" };
    format!("{scheme}://{place}{mark}{}", options.join("&"))
}

/// What is committed is on the disk; what is deleted is overwritten; nothing is put into temporary files.
const SQLITE_SETTINGS: &[&str] = &[
    "PRAGMA busy_timeout = 30000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",
];
const POSTGRES_SETTINGS: &[&str] = &["SET synchronous_commit = on", "SET lock_timeout = '30s'"];
const CONNECTIONS_MAX: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);
