//! The age v1 header: who can open a file, and a MAC over that (C2SP age, "Header").
//!
//! ```text
//! age-encryption.org/v1
//! -> X25519 <share>          stanza: arguments, then base64 in lines of 64,
//! <wrapped file key>                 the last one shorter
//! --- <MAC>                  over all that is above, `---` included
//! ```
//!
//! Strict on purpose: what parses prints back to the same bytes, so a MAC never covers something
//! other than what was read.

use std::io::BufRead;
use std::io::ErrorKind;

use age_core::format::Stanza;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use crate::seal::keys::FileKey;
use crate::seal::keys::MAC_BYTES;

/// A header as read, its MAC not yet checked: that takes the file key.
#[derive(Debug)]
pub struct Header {
    /// The stanzas, in order.
    pub stanzas: Vec<Stanza>,
    /// The bytes that the MAC covers.
    covered: Vec<u8>,
    mac: [u8; MAC_BYTES],
}

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file ends before its header does.
    #[error("the file ends inside its header, in line {line}")]
    Cut {
        /// Line, from 1.
        line: usize,
    },
    /// The file cannot be read.
    #[error("the header cannot be read")]
    Io(#[from] std::io::Error),
    /// A line is not what age v1 asks for.
    #[error("line {line} of the header is malformed")]
    Malformed {
        /// Line, from 1.
        line: usize,
    },
    /// The file does not begin as age files do.
    #[error("this is not an age file")]
    NotAge,
    /// Longer than [`HEADER_BYTES_MAX`].
    #[error("the header is longer than {HEADER_BYTES_MAX} bytes")]
    TooLong,
    /// A version of age that is not v1.
    #[error("this is an age file of a version other than v1")]
    Version,
}

impl Header {
    /// Reads a header and nothing behind it.
    pub fn read(reader: &mut impl BufRead) -> Result<Self, HeaderError> {
        let mut lines = Lines { reader, all: Vec::new(), number: 0 };
        let first = lines.next()?;
        if first != VERSION_LINE {
            return Err(if first.starts_with(FAMILY) { HeaderError::Version } else { HeaderError::NotAge });
        }
        let mut stanzas = Vec::new();
        loop {
            let start = lines.all.len();
            let line = lines.next()?;
            if let Some(arguments) = line.strip_prefix(b"-> ") {
                let (tag, args) = parse_arguments(arguments).ok_or(lines.malformed())?;
                let body = lines.body()?;
                stanzas.push(Stanza { tag, args, body });
                continue;
            }
            let mac = line.strip_prefix(b"--- ").and_then(decode_exact).filter(|_| !stanzas.is_empty());
            let mac = mac.ok_or(lines.malformed())?;
            let mut covered = lines.all;
            covered.truncate(start + MAC_MARK.len());
            return Ok(Self { stanzas, covered, mac });
        }
    }

    /// Returns whether the header is as it was when `file_key` sealed the file.
    pub fn verify(&self, file_key: &FileKey) -> bool {
        file_key.verify_header(&self.covered, &self.mac)
    }

    /// The header as it stands in the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.covered.clone();
        push_mac(&mut bytes, &self.mac);
        bytes
    }
}

/// Reads lines and keeps all of them, for the MAC.
struct Lines<'a, R> {
    reader: &'a mut R,
    all: Vec<u8>,
    number: usize,
}

impl<R: BufRead> Lines<'_, R> {
    /// The next line, without its line feed.
    fn next(&mut self) -> Result<Vec<u8>, HeaderError> {
        self.number += 1;
        let start = self.all.len();
        loop {
            let buffered = match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffered.is_empty() {
                let text = &self.all[start..];
                // Other files are not "cut": only what began as age does is.
                let began = self.number > 1 || (!text.is_empty() && VERSION_LINE.starts_with(text));
                return Err(if began { HeaderError::Cut { line: self.number } } else { HeaderError::NotAge });
            }
            let end = buffered.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffered.len(), |end| end + 1);
            self.all.extend_from_slice(&buffered[..taken]);
            self.reader.consume(taken);
            if self.number == 1 && self.all.len() > FIRST_LINE_MAX {
                return Err(HeaderError::NotAge);
            }
            if self.all.len() > HEADER_BYTES_MAX {
                return Err(HeaderError::TooLong);
            }
            if end.is_some() {
                return Ok(self.all[start..self.all.len() - 1].to_vec());
            }
        }
    }

    /// A stanza's body: full lines, then one that is shorter.
    fn body(&mut self) -> Result<Vec<u8>, HeaderError> {
        let mut text = Vec::new();
        loop {
            let line = self.next()?;
            if line.len() > BODY_COLUMNS {
                return Err(self.malformed());
            }
            text.extend_from_slice(&line);
            if line.len() < BODY_COLUMNS {
                return BASE64_STANDARD_NO_PAD.decode(text).map_err(|_| self.malformed());
            }
        }
    }

    fn malformed(&self) -> HeaderError {
        HeaderError::Malformed { line: self.number }
    }
}

