//! What was said is what is recorded: each voice on its side, at its place, whole, and no other voice
//! with it; and every packet counted as the generator counted it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;
use serde_json::Value;

use sejf::base::format::Format;
use sejf::base::party::Party;
use sejf::fixture::recipe::{CallRecipe, Recipe, StreamRecipe};
use sejf::fixture::scenarios::scenarios;
use sejf::fixture::truth::{CallTruth, StreamTruth, Truth};
use sejf::fixture::{generate, voice::voice};

use crate::support::{Bench, assert_success, installed, text};

/// Scenarios whose senders' clocks and timestamps are sound, so that the voice has one place.
const PLACED: &[&str] = &[
    "basic",
    "codec-change",
    "concurrent",
    "delayed-offer",
    "duplicates",
    "early-media",
    "fork-ringing",
    "fragmented-rtp",
    "g722",
    "hold-music",
    "hold-resume",
    "ipv6",
    "jitter",
    "l16-wide-band",
    "nat",
    "pcma-ptime-40",
    "port-reuse",
    "qinq",
    "reorder",
    "retransmissions",
    "silence-plain",
    "ssrc-change",
    "tcp",
    "wrap",
];

#[test]
fn every_voice_is_whole_on_its_side_and_at_its_place_in_wav() {
    let all = scenarios();
    for name in PLACED {
        let (_, recipe) = all.iter().find(|(known, _)| known == name).expect(name);
        let recorded = Recorded::new(recipe, "wav");
        for (call, manifest) in recorded.calls() {
            let sound = recorded.wav(manifest);
            assert_placed(name, call, manifest, &sound, 0.99);
        }
    }
}

#[test]
fn every_voice_is_whole_on_its_side_and_at_its_place_in_opus() {
    if !installed("ffmpeg") {
        return;
    }
    let all = scenarios();
    for name in ["basic", "pcma-ptime-40", "early-media", "hold-music", "g722", "concurrent"] {
        let (_, recipe) = all.iter().find(|(known, _)| *known == name).expect(name);
        let recorded = Recorded::new(recipe, "opus");
        for (call, manifest) in recorded.calls() {
            let sound = recorded.opus(manifest);
            assert_placed(name, call, manifest, &sound, 0.97);
        }
    }
}

#[test]
fn loss_moves_nothing() {
    let stream = StreamRecipe { loss_percent: 1.0, ..StreamRecipe::default() };
    for (format, rate) in [(Format::new("PCMU", 8_000), 8_000), (Format::new("G722", 8_000), 16_000)] {
        let kind = CallRecipe {
            format,
            talk: Duration::from_secs(20),
            streams: [stream.clone(), stream.clone()],
            ..CallRecipe::default()
        };
        let recorded = Recorded::new(&Recipe { kinds: vec![kind], ..Recipe::default() }, "wav");
        for (call, manifest) in recorded.calls() {
            assert!(call.streams.iter().any(|stream| stream.lost > 0), "nothing was lost");
            let sound = recorded.wav(manifest);
            assert_eq!(sound.rate, rate);
            assert_length(manifest, &sound);
            for stream in &call.streams {
                let said = stream.reference(sound.rate);
                let place = place_of(stream, call, sound.rate);
                let channel = sound.of(stream.party);
                // At both ends: a timeline that slips with each loss is off at the end.
                let part = sound.rate as usize;
                for from in [0, said.len() - 2 * part] {
                    let (likeness, lag) = best(&said[from..from + part], channel, place + from, slack(rate));
                    assert!(likeness > 0.85, "{:?} from {from}: {likeness} at {lag}", stream.party);
                }
            }
        }
    }
}

