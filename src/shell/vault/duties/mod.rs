//! What a vault that runs does by itself: [`crate::archive::duties`] says what and when, this carries it out.
//!
//! A thread of its own, with a catalog of its own, so that taking in waits for nothing here. Asked to stop, it ends
//! between two recordings, or drops what it is at a moment later: all of it can be cut off anywhere, and goes on. What
//! was done when is in `duties.json` in the vault's home.

mod run;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::archive::duties::{Came, Duty, Next, Schedule, Standing, State};
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::signals::Stop;
use crate::shell::vault::duties::run::{Outcome, Runner};
use crate::shell::vault::home::{Vault, VaultError, write_new};
use crate::shell::vault::keyring::KeyRing;

/// What others tell the duties, and what these tell others.
#[derive(Debug, Default)]
pub struct Bell {
    woken: Mutex<BTreeSet<Duty>>,
    rang: Notify,
    standing: Mutex<Vec<Standing>>,
}

impl Bell {
    /// Something has come that a duty is for.
    pub fn ring(&self, duty: Duty) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).insert(duty);
        self.rang.notify_one();
    }

    /// How they stand; nothing before they have begun.
    pub fn standing(&self) -> Vec<Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, standing: Vec<Standing>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    fn take(&self) -> BTreeSet<Duty> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_rung(&self) -> bool {
        !self.woken.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// What is kept over a restart.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Kept {
    #[serde(flatten)]
    state: State,
    /// What copies were last looked at for.
    looked: Looked,
    /// What is wrong by the slices of a scrub that is under way: the first few.
    scrub_found: Vec<String>,
}

/// Recordings that lack something are looked at again when it may have come.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
struct Looked {
    /// Classes and places, as they were configured.
    rules: String,
    /// Places that were reached, and media that were in their place.
    there: BTreeSet<String>,
}

