//! Hashes of recorders' logs, in tiles as logs have them (C2SP tlog-tiles): what proves an entry without the others,
//! which are of other people.
//!
//! ```text
//! level 0   hashes of entries         256 a tile
//! level 1   roots of tiles of level 0, once they are full
//! ```
//!
//! They are written with what they are of, in one transaction. A catalog that has noted a log before it kept hashes
//! has none of it, until they are reckoned from its entries ([`Catalog::put_hashes`]).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AnyConnection, Row};

use crate::seal::log::TILE_WIDTH;
use crate::seal::log_verify::NodePlace;
use crate::seal::tree::{self, HASH_BYTES, Hash, Nodes};
use crate::shell::vault::catalog::recorders;
use crate::shell::vault::catalog::schema::Migration;
use crate::shell::vault::catalog::{Catalog, CatalogError, number_at, signed, statement};

/// Perfect nodes of a log, as far as its tiles are here.
#[derive(Clone, Debug, Default)]
pub struct Tiles(BTreeMap<Tile, Vec<Hash>>);

/// Level and number of a tile.
type Tile = (u32, u64);

impl Nodes for Tiles {
    fn node(&self, height: u32, index: u64) -> Option<Hash> {
        let NodePlace { level, tile, hashes } = NodePlace::of(height, index)?;
        self.0.get(&(level, tile))?.get(hashes).and_then(tree::perfect_root)
    }
}

/// Notes which tiles are asked for.
struct Wanted(RefCell<BTreeSet<Tile>>);

impl Nodes for Wanted {
    fn node(&self, height: u32, index: u64) -> Option<Hash> {
        let NodePlace { level, tile, .. } = NodePlace::of(height, index)?;
        self.0.borrow_mut().insert((level, tile));
        Some(Hash::empty())
    }
}

impl Catalog {
    /// The hashes that it takes to prove entry `index` in a log of `size`, as far as they are here.
    pub async fn hashes(&self, recorder: &str, index: u64, size: u64) -> Result<Tiles, CatalogError> {
        let fault = self.fault("reading hashes of a recorder's log");
        let wanted = Wanted(RefCell::default());
        // It is noted what is asked for: the proof itself is of no use.
        let _ = tree::inclusion_proof(&wanted, index, size);
        let mut tiles = Tiles::default();
        for tile in wanted.0.into_inner() {
            let row = sqlx::query(
                "SELECT hashes FROM recorder_tiles WHERE recorder = (SELECT no FROM recorders WHERE key = $1)
                 AND level = $2 AND tile = $3",
            )
            .bind(recorder.to_owned())
            .bind(i64::from(tile.0))
            .bind(signed(tile.1))
            .fetch_optional(self.pool())
            .await
            .map_err(fault.clone())?;
            if let Some(row) = row {
                let bytes: Vec<u8> = row.try_get(0).map_err(fault.clone())?;
                tiles.0.insert(tile, hashes_of(&bytes));
            }
        }
        Ok(tiles)
    }

    /// Keeps all hashes of a log that is known as far as they go, and of which none are here.
    pub async fn put_hashes(&self, recorder: &str, leaves: &[Hash]) -> Result<(), CatalogError> {
        let doing = "keeping hashes of a recorder's log";
        let fault = self.fault(doing);
        let mut transaction = self.begin(doing).await?;
        let number = recorders::number(&mut transaction, recorder).await.map_err(fault.clone())?;
        // Whoever notes more of the log waits here, or we for it.
        let size = signed(leaves.len() as u64);
        let mine = sqlx::query("UPDATE recorders SET size = size WHERE no = $1 AND size = $2");
        let mine = mine.bind(number).bind(size).execute(&mut *transaction).await.map_err(fault.clone())?;
        if mine.rows_affected() > 0 {
            append(&mut transaction, number, 0, leaves).await.map_err(fault)?;
        }
        self.commit(doing, transaction).await
    }

