//! What codecs cost, at best, as the machine may be busy. Budget: 20 µs for 20 ms of a side of Opus output, 1 µs
//! for a G.711 packet. `cargo bench --bench codec`
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::time::Instant;

use sejf::base::format::Format;
use sejf::codec;
use sejf::codec::Encoder;
use sejf::codec::OpusEncoder;
use sejf::codec::OpusMode;

fn sound(rate_hz: u32, seconds: usize) -> Vec<i16> {
    (0..seconds * rate_hz as usize)
        .map(|n| {
            let t = n as f64 / f64::from(rate_hz);
            let pitch = 754.0 + 90.0 * (t * 1.7).sin();
            let voice = (1..20).map(|k| (t * pitch * f64::from(k)).sin() / f64::from(k)).sum::<f64>();
            (voice * 6_000.0 * (t * 9.0).sin()) as i16
        })
        .collect()
}

fn opus_output() {
    for rate in [8_000, 16_000] {
        let pcm = sound(rate, 20);
        for mode in [OpusMode::Audio, OpusMode::LowDelay, OpusMode::Voice] {
            for complexity in 0..=5 {
                let mut encoder = OpusEncoder::with_mode(rate, 24_000, mode, complexity).expect("an encoder");
                let mut payload = Vec::with_capacity(8_000);
                let mut bytes = 0;
                let mut micros = f64::MAX;
                for second in pcm.chunks_exact(rate as usize) {
                    let begin = Instant::now();
                    for frame in second.chunks_exact(rate as usize / 50) {
                        payload.clear();
                        encoder.encode(frame, &mut payload);
                        bytes += payload.len();
                    }
                    micros = micros.min(begin.elapsed().as_secs_f64() * 1e6 / 50.0);
                }
                let kbps = bytes as f64 * 8.0 / 20_000.0;
                println!(
                    "{rate} Hz {mode:?} complexity {complexity}: {micros:.1} us a frame, {kbps:.1} kbit/s, lookahead {}",
                    encoder.lookahead()
                );
            }
        }
    }
}

fn decoders() {
    let formats = [
        ("PCMU", 8_000),
        ("PCMA", 8_000),
        ("L16", 8_000),
        ("G722", 8_000),
        ("G726-32", 8_000),
        ("GSM", 8_000),
        ("G729", 8_000),
        ("AMR", 8_000),
        ("AMR-WB", 16_000),
        ("OPUS", 48_000),
        ("SPEEX", 8_000),
    ];
    for (name, clock) in formats {
        let format = Format::new(name, clock);
        let Some(mut encoder) = codec::encoder(&format) else { continue };
        let rate = encoder.sample_rate_hz();
        let payloads: Vec<Vec<u8>> = sound(rate, 4)
            .chunks_exact(rate as usize / 50)
            .map(|frame| {
                let mut payload = Vec::new();
                encoder.encode(frame, &mut payload);
                payload
            })
            .collect();
        let mut decoder = codec::decoder(&format).expect("a decoder");
        let mut pcm = Vec::with_capacity(10_000);
        let mut micros = f64::MAX;
        for _ in 0..20 {
            let begin = Instant::now();
            for payload in &payloads {
                pcm.clear();
                decoder.decode(payload, &mut pcm).expect("our own payload");
            }
            micros = micros.min(begin.elapsed().as_secs_f64() * 1e6 / payloads.len() as f64);
        }
        println!("{name}: {micros:.2} us a packet of 20 ms");
    }
}

fn main() {
    // `--test` asks only whether it runs; the measurements take a minute.
    if !std::env::args().any(|argument| argument == "--test") {
        opus_output();
        decoders();
    }
}