impl Kept {
    /// What cannot be read is done again.
    fn load(home: &Path) -> Self {
        let read = std::fs::read(home.join(KEPT)).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn save(&self, home: &Path) -> Result<(), VaultError> {
        let bytes = serde_json::to_vec_pretty(self).expect("names, times and texts");
        write_new(home, KEPT, &bytes, 0o600)
    }
}

/// How the duties of a vault stand, whether it runs or not. Where none was ever done, they are late counted from `begun`.
pub fn standing(vault: &Vault, begun: Stamp) -> Vec<Standing> {
    let now = clock::now();
    let mut state = Kept::load(&vault.home).state;
    let is_running =
        |duty: &Duty| state.duties.get(duty).is_some_and(|done| done.begun.is_some() && done.ended.is_none());
    let running: BTreeSet<Duty> = Duty::ALL.into_iter().filter(is_running).collect();
    // Whether it was cut off, the vault says when it runs again.
    for duty in &running {
        if let Some(done) = state.duties.get_mut(duty) {
            done.ended = done.begun;
        }
    }
    state.since = state.since.or(Some(begun));
    let schedule = Schedule::new(vault.config.duties.clone(), state, now);
    let mut standing = schedule.standing(now);
    standing.iter_mut().for_each(|one| one.running = running.contains(&one.duty));
    standing
}

/// The thread.
pub(super) struct Worker {
    pub(super) vault: Arc<Vault>,
    /// The keys, where the vault has them.
    pub(super) keys: Box<dyn Fn() -> Option<Arc<KeyRing>> + Send + Sync>,
    pub(super) bell: Arc<Bell>,
    /// Called when copies were made: recorders may free theirs.
    pub(super) copied: Box<dyn Fn() + Send + Sync>,
    pub(super) stop: Stop,
}

impl Worker {
    /// Does duties until it is asked to stop.
    pub(super) fn work(self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.run()),
            Err(error) => tracing::error!("starting the vault's duties: {error}"),
        }
    }

    async fn run(self) {
        let Kept { state, looked, scrub_found } = Kept::load(&self.vault.home);
        let mut schedule = Schedule::new(self.vault.config.duties.clone(), state, clock::now());
        let mut runner = Runner::new(&self.vault, looked, scrub_found);
        while !self.stop.asked() {
            for duty in self.bell.take() {
                schedule.wake(duty);
            }
            match schedule.next(clock::now()) {
                Next::Run(duty) => self.one(&mut schedule, &mut runner, duty).await,
                Next::Wait(until) => {
                    self.bell.show(schedule.standing(clock::now()));
                    self.rest(until).await;
                }
            }
        }
    }

    /// Until something is due, or rings; the clock may be set meanwhile, so it is looked at again and again.
    async fn rest(&self, until: Option<Stamp>) {
        let begun = clock::monotonic();
        let left = until.map_or(LOOK_AGAIN, |until| until.since(clock::now())).min(LOOK_AGAIN);
        while !self.stop.asked() && begun.elapsed() < left {
            if timeout(TICK.min(left), self.bell.rang.notified()).await.is_ok() {
                return;
            }
        }
    }

    async fn one(&self, schedule: &mut Schedule, runner: &mut Runner<'_>, duty: Duty) {
        let before = schedule.state().duties.get(&duty).and_then(|done| done.came);
        schedule.begin(duty, clock::now());
        self.keep(schedule, runner);
        let begun = clock::monotonic();
        let policy = &self.vault.config.duties;
        let is_over = || {
            let running = begun.elapsed();
            self.stop.asked()
                || schedule.is_slice_over(running, clock::now())
                || (self.bell.has_rung() && running >= crate::archive::duties::SLICE_MIN)
        };
        let outcome = tokio::select! {
            outcome = runner.run(duty, policy, (self.keys)(), &is_over) => outcome,
            () = self.stopped() => Outcome::new(Came::Stopped, "the vault was stopped".into()),
        };
        // One that was told to stop has not come to its end, whatever it says of what it did.
        let came = if outcome.came == Came::More && self.stop.asked() { Came::Stopped } else { outcome.came };
        tell(duty, came, &outcome.words);
        if matches!(came, Came::Failed | Came::Stopped) {
            // Whatever it had come to is told by nobody else.
            if let Err(error) = runner.log(duty, came, &outcome.words, &serde_json::json!({})) {
                tracing::error!(%duty, "writing into the vault's log what came of it: {error}");
            }
        }
        schedule.end(clock::now(), came, outcome.words);
        // Whoever looks at the last review sees what is so now.
        if before.is_some_and(Came::is_bad) != came.is_bad() {
            schedule.wake(Duty::Review);
        }
        self.keep(schedule, runner);
        if outcome.has_copied {
            (self.copied)();
        }
    }

    /// Comes to its end some time after the vault was asked to stop.
    async fn stopped(&self) {
        while !self.stop.asked() {
            tokio::time::sleep(TICK).await;
        }
        tokio::time::sleep(STOP_PATIENCE).await;
    }

    fn keep(&self, schedule: &Schedule, runner: &Runner<'_>) {
        self.bell.show(schedule.standing(clock::now()));
        let (looked, scrub_found) = (runner.looked.clone(), runner.scrub_found.clone());
        let kept = Kept { state: schedule.state().clone(), looked, scrub_found };
        if let Err(error) = kept.save(&self.vault.home) {
            tracing::error!("writing down what duties were done: {error}");
        }
    }
}

fn tell(duty: Duty, came: Came, words: &str) {
    match came {
        Came::Found | Came::FoundSoFar | Came::Failed | Came::CutOff => tracing::error!(%duty, "{words}"),
        Came::Waits => tracing::warn!(%duty, "{words}"),
        Came::Well | Came::More | Came::Stopped => tracing::debug!(%duty, "{words}"),
    }
}

/// What was done when, in the vault's home.
const KEPT: &str = "duties.json";
const TICK: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// What runs may end by itself.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
