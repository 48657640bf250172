//! Calls made of packets, and the files they must give.

mod lag;
mod late_start;

use super::*;
use crate::recording::manifest::GapReason;

const START: u64 = 1_795_000_000_000_000_000;

fn ms(at: f64) -> Stamp {
    Stamp::from_unix_nanos(START + (at * 1e6).round() as u64)
}

fn call(output: Output) -> CallAudio {
    let mut call = CallAudio::new(Config { output, start: Stamp::from_unix_nanos(START), id: "test".into() });
    call.add_stream(0, StreamInfo { party: Party::Caller, rank: 0 });
    call.add_stream(1, StreamInfo { party: Party::Callee, rank: 0 });
    call
}

fn pcmu() -> Arc<Format> {
    Arc::new(Format::new("PCMU", 8_000))
}

/// Bytes that differ from one place to the next, so that every sample tells where it is from.
fn payload(seed: u32, n: u32) -> Vec<u8> {
    (0..160).map(|i| ((n * 160 + i).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8).collect()
}

fn decoded(payload: &[u8]) -> Vec<i16> {
    let mut pcm = Vec::new();
    codec::decoder(&pcmu()).unwrap().decode(payload, &mut pcm).unwrap();
    pcm
}

fn part(sequence: u32, timestamp: u32) -> RtpPart {
    RtpPart { sequence: sequence as u16, timestamp, marker: false, payload_type: 0 }
}

/// One packet of [`payload`] as number `n` of its stream.
fn send(call: &mut CallAudio, number: u16, n: u32, at: f64, out: &mut Vec<u8>) {
    let part = part(n.wrapping_add(65_500), (n * 160).wrapping_add(u32::MAX - 1_000));
    call.packet(number, ms(at), part, Some(&pcmu()), &payload(u32::from(number), n), out);
}

/// The channels of a WAV file.
fn channels(file: &[u8]) -> [Vec<i16>; 2] {
    if file.is_empty() {
        return [Vec::new(), Vec::new()];
    }
    assert_eq!(&file[..4], b"RIFF");
    let samples: Vec<i16> = file[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    [0, 1].map(|channel| samples.iter().copied().skip(channel).step_by(2).collect())
}

fn silent(pcm: &[i16]) -> bool {
    // µ-law has two zeros and both decode to 0.
    pcm.iter().all(|sample| *sample == 0)
}

/// Packets of two sides, `n` of each, in the order of their times; `skip` leaves some out.
fn two_way(output: Output, n: u32, skip: impl Fn(u16, u32) -> bool) -> (Vec<u8>, AudioFacts) {
    let (mut call, mut out) = (call(output), Vec::new());
    for index in 0..n {
        for number in [0, 1] {
            if !skip(number, index) {
                let at = 1_000.0 + f64::from(index) * 20.0 + f64::from(number) * 7.0;
                send(&mut call, number, index, at, &mut out);
            }
        }
        if index % 50 == 49 {
            call.handle_timeout(ms(1_000.0 + f64::from(index) * 20.0 + 10.0), &mut out);
        }
    }
    let facts = call.finish(ms(1_000.0 + f64::from(n) * 20.0 + 7.0), &mut out);
    (out, facts)
}

fn expected(number: u16, packets: std::ops::Range<u32>) -> Vec<i16> {
    packets.flat_map(|n| decoded(&payload(u32::from(number), n))).collect()
}

#[test]
fn every_sample_of_a_two_way_call_is_at_its_place() {
    let (file, facts) = two_way(Output::Wav, 500, |_, _| false);
    let [left, right] = channels(&file);
    assert_eq!((facts.channels, facts.rate_hz), (2, 8_000));
    assert_eq!(left.len(), 8 * 11_007);
    assert!(silent(&left[..8_000]) && silent(&right[..8_056]));
    assert_eq!(left[8_000..88_000], expected(0, 0..500));
    assert_eq!(right[8_056..], expected(1, 0..500));
    assert_eq!(facts.late, [0, 0]);
    let gaps: Vec<_> = facts.gaps.iter().map(|gap| (gap.party, gap.at_s, gap.length_s)).collect();
    assert_eq!(gaps, [(Party::Caller, 0.0, 1.0), (Party::Callee, 0.0, 1.007)]);
    assert!(facts.notes.is_empty(), "{:?}", facts.notes);
}

#[test]
fn any_order_within_a_second_gives_the_same_samples() {
    let (want, _) = two_way(Output::Wav, 300, |_, _| false);
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    let mut state = 7_u32;
    let mut packets: Vec<(u64, u16, u32)> = Vec::new();
    for index in 0..300 {
        for number in [0, 1] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The first packet of each side decides its place, so it is not delayed.
            let late = if index < 4 { 0 } else { u64::from(state >> 8) % 150 };
            packets.push((1_000 + u64::from(index) * 20 + u64::from(number) * 7 + late, number, index));
        }
    }
    packets.sort_unstable();
    for (at, number, index) in packets {
        send(&mut call, number, index, at as f64, &mut out);
    }
    let facts = call.finish(ms(7_007.0), &mut out);
    assert_eq!(facts.late, [0, 0]);
    assert!(channels(&out) == channels(&want));
}

#[test]
fn lost_packets_are_concealed_and_listed_and_all_else_is_exact() {
    let lost = |number: u16, n: u32| number == 0 && (n == 100 || (200..203).contains(&n));
    let (file, facts) = two_way(Output::Wav, 400, lost);
    let [left, right] = channels(&file);
    let all = expected(0, 0..400);
    assert_eq!(left[8_000..8_000 + 100 * 160], all[..100 * 160]);
    // Concealment is blended into the first 5 ms of what comes after.
    assert_eq!(left[8_040 + 101 * 160..8_000 + 200 * 160], all[101 * 160 + 40..200 * 160]);
    assert_eq!(left[8_040 + 203 * 160..8_000 + 400 * 160], all[203 * 160 + 40..]);
    assert_eq!(right[8_056..], expected(1, 0..400));
    let gaps: Vec<_> = facts.gaps.iter().filter(|gap| gap.reason == GapReason::NetworkLoss).collect();
    assert_eq!(gaps.len(), 2);
    assert_eq!((gaps[0].at_s, gaps[0].length_s), (3.0, 0.02));
    assert_eq!((gaps[1].at_s, gaps[1].length_s), (5.0, 0.06));
}

#[test]
fn one_side_alone_has_a_silent_other() {
    let (file, facts) = two_way(Output::Wav, 250, |number, _| number == 1);
    let [left, right] = channels(&file);
    assert_eq!(left.len(), 8 * 6_007);
    assert_eq!(left[8_000..48_000], expected(0, 0..250));
    assert!(silent(&right));
    let right_gap = facts.gaps.iter().find(|gap| gap.party == Party::Callee).unwrap();
    assert_eq!((right_gap.reason, right_gap.at_s, right_gap.length_s), (GapReason::Silence, 0.0, 6.007));
}

#[test]
fn a_late_packet_is_counted_and_changes_nothing() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    for index in 0..300 {
        if index != 50 {
            send(&mut call, 0, index, f64::from(index) * 20.0, &mut out);
        }
        if index == 150 {
            send(&mut call, 0, 50, f64::from(index) * 20.0 + 1.0, &mut out);
        }
    }
    let facts = call.finish(ms(6_000.0), &mut out);
    assert_eq!(facts.late, [1, 0]);
    let [left, _] = channels(&out);
    // Concealment is blended into the first 5 ms.
    assert_eq!(left[51 * 160 + 40..], expected(0, 51..300)[40..]);
}

