//! `sejf replay`: capture files to sealed recordings.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::cli::keys::RecipientArgs;
use crate::cli::progress::Meter;
use crate::cli::text::{clean, clock, grouped, json};
use crate::recording::manifest::{Manifest, RecorderFacts};
use crate::recording::pause::{PauseBy, PauseRules};
use crate::recording::recorder::{self, Content, Keep};
use crate::seal::batch::BatchSealer;
use crate::seal::random::{Randomness, Seeded};
use crate::seal::recipient::Recipients;
use crate::shell::disk::RealDisk;
use crate::shell::entropy::OsRandom;
use crate::shell::filter::Filter;
use crate::shell::identity;
use crate::shell::journal::{self, Folder, Kept, RealJournalDisk};
use crate::shell::pace::Pace;
use crate::shell::receipts::ReceiptLog;
use crate::shell::recovery;
use crate::shell::replay::{self, Observer, Progress, Summary};
use crate::shell::signals::Stop;
use crate::shell::source::is_stdin;

/// Records the calls of capture files: pcap or pcapng, plain or gzip, `-` for standard input.
/// Several files are merged by time.
///
/// SIGINT and SIGTERM stop it: what is read by then is recorded, calls in progress as interrupted.
///
/// Exit code: 0 all read, 1 a capture is damaged (what came before the damage is recorded) or the run was
/// stopped, 2 failed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Capture files.
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// Directory for the recordings; made where it is missing.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    recipients: RecipientArgs,
    /// What to keep of a call: `opus` and `wav` are sound, caller left and callee right; `pcap` is the
    /// call's own packets, as sent.
    #[arg(long, value_enum, default_value_t = Audio::Opus)]
    audio: Audio,
    /// Also record RTP that no signalling explains.
    #[arg(long)]
    orphans: bool,
    /// Look only at packets that pass this filter, in the language of tcpdump (`man pcap-filter`). Keep
    /// fragments in: `… or (ip[6:2] & 0x1fff != 0)`.
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    #[command(flatten)]
    masking: Masking,
    #[command(flatten)]
    advanced: Advanced,
    /// Print a manifest a line as each call ends, and a summary last.
    #[arg(long)]
    json: bool,
    /// Print nothing but errors.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// What is left out of recordings on purpose.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Masking {
    /// Keep no keys: neither telephone events nor tones in the sound nor what SIP tells of them. Tones
    /// become silence; with `--audio pcap`, packets that carry them are left out.
    #[arg(long, help_heading = "Masking")]
    mask_digits: bool,
    /// Keys that pause a recording and have it go on, as `*1,*2`; one code alone does both in turn.
    #[arg(long, value_name = "PAUSE[,RESUME]", help_heading = "Masking")]
    pause_code: Option<String>,
    /// SIP header that pauses a recording or has it go on with the value `pause` or `resume`; in the
    /// body of an INFO, a line of that name.
    #[arg(long, value_name = "NAME", help_heading = "Masking")]
    pause_header: Option<String>,
    /// Whose keys and requests pause a recording.
    #[arg(long, value_enum, default_value_t = By::Either, help_heading = "Masking")]
    pause_by: By,
}

/// Whose keys and requests pause a recording.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum By {
    /// The caller's.
    Caller,
    /// The callee's.
    Callee,
    /// Both parties'.
    #[default]
    Either,
}

impl Masking {
    /// What may pause a recording; nothing where nothing may.
    fn rules(&self) -> anyhow::Result<Option<PauseRules>> {
        if self.pause_code.is_none() && self.pause_header.is_none() {
            return Ok(None);
        }
        let code = self.pause_code.as_deref();
        let (pause, resume) = code.map(|code| code.split_once(',').unwrap_or((code, code))).unzip();
        let by = match self.pause_by {
            By::Caller => PauseBy::Caller,
            By::Callee => PauseBy::Callee,
            By::Either => PauseBy::Either,
        };
        let rules = PauseRules {
            dtmf_pause: pause.map(Into::into),
            dtmf_resume: resume.map(Into::into),
            header: self.pause_header.clone(),
            by,
        };
        rules.check().context("--pause-code")?;
        Ok(Some(rules))
    }
}

