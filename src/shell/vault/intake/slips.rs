//! Slips of what is taken in: see [`crate::archive::slip`].

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::archive::record::{Phase, Record, RecordingId};
use crate::archive::slip::Slip;
use crate::shell::vault::intake::{Intake, IntakeError, Step};
use crate::shell::vault::place::Content;

impl Intake {
    /// Puts slips of recordings that are archived now, before the catalog says so; durable when this returns. What the
    /// catalog has archived already keeps the slip that it has, whatever a recorder may say of the same id.
    pub(super) async fn put_slips<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<(), IntakeError> {
        let records: Vec<_> = records.filter(|record| record.phase != Phase::Staged).collect();
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        let known = self.catalog.get_all(&ids).await?;
        let known: BTreeSet<RecordingId> =
            known.iter().filter(|record| record.phase != Phase::Staged).map(|record| record.id).collect();
        let mut put = false;
        for record in records.into_iter().filter(|record| !known.contains(&record.id)) {
            let slip = Bytes::from(Slip::of(record).to_bytes());
            self.put_object(&record.slip_object(), Content::Bytes(slip)).await?;
            put = true;
        }
        if put {
            self.place.flush().await?;
            self.passed(Step::Flushed)?;
        }
        Ok(())
    }
}
