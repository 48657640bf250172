//! The tables of a configuration, but for trunks and rules: those are in
//! [`crate::recording::rules`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::limits::CALLS_MAX;
use crate::recording::rules::{OneOf, RuleSpec, TrunkSpec};
use crate::shell::config::units::{Listen, Mode, Size, Time};
use crate::shell::sandbox::Measure;

/// All of a file, as written.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sections {
    /// `[recorder]`.
    pub recorder: Recorder,
    /// `[[capture]]`, one an interface. Required.
    pub capture: Vec<Capture>,
    /// `[recipients]`: who can open recordings, by the name of a group. `default` is who opens where neither
    /// rule nor trunk names anybody.
    pub recipients: BTreeMap<String, OneOf<String>>,
    /// `[journal]`.
    pub journal: Journal,
    /// `[limits]`.
    pub limits: Limits,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[control]`.
    pub control: Control,
    /// `[log]`.
    pub log: Log,
    /// `[sandbox]`.
    pub sandbox: Sandbox,
    /// `[canary]`.
    pub canary: Canary,
    /// `[[trunk]]`.
    pub trunk: Vec<TrunkSpec>,
    /// `[[rule]]`, in order.
    pub rule: Vec<RuleSpec>,
}

/// `[recorder]`: who records, and where to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recorder {
    /// Name in manifests. Default: `sejf`.
    pub name: String,
    /// Directory of the recordings: the spool. Default: `/var/lib/sejf/spool`.
    pub to: PathBuf,
    /// Directory of the key that signs receipts. Default: `/var/lib/sejf/state`.
    pub state: PathBuf,
    /// Threads that decode, encode and seal, 1 to 256. Default: one a processor.
    pub shards: Option<usize>,
    /// User to become once sockets are open. Default: stay who it is.
    pub user: Option<String>,
    /// Record although one key opens everything and may be lost. Default: false.
    pub allow_single_recipient: bool,
    /// The operator's own count of the rules, for their version in manifests. Default: none.
    pub revision: Option<u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            name: "sejf".into(),
            to: "/var/lib/sejf/spool".into(),
            state: "/var/lib/sejf/state".into(),
            shards: None,
            user: None,
            allow_single_recipient: false,
            revision: None,
        }
    }
}

/// `[[capture]]`: an interface that is listened to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Its name. Required.
    pub interface: String,
    /// Threads, each with a ring, among which the interface's flows are shared: 1 to 64. Default: 1.
    pub threads: usize,
    /// Memory of each ring, 256KiB to 1GiB: what is waiting when the machine is busy. Default: `64MiB`.
    pub ring: Size,
    /// Bytes of a frame that are kept, 128 to 262,144. Default: 65,535.
    pub snaplen: u32,
    /// Also take what is not addressed to this machine. Default: true.
    pub promiscuous: bool,
    /// What to capture, in the language of tcpdump. Fragments pass whatever it says. Default: all.
    pub filter: Option<String>,
    /// Whose clock. Default: `kernel`.
    pub timestamps: Timestamps,
    /// After so long the kernel hands over what it has, 1ms to 40ms. Default: `30ms`.
    pub block_timeout: Time,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            interface: String::new(),
            threads: 1,
            ring: Size::mib(64),
            snaplen: 65_535,
            promiscuous: true,
            filter: None,
            timestamps: Timestamps::Kernel,
            block_timeout: Time::ms(30),
        }
    }
}

/// Whose clock stamps frames.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timestamps {
    /// The network card's.
    Hardware,
    /// The kernel's.
    Kernel,
}

/// `[journal]`: what bounds the loss of a power cut.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Its directory. Default: `/var/lib/sejf/journal`.
    pub directory: PathBuf,
    /// Size of a segment, 1MiB to 16GiB. Default: `64MiB`.
    pub segment: Size,
    /// Segments, all of them made at the start: 3 to 1,024. Default: 8.
    pub segments: usize,
    /// How often what calls have gained is handed over, 10ms to 750ms. Default: `150ms`.
    pub hand_over: Time,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            directory: "/var/lib/sejf/journal".into(),
            segment: Size::mib(64),
            segments: 8,
            hand_over: Time::ms(150),
        }
    }
}

/// `[limits]`: what the recorder may use.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory at which it begins to shed load, from 128MiB. Default: `2GiB`.
    pub memory: Size,
    /// Space of the recordings' disk that they leave free: below it load is shed. Default: `1GiB`.
    pub disk_reserve: Size,
    /// Calls at once, 1 to 100,000. Default: 100,000.
    pub calls: usize,
    /// Blocks of frames that wait for dispatch, up to 8 MiB each: 1 to 1,024. Default: 64.
    pub block_queue: usize,
    /// Batches that wait for each shard: 1 to 1,024. Default: 32.
    pub shard_queue: usize,
    /// Sealed chunks that wait for the disk, 64 KiB each: 16 to 65,536. Default: 4,096.
    pub store_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Size::mib(2_048),
            disk_reserve: Size::mib(1_024),
            calls: CALLS_MAX,
            block_queue: 64,
            shard_queue: 32,
            store_queue: 4_096,
        }
    }
}

/// `[metrics]`: Prometheus and health over HTTP.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where to listen, or `off`. Default: `127.0.0.1:9464`.
    pub listen: Listen,
    /// Names by which it may be asked for, beside localhost: others are turned away. Default: none.
    pub hosts: Vec<String>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: Listen(Some(([127, 0, 0, 1], 9_464).into())), hosts: Vec::new() }
    }
}

/// `[control]`: the socket of `sejf status`, `sejf call` and `sejf top`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Its path. Default: `/run/sejf/control.sock`.
    pub socket: PathBuf,
    /// Its permissions. Default: `0660`.
    pub mode: Mode,
    /// Its group. Default: the recorder's own.
    pub group: Option<String>,
    /// Show numbers of the parties to who asks. Default: false.
    pub parties: bool,
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: "/run/sejf/control.sock".into(), mode: Mode(0o660), group: None, parties: false }
    }
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is said. Numbers and addresses are in `debug` and below only. Default: `info`.
    pub level: Level,
    /// In which form. Default: `auto`: journald where it listens, else text.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: LogFormat::Auto }
    }
}

/// How much is said.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Also numbers and addresses.
    Debug,
    /// What fails.
    Error,
    /// Begin and end of calls.
    Info,
    /// Also each packet.
    Trace,
    /// What is not as it should be.
    Warn,
}

impl Level {
    /// As `tracing` reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Error => "error",
            Self::Info => "info",
            Self::Trace => "trace",
            Self::Warn => "warn",
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// journald where it listens, else text.
    Auto,
    /// The journal of systemd.
    Journald,
    /// An object a line.
    Json,
    /// For people.
    Text,
}

/// `[sandbox]`: what the recorder gives up before it reads a packet.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Measures that may be missing; without all others the recorder does not start. Default: none.
    pub waive: Vec<Measure>,
}

/// `[canary]`: a call of its own through the whole path.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Canary {
    /// Whether there is one. Default: true.
    pub enabled: bool,
    /// How often, from 10s. Default: `1m`.
    pub every: Time,
}

impl Default for Canary {
    fn default() -> Self {
        Self { enabled: true, every: Time::ms(60_000) }
    }
}
