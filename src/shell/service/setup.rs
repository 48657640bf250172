//! What needs privileges, and what can fail: all of it before the first packet is read.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use crate::base::policy::Condition;
use crate::base::seed::HashSeed;
use crate::call::table;
use crate::recording::manifest::RecorderFacts;
use crate::recording::policy::Policy;
use crate::seal::batch::BatchSealer;
use crate::seal::random::Randomness;
use crate::seal::recipient::Recipients;
use crate::shell::canary::{self, Token};
use crate::shell::capture;
use crate::shell::config::{self, Config};
use crate::shell::control;
use crate::shell::entropy::OsRandom;
use crate::shell::handover::{self, Inherited};
use crate::shell::http;
use crate::shell::identity;
use crate::shell::journal::{self, Folder, Kept, RealJournalDisk};
use crate::shell::load::Load;
use crate::shell::logging;
use crate::shell::notify::{self, Notifier};
use crate::shell::pressure::{self, Governor};
use crate::shell::receipts::ReceiptLog;
use crate::shell::recovery;
use crate::shell::rulebook;
use crate::shell::sandbox::{self, Paths, Plan, User};
use crate::shell::service::ServiceError;
use crate::shell::signals::Stop;
use crate::shell::status::{About, Status};

/// A recorder with all its sockets open and its privileges given up, and no thread yet.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) facts: RecorderFacts,
    pub(super) token: Arc<Token>,
    pub(super) policy: Policy,
    pub(super) inherited: Inherited,
    pub(super) log: ReceiptLog,
    pub(super) journal: Kept,
    pub(super) random: OsRandom,
    pub(super) status: Arc<Status>,
    pub(super) notifier: Notifier,
    pub(super) control: UnixListener,
    pub(super) metrics: Option<TcpListener>,
    pub(super) stop: Stop,
    pub(super) load: Arc<Load>,
    pub(super) governor: Governor,
}

impl Prepared {
    pub(super) fn new(config: Config, forced: &[Condition]) -> Result<Self, ServiceError> {
        let notifier = Notifier::from_env()?;
        let mut inherited = notify::inherited()?;
        let sections = &config.sections;
        let mut random = OsRandom::new()?;
        let inherited_rings = open(&config, &mut inherited, &notifier)?;
        let control = control::bind(&sections.control.socket, sections.control.mode.0, group(&config)?)?;
        let metrics = metrics(&config, &mut inherited)?;
        let signer = identity::load_or_create(Some(&sections.recorder.state))?;
        let facts = RecorderFacts { id: signer.name().into(), version: env!("CARGO_PKG_VERSION").into() };
        let token = Arc::new(Token::new(&mut random));
        let policy = policy(&config, &facts, &token)?;
        probe(&config, &mut random)?;
        let load = Arc::new(Load::new(sections.limits.calls, forced));
        let limits = pressure::Limits {
            memory: sections.limits.memory.0,
            disk_reserve: sections.limits.disk_reserve.0,
        };
        let governor = Governor::new(load.clone(), &sections.recorder.to, limits);
        let plan = plan(&config)?;
        let stop = Stop::on_signals()?;
        let status = Status::new(About { recorder: facts.id.clone(), parties: sections.control.parties });
        let report = plan.apply()?;
        for (measure, outcome) in &report.outcomes {
            match outcome {
                sandbox::Outcome::Applied(how) => tracing::info!("sandbox: {}: {how}", measure.as_str()),
                sandbox::Outcome::Unavailable(why) => {
                    tracing::warn!("sandbox: {} is missing: {why}", measure.as_str());
                }
            }
        }
        report.require(&sections.sandbox.waive)?;
        // After the user has changed, so that what is made here is his.
        let folder = sections.recorder.to.join(canary::FOLDER);
        std::fs::create_dir_all(&folder)
            .map_err(|source| ServiceError::Folder { path: folder.clone(), source })?;
        let log = ReceiptLog::open(&sections.recorder.to, signer)?;
        let journal = journal(&config, &log, random.clone())?;
        // Nobody else records here, as both have made sure of.
        if let Err(error) = canary::sweep(&sections.recorder.to) {
            tracing::warn!(%error, "what an earlier run left of a canary call stays");
        }
        status.set_recipients_probed(true);
        Ok(Self {
            facts,
            token,
            policy,
            inherited: inherited_rings,
            log,
            journal,
            random,
            status: Arc::new(status),
            notifier,
            control,
            metrics,
            stop,
            load,
            governor,
            config,
        })
    }

    /// What the call table is told to do.
    pub(super) fn table(&self) -> table::Config {
        let mut seed = [0; 8];
        self.random.clone().fill(&mut seed);
        table::Config { seed: HashSeed(u64::from_le_bytes(seed)), ..table_of(&self.config) }
    }
}

/// The same, as far as the configuration says it.
fn table_of(config: &Config) -> table::Config {
    table::Config {
        orphans: config.rules.wants_orphans(),
        // A reload may bring rules that mask, headers that pause, and anyone may pause over the control socket:
        // calls in progress are looked at by the table that the start has made.
        signals: true,
        limits: table::Limits { calls: config.sections.limits.calls, ..table::Limits::default() },
        ..table::Config::default()
    }
}

/// What the log looks like.
pub(super) fn log_format(config: &Config) -> logging::Format {
    match config.sections.log.format {
        config::LogFormat::Auto | config::LogFormat::Journald => logging::Format::Auto,
        config::LogFormat::Json => logging::Format::Json,
        config::LogFormat::Text => logging::Format::Text,
    }
}

