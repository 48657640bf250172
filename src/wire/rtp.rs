//! RTP packets (RFC 3550 section 5.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           timestamp                           |
//! |           synchronization source (SSRC) identifier            |
//! |            contributing source (CSRC) identifiers             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use rtp_rs::{RtpReader, RtpReaderError};

/// Why a datagram is not an RTP packet. Counted by variant; never shown without a packet number.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RtpError {
    /// The extension or CSRC list runs past the datagram.
    #[error("header needs {need} bytes, datagram has {have}")]
    HeaderPastEnd {
        /// Bytes the header claims, as far as it could be read.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The padding count is zero or larger than the payload.
    #[error("padding of {padding} bytes does not fit a payload of {payload}")]
    Padding {
        /// Last octet of the packet.
        padding: usize,
        /// Bytes after the header.
        payload: usize,
    },
    /// Shorter than the 12-byte fixed header.
    #[error("{have} bytes is shorter than the fixed header")]
    TooShort {
        /// Bytes there are.
        have: usize,
    },
    /// The version field is not 2.
    #[error("RTP version {version}, want 2")]
    Version {
        /// The two version bits.
        version: u8,
    },
}

/// A checked RTP packet.
#[derive(Clone, Copy, Debug)]
pub struct RtpPacket<'a> {
    fixed: &'a [u8; RtpReader::MIN_HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Checks a datagram once, so that the accessors cannot fail.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let Some((fixed, rest)) = bytes.split_first_chunk() else {
            return Err(RtpError::TooShort { have: bytes.len() });
        };
        if fixed[0] == PLAIN {
            return Ok(Self { fixed, payload: rest });
        }
        match RtpReader::new(bytes) {
            Ok(reader) => Ok(Self { fixed, payload: reader.payload() }),
            Err(error) => Err(reason(&error, bytes)),
        }
    }

    /// Sequence number, wrapping.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// RTP timestamp in units of the payload type's clock rate, wrapping.
    pub fn timestamp(&self) -> u32 {
        u32::from_be_bytes([self.fixed[4], self.fixed[5], self.fixed[6], self.fixed[7]])
    }

    /// Payload type.
    pub fn payload_type(&self) -> u8 {
        self.fixed[1] & 0x7f
    }

    /// Synchronisation source.
    pub fn ssrc(&self) -> u32 {
        u32::from_be_bytes([self.fixed[8], self.fixed[9], self.fixed[10], self.fixed[11]])
    }

    /// Marker bit: for audio, the first packet of a talkspurt (RFC 3551 section 4.1).
    pub fn marker(&self) -> bool {
        self.fixed[1] & 0x80 != 0
    }

    /// Payload, without padding. In SRTP the count of padding bytes is encrypted, so the padding
    /// of an encrypted packet is wrong more often than not; see [`RtpError::Padding`].
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Whether a datagram that nobody announced may be RTP: the header fits, and the payload type is
/// none that RFC 5761 section 4 keeps free for RTCP. Random bytes pass one time in eight, so one
/// packet is no proof of a stream.
pub fn looks_like_rtp(datagram: &[u8]) -> bool {
    RtpPacket::parse(datagram).is_ok_and(|packet| !(64..96).contains(&packet.payload_type()))
}

/// The library's error, with the numbers that this module promises.
fn reason(error: &RtpReaderError, bytes: &[u8]) -> RtpError {
    let have = bytes.len();
    let padding = usize::from(bytes.last().copied().unwrap_or_default());
    match *error {
        RtpReaderError::BufferTooShort(have) => RtpError::TooShort { have },
        RtpReaderError::UnsupportedVersion(version) => RtpError::Version { version },
        // Padding announced, and the header takes the whole packet.
        RtpReaderError::HeadersTruncated { header_len, .. } if header_len <= have => {
            RtpError::Padding { padding, payload: have - header_len }
        }
        RtpReaderError::HeadersTruncated { header_len, .. } => {
            RtpError::HeaderPastEnd { need: header_len, have }
        }
        RtpReaderError::PaddingLengthInvalid(_) => {
            RtpError::Padding { padding, payload: have.saturating_sub(header_bytes(bytes)) }
        }
    }
}

