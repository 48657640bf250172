//! How long a search takes: `cargo bench --bench catalog -- 10000000` makes a catalog of ten million recordings over
//! five years (one million where no number is given) and prints the median and the 99th percentile of each kind.
//!
//! The catalog is made in a temporary folder (2.1 GB a million), or in the empty PostgreSQL database that
//! `SEJF_BENCH_CATALOG` names; one that has recordings (`sqlite:FILE` too) is measured as it is. In SQLite, what is above a million are copies, each a little later than what it was
//! copied from. Keys come from names, so opening groups of envelopes is not in the figures.
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]
#![expect(clippy::unwrap_used, reason = "it is no production code")]

use std::time::{Duration, Instant};

use sejf::archive::access::{Action, Actor, Grant, Request};
use sejf::archive::details::Details;
use sejf::archive::entry::Resource;
use sejf::archive::envelope::Envelope;
use sejf::archive::epoch::Epoch;
use sejf::archive::record::RecordingId;
use sejf::archive::search::{Cursor, IndexKey, IndexKeys, KeysFault, Query, length_class};
use sejf::base::counters::Counters;
use sejf::base::time::Stamp;
use sejf::seal::note::Signer;
use sejf::seal::random::{Randomness, Seeded};
use sejf::seal::receipt::{Receipt, ReceiptFile, ReceiptState, SCHEMA};
use sejf::shell::disk::RealDisk;
use sejf::shell::vault::catalog::{Catalog, Kind};
use sejf::shell::vault::log::VaultLog;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

struct NamedKeys;

impl IndexKeys for NamedKeys {
    fn index_keys(&self, epoch: &Epoch) -> Result<Vec<IndexKey>, KeysFault> {
        let mut secret = [0; 32];
        Seeded::new(&[1; 32], &epoch.to_string(), 0).fill(&mut secret);
        Ok(vec![IndexKey::new(&secret)])
    }

    fn envelopes(&self, _: &Epoch, id: &RecordingId) -> Result<Vec<Envelope>, KeysFault> {
        // A copy has the details of what it was copied from.
        let mut id = *id.as_bytes();
        id[COPY_BYTE] = 0;
        let number = u64::from_be_bytes(*id.last_chunk().unwrap());
        let id = RecordingId::from_bytes(id);
        Ok(vec![Envelope::generate(id, &mut Seeded::new(&[2; 32], "envelope", number))])
    }
}

/// Quick and good enough (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    /// Small numbers come much more often than large ones.
    fn skewed(&mut self, count: u64) -> u64 {
        let bits = self.below(u64::from(count.ilog2()) + 1);
        self.below(1 << bits).min(count - 1)
    }
}

fn customer(number: u64) -> String {
    // Spread over the country's area codes.
    let area = [22, 12, 61, 71, 58, 32, 42, 81][(number % 8) as usize];
    format!("+48{area}{:07}", number.wrapping_mul(7_919) % 10_000_000)
}

fn details(dice: &mut Dice) -> Details {
    let tags = [("complaint", 50), ("sale", 3), ("vip", 1_000), ("fraud", 100_000)];
    Details {
        caller: customer(dice.skewed(CUSTOMERS)),
        callee: format!("+482255{:05}", dice.skewed(2_000)),
        from: "sip:caller@carrier.example.net".into(),
        to: "sip:callee@pbx.example.com".into(),
        call_ids: vec![format!("{:016x}@203.0.113.5", dice.next())],
        trunk: format!("trunk {}", dice.skewed(8)),
        agents: vec![format!("agent{}", dice.below(500))],
        tags: tags
            .iter()
            .filter(|(_, one_in)| dice.below(*one_in) == 0)
            .map(|(tag, _)| (*tag).into())
            .collect(),
        ..Details::default()
    }
}