    /// Takes over all hashes of a log from another catalog.
    pub async fn copy_hashes(&self, present: &Self, recorder: &str) -> Result<(), CatalogError> {
        let doing = "taking over hashes of a recorder's log";
        let fault = self.fault(doing);
        let mut after: Option<(u64, u64)> = None;
        loop {
            let sql = format!(
                "SELECT level, tile, hashes FROM recorder_tiles
                 WHERE recorder = (SELECT no FROM recorders WHERE key = $1)
                 AND (level > $2 OR (level = $2 AND tile > $3)) ORDER BY level, tile LIMIT {PAGE}"
            );
            let (level, tile) = after.map_or((-1, -1), |(level, tile)| (signed(level), signed(tile)));
            let query = statement(sql).bind(recorder.to_owned()).bind(level).bind(tile);
            let rows = query.fetch_all(present.pool()).await.map_err(present.fault(doing))?;
            let Some(last) = rows.last() else { return Ok(()) };
            let at = |row, column| number_at(row, column).map_err(fault.clone());
            after = Some((at(last, 0)?, at(last, 1)?));
            let mut transaction = self.begin(doing).await?;
            let number = recorders::number(&mut transaction, recorder).await.map_err(fault.clone())?;
            for row in &rows {
                let tile = (at(row, 0)? as u32, at(row, 1)?);
                let bytes: Vec<u8> = row.try_get(2).map_err(fault.clone())?;
                let hashes = hashes_of(&bytes);
                put(&mut transaction, number, tile, &hashes).await.map_err(fault.clone())?;
            }
            self.commit(doing, transaction).await?;
        }
    }
}

/// Adds hashes of entries behind those of `from`. Where these are not all here nothing is added: what follows a gap
/// proves nothing.
pub(super) async fn append(
    connection: &mut AnyConnection,
    recorder: i64,
    from: u64,
    leaves: &[Hash],
) -> Result<(), sqlx::Error> {
    let (mut level, mut begin, mut new) = (0, from, leaves.to_vec());
    while !new.is_empty() {
        let (mut tile, width) = (begin / WIDTH, (begin % WIDTH) as usize);
        let mut hashes = match width {
            0 => Vec::new(),
            _ => get(connection, recorder, (level, tile)).await?,
        };
        let is_there = match (width, level) {
            // One before it has to be there, and full.
            (0, 0) if begin > 0 => get(connection, recorder, (0, tile - 1)).await?.len() as u64 == WIDTH,
            _ => hashes.len() == width,
        };
        if !is_there {
            return Ok(());
        }
        let mut roots = Vec::new();
        for hash in new {
            hashes.push(hash);
            if hashes.len() as u64 == WIDTH {
                put(connection, recorder, (level, tile), &hashes).await?;
                roots.extend(tree::perfect_root(&hashes));
                hashes.clear();
                tile += 1;
            }
        }
        if !hashes.is_empty() {
            put(connection, recorder, (level, tile), &hashes).await?;
        }
        (level, begin, new) = (level + 1, begin / WIDTH, roots);
    }
    Ok(())
}

async fn get(connection: &mut AnyConnection, recorder: i64, tile: Tile) -> Result<Vec<Hash>, sqlx::Error> {
    let sql = "SELECT hashes FROM recorder_tiles WHERE recorder = $1 AND level = $2 AND tile = $3";
    let query = sqlx::query(sql).bind(recorder).bind(i64::from(tile.0)).bind(signed(tile.1));
    let row = query.fetch_optional(connection).await?;
    row.map_or(Ok(Vec::new()), |row| Ok(hashes_of(&row.try_get::<Vec<u8>, _>(0)?)))
}

async fn put(
    connection: &mut AnyConnection,
    recorder: i64,
    tile: Tile,
    hashes: &[Hash],
) -> Result<(), sqlx::Error> {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
    let sql = "INSERT INTO recorder_tiles (recorder, level, tile, hashes) VALUES ($1, $2, $3, $4)
         ON CONFLICT (recorder, level, tile) DO UPDATE SET hashes = excluded.hashes";
    let query = sqlx::query(sql).bind(recorder).bind(i64::from(tile.0)).bind(signed(tile.1)).bind(bytes);
    query.execute(connection).await.map(drop)
}

fn hashes_of(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks::<HASH_BYTES>().0.iter().map(|bytes| Hash(*bytes)).collect()
}

const WIDTH: u64 = TILE_WIDTH as u64;
/// Tiles in memory at once: half a megabyte.
const PAGE: u32 = 64;

pub(super) const TABLES: Migration = Migration {
    name: "recorder hashes 1",
    sql: &["CREATE TABLE recorder_tiles (
        recorder BIGINT NOT NULL REFERENCES recorders (no),
        level BIGINT NOT NULL,
        tile BIGINT NOT NULL,
        hashes BYTEA NOT NULL,
        PRIMARY KEY (recorder, level, tile)) CLUSTERED"],
};
