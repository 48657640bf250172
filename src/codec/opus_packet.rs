//! Opus packets without their sound (RFC 6716 section 3 and appendix B): how long they are, how
//! two of them stand side by side, how one becomes several.

/// The first byte of a packet (RFC 6716 section 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Toc(pub u8);

impl Toc {
    /// Returns the duration of one frame in samples at 48 kHz.
    pub fn frame_samples(self) -> usize {
        let config = self.0 >> 3;
        match config {
            0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
            12..=15 => [480, 960][usize::from(config & 1)],
            _ => 120 << (config & 3),
        }
    }

    /// Returns whether the packet has two channels.
    pub fn stereo(self) -> bool {
        self.0 & 4 != 0
    }

    /// Returns this byte for a packet of one frame: code 0.
    fn single(self) -> Self {
        Self(self.0 & !3)
    }
}

/// The frames of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    toc: Toc,
    count: usize,
    /// Where each begins, and the end of the last.
    bounds: [u16; FRAMES_MAX + 1],
    bytes: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Takes a packet apart. Returns nothing where it breaks a rule of RFC 6716 section 3.4.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let (&toc, rest) = packet.split_first()?;
        let toc = Toc(toc);
        let mut frames = Self { toc, count: 0, bounds: [0; FRAMES_MAX + 1], bytes: rest };
        match toc.0 & 3 {
            0 => frames.push(rest.len())?,
            1 if rest.len().is_multiple_of(2) => {
                frames.push(rest.len() / 2)?;
                frames.push(rest.len() / 2)?;
            }
            1 => return None,
            2 => {
                let (first, used) = read_length(rest)?;
                frames.bytes = &rest[used..];
                frames.push(first)?;
                frames.push(frames.bytes.len().checked_sub(first)?)?;
            }
            _ => frames.many(rest)?,
        }
        (frames.samples() <= PACKET_SAMPLES_MAX).then_some(frames)
    }

    /// Code 3: a count, perhaps padding, perhaps a length for each frame.
    fn many(&mut self, rest: &'a [u8]) -> Option<()> {
        let (&control, mut rest) = rest.split_first()?;
        let count = usize::from(control & 0x3f);
        if count == 0 || count > FRAMES_MAX {
            return None;
        }
        if control & 0x40 != 0 {
            let mut padding = 0;
            loop {
                let (&byte, after) = rest.split_first()?;
                rest = after;
                padding += usize::from(byte.min(254));
                if byte < 255 {
                    break;
                }
            }
            rest = &rest[..rest.len().checked_sub(padding)?];
        }
        if control & 0x80 == 0 {
            self.bytes = rest;
            let each = rest.len() / count;
            if each * count != rest.len() {
                return None;
            }
            return (0..count).try_for_each(|_| self.push(each));
        }
        let mut lengths = [0; FRAMES_MAX];
        for length in &mut lengths[..count - 1] {
            let (read, used) = read_length(rest)?;
            *length = read;
            rest = &rest[used..];
        }
        self.bytes = rest;
        let known: usize = lengths[..count - 1].iter().sum();
        lengths[count - 1] = rest.len().checked_sub(known)?;
        lengths[..count].iter().try_for_each(|length| self.push(*length))
    }

    fn push(&mut self, length: usize) -> Option<()> {
        let start = usize::from(self.bounds[self.count]);
        if length > FRAME_BYTES_MAX || start + length > self.bytes.len() || self.count == FRAMES_MAX {
            return None;
        }
        self.count += 1;
        self.bounds[self.count] = (start + length) as u16;
        Some(())
    }

    /// Returns the first byte.
    pub fn toc(&self) -> Toc {
        self.toc
    }

    /// Returns whether it also holds sound of the packet before it, in case that was lost (RFC 6716
    /// section 4.2.3): the flag is one of the first bits of a SILK frame, which are not compressed.
    pub fn holds_earlier(&self) -> bool {
        let (config, channels) = (self.toc.0 >> 3, if self.toc.stereo() { 2 } else { 1 });
        if config >= 16 {
            return false;
        }
        // SILK frames of 20 ms in one Opus frame, each with a flag of its own before.
        let silk = (self.toc.frame_samples() / 960).max(1);
        (0..self.count).any(|index| {
            let first = self.frame(index).first().copied().unwrap_or_default();
            // The second channel's flags follow the first's.
            (0..channels).any(|channel| {
                let bit = (channel + 1) * (silk + 1) - 1;
                bit < 8 && first >> (7 - bit) & 1 == 1
            })
        })
    }

    /// Returns how many there are: 1 to 48.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the duration of them all in samples at 48 kHz.
    pub fn samples(&self) -> usize {
        self.toc.frame_samples() * self.count
    }

    /// Returns the bytes of a frame.
    pub fn frame(&self, index: usize) -> &'a [u8] {
        &self.bytes[usize::from(self.bounds[index])..usize::from(self.bounds[index + 1])]
    }

    /// Appends frame `index` as a packet of its own.
    pub fn single(&self, index: usize, out: &mut Vec<u8>) {
        out.push(self.toc.single().0);
        out.extend_from_slice(self.frame(index));
    }

    /// Appends all frames as one packet without padding: extensions put sound of before there, in case it was lost.
    pub fn bare(&self, out: &mut Vec<u8>) {
        match self.count {
            1 => out.push(self.toc.single().0),
            count => {
                out.push(self.toc.0 | 3);
                out.push(0x80 | count as u8);
                (0..count - 1).for_each(|index| write_length(self.frame(index).len(), out));
            }
        }
        (0..self.count).for_each(|index| out.extend_from_slice(self.frame(index)));
    }

    /// Appends all frames as one packet without padding whose last length stands inside (RFC 6716
    /// appendix B), so that another packet can follow it.
    pub fn self_delimited(&self, out: &mut Vec<u8>) {
        match self.count {
            1 => {
                out.push(self.toc.single().0);
                write_length(self.frame(0).len(), out);
            }
            count => {
                out.push(self.toc.0 | 3);
                out.push(0x80 | count as u8);
                (0..count).for_each(|index| write_length(self.frame(index).len(), out));
            }
        }
        (0..self.count).for_each(|index| out.extend_from_slice(self.frame(index)));
    }
}