/// Twelve calls at once; calls that take up the ports of the one before; and media that goes on after
/// the BYE, into the next call's time and at its addresses.
#[test]
fn no_call_holds_another_voice() {
    let talk = Duration::from_secs(4);
    let kind = CallRecipe { talk, ..CallRecipe::default() };
    let late = CallRecipe {
        late_media: Duration::from_millis(1_500),
        ring: Duration::from_millis(300),
        ..kind.clone()
    };
    let twelve = Recipe {
        calls: 12,
        spacing: Duration::from_millis(130),
        kinds: vec![kind.clone()],
        ..Recipe::default()
    };
    let reuse = Recipe {
        calls: 4,
        spacing: Duration::from_millis(4_900),
        port_reuse: true,
        kinds: vec![kind],
        ..Recipe::default()
    };
    let overlap = Recipe {
        calls: 3,
        spacing: Duration::from_millis(4_500),
        port_reuse: true,
        kinds: vec![late],
        ..reuse.clone()
    };
    for (name, recipe) in [("twelve", twelve), ("port reuse", reuse), ("late media", overlap)] {
        let recorded = Recorded::new(&recipe, "wav");
        assert_eq!(recorded.manifests.len() as u64, recipe.calls, "{name}");
        let mut spectra = Spectra::new();
        let voices: Vec<_> = (0..recipe.calls)
            .flat_map(|call| [Party::Caller, Party::Callee].map(|party| (call, party)))
            .map(|(call, party)| (call, party, spectra.of(&voice(call, party, 8_000, 4.0))))
            .collect();
        for (call, manifest) in recorded.calls() {
            let sound = recorded.wav(manifest);
            assert_length(manifest, &sound);
            let sent = call.streams.iter().map(|stream| stream.last_packet).max().expect("media");
            let want = sent.nanos_after(call.started) as f64 / 1e9;
            let got = manifest["duration_s"].as_f64().expect("duration");
            assert!(got <= want + 0.1, "{name}: {got} s for a call of {want} s: {manifest:#}");
            for party in [Party::Caller, Party::Callee] {
                let channel = spectra.of(sound.of(party));
                for (index, whose, said) in &voices {
                    let likeness = spectra.likeness(&channel, said);
                    let own = (*index, *whose) == (call.index, party);
                    let right = if own { likeness > 0.7 } else { likeness < 0.2 };
                    assert!(
                        right,
                        "{name}: {party:?} of {} and {whose:?} of {index}: {likeness}",
                        call.index
                    );
                }
                assert_nothing_else(name, call, party, &sound);
            }
        }
    }
}

