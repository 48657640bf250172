//! What a payload type means.

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

impl Format {
    /// Makes a mono format without parameters.
    pub fn new(encoding: &str, clock_rate_hz: u32) -> Self {
        Self { encoding: encoding.to_ascii_uppercase(), clock_rate_hz, channels: 1, fmtp: String::new() }
    }

    /// Returns the meaning of a static payload type (RFC 3551 tables 4 and 5, RFC 3389), where it has one.
    pub fn static_payload_type(payload_type: u8) -> Option<Self> {
        let (encoding, clock_rate_hz, channels) = match payload_type {
            0 => ("PCMU", 8_000, 1),
            2 => ("G726-32", 8_000, 1),
            3 => ("GSM", 8_000, 1),
            4 => ("G723", 8_000, 1),
            5 => ("DVI4", 8_000, 1),
            6 => ("DVI4", 16_000, 1),
            7 => ("LPC", 8_000, 1),
            8 => ("PCMA", 8_000, 1),
            9 => ("G722", 8_000, 1),
            10 => ("L16", 44_100, 2),
            11 => ("L16", 44_100, 1),
            12 => ("QCELP", 8_000, 1),
            13 => ("CN", 8_000, 1),
            14 => ("MPA", 90_000, 1),
            15 => ("G728", 8_000, 1),
            16 => ("DVI4", 11_025, 1),
            17 => ("DVI4", 22_050, 1),
            18 => ("G729", 8_000, 1),
            _ => return None,
        };
        Some(Self { channels, ..Self::new(encoding, clock_rate_hz) })
    }

    /// Returns a parameter of `a=fmtp` by name, without regard to case: `mode` of `mode=20;foo=1`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// As in `a=rtpmap`: `PCMU/8000`, `OPUS/48000/2`.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.encoding, self.clock_rate_hz)?;
        if self.channels > 1 { write!(f, "/{}", self.channels) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_name() {
        let format = Format { fmtp: "Octet-Align=1; mode-set=0,2".into(), ..Format::new("amr", 8_000) };
        assert_eq!(format.parameter("octet-align"), Some("1"));
        assert_eq!(format.parameter("mode-set"), Some("0,2"));
        assert_eq!(format.parameter("crc"), None);
        assert_eq!(format.to_string(), "AMR/8000");
    }
}
