//! Tells people what they are to be told: a thread of a vault that runs.
//!
//! ```text
//! log, duties, review ─► queue ─ notices.json, synced ─► message ─► arrived ─ notices.json
//! ```
//!
//! What was written down and did not arrive is sent again: at least once, with the same id. What cannot be told holds up
//! nothing else.

pub mod config;
mod send;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::archive::entry::Entry;
use crate::archive::notice::{Batch, Channel, Kind, Notice, Queue, conditions, of_entry};
use crate::archive::review::{Review, State, Text};
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::receipts::ReceiptsError;
use crate::shell::signals::Stop;
use crate::shell::vault::duties::Bell;
use crate::shell::vault::home::{Vault, write_new};
use crate::shell::vault::notices::config::NotifyConfig;
use crate::shell::vault::review;
use crate::shell::vault::users::UserStore;

pub use crate::shell::vault::notices::send::signature;

/// The thread.
pub(super) struct Worker {
    pub(super) vault: Arc<Vault>,
    pub(super) bell: Arc<Bell>,
    pub(super) stop: Stop,
}

impl Worker {
    /// Tells until it is asked to stop.
    pub(super) fn work(self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.run()),
            Err(error) => tracing::error!("starting to tell people: {error}"),
        }
    }

    async fn run(self) {
        let ways = &self.vault.config.notify;
        let channels: Vec<Channel> = ways.iter().map(NotifyConfig::channel).collect();
        let mut queue = load(&self.vault.home);
        queue.keep_only(&channels);
        let mut said = None;
        while !self.stop.asked() {
            let before = queue.clone();
            let looked = self.look(&mut queue, &channels);
            told_once(
                &mut said,
                looked.err().map(|fault| format!("looking for what is to be told: {fault}")),
            );
            if queue != before {
                self.keep(&queue);
            }
            tokio::select! {
                () = self.send_due(&mut queue, ways, &channels) => {}
                // What is being sent is sent again by the next run.
                () = stopped(&self.stop) => {}
            }
            self.rest().await;
        }
    }

    /// Puts into the queue what has come.
    fn look(&self, queue: &mut Queue, channels: &[Channel]) -> Result<(), ReceiptsError> {
        let (log, now) = (&self.vault.log, clock::now());
        let made = review::last(&self.vault.home);
        let standing = self.bell.standing();
        let is_log_broken = log.fault().is_some();
        // Before the duties have begun nobody knows how they stand.
        if !standing.is_empty() || is_log_broken {
            queue.conditions(&conditions(&standing, made.as_ref(), is_log_broken), now, channels);
        }
        if queue.is_digest_due(now) {
            queue.add(&self.digest(made.as_ref(), now), channels);
        }
        let size = log.signed()?.size;
        if queue.read.is_some_and(|read| read > size) {
            queue.add(&Notice::new(Kind::LogChanged, "", now), channels);
        }
        // Of what was before the first time nobody is told now; nor where the log was put back.
        let from = queue.read.filter(|read| *read <= size).unwrap_or(size);
        queue.read = Some(from);
        log.each(from, |index, bytes| {
            if let Some(notice) = Entry::from_bytes(bytes).ok().and_then(|entry| of_entry(index, &entry)) {
                queue.add(&notice, channels);
            }
            queue.read = Some(index + 1);
            Ok::<_, ReceiptsError>(())
        })
    }

    fn digest(&self, made: Option<&Review>, now: Stamp) -> Notice {
        let waiting = UserStore::default().users(&self.vault).map_or(0, |users| users.asked().count());
        let wrong = self.bell.standing().iter().filter(|standing| standing.is_wrong()).count();
        let mut notice = Notice::new(Kind::Digest, "", now);
        notice.text = Some(digest(made, waiting, wrong));
        notice
    }

    async fn send_due(&self, queue: &mut Queue, ways: &[NotifyConfig], channels: &[Channel]) {
        let (now, home, name) = (clock::now(), &*self.vault.home, &*self.vault.config.vault.name);
        let mut due: Vec<(&NotifyConfig, &Channel, Batch)> = Vec::new();
        for (way, channel) in ways.iter().zip(channels) {
            due.extend(queue.due(channel, now).map(|batch| (way, channel, batch.clone())));
        }
        if due.is_empty() {
            return;
        }
        // Its id is on the disk before anybody has seen it.
        self.keep(queue);
        let sent = join_all(due.iter().map(|(way, _, batch)| send::send(way, home, name, batch))).await;
        for ((_, channel, _), sent) in due.iter().zip(sent) {
            match sent {
                Ok(()) => queue.delivered(channel, clock::now()),
                Err(why) => {
                    tracing::warn!(channel = channel.name, "not told: {why}");
                    queue.failed(channel, &why, clock::now());
                }
            }
        }
        self.keep(queue);
    }

    fn keep(&self, queue: &Queue) {
        let bytes = serde_json::to_vec(queue).expect("names, times and texts");
        if let Err(fault) = write_new(&self.vault.home, KEPT, &bytes, 0o600) {
            tracing::error!("keeping what is to be told: {fault}");
        }
    }

    async fn rest(&self) {
        let until = clock::monotonic() + LOOK_AGAIN;
        while !self.stop.asked() && clock::monotonic() < until {
            tokio::time::sleep(TICK).await;
        }
    }
}

