//! The vault's log towards others: who checks it, who gets a copy of each entry, who attests that it only grows.
//!
//! ```text
//! log ─► forward   each entry to receivers, in order, at least once; a cursor each in audit/forward-NAME.json
//!    └─► witness   the newest checkpoint to witnesses; what they cosign is kept in audit/witnessed/
//! ```
//!
//! A thread of its own: a receiver or a witness that is away for days costs nothing, and holds nobody up.

mod forward;
pub mod keeper;
pub mod settings;
pub mod verify;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::archive::access::{Action, Actor, Request};
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::base::time::Stamp;
use crate::seal::log::CHECKPOINT_PATH;
use crate::shell::clock;
use crate::shell::receipts::{DIR_NAME, read_file};
use crate::shell::signals::Stop;
use crate::shell::vault::home::{Vault, VaultError, io_error, write_new};

/// How far a receiver or a witness is: what is kept over a restart.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Reached {
    /// Entries that it has taken, or cosigned.
    pub size: u64,
    /// Hash of the last of them, in hexadecimal: that what it has taken is what the log has.
    pub leaf: Option<String>,
    /// When that was.
    pub at: Option<Stamp>,
    /// Why it does not work.
    pub fault: Option<Trouble>,
}

/// Why a receiver or a witness gets no further.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Trouble {
    /// Since when.
    pub since: Stamp,
    /// Why, the last time.
    pub words: String,
    /// Where the log itself is not what it was: the alarm that the log has.
    #[serde(default)]
    pub alarm: Option<String>,
    /// Whether the log has it.
    #[serde(default)]
    pub told: bool,
}

impl Trouble {
    /// What there is after another fault, and whether the log is to have it now: an alarm at once, and what is only in the
    /// way once it has lasted. Else one that takes a little at a time would have the log grow by itself, without end.
    fn after(before: Option<Self>, fault: &Fault, now: Stamp) -> (Self, bool) {
        let alarm = match fault {
            Fault::Alarm { alarm, .. } => Some((*alarm).to_owned()),
            Fault::Later(_) => before.as_ref().and_then(|before| before.alarm.clone()),
        };
        let (since, was_told) = before.as_ref().map_or((now, false), |before| (before.since, before.told));
        let is_new_alarm = alarm.is_some() && before.is_none_or(|before| before.alarm != alarm);
        let is_due = is_new_alarm || (!was_told && now.since(since) >= LASTING);
        (Self { since, words: fault.to_string(), alarm, told: was_told || is_due }, is_due)
    }
}

/// How a receiver or a witness stands, for people.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Standing {
    /// `forward` or `witness`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Entries of the log.
    pub entries: u64,
    /// How far it is.
    #[serde(flatten)]
    pub reached: Reached,
    /// Entries that it has not.
    pub behind: u64,
    /// Whether somebody has to see to it.
    pub wrong: bool,
}

impl Standing {
    fn of(kind: &'static str, name: &str, home: &Path, size: u64, now: Stamp) -> Self {
        let reached = Reached::load(home, kind, name);
        let behind = size.saturating_sub(reached.size);
        let fault = reached.fault.as_ref();
        let is_failing =
            fault.is_some_and(|fault| fault.alarm.is_some() || now.since(fault.since) > BEHIND_MAX);
        // What is behind without a word of why: the vault does not run, or has just begun.
        let is_left = behind > 0 && reached.at.is_some_and(|at| now.since(at) > LEFT_MAX);
        let wrong = reached.size > size || is_failing || is_left;
        Self { kind, name: name.into(), entries: size, reached, behind, wrong }
    }
}

/// How all of them stand, whether the vault runs or not.
pub fn standing(vault: &Vault) -> Vec<Standing> {
    let (size, now) = (signed_size(vault), clock::now());
    let config = &vault.config.audit;
    let of = |kind: &'static str, name: &str| Standing::of(kind, name, &vault.home, size, now);
    let forwards = config.forward.iter().map(|forward| of("forward", &forward.name));
    forwards.chain(config.witness.iter().map(|witness| of("witness", &witness.name))).collect()
}

