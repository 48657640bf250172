//! Both lanes into one file.

use crate::codec::ogg::{Head, OggOpus};
use crate::codec::wav;
use crate::recording::audio::Config;
use crate::recording::audio::Output;
use crate::recording::audio::grid::Grid;
use crate::recording::audio::opus_lane;
use crate::recording::audio::pcm::FRAME_BYTES;
use crate::recording::audio::side::{Lane, Side};

/// The file of a call.
pub(super) enum File {
    /// Ogg Opus, not begun before the first packet is written.
    Opus {
        ogg: Option<Box<OggOpus>>,
        id: String,
        start: String,
        pre_skip: u16,
        /// Packets of a page.
        page_packets: u64,
        /// Packets written.
        packets: u64,
    },
    /// WAV.
    Wav {
        begun: bool,
        /// Frames written.
        frames: i64,
    },
}

impl File {
    /// Makes the file; nothing is written yet.
    pub(super) fn new(config: &Config, page_packets: u64) -> Self {
        match config.output {
            Output::Opus => Self::Opus {
                ogg: None,
                id: config.id.clone(),
                start: config.start.to_string(),
                pre_skip: pre_skip(),
                page_packets,
                packets: 0,
            },
            Output::Wav => Self::Wav { begun: false, frames: 0 },
        }
    }

    /// Returns how many ticks are written.
    pub(super) fn ticks(&self) -> i64 {
        match self {
            Self::Opus { packets, .. } => *packets as i64 * SLOT,
            Self::Wav { frames, .. } => *frames,
        }
    }

    /// Writes both sides up to tick `until`.
    pub(super) fn write(&mut self, sides: &mut [Side; 2], until: i64, grid: &Grid, out: &mut Vec<u8>) {
        match self {
            Self::Wav { begun, frames } => {
                let count = until - *frames;
                if count >= grid.millis(BATCH_MS) {
                    noise(sides, until, grid);
                    write_wav(sides, begun, count as usize, grid.hz, out);
                    *frames = until;
                }
            }
            Self::Opus { packets, .. } => {
                let have = *packets as i64 * SLOT;
                if until - have >= SLOT {
                    noise(sides, until, grid);
                    self.write_opus(sides, until / SLOT, out);
                }
            }
        }
    }

    fn write_opus(&mut self, sides: &mut [Side; 2], until: i64, out: &mut Vec<u8>) {
        let Self::Opus { ogg, id, start, pre_skip, page_packets, packets } = self else { return };
        let ogg = ogg.get_or_insert_with(|| {
            Box::new(begin(id, start, *pre_skip, sides, out).with_pages(*page_packets))
        });
        while (*packets as i64) < until {
            let mut packet = Vec::with_capacity(PACKET_ROOM);
            for (index, side) in sides.iter_mut().enumerate() {
                if let Lane::Opus(lane) = &mut side.lane {
                    lane.take(index == 0, &mut packet);
                }
            }
            ogg.packet(packet, out);
            *packets += 1;
        }
    }

    /// Writes both sides up to `total`, which is the length of the file.
    pub(super) fn finish(mut self, sides: &mut [Side; 2], total: i64, grid: &Grid, out: &mut Vec<u8>) {
        match &mut self {
            Self::Wav { begun, frames } => {
                write_wav(sides, begun, (total - *frames).max(0) as usize, grid.hz, out);
            }
            Self::Opus { pre_skip, .. } => {
                let samples = total + i64::from(*pre_skip);
                let slots = (samples + SLOT - 1) / SLOT;
                for side in sides.iter_mut() {
                    side.fill(slots.max(1) * SLOT, grid);
                }
                self.write_opus(sides, slots.max(1), out);
                if let Self::Opus { ogg: Some(ogg), .. } = self {
                    ogg.finish(samples as u64, out);
                }
            }
        }
    }
}

/// Lets noise fill what is about to be written.
fn noise(sides: &mut [Side; 2], until: i64, grid: &Grid) {
    sides.iter_mut().filter(|side| side.noisy()).for_each(|side| side.fill(until, grid));
}

fn write_wav(sides: &mut [Side; 2], begun: &mut bool, count: usize, hz: u32, out: &mut Vec<u8>) {
    if !std::mem::replace(begun, true) {
        out.extend(wav::header(hz, 2));
    }
    let from = out.len();
    out.resize(from + count * FRAME_BYTES, 0);
    for (index, side) in sides.iter_mut().enumerate() {
        if let Lane::Pcm(lane) = &mut side.lane
            && count > 0
        {
            lane.take(count, &mut out[from + index * 2..]);
        }
    }
}

fn begin(id: &str, start: &str, pre_skip: u16, sides: &[Side; 2], out: &mut Vec<u8>) -> OggOpus {
    let comments = [
        format!("ENCODER=sejf {}", env!("CARGO_PKG_VERSION")),
        format!("SEJF_ID={id}"),
        format!("SEJF_START={start}"),
    ];
    let rate = sides.iter().map(|side| match &side.lane {
        Lane::Opus(lane) => lane.rate_hz(),
        Lane::Pcm(_) => 0,
    });
    let input_rate_hz = rate.max().filter(|rate| *rate > 0).unwrap_or(48_000);
    let head = Head { pre_skip, input_rate_hz, vendor: "sejf", comments: &comments, serial: serial(id) };
    OggOpus::new(&head, out)
}

/// The encoder's delay at 48 kHz, which is the same time at every rate.
fn pre_skip() -> u16 {
    opus_lane::encoder(8_000, false).map_or(0, |encoder| (encoder.lookahead() * 6) as u16)
}

/// FNV-1a, so that the same recording has the same bytes.
fn serial(id: &str) -> u32 {
    id.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Frames are written in batches of at least so long.
const BATCH_MS: u32 = 20;
/// 20 ms at 48 kHz.
const SLOT: i64 = 960;
/// Two usual packets.
const PACKET_ROOM: usize = 128;