#[test]
fn silence_suppression_leaves_silence_of_the_right_length() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    for (sequence, index) in (0..).zip((0..50).chain(150..200)) {
        let part = RtpPart { marker: index == 150, ..part(sequence, index * 160) };
        call.packet(0, ms(f64::from(index) * 20.0), part, Some(&pcmu()), &payload(0, index), &mut out);
    }
    let facts = call.finish(ms(4_000.0), &mut out);
    let [left, _] = channels(&out);
    assert_eq!(left[..8_000], expected(0, 0..50));
    assert!(silent(&left[8_000..24_000]));
    assert_eq!(left[24_000..], expected(0, 150..200));
    let gap = facts.gaps.iter().find(|gap| gap.party == Party::Caller).unwrap();
    assert_eq!((gap.reason, gap.at_s, gap.length_s), (GapReason::Silence, 1.0, 2.0));
}

#[test]
fn comfort_noise_fills_the_pause() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    let mut sequence = 0;
    for index in (0..50).chain(150..200) {
        call.packet(
            0,
            ms(f64::from(index) * 20.0),
            part(sequence, index * 160),
            Some(&pcmu()),
            &payload(0, index),
            &mut out,
        );
        sequence += 1;
        if index == 49 {
            let noise = RtpPart { payload_type: 13, ..part(sequence, 8_000) };
            let format = Format::static_payload_type(13).map(Arc::new);
            call.packet(0, ms(1_000.0), noise, format.as_ref(), &[40], &mut out);
            sequence += 1;
            (1..3).for_each(|second| call.handle_timeout(ms(f64::from(second) * 1_000.0), &mut out));
        }
    }
    let facts = call.finish(ms(4_000.0), &mut out);
    let [left, _] = channels(&out);
    assert_eq!(left[..8_000], expected(0, 0..50));
    let loud = left[8_000..24_000].chunks(160).filter(|part| !silent(part)).count();
    assert_eq!(loud, 100);
    assert_eq!(left[24_000..], expected(0, 150..200));
    assert!(facts.gaps.iter().all(|gap| gap.party != Party::Caller), "{:?}", facts.gaps);
}

