//! Opens what was sealed: age v1 files, binary or armored (C2SP age).
//!
//! Nothing comes out that has not been authenticated, and a file that ends early says so instead of
//! ending.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;

use age::armor::ArmoredReadError;
use age::armor::ArmoredReader;
use ring::aead;
use zeroize::Zeroizing;

use crate::base::limits::CHUNK_BYTES;
use crate::seal::header::Header;
use crate::seal::header::HeaderError;
use crate::seal::identity::Identities;
use crate::seal::identity::UnwrapError;
use crate::seal::keys;
use crate::seal::keys::FileKey;
use crate::seal::keys::NONCE_BYTES;
use crate::seal::keys::Secret;
use crate::seal::keys::TAG_BYTES;
use crate::seal::stream::chunk_nonce;

/// Why a file does not open. The operator's next step differs from one to the other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The armor around the file is malformed.
    #[error("the file's armor (BEGIN and END lines) is malformed")]
    Armor(#[source] ArmoredReadError),
    /// Bytes of a chunk are not those that were sealed: the medium, or somebody, has changed them.
    #[error("chunk {chunk} has been changed")]
    Changed {
        /// Chunk of 64 KiB, from 0.
        chunk: u64,
    },
    /// The file ends early; all before this chunk is whole and has been given out.
    #[error("the file is cut in or before chunk {chunk}")]
    Cut {
        /// The chunk that is not there as a whole.
        chunk: u64,
    },
    /// The header is malformed, or there is none.
    #[error(transparent)]
    Header(HeaderError),
    /// A key fits, but the header is not the one that was written.
    #[error("the header has been changed")]
    HeaderChanged,
    /// Bytes cannot be read.
    #[error("the file cannot be read")]
    Io(#[source] io::Error),
    /// The file does not begin as age files do.
    #[error("this is not an age file")]
    NotAge,
    /// Bytes follow the last chunk.
    #[error("bytes follow the file's end, after chunk {chunk}")]
    Trailing {
        /// The last chunk.
        chunk: u64,
    },
    /// None of the keys is for this file, or the one that is fails.
    #[error(transparent)]
    Unwrap(UnwrapError),
}

impl OpenError {
    /// Returns whether another key might help.
    pub fn is_no_match(&self) -> bool {
        matches!(self, Self::Unwrap(UnwrapError::NoMatch))
    }
}

/// A file being opened, from its start to its end.
pub struct Opener<R: Read> {
    source: Source<R>,
    payload: PayloadOpener,
    /// The chunk that is open.
    buffer: Zeroizing<Vec<u8>>,
    /// The same, sealed.
    sealed: Vec<u8>,
    /// What of it has been given out.
    given: usize,
}

impl<R: Read> Opener<R> {
    /// Reads the header, finds the key that fits and checks the header's MAC.
    pub fn open(reader: R, identities: &Identities) -> Result<Self, OpenError> {
        Self::open_by(reader, &mut |header| identities.unwrap(&header.stanzas).map_err(OpenError::Unwrap))
    }

    /// The same with the file's own key, whoever it is sealed to.
    pub fn open_with_key(reader: R, file_key: FileKey) -> Result<Self, OpenError> {
        let mut file_key = Some(file_key);
        Self::open_by(reader, &mut |_| file_key.take().ok_or(OpenError::Unwrap(UnwrapError::NoMatch)))
    }

    fn open_by(
        reader: R,
        key_of: &mut dyn FnMut(&Header) -> Result<FileKey, OpenError>,
    ) -> Result<Self, OpenError> {
        let mut source = Source::new(reader).map_err(OpenError::Io)?;
        let header = Header::read(&mut source).map_err(OpenError::from)?;
        let file_key = key_of(&header)?;
        if !header.verify(&file_key) {
            return Err(OpenError::HeaderChanged);
        }
        let mut nonce = [0; NONCE_BYTES];
        source.read_exact(&mut nonce).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => OpenError::Cut { chunk: 0 },
            _ => OpenError::from_io(error),
        })?;
        let payload = PayloadOpener::new(file_key.payload_key(&nonce));
        Ok(Self { source, payload, buffer: Zeroizing::new(Vec::new()), sealed: Vec::new(), given: 0 })
    }

    /// The next chunk's plain bytes, or `None` after the last one. After an error there are no more.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, OpenError> {
        self.given = 0;
        self.buffer.clear();
        if self.payload.ended()? {
            return Ok(None);
        }
        self.sealed.clear();
        let room = (CHUNK_BYTES + TAG_BYTES) as u64;
        let read = (&mut self.source).take(room).read_to_end(&mut self.sealed);
        let more = read.and_then(|_| self.source.has_more()).map_err(OpenError::from_io)?;
        self.payload.open(&self.sealed, more, &mut self.buffer)?;
        Ok(Some(&self.buffer))
    }

    /// All that is left, at once.
    pub fn read_whole(&mut self) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut all = Zeroizing::new(self.buffer[self.given..].to_vec());
        while let Some(chunk) = self.next_chunk()? {
            all.extend_from_slice(chunk);
        }
        Ok(all)
    }
}

