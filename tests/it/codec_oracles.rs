//! Our codecs against ffmpeg's: bit for bit where the standard says so, by likeness elsewhere.
//! Skipped, with a message, where there is no ffmpeg.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use sejf::base::format::Format;
use sejf::codec;

/// Runs ffmpeg over `input` and returns what it wrote.
fn ffmpeg(input_options: &str, input: &[u8], output_options: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder for ffmpeg's input");
    let path = folder.path().join("in");
    std::fs::write(&path, input).expect("room for ffmpeg's input");
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(input_options.split_whitespace())
        .arg("-i")
        .arg(&path)
        .args(output_options.split_whitespace())
        .arg("pipe:1")
        .stdin(Stdio::null())
        .output();
    match done {
        Ok(done) if done.status.success() => Some(done.stdout),
        Ok(done) => panic!("ffmpeg: {}", String::from_utf8_lossy(&done.stderr)),
        Err(_) => {
            eprintln!("skipped: no ffmpeg");
            None
        }
    }
}

/// Decodes with ffmpeg.
fn oracle(input_options: &str, input: &[u8]) -> Option<Vec<i16>> {
    let bytes = ffmpeg(input_options, input, "-f s16le")?;
    Some(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

fn to_bytes(pcm: &[i16]) -> Vec<u8> {
    pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Speech at `rate_hz`: ours from beside the checkout, else made up.
fn speech(rate_hz: u32, seconds: usize) -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../shared/captures/ref/shared-alice-{rate_hz}.wav"));
    let wanted = seconds * rate_hz as usize;
    if let Ok(mut wav) = hound::WavReader::open(path) {
        return wav.samples::<i16>().take(wanted).map(|s| s.expect("a whole file")).collect();
    }
    (0..wanted)
        .map(|n| {
            let t = n as f64 / f64::from(rate_hz);
            let pitch = 110.0 + 30.0 * (t * 2.1).sin();
            let voice: f64 = (1..20)
                .map(|k| {
                    let hz = pitch * f64::from(k);
                    let formant = 1.0 / (1.0 + ((hz - 600.0 - 300.0 * (t * 3.0).sin()) / 250.0).powi(2));
                    (formant + 0.05) * (hz * t * std::f64::consts::TAU).sin()
                })
                .sum();
            (voice * 4_000.0 * (t * 4.0).sin().max(0.0)) as i16
        })
        .collect()
}

fn encode(format: &Format, pcm: &[i16], packet_samples: usize) -> Vec<Vec<u8>> {
    let mut encoder = codec::encoder(format).expect("an encoder");
    pcm.chunks_exact(packet_samples)
        .map(|packet| {
            let mut payload = Vec::new();
            encoder.encode(packet, &mut payload);
            payload
        })
        .collect()
}

fn decode(format: &Format, payloads: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = codec::decoder(format).expect("a decoder");
    let mut pcm = Vec::new();
    for payload in payloads {
        let before = pcm.len();
        decoder.decode(payload, &mut pcm).expect("our own payload");
        assert_eq!(Some(pcm.len() - before), codec::samples_in(format, payload));
    }
    pcm
}

/// Signal to difference, in dB.
fn snr_db(want: &[i16], have: &[i16]) -> f64 {
    let power = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().max(1e-9);
    let signal = power(&mut want.iter().map(|s| f64::from(*s)));
    let noise = power(&mut want.iter().zip(have).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    10.0 * (signal / noise).log10()
}

fn assert_same(what: &str, have: &[i16], want: &[i16]) {
    let shared = have.len().min(want.len());
    assert!(shared > 10_000, "{what}: {} and {} samples", have.len(), want.len());
    let first = have.iter().zip(want).position(|(a, b)| a != b);
    assert_eq!(first, None, "{what}: {:.1} dB", snr_db(&want[..shared], &have[..shared]));
}

#[test]
fn gsm_is_bit_exact_both_ways() {
    let format = Format::new("GSM", 8_000);
    let sound = speech(8_000, 8);
    let ours = encode(&format, &sound, 160);
    let Some(want) = oracle("-f gsm", &ours.concat()) else { return };
    assert_same("decoder", &decode(&format, &ours), &want);
    let theirs = ffmpeg("-f s16le -ar 8000 -ac 1", &to_bytes(&sound), "-c:a libgsm -f gsm").unwrap();
    let differ = ours.iter().zip(theirs.chunks_exact(33)).position(|(a, b)| a != b);
    assert_eq!(differ, None, "encoder, of {} frames", ours.len());
}

#[test]
fn g722_decodes_as_ffmpeg_does() {
    let format = Format::new("G722", 8_000);
    let payloads = encode(&format, &speech(16_000, 4), 320);
    let Some(want) = oracle("-f g722", &payloads.concat()) else { return };
    let have = decode(&format, &payloads);
    let snr = snr_db(&want, &have);
    assert!(snr > 40.0, "{snr}");
}

/// ffmpeg's decoder is none of the standard's arithmetic, so likeness must do.
#[test]
fn g729_decodes_as_ffmpeg_does() {
    let format = Format::new("G729", 8_000);
    let payloads = encode(&format, &speech(8_000, 6), 160);
    assert!(payloads.iter().all(|payload| payload.len() == 20));
    let Some(want) = oracle("-f g729", &payloads.concat()) else { return };
    let have = decode(&format, &payloads);
    assert_eq!(have.len(), want.len());
    let snr = snr_db(&want, &have);
    assert!(snr > 20.0, "{snr}");
}

#[test]
fn amr_decodes_as_ffmpeg_does() {
    for (encoding, rate, head, modes) in
        [("AMR", 8_000, "#!AMR\n", 0..8), ("AMR-WB", 16_000, "#!AMR-WB\n", 0..9)]
    {
        for mode in modes {
            let fmtp = format!("octet-align=1;mode-set={mode}");
            let format = Format { fmtp, ..Format::new(encoding, rate) };
            let sound = speech(rate, 2);
            let payloads = encode(&format, &sound, rate as usize / 50);
            let mut file = head.as_bytes().to_vec();
            payloads.iter().for_each(|payload| file.extend_from_slice(&payload[1..]));
            let Some(want) = oracle("", &file) else { return };
            let have = decode(&format, &payloads);
            assert_eq!(have.len(), want.len());
            let snr = snr_db(&want, &have);
            eprintln!("{encoding} {mode}: {snr:.1} dB");
            // Wideband's upper band is noise of the decoder's own choice.
            assert!(snr > if rate == 8_000 { 20.0 } else { 10.0 }, "{encoding} {mode}: {snr}");

            // The same frames, three to a packet and not aligned.
            let packed = Format { fmtp: format!("mode-set={mode}"), ..Format::new(encoding, rate) };
            let packed_payloads = encode(&packed, &sound, rate as usize * 3 / 50);
            let again = decode(&packed, &packed_payloads);
            assert!(again.len() > 10_000);
            assert_eq!(again, have[..again.len()]);
        }
    }
}

/// ffmpeg mixes its scale factors and leaks its zeros otherwise than the recommendation (ours was
/// held against the ITU's test sequences), so likeness must do.
#[test]
fn g726_decodes_as_ffmpeg_does_whatever_order_was_signalled() {
    let sound = speech(8_000, 5);
    for (bits, kbps) in [(2, 16), (3, 24), (4, 32), (5, 40)] {
        let formats = [("G726", "g726le"), ("AAL2-G726", "g726")]
            .map(|(name, file)| (Format::new(&format!("{name}-{kbps}"), 8_000), file));
        for ((sent, file), (signalled, _)) in
            [(&formats[0], &formats[0]), (&formats[0], &formats[1]), (&formats[1], &formats[0])]
        {
            let ours = encode(sent, &sound, 160);
            let options = format!("-f {file} -code_size {bits}");
            let Some(want) = oracle(&options, &ours.concat()) else { return };
            let snr = snr_db(&want, &decode(signalled, &ours));
            let least = if bits == 5 { 5.0 } else { 30.0 };
            assert!(snr > least, "{sent} as {signalled}: {snr}");
        }
    }
}

/// ffmpeg writes Speex with libspeex, the reference; in Ogg, one packet a page here, so that the
/// packets are easily found.
#[test]
fn speex_decodes_as_libspeex_does() {
    for rate in [8_000, 16_000] {
        let sound = speech(rate, 2);
        let format = Format::new("SPEEX", rate);
        let input = format!("-f s16le -ar {rate} -ac 1");
        let Some(ogg) = ffmpeg(&input, &to_bytes(&sound), "-c:a libspeex -q:a 8 -page_duration 1 -f ogg")
        else {
            return;
        };
        let want = oracle("-c:a libspeex", &ogg).unwrap();
        let mut reader = ogg::PacketReader::new(std::io::Cursor::new(ogg));
        let mut payloads = Vec::new();
        while let Some(packet) = reader.read_packet().expect("whole pages") {
            payloads.push(packet.data);
        }
        let have = decode(&format, &payloads[2..]);
        // The reference holds one subframe back.
        let snr = snr_db(&want[rate as usize / 200..], &have);
        assert!(snr > 10.0, "{rate} Hz: {snr}");
    }
}

/// ffmpeg does without the enhancer, which changes a twentieth of the energy and comes late, and its
/// first frames are noise of its own making: so likeness after those, of frames that look random
/// (nothing here encodes iLBC).
#[test]
fn ilbc_decodes_as_ffmpeg_does() {
    for (mode, bytes, late) in [(20, 38, 40), (30, 50, 80)] {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut frame = || {
            let mut frame: Vec<u8> = (0..bytes)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    (random >> 24) as u8
                })
                .collect();
            // A start that exists, no sample beyond 16 bits, and not empty.
            if mode == 20 {
                frame[2] = frame[2] & 0xFE | 0x04;
                frame[3] |= 0x80;
            } else {
                frame[5] = frame[5] & 0x37 | 0x24;
            }
            frame[bytes - 1] &= 0xFE;
            frame
        };
        let payloads: Vec<Vec<u8>> = (0..100).map(|_| [frame(), frame()].concat()).collect();
        let mut file = format!("#!iLBC{mode}\n").into_bytes();
        file.extend(payloads.concat());
        let Some(want) = oracle("-f ilbc", &file) else { return };
        let format = Format { fmtp: format!("mode={mode}"), ..Format::new("ILBC", 8_000) };
        let have = decode(&format, &payloads);
        assert_eq!(have.len(), want.len());
        let pairs = have[late..].iter().zip(&want).skip(3_000);
        let (mut product, mut ours, mut theirs) = (0.0, 0.0, 0.0);
        for (have, want) in pairs.map(|(have, want)| (f64::from(*have), f64::from(*want))) {
            product += have * want;
            ours += have * have;
            theirs += want * want;
        }
        let likeness = product / (ours * theirs).sqrt();
        let level = ours / theirs;
        assert!(likeness > 0.95 && (0.9..1.1).contains(&level), "{mode} ms: {likeness}, {level}");
    }
}