#[test]
fn digits_are_silence_and_no_gap() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    let event = Arc::new(Format::new("TELEPHONE-EVENT", 8_000));
    for index in 0..100 {
        let at = ms(f64::from(index) * 20.0);
        if (40..60).contains(&index) {
            let part = RtpPart { payload_type: 101, ..part(index, 40 * 160) };
            call.packet(0, at, part, Some(&event), &[1, 10, 0, 160], &mut out);
        } else {
            call.packet(0, at, part(index, index * 160), Some(&pcmu()), &payload(0, index), &mut out);
        }
    }
    let facts = call.finish(ms(2_000.0), &mut out);
    let [left, _] = channels(&out);
    assert_eq!(left[..40 * 160], expected(0, 0..40));
    assert!(silent(&left[40 * 160..60 * 160]));
    assert_eq!(left[60 * 160..], expected(0, 60..100));
    assert!(facts.gaps.iter().all(|gap| gap.party != Party::Caller), "{:?}", facts.gaps);
}

#[test]
fn a_timestamp_jump_is_put_where_it_arrived() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    for index in 0..200 {
        let jump = if index >= 100 { 987_654_321 } else { 0 };
        let at = ms(f64::from(index) * 20.0);
        call.packet(0, at, part(index, index * 160 + jump), Some(&pcmu()), &payload(0, index), &mut out);
    }
    call.finish(ms(4_000.0), &mut out);
    assert_eq!(channels(&out)[0], expected(0, 0..200));
}

/// On hold some senders stop their RTP clock, and go on with the next number.
#[test]
fn a_sender_that_paused_its_clock_goes_on_when_it_is_heard_again() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    for index in 0..200 {
        let pause = if index >= 100 { 5_000.0 } else { 0.0 };
        send(&mut call, 0, index, f64::from(index) * 20.0 + pause, &mut out);
    }
    call.finish(ms(9_000.0), &mut out);
    let [left, _] = channels(&out);
    assert_eq!(left[..16_000], expected(0, 0..100));
    assert!(silent(&left[16_000..56_000]));
    assert_eq!(left[56_000..], expected(0, 100..200));
}

#[test]
fn a_blocked_way_moves_nothing() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    for index in 0..200 {
        let at = f64::from(index) * 20.0;
        let at = if (100..140).contains(&index) { 2_810.0 + f64::from(index - 100) } else { at };
        send(&mut call, 0, index, at, &mut out);
    }
    call.finish(ms(4_000.0), &mut out);
    assert_eq!(channels(&out)[0], expected(0, 0..200));
}