fn recording(dice: &mut Dice, number: u64, start: Stamp) -> (RecordingId, Receipt) {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(start.as_unix_millis() << 16).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    let id = RecordingId::from_bytes(id);
    let state = match dice.below(1_000) {
        0 => ReceiptState::Failed,
        1..10 => ReceiptState::Interrupted,
        _ => ReceiptState::Complete,
    };
    let file =
        |kind| ReceiptFile { name: format!("{id}.{kind}.age"), bytes: 90_000, sha256: [number as u8; 32] };
    let scale = 1 << dice.below(13);
    let seconds = scale + dice.below(scale);
    let receipt = Receipt {
        schema: SCHEMA,
        id: id.to_string(),
        state,
        start,
        end: start.after(Duration::from_secs(seconds)),
        files: vec![file("opus"), file("json")],
        rule: "all@3".into(),
        counters: Counters { captured: 9_000, recorded: 9_000, ..Counters::default() },
        recorder: "recorder-1".into(),
        version: "0.1.0".into(),
    };
    (id, receipt)
}

/// One table's rows, written some hundred at a time.
struct Rows {
    table: &'static str,
    columns: usize,
    values: Vec<Value>,
}

enum Value {
    Number(i64),
    Bytes(Vec<u8>),
    Text(String),
}

impl Rows {
    fn new(table: &'static str, columns: usize) -> Self {
        Self { table, columns, values: Vec::new() }
    }

    async fn write(&mut self, connection: &mut AnyConnection, is_last: bool) {
        while self.values.len() >= self.columns * ROWS || (is_last && !self.values.is_empty()) {
            let rest = self.values.split_off((self.columns * ROWS).min(self.values.len()));
            let values = std::mem::replace(&mut self.values, rest);
            let row = |row: usize| {
                let numbers = (1..=self.columns).map(|column| format!("${}", row * self.columns + column));
                format!("({})", numbers.collect::<Vec<_>>().join(","))
            };
            let rows: Vec<_> = (0..values.len() / self.columns).map(row).collect();
            let sql = format!("INSERT INTO {} VALUES {}", self.table, rows.join(","));
            let query =
                values.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
                    Value::Number(number) => query.bind(number),
                    Value::Bytes(bytes) => query.bind(bytes),
                    Value::Text(text) => query.bind(text),
                });
            query.execute(&mut *connection).await.unwrap();
        }
    }
}

const INDEXES: [&str; 4] = [
    "recordings_by_start ON recordings (start_ns, id)",
    "recordings_by_epoch ON recordings (epoch, start_ns, id)",
    "recordings_by_state ON recordings (state, start_ns, id)",
    "recordings_by_length ON recordings (length_class, start_ns, id)",
];

