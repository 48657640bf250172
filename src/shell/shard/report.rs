//! A shard and the status of the recorder: which calls go on, and where their frames went.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::counters::Counters;
use crate::base::time::Stamp;
use crate::recording::manifest::CallFacts;
use crate::recording::recorder::Recorder;
use crate::shell::shard::Shard;
use crate::shell::status::snapshot::{CallState, Parties};
use crate::shell::status::{CallOpened, CallStats, Status};

/// Where a shard tells.
#[derive(Clone, Debug)]
pub(in crate::shell) struct Reporter {
    status: Arc<Status>,
    books: Arc<Mutex<Counters>>,
    told: Stamp,
}

impl Reporter {
    pub(in crate::shell) fn new(status: Arc<Status>) -> Self {
        Self { status, books: Arc::default(), told: Stamp::ZERO }
    }

    /// What the shard has counted, as it was told last.
    pub(in crate::shell) fn books(&self) -> Arc<Mutex<Counters>> {
        self.books.clone()
    }

    pub(super) fn opened(&self, recorder: &Recorder, call: Option<&CallFacts>) {
        let Some(format) = recorder.format() else { return };
        let [trunk, rule, _] = recorder.labels().clone();
        let parties = call.map(|call| Parties { caller: call.caller.clone(), callee: call.callee.clone() });
        self.status.call_opened(CallOpened {
            id: recorder.id().into(),
            trunk,
            rule,
            format,
            since: recorder.start(),
            parties,
        });
    }

    pub(super) fn closed(&self, id: &str) {
        self.status.call_closed(id);
    }
}

impl Shard {
    /// Tells how its calls are, once a second.
    pub(super) fn report(&mut self, now: Stamp) {
        let Some(reporter) = &mut self.reporter else { return };
        if now.since(reporter.told) < REPORT_EVERY && now >= reporter.told {
            return;
        }
        reporter.told = now;
        let mut books = self.books.clone();
        for recorder in self.recorders.iter().flatten() {
            books.add(recorder.books());
            if recorder.format().is_none() {
                continue;
            }
            let progress = recorder.progress();
            let stats = CallStats {
                state: match (progress.paused, progress.heard) {
                    (true, _) => CallState::Paused,
                    (false, true) => CallState::Talking,
                    (false, false) => CallState::Ringing,
                },
                codecs: [&progress.codecs[0], &progress.codecs[1]],
                packets: progress.packets,
                bytes: progress.bytes,
                lost: progress.lost,
                jitter_ms: progress.jitter_ms,
            };
            reporter.status.call_stats(recorder.id(), now, &stats);
        }
        *reporter.books.lock().unwrap_or_else(PoisonError::into_inner) = books;
    }
}

const REPORT_EVERY: Duration = Duration::from_millis(900);
