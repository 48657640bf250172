//! Streams whose first packets are late, and then come faster than they were made: of what was said nothing is cut
//! without being counted.

use super::*;

/// A call of 4 s whose caller is late at first: what was said in the first `late_ms` comes within some
/// milliseconds after them, the rest in time.
fn late_start(output: Output, late_ms: u32, early: bool) -> (Vec<u8>, AudioFacts) {
    let (mut call, mut out) = (call(output), Vec::new());
    if early {
        call.write_early();
    }
    let mut packets: Vec<(f64, u16, u32)> = (0..200)
        .flat_map(|n| {
            let made = f64::from(n) * 20.0;
            let held_up = f64::from(late_ms) + f64::from(n) * 0.3;
            [(1_000.0 + made.max(held_up), 0, n), (1_007.0 + made, 1, n)]
        })
        .collect();
    packets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut told = 0.0;
    for (at, number, n) in packets {
        if at - told > 100.0 {
            told = at;
            call.handle_timeout(ms(at), &mut out);
        }
        send(&mut call, number, n, at, &mut out);
    }
    let facts = call.finish(ms(5_007.0), &mut out);
    (out, facts)
}

const LATE_MS: [u32; 8] = [0, 20, 60, 100, 200, 390, 700, 1_500];

#[test]
fn nothing_of_a_stream_that_is_late_at_first_is_cut() {
    for early in [false, true] {
        for late_ms in LATE_MS {
            let what = format!("{late_ms} ms late, early {early}");
            let (file, facts) = late_start(Output::Wav, late_ms, early);
            let [left, right] = channels(&file);
            let said = expected(0, 0..200);
            let from = left.windows(160).position(|sound| sound == &said[..160]).unwrap();
            assert!(left[from..].starts_with(&said), "{what}");
            assert!(silent(&left[..from]) && silent(&left[from + said.len()..]), "{what}");
            assert_eq!(right[8_056..8_056 + 32_000], expected(1, 0..200), "{what}");
            assert_eq!(facts.late, [0, 0], "{what}");
            assert!(
                facts.gaps.iter().all(|gap| gap.reason == GapReason::Silence),
                "{what}: {:?}",
                facts.gaps
            );
            // What shows how late the first was is believed, as far as nothing is written there.
            let off = from as f64 / 8.0 - 1_000.0;
            let bound = match (late_ms, early) {
                (0..=200, _) | (_, false) if late_ms <= 390 => 1.0,
                _ => f64::from(late_ms),
            };
            assert!((0.0..=bound).contains(&off), "{what}: {off} ms off");
        }
    }
}

#[test]
fn an_opus_file_has_all_of_it_too() {
    for early in [false, true] {
        for late_ms in LATE_MS {
            let (file, facts) = late_start(Output::Opus, late_ms, early);
            assert_eq!(facts.late, [0, 0]);
            let (have, want) = (opus_seconds(&file), 5.007);
            assert!(
                have > want - 0.001 && have < want + f64::from(late_ms) * 1e-3 + 0.021,
                "{late_ms}: {have}"
            );
        }
    }
}

/// What an Opus sender sent is in the file as it came.
#[test]
fn carried_packets_are_all_there() {
    let opus = Arc::new(Format::new("OPUS", 48_000));
    for late_ms in LATE_MS {
        let (mut call, mut out) = (call(Output::Opus), Vec::new());
        // CELT, 20 ms, one frame; the bytes say which it is.
        let bytes = |n: u32| vec![0xf8, 0xab, n as u8, n as u8 ^ 0x5a, 0x77];
        for n in 0..200_u32 {
            let at = 1_000.0 + (f64::from(n) * 20.0).max(f64::from(late_ms) + f64::from(n) * 0.3);
            call.packet(0, ms(at), part(n, n * 960), Some(&opus), &bytes(n), &mut out);
        }
        let facts = call.finish(ms(5_000.0), &mut out);
        assert_eq!(facts.late, [0, 0]);
        let there = |n: &u32| out.windows(4).any(|window| window == &bytes(*n)[1..]);
        let missing: Vec<u32> = (0..200).filter(|n| !there(n)).collect();
        assert!(missing.is_empty(), "{late_ms} ms late: {missing:?}");
    }
}

/// Lost packets of the time before it has caught up are listed as they always are.
#[test]
fn a_loss_while_it_catches_up_is_listed() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    for n in (0..200).filter(|n| *n != 45) {
        let at = 1_000.0 + (f64::from(n) * 20.0).max(1_500.0 + f64::from(n) * 0.3);
        send(&mut call, 0, n, at, &mut out);
    }
    let facts = call.finish(ms(5_000.0), &mut out);
    let lost: Vec<_> = facts.gaps.iter().filter(|gap| gap.reason == GapReason::NetworkLoss).collect();
    assert_eq!((lost.len(), lost[0].length_s), (1, 0.02), "{lost:?}");
    let [left, _] = channels(&out);
    let from = (lost[0].at_s * 8_000.0).round() as usize;
    assert_eq!(left[from - 45 * 160..from], expected(0, 0..45));
    assert_eq!(left[from + 200..from + 155 * 160], expected(0, 46..200)[40..]);
}

/// A sender that never stops sending faster than it speaks: what there is no room for is counted.
#[test]
fn what_comes_much_too_fast_is_counted() {
    let (mut call, mut out) = (call(Output::Wav), Vec::new());
    for n in 0..1_000 {
        // Twice as fast as it is made.
        send(&mut call, 0, n, 1_000.0 + f64::from(n) * 10.0, &mut out);
    }
    let facts = call.finish(ms(11_000.0), &mut out);
    let [left, _] = channels(&out);
    assert!(left.len() <= 8 * 13_100, "{}", left.len());
    let sounds = left.chunks(160).filter(|sound| !silent(sound)).count() as u64;
    assert!(facts.late[0] > 0 && sounds + facts.late[0] >= 998, "{sounds} and {:?}", facts.late);
}