/// Entries that are signed; none where that cannot be read.
fn signed_size(vault: &Vault) -> u64 {
    let note = read_file(&vault.log.dir().join(DIR_NAME), CHECKPOINT_PATH);
    let note = note.and_then(|note| String::from_utf8(note).ok());
    note.and_then(|note| vault.key.open(&note).ok()).map_or(0, |checkpoint| checkpoint.size)
}

impl Reached {
    /// What cannot be read is begun anew: a receiver gets an entry twice rather than not at all.
    fn load(home: &Path, kind: &str, name: &str) -> Self {
        let read = std::fs::read(path_of(home, kind, name)).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn save(&self, home: &Path, kind: &str, name: &str) -> Result<(), VaultError> {
        let bytes = serde_json::to_vec_pretty(self).expect("names, times and texts");
        write_new(&make_dir(home)?, &file_name(kind, name), &bytes, 0o600)
    }
}

fn make_dir(home: &Path) -> Result<PathBuf, VaultError> {
    let dir = home.join(DIR);
    std::fs::create_dir_all(&dir).map_err(io_error("making folder", &dir))?;
    Ok(dir)
}

fn path_of(home: &Path, kind: &str, name: &str) -> PathBuf {
    home.join(DIR).join(file_name(kind, name))
}

fn file_name(kind: &str, name: &str) -> String {
    format!("{kind}-{name}.json")
}

/// Serves receivers and witnesses until it is asked to stop; ends at once where there are none.
pub fn work(vault: &Arc<Vault>, stop: &Stop) {
    let config = &vault.config.audit;
    if config.forward.is_empty() && config.witness.is_empty() {
        return;
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(async {
            let forwards = config.forward.iter().map(|config| {
                let job = forward::Forward::new(Arc::clone(vault), config.clone());
                tokio::spawn(run(Arc::clone(vault), "forward", config.name.clone(), job, stop.clone()))
            });
            let witnesses = config.witness.iter().map(|config| {
                let job = witness::Witness::new(Arc::clone(vault), config.clone());
                tokio::spawn(run(Arc::clone(vault), "witness", config.name.clone(), job, stop.clone()))
            });
            futures_util::future::join_all(forwards.chain(witnesses).collect::<Vec<_>>()).await;
        }),
        Err(error) => tracing::error!("starting to forward the vault's log: {error}"),
    }
}

/// Something that is done again and again for one receiver or witness.
trait Job: Send + 'static {
    /// Brings it further, from where it is. How far it is then, and whether there is more than went at once.
    fn step(&self, reached: &Reached) -> impl Future<Output = Result<(Reached, bool), Fault>> + Send;
    /// How long it is left alone where there is not.
    const EVERY: Duration;
}

/// Why one is not brought further.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// It is away, or refuses, or something here is in the way: it is tried again.
    #[error("{0}")]
    Later(String),
    /// The log is not what it was: somebody has to see to it.
    #[error("{words}")]
    Alarm { alarm: &'static str, words: String },
}

async fn run<J: Job>(vault: Arc<Vault>, kind: &'static str, name: String, job: J, stop: Stop) {
    let mut reached = Reached::load(&vault.home, kind, &name);
    let path = path_of(&vault.home, kind, &name);
    let (mut rest, mut is_kept) = (Duration::ZERO, path.exists());
    // Somebody has it begin anew.
    let is_gone = |is_kept: bool| is_kept && matches!(path.try_exists(), Ok(false));
    while !stop.asked() {
        let begun = clock::monotonic();
        while !stop.asked() && begun.elapsed() < rest {
            tokio::time::sleep(TICK.min(rest)).await;
        }
        if is_gone(is_kept) {
            (reached, is_kept) = (Reached::default(), false);
        }
        // Cheaper than to open the log, and all that is needed to see that nothing is new.
        if rest > Duration::ZERO && reached.fault.is_none() && signed_size(&vault) == reached.size {
            continue;
        }
        let done = tokio::select! {
            done = job.step(&reached) => done,
            () = asked(&stop) => return,
        };
        if is_gone(is_kept) {
            continue;
        }
        match done {
            Ok((next, is_more)) => {
                if let Some(Trouble { since, told: true, .. }) = &reached.fault {
                    tracing::warn!(kind, name, "works again");
                    tell(&vault, kind, &name, json!({ "works_again": next.size, "failed_since": since }));
                }
                rest = if is_more { Duration::ZERO } else { J::EVERY };
                reached = Reached { fault: None, ..next };
            }
            Err(fault) => {
                rest = if reached.fault.is_none() { SHORT } else { (rest * 2).clamp(SHORT, BACK_OFF_MAX) };
                note(&vault, kind, &name, &mut reached, &fault);
            }
        }
        match reached.save(&vault.home, kind, &name) {
            Ok(()) => is_kept = true,
            Err(fault) => tracing::error!(kind, name, "writing down how far it is: {fault}"),
        }
    }
}