/// Parts a packet of two streams: the first, whose last length stands inside (RFC 6716 appendix B), as a packet by
/// itself, and the second. `None` where it breaks a rule, or is padded, which no recorder does.
pub fn two_streams(packet: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&toc, mut rest) = packet.split_first()?;
    let mut first = vec![toc];
    let read = |rest: &mut &[u8]| {
        let (length, used) = read_length(rest)?;
        *rest = rest.get(used..)?;
        Some(length)
    };
    let body = match toc & 3 {
        0 => read(&mut rest)?,
        1 => 2 * read(&mut rest)?,
        2 => {
            let length = read(&mut rest)?;
            write_length(length, &mut first);
            length + read(&mut rest)?
        }
        _ => {
            let (&control, after) = rest.split_first()?;
            rest = after;
            first.push(control);
            let count = usize::from(control & 0x3f);
            if control & 0x40 != 0 || count == 0 || count > FRAMES_MAX {
                return None;
            }
            if control & 0x80 == 0 {
                count * read(&mut rest)?
            } else {
                let mut all = 0;
                for index in 0..count {
                    let length = read(&mut rest)?;
                    if index + 1 < count {
                        write_length(length, &mut first);
                    }
                    all += length;
                }
                all
            }
        }
    };
    let (body, second) = rest.split_at_checked(body)?;
    first.extend_from_slice(body);
    Some((first, second))
}

/// Appends a packet that stands for 20 ms of which nothing came: `toc` of the packet before it, so
/// that decoders conceal in that mode. Zero bytes of sound is how RFC 6716 section 3.2.1 says it.
pub fn lost(toc: Toc, out: &mut Vec<u8>) {
    let config = match toc.0 >> 3 {
        silk @ 0..=11 => silk & !3 | 1,
        hybrid @ 12..=15 => hybrid | 1,
        celt => celt | 3,
    };
    out.push(config << 3 | toc.0 & 4);
}

/// 20 ms of digital silence: CELT, narrowband, mono, with only the silence flag.
pub const SILENCE: [u8; 3] = [19 << 3, 0xff, 0xfe];

/// A frame length (RFC 6716 section 3.2.1). Returns it and the bytes it takes.
fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.first()? {
        short @ 0..=251 => Some((usize::from(short), 1)),
        long => Some((usize::from(*bytes.get(1)?) * 4 + usize::from(long), 2)),
    }
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    if length < 252 {
        out.push(length as u8);
    } else {
        let low = 252 + (length & 3);
        out.push(low as u8);
        out.push(((length - low) >> 2) as u8);
    }
}