#[test]
fn a_new_ssrc_continues_the_voice() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    call.add_stream(2, StreamInfo { party: Party::Caller, rank: 0 });
    for index in 0..200 {
        let number = if index < 100 { 0 } else { 2 };
        let jitter = if index == 100 { 9.0 } else { 0.0 };
        send(&mut call, number, index, f64::from(index) * 20.0 + jitter, &mut out);
    }
    call.finish(ms(4_000.0), &mut out);
    let [left, _] = channels(&out);
    assert_eq!(left[..16_000], expected(0, 0..100));
    assert_eq!(left[16_000..], expected(2, 100..200));
}

#[test]
fn the_lowest_rank_that_is_alive_is_heard() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    call.add_stream(2, StreamInfo { party: Party::Caller, rank: 1 });
    for index in 0..400 {
        let at = f64::from(index) * 20.0;
        if !(100..200).contains(&index) {
            send(&mut call, 0, index, at, &mut out);
        }
        send(&mut call, 2, index, at + 1.0, &mut out);
    }
    call.finish(ms(8_000.0), &mut out);
    let [left, _] = channels(&out);
    assert_eq!(left[..16_000], expected(0, 0..100));
    // 200 ms pass before the copy is heard.
    assert_eq!(left[18_000..31_000], expected(2, 0..400)[18_000 - 8..31_000 - 8]);
    assert_eq!(left[33_000..64_000], expected(0, 0..400)[33_000..64_000]);
}

#[test]
fn media_without_signalling_takes_both_sides_in_turn() {
    let mut call = CallAudio::new(Config { output: Output::Wav, start: ms(0.0), id: "orphan".into() });
    let mut out = Vec::new();
    call.add_stream(0, StreamInfo { party: Party::Unknown, rank: 0 });
    call.add_stream(1, StreamInfo { party: Party::Unknown, rank: 0 });
    for index in 0..50 {
        send(&mut call, 0, index, f64::from(index) * 20.0, &mut out);
        send(&mut call, 1, index, f64::from(index) * 20.0, &mut out);
    }
    call.finish(ms(1_000.0), &mut out);
    assert_eq!(channels(&out), [expected(0, 0..50), expected(1, 0..50)]);
}

/// A sine at 100 ppm off, ten minutes: the end must be where it was sent.
#[test]
fn drift_is_corrected_without_cuts() {
    for ppm in [-400.0, -100.0, 100.0, 400.0] {
        let (mut call, mut out) = (call(Output::Wav), Vec::new());
        let mut state = 3_u32;
        for index in 0..30_000_u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let jitter = if index == 0 { 0.0 } else { f64::from(state >> 8) / f64::from(1 << 24) * 10.0 };
            let at = f64::from(index) * 20.0 * (1.0 + ppm * 1e-6) + jitter;
            // A click each second of the sender's time.
            let mut bytes = [0xff; 160];
            if index % 50 == 0 {
                bytes[..8].fill(0x80);
            }
            call.packet(0, ms(at), part(index, index * 160), Some(&pcmu()), &bytes, &mut out);
        }
        call.finish(ms(600_000.0 * (1.0 + ppm * 1e-6)), &mut out);
        let [left, _] = channels(&out);
        let clicks: Vec<usize> =
            (1..left.len()).filter(|n| left[*n] > 10_000 && left[*n - 1] < 10_000).collect();
        assert_eq!(clicks.len(), 599 + usize::from(left[0] < 10_000), "at {ppm} ppm");
        for (second, click) in clicks.iter().enumerate() {
            let want = (second + 1) as f64 * 1_000.0 * (1.0 + ppm * 1e-6);
            let off = *click as f64 / 8.0 - want;
            assert!(off.abs() < 27.0, "{ppm} ppm: second {second} is {off} ms off");
        }
    }
}

