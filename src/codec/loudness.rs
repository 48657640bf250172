//! How loud a recording is over its length, of each side: for a picture of it. Reads the files that this program writes.

use std::io::Cursor;

use ::opus as lib;

use crate::codec::{opus_packet, wav};

/// How loud the sides are.
#[derive(Clone, Debug, PartialEq)]
pub struct Loudness {
    /// How long it is.
    pub seconds: f64,
    /// Of each side the loudest sample in each of so many equal stretches, from 0 to 255.
    pub sides: Vec<Vec<u8>>,
}

/// Of Ogg Opus with two mono streams side by side; nothing where it is no such file. What of it does not decode is
/// silent.
pub fn of_ogg(file: &[u8], bins: usize) -> Option<Loudness> {
    let mut reader = ::ogg::PacketReader::new(Cursor::new(file));
    let head = reader.read_packet().ok()??;
    if !head.data.starts_with(b"OpusHead") || head.data.get(9) != Some(&2) {
        return None;
    }
    // Comments.
    reader.read_packet().ok()??;
    let decoder = || lib::Decoder::new(RATE_HZ, lib::Channels::Mono).ok();
    let mut decoders = [decoder()?, decoder()?];
    let mut sides = [Vec::new(), Vec::new()];
    let mut pcm = [0; PACKET_SAMPLES_MAX];
    while let Ok(Some(packet)) = reader.read_packet() {
        let both = opus_packet::two_streams(&packet.data);
        for (number, side) in sides.iter_mut().enumerate() {
            let payload =
                both.as_ref().map_or(&[][..], |(first, second)| if number == 0 { first } else { *second });
            // One for each packet of 20 ms, also where there is none.
            let samples = match payload {
                [] => 0,
                payload => decoders[number].decode(payload, &mut pcm, false).unwrap_or(0),
            };
            side.push(loudest(&pcm[..samples]));
        }
    }
    let seconds = sides[0].len() as f64 * PACKET_S;
    Some(Loudness { seconds, sides: sides.iter().map(|side| fold(side, bins)).collect() })
}

/// Of a streaming WAV file of 16-bit samples; nothing where it is no such file.
pub fn of_wav(file: &[u8], bins: usize) -> Option<Loudness> {
    let (rate_hz, channels) = wav::facts(file)?;
    let (samples, channels) = (&file[wav::HEADER_BYTES..], usize::from(channels));
    let frames = samples.chunks_exact(2 * channels);
    let seconds = frames.len() as f64 / f64::from(rate_hz);
    let each = (rate_hz as usize / 50).max(1);
    let mut sides = vec![Vec::new(); channels];
    for stretch in samples.chunks(2 * channels * each) {
        for (channel, side) in sides.iter_mut().enumerate() {
            let of = |frame: &[u8]| i16::from_le_bytes([frame[2 * channel], frame[2 * channel + 1]]);
            let most = stretch.chunks_exact(2 * channels).map(|frame| of(frame).unsigned_abs()).max();
            side.push(most.unwrap_or(0));
        }
    }
    Some(Loudness { seconds, sides: sides.iter().map(|side| fold(side, bins)).collect() })
}

fn loudest(pcm: &[i16]) -> u16 {
    pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
}

fn fold(side: &[u16], bins: usize) -> Vec<u8> {
    let bins = bins.min(side.len());
    let most = |bin: usize| {
        let (from, to) = (bin * side.len() / bins, ((bin + 1) * side.len()).div_ceil(bins));
        side[from..to].iter().max().map_or(0, |most| (most >> 7).min(255) as u8)
    };
    (0..bins).map(most).collect()
}

/// As few samples as will do.
const RATE_HZ: u32 = 8_000;
/// 120 ms, the longest that a packet is.
const PACKET_SAMPLES_MAX: usize = 960;
const PACKET_S: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ogg::{Head, OggOpus};
    use crate::codec::opus_packet::{Frames, SILENCE};
    use crate::codec::{Encoder, OpusEncoder};

    fn tone(samples: usize, rate_hz: f64) -> Vec<i16> {
        (0..samples)
            .map(|n| ((n as f64 * 440.0 * std::f64::consts::TAU / rate_hz).sin() * 20_000.0) as i16)
            .collect()
    }

    /// One second of a tone on the left, then one on the right.
    fn ogg() -> Vec<u8> {
        let mut encoder = OpusEncoder::new(8_000, 24_000).unwrap();
        let head = Head { pre_skip: 0, input_rate_hz: 8_000, vendor: "test", comments: &[], serial: 1 };
        let mut file = Vec::new();
        let mut ogg = OggOpus::new(&head, &mut file);
        for number in 0..100 {
            let mut sound = Vec::new();
            encoder.encode(&tone(160, 8_000.0), &mut sound);
            let (left, right) =
                if number < 50 { (&sound[..], &SILENCE[..]) } else { (&SILENCE[..], &sound[..]) };
            let mut packet = Vec::new();
            Frames::parse(left).unwrap().self_delimited(&mut packet);
            packet.extend_from_slice(right);
            ogg.packet(packet, &mut file);
        }
        ogg.finish(100 * 960, &mut file);
        file
    }

    #[test]
    fn each_side_is_loud_where_it_speaks() {
        let found = of_ogg(&ogg(), 10).unwrap();
        assert!((found.seconds - 2.0).abs() < 1e-9);
        let [left, right] = &found.sides[..] else { panic!("two sides") };
        assert_eq!((left.len(), right.len()), (10, 10));
        assert!(
            left[..5].iter().all(|loud| *loud > 100) && left[6..].iter().all(|loud| *loud < 10),
            "{left:?}"
        );
        assert!(
            right[..5].iter().all(|loud| *loud < 10) && right[6..].iter().all(|loud| *loud > 100),
            "{right:?}"
        );
    }

    #[test]
    fn of_wav_as_well() {
        let mut file = wav::header(8_000, 2).to_vec();
        for sample in tone(8_000, 8_000.0) {
            file.extend(sample.to_le_bytes());
            file.extend(0_i16.to_le_bytes());
        }
        let found = of_wav(&file, 4).unwrap();
        assert!((found.seconds - 1.0).abs() < 1e-9);
        assert!(found.sides[0].iter().all(|loud| (150..160).contains(loud)), "{:?}", found.sides[0]);
        assert_eq!(found.sides[1], [0; 4]);
        // Of less than one stretch.
        assert_eq!(of_wav(&file[..wav::HEADER_BYTES], 4).unwrap().sides, [Vec::<u8>::new(), Vec::new()]);
    }

    #[test]
    fn damage_is_silent_and_what_is_no_such_file_is_none() {
        let whole = ogg();
        for at in (0..whole.len()).step_by(3) {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            if let Some(found) = of_ogg(&changed, 10) {
                assert!(found.sides.iter().all(|side| side.len() <= 10), "{at}");
            }
            let _ = of_ogg(&whole[..at], 10);
            let _ = of_wav(&whole[..at], 10);
        }
        assert!(of_ogg(b"", 10).is_none() && of_wav(b"", 10).is_none() && of_wav(&[0; 60], 10).is_none());
    }
}