/// What opens of a file, of which a dead run may have left no more than its beginning.
///
/// Where it may be cut, it ends with the last chunk that is whole: whether it is the file that was left so, is for its
/// hash to say.
#[derive(Debug)]
pub struct Remains<R: Read> {
    /// Nothing where it was cut before its first chunk.
    opener: Option<Opener<R>>,
    may_be_cut: bool,
    is_cut: bool,
}

impl<R: Read> Remains<R> {
    /// Reads what was `opened`.
    pub fn of(opened: Result<Opener<R>, OpenError>, may_be_cut: bool) -> Result<Self, OpenError> {
        match opened {
            Ok(opener) => Ok(Self { opener: Some(opener), may_be_cut, is_cut: false }),
            Err(OpenError::Cut { .. }) if may_be_cut => Ok(Self { opener: None, may_be_cut, is_cut: true }),
            Err(error) => Err(error),
        }
    }

    /// Whether it has come to an end that is none.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }
}

/// Errors are those of [`Opener`].
impl<R: Read> Read for Remains<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(opener) = self.opener.as_mut().filter(|_| !self.is_cut) else { return Ok(0) };
        let read = opener.read(out);
        let is_cut = |error: &io::Error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<OpenError>());
            matches!(inner, Some(OpenError::Cut { .. }))
        };
        match read {
            Err(error) if self.may_be_cut && is_cut(&error) => {
                self.is_cut = true;
                Ok(0)
            }
            read => read,
        }
    }
}

/// Errors are [`OpenError`]s inside: take them out with [`io::Error::downcast`].
impl<R: Read> Read for Opener<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.given == self.buffer.len() {
            let next = self.next_chunk().map_err(|error| match error {
                OpenError::Io(error) => error,
                OpenError::Cut { .. } => io::Error::new(io::ErrorKind::UnexpectedEof, error),
                error => io::Error::new(io::ErrorKind::InvalidData, error),
            })?;
            if next.is_none() {
                return Ok(0);
            }
        }
        let now = out.len().min(self.buffer.len() - self.given);
        out[..now].copy_from_slice(&self.buffer[self.given..self.given + now]);
        self.given += now;
        Ok(now)
    }
}

/// Says how far it is, never under which key.
impl<R: Read> std::fmt::Debug for Opener<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("chunk", &self.payload.chunk).finish_non_exhaustive()
    }
}

impl From<HeaderError> for OpenError {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Io(error) => Self::from_io(error),
            HeaderError::NotAge => Self::NotAge,
            error => Self::Header(error),
        }
    }
}

impl OpenError {
    fn from_io(error: io::Error) -> Self {
        match error.downcast::<ArmoredReadError>() {
            Ok(armor) => Self::Armor(armor),
            Err(error) => Self::Io(error),
        }
    }
}

/// Key and place in one payload.
pub(in crate::seal) struct PayloadOpener {
    key: Secret,
    chunk: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    /// The last chunk was given out, and bytes follow it.
    Trailing,
    Ended,
}

impl PayloadOpener {
    pub(in crate::seal) fn new(key: Secret) -> Self {
        Self { key, chunk: 0, state: State::Open }
    }

    /// Returns whether the last chunk has been opened.
    pub(in crate::seal) fn ended(&mut self) -> Result<bool, OpenError> {
        if self.state == State::Trailing {
            self.state = State::Ended;
            return Err(OpenError::Trailing { chunk: self.chunk.saturating_sub(1) });
        }
        Ok(self.state == State::Ended)
    }

    /// Opens the next chunk into `plain`, which is empty where that fails. `more` tells whether bytes
    /// follow it.
    pub(in crate::seal) fn open(
        &mut self,
        sealed: &[u8],
        more: bool,
        plain: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let chunk = self.chunk;
        // Where a chunk is full it may be either kind: what follows does not prove which it was.
        let full = sealed.len() == CHUNK_BYTES + TAG_BYTES;
        let order: &[bool] = match (full, more) {
            (true, true) => &[false, true],
            (true, false) => &[true, false],
            (false, _) => &[true],
        };
        let last = order.iter().copied().find(|last| self.try_open(sealed, *last, plain));
        self.chunk += 1;
        self.state = match last {
            Some(false) => State::Open,
            Some(true) if more => State::Trailing,
            Some(true) | None => State::Ended,
        };
        match last {
            // Nothing makes an empty chunk after another one: somebody has built this file.
            Some(true) if plain.is_empty() && chunk > 0 => Err(OpenError::Changed { chunk }),
            Some(_) => Ok(()),
            None if !full => Err(OpenError::Cut { chunk }),
            None => Err(OpenError::Changed { chunk }),
        }
    }