/// What becomes of calls by `config`, canary calls among them.
pub(super) fn policy(config: &Config, facts: &RecorderFacts, token: &Token) -> Result<Policy, ServiceError> {
    let path = config.path.clone();
    let policy = rulebook::policy(config, facts)
        .and_then(|policy| Ok(policy.with_canary(token.prefix(), rulebook::canary(config, facts)?)));
    policy.map_err(|fault| ServiceError::Recipients { path, fault })
}

/// Seals something to everybody who is to open anything: a recipient that cannot be sealed to is found
/// before the first call, not by it.
pub(super) fn probe(config: &Config, random: &mut OsRandom) -> Result<(), ServiceError> {
    let path = || config.path.clone();
    let mut try_one = |whom: &str, recipients: &Recipients| {
        let sealed = BatchSealer::start(recipients, random).map(drop);
        sealed.map_err(|source| ServiceError::Probe { path: path(), whom: whom.into(), source })
    };
    let journal = config.journal_recipients();
    let journal = journal.map_err(|fault| ServiceError::Recipients { path: path(), fault })?;
    try_one("the journal", &journal)?;
    for (whom, recipients) in
        rulebook::recipients(config).map_err(|fault| ServiceError::Recipients { path: path(), fault })?
    {
        try_one(&whom, &recipients)?;
    }
    Ok(())
}

/// Packet sockets, and what a process before this one has left.
fn open(
    config: &Config,
    descriptors: &mut Vec<(String, OwnedFd)>,
    notifier: &Notifier,
) -> Result<Inherited, ServiceError> {
    let wanted: Vec<_> = config.sections.capture.iter().map(ring_config).collect();
    if wanted.is_empty() {
        return Err(ServiceError::NoCapture { path: config.path.clone() });
    }
    Ok(handover::inherit(&wanted, descriptors, notifier)?)
}

fn ring_config(wanted: &config::Capture) -> capture::Config {
    capture::Config {
        interface: wanted.interface.clone(),
        threads: wanted.threads,
        ring_bytes: wanted.ring.as_usize(),
        snaplen: wanted.snaplen,
        promiscuous: wanted.promiscuous,
        filter: wanted.filter.clone(),
        timestamps: match wanted.timestamps {
            config::Timestamps::Kernel => capture::Timestamps::Kernel,
            config::Timestamps::Hardware => capture::Timestamps::Hardware,
        },
        block_timeout_ms: u32::try_from(wanted.block_timeout.0.as_millis()).unwrap_or(u32::MAX),
    }
}

/// The socket that the service manager has opened for metrics, else one of our own.
fn metrics(
    config: &Config,
    inherited: &mut Vec<(String, OwnedFd)>,
) -> Result<Option<TcpListener>, ServiceError> {
    if let Some(place) = inherited.iter().position(|(name, _)| name == METRICS_SOCKET) {
        return Ok(Some(inherited.swap_remove(place).1.into()));
    }
    let address = config.sections.metrics.listen.0;
    Ok(address.map(http::bind).transpose()?)
}

/// Number of the group that may use the control socket.
fn group(config: &Config) -> Result<Option<u32>, ServiceError> {
    let Some(name) = &config.sections.control.group else { return Ok(None) };
    sandbox::group_id(name).map(Some).ok_or_else(|| ServiceError::Group { name: name.clone() })
}

fn plan(config: &Config) -> Result<Plan, ServiceError> {
    let sections = &config.sections;
    let mut plan = Plan::new(Paths {
        writable: vec![
            sections.recorder.to.clone(),
            sections.journal.directory.clone(),
            sections.recorder.state.clone(),
        ],
        readable: config
            .path
            .parent()
            .map(|dir| if dir.as_os_str().is_empty() { ".".into() } else { dir.to_path_buf() })
            .into_iter()
            .chain([ZONES.into()])
            .collect(),
    });
    for dir in &plan.paths.writable {
        std::fs::create_dir_all(dir).map_err(|source| ServiceError::Folder { path: dir.clone(), source })?;
    }
    plan.user = sections.recorder.user.as_deref().map(User::find).transpose()?;
    Ok(plan)
}

/// The journal, and what a run that died has left in it and beside it.
fn journal(config: &Config, log: &ReceiptLog, random: OsRandom) -> Result<Kept, ServiceError> {
    let sections = &config.sections;
    let folder = Folder::take(&sections.journal.directory, &sections.recorder.to)?;
    let leftovers = recovery::scan(&sections.recorder.to, &folder, log)?;
    let path = config.path.clone();
    let recipients = config.journal_recipients().map_err(|fault| ServiceError::Recipients { path, fault })?;
    let config = journal::Config {
        recordings: sections.recorder.to.clone(),
        segment_bytes: sections.journal.segment.0,
        segments: sections.journal.segments,
        hand_over: sections.journal.hand_over.0,
        key: Box::new(move |random| BatchSealer::start(&recipients, random)),
        random: Box::new(move || Box::new(random.clone())),
        status: Arc::default(),
        disk: Box::new(|| Box::new(RealJournalDisk::default())),
    };
    Ok(Kept { config, folder, leftovers })
}

/// What the unit calls the socket of metrics.
const METRICS_SOCKET: &str = "metrics";
/// Time zones of rules are read from there.
const ZONES: &str = "/usr/share/zoneinfo";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_a_reload_may_ask_for_is_told_from_the_start() {
        let text = "[[capture]]\ninterface = 'lo'\n[limits]\ncalls = 77\n";
        let table = table_of(&Config::parse(Path::new("sejf.toml"), text).unwrap());
        assert!(table.signals, "there is no rule yet, and there may be one that masks");
        assert_eq!((table.limits.calls, table.orphans), (77, false));
    }
}
