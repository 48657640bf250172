//! What was taken in while the vault was locked, once it is unlocked.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::archive::entry::{Outcome, Resource};
use crate::archive::intake::Verdict;
use crate::archive::record::{Phase, Record, RecordingId};
use crate::archive::search::Cursor;
use crate::shell::clock;
use crate::shell::vault::catalog::recordings::{Archived, Filter};
use crate::shell::vault::intake::batch::{Item, Kept, read_files};
use crate::shell::vault::intake::files::Came;
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
            if records.is_empty() {
                return Ok(report);
            }
            after = self.archive_batch(&ring, records, &mut report).await?;
        }
    }

    /// Archives as many of these as fit into memory. The last that was looked at.
    async fn archive_batch(
        &self,
        ring: &Arc<KeyRing>,
        records: Vec<Record>,
        report: &mut Report,
    ) -> Result<Option<Cursor>, IntakeError> {
        let staged = self.incoming(STAGED);
        let (mut items, mut of, mut again) = (Vec::new(), BTreeMap::new(), Vec::new());
        let (mut held, mut last, before) = (0, None, report.refused.len());
        for record in records {
            if held >= self.held_max {
                break;
            }
            let Record { id, receipt_index: index, receipt, .. } = record.clone();
            last = Some(Cursor { start: receipt.start, id });
            match read_files(&staged, &receipt) {
                Ok((files, Verdict::Accept)) => {
                    held += files.iter().map(Came::held).sum::<u64>();
                    items.push(Item { id, index, receipt, files });
                }
                // Its recorder has it still: it may free nothing that is staged.
                Ok((_, Verdict::Wait(why) | Verdict::Refuse(why))) => again.push((record.clone(), why)),
                Err(why) => report.refused.push((id.to_string(), why)),
            }
            of.insert(id, record);
        }
        self.ask_again(&again).await?;
        let kept = self.keep(ring, items, report, &mut Vec::new()).await?;
        self.tell_staged(&of, &report.refused[before..])?;
        self.have_archived(kept, of, report).await?;
        Ok(last)
    }

    async fn have_archived(
        &self,
        kept: Vec<Kept>,
        mut of: BTreeMap<RecordingId, Record>,
        report: &mut Report,
    ) -> Result<(), IntakeError> {
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
        self.remove_files(&self.incoming(STAGED), files.map(|file| file.name.as_str()))
    }

    /// Has recordings sent, or read, once more that are not staged as they came. What is left of them stays until then.
    async fn ask_again(&self, again: &[(Record, String)]) -> Result<(), IntakeError> {
        if again.is_empty() {
            return Ok(());
        }
        self.log_all(again.iter().map(|(record, why)| {
            let Record { id, recorder, receipt_index, .. } = record;
            tracing::error!(%id, "what was staged cannot be archived, and is awaited again: {why}");
            let what =
                format!("entry {receipt_index} of its log, which was staged and is awaited again: {why}");
            (Resource::Recorder(recorder.clone()), Outcome::Failed(what))
        }))?;
        self.catalog.await_again(again).await?;
        self.passed(Step::Catalogued)
    }

    /// Has in the log why something stays staged. It is tried again and again: it is said once an hour.
    fn tell_staged(
        &self,
        of: &BTreeMap<RecordingId, Record>,
        refused: &[(String, String)],
    ) -> Result<(), IntakeError> {
        let new =
            refused.iter().filter(|(id, why)| self.told.is_new(format!("{id} {why}"), clock::monotonic()));
        let new = new.filter_map(|(id, why)| Some((of.get(&id.parse().ok()?)?, why)));
        self.log_all(new.map(|(record, why)| {
            let Record { id, recorder, receipt_index, .. } = record;
            tracing::error!(%id, "what was staged cannot be archived: {why}");
            let what = format!("entry {receipt_index} of its log stays staged: {why}");
            (Resource::Recorder(recorder.clone()), Outcome::Failed(what))
        }))
    }
}

const BATCH_MAX: u32 = 256;
