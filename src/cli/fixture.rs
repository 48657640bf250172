//! `sejf fixture`: captures made from a recipe, with known sound.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::base::format::Format;
use crate::base::frame::LinkType;
use crate::base::party::Party;
use crate::fixture::file::FileWriter;
use crate::fixture::generator::Generator;
use crate::fixture::recipe::{
    CallRecipe, Digit, Dtx, Ending, FileKind, Fork, Hold, InterfaceRecipe, Outcome, Recipe, StreamRecipe,
    TcpRecipe, Transport,
};
use crate::fixture::scenarios;
use crate::fixture::truth::Truth;

/// Make a capture with known sound, for tests, benches and trying things out
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A named scenario; without one, the options below describe the calls
    name: Option<String>,
    /// List the named scenarios
    #[arg(long, exclusive = true)]
    list: bool,
    /// Write all named scenarios into this directory, each with its truth
    #[arg(long, value_name = "DIR", exclusive = true)]
    all: Option<PathBuf>,
    /// Capture file to write; `-` for standard output; gzip where it ends in .gz
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["list", "all"])]
    output: Option<PathBuf>,
    /// Write what is in the capture, as JSON
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Write what each party said, as WAV files of 8 kHz (16 kHz for wide-band codecs)
    #[arg(long, value_name = "DIR")]
    voices: Option<PathBuf>,
    #[command(flatten)]
    calls: Box<CallArgs>,
    #[command(flatten)]
    media: Box<MediaArgs>,
    #[command(flatten)]
    carrier: Box<CarrierArgs>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Calls")]