/// Whatever jitter does, a minute of sound without real drift is what was sent.
#[test]
fn a_minute_keeps_every_sample() {
    let want = expected(0, 0..3_000);
    for ppm in [-100.0, -50.0, 0.0, 50.0, 100.0] {
        for jitter_ms in [0.0, 10.0, 30.0] {
            let (mut call, mut out) = (call(Output::Wav), Vec::new());
            let mut packets = Vec::new();
            let mut state = 5_u32;
            for index in 0..3_000_u32 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let jitter = jitter_ms * f64::from(state >> 8) / f64::from(1 << 24);
                packets.push((1_000.0 + f64::from(index) * 20.0 * (1.0 + ppm * 1e-6) + jitter, index));
            }
            packets.sort_by(|a, b| a.0.total_cmp(&b.0));
            packets.iter().for_each(|(at, index)| send(&mut call, 0, *index, *at, &mut out));
            call.finish(ms(61_100.0), &mut out);
            let [left, _] = channels(&out);
            let from = left.iter().position(|sample| *sample == want[0]).unwrap();
            assert_eq!(left[from..][..want.len()], want, "{ppm} ppm, {jitter_ms} ms");
            let late = from as f64 / 8.0 - 1_000.0;
            let late_at_end = late - 60_000.0 * ppm * 1e-6;
            assert!(late.abs() < 20.0 && late_at_end.abs() < 20.0 + jitter_ms / 2.0, "{late}, {late_at_end}");
        }
    }
}

/// A clock that is far off is broken, and a short call with it is what was sent.
#[test]
fn a_broken_clock_changes_no_sample_of_a_short_call() {
    for ppm in [-8_000.0, 5_000.0] {
        let (mut call, mut out) = (call(Output::Wav), Vec::new());
        for index in 0..550_u32 {
            let at = 1_000.0 + f64::from(index) * 20.0 * (1.0 + ppm * 1e-6);
            send(&mut call, 0, index, at, &mut out);
        }
        let facts = call.finish(ms(12_000.0), &mut out);
        let [left, _] = channels(&out);
        let want = expected(0, 0..550);
        let from = left.iter().position(|sample| *sample == want[0]).unwrap();
        let count = (left.len() - from).min(want.len());
        assert!(count >= 548 * 160, "{count}");
        assert_eq!(left[from..][..count], want[..count], "{ppm} ppm");
        assert!(facts.notes.is_empty(), "{:?}", facts.notes);
    }
}

/// Packets that are late by less than is waited for find their places, and those around them stay.
#[test]
fn packets_late_by_almost_a_second_find_their_places() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    let late = |n: u32| if n % 37 == 20 { f64::from(400 + n % 480) } else { 0.0 };
    let mut packets: Vec<_> = (0..500).map(|n| (f64::from(n) * 20.0 + late(n), n)).collect();
    packets.sort_by(|a, b| a.0.total_cmp(&b.0));
    packets.iter().for_each(|(at, n)| send(&mut call, 0, *n, *at, &mut out));
    let facts = call.finish(ms(10_000.0), &mut out);
    assert_eq!(channels(&out)[0], expected(0, 0..500));
    assert_eq!(facts.late, [0, 0]);
}

/// A copy behind a relay is heard where the first leg is encrypted.
#[test]
fn what_cannot_be_decoded_does_not_hide_what_can() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    call.add_stream(2, StreamInfo { party: Party::Caller, rank: 1 });
    let closed = Arc::new(Format::new("ENCRYPTED", 8_000));
    for index in 0..200 {
        let at = f64::from(index) * 20.0;
        call.packet(0, ms(at), part(index, index * 160), Some(&closed), &[1; 170], &mut out);
        send(&mut call, 2, index, at + 1.0, &mut out);
    }
    call.finish(ms(4_000.0), &mut out);
    assert_eq!(channels(&out)[0][8..], expected(2, 0..200));
}

/// Time goes on after the last packet until the end of the call is known.
#[test]
fn no_silence_is_written_past_the_end() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    (0..100).for_each(|index| send(&mut call, 0, index, f64::from(index) * 20.0, &mut out));
    (0..30).for_each(|step| call.handle_timeout(ms(2_000.0 + f64::from(step) * 100.0), &mut out));
    call.catch_up(ms(2_010.0), &mut out);
    call.finish(ms(2_010.0), &mut out);
    assert_eq!(channels(&out)[0].len(), 8 * 2_010);
}

