//! What a review asks of the catalog.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::base::counters::Discard;
use crate::base::time::Stamp;
use crate::seal::receipt::Receipt;
use crate::shell::vault::catalog::{Catalog, CatalogError, number_at, signed, statement};

/// What receipts of a recorder tell.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReceiptFacts {
    /// When one was last taken in.
    pub taken_in: Option<Stamp>,
    /// Version of the program that wrote the newest of them.
    pub version: Option<String>,
    /// Frames that were captured, since the time that was asked for.
    pub captured: u64,
    /// Frames that are in no recording because the recorder could not keep up, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Catalog {
    /// Recordings that were taken in before a time and still lack copies.
    pub async fn copies_short_since(&self, before: Stamp) -> Result<u64, CatalogError> {
        let fault = self.fault("counting recordings that lack copies");
        let row = sqlx::query(
            "SELECT COUNT(*) FROM recordings WHERE phase = 'archived' AND copies <> 'met' AND taken_in_ns < $1",
        )
        .bind(signed(before.as_unix_nanos()))
        .fetch_one(self.pool())
        .await
        .map_err(fault.clone())?;
        number_at(&row, 0).map_err(fault)
    }

    /// What the receipts of a recorder tell; what was dropped, of those that begun since `since`, as far as the newest
    /// of them go.
    pub async fn receipt_facts(&self, recorder: &str, since: Stamp) -> Result<ReceiptFacts, CatalogError> {
        let fault = self.fault("reading a recorder's receipts");
        let row = sqlx::query(
            "SELECT COUNT(*), COALESCE(MAX(r.taken_in_ns), 0) FROM recordings r
             WHERE r.recorder = (SELECT no FROM recorders WHERE key = $1)",
        )
        .bind(recorder.to_owned())
        .fetch_one(self.pool())
        .await
        .map_err(fault.clone())?;
        let (count, taken_in) = (number_at(&row, 0), number_at(&row, 1));
        let (count, taken_in) = (count.map_err(fault.clone())?, taken_in.map_err(fault.clone())?);
        let taken_in = (count > 0).then(|| Stamp::from_unix_nanos(taken_in));
        let mut facts = ReceiptFacts { taken_in, ..ReceiptFacts::default() };
        let sql = format!(
            "SELECT e.entry, r.start_ns FROM recordings r JOIN receipts e ON e.id = r.id
             WHERE r.recorder = (SELECT no FROM recorders WHERE key = $1)
             ORDER BY r.receipt_index DESC LIMIT {RECEIPTS_MAX}"
        );
        let query = statement(sql).bind(recorder.to_owned());
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        for row in &rows {
            let entry: String = row.try_get(0).map_err(fault.clone())?;
            let Ok(receipt) = Receipt::from_entry(entry.as_bytes()) else { continue };
            facts.version.get_or_insert(receipt.version);
            if Stamp::from_unix_nanos(number_at(row, 1).map_err(fault.clone())?) < since {
                continue;
            }
            facts.captured = facts.captured.saturating_add(receipt.counters.captured);
            for (reason, count) in receipt.counters.discarded {
                if COULD_NOT_KEEP_UP.contains(&reason) && count > 0 {
                    *facts.dropped.entry(reason.as_str().into()).or_default() += count;
                }
            }
        }
        Ok(facts)
    }

    /// The newest entries of a recorder's log that are no receipts, newest first.
    pub async fn newest_events(&self, recorder: &str, limit: u32) -> Result<Vec<Vec<u8>>, CatalogError> {
        let fault = self.fault("reading what happened to a recorder");
        let sql = format!(
            "SELECT entry FROM recorder_events WHERE recorder = (SELECT no FROM recorders WHERE key = $1)
             ORDER BY place DESC LIMIT {limit}"
        );
        let rows = statement(sql).bind(recorder.to_owned()).fetch_all(self.pool()).await;
        let read = |row: &AnyRow| row.try_get(0);
        rows.map_err(fault.clone())?.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }
}

const COULD_NOT_KEEP_UP: [Discard; 5] =
    [Discard::CallTableFull, Discard::CaptureDrop, Discard::Failed, Discard::QueueDrop, Discard::Shed];
/// Of a busy recorder, some hours; each takes a while to read.
const RECEIPTS_MAX: u32 = 20_000;
