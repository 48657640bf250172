//! The thread that looks after the others: what it is asked, what it tells, and when to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::recording::manifest::{Manifest, RecorderFacts};
use crate::recording::pause::{MaskedBy, PauseReason};
use crate::seal::event;
use crate::shell::canary::{self, Token};
use crate::shell::capture;
use crate::shell::clock;
use crate::shell::config::{Config, Limits};
use crate::shell::control::{self, Action, Command, Reply};
use crate::shell::disk::RealDisk;
use crate::shell::entropy::OsRandom;
use crate::shell::events::{self, Events};
use crate::shell::handover::{Inherited, Keeper};
use crate::shell::http;
use crate::shell::logging::Log;
use crate::shell::notify::{Notifier, Watchdog};
use crate::shell::ops::{self, Ops};
use crate::shell::pressure::Governor;
use crate::shell::record::{self, Left, Paused, Queues, Recorder, Summary};
use crate::shell::service::ServiceError;
use crate::shell::service::setup::{self, Prepared};
use crate::shell::signals::{LastResort, Requests, STOP_PATIENCE, Stop};
use crate::shell::status::snapshot::Interface;
use crate::shell::status::{Status, disk_free_bytes};
use crate::shell::threads::{join, start};

/// The canary's thread, and the way on which it hears of its recordings.
type RunningCanary = (JoinHandle<()>, Sender<Manifest>);

/// A recorder that runs.
pub(super) struct Service {
    config: Config,
    facts: RecorderFacts,
    token: Arc<Token>,
    random: OsRandom,
    recorder: Recorder,
    /// Interface of each capture thread.
    interfaces: Vec<String>,
    events: Events,
    /// What is to be told in the log of receipts.
    noticed: events::Watch,
    status: Arc<Status>,
    notifier: Notifier,
    keeper: Option<Keeper>,
    stop: Stop,
    requests: Requests,
    commands: Receiver<Command>,
    ops: Ops,
    canary: Option<RunningCanary>,
    log: Log,
    governor: Governor,
    /// Kept for as long as it is to bark.
    _watchdog: Option<Watchdog>,
    /// Dropped when all has ended.
    _last_resort: LastResort,
}

impl Service {
    /// Starts all threads.
    pub(super) fn start(prepared: Prepared, log: Log) -> Result<Self, ServiceError> {
        let table = prepared.table();
        let Prepared { config, facts, token, policy, inherited, journal, random, status, .. } = prepared;
        let Inherited { rings, calls, mut keeper } = inherited;
        let (notifier, stop) = (prepared.notifier, prepared.stop);
        let sections = &config.sections;
        let trunks: Vec<_> = sections.trunk.iter().map(|trunk| trunk.name.clone()).collect();
        status.set_config(config.rules.version(), &trunks);
        let requests = Requests::listen()?;
        let (sender, commands) = bounded(COMMANDS_QUEUED);
        let control = control::Config { listener: prepared.control, commands: sender };
        let hosts = sections.metrics.hosts.clone();
        let http = prepared.metrics.map(|listener| http::Config { listener, hosts });
        let ops = Ops::start(ops::Config { control: Some(control), http }, &status)?;
        let interfaces: Vec<_> = rings.iter().map(|ring| ring.config().interface.clone()).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let entropy = random.clone();
        let recorder = Recorder::start(record::Config {
            rings,
            resume: calls,
            in_progress: keeper.as_ref().map(Keeper::in_progress),
            to: sections.recorder.to.clone(),
            policy: Arc::new(policy),
            journal: Some((journal, facts.clone())),
            table,
            depths: depths(&sections.limits),
            shards: sections.recorder.shards.unwrap_or(cores),
            entropy: Arc::new(move |_| Box::new(entropy.clone())),
            log: prepared.log,
            status: status.clone(),
            load: prepared.load,
            disk: Box::new(|| Box::new(RealDisk::new(false))),
        })?;
        if let Some(keeper) = &mut keeper {
            keeper.start()?;
        }
        status.set_capturing(true);
        let events = Events::new(&facts);
        recorder.note(events.started(&config));
        let counters = interfaces.iter().cloned().zip(recorder.stats().iter().cloned());
        let noticed = events::Watch::new(events.clone(), clock::now(), counters, recorder.journal());
        let moving = status.clone();
        let watchdog = Watchdog::start(&notifier, move || moving.snapshot().moves())?;
        let canary = start_canary(&config, &recorder, &status, &token, &random)?;
        Ok(Self {
            _last_resort: LastResort::arm(stop.clone(), STOP_PATIENCE, remains(&status, &recorder))?,
            config,
            facts,
            token,
            random,
            recorder,
            interfaces,
            events,
            noticed,
            status,
            notifier,
            keeper,
            stop,
            requests,
            commands,
            ops,
            canary,
            log,
            governor: prepared.governor,
            _watchdog: watchdog,
        })
    }

