//! What a recorder gives up once its sockets are open and before it reads the first packet: who it is,
//! what it may write, what it may ask of the kernel. Whoever takes over the parser gets a process that
//! can append ciphertext to a spool, and nothing else.
//!
//! Measures hold for the thread that applies them and for those that it starts later, so [`Plan::apply`]
//! comes before the first thread.

mod calls;
mod files;
mod memory;
mod user;

use std::fmt;
use std::path::PathBuf;

use caps::CapSet;

pub use crate::shell::sandbox::calls::Unexpected;
pub use crate::shell::sandbox::memory::no_core_dumps;
pub use crate::shell::sandbox::user::{User, UserError, group_id};

/// One thing that is given up.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Measure {
    /// No core file, and no other process of this user reads memory.
    CoreDumps,
    /// Nothing of memory is swapped to a disk.
    MemoryLock,
    /// Not root.
    User,
    /// No capability, and none to be had.
    Capabilities,
    /// Programs with set-user-ID give nothing.
    NoNewPrivileges,
    /// Landlock: nothing is written outside the spool, little is read, no TCP.
    Files,
    /// seccomp: only the system calls that recording needs.
    SystemCalls,
}

impl Measure {
    /// The name that the configuration and the log use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CoreDumps => "core-dumps",
            Self::MemoryLock => "memory-lock",
            Self::User => "user",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Files => "files",
            Self::SystemCalls => "system-calls",
        }
    }
}

/// What became of a measure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It holds; in what form.
    Applied(String),
    /// It does not hold; why, and what to do.
    Unavailable(String),
}

/// What a recorder is left with.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// Directories in which files are made, written, renamed and removed: spool, journal, state.
    pub writable: Vec<PathBuf>,
    /// What is read again while running. For a configuration file name its directory: an editor replaces
    /// the file, and a rule on the old one says nothing of the new.
    pub readable: Vec<PathBuf>,
}

/// What to give up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is left of the file system.
    pub paths: Paths,
    /// Whom to become; needed where the process starts as root.
    pub user: Option<User>,
    /// What happens at a system call that recording does not need.
    pub unexpected: Unexpected,
}

/// Why a recorder does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Measures that are not available and not waived.
    #[error(
        "the sandbox is not whole: {missing}. Set this right, or name measures that may be missing in `waive` of [sandbox]"
    )]
    Incomplete {
        /// `measure: reason`, several.
        missing: String,
    },
    /// Threads run that would keep what this one gives up. Our fault.
    #[error("{threads} threads run before the sandbox: this is a fault of the program, please report it")]
    Threads {
        /// How many, this one among them.
        threads: usize,
    },
}

impl Plan {
    /// Makes a plan that leaves `paths`, stays who the process is, and refuses what is unexpected.
    pub fn new(paths: Paths) -> Self {
        Self { paths, user: None, unexpected: Unexpected::Refuse }
    }

    /// Gives everything up, for good. Nothing is refused here: see [`Report::require`].
    pub fn apply(&self) -> Result<Report, SandboxError> {
        match std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) {
            1 => Ok(self.apply_to_this_thread()),
            threads => Err(SandboxError::Threads { threads }),
        }
    }

    /// [`Plan::apply`] for this thread and those that it starts later; others keep what they have.
    pub fn apply_to_this_thread(&self) -> Report {
        let mut report = Report::default();
        report.add(Measure::MemoryLock, memory::lock());
        // Needs a capability that changing the user takes away.
        let bounding = caps::clear(None, CapSet::Bounding);
        let writable = self.paths.writable.as_slice();
        report.add(Measure::User, user::change(self.user.as_ref(), writable));
        // The kernel forgets this one when the user changes.
        report.add(Measure::CoreDumps, memory::no_core_dumps());
        let unprivileged = rustix::thread::set_no_new_privs(true).map_err(|error| error.to_string());
        report.add(Measure::Capabilities, drop_capabilities(bounding.is_ok() || unprivileged.is_ok()));
        report.add(Measure::NoNewPrivileges, unprivileged.map(|()| "set".into()));
        report.add(Measure::Files, files::restrict(&self.paths));
        report.add(Measure::SystemCalls, calls::restrict(self.unexpected));
        report.outcomes.sort_by_key(|(measure, _)| *measure);
        report
    }
}

/// `closed`: whether no program that is started can bring capabilities back.
fn drop_capabilities(closed: bool) -> Result<String, String> {
    // Ambient capabilities are part of the inheritable ones, and effective of permitted: in this order.
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(|error| format!("clearing the {set:?} set: {error}"))?;
        let left = caps::read(None, set).map_err(|error| format!("reading the {set:?} set: {error}"))?;
        if !left.is_empty() {
            return Err(format!("{} capabilities are left in the {set:?} set", left.len()));
        }
    }
    if closed { Ok("none".into()) } else { Err("the bounding set is open, and so are new privileges".into()) }
}

/// What holds and what does not.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each measure once.
    pub outcomes: Vec<(Measure, Outcome)>,
}

impl Report {
    fn add(&mut self, measure: Measure, outcome: Result<String, String>) {
        let outcome = outcome.map_or_else(Outcome::Unavailable, Outcome::Applied);
        self.outcomes.push((measure, outcome));
    }

    /// Refuses to go on where a measure is not available and not among the `waived`.
    pub fn require(&self, waived: &[Measure]) -> Result<(), SandboxError> {
        let missing: Vec<String> = self
            .outcomes
            .iter()
            .filter(|(measure, _)| !waived.contains(measure))
            .filter_map(|(measure, outcome)| match outcome {
                Outcome::Applied(_) => None,
                Outcome::Unavailable(reason) => Some(format!("{}: {reason}", measure.as_str())),
            })
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(SandboxError::Incomplete { missing: missing.join("; ") })
        }
    }
}

/// A measure a line, for the log and for `--dry-run`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (measure, outcome)) in self.outcomes.iter().enumerate() {
            let (mark, words) = match outcome {
                Outcome::Applied(how) => ("yes", how),
                Outcome::Unavailable(reason) => ("NO", reason),
            };
            let end = if index + 1 < self.outcomes.len() { "\n" } else { "" };
            write!(f, "{:<18} {mark:<3} {words}{end}", measure.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_measure_is_named_with_its_reason_unless_waived() {
        let mut report = Report::default();
        report.add(Measure::CoreDumps, Ok("off".into()));
        report.add(Measure::MemoryLock, Err("the limit is 8 MiB".into()));
        let error = report.require(&[Measure::User]).unwrap_err().to_string();
        assert!(error.contains("memory-lock: the limit is 8 MiB"), "{error}");
        assert!(!error.contains("core-dumps"), "{error}");
        report.require(&[Measure::MemoryLock]).unwrap();
        assert_eq!(report.to_string().lines().count(), 2);
        assert!(report.to_string().contains("NO"));
    }

    #[test]
    fn threads_that_run_already_are_refused() {
        // The test itself is the second one, beside the harness.
        let plan = Plan::new(Paths::default());
        assert!(matches!(plan.apply(), Err(SandboxError::Threads { threads }) if threads > 1));
    }
}