/// Writes the header of a file that `stanzas` open.
pub fn write(stanzas: &[Stanza], file_key: &FileKey) -> Vec<u8> {
    let mut out = VERSION_LINE.to_vec();
    out.push(b'\n');
    for stanza in stanzas {
        out.extend_from_slice(b"->");
        for argument in std::iter::once(&stanza.tag).chain(&stanza.args) {
            out.push(b' ');
            out.extend_from_slice(argument.as_bytes());
        }
        out.push(b'\n');
        let body = BASE64_STANDARD_NO_PAD.encode(&stanza.body);
        let mut rest = body.as_bytes();
        while let Some((line, more)) = rest.split_at_checked(BODY_COLUMNS) {
            out.extend_from_slice(line);
            out.push(b'\n');
            rest = more;
        }
        out.extend_from_slice(rest);
        out.push(b'\n');
    }
    out.extend_from_slice(MAC_MARK);
    let mac = file_key.header_mac(&out);
    push_mac(&mut out, &mac);
    out
}

/// Decodes canonical base64 without padding to exactly `N` bytes.
pub(crate) fn decode_exact<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    BASE64_STANDARD_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn push_mac(out: &mut Vec<u8>, mac: &[u8; MAC_BYTES]) {
    out.push(b' ');
    out.extend_from_slice(BASE64_STANDARD_NO_PAD.encode(mac).as_bytes());
    out.push(b'\n');
}

/// One or more arguments of visible ASCII, one space between two of them.
fn parse_arguments(line: &[u8]) -> Option<(String, Vec<String>)> {
    let mut arguments = line.split(|byte| *byte == b' ').map(|argument| {
        let visible = !argument.is_empty() && argument.iter().all(u8::is_ascii_graphic);
        visible.then(|| argument.iter().map(|byte| char::from(*byte)).collect::<String>())
    });
    let tag = arguments.next()??;
    Some((tag, arguments.collect::<Option<_>>()?))
}

const FAMILY: &[u8] = b"age-encryption.org/";
const VERSION_LINE: &[u8] = b"age-encryption.org/v1";
const MAC_MARK: &[u8] = b"---";
const BODY_COLUMNS: usize = 64;
/// A first line longer than this is no version line, so a large file without line feeds is not read in.
const FIRST_LINE_MAX: usize = 128;
/// Longest header: room for more than 1,000 hybrid recipients.
pub const HEADER_BYTES_MAX: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FileKey {
        FileKey::from_bytes([5; 16])
    }

    fn sample() -> Vec<u8> {
        let stanza = |body: usize| Stanza {
            tag: "x".into(),
            args: vec!["a~".into(), "!".into()],
            body: (0..body).map(|i| i as u8).collect(),
        };
        write(&[0, 1, 47, 48, 49, 96].map(stanza), &key())
    }

    #[test]
    fn prints_back_what_it_read_and_leaves_the_payload() {
        let mut file = sample();
        let whole = file.clone();
        file.extend_from_slice(b"payload");
        let mut reader = &file[..];
        let header = Header::read(&mut reader).unwrap();
        assert_eq!(header.to_bytes(), whole);
        assert_eq!(reader, b"payload");
        assert_eq!(header.stanzas.len(), 6);
        assert_eq!(header.stanzas[3].body.len(), 48);
        assert!(header.verify(&key()));
        assert!(!header.verify(&FileKey::from_bytes([6; 16])));
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let whole = sample();
        for at in 0..whole.len() {
            for flip in [1, 0x20, 0x80] {
                let mut file = whole.clone();
                file[at] ^= flip;
                if let Ok(header) = Header::read(&mut &file[..]) {
                    assert!(!header.verify(&key()), "byte {at} ^ {flip:#x}");
                }
            }
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = sample();
        for length in 0..whole.len() {
            let error = Header::read(&mut &whole[..length]).unwrap_err();
            if length > 0 {
                assert!(matches!(error, HeaderError::Cut { .. }), "{length}: {error}");
            }
        }
    }

    #[test]
    fn other_files_are_told_from_broken_ones() {
        let read = |bytes: &[u8]| Header::read(&mut &bytes[..]).unwrap_err();
        assert!(matches!(read(b""), HeaderError::NotAge));
        assert!(matches!(read(b"OggS"), HeaderError::NotAge));
        assert!(matches!(read(&[0; 4096]), HeaderError::NotAge));
        assert!(matches!(read(b"age-encryption.org/v2\n"), HeaderError::Version));
        let mut endless = b"age-encryption.org/v1\n-> ".to_vec();
        endless.resize(HEADER_BYTES_MAX + 10, b'a');
        assert!(matches!(read(&endless), HeaderError::TooLong));
    }
}
