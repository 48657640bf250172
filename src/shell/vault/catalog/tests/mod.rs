//! The same suite against both databases.

#[cfg(test)]
mod awaited;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod rebuild;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod search;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tiles;
mod versions;

use futures_util::future::LocalBoxFuture;

use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::base::counters::Counters;
use crate::base::time::Stamp;
use crate::seal::receipt::{Receipt, ReceiptFile, ReceiptState, SCHEMA};
use crate::shell::vault::catalog::{Catalog, CatalogError, without_password};

/// A test: gets the address of an empty database.
type Test = fn(String) -> LocalBoxFuture<'static, ()>;

const SUITE: &[(&str, Test)] = &[
    ("recordings are taken in once", |at| Box::pin(recordings::are_taken_in_once(at))),
    ("conflicts change nothing", |at| Box::pin(recordings::conflicts_change_nothing(at))),
    ("pages follow each other", |at| Box::pin(recordings::pages_follow_each_other(at))),
    ("staged become archived", |at| Box::pin(recordings::staged_become_archived_and_are_destroyed(at))),
    ("positions never go back", |at| Box::pin(recordings::positions_never_go_back(at))),
    ("matters are read once", |at| Box::pin(retention::matters_are_read_once_and_in_order(at))),
    ("what is destroyed is buried", |at| Box::pin(retention::what_is_destroyed_is_buried(at))),
    ("search finds what a naive one finds", |at| Box::pin(search::finds_what_a_naive_search_finds(at))),
    ("search forgets what is destroyed", |at| Box::pin(search::forgets_what_is_destroyed(at))),
    ("search reads so much at most", |at| Box::pin(search::reads_so_much_at_most(at))),
    ("copies are written down", |at| Box::pin(copies::are_written_down_and_found(at))),
    ("versions follow each other", |at| Box::pin(versions::follow_each_other(at))),
    ("of two versions at once one is added", |at| Box::pin(versions::of_two_at_once_one_is_added(at))),
    ("several write at once", |at| Box::pin(recordings::several_write_at_once(at))),
    ("entries are proved by hashes", |at| Box::pin(tiles::every_entry_is_proved_by_hashes_alone(at))),
    ("hashes come later", |at| Box::pin(tiles::a_log_that_was_known_before_gets_its_hashes_later(at))),
    ("entries are in one book", |at| Box::pin(awaited::entries_are_in_one_book_until_they_arrive(at))),
];

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn suite_on_sqlite() {
    for (name, test) in SUITE {
        eprintln!("{name}");
        let dir = tempfile::tempdir().unwrap();
        wait(test(format!("sqlite:{}/a catalog?.db", dir.path().display())));
    }
    let dir = tempfile::tempdir().unwrap();
    let address = |name: &str| format!("sqlite:{}/{name}.db", dir.path().display());
    wait(rebuild::gives_the_same(address("live"), address("anew")));
}

#[test]
fn suite_on_postgres() {
    let Some(server) = server::Server::start() else { return };
    for (name, test) in SUITE {
        eprintln!("{name}");
        wait(test(server.database()));
    }
    wait(rebuild::gives_the_same(server.database(), server.database()));
}

#[test]
fn beyond_this_machine_a_server_must_prove_its_name() {
    for address in [
        "postgres://sejf:secret@db.example.org/sejf",
        "postgres://sejf:secret@db.example.org/sejf?sslmode=require",
        "postgres://sejf@localhost.example.org/sejf",
        "postgres://sejf@localhost/sejf?host=db.example.org",
        "postgres:///sejf?host=db.example.org",
        "mysql://localhost/sejf",
        "sqlite:",
        "sqlite::memory:",
    ] {
        let refused = wait(Catalog::open(address)).unwrap_err();
        assert!(matches!(refused, CatalogError::Address { .. }), "{address}: {refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    let shown = without_password("postgres://sejf:secret@host:5432/db?password=secret&sslmode=verify-full");
    assert_eq!(shown, "postgres://sejf@host:5432/db?sslmode=verify-full");
}

#[test]
fn a_catalog_of_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    wait(async {
        let catalog = Catalog::open_file(&path).await.unwrap();
        sqlx::query("INSERT INTO versions (name) VALUES ('things 7')").execute(catalog.pool()).await.unwrap();
        catalog.close().await;
        let later = Catalog::open_file(&path).await.unwrap_err();
        assert!(
            matches!(&later, CatalogError::Later { migration, .. } if migration == "things 7"),
            "{later}"
        );
    });
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A recording that began so many seconds after a day in November 2026, and lasted `number` seconds.
pub(crate) fn record(number: u64, start_s: u64) -> Record {
    let start = Stamp::from_unix_nanos((1_795_468_121 + start_s) * 1_000_000_000 + number);
    let end = start.after(std::time::Duration::from_secs(number));
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(start.as_unix_millis() << 16).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    let id = RecordingId::from_bytes(id);
    let name = format!("{id}.opus.age");
    let body = Digest::of(&number.to_be_bytes());
    Record {
        id,
        recorder: format!("recorder-{}", number % 2),
        receipt_index: number,
        receipt: Receipt {
            schema: SCHEMA,
            id: id.to_string(),
            state: if number % 7 == 3 { ReceiptState::Interrupted } else { ReceiptState::Complete },
            start,
            end,
            files: vec![ReceiptFile { name: name.clone(), bytes: 100 + number, sha256: [3; 32] }],
            rule: "all@1".into(),
            counters: Counters { captured: number, recorded: number, ..Counters::default() },
            recorder: format!("recorder-{}", number % 2),
            version: "0.1.0".into(),
        },
        class: Some(if number.is_multiple_of(3) { "calls-6m" } else { "calls-5y" }.parse().unwrap()),
        phase: Phase::Archived,
        taken_in: end.after(std::time::Duration::from_secs(1)),
        files: vec![
            ArchivedFile {
                name,
                header_sha256: Digest::of(b"header"),
                header_bytes: 150,
                body_sha256: body,
                body_bytes: number,
            },
            ArchivedFile {
                name: format!("{id}.json.age"),
                header_sha256: Digest::of(b"header"),
                header_bytes: 150,
                body_sha256: body,
                body_bytes: 90,
            },
        ],
    }
}
