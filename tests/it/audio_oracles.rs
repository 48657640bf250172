//! Ogg Opus files as other people's decoders read them: ffmpeg's own decoder and libopus's `opusdec`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: failing and telling are its work")]

use std::path::Path;
use std::process::Command;

use sejf::base::format::Format;
use sejf::base::party::Party;
use sejf::base::time::Stamp;
use sejf::codec::Encoder;
use sejf::codec::{OpusEncoder, OpusMode};
use sejf::recording::audio::{CallAudio, Config, Output, RtpPart, StreamInfo};

const START: u64 = 1_795_000_000_000_000_000;
const SECONDS: usize = 8;

fn ms(at: u64) -> Stamp {
    Stamp::from_unix_nanos(START + at * 1_000_000)
}

/// Something like a voice: a pitch that moves, with harmonics, in syllables.
fn voice(rate_hz: u32, pitch_hz: f64, samples: usize) -> Vec<i16> {
    (0..samples)
        .map(|n| {
            let t = n as f64 / f64::from(rate_hz);
            let phase = std::f64::consts::TAU * (pitch_hz * t + 4.0 * (t * 2.1).sin());
            let sound: f64 = (1..8).map(|k| (phase * f64::from(k)).sin() / f64::from(k)).sum();
            sound * 5_000.0 * (t * 3.7).sin().max(0.0)
        })
        .map(|sample| sample as i16)
        .collect()
}

fn ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs().min(32_635)) + 132;
    let exponent = (magnitude as u32).ilog2() - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}

/// What one side sends: payloads of 20 ms, none where a packet is lost.
struct Sent {
    format: Format,
    units: u32,
    packets: Vec<Option<Vec<u8>>>,
}

impl Sent {
    fn pcmu(pcm: &[i16]) -> Self {
        let packets = pcm.chunks(160).map(|frame| Some(frame.iter().copied().map(ulaw).collect())).collect();
        Self { format: Format::new("PCMU", 8_000), units: 160, packets }
    }

    fn opus(pcm: &[i16], mode: OpusMode) -> Self {
        let mut encoder = OpusEncoder::with_mode(48_000, 32_000, mode, 0).unwrap();
        let packets = pcm.chunks_exact(960).map(|frame| {
            let mut packet = Vec::new();
            encoder.encode(frame, &mut packet);
            Some(packet)
        });
        Self { format: Format::new("OPUS", 48_000), units: 960, packets: packets.collect() }
    }

    /// The same sound in both channels of stereo packets.
    fn opus_stereo(pcm: &[i16]) -> Self {
        let mut encoder =
            opus::Encoder::new(48_000, opus::Channels::Stereo, opus::Application::Voip).unwrap();
        encoder.set_bitrate(opus::Bitrate::Bits(48_000)).unwrap();
        encoder.set_force_channels(Some(opus::Channels::Stereo)).unwrap();
        let packets = pcm.chunks_exact(960).map(|frame| {
            let both: Vec<i16> = frame.iter().flat_map(|sample| [*sample, *sample]).collect();
            Some(encoder.encode_vec(&both, 1_500).unwrap())
        });
        Self {
            format: Format { channels: 2, ..Format::new("OPUS", 48_000) },
            units: 960,
            packets: packets.collect(),
        }
    }

    fn without(mut self, lost: impl Fn(usize) -> bool) -> Self {
        self.packets
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| lost(*index))
            .for_each(|(_, packet)| *packet = None);
        self
    }
}

/// A recording of both sides from 500 ms after its start.
fn record(sides: [&Sent; 2]) -> Vec<u8> {
    let config = Config { output: Output::Opus, start: ms(0), id: "0190-oracle".into() };
    let (mut call, mut out) = (CallAudio::new(config), Vec::new());
    call.add_stream(0, StreamInfo { party: Party::Caller, rank: 0 });
    call.add_stream(1, StreamInfo { party: Party::Callee, rank: 0 });
    for index in 0..SECONDS * 50 {
        let at = 500 + index as u64 * 20;
        for (number, sent) in sides.iter().enumerate() {
            if let Some(Some(payload)) = sent.packets.get(index) {
                let part = RtpPart {
                    sequence: index as u16,
                    timestamp: index as u32 * sent.units,
                    marker: false,
                    payload_type: 96,
                };
                call.packet(
                    number as u16,
                    ms(at),
                    part,
                    Some(&std::sync::Arc::new(sent.format.clone())),
                    payload,
                    &mut out,
                );
            }
        }
        if index % 50 == 0 {
            call.handle_timeout(ms(at), &mut out);
        }
    }
    call.finish(ms(500 + SECONDS as u64 * 1_000), &mut out);
    out
}