#[test]
fn long_silence_comes_a_minute_at_a_time() {
    for output in [Output::Wav, Output::Opus] {
        let (mut call, mut out, mut steps) = (call(output), Vec::new(), 0);
        let most = 4 * 8_000 * 62;
        send(&mut call, 0, 0, 0.0, &mut out);
        send(&mut call, 0, 1, 3_600_000.0, &mut out);
        while call.owes() {
            assert!(out.len() <= most, "{}", out.len());
            out.clear();
            call.drain(&mut out);
            steps += 1;
        }
        while call.catch_up(ms(7_200_000.0), &mut out) {
            assert!(out.len() <= most, "{}", out.len());
            out.clear();
            steps += 1;
        }
        out.clear();
        call.finish(ms(7_200_000.0), &mut out);
        assert!(out.len() <= most, "{}", out.len());
        assert!((118..125).contains(&steps), "{steps}");
    }
}

#[test]
fn another_rate_is_converted_to_that_of_the_file() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    let wide = Arc::new(Format::new("L16", 16_000));
    for index in 0..200_u32 {
        let at = f64::from(index) * 20.0;
        if index < 100 {
            send(&mut call, 0, index, at, &mut out);
        } else {
            let pcm: Vec<u8> = (0..320_u32)
                .map(|i| {
                    (f64::from(index * 320 + i) * 440.0 * std::f64::consts::TAU / 16_000.0).sin() * 9_000.0
                })
                .flat_map(|sample| (sample as i16).to_be_bytes())
                .collect();
            let part = RtpPart { payload_type: 96, ..part(index.wrapping_add(65_500), index * 320) };
            call.packet(0, ms(at), part, Some(&wide), &pcm, &mut out);
        }
    }
    let facts = call.finish(ms(4_000.0), &mut out);
    let [left, _] = channels(&out);
    assert_eq!(left.len(), 32_000);
    let tone = |n: usize| (n as f64 * 440.0 * std::f64::consts::TAU / 8_000.0).sin() * 9_000.0;
    let worst = (16_200..31_900).map(|n| (f64::from(left[n]) - tone(n)).abs()).fold(0.0, f64::max);
    assert!(worst < 300.0, "{worst}");
    assert!(facts.notes.iter().any(|note| note.contains("16000")), "{:?}", facts.notes);
}

#[test]
fn what_cannot_be_decoded_is_a_gap_and_a_note() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    let format = Arc::new(Format::new("EVS", 16_000));
    for index in 0..100_u32 {
        call.packet(
            0,
            ms(f64::from(index) * 20.0),
            part(index, index * 320),
            Some(&format),
            &[1, 2, 3],
            &mut out,
        );
        call.packet(1, ms(f64::from(index) * 20.0), part(index, index * 320), None, &[1, 2, 3], &mut out);
    }
    let facts = call.finish(ms(2_000.0), &mut out);
    assert_eq!(facts.undecodable, ["EVS", "unknown"]);
    assert!(facts.notes[0].contains("EVS"), "{:?}", facts.notes);
    let [left, right] = channels(&out);
    assert!(silent(&left) && silent(&right));
    assert_eq!(left.len(), 16_000);
    for party in [Party::Caller, Party::Callee] {
        let gaps: Vec<_> = facts.gaps.iter().filter(|gap| gap.party == party).collect();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!((gaps[0].reason, gaps[0].at_s, gaps[0].length_s), (GapReason::Undecodable, 0.0, 2.0));
    }
}

/// RFC 2198: each packet carries the one before it again.
#[test]
fn redundant_copies_fill_what_was_lost() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    for index in 1..200_u32 {
        if index % 10 == 5 {
            continue;
        }
        let at = ms(f64::from(index) * 20.0);
        for n in [index - 1, index] {
            call.packet(0, at, part(n, n * 160), Some(&pcmu()), &payload(0, n), &mut out);
        }
    }
    let facts = call.finish(ms(4_000.0), &mut out);
    assert_eq!(facts.late, [0, 0]);
    assert!(facts.gaps.iter().all(|gap| gap.reason == GapReason::Silence), "{:?}", facts.gaps);
    let [left, _] = channels(&out);
    // The first copy is older than its packet's time: all begins within 20 ms.
    let all = expected(0, 0..200);
    let shift = (0..320).find(|shift| left[*shift..][..8_000] == all[..8_000]).unwrap();
    assert!((160 - 120..=160).contains(&shift) || shift <= 160, "{shift}");
    assert_eq!(left[shift..][..31_000], all[..31_000]);
}

