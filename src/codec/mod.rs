//! Payload to samples and back.
//!
//! One file a codec over its library. A [`Decoder`] belongs to one stream and keeps that stream's
//! state; it emits mono samples at its own native rate and never resamples.

use std::fmt;

/// A payload type as negotiated: `a=rtpmap` and `a=fmtp` of RFC 8866, or the static table of RFC 3551.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Format {
    /// Encoding name in upper case: `PCMU`, `G722`, `OPUS`, `TELEPHONE-EVENT`.
    pub encoding: String,
    /// RTP clock rate; not always the rate of the samples (G.722 says 8000 and means 16000).
    pub clock_rate_hz: u32,
    /// Channels as signalled.
    pub channels: u8,
    /// Format parameters as signalled, without the payload type; empty where there are none.
    pub fmtp: String,
}

/// Why a payload gave no samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload is not a whole number of the codec's frames, or its header is wrong.
    #[error("payload of {have} bytes is no whole frame")]
    Length {
        /// Bytes there are.
        have: usize,
    },
    /// The library refused the payload.
    #[error("the decoder refused the payload")]
    Refused,
}

/// Turns the payloads of one stream into mono samples.
pub trait Decoder: Send {
    /// Returns the rate of the samples that come out.
    fn sample_rate_hz(&self) -> u32;

    /// Appends the samples of `payload`. Appends nothing where it fails.
    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError>;

    /// Appends exactly `samples` samples in place of what was lost, fading to silence.
    fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>);

    /// Appends exactly `samples` samples of a lost packet from redundancy that `next`, the packet
    /// after it, carries. Returns false, and appends nothing, where there is none.
    fn recover(&mut self, next: &[u8], samples: usize, pcm: &mut Vec<i16>) -> bool {
        let _ = (next, samples, pcm);
        false
    }
}

/// Turns mono samples into payloads; for fixtures and output.
pub trait Encoder: Send {
    /// Returns the rate of the samples that go in.
    fn sample_rate_hz(&self) -> u32;

    /// Appends the payload of `pcm`, one packet's worth of samples.
    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>);
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.encoding, self.clock_rate_hz)?;
        if self.channels > 1 { write!(f, "/{}", self.channels) } else { Ok(()) }
    }
}
