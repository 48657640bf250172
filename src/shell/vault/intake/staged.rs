//! What was taken in while the vault was locked, once it is unlocked.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::archive::entry::{Outcome, Resource};
use crate::archive::intake::Verdict;
use crate::archive::record::{Phase, Record};
use crate::archive::search::Cursor;
use crate::shell::vault::catalog::recordings::{Archived, Filter};
use crate::shell::vault::intake::batch::{Item, read_files};
use crate::shell::vault::intake::{Intake, IntakeError, Report, STAGED, Step};
use crate::shell::vault::keyring::KeyRing;

impl Intake {
    /// Puts what is staged under its envelopes. Does nothing while the vault is locked.
    pub async fn archive_staged(&self) -> Result<Report, IntakeError> {
        let mut report = Report::default();
        self.sweep_sent().await?;
        let Some(ring) = self.keys() else { return Ok(report) };
        self.sweep_staged().await?;
        let filter = Filter { phase: Some(Phase::Staged), ..Filter::default() };
        let mut after = None;
        loop {
            let records = self.catalog.page(after.as_ref(), BATCH_MAX, &filter).await?;
            let Some(last) = records.last() else { return Ok(report) };
            after = Some(Cursor { start: last.receipt.start, id: last.id });
            self.archive_batch(&ring, records, &mut report).await?;
        }
    }

    async fn archive_batch(
        &self,
        ring: &Arc<KeyRing>,
        records: Vec<Record>,
        report: &mut Report,
    ) -> Result<(), IntakeError> {
        let staged = self.incoming(STAGED);
        let (mut items, mut of) = (Vec::new(), BTreeMap::new());
        for record in records {
            let Record { id, receipt_index: index, receipt, .. } = record.clone();
            of.insert(id, record);
            match read_files(&staged, &receipt) {
                Ok((files, Verdict::Accept)) => items.push(Item { id, index, receipt, files }),
                Ok((_, Verdict::Wait(why) | Verdict::Refuse(why))) | Err(why) => {
                    tracing::error!(%id, "what was staged cannot be archived: {why}");
                    report.refused.push((id.to_string(), why));
                }
            }
        }
        let mut faults = Vec::new();
        let kept = self.keep(ring, items, report, &mut faults).await?;
        if kept.is_empty() {
            return Ok(());
        }
        let slips: Vec<_> = kept
            .iter()
            .filter_map(|kept| {
                let (class, files) = (Some(kept.class.clone()), kept.files.clone());
                Some(Record { class, files, phase: Phase::Archived, ..of.remove(&kept.item.id)? })
            })
            .collect();
        self.put_slips(slips.iter()).await?;
        let archived = kept.iter().map(|kept| Archived {
            id: kept.item.id,
            class: kept.class.clone(),
            files: kept.files.clone(),
            indexed: kept.indexed.clone(),
        });
        self.catalog.set_archived(&archived.collect::<Vec<_>>()).await?;
        self.passed(Step::Catalogued)?;
        let ids: Vec<_> = kept.iter().map(|kept| kept.item.id).collect();
        let details = serde_json::json!({ "archived": ids.len(), "staged": 0 });
        self.log(Resource::of(&ids), Outcome::Done(details))?;
        self.passed(Step::Logged)?;
        report.archived += ids.len() as u64;
        let files = kept.iter().flat_map(|kept| &kept.item.receipt.files);
        self.remove_files(&staged, files.map(|file| file.name.as_str()))
    }
}

const BATCH_MAX: u32 = 256;