#[test]
fn nothing_is_written_without_packets_and_silence_is_bounded() {
    let mut out = Vec::new();
    let facts = call(Output::Wav).finish(ms(60_000.0), &mut out);
    assert!(out.is_empty() && facts.channels == 0);

    let (mut call, mut taken) = (call(Output::Wav), 0);
    send(&mut call, 0, 0, 0.0, &mut out);
    for minute in 1..20_u32 * 60 {
        call.handle_timeout(ms(f64::from(minute) * 60_000.0), &mut out);
        assert!(out.len() <= 4 * 8_000 * 62);
        taken += out.len();
        out.clear();
    }
    let facts = call.finish(ms(20.0 * 3_600_000.0), &mut out);
    taken += out.len();
    let frames = (taken - 44) / 4;
    assert!((4 * 3_600 * 8_000..4 * 3_600 * 8_000 + 16_000).contains(&frames), "{frames}");
    assert!(facts.notes[0].contains("left out"), "{:?}", facts.notes);
}

/// Whatever comes, the file is as long as the call and its sound, and time never goes back.
#[test]
fn the_file_is_as_long_as_the_call() {
    for seed in 1..60_u32 {
        for output in [Output::Wav, Output::Opus] {
            let mut state = seed.wrapping_mul(0x9e37_79b9);
            let mut next = |most: u32| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) % most
            };
            let (mut call, mut out) = (call(output), Vec::new());
            call.add_stream(2, StreamInfo { party: Party::Callee, rank: 1 });
            let mut at = 0.0;
            let mut before = 0;
            for _ in 0..300 {
                at += f64::from(next(40));
                if next(50) == 0 {
                    at += f64::from(next(5_000));
                }
                let odd = next(20) == 0;
                let sequence = if odd { next(65_536) } else { (at / 20.0) as u32 };
                let timestamp = if next(30) == 0 { next(u32::MAX) } else { sequence.wrapping_mul(160) };
                let length = next(400) as usize;
                let bytes = vec![next(256) as u8; length];
                let format =
                    [pcmu(), Arc::new(Format::new("PCMA", 8_000)), Arc::new(Format::new("OPUS", 48_000))]
                        [next(3) as usize]
                        .clone();
                call.packet(
                    next(3) as u16,
                    ms(at),
                    part(sequence, timestamp),
                    Some(&format),
                    &bytes,
                    &mut out,
                );
                if next(10) == 0 {
                    call.handle_timeout(ms(at), &mut out);
                }
                assert!(out.len() >= before);
                before = out.len();
            }
            let facts = call.finish(ms(at), &mut out);
            let want = at * 1e-3;
            let have = match output {
                Output::Wav => ((out.len() - 44) / 4) as f64 / f64::from(facts.rate_hz),
                Output::Opus => opus_seconds(&out),
            };
            // A stream may be ahead of its packets by two seconds, and go on for the length of one.
            assert!((0.0..2.2).contains(&(have - want)), "{output:?} {seed}: {have} for {want}");
        }
    }
}

fn opus_seconds(file: &[u8]) -> f64 {
    let mut reader = ::ogg::PacketReader::new(std::io::Cursor::new(file));
    let (mut packets, mut granule, mut pre_skip) = (0, 0, 0);
    while let Some(packet) = reader.read_packet().unwrap() {
        if packet.data.starts_with(b"OpusHead") {
            pre_skip = u64::from(u16::from_le_bytes([packet.data[10], packet.data[11]]));
        } else if !packet.data.starts_with(b"OpusTags") {
            packets += 1;
            granule = packet.absgp_page();
        }
    }
    assert!(granule <= packets * 960 && granule + 960 > packets * 960, "{granule} in {packets} packets");
    (granule - pre_skip) as f64 / 48_000.0
}

#[test]
fn an_opus_file_has_both_sides_at_their_place() {
    let (file, facts) = two_way(Output::Opus, 250, |_, _| false);
    assert_eq!(facts.rate_hz, 48_000);
    assert!((opus_seconds(&file) - 6.007).abs() < 1e-4 + 0.02);
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains("SEJF_ID=test") && text.contains("ENCODER=sejf "));
    assert!(file.len() < 6 * 6_500, "{}", file.len());
}
