//! How far the file is behind the wire while a journal is kept: what a power cut costs beside the time from one
//! hand-over to the next.

use super::*;

/// What happens in the 10 s of a call, by side and packet.
#[derive(Clone, Copy, Debug)]
enum Talk {
    Both,
    /// The callee sends nothing from 3 s on: silence suppression, or hold without music.
    OneSilent,
    /// Neither sends anything from 3 s to 6 s.
    Pause,
    /// Every tenth packet of each side is lost.
    Loss,
    /// The callee sends comfort noise now and then.
    Noise,
}

impl Talk {
    fn sends(self, number: u16, n: u32) -> bool {
        match self {
            Self::Both => true,
            Self::OneSilent | Self::Noise => number == 0 || n < 150,
            Self::Pause => !(150..300).contains(&n),
            Self::Loss => n % 10 != 9 || n < 10,
        }
    }
}

/// The longest stretch of sound, in milliseconds, that had come and was not in the file, looked at each
/// millisecond; time is told every 100 ms.
fn lag_ms(output: Output, talk: Talk, mute: bool) -> usize {
    let (mut call, mut out) = (call(output), Vec::new());
    call.write_early();
    if mute {
        call.watch_tones(true);
    }
    let (mut sounds, mut most, mut last) = (vec![false; 10_100], 0, 0);
    for now in 0..10_000_u32 {
        for (number, phase) in [(0, 0), (1, 7)] {
            if now % 20 == phase && talk.sends(number, now / 20) {
                send(&mut call, number, now / 20, f64::from(now), &mut out);
                sounds[now as usize..now as usize + 20].fill(true);
                last = now;
            } else if now % 400 == phase && matches!(talk, Talk::Noise) && number == 1 {
                noise(&mut call, now / 20, now, &mut out);
            }
        }
        if now % 100 == 63 {
            let until = f64::from(now).min(f64::from(last) + call.wait().as_millis() as f64);
            call.handle_timeout(ms(until), &mut out);
        }
        let missing = &sounds[(written_ms(&out) as usize).min(now as usize)..now as usize];
        most = most.max(missing.iter().filter(|sound| **sound).count());
    }
    most
}

/// Comfort noise of the callee in place of packet `n`, in sequence with the 150 packets before it.
fn noise(call: &mut CallAudio, n: u32, now: u32, out: &mut Vec<u8>) {
    let sequence = (150 + (n - 150) / 20).wrapping_add(65_500);
    let part = RtpPart { payload_type: 13, ..part(sequence, (n * 160).wrapping_add(u32::MAX - 1_000)) };
    let format = Arc::new(Format::new("CN", 8_000));
    call.packet(1, ms(f64::from(now)), part, Some(&format), &[40], out);
}

/// Where the sound of a file that is not finished ends.
fn written_ms(file: &[u8]) -> f64 {
    match file.get(..4) {
        Some(b"RIFF") => (file.len() - 44) as f64 / 32.0,
        Some(b"OggS") => last_granule(file) as f64 / 48.0,
        _ => 0.0,
    }
}

fn last_granule(mut file: &[u8]) -> u64 {
    let mut granule = 0;
    while let Some(head) = file.get(..27) {
        granule = u64::from_le_bytes(head[6..14].try_into().unwrap());
        let segments = usize::from(head[26]);
        let body: usize = file[27..27 + segments].iter().map(|length| usize::from(*length)).sum();
        file = &file[27 + segments + body..];
    }
    granule
}

#[test]
fn a_power_cut_costs_no_more_than_the_module_says() {
    for (output, bound) in [(Output::Wav, 300), (Output::Opus, 400)] {
        for talk in [Talk::Both, Talk::OneSilent, Talk::Pause, Talk::Loss, Talk::Noise] {
            for mute in [false, true] {
                let lag = lag_ms(output, talk, mute);
                assert!(lag > 0 && lag <= bound, "{output:?}, {talk:?}, digits masked {mute}: {lag} ms");
            }
        }
    }
}

/// What is not in time is late and counted, and moves nothing.
#[test]
fn what_comes_after_its_place_was_written_is_counted() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    call.write_early();
    for n in 0..200 {
        send(&mut call, 0, n, f64::from(n) * 20.0, &mut out);
        match n {
            100 => {}
            // Half a second late.
            125 => {
                send(&mut call, 1, 100, f64::from(n) * 20.0 + 8.0, &mut out);
                send(&mut call, 1, n, f64::from(n) * 20.0 + 9.0, &mut out);
            }
            _ => send(&mut call, 1, n, f64::from(n) * 20.0 + 7.0, &mut out),
        }
    }
    let facts = call.finish(ms(4_007.0), &mut out);
    assert_eq!(facts.late, [0, 1]);
    let lost: Vec<_> = facts.gaps.iter().filter(|gap| gap.reason == GapReason::NetworkLoss).collect();
    assert_eq!((lost.len(), lost[0].at_s, lost[0].length_s), (1, 2.007, 0.02));
    let [left, right] = channels(&out);
    assert!(left[..32_000] == expected(0, 0..200) && right[56 + 120 * 160..] == expected(1, 120..200));
}