struct CallArgs {
    /// Decides every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls to make
    #[arg(long, default_value_t = 1)]
    calls: u64,
    /// Calls up at the same time [default: all]
    #[arg(long)]
    concurrent: Option<u64>,
    /// Length of each talk
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,
    /// 183 with media before the answer
    #[arg(long)]
    early_media: bool,
    /// The offer comes in the 200
    #[arg(long)]
    delayed_offer: bool,
    /// Two endpoints ring, the second answers
    #[arg(long)]
    fork: bool,
    /// 407 before the call
    #[arg(long)]
    auth: bool,
    /// INVITE, 200 and BYE are sent twice
    #[arg(long)]
    retransmit: bool,
    /// Hold in the second quarter of the talk
    #[arg(long)]
    hold: bool,
    /// The callee is busy
    #[arg(long, conflicts_with = "cancel")]
    busy: bool,
    /// The caller gives up
    #[arg(long)]
    cancel: bool,
    /// Nobody sends BYE
    #[arg(long)]
    no_bye: bool,
    /// Each call uses the ports of the one before
    #[arg(long)]
    port_reuse: bool,
    /// One-letter header names
    #[arg(long)]
    compact: bool,
    /// More headers in the INVITE
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    extra_headers: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Media")]
struct MediaArgs {
    /// Codec as in a=rtpmap (pcmu, l16/16000, opus/48000/2); several are taken in turn
    #[arg(long, default_value = "pcmu", value_delimiter = ',')]
    codec: Vec<String>,
    /// Sound per packet
    #[arg(long, default_value_t = 20, value_name = "MS")]
    ptime_ms: u32,
    /// Lost packets
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    loss: f64,
    /// Packets lost in a row
    #[arg(long, default_value_t = 1, value_name = "PACKETS")]
    loss_burst: u32,
    /// Packets that come late
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    reorder: f64,
    /// Packets that come twice
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    duplicate: f64,
    /// Jitter
    #[arg(long, default_value_t = 0, value_name = "MS")]
    jitter_ms: u64,
    /// How slow the callee's clock is
    #[arg(long, default_value_t = 0.0, value_name = "PPM", allow_negative_numbers = true)]
    drift_ppm: f64,
    /// No packets in pauses
    #[arg(long)]
    dtx: bool,
    /// Keys the caller presses, one every half second
    #[arg(long, default_value = "")]
    digits: String,
    /// RTCP reports every second
    #[arg(long)]
    rtcp: bool,
    /// The caller is behind an address translator
    #[arg(long)]
    nat: bool,
    /// The voices repeat after so many seconds: cheaper to make; 0 for never
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    voice_loop: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Carrier and file")]
struct CarrierArgs {
    /// SIP over TCP
    #[arg(long)]
    tcp: bool,
    /// Largest TCP segment
    #[arg(long, default_value_t = 1_400, value_name = "BYTES")]
    segment: usize,
    /// IPv6
    #[arg(long)]
    ipv6: bool,
    /// VLAN tag; twice for QinQ
    #[arg(long, value_name = "ID")]
    vlan: Vec<u16>,
    /// Fragment IP packets longer than this
    #[arg(long, default_value_t = 1_500, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(200..))]
    fragment: u16,
    /// Link type
    #[arg(long, value_enum, default_value_t = Link::Ethernet)]
    link: Link,
    /// pcapng in place of pcap (also where the file's name ends in .pcapng)
    #[arg(long)]
    pcapng: bool,
    /// Nanosecond times
    #[arg(long)]
    nanoseconds: bool,
    /// Big-endian file
    #[arg(long)]
    big_endian: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Link {
    Ethernet,
    Sll,
    Sll2,
    Raw,
    Null,
}

/// Makes the capture.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.list {
        let mut out = io::stdout().lock();
        for (name, _) in scenarios::scenarios() {
            writeln!(out, "{name}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(dir) = &args.all {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        for (name, recipe) in scenarios::scenarios() {
            let kind = if recipe.file.kind == FileKind::Pcapng { "pcapng" } else { "pcap" };
            let truth = write_capture(&recipe, &dir.join(format!("{name}.{kind}")))?;
            write_truth(&truth, &dir.join(format!("{name}.truth.json")))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(output) = &args.output else { bail!("nowhere to write: give --output") };
    let recipe = recipe(args, output)?;
    let truth = write_capture(&recipe, output)?;
    if let Some(path) = &args.truth {
        write_truth(&truth, path)?;
    }
    if let Some(dir) = &args.voices {
        write_voices(&truth, dir)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_capture(recipe: &Recipe, path: &Path) -> anyhow::Result<Truth> {
    let mut generator = Generator::new(recipe)?;
    let mut out = create(path)?;
    let writer = FileWriter::new(&recipe.file);
    let mut batch = Vec::with_capacity(BATCH_BYTES + 4_096);
    writer.header(&mut batch);
    loop {
        let frame = generator.next_frame();
        let ended = frame.is_none();
        if let Some(frame) = frame {
            writer.frame(&mut batch, frame.stamp, frame.interface, frame.bytes);
        }
        if ended || batch.len() >= BATCH_BYTES {
            out.write_all(&batch).with_context(|| format!("writing {}", path.display()))?;
            batch.clear();
        }
        if ended {
            break;
        }
    }
    out.flush().with_context(|| format!("writing {}", path.display()))?;
    Ok(generator.into_truth())
}

fn create(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout().lock()));
    }
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        return Ok(Box::new(BufWriter::new(GzEncoder::new(file, Compression::default()))));
    }
    Ok(Box::new(file))
}

fn write_truth(truth: &Truth, path: &Path) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(truth)? + "\n";
    fs::write(path, json).with_context(|| format!("writing {}", path.display()))
}

fn write_voices(truth: &Truth, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    for call in &truth.calls {
        for (number, stream) in call.streams.iter().enumerate() {
            let party = if stream.party == Party::Caller { "caller" } else { "callee" };
            let path = dir.join(format!("call{}-{number}-{party}.wav", call.index));
            let wide =
                stream.codecs.iter().any(|codec| !codec.contains("/8000") || codec.starts_with("G722"));
            let sample_rate = if wide { 16_000 } else { 8_000 };
            let spec = hound::WavSpec {
                channels: 1,
                sample_rate,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let write = || -> hound::Result<()> {
                let mut wav = hound::WavWriter::create(&path, spec)?;
                stream.reference(sample_rate).into_iter().try_for_each(|sample| wav.write_sample(sample))?;
                wav.finalize()
            };
            write().with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

/// The named scenario, or what the options say.
fn recipe(args: &Args, output: &Path) -> anyhow::Result<Recipe> {
    if let Some(name) = &args.name {
        let found = scenarios::scenarios().into_iter().find(|(known, _)| known == name);
        let Some((_, recipe)) = found else { bail!("no scenario {name}; see sejf fixture --list") };
        return Ok(recipe);
    }
    let formats = args.media.codec.iter().map(|codec| format(codec)).collect::<anyhow::Result<Vec<_>>>()?;
    let kinds: Vec<_> = formats.into_iter().map(|format| kind(args, format)).collect();
    let mut recipe = Recipe { seed: args.calls.seed, calls: args.calls.calls, kinds, ..Recipe::default() };
    recipe.port_reuse = args.calls.port_reuse;
    recipe.spacing = spacing(&args.calls);
    recipe.network.vlans.clone_from(&args.carrier.vlan);
    recipe.network.mtu_bytes = args.carrier.fragment.into();
    recipe.file.big_endian = args.carrier.big_endian;
    let stem = output.to_string_lossy();
    if args.carrier.pcapng || stem.trim_end_matches(".gz").ends_with(".pcapng") {
        recipe.file.kind = FileKind::Pcapng;
    }
    let link = match args.carrier.link {
        Link::Ethernet => LinkType::ETHERNET,
        Link::Sll => LinkType::LINUX_SLL,
        Link::Sll2 => LinkType::LINUX_SLL2,
        Link::Raw => LinkType::RAW,
        Link::Null => LinkType::NULL,
    };
    let resolution = if args.carrier.nanoseconds { 9 } else { 6 };
    recipe.file.interfaces = vec![InterfaceRecipe { link, resolution }];
    Ok(recipe)
}

fn spacing(args: &CallArgs) -> Duration {
    let call_secs = args.seconds.max(0.0) + 1.0;
    if args.port_reuse {
        return Duration::from_secs_f64(call_secs + 1.0);
    }
    match args.concurrent {
        Some(concurrent) => Duration::from_secs_f64(call_secs / concurrent.max(1) as f64),
        None => Duration::from_secs_f64(call_secs.min(2.0) / args.calls.max(1) as f64),
    }
}

fn kind(args: &Args, format: Format) -> CallRecipe {
    let (calls, media, carrier) = (&args.calls, &args.media, &args.carrier);
    let talk = Duration::from_secs_f64(calls.seconds.max(0.0));
    let stream = StreamRecipe {
        loss_percent: media.loss,
        loss_burst: media.loss_burst,
        reorder_percent: media.reorder,
        duplicate_percent: media.duplicate,
        jitter: Duration::from_millis(media.jitter_ms),
        ..StreamRecipe::default()
    };
    let mut kind = CallRecipe {
        ipv6: carrier.ipv6,
        talk,
        format,
        ptime_ms: media.ptime_ms,
        early_media: calls.early_media,
        delayed_offer: calls.delayed_offer,
        auth: calls.auth,
        retransmit: calls.retransmit,
        nat: media.nat,
        voice_loop_secs: media.voice_loop,
        rtcp: media.rtcp.then_some(Duration::from_secs(1)),
        streams: [stream.clone(), StreamRecipe { drift_ppm: media.drift_ppm, ..stream }],
        ..CallRecipe::default()
    };
    if carrier.tcp {
        kind.transport = Transport::Tcp(TcpRecipe { segment_bytes: carrier.segment, ..TcpRecipe::default() });
    }
    kind.hold = calls.hold.then(|| Hold { at: talk / 4, length: talk / 4, music: false });
    kind.fork = if calls.fork { Fork::Ringing } else { Fork::No };
    kind.outcome = match (calls.busy, calls.cancel) {
        (true, _) => Outcome::Busy,
        (false, true) => Outcome::Cancelled,
        (false, false) => Outcome::Answered,
    };
    kind.ending = if calls.no_bye { Ending::NoBye } else { Ending::CallerBye };
    kind.dtx = if media.dtx { Dtx::ComfortNoise } else { Dtx::Off };
    kind.style.compact = calls.compact;
    kind.style.extra_headers = calls.extra_headers;
    kind.digits = (1..)
        .zip(media.digits.chars())
        .map(|(n, symbol)| Digit {
            at: Duration::from_millis(500) * n,
            symbol,
            length: Duration::from_millis(160),
        })
        .collect();
    kind
}

/// Reads `pcmu`, `l16/16000` or `opus/48000/2`.
fn format(text: &str) -> anyhow::Result<Format> {
    let mut parts = text.split('/');
    let name = parts.next().unwrap_or_default();
    let default_hz = match name.to_ascii_lowercase().as_str() {
        "opus" => 48_000,
        "amr-wb" => 16_000,
        _ => 8_000,
    };
    let clock_rate_hz = match parts.next() {
        Some(rate) => rate.parse().with_context(|| format!("rate of codec {text}"))?,
        None => default_hz,
    };
    let default_channels = if name.eq_ignore_ascii_case("opus") { 2 } else { 1 };
    let channels = match parts.next() {
        Some(channels) => channels.parse().with_context(|| format!("channels of codec {text}"))?,
        None => default_channels,
    };
    Ok(Format { channels, ..Format::new(name, clock_rate_hz) })
}

/// Written at once.
const BATCH_BYTES: usize = 1 << 20;