/// Packets, losses, second copies and disorder of every stream of every scenario.
#[test]
fn every_stream_is_counted_as_it_was_sent() {
    let mut wrong = Vec::new();
    for (name, recipe) in scenarios() {
        let recorded = Recorded::new(&recipe, "wav");
        let streams: Vec<&Value> =
            recorded.manifests.iter().flat_map(|manifest| manifest["streams"].as_array().unwrap()).collect();
        let truths: Vec<&StreamTruth> = recorded.truth.calls.iter().flat_map(|call| &call.streams).collect();
        if streams.len() != truths.len() {
            wrong.push(format!("{name}: {} streams, want {}", streams.len(), truths.len()));
        }
        for truth in truths {
            let ssrc = format!("0x{:08x}", truth.ssrc);
            let Some(stream) =
                streams.iter().find(|s| s["ssrc"] == ssrc.as_str() && s["src"] == truth.src.as_str())
            else {
                wrong.push(format!("{name}: no stream {ssrc} from {}", truth.src));
                continue;
            };
            for (field, want) in [
                ("packets", truth.packets - truth.duplicates),
                ("lost", truth.lost),
                ("duplicate", truth.duplicates),
                ("reordered", truth.reordered),
            ] {
                if stream[field] != want {
                    wrong.push(format!("{name}: {ssrc} {field}: got {}, want {want}", stream[field]));
                }
            }
            if stream["party"] != serde_json::to_value(truth.party).unwrap() {
                wrong.push(format!("{name}: {ssrc} is {}", stream["party"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A generated capture and what the program made of it.
struct Recorded {
    bench: Bench,
    truth: Truth,
    manifests: Vec<Value>,
}

impl Recorded {
    fn new(recipe: &Recipe, audio: &str) -> Self {
        let fixture = generate(recipe).expect("a sound recipe");
        let bench = Bench::new();
        let capture = bench.path("capture");
        std::fs::write(&capture, &fixture.capture).expect("capture");
        assert_success(&bench.replay(&capture, "out", &["--audio", audio, "--quiet"]));
        let manifests = bench.manifests("out");
        Self { bench, truth: fixture.truth, manifests }
    }

    fn calls(&self) -> impl Iterator<Item = (&CallTruth, &Value)> {
        self.truth.calls.iter().map(|call| {
            let has = |manifest: &&Value| {
                manifest["call"]["call_ids"].as_array().unwrap().iter().any(|id| *id == call.call_id.as_str())
            };
            (call, self.manifests.iter().find(has).expect("a manifest for each call"))
        })
    }

    fn wav(&self, manifest: &Value) -> Sound {
        let bytes = self.bench.open("out", manifest, "audio").expect("a sound file");
        let mut wav = hound::WavReader::new(bytes.as_slice()).expect("WAV");
        let spec = wav.spec();
        assert_eq!((spec.channels, spec.bits_per_sample), (2, 16));
        let samples: Vec<i16> = wav.samples().map(|sample| sample.expect("samples")).collect();
        Sound::new(&samples, spec.sample_rate)
    }

    fn opus(&self, manifest: &Value) -> Sound {
        let bytes = self.bench.open("out", manifest, "audio").expect("a sound file");
        let path = self.bench.path("opened.opus");
        std::fs::write(&path, bytes).expect("opened");
        // A delay that is no whole number of samples costs likeness: less so at 16 kHz.
        Sound::new(&ffmpeg(&path, 16_000), 16_000)
    }
}

pub(crate) fn ffmpeg(path: &Path, rate: u32) -> Vec<i16> {
    let rate = rate.to_string();
    let args = ["-v", "error", "-i", text(path), "-f", "s16le", "-ac", "2", "-ar", &rate, "-"];
    let decoded = Command::new("ffmpeg").args(args).output().expect("ffmpeg runs");
    assert_success(&decoded);
    decoded.stdout.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect()
}

pub(crate) struct Sound {
    pub(crate) rate: u32,
    channels: [Vec<i16>; 2],
}

impl Sound {
    pub(crate) fn new(interleaved: &[i16], rate: u32) -> Self {
        let channel = |n| interleaved.iter().skip(n).step_by(2).copied().collect();
        Self { rate, channels: [channel(0), channel(1)] }
    }

    /// The caller is left.
    pub(crate) fn of(&self, party: Party) -> &[i16] {
        &self.channels[usize::from(party == Party::Callee)]
    }
}

fn assert_placed(name: &str, call: &CallTruth, manifest: &Value, sound: &Sound, floor: f64) {
    assert_length(manifest, sound);
    for stream in &call.streams {
        let said = stream.reference(sound.rate);
        let place = place_of(stream, call, sound.rate);
        let channel = sound.of(stream.party);
        let (likeness, lag) = best(&said, channel, place, slack(sound.rate));
        assert!(likeness >= floor, "{name}: {:?} {:08x}: {likeness} at {lag}", stream.party, stream.ssrc);
        let other = sound.of(stream.party.other()).get((place as i64 + lag) as usize..).unwrap_or_default();
        let other = correlation(&said, other);
        assert!(other < 0.2, "{name}: {:?} is on both sides: {other}", stream.party);
    }
}

/// The file is as long as the call; the last packet, which arrives at its end, lasts for up to 40 ms more.
fn assert_length(manifest: &Value, sound: &Sound) {
    let seconds = sound.channels[0].len() as f64 / f64::from(sound.rate);
    let want = manifest["duration_s"].as_f64().expect("duration");
    assert!((-0.021..=0.041).contains(&(seconds - want)), "{seconds} s of sound for {want} s of call");
}

/// Every stretch of a side is that side's voice or silence. A short piece of another voice drowns in
/// a correlation over the whole call; here it stands out.
fn assert_nothing_else(name: &str, call: &CallTruth, party: Party, sound: &Sound) {
    let channel = sound.of(party);
    let (mut expected, mut borders) = (vec![0_i16; channel.len()], Vec::new());
    for stream in call.streams.iter().filter(|stream| stream.party == party) {
        let place = place_of(stream, call, sound.rate);
        let said = stream.reference(sound.rate);
        let (_, lag) = best(&said, channel, place, slack(sound.rate));
        let from = (place as i64 + lag) as usize;
        borders.push(from);
        for (slot, sample) in expected[from..].iter_mut().zip(said) {
            *slot = sample;
        }
    }
    // Whole packets, as they lie on the timeline.
    let block = sound.rate as usize / 50;
    let border = borders.first().map_or(0, |border| border % block);
    let blocks =
        |pcm: &[i16]| -> Vec<Vec<i16>> { pcm[border..].chunks(block).map(<[i16]>::to_vec).collect() };
    let mut other = Vec::new();
    for (number, (got, want)) in blocks(channel).iter().zip(&blocks(&expected)).enumerate() {
        let difference: Vec<i16> = got.iter().zip(want).map(|(g, w)| g.saturating_sub(*w)).collect();
        // Silence is no voice: what was sent after the end of a call need not be there.
        let rest = rms(&difference).min(rms(got));
        if rest > 200.0 {
            other.push((number as f64 * 0.02, rms(got) as i32, rms(want) as i32, rest as i32));
        }
    }
    // Where a voice breaks off, concealment may fade it out.
    assert!(other.len() <= 3, "{name}: {party:?} of {}: beside its voice: {other:?}", call.index);
}

fn rms(pcm: &[i16]) -> f64 {
    let energy: f64 = pcm.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
    (energy / pcm.len().max(1) as f64).sqrt()
}

pub(crate) fn place_of(stream: &StreamTruth, call: &CallTruth, rate: u32) -> usize {
    let nanos = stream.spans[0].sent.nanos_after(call.started);
    (nanos as f64 * f64::from(rate) / 1e9).round() as usize
}

/// 20 ms.
fn slack(rate: u32) -> i64 {
    i64::from(rate) / 50
}

/// The correlation of `said` with `channel` where its first half second fits best around `place`, and
/// how far from there that is.
pub(crate) fn best(said: &[i16], channel: &[i16], place: usize, slack: i64) -> (f64, i64) {
    let from = |lag: i64| {
        let from = usize::try_from(place as i64 + lag).ok()?;
        channel.get(from..)
    };
    let first = &said[..said.len().min(25 * slack as usize)];
    let likeness = |said, lag| from(lag).map_or(-1.0, |heard| correlation(said, heard));
    let lag = (-slack..=slack)
        .map(|lag| (likeness(first, lag), lag))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(0, |(_, lag)| lag);
    (likeness(said, lag), lag)
}

/// Over the length of `said`; what is missing in `heard` counts as silence.
pub(crate) fn correlation(said: &[i16], heard: &[i16]) -> f64 {
    let length = said.len().min(heard.len());
    let energy = |pcm: &[i16]| pcm.iter().map(|s| i64::from(*s) * i64::from(*s)).sum::<i64>() as f64;
    let both: i64 = said.iter().zip(heard).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum();
    both as f64 / (energy(said) * energy(&heard[..length])).sqrt().max(1.0)
}

/// Correlation at every lag at once.
struct Spectra {
    planner: RealFftPlanner<f64>,
}

struct Spectrum {
    bins: Vec<Complex<f64>>,
    norm: f64,
}

impl Spectra {
    fn new() -> Self {
        Self { planner: RealFftPlanner::new() }
    }

    fn of(&mut self, pcm: &[i16]) -> Spectrum {
        // Voices are 340 to 1,150 Hz and weak overtones: 2.7 kHz hold what matters.
        let mut time: Vec<f64> =
            pcm.chunks(3).map(|three| three.iter().map(|sample| f64::from(*sample)).sum()).collect();
        assert!(time.len() <= POINTS / 2, "lags would wrap");
        let norm = time.iter().map(|sample| sample * sample).sum::<f64>().sqrt().max(1.0);
        time.resize(POINTS, 0.0);
        let forward = self.planner.plan_fft_forward(POINTS);
        let mut bins = forward.make_output_vec();
        forward.process(&mut time, &mut bins).expect("lengths fit");
        Spectrum { bins, norm }
    }

    /// The greatest |correlation| at any lag.
    fn likeness(&mut self, a: &Spectrum, b: &Spectrum) -> f64 {
        let mut product: Vec<_> = a.bins.iter().zip(&b.bins).map(|(a, b)| a * b.conj()).collect();
        // Of real signals; what rounding leaves there is none of theirs.
        product[0].im = 0.0;
        product[POINTS / 2].im = 0.0;
        let back = self.planner.plan_fft_inverse(POINTS);
        let mut time = back.make_output_vec();
        back.process(&mut product, &mut time).expect("lengths fit");
        let peak = time.iter().fold(0.0_f64, |peak, value| peak.max(value.abs()));
        peak / POINTS as f64 / a.norm / b.norm
    }
}

/// Room for six seconds of 2.7 kHz and as many lags.
const POINTS: usize = 1 << 15;
