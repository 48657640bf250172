//! A restart without a gap: packet sockets stay open with the service manager, and calls in progress are left
//! to the process that comes, whether this one is told to stop or dies.
//!
//! ```text
//!  process 1 ──store──► rings, record             in the service manager; the kernel fills the rings
//!      │ every second: writes into the record what has changed of its calls
//!      │ told to stop: reads what is there, ends parts, writes what is left; killed: does nothing more
//!      ▼
//!  process 2 ◄─LISTEN_FDS── rings, record         tells its call table the signalling in the record, then
//!                                                 reads what has come into the rings meanwhile
//! ```
//!
//! Nothing is lost as long as no ring fills up between the two. Nobody reads meanwhile, so a ring lasts for
//! as long as it has blocks: one is used up for every 256 KiB, and every `block_timeout` however little has
//! come. 64 MiB with 8 ms last for 2 s, with 40 ms for 10 s, or until 64 MiB have come.
//!
//! After a kill more is missing: what the dead process had taken out of the rings and had not sealed, and
//! what was signalled since its last note. A call that began after it is nobody's until it is
//! signalled again; one whose BYE came after it goes on until its media has been silent for as long as any
//! call's may be. The blocks that the dead process was reading are read again.
//!
//! The record ([`mod@record`]) has numbers of parties and SIP messages. It is in memfds, never in a file; as
//! all memory it may be swapped, so a recorder runs without swap or with an encrypted one. The service
//! manager drops it when the service is stopped and not started again.

mod in_progress;
pub mod record;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::fs::fstat;

use crate::base::time::Stamp;
use crate::recording::parts::LeftCall;
use crate::shell::capture::{self, CaptureError, Ring};
use crate::shell::clock;
pub use crate::shell::handover::in_progress::InProgress;
use crate::shell::handover::record::{Found, RecordFault};
use crate::shell::handover::writer::Writer;
use crate::shell::notify::{Notifier, NotifyError};
use crate::shell::record::Left;
use crate::shell::threads::{ThreadFailed, join, start};

/// What this process begins with.
#[derive(Debug)]
pub struct Inherited {
    /// Rings of all interfaces that are wanted, in order: taken over where they could be, else new.
    pub rings: Vec<Ring>,
    /// Calls that go on; none where no other process can come after this one.
    pub calls: Option<Vec<LeftCall>>,
    /// Leaves all of it to the next.
    pub keeper: Option<Keeper>,
}

/// Has the service manager keep what the next process takes over.
#[derive(Debug)]
pub struct Keeper {
    notifier: Notifier,
    in_progress: Arc<InProgress>,
    record: Record,
    /// What is kept, by name: the number of the socket.
    stored: BTreeMap<String, u64>,
}

/// The record, and who has it.
#[derive(Debug)]
enum Record {
    /// Nobody writes.
    Idle(Box<Scribe>),
    /// A thread, until the sender is gone.
    Written(Sender<()>, JoinHandle<Box<Scribe>>),
    /// It is lost.
    Lost,
}

/// Writes the record, and sees to it that the service manager has it.
#[derive(Debug)]
struct Scribe {
    writer: Writer,
    notifier: Notifier,
    /// What the record is called in the service manager's store, once it is there.
    name: Option<String>,
    /// What records of processes before are called there.
    before: Vec<String>,
    /// The record cannot be written: it has been said.
    is_failing: bool,
}