/// Most frames of a packet: 120 ms of 2.5 ms each.
const FRAMES_MAX: usize = 48;
/// Longest frame.
const FRAME_BYTES_MAX: usize = 1_275;
/// 120 ms.
const PACKET_SAMPLES_MAX: usize = 5_760;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_every_code_come_apart() {
        let one = [0x98, 1, 2, 3];
        let equal = [0x99, 1, 2, 3, 4];
        let two = [0x9a, 1, 1, 2, 3, 4];
        let padded = [0x9b, 0x40 | 2, 3, 1, 2, 3, 4, 0, 0, 0];
        let lengths = [0x9b, 0x80 | 3, 1, 0, 9, 8, 7];
        for (packet, want) in [
            (&one[..], &[&[1, 2, 3][..]][..]),
            (&equal, &[&[1, 2], &[3, 4]]),
            (&two, &[&[1], &[2, 3, 4]]),
            (&padded, &[&[1, 2], &[3, 4]]),
            (&lengths, &[&[9], &[], &[8, 7]]),
        ] {
            let frames = Frames::parse(packet).unwrap();
            let have: Vec<_> = (0..frames.count()).map(|index| frames.frame(index)).collect();
            assert_eq!(have, want);
            assert_eq!(frames.samples(), 960 * want.len());
        }
    }

    #[test]
    fn sound_of_the_packet_before_is_seen() {
        for (fec, rate_hz, samples) in [(true, 8_000, 160), (true, 16_000, 320), (false, 16_000, 320)] {
            let mut encoder =
                opus::Encoder::new(rate_hz, opus::Channels::Mono, opus::Application::Voip).unwrap();
            encoder.set_bitrate(opus::Bitrate::Bits(24_000)).unwrap();
            encoder.set_inband_fec(fec).unwrap();
            encoder.set_packet_loss_perc(if fec { 25 } else { 0 }).unwrap();
            let said = crate::fixture::voice::voice(1, crate::base::party::Party::Caller, rate_hz, 4.0);
            let packets: Vec<_> =
                said.chunks_exact(samples).map(|part| encoder.encode_vec(part, 1_275).unwrap()).collect();
            let with = packets.iter().filter(|packet| Frames::parse(packet).unwrap().holds_earlier()).count();
            let good = if fec { with > packets.len() / 2 } else { with == 0 };
            assert!(good, "{fec} {rate_hz}: {with} of {}", packets.len());
        }
    }

    #[test]
    fn broken_packets_are_refused() {
        let long = [0x98; 1_277];
        for packet in [
            &[][..],
            &[0x99, 1],
            &[0x9a, 9, 1],
            &[0x9a],
            &[0x9b],
            &[0x9b, 0],
            &[0x9b, 49],
            &[0x9b, 0x42, 9],
            &long,
        ] {
            assert!(Frames::parse(packet).is_none(), "{packet:?}");
        }
        // 7 frames of 20 ms are more than 120 ms.
        assert!(Frames::parse(&[0x9b, 7]).is_none());
    }

    #[test]
    fn frame_lengths_are_those_of_table_2() {
        let ms = |config: u8| Toc(config << 3).frame_samples() as f64 / 48.0;
        let have: Vec<f64> = [0, 3, 7, 9, 12, 15, 16, 19, 28, 31].map(ms).to_vec();
        assert_eq!(have, [10.0, 60.0, 60.0, 20.0, 10.0, 20.0, 2.5, 20.0, 2.5, 20.0]);
    }

    #[test]
    fn self_delimited_lengths_are_read_back() {
        for length in [0, 1, 251, 252, 253, 255, 256, 600, 1_275] {
            let mut packet = vec![0x98];
            packet.resize(1 + length, 7);
            let mut out = Vec::new();
            Frames::parse(&packet).unwrap().self_delimited(&mut out);
            let (read, used) = read_length(&out[1..]).unwrap();
            assert_eq!((read, out.len()), (length, 1 + used + length));
        }
    }

    #[test]
    fn bare_packets_hold_all_frames_and_no_padding() {
        for packet in [
            &[0x98, 1, 2, 3][..],
            &[0x99, 1, 2, 3, 4],
            &[0x9a, 1, 1, 2, 3, 4],
            &[0x9b, 0x40 | 1, 3, 1, 2, 0xdd, 0xdd, 0xdd],
            &[0x9b, 0x40 | 2, 3, 1, 2, 3, 4, 0xdd, 0xdd, 0xdd],
            &[0x9b, 0xc0 | 3, 2, 1, 0, 9, 8, 7, 0xdd, 0xdd],
        ] {
            let mut bare = Vec::new();
            let frames = Frames::parse(packet).unwrap();
            frames.bare(&mut bare);
            assert!(!bare.contains(&0xdd), "{bare:?}");
            let again = Frames::parse(&bare).unwrap();
            let all = |frames: &Frames<'_>| {
                (0..frames.count()).map(|at| frames.frame(at).to_vec()).collect::<Vec<_>>()
            };
            assert_eq!((all(&again), again.samples()), (all(&frames), frames.samples()));
        }
    }

    #[test]
    fn a_lost_packet_lasts_20_ms_in_its_mode() {
        for first in 0..=255 {
            let mut out = Vec::new();
            lost(Toc(first), &mut out);
            let frames = Frames::parse(&out).unwrap();
            assert_eq!(frames.samples(), 960);
            assert_eq!((frames.toc().stereo(), frames.frame(0).len()), (Toc(first).stereo(), 0));
        }
        assert_eq!(Frames::parse(&SILENCE).unwrap().samples(), 960);
    }
}
