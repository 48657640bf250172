//! Telephone events: digits in the media (RFC 4733 section 2.3).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     event     |E|R| volume    |          duration             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::fmt;

/// One report of an event. All reports of one event have the RTP timestamp of its beginning; the
/// last is sent three times.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct TelephoneEvent {
    /// Event code: 0 to 15 are DTMF, see [`Self::digit`].
    pub event: u8,
    /// Whether the event is over.
    pub end: bool,
    /// Power of the tone in -dBm0, 0 to 63.
    pub volume: u8,
    /// How long it has lasted, in units of the clock rate. An event longer than this can say goes
    /// on in a new segment with a later timestamp (section 2.5.1.3).
    pub duration: u16,
}

impl TelephoneEvent {
    /// The key that was pressed, where the event is one of DTMF's sixteen (section 3.2).
    pub fn digit(&self) -> Option<char> {
        b"0123456789*#ABCD".get(usize::from(self.event)).map(|digit| char::from(*digit))
    }
}

/// Hides the digit: it may be one of a card number.
impl fmt::Debug for TelephoneEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelephoneEvent")
            .field("end", &self.end)
            .field("volume", &self.volume)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// Why a payload is no telephone event.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Shorter than one report.
    #[error("{have} bytes is shorter than a telephone event")]
    TooShort {
        /// Bytes there are.
        have: usize,
    },
}

/// Reads a payload. Where it reports several events in a row (section 2.5.1.5), the first; padding
/// that some senders add without saying so in the RTP header is ignored.
pub fn parse(payload: &[u8]) -> Result<TelephoneEvent, EventError> {
    match *payload {
        [event, flags, high, low, ..] => Ok(TelephoneEvent {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        }),
        _ => Err(EventError::TooShort { have: payload.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_field() {
        let event = parse(&[11, 0x8a, 0x03, 0x20]).unwrap();
        assert_eq!(event, TelephoneEvent { event: 11, end: true, volume: 10, duration: 800 });
        assert_eq!(event.digit(), Some('#'));
        let going_on = parse(&[0, 0x4a, 0, 160, 0, 0, 0, 0]).unwrap();
        assert_eq!((going_on.end, going_on.volume, going_on.digit()), (false, 10, Some('0')));
    }

    #[test]
    fn sixteen_digits_and_no_more() {
        let digits: String =
            (0..=255).filter_map(|event| parse(&[event, 0, 0, 0]).unwrap().digit()).collect();
        assert_eq!(digits, "0123456789*#ABCD");
    }

    #[test]
    fn too_short_and_secret() {
        assert_eq!(parse(&[1, 2, 3]), Err(EventError::TooShort { have: 3 }));
        assert!(!format!("{:?}", parse(&[7, 0, 0, 0]).unwrap()).contains('7'));
    }
}