    fn try_open(&self, sealed: &[u8], last: bool, plain: &mut Vec<u8>) -> bool {
        // A copy, because the cipher wipes what does not open, and another nonce may be tried.
        plain.clear();
        plain.extend_from_slice(sealed);
        let nonce = chunk_nonce(self.chunk, last);
        let opened = keys::cipher(&self.key).open_in_place(nonce, aead::Aad::empty(), plain);
        let length = opened.map(|plain| plain.len());
        plain.truncate(*length.as_ref().unwrap_or(&0));
        length.is_ok()
    }
}

/// Where sealed bytes come from.
enum Source<R: Read> {
    Armored(Box<ArmoredReader<BufReader<ShortLines<R>>>>),
    Plain(BufReader<R>),
}

impl<R: Read> Source<R> {
    fn new(reader: R) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(READ_BYTES, reader);
        // Armor begins with a dash, after white space if any; age files begin with their name.
        loop {
            match reader.fill_buf() {
                Ok([b' ' | b'\t' | b'\r' | b'\n', ..]) => reader.consume(1),
                Ok([b'-', ..]) => {
                    return Ok(Self::Armored(Box::new(ArmoredReader::new(ShortLines { reader, run: 0 }))));
                }
                Ok(_) => return Ok(Self::Plain(reader)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn has_more(&mut self) -> io::Result<bool> {
        loop {
            match self.fill_buf() {
                Ok(bytes) => return Ok(!bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Armored(reader) => reader.read(out),
            Self::Plain(reader) => reader.read(out),
        }
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Armored(reader) => reader.fill_buf(),
            Self::Plain(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match self {
            Self::Armored(reader) => reader.consume(bytes),
            Self::Plain(reader) => reader.consume(bytes),
        }
    }
}

/// Refuses lines that no armor has, because the armor's reader keeps a whole line in memory.
struct ShortLines<R: Read> {
    reader: BufReader<R>,
    /// Bytes since the last line feed.
    run: usize,
}

impl<R: Read> Read for ShortLines<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(out)?;
        for byte in &out[..read] {
            self.run = if *byte == b'\n' { 0 } else { self.run + 1 };
            if self.run > ARMOR_LINE_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    ArmoredReadError::NotWrappedAt64Chars,
                ));
            }
        }
        Ok(read)
    }
}

const READ_BYTES: usize = CHUNK_BYTES;
/// Armor has lines of 64; white space around it is allowed.
const ARMOR_LINE_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::generate_x25519;
    use crate::seal::random::Seeded;
    use crate::seal::recipient::Recipients;
    use crate::seal::stream::seal_whole;

    /// Cut anywhere, it gives the chunks that are whole, and only where that may be.
    #[test]
    fn of_what_a_dead_run_has_left_comes_what_is_whole() {
        let mut random = Seeded::new(&[4; 32], "test", 0);
        let (identity, recipient) = generate_x25519(&mut random);
        let (identities, to) =
            (Identities::parse(&identity).unwrap(), Recipients::parse([&recipient]).unwrap());
        let plain: Vec<u8> = (0..2 * CHUNK_BYTES + 900).map(|at| (at % 251) as u8).collect();
        let whole = seal_whole(&plain, &to, &mut random).unwrap();
        let start = Header::read(&mut &whole[..]).unwrap().to_bytes().len() + NONCE_BYTES;
        let read = |bytes: &[u8], may_be_cut| {
            let mut remains = Remains::of(Opener::open(bytes, &identities), may_be_cut)?;
            let mut out = Vec::new();
            remains.read_to_end(&mut out).map_err(|error| error.downcast::<OpenError>().unwrap())?;
            Ok::<_, OpenError>((out, remains.is_cut()))
        };
        let chunk = CHUNK_BYTES + TAG_BYTES;
        let cuts = [start - 1, start, start + 1, start + chunk, start + chunk + 20, start + 2 * chunk];
        for length in cuts.into_iter().chain([whole.len() - 1]) {
            let chunks = length.saturating_sub(start) / chunk;
            let (out, is_cut) = read(&whole[..length], true).unwrap();
            assert!(is_cut && out == plain[..chunks * CHUNK_BYTES], "{length}");
            assert!(matches!(read(&whole[..length], false), Err(OpenError::Cut { .. })), "{length}");
        }
        assert!(read(&whole, true).unwrap() == (plain, false));
        // What was changed is no end.
        let mut changed = whole;
        changed[start + 5] ^= 1;
        assert!(matches!(read(&changed, true), Err(OpenError::Changed { chunk: 0 })));
    }

    #[test]
    fn an_endless_line_of_armor_is_not_read_in() {
        let (identity, _) = generate_x25519(&mut Seeded::new(&[0; 32], "test", 0));
        let identities = Identities::parse(&identity).unwrap();
        for start in ["-----BEGIN AGE ENCRYPTED FILE-----\n", "-"] {
            let endless = start.as_bytes().chain(io::repeat(b'A'));
            let error = Opener::open(endless, &identities).unwrap_err();
            assert!(matches!(error, OpenError::Armor(_) | OpenError::NotAge), "{error}");
        }
    }
}
