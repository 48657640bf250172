//! `sejf demo`: the whole way once, with nothing but this program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::demo_web;
use crate::cli::replay::{Advanced, Run, for_people};
use crate::cli::text::clean;
use crate::cli::{ls, open};
use crate::fixture;
use crate::recording::manifest::Manifest;
use crate::recording::recorder::Content;
use crate::seal::identity::Identities;
use crate::shell::keys::{self, KeyKind};
use crate::shell::library::Library;
use crate::shell::replay::{Observer, Progress};
use crate::shell::signals::Stop;
use crate::shell::{clock, verify};

/// Shows the whole way: makes a key and a capture with a few calls, records it, verifies the sealed
/// files without the key, opens them with it, and says what is where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for it all; must not exist [default: sejf-demo, or the next free sejf-demo-N]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Show a vault's page instead: on this machine alone, until Ctrl-C, with nothing left behind.
    #[arg(long, conflicts_with = "to")]
    web: bool,
    /// Captures whose calls the page is to show, in place of the demo's own.
    #[arg(value_name = "CAPTURE", requires = "web")]
    captures: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.web {
        return demo_web::run(&args.captures);
    }
    let mut out = std::io::stdout().lock();
    let dir = args.to.clone().map_or_else(free_name, Ok)?;
    std::fs::create_dir(&dir).with_context(|| format!("making directory `{}`", dir.display()))?;
    let places = Places::new(&dir);

    let pair = keys::generate(KeyKind::X25519)?;
    keys::write_identity(&places.key, &pair)?;
    step(&mut out, "a key pair", &places.key)?;
    let capture = fixture::generate(&fixture::scenarios::demo())?.capture;
    std::fs::write(&places.capture, &capture)
        .with_context(|| format!("writing `{}`", places.capture.display()))?;
    step(&mut out, "a capture with a few calls", &places.capture)?;

    let recipients = keys::recipients(std::slice::from_ref(&pair.recipient), &[])?;
    let started = clock::monotonic();
    let run = Run {
        captures: vec![places.capture.clone()],
        to: places.recordings.clone(),
        recipients,
        content: Content::Opus,
        orphans: false,
        filter: None,
        journal: None,
        stop: Stop::default(),
        mask_digits: false,
        pause: None,
    };
    let advanced = Advanced::with_state(places.state.clone());
    let summary = run.start(&advanced, &mut Silent)?;
    step(&mut out, "sealed recordings", &places.recordings)?;
    writeln!(out, "\n{}", for_people(&summary, started.elapsed()))?;

    let report = verify::directory(&places.recordings, &verify::Asked::default())?;
    anyhow::ensure!(report.faults.is_empty(), "the new recordings do not verify: {:?}", report.faults);
    writeln!(out, "verified without the key: {}", report.summary())?;

    let identities = keys::identities(std::slice::from_ref(&places.key))?;
    let (manifests, faults) = Library::open(&places.recordings)?.manifests(&identities)?;
    anyhow::ensure!(faults.is_empty(), "a new recording does not open: {}", faults[0]);
    writeln!(out, "opened with the key:\n\n{}", ls::table(&manifests))?;
    let opened = open_all(&manifests, &places, &identities)?;
    writeln!(out, "Listen to a call, caller left and callee right:\n")?;
    for path in opened.iter().take(1) {
        writeln!(out, "  ffplay {}", clean(&path.display().to_string()))?;
    }
    writeln!(out, "\nThe same by hand:\n\n{}", places.by_hand(&pair.recipient))?;
    Ok(ExitCode::SUCCESS)
}

fn open_all(
    manifests: &[Manifest],
    places: &Places,
    identities: &Identities,
) -> anyhow::Result<Vec<PathBuf>> {
    let plain = &places.opened;
    std::fs::create_dir(plain).with_context(|| format!("making directory `{}`", plain.display()))?;
    let mut opened = Vec::new();
    for file in manifests.iter().flat_map(|manifest| &manifest.files) {
        let output = plain.join(file.name.trim_end_matches(".age"));
        open::to_file(&places.recordings.join(&file.name), identities, &output, false)?;
        opened.push(output);
    }
    Ok(opened)
}

/// What the demo makes.
struct Places {
    key: PathBuf,
    capture: PathBuf,
    recordings: PathBuf,
    opened: PathBuf,
    state: PathBuf,
}

impl Places {
    fn new(dir: &Path) -> Self {
        Self {
            key: dir.join("identity.key"),
            capture: dir.join("demo.pcap"),
            recordings: dir.join("recordings"),
            opened: dir.join("opened"),
            state: dir.join("recorder"),
        }
    }

    fn by_hand(&self, recipient: &str) -> String {
        format!(
            "  sejf replay {} --to out --recipient {recipient}\n  sejf ls out -i {key}\n  sejf verify out\n",
            self.capture.display(),
            key = self.key.display(),
        )
    }
}

fn free_name() -> anyhow::Result<PathBuf> {
    let mut names = std::iter::once("sejf-demo".into()).chain((2..1_000).map(|n| format!("sejf-demo-{n}")));
    names.find(|name| !Path::new(name).exists()).map(PathBuf::from).context("no free name: say --to DIR")
}

fn step(out: &mut impl Write, what: &str, path: &Path) -> std::io::Result<()> {
    writeln!(out, "{what:<28}{}", clean(&path.display().to_string()))
}

pub(super) struct Silent;

impl Observer for Silent {
    fn recorded(&mut self, _: &Manifest) {}

    fn progress(&mut self, _: &Progress) {}
}