/// Takes what is meant for it out of `descriptors`, as [`crate::shell::notify::inherited`] gives them, opens
/// what is missing of `wanted`, and has the service manager keep all of it from now on.
///
/// Needs what [`capture::open`] needs. To be called before privileges are given up.
pub fn inherit(
    wanted: &[capture::Config],
    descriptors: &mut Vec<(String, OwnedFd)>,
    notifier: &Notifier,
) -> Result<Inherited, CaptureError> {
    let (mut records, mut sockets) = (Vec::new(), BTreeMap::new());
    for (name, descriptor) in std::mem::take(descriptors) {
        if name.starts_with(RECORD_NAME) {
            records.push((name, File::from(descriptor)));
        } else if name.starts_with(RING_PREFIX) {
            sockets.insert(name, descriptor);
        } else {
            descriptors.push((name, descriptor));
        }
    }
    let mut rings = Vec::new();
    for (number, config) in (0..).zip(wanted) {
        rings.extend(rings_of(config, number, &mut sockets, notifier)?);
    }
    for name in sockets.into_keys() {
        tracing::warn!(name, "a packet socket of the process before is of no interface that is captured");
        tell(notifier.forget(&name));
    }
    let (names, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();
    let Found { calls, sequence, .. } = found_in(&records, clock::now());
    // A record that tells nothing is not mistaken for the one that takes its place.
    let numbers = names.iter().filter_map(|name| name.rsplit_once('-')?.1.parse().ok());
    let sequence = numbers.fold(sequence, u64::max);
    let keeper = Keeper::new(&rings, notifier, names, sequence);
    Ok(Inherited { rings, calls: keeper.is_some().then_some(calls), keeper })
}

/// All rings of an interface: those of the process before where all of them are there and fit.
fn rings_of(
    config: &capture::Config,
    number: u16,
    sockets: &mut BTreeMap<String, OwnedFd>,
    notifier: &Notifier,
) -> Result<Vec<Ring>, CaptureError> {
    let names: Vec<_> = (0..config.threads.clamp(1, capture::THREADS_MAX))
        .map(|thread| ring_name(&config.interface, thread))
        .collect();
    let kept: Vec<_> = names.iter().filter_map(|name| sockets.remove(name)).collect();
    if kept.is_empty() {
        return capture::open(config, number);
    }
    // Others would get flows that nobody reads.
    let is_same =
        kept.len() == names.len() && !sockets.contains_key(&ring_name(&config.interface, kept.len()));
    let taken = is_same.then(|| capture::take_over(kept, config, number));
    match taken {
        Some(Ok(rings)) => {
            tracing::info!(interface = config.interface, "captures on where the process before stopped");
            return Ok(rings);
        }
        Some(Err(error)) => tracing::warn!(%error, "what came since the process before stopped is lost"),
        None => tracing::warn!(
            interface = config.interface,
            "another number of capture threads: what came since the process before stopped is lost"
        ),
    }
    names.iter().for_each(|name| tell(notifier.forget(name)));
    capture::open(config, number)
}

fn found_in(records: &[File], now: Stamp) -> Found {
    match find(records, now) {
        Ok(found) => {
            if found.unreadable > 0 {
                let unreadable = found.unreadable;
                tracing::warn!(unreadable, "calls of the process before could not be read: they begin anew");
            }
            found
        }
        Err(fault) => {
            tracing::warn!(%fault, "the calls of the process before begin anew: the record of them is of no use");
            Found::default()
        }
    }
}

/// Reads what a process has left, or was writing when it died, at `now`.
pub fn find(records: &[File], now: Stamp) -> Result<Found, RecordFault> {
    let halves: Vec<_> = records.iter().map(record::read).collect::<Result<_, _>>()?;
    record::find(&halves, now)
}

impl Keeper {
    /// None where nobody keeps anything. `before` names the records of processes before, the last frame of
    /// which was that of `sequence`.
    fn new(rings: &[Ring], notifier: &Notifier, before: Vec<String>, sequence: u64) -> Option<Self> {
        if !notifier.is_connected() {
            return None;
        }
        let writer = match Writer::new(sequence) {
            Ok(writer) => writer,
            Err(error) => {
                tracing::warn!(%error, "no memory for a record of calls: a restart will end them");
                return None;
            }
        };
        let notifier = notifier.clone();
        let scribe = Scribe { writer, notifier: notifier.clone(), name: None, before, is_failing: false };
        let record = Record::Idle(Box::new(scribe));
        let mut keeper = Self { notifier, in_progress: Arc::default(), record, stored: BTreeMap::new() };
        keeper.store(rings);
        Some(keeper)
    }

    /// Where those who know tell what goes on.
    pub fn in_progress(&self) -> Arc<InProgress> {
        self.in_progress.clone()
    }

    /// Keeps the record current from now on, and puts it in the place of that of the process before as soon
    /// as all calls of that one are in it. Who dies before leaves them to the next one.
    ///
    /// Needs a thread: after [`crate::shell::sandbox::Plan::apply`].
    pub fn start(&mut self) -> Result<(), ThreadFailed> {
        let Record::Idle(mut scribe) = std::mem::replace(&mut self.record, Record::Lost) else {
            return Ok(());
        };
        let (stop, stopped) = bounded(0);
        let in_progress = self.in_progress.clone();
        let thread = start("keeper", move || {
            scribe.keep(&in_progress, &stopped);
            scribe
        })?;
        self.record = Record::Written(stop, thread);
        Ok(())
    }

    /// Leaves the record as it is. To be called before calls are ended that go on in the next process: should
    /// this one be killed while it ends them, or fail, they do.
    pub fn hold(&mut self) {
        let record = std::mem::replace(&mut self.record, Record::Lost);
        self.record = match record {
            Record::Written(stop, thread) => {
                drop(stop);
                match join("keeper", thread) {
                    Ok(scribe) => Record::Idle(scribe),
                    Err(error) => {
                        tracing::error!(%error, "there is no record of calls any more: a restart ends them");
                        Record::Lost
                    }
                }
            }
            record => record,
        };
    }

    /// Has rings kept that are not yet: of an interface that was made again they are others.
    fn store(&mut self, rings: &[Ring]) {
        for (name, ring) in names_of(rings).into_iter().zip(rings) {
            let Ok(number) = fstat(ring.as_fd()).map(|stat| stat.st_ino) else { continue };
            let before = self.stored.insert(name.clone(), number);
            if before == Some(number) {
                continue;
            }
            if before.is_some() {
                tell(patiently(|| self.notifier.forget(&name)));
            }
            tell(patiently(|| self.notifier.store(&name, ring)));
        }
    }

    /// Leaves rings and calls to the next process. The rings may be closed here after.
    pub fn leave(mut self, left: &Left) {
        self.hold();
        self.store(&left.rings);
        let Record::Idle(mut scribe) = self.record else { return };
        match scribe.writer.leave(&left.calls, clock::now()) {
            Ok(()) => {
                scribe.arm();
                tracing::info!(calls = left.calls.len(), "calls in progress are left to the next process");
            }
            Err(error) => tracing::error!(%error, "calls in progress could not be left: they begin anew"),
        }
    }
}

impl Scribe {
    fn keep(&mut self, in_progress: &InProgress, stopped: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(KEEP_EVERY) {
            let now = clock::now();
            if !self.writer.take(in_progress.take(), now) {
                continue;
            }
            let written = self.writer.write(now);
            let failed = written.is_err();
            if let Err(error) = written
                && !self.is_failing
            {
                tracing::warn!(%error, "the record of calls is not current: killed now, the recorder ends them");
            }
            self.is_failing = failed;
            if self.writer.has_written() {
                self.arm();
            }
        }
    }

    /// Has the record kept, then none of processes before: the newest counts where somebody finds both.
    fn arm(&mut self) {
        if self.name.is_some() {
            return;
        }
        let name = format!("{RECORD_NAME}-{}", self.writer.sequence());
        for half in self.writer.halves() {
            if let Err(error) = patiently(|| self.notifier.store(&name, half)) {
                // What is there of the process before stays until this is.
                return tell(Err(error));
            }
        }
        for before in std::mem::take(&mut self.before) {
            tell(patiently(|| self.notifier.forget(&before)));
        }
        self.name = Some(name);
    }
}

/// The names of rings in the store, in order.
fn names_of(rings: &[Ring]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    rings
        .iter()
        .map(|ring| {
            let interface = ring.config().interface.as_str();
            let count = seen.entry(interface).or_default();
            *count += 1;
            ring_name(interface, *count - 1)
        })
        .collect()
}

fn ring_name(interface: &str, thread: usize) -> String {
    format!("{RING_PREFIX}{interface}-{thread}")
}

/// A service manager that is busy has room again soon.
fn patiently(mut tell: impl FnMut() -> Result<(), NotifyError>) -> Result<(), NotifyError> {
    for _ in 0..TRIES {
        match tell() {
            Err(NotifyError::Socket { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(TRY_AGAIN);
            }
            told => return told,
        }
    }
    tell()
}

fn tell(told: Result<(), NotifyError>) {
    if let Err(error) = told {
        tracing::warn!(%error, "the next start may begin without what this process has");
    }
}

/// What names of records begin with in the service manager's store: the sequence of a frame in it follows.
pub const RECORD_NAME: &str = "sejf-calls";
/// What names of rings begin with there: interface and number of the thread follow.
pub const RING_PREFIX: &str = "sejf-ring-";
/// How often the record is made current.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How often, and when, to try again where the service manager has no room.
const TRIES: u32 = 100;
const TRY_AGAIN: Duration = Duration::from_millis(10);