/// What few need.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Advanced {
    /// Threads that decode, encode and seal. The output does not depend on it.
    #[arg(long, value_name = "N", help_heading = "Advanced")]
    shards: Option<usize>,
    /// Do not wait until recordings are on the disk. The capture is still there if the power fails.
    #[arg(long, help_heading = "Advanced")]
    no_sync: bool,
    /// For tests: take all random bytes from this seed (64 hexadecimal digits), so that two runs give
    /// the same bytes. WHOEVER KNOWS THE SEED CAN OPEN THE RECORDINGS.
    #[arg(long, value_name = "HEX", help_heading = "Advanced")]
    seed: Option<String>,
    /// Directory of the key that signs receipts; made at the first run
    /// [default: $XDG_STATE_HOME/sejf or ~/.local/state/sejf]
    #[arg(long, value_name = "DIR", help_heading = "Advanced")]
    state: Option<PathBuf>,
    /// For tests: keep a journal in this directory, as a live recorder does, and recover what an earlier run
    /// has left.
    #[arg(long, value_name = "DIR", hide = true, conflicts_with = "seed")]
    journal: Option<PathBuf>,
    /// For tests: segments of so many bytes.
    #[arg(long, value_name = "BYTES", hide = true, default_value_t = journal::SEGMENT_BYTES)]
    journal_segment: u64,
    /// For tests: take frames no sooner than they came to the capture, at so many times its speed.
    #[arg(long, value_name = "SPEED", hide = true, num_args = 0..=1, default_missing_value = "1")]
    pace: Option<f64>,
}

impl Advanced {
    fn kept(
        &self,
        recordings: &Path,
        recipients: Option<Recipients>,
        log: &ReceiptLog,
    ) -> anyhow::Result<Option<Kept>> {
        let (Some(dir), Some(recipients)) = (&self.journal, recipients) else { return Ok(None) };
        let folder = Folder::take(dir, recordings)?;
        let leftovers = recovery::scan(recordings, &folder, log)?;
        let random = OsRandom::new()?;
        let config = journal::Config {
            recordings: recordings.into(),
            segment_bytes: self.journal_segment,
            segments: journal::SEGMENTS_MIN,
            hand_over: journal::HAND_OVER,
            key: Box::new(move |random| BatchSealer::start(&recipients, random)),
            random: Box::new(move || Box::new(random.clone())),
            status: Arc::default(),
            disk: Box::new(|| Box::new(RealJournalDisk::default())),
        };
        Ok(Some(Kept { config, folder, leftovers }))
    }

    /// The defaults, with the receipts' key in `state`.
    pub(super) fn with_state(state: PathBuf) -> Self {
        Self { state: Some(state), ..Self::default() }
    }
}

/// What to keep of a call.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Audio {
    /// Ogg Opus.
    Opus,
    /// WAV, 16 bit.
    Wav,
    /// pcapng.
    Pcap,
}

impl From<Audio> for Content {
    fn from(audio: Audio) -> Self {
        match audio {
            Audio::Opus => Self::Opus,
            Audio::Wav => Self::Wav,
            Audio::Pcap => Self::Packets,
        }
    }
}

/// A run as asked for, from the command line or the demo.
pub(super) struct Run {
    pub(super) captures: Vec<PathBuf>,
    pub(super) to: PathBuf,
    pub(super) recipients: Recipients,
    pub(super) content: Content,
    pub(super) orphans: bool,
    pub(super) filter: Option<Filter>,
    /// Who can open the journal; none where none is kept.
    pub(super) journal: Option<Recipients>,
    pub(super) stop: Stop,
    pub(super) mask_digits: bool,
    pub(super) pause: Option<PauseRules>,
}