async fn execute(connection: &mut AnyConnection, sql: &str) {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// Makes of each recording so many, in the order of each table: copy `k` begins `k` nanoseconds later. Into new tables,
/// so that nothing is kept aside.
async fn copy(connection: &mut AnyConnection, copies: u64) {
    let id = format!(
        "unhex(substr(hex(id), 1, {0}) || printf('%02x', k) || substr(hex(id), {0} + 3))",
        COPY_BYTE * 2
    );
    let times = "start_ns + k, end_ns + k, length_class, epoch, phase, taken_in_ns, copies, copies_changes";
    let recordings = format!("{id}, recorder, receipt_index + k * 100000000, state, {times}");
    for (table, columns, order) in [
        ("receipts", format!("{id}, entry"), "id"),
        (
            "files",
            format!("{id}, place, name, header_sha256, header_bytes, body_sha256, body_bytes"),
            "id, place",
        ),
        ("details", format!("{id}, sealed, terms"), "id"),
        ("recordings", recordings, "id"),
        ("terms", format!("epoch, term, start_ns + k, {id}"), "epoch, term, start_ns, id"),
    ] {
        let made = sqlx::query("SELECT sql FROM sqlite_master WHERE name = $1").bind(table);
        let made: String = made.fetch_one(&mut *connection).await.unwrap().get(0);
        execute(connection, &format!("ALTER TABLE {table} RENAME TO few")).await;
        execute(connection, &made).await;
        let numbers = "WITH RECURSIVE n (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k + 1 < ";
        let from = format!("(SELECT * FROM few ORDER BY {order}) CROSS JOIN n");
        let sql = format!("{numbers}{copies}) INSERT INTO {table} SELECT {columns} FROM {from}");
        execute(connection, &sql).await;
        execute(connection, "DROP TABLE few").await;
    }
}

async fn is_empty(url: &str) -> bool {
    let mut connection = AnyConnection::connect(url).await.unwrap();
    let first =
        sqlx::query("SELECT 1 FROM recordings LIMIT 1").fetch_optional(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    first.is_none()
}

/// Rows first, in the order of their tables, then the indexes that are not tables themselves.
async fn fill(url: &str, kind: Kind, count: u64, copies: u64) {
    let mut connection = AnyConnection::connect(url).await.unwrap();
    if kind == Kind::Sqlite {
        for pragma in [
            "legacy_alter_table = ON",
            "synchronous = OFF",
            "cache_size = -1000000",
            "foreign_keys = OFF",
            "journal_mode = WAL",
        ] {
            execute(&mut connection, &format!("PRAGMA {pragma}")).await;
        }
    }
    if kind == Kind::Postgres {
        // Tables are written one after the other: what one refers to comes later. For the superuser alone.
        execute(&mut connection, "SET session_replication_role = replica").await;
    }
    for index in INDEXES {
        execute(&mut connection, &format!("DROP INDEX {}", index.split(' ').next().unwrap())).await;
    }
    execute(&mut connection, "INSERT INTO recorders (no, key, size) VALUES (1, 'recorder-1', 0)").await;
    let (mut dice, mut number) = (Dice(1), 0);
    let first = Stamp::from_unix_nanos(FIRST_S * 1_000_000_000);
    let step = Duration::from_secs(MONTHS * 2_629_746).div_f64(count as f64);
    let mut epochs: Vec<Epoch> = Vec::new();
    let mut start = first;
    while number < count {
        let month = Epoch::of(CLASSES[0].parse().unwrap(), start).month;
        let from = epochs.len() as i64;
        epochs.extend(CLASSES.map(|class| Epoch { month, class: class.parse().unwrap() }));
        let keys: Vec<_> = epochs[from as usize..]
            .iter()
            .map(|epoch| NamedKeys.index_keys(epoch).unwrap().remove(0))
            .collect();
        let mut tables = [("recordings", 12), ("receipts", 2), ("files", 7), ("details", 3), ("terms", 4)]
            .map(|(table, columns)| Rows::new(table, columns));
        execute(&mut connection, "BEGIN").await;
        for (at, epoch) in epochs.iter().enumerate().skip(from as usize) {
            let insert =
                format!("INSERT INTO epochs VALUES ({}, '{}', '{}')", at + 1, epoch.class, epoch.month);
            execute(&mut connection, &insert).await;
        }
        let mut terms = Vec::new();
        while number < count && start < month.next().start() {
            number += 1;
            let class = dice.skewed(3) as usize;
            add(
                &mut tables,
                &mut terms,
                &mut dice,
                (number, start),
                (from + class as i64 + 1, &epochs[from as usize + class], &keys[class]),
            );
            for table in &mut tables[..4] {
                table.write(&mut connection, false).await;
            }
            start = first.after(step.mul_f64(number as f64));
        }
        terms.sort_unstable();
        for (epoch, term, start, id) in terms {
            let numbers = [epoch, term, start].map(Value::Number);
            tables[4].values.extend(numbers.into_iter().chain([Value::Bytes(id.as_bytes().to_vec())]));
            tables[4].write(&mut connection, false).await;
        }
        for table in &mut tables {
            table.write(&mut connection, true).await;
        }
        execute(&mut connection, "COMMIT").await;
    }
    if copies > 1 {
        copy(&mut connection, copies).await;
    }
    for index in INDEXES {
        execute(&mut connection, &format!("CREATE INDEX {index}")).await;
    }
    match kind {
        Kind::Postgres => execute(&mut connection, "ANALYZE").await,
        // As it is once it was closed: nothing is beside it.
        Kind::Sqlite => execute(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)").await,
    }
    connection.close().await.unwrap();
}

fn add(
    tables: &mut [Rows; 5],
    terms: &mut Vec<(i64, i64, i64, RecordingId)>,
    dice: &mut Dice,
    (number, start): (u64, Stamp),
    (epoch_number, epoch, key): (i64, &Epoch, &IndexKey),
) {
    let (id, receipt) = recording(dice, number, start);
    let envelope = NamedKeys.envelopes(epoch, &id).unwrap().remove(0);
    let details = details(dice);
    let own: Vec<i64> = key.terms(&details).iter().map(|term| term.0).collect();
    let start_ns = start.as_unix_nanos() as i64;
    terms.extend(own.iter().map(|term| (epoch_number, *term, start_ns, id)));
    let bytes = || Value::Bytes(id.as_bytes().to_vec());
    let state = match receipt.state {
        ReceiptState::Failed => "failed",
        ReceiptState::Interrupted => "interrupted",
        _ => "complete",
    };
    tables[0].values.extend([
        bytes(),
        Value::Number(1),
        Value::Number(number as i64),
        Value::Text(state.into()),
        Value::Number(start_ns),
        Value::Number(receipt.end.as_unix_nanos() as i64),
        Value::Number(length_class(receipt.end.since(receipt.start))),
        Value::Number(epoch_number),
        Value::Text("archived".into()),
        Value::Number(receipt.end.as_unix_nanos() as i64),
        Value::Text("met".into()),
        Value::Number(0),
    ]);
    tables[1].values.extend([bytes(), Value::Text(String::from_utf8(receipt.to_entry()).unwrap())]);
    for (place, file) in receipt.files.iter().enumerate() {
        let digest = || Value::Bytes(file.sha256.to_vec());
        let (place, name) = (Value::Number(place as i64), Value::Text(file.name.clone()));
        let (header, body) = (Value::Number(180), Value::Number(90_000));
        tables[2].values.extend([bytes(), place, name, digest(), header, digest(), body]);
    }
    let sealed = details.seal(&envelope, &mut Seeded::new(&[3; 32], "nonce", number));
    let own = own.iter().flat_map(|term| term.to_be_bytes()).collect();
    tables[3].values.extend([bytes(), Value::Bytes(sealed), Value::Bytes(own)]);
}

type Make = fn(&mut Dice) -> Query;

fn kinds() -> Vec<(&'static str, Make)> {
    fn party(text: &str) -> Query {
        Query { parties: vec![text.parse().unwrap()], ..Query::default() }
    }
    fn tag(tag: &str) -> Query {
        Query { tags: vec![tag.into()], ..Query::default() }
    }
    vec![
        ("newest", |_| Query::default()),
        ("a day", |dice| {
            let from = Stamp::from_unix_nanos((FIRST_S + dice.below(MONTHS * 30) * 86_400) * 1_000_000_000);
            Query { from: Some(from), to: Some(from.after(Duration::from_secs(86_400))), ..Query::default() }
        }),
        ("party, frequent", |dice| party(&format!("+482255{:05}", dice.below(10)))),
        ("party, any", |dice| party(&customer(dice.below(CUSTOMERS)))),
        ("party, not there", |dice| party(&format!("+4999{:08}", dice.below(100_000_000)))),
        ("beginning of 4", |dice| party(&format!("{}*", &customer(dice.below(CUSTOMERS))[..5]))),
        ("beginning of 6", |dice| party(&format!("{}*", &customer(dice.below(CUSTOMERS))[..7]))),
        ("beginning of 7", |dice| party(&format!("{}*", &customer(dice.below(CUSTOMERS))[..8]))),
        ("beginning of 8", |dice| party(&format!("{}*", &customer(dice.below(CUSTOMERS))[..9]))),
        ("trunk", |dice| Query { trunk: Some(format!("trunk {}", dice.below(8))), ..Query::default() }),
        ("agent", |dice| Query { agent: Some(format!("agent{}", dice.below(500))), ..Query::default() }),
        ("class", |dice| Query { class: CLASSES[dice.below(3) as usize].parse().ok(), ..Query::default() }),
        ("state failed", |_| Query { state: Some(ReceiptState::Failed), ..Query::default() }),
        ("an hour and more", |_| Query { length_min: Some(Duration::from_secs(3_600)), ..Query::default() }),
        ("240 to 250 seconds", |_| {
            let (min, max) = (Some(Duration::from_secs(240)), Some(Duration::from_secs(250)));
            Query { length_min: min, length_max: max, ..Query::default() }
        }),
        ("tag, rare", |_| tag("fraud")),
        ("tags, two", |_| Query { tags: vec!["complaint".into(), "vip".into()], ..Query::default() }),
        ("tag and agent", |dice| Query {
            agent: Some(format!("agent{}", dice.below(500))),
            ..tag("complaint")
        }),
        ("party, tag, length", |dice| Query {
            tags: vec!["sale".into()],
            length_min: Some(Duration::from_secs(600)),
            ..party(&format!("+482255{:05}", dice.below(10)))
        }),
        ("trunk, class, failed", |dice| Query {
            trunk: Some(format!("trunk {}", dice.below(8))),
            class: CLASSES[dice.below(3) as usize].parse().ok(),
            state: Some(ReceiptState::Failed),
            ..Query::default()
        }),
    ]
}

fn grant(dir: &std::path::Path) -> Grant {
    let signer = || Signer::from_seed("vault", &[3; 32]).unwrap();
    let log = VaultLog::new(dir, signer, Box::new(RealDisk::new(true)));
    let actor = Actor::local_administrator("bench", None);
    let (action, resource, now) = (Action::Search, Resource::Vault, Stamp::ZERO);
    log.ask(&Request { actor: &actor, action, resource, reason: None, now }).unwrap()
}

async fn measure(catalog: &Catalog, grant: &Grant) {
    println!("{:<24}{:>10}{:>10}{:>10}{:>8}{:>10}", "", "p50 ms", "p99 ms", "max ms", "hits", "cut short");
    for (name, make) in kinds() {
        let (mut dice, mut times, mut hits, mut cut) = (Dice(2), Vec::new(), 0, 0);
        for run in 0..RUNS {
            let query = make(&mut dice);
            // Every other page is one from the middle of the list.
            let middle = FIRST_S + dice.below(MONTHS * 30) * 86_400;
            let middle = Stamp::from_unix_nanos(middle * 1_000_000_000);
            let after = Cursor { start: middle, id: RecordingId::from_bytes([0; 16]) };
            let after = Some(&after).filter(|_| run % 2 == 1 && query.to.is_none());
            let begun = Instant::now();
            let page = catalog.search(grant, &query, &NamedKeys, after, PAGE).await.unwrap();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            hits += page.hits.len();
            cut += usize::from(page.hits.len() < PAGE && page.next.is_some());
        }
        times.sort_by(f64::total_cmp);
        let (p50, p99, max) = (times[RUNS / 2], times[RUNS * 99 / 100], times[RUNS - 1]);
        println!("{name:<24}{p50:>10.2}{p99:>10.2}{max:>10.2}{:>8}{cut:>10}", hits / RUNS);
    }
}

fn main() {
    let count: u64 = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("catalog.db");
    let address = std::env::var("SEJF_BENCH_CATALOG").unwrap_or(format!("sqlite:{}", file.display()));
    let url = address.strip_prefix("sqlite:").map_or(address.clone(), |path| format!("sqlite://{path}"));
    let grant = grant(&dir.path().join("log"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let catalog = Catalog::open(&address).await.unwrap();
        if is_empty(&url).await {
            let begun = Instant::now();
            let copies = if catalog.kind() == Kind::Sqlite { count.div_ceil(MILLION) } else { 1 };
            fill(&url, catalog.kind(), count / copies, copies).await;
            let bytes = std::fs::metadata(&file).map_or(0, |facts| facts.len());
            println!("{count} recordings, {} MB, made in {} s", bytes >> 20, begun.elapsed().as_secs());
        }
        measure(&catalog, &grant).await;
        catalog.close().await;
    });
}

const MILLION: u64 = 1_000_000;
/// Always 0 in the ids that are made here.
const COPY_BYTE: usize = 7;
const CUSTOMERS: u64 = 200_000;
const CLASSES: [&str; 3] = ["calls-5y", "calls-6m", "trading"];
/// January 2021.
const FIRST_S: u64 = 1_609_459_200;
const MONTHS: u64 = 60;
const PAGE: usize = 50;
const RUNS: usize = 200;
const ROWS: usize = 500;