/// The log has a row of faults once, and each other alarm: never one a try, which would have it grow by itself.
fn note(vault: &Vault, kind: &'static str, name: &str, reached: &mut Reached, fault: &Fault) {
    let (trouble, is_due) = Trouble::after(reached.fault.take(), fault, clock::now());
    if is_due {
        tracing::error!(kind, name, "{}", trouble.words);
        let mut details = json!({ "fault": trouble.words });
        if let Some(alarm) = &trouble.alarm {
            details["alarm"] = json!(alarm);
        }
        tell(vault, kind, name, details);
    }
    reached.fault = Some(trouble);
}

/// An entry of the vault's own. One that cannot be written is told by whoever writes the next.
fn tell(vault: &Vault, kind: &'static str, name: &str, mut details: serde_json::Value) {
    details[kind] = json!(name);
    let (actor, action, resource) = (Actor::vault(), Action::Duty, Resource::Vault);
    let request = Request { actor: &actor, action, resource, reason: None, now: clock::now() };
    let written = vault
        .log
        .decide_now(&request)
        .map(|decision| vault.log.write(&[Entry::of(&decision, Outcome::Done(details))]));
    if let Ok(Err(fault)) = written {
        tracing::error!(kind, name, "writing into the vault's log how it stands: {fault}");
    }
}

async fn asked(stop: &Stop) {
    while !stop.asked() {
        tokio::time::sleep(TICK).await;
    }
}

/// What is kept of receivers and witnesses, in the vault's home.
const DIR: &str = "audit";
/// Checkpoints that witnesses have cosigned, below [`DIR`].
const WITNESSED: &str = "witnessed";
const TICK: Duration = Duration::from_millis(100);
const SHORT: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// What is in the way for as long, the log has.
const LASTING: Duration = Duration::from_secs(60);
/// One that is behind for longer is something for people.
const BEHIND_MAX: Duration = Duration::from_secs(600);
/// The same where the vault may not have run: a day.
const LEFT_MAX: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver that refuses each other lot, and one that is away.
    #[test]
    fn the_log_has_what_lasts_once_and_an_alarm_at_once() {
        let at = |seconds: u64| Stamp::from_unix_nanos((1_795_000_000 + seconds) * 1_000_000_000);
        let away = || Fault::Later("503".into());
        let told = (0..1_000).filter(|turn| Trouble::after(None, &away(), at(turn * 2)).1).count();
        assert_eq!(told, 0);
        let (mut before, mut told) = (None, Vec::new());
        for seconds in 0..600 {
            let (trouble, is_due) = Trouble::after(before, &away(), at(seconds));
            assert_eq!(trouble.told, seconds >= 60);
            told.extend(is_due.then_some(seconds));
            before = Some(trouble);
        }
        assert_eq!(told, [60]);
        let forked = Fault::Alarm { alarm: "log-forked", words: "another".into() };
        let (alarmed, is_due) = Trouble::after(None, &forked, at(0));
        assert!(is_due && alarmed.told);
        // That it is away besides changes nothing of that.
        let (alarmed, is_due) = Trouble::after(Some(alarmed), &away(), at(600));
        assert_eq!((alarmed.alarm.as_deref(), is_due), (Some("log-forked"), false));
        let back = Fault::Alarm { alarm: "log-rolled-back", words: "shorter".into() };
        assert!(Trouble::after(Some(alarmed), &back, at(601)).1);
    }
}