impl Run {
    /// Replays, telling `observer` as it goes.
    pub(super) fn start(self, advanced: &Advanced, observer: &mut dyn Observer) -> anyhow::Result<Summary> {
        let seed = advanced.seed.as_deref().map(parse_seed).transpose()?;
        let signer = match &seed {
            Some(seed) => identity::from_seed(seed),
            None => identity::load_or_create(advanced.state.as_deref())?,
        };
        let recorder = RecorderFacts { id: signer.name().into(), version: env!("CARGO_PKG_VERSION").into() };
        let log = ReceiptLog::open(&self.to, signer)?;
        let journal = advanced.kept(&self.to, self.journal, &log)?;
        let entropy: Arc<replay::Entropy> = match seed {
            Some(seed) => Arc::new(move |ordinal| {
                Box::new(Seeded::new(&seed, "recording", ordinal)) as Box<dyn Randomness + Send>
            }),
            None => {
                let random = OsRandom::new()?;
                Arc::new(move |_| Box::new(random.clone()))
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lazy = advanced.no_sync;
        let config = replay::Config {
            captures: self.captures,
            to: self.to,
            recording: recorder::Config {
                keep: Keep::All,
                priority: 0,
                folder: "",
                content: self.content,
                recipients: self.recipients,
                recorder,
                labels: ["default".into(), "default@1".into(), "standard".into()],
                mask_digits: self.mask_digits,
                pause: self.pause,
            },
            filter: self.filter,
            orphans: self.orphans,
            shards: advanced.shards.unwrap_or(cores).clamp(1, SHARDS_MAX),
            entropy,
            log,
            stop: self.stop,
            disk: Box::new(move || Box::new(RealDisk::new(lazy))),
            journal,
            pace: advanced.pace.map(Pace::at_speed),
        };
        Ok(replay::replay(config, observer)?)
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let run = Run {
        captures: args.captures.clone(),
        to: args.to.clone(),
        recipients: args.recipients.load()?,
        content: args.audio.into(),
        orphans: args.orphans,
        filter: args.filter.as_deref().map(Filter::new).transpose()?,
        journal: args.advanced.journal.as_ref().map(|_| args.recipients.load()).transpose()?,
        stop: Stop::on_signals()?,
        mask_digits: args.masking.mask_digits,
        pause: args.masking.rules()?,
    };
    if args.captures.iter().filter(|path| is_stdin(path)).count() > 1 {
        anyhow::bail!("standard input can be read only once: name `-` once");
    }
    let mut teller = Teller { json: args.json, meter: Meter::new(args.quiet || args.json), failure: None };
    let summary = run.start(&args.advanced, &mut teller)?;
    let elapsed = teller.meter.finish();
    if let Some(failure) = teller.failure {
        return Err(failure).context("printing the manifests; the recordings are complete");
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&serde_json::json!({ "summary": summary }))?)?;
    } else if !args.quiet {
        write!(out, "{}", for_people(&summary, elapsed))?;
        writeln!(out, "sealed into {}", clean(&args.to.display().to_string()))?;
    }
    let stopped = summary.stopped.then_some(STOPPED);
    for warning in summary.damages.iter().map(String::as_str).chain(stopped) {
        #[expect(clippy::print_stderr, reason = "a warning, beside the result")]
        {
            eprintln!("sejf: {}", clean(warning));
        }
    }
    Ok(ExitCode::from(u8::from(summary.stopped || !summary.damages.is_empty())))
}

/// Tells of a run as it goes on.
struct Teller {
    json: bool,
    meter: Meter,
    failure: Option<std::io::Error>,
}

impl Observer for Teller {
    fn recorded(&mut self, manifest: &Manifest) {
        if self.json && self.failure.is_none() {
            let mut out = std::io::stdout().lock();
            let line = json(manifest).map_err(std::io::Error::other);
            self.failure = line.and_then(|line| writeln!(out, "{line}")).err();
        }
    }

    fn progress(&mut self, progress: &Progress) {
        self.meter.show(progress);
    }
}

/// What a run was, in a few lines.
pub(super) fn for_people(summary: &Summary, elapsed: Duration) -> String {
    let counters = &summary.counters;
    let rate = counters.captured as f64 / elapsed.as_secs_f64().max(0.001);
    let states: Vec<_> = summary.recordings.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let total: u64 = summary.recordings.values().sum();
    let mut text = format!(
        "{} packets in {} ({} packets/s): {} recorded\n",
        grouped(counters.captured),
        if elapsed.as_secs() < 60 {
            format!("{:.1} s", elapsed.as_secs_f64())
        } else {
            clock(elapsed.as_secs_f64())
        },
        grouped(rate as u64),
        grouped(counters.recorded),
    );
    for (reason, frames) in &counters.discarded {
        text.push_str(&format!("  {:>12} not recorded: {}\n", grouped(*frames), reason.as_str()));
    }
    text.push_str(&format!(
        "{total} calls: {}\n",
        if states.is_empty() { "none".into() } else { states.join(", ") }
    ));
    text
}

fn parse_seed(text: &str) -> anyhow::Result<[u8; 32]> {
    let digit = |index: usize| text.get(index..index + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..32).map(|index| digit(2 * index)).collect();
    bytes
        .filter(|_| text.len() == 64)
        .and_then(|bytes| bytes.try_into().ok())
        .context("--seed takes 64 hexadecimal digits")
}

const STOPPED: &str = "stopped before the captures ended: what was read is recorded, calls that were in \
    progress are marked as interrupted";
/// More threads than any machine has use for.
const SHARDS_MAX: usize = 256;