    /// Looks after it until it is to stop, and ends it.
    pub(super) fn watch(mut self, finished: &mut impl FnMut(&Manifest)) -> Result<Summary, ServiceError> {
        tell(self.notifier.ready("recording"));
        tracing::info!(rules = self.config.rules.version(), "recording");
        let mut second = clock::monotonic();
        while !self.stop.asked() && !self.recorder.is_broken() {
            match self.recorder.done().recv_timeout(LOOK_EVERY) {
                Ok(manifest) => self.ended(&manifest, finished),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.requests.reload.try_recv().is_ok() {
                // Said in the log.
                let _ = self.reload();
            }
            if self.requests.status.try_recv().is_ok() {
                self.log_status();
            }
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            let before = self.governor.level();
            self.governor.look(&self.recorder, self.recorder.journal().as_deref());
            if before != self.governor.level() {
                let event = self.events.shedding(before.as_str(), self.governor.level().as_str());
                self.recorder.note(event);
            }
            if second.elapsed() >= Duration::from_secs(1) {
                second = clock::monotonic();
                self.every_second();
            }
        }
        self.end(second, finished)
    }

    fn end(mut self, _: Instant, finished: &mut impl FnMut(&Manifest)) -> Result<Summary, ServiceError> {
        let broken = !self.stop.asked();
        // So that this end has one too.
        self.stop.ask();
        tell(self.notifier.stopping());
        tracing::info!(broken, "ending: calls in progress are closed and stored");
        self.status.set_capturing(false);
        let how = if broken { event::Stop::Failed } else { event::Stop::Asked };
        let last = self.noticed.last_look(clock::now());
        for event in last.into_iter().chain([self.events.stopped(how)]) {
            self.recorder.note(event);
        }
        let canary = self.canary.map(|(thread, _)| thread);
        if let Some(keeper) = &mut self.keeper {
            keeper.hold();
        }
        let status = self.status.clone();
        let told = |manifest: &Manifest| {
            status.finished(manifest.state, &manifest.trunk);
            finished(manifest);
        };
        let summary = match self.keeper.filter(|_| !broken) {
            Some(keeper) => self.recorder.leave(told).map(|(summary, left): (Summary, Left)| {
                keeper.leave(&left);
                summary
            }),
            None => self.recorder.finish(told),
        };
        if let Some(thread) = canary {
            join("canary", thread)?;
        }
        self.ops.stop()?;
        let summary = summary?;
        if !summary.balanced {
            tracing::error!(
                captured = summary.counters.captured,
                accounted = summary.counters.accounted(),
                "the books do not balance: this is a fault of the program, please report it"
            );
        }
        tracing::info!(captured = summary.counters.captured, recorded = summary.counters.recorded, "ended");
        Ok(summary)
    }

    fn ended(&self, manifest: &Manifest, finished: &mut impl FnMut(&Manifest)) {
        self.status.finished(manifest.state, &manifest.trunk);
        if let Some((_, done)) = self.canary.as_ref().filter(|_| manifest.trunk == canary::TRUNK) {
            // A canary that does not listen says itself that it is late.
            let _ = done.try_send(manifest.clone());
            return;
        }
        finished(manifest);
    }

    fn every_second(&mut self) {
        for event in self.noticed.look(clock::now()) {
            self.recorder.note(event);
        }
        let status = &self.status;
        let mut interfaces: Vec<Interface> = Vec::new();
        for (name, stats) in self.interfaces.iter().zip(self.recorder.stats()) {
            let place = interfaces.iter().position(|known| known.name == *name).unwrap_or_else(|| {
                interfaces.push(Interface { name: name.clone(), up: true, ..Interface::default() });
                interfaces.len() - 1
            });
            add(&mut interfaces[place], stats);
        }
        interfaces.into_iter().for_each(|interface| status.set_interface(interface));
        status.set_books(self.recorder.books());
        status.set_queues(self.recorder.queues());
        if let Some(journal) = self.recorder.journal() {
            let segments = journal.segments_live.load(Ordering::Relaxed);
            status.set_journal(journal.lag(), segments, journal.is_degraded());
            status.journal_synced(Duration::from_micros(journal.sync_us.load(Ordering::Relaxed)));
        }
        let waiting =
            self.recorder.queues().iter().find(|(name, ..)| name == "store").map_or(0, |queue| queue.1);
        status.set_store(waiting as u64 * CHUNK_BYTES, self.recorder.trouble().is_failing());
        if let Ok(free) = disk_free_bytes(&self.config.sections.recorder.to) {
            status.set_disk_free(free);
        }
        status.set_shedding(self.governor.level() as u32);
        status.set_conditions(&self.recorder.conditions());
        status.second();
    }

    fn obey(&mut self, Command { action, peer, reply }: Command) {
        tracing::info!(?action, uid = peer.uid, "told over the control socket");
        match action {
            Action::Pause { id, reason, actor } => {
                let why = PauseReason { text: format!("{reason} ({actor})"), by: MaskedBy::Control };
                answer(reply, self.recorder.pause(&id, Some(&why)), ["paused", "it is paused already"]);
            }
            Action::Resume { id, .. } => {
                answer(reply, self.recorder.pause(&id, None), ["recording goes on", "it is not paused"]);
            }
            Action::Reload => match self.reload() {
                Ok(changes) => reply.done(format!("{changes} changes")),
                Err(error) => reply.refuse(error.to_string()),
            },
            Action::Stop => {
                self.stop.ask();
                reply.done("stopping");
            }
        }
    }

    /// Reads the configuration again. What is wrong with the new one is said, and the old one stays.
    fn reload(&mut self) -> Result<usize, ServiceError> {
        tell(self.notifier.reloading());
        let loaded = self.take_over();
        self.status.reloaded(loaded.is_ok());
        match &loaded {
            Ok(changes) => tracing::info!(changes, "configuration taken over"),
            Err(error) => {
                tracing::error!("the configuration is not taken over, the old one stays: {error}");
            }
        }
        tell(self.notifier.ready("recording"));
        loaded
    }

    fn take_over(&mut self) -> Result<usize, ServiceError> {
        let path = self.config.path.clone();
        let (fresh, oddities) = Config::load(&path)?;
        for oddity in oddities {
            tracing::warn!("{}: {oddity}", path.display());
        }
        let policy = setup::policy(&fresh, &self.facts, &self.token)?;
        setup::probe(&fresh, &mut self.random)?;
        let changes = Config::diff(&self.config, &fresh);
        for change in &changes {
            if change.restart {
                tracing::warn!("{}: takes effect with the next start", change.brief());
            } else {
                tracing::info!("{}", change.brief());
            }
        }
        self.log.set_level(fresh.sections.log.level.as_str())?;
        self.recorder.decide_by(&Arc::new(policy));
        if let Some(event) = self.events.changed(&self.config, &fresh) {
            self.recorder.note(event);
        }
        let trunks: Vec<_> = fresh.sections.trunk.iter().map(|trunk| trunk.name.clone()).collect();
        self.status.set_config(fresh.rules.version(), &trunks);
        self.config = fresh;
        Ok(changes.len())
    }

    fn log_status(&self) {
        match serde_json::to_string(&self.status.snapshot()) {
            Ok(text) => tracing::info!("{text}"),
            Err(error) => tracing::warn!(%error, "the status could not be told"),
        }
    }
}

fn depths(limits: &Limits) -> Queues {
    Queues { blocks: limits.block_queue, batches: limits.shard_queue, chunks: limits.store_queue }
}

/// Answers who wanted a pause, or its end: nothing is said to be done that may not be, nor refused that may be.
fn answer(reply: Reply, paused: Paused, [done, already]: [&str; 2]) {
    match paused {
        Paused::Done => reply.done(done),
        Paused::Already => reply.done(already),
        Paused::Canary => reply.refuse(CANARY_STAYS),
        Paused::NoSuchCall => reply.refuse("no such call goes on: `sejf call ls` lists them"),
        Paused::Unconfirmed => reply.refuse(
            "asked for and not yet confirmed: the recorder is busy, and does it in its turn; `sejf call ls` \
             shows whether the call is paused",
        ),
        Paused::Busy => {
            reply.refuse(
                "not done, and it will not be: the recorder is too busy; try again, `sejf status` says why",
            );
        }
    }
}

/// What a stop that is cut off leaves behind, for the log.
fn remains(status: &Arc<Status>, recorder: &Recorder) -> impl Fn() -> String + Send + use<> {
    let (status, trouble, journal) = (status.clone(), recorder.trouble().clone(), recorder.journal());
    let progress = recorder.progress().clone();
    move || {
        let receipted: u64 = status.snapshot().calls.finished.iter().map(|alike| alike.calls).sum();
        let begun = progress.calls.load(Ordering::Relaxed);
        let lag = journal.as_ref().map_or(0.0, |journal| journal.lag().as_secs_f64());
        let last = trouble.last();
        let last = if last.is_empty() { "no error was told".into() } else { last };
        format!(
            "storage does not answer ({last}); as far as is known {} of {begun} calls have no receipt; of these the journal has all but \
             the last {lag:.1} s; the next start recovers them as interrupted, and `sejf salvage` makes whole \
             ones: look after the disk first",
            begun.saturating_sub(receipted)
        )
    }
}

fn start_canary(
    config: &Config,
    recorder: &Recorder,
    status: &Arc<Status>,
    token: &Arc<Token>,
    random: &OsRandom,
) -> Result<Option<RunningCanary>, ServiceError> {
    let sections = &config.sections;
    if !sections.canary.enabled {
        return Ok(None);
    }
    let (sender, done) = bounded(CANARIES_QUEUED);
    let driver = canary::Driver {
        token: token.clone(),
        dir: sections.recorder.to.clone(),
        status: status.clone(),
        inject: Box::new(recorder.injector()),
        done,
        disk: Box::new(RealDisk::new(false)),
        random: Box::new(random.clone()),
        pace: canary::Pace { every: sections.canary.every.0, ..canary::Pace::default() },
    };
    let stop: Arc<AtomicBool> = recorder.stopping();
    Ok(Some((start("canary", move || driver.run(&stop))?, sender)))
}

fn add(interface: &mut Interface, stats: &capture::Stats) {
    let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    interface.up &= stats.up.load(Ordering::Relaxed);
    interface.captured += read(&stats.received);
    interface.bytes += read(&stats.bytes);
    interface.kernel_drops += read(&stats.kernel_drops);
    interface.queue_drops += read(&stats.queue_drops);
}

/// A service manager that does not listen is no reason not to record.
fn tell(told: Result<(), crate::shell::notify::NotifyError>) {
    if let Err(error) = told {
        tracing::warn!("{error}");
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(100);
const CANARY_STAYS: &str = "that is a canary call: it shows that calls are recorded, so it is not paused; `[canary]` switches it off";
const COMMANDS_QUEUED: usize = 16;
const CANARIES_QUEUED: usize = 16;
/// Largest sealed chunk on its way to the disk.
const CHUNK_BYTES: u64 = 64 << 10;