async fn stopped(stop: &Stop) {
    while !stop.asked() {
        tokio::time::sleep(TICK).await;
    }
}

/// The same fault every few seconds is one line.
fn told_once(said: &mut Option<String>, fault: Option<String>) {
    if *said != fault {
        if let Some(fault) = &fault {
            tracing::error!("{fault}");
        }
        *said = fault;
    }
}

fn digest(made: Option<&Review>, waiting: usize, wrong: usize) -> Text {
    let mut text = match made {
        None => Text::new("no review was made yet", "nie było jeszcze przeglądu"),
        Some(made) => {
            let [fails, attention, unknown, well] = State::ALL.map(|state| made.count(state));
            Text::new(
                format!(
                    "review: {fails} fail, {attention} need attention, {unknown} cannot be known, {well} are well"
                ),
                format!(
                    "przegląd: niespełnione {fails}, do uwagi {attention}, nieznane {unknown}, w porządku {well}"
                ),
            )
        }
    };
    for finding in made.into_iter().flat_map(|made| &made.findings).filter(|one| one.state == State::Fails) {
        text.en.push_str(&format!("\nfails: {} {}", finding.id, finding.subject));
        text.pl.push_str(&format!("\nniespełnione: {} {}", finding.id, finding.subject));
    }
    text.en
        .push_str(&format!("\nduties that need somebody: {wrong}\nrequests for users that wait: {waiting}"));
    text.pl.push_str(&format!("\nczynności wymagające uwagi: {wrong}\nwnioski o użytkowników: {waiting}"));
    text
}

/// What cannot be read is begun anew: what is so will be told again.
fn load(home: &Path) -> Queue {
    let bytes = std::fs::read(home.join(KEPT)).ok();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// How the ways stand, as far as it is written down.
pub fn standing(vault: &Vault) -> Queue {
    load(&vault.home)
}

/// Sends a test on one way, at once and past the queue.
pub fn test(vault: &Vault, config: &NotifyConfig) -> Result<(), String> {
    let now = clock::now();
    let notice = Notice::new(Kind::Test, "", now);
    let id = format!("test-{}", now.as_unix_nanos());
    let batch = Batch { id, made: now, notices: vec![notice], left_out: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("starting to send: {error}"))?;
    runtime.block_on(send::send(config, &vault.home, &vault.config.vault.name, &batch))
}

/// How the ways stand, for `vault status`.
pub fn as_json(queue: &Queue) -> serde_json::Value {
    let ways = queue.outboxes().map(|(name, outbox)| {
        json!({
            "name": name, "waiting": outbox.waiting(), "failures": outbox.failures,
            "delivered": outbox.delivered, "fault": outbox.fault,
        })
    });
    ways.collect()
}

/// What waits to be told, in the vault's home.
const KEPT: &str = "notices.json";
const TICK: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