/// Length of a header that is known to be complete.
fn header_bytes(bytes: &[u8]) -> usize {
    let first = bytes.first().copied().unwrap_or_default();
    let fixed = RtpReader::MIN_HEADER_LEN + 4 * usize::from(first & 0x0f);
    match bytes.get(fixed + 2..fixed + 4) {
        Some(&[high, low]) if first & 0x10 != 0 => {
            fixed + 4 + 4 * usize::from(u16::from_be_bytes([high, low]))
        }
        _ => fixed,
    }
}

/// First byte of nearly all packets: version 2 and nothing optional, so there is nothing to check.
const PLAIN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0x88, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef];
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn reads_the_fixed_header() {
        let bytes = packet(0x80, &[1, 2, 3]);
        let rtp = RtpPacket::parse(&bytes).unwrap();
        assert_eq!((rtp.sequence(), rtp.timestamp(), rtp.ssrc()), (0x1234, 160, 0xdead_beef));
        assert_eq!((rtp.payload_type(), rtp.marker(), rtp.payload()), (8, true, &[1, 2, 3][..]));
    }

    #[test]
    fn csrc_list_extension_and_padding_are_no_payload() {
        // Two CSRCs, one extension word, two bytes of sound, two of padding.
        let bytes = packet(0xb2, &[0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 9, 9, 9, 9, 5, 6, 0, 2]);
        assert_eq!(RtpPacket::parse(&bytes).unwrap().payload(), [5, 6]);
        let empty = packet(0x90, &[0, 0, 0, 0]);
        assert!(RtpPacket::parse(&empty).unwrap().payload().is_empty());
    }

    #[test]
    fn faults_have_their_numbers() {
        let error = |bytes: &[u8]| RtpPacket::parse(bytes).unwrap_err();
        assert_eq!(error(&[0x80; 11]), RtpError::TooShort { have: 11 });
        assert_eq!(error(&packet(0x40, &[])), RtpError::Version { version: 1 });
        assert_eq!(error(&packet(0x82, &[0; 7])), RtpError::HeaderPastEnd { need: 20, have: 19 });
        assert_eq!(error(&packet(0x90, &[0, 0, 0, 3, 0])), RtpError::HeaderPastEnd { need: 28, have: 17 });
        assert_eq!(error(&packet(0xa0, &[7, 7, 4])), RtpError::Padding { padding: 4, payload: 3 });
        assert_eq!(error(&packet(0xa0, &[7, 7, 0])), RtpError::Padding { padding: 0, payload: 3 });
        assert_eq!(
            error(&packet(0xb0, &[0, 0, 0, 1, 0, 0, 0, 0, 9])),
            RtpError::Padding { padding: 9, payload: 1 }
        );
        assert_eq!(error(&packet(0xa0, &[])), RtpError::Padding { padding: 0xef, payload: 0 });
        assert!(RtpPacket::parse(&packet(0xa0, &[7, 7, 2])).is_ok());
    }

    #[test]
    fn rtcp_does_not_look_like_rtp() {
        assert!(looks_like_rtp(&packet(0x80, &[0; 160])));
        let mut report = packet(0x80, &[0; 16]);
        report[1] = 200;
        assert!(!looks_like_rtp(&report));
        assert!(!looks_like_rtp(b"OPTIONS sip:a@example.com SIP/2.0\r\n"));
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut state = 7_u32;
        let mut accepted = 0;
        for length in (0..80).cycle().take(20_000) {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            if let Ok(rtp) = RtpPacket::parse(&bytes) {
                assert!(rtp.payload().len() + 12 <= bytes.len());
                accepted += 1;
            }
        }
        assert!(accepted > 100, "{accepted} accepted: the generator tests nothing");
    }
}
