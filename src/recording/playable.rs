//! What was opened, as players take it: a WAV that was written while nobody knew its end gets its lengths. All else
//! stays as it is.

use std::io::{self, Read};

use crate::codec::wav;

/// Plain bytes as players take them, in one pass: whoever has the same file gets the same bytes.
#[derive(Debug)]
pub struct Playable<R> {
    plain: R,
    /// The first bytes, and how many of them were given out.
    first: Vec<u8>,
    given: usize,
    /// Bytes after the first that are still to come; with none, all that there are.
    left: Option<u64>,
}

impl<R: Read> Playable<R> {
    /// Begins with a file of `bytes` plain bytes.
    pub fn new(mut plain: R, bytes: u64) -> io::Result<Self> {
        let mut first = Vec::with_capacity(wav::HEADER_BYTES);
        plain.by_ref().take(wav::HEADER_BYTES as u64).read_to_end(&mut first)?;
        let samples = bytes.saturating_sub(wav::HEADER_BYTES as u64);
        let left = match wav::exact_header(&first, samples) {
            Some((header, left)) => {
                first = header.to_vec();
                Some(left)
            }
            None => None,
        };
        Ok(Self { plain, first, given: 0, left })
    }
}

impl<R: Read> Read for Playable<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let first = &self.first[self.given..];
        if !first.is_empty() || out.is_empty() {
            let now = out.len().min(first.len());
            out[..now].copy_from_slice(&first[..now]);
            self.given += now;
            return Ok(now);
        }
        let Some(left) = &mut self.left else { return self.plain.read(out) };
        if *left == 0 {
            // Half a frame at the end is left out, and is read: it may be that the file was changed there.
            return io::copy(&mut self.plain, &mut io::sink()).map(|_| 0);
        }
        let room = usize::try_from(*left).unwrap_or(usize::MAX).min(out.len());
        let read = self.plain.read(&mut out[..room])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than it should be",
            ));
        }
        *left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playable(plain: &[u8], bytes: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Playable::new(plain, bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_wav_gets_the_lengths_that_it_gets_when_it_is_opened() {
        for (channels, samples) in [(1, 0), (2, 1), (2, 40_000), (2, 40_001)] {
            let mut plain = wav::header(8_000, channels).to_vec();
            (0..samples).for_each(|number: i32| plain.extend((number as i16).to_le_bytes()));
            plain.push(1);
            let mut finished = io::Cursor::new(Vec::new());
            wav::finish(&plain[..], &mut finished).unwrap();
            let given = playable(&plain, plain.len() as u64).unwrap();
            assert!(given == finished.into_inner(), "{channels} channels, {samples} samples");
        }
        let cut = wav::header(8_000, 2);
        assert!(playable(&cut, 1_000).is_err());
    }

    #[test]
    fn what_is_no_such_wav_stays_as_it_is() {
        let mut exact = wav::header(8_000, 2);
        exact[4..8].copy_from_slice(&36_u32.to_le_bytes());
        for plain in [&b""[..], b"OggS", &exact, &[0xff; 1_000]] {
            assert_eq!(playable(plain, plain.len() as u64).unwrap(), plain);
        }
    }
}
