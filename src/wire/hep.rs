//! HEP version 3, the Homer encapsulation protocol: SIP that a proxy or a probe sends on, in chunks
//! that say between whom and when it went over the wire (HEP3 network protocol specification, rev. 36).

use crate::base::endpoint::{Endpoint, Ip};
use crate::base::time::Stamp;

/// What one datagram of HEP carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hep<'a> {
    /// Sender of what it carries.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// When it was captured, by the clock of the one who sends it on.
    pub at: Option<Stamp>,
    /// What it carries; of many protocols, see [`Hep::is_sip`].
    pub payload: &'a [u8],
    protocol: u8,
}

/// Whether a datagram begins like HEP version 3.
pub fn looks_like_hep(datagram: &[u8]) -> bool {
    datagram.starts_with(MAGIC)
}

impl<'a> Hep<'a> {
    /// Reads a datagram. `None` where it is cut, contradicts itself, or lacks addresses or a payload:
    /// one that is compressed counts as none.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let length = usize::from(u16::from_be_bytes(*datagram.get(4..)?.first_chunk()?));
        let mut rest = datagram.strip_prefix(MAGIC).and(datagram.get(HEADER_BYTES..length))?;
        let (mut src, mut dst) = ((None, None), (None, None));
        let (mut seconds, mut micros) = (None, 0);
        let (mut protocol, mut payload) = (0, None);
        while !rest.is_empty() {
            let (chunk, after) = split_chunk(rest)?;
            rest = after;
            match (chunk.kind, chunk.data) {
                (1..=15, _) if chunk.vendor != 0 => {}
                (3, data) => src.0 = Some(Ip::v4(data.try_into().ok()?)),
                (4, data) => dst.0 = Some(Ip::v4(data.try_into().ok()?)),
                (5, data) => src.0 = Some(Ip::v6(data.try_into().ok()?)),
                (6, data) => dst.0 = Some(Ip::v6(data.try_into().ok()?)),
                (7, data) => src.1 = Some(u16::from_be_bytes(data.try_into().ok()?)),
                (8, data) => dst.1 = Some(u16::from_be_bytes(data.try_into().ok()?)),
                (9, data) => seconds = Some(u32::from_be_bytes(data.try_into().ok()?)),
                (10, data) => micros = u32::from_be_bytes(data.try_into().ok()?),
                (11, [kind]) => protocol = *kind,
                (15, data) => payload = Some(data),
                _ => {}
            }
        }
        let nanos = |seconds| u64::from(seconds) * 1_000_000_000 + u64::from(micros) * 1_000;
        Some(Self {
            src: Endpoint::new(src.0?, src.1?),
            dst: Endpoint::new(dst.0?, dst.1?),
            at: seconds.map(|seconds: u32| Stamp::from_unix_nanos(nanos(seconds))),
            payload: payload?,
            protocol,
        })
    }

    /// Whether it carries SIP.
    pub fn is_sip(&self) -> bool {
        self.protocol == 1
    }
}

struct Chunk<'a> {
    vendor: u16,
    kind: u16,
    data: &'a [u8],
}

/// A chunk, whose length counts its own header, and what follows it.
fn split_chunk(bytes: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let data = bytes.get(HEADER_BYTES..usize::from(field(4)))?;
    let after = &bytes[HEADER_BYTES + data.len()..];
    Some((Chunk { vendor: field(0), kind: field(2), data }, after))
}

const MAGIC: &[u8; 4] = b"HEP3";
/// Of the datagram, and of each chunk.
const HEADER_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn hep(chunks: &[(u16, u16, &[u8])]) -> Vec<u8> {
        let mut bytes = b"HEP3\0\0".to_vec();
        for (vendor, kind, data) in chunks {
            bytes.extend_from_slice(&vendor.to_be_bytes());
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&(data.len() as u16 + 6).to_be_bytes());
            bytes.extend_from_slice(data);
        }
        let length = bytes.len() as u16;
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    const PORTS: [(u16, u16, &[u8]); 2] = [(0, 7, &[0x13, 0xc4]), (0, 8, &[0x13, 0xc5])];
    const SIP: [(u16, u16, &[u8]); 2] = [(0, 11, &[1]), (0, 15, b"SIP/2.0 200 OK\r\n")];

    #[test]
    fn chunks_say_who_and_when() {
        let v4 = [(0, 3, &[192, 0, 2, 1][..]), (0, 4, &[192, 0, 2, 2])];
        let time = [(0, 9, &[0, 0, 0, 2][..]), (0, 10, &[0, 0, 0, 7]), (5, 3, &[1]), (0, 17, b"id")];
        let bytes = hep(&[&v4[..], &PORTS, &time, &SIP].concat());
        assert!(looks_like_hep(&bytes));
        let hep_v4 = Hep::parse(&bytes).unwrap();
        assert_eq!(
            (hep_v4.src.to_string(), hep_v4.dst.to_string()),
            ("192.0.2.1:5060".into(), "192.0.2.2:5061".into())
        );
        assert_eq!(hep_v4.at, Some(Stamp::from_unix_nanos(2_000_007_000)));
        assert_eq!((hep_v4.payload, hep_v4.is_sip()), (&b"SIP/2.0 200 OK\r\n"[..], true));

        let v6 = [(0, 5, &[0x20; 16][..]), (0, 6, &[0x30; 16])];
        let bytes = hep(&[&v6[..], &PORTS, &[(0, 11, &[5]), (0, 15, b"{}")]].concat());
        let hep_v6 = Hep::parse(&bytes).unwrap();
        assert_eq!((hep_v6.dst.ip, hep_v6.at, hep_v6.is_sip()), (Ip::v6([0x30; 16]), None, false));
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let v4 = [(0, 3, &[192, 0, 2, 1][..]), (0, 4, &[192, 0, 2, 2])];
        let chunks = [&v4[..], &PORTS, &SIP].concat();
        let bytes = hep(&chunks);
        assert!(Hep::parse(&bytes).is_some());
        for cut in 0..bytes.len() {
            assert_eq!(Hep::parse(&bytes[..cut]), None, "{cut}");
        }
        // Without either address, either port, or the payload.
        for without in [0, 1, 2, 3, 5] {
            let mut chunks = chunks.clone();
            chunks.remove(without);
            assert_eq!(Hep::parse(&hep(&chunks)), None, "{without}");
        }
        assert_eq!(Hep::parse(&hep(&[(0, 3, &[1, 2, 3])])), None);
    }

    #[test]
    fn any_bytes_have_an_answer() {
        let v4 = [(0, 3, &[192, 0, 2, 1][..]), (0, 4, &[192, 0, 2, 2])];
        let seed = hep(&[&v4[..], &PORTS, &SIP].concat());
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = seed.clone();
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
            read += u32::from(Hep::parse(&bytes).is_some());
        }
        assert!(read > 5_000 && read < 19_900, "{read}");
    }
}