/// Both channels at 48 kHz, by a decoder that is installed.
fn decode(tool: &str, file: &Path) -> Option<[Vec<i16>; 2]> {
    let raw = file.with_extension(tool);
    let mut command = Command::new(tool);
    match tool {
        "ffmpeg" => command
            .args(["-v", "error", "-y", "-c:a", "opus", "-i"])
            .arg(file)
            .args(["-f", "s16le", "-ar", "48000"]),
        _ => command.args(["--quiet", "--rate", "48000", "--no-dither"]).arg(file),
    };
    let done = match command.arg(&raw).output() {
        Ok(done) => done,
        Err(_) => {
            println!("skipped: {tool} is not installed");
            return None;
        }
    };
    assert!(done.status.success(), "{tool}: {}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.trim().is_empty(), "{tool} complains: {said}");
    let bytes = std::fs::read(&raw).unwrap();
    let samples: Vec<i16> =
        bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    Some([0, 1].map(|channel| samples.iter().copied().skip(channel).step_by(2).collect()))
}

/// The best correlation of `sound` with `channel` near 500 ms, and how far it is off, in samples.
fn best(channel: &[i16], sound: &[i16]) -> (f64, i64) {
    let step = 16;
    (-1_200..1_200)
        .step_by(12)
        .map(|off: i64| {
            let from = (24_000 + off) as usize;
            let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
            for (a, b) in channel[from..].iter().step_by(step).zip(sound.iter().step_by(step)) {
                let (a, b) = (f64::from(*a), f64::from(*b));
                (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
            }
            (ab / (aa * bb).sqrt().max(1.0), off)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap()
}

fn energy(pcm: &[i16]) -> f64 {
    pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / pcm.len().max(1) as f64
}

/// Decodes a recording by every tool and checks its length and each channel's sound.
fn check(name: &str, sides: [&Sent; 2], sounds: [&[i16]; 2], least: f64) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(format!("{name}.opus"));
    std::fs::write(&file, record(sides)).unwrap();
    let mut faults = Vec::new();
    for tool in ["ffmpeg", "opusdec"] {
        let Some(channels) = decode(tool, &file) else { continue };
        for (index, (channel, sound)) in channels.iter().zip(sounds).enumerate() {
            let mut fault = |what: String| faults.push(format!("{name}, {tool}, channel {index}: {what}"));
            let off = channel.len() as i64 - (24_000 + SECONDS as i64 * 48_000);
            if !(-TOOL_TICKS..=960).contains(&off) {
                fault(format!("{off} samples too many"));
            }
            let early = energy(&channel[..22_000]);
            if early > 20.0 || (sound.is_empty() && energy(channel) > 20.0) {
                fault(format!("sound that nobody sent: {early}, {}", energy(channel)));
            }
            if sound.is_empty() {
                continue;
            }
            let (correlation, off) = best(channel, sound);
            println!("{name}, {tool}, channel {index}: {correlation:.4} at {off}");
            if correlation < least || off.abs() > 960 {
                fault(format!("correlation {correlation} at {off}"));
            }
            let peak = channel.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
            if peak > 26_000 {
                fault(format!("clicks at {peak}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Where the mode of one stream changes, ffmpeg's own decoder drops 2.5 ms.
const TOOL_TICKS: i64 = 120;

#[test]
fn encoded_sides_keep_their_channels() {
    let samples = SECONDS * 8_000;
    let (left, right) = (voice(8_000, 120.0, samples), voice(8_000, 205.0, samples));
    let wide = |pitch| voice(48_000, pitch, SECONDS * 48_000);
    let (left48, right48) = (wide(120.0), wide(205.0));
    check("both", [&Sent::pcmu(&left), &Sent::pcmu(&right)], [&left48, &right48], 0.99);
    let nobody = Sent::pcmu(&[]);
    check("left-only", [&Sent::pcmu(&left), &nobody], [&left48, &[]], 0.99);
    check("right-only", [&nobody, &Sent::pcmu(&right)], [&[], &right48], 0.99);
}

/// What libopus makes of the packets alone.
fn heard(sent: &Sent) -> Vec<i16> {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).unwrap();
    let mut pcm = vec![0; 960 * sent.packets.len()];
    for (packet, frame) in sent.packets.iter().zip(pcm.chunks_mut(960)) {
        decoder.decode(packet.as_deref().unwrap_or_default(), frame, false).unwrap();
    }
    pcm
}

#[test]
fn carried_streams_sound_as_sent() {
    let wide = |pitch| voice(48_000, pitch, SECONDS * 48_000);
    let left = Sent::opus(&wide(120.0), OpusMode::Audio);
    let right = Sent::opus(&wide(205.0), OpusMode::Audio);
    let narrow = Sent::pcmu(&voice(8_000, 205.0, SECONDS * 8_000));
    let (left_heard, right_heard) = (heard(&left), heard(&right));
    check("carried", [&left, &right], [&left_heard, &right_heard], 0.99);
    check("carried-and-encoded", [&left, &narrow], [&left_heard, &wide(205.0)], 0.99);
    let stereo = Sent::opus_stereo(&wide(120.0));
    check("carried-stereo", [&stereo, &right], [&heard(&stereo), &right_heard], 0.99);
    let voiced = Sent::opus(&wide(120.0), OpusMode::Voice);
    check("carried-voice", [&voiced, &narrow], [&heard(&voiced), &wide(205.0)], 0.99);
}

#[test]
fn what_a_carried_stream_lost_is_left_to_the_decoder() {
    let wide = |pitch| voice(48_000, pitch, SECONDS * 48_000);
    let right = Sent::opus(&wide(205.0), OpusMode::Audio);
    let right_heard = heard(&right);
    let lossy = Sent::opus(&wide(120.0), OpusMode::Audio).without(|index| index % 40 == 20);
    check("carried-with-loss", [&lossy, &right], [&heard(&lossy), &right_heard], 0.94);
    let pauses = Sent::opus(&wide(120.0), OpusMode::Audio).without(|index| index % 100 >= 60);
    check("carried-with-pauses", [&pauses, &right], [&heard(&pauses), &right_heard], 0.9);
}
