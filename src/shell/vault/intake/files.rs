//! Sealed files that come: read once, hashed as a whole and without their header.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ring::digest::{Context, SHA256};

use crate::archive::intake::Found;
use crate::archive::record::Digest;
use crate::seal::header::Header;
use crate::seal::receipt::ReceiptFile;
use crate::shell::vault::place::Content;

/// A file that came.
pub(super) struct Came {
    pub(super) path: PathBuf,
    /// Its age header; none of a file that a dead recorder left before there was one. Such a file has no payload.
    pub(super) header: Option<Header>,
    pub(super) header_bytes: Bytes,
    pub(super) body: Content,
    pub(super) body_bytes: u64,
    pub(super) body_sha256: Digest,
    pub(super) found: Found,
}

impl Came {
    /// Reads a file; nothing where there is none. No link is followed, and no pipe holds us up.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).map_err(io::Error::other)?;
        let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no regular file"));
        }
        if facts.len() <= IN_MEMORY_MAX {
            Self::read_small(path, file)
        } else {
            Self::read_large(path, &file)
        }
        .map(Some)
    }

    fn read_small(path: &Path, file: File) -> io::Result<Self> {
        let mut all = Vec::new();
        file.take(IN_MEMORY_MAX * 2).read_to_end(&mut all)?;
        let all = Bytes::from(all);
        let header = Header::read(&mut &all[..]).ok();
        let length = header.as_ref().map_or(0, |header| header.to_bytes().len());
        let (header_bytes, body) = (all.slice(..length), all.slice(length..));
        Ok(Self {
            path: path.into(),
            header,
            header_bytes,
            body_bytes: body.len() as u64,
            body_sha256: Digest::of(&body),
            found: Found::There { bytes: all.len() as u64, sha256: Digest::of(&all).0 },
            body: Content::Bytes(body),
        })
    }

    fn read_large(path: &Path, file: &File) -> io::Result<Self> {
        let (mut whole, mut payload) = (Context::new(&SHA256), Context::new(&SHA256));
        let header = Header::read(&mut BufReader::new(file)).ok();
        let header_bytes = Bytes::from(header.as_ref().map(Header::to_bytes).unwrap_or_default());
        let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
        let (mut skip, mut bytes) = (header_bytes.len(), 0);
        loop {
            let read = reader.fill_buf()?;
            let length = read.len();
            if length == 0 {
                break;
            }
            whole.update(read);
            payload.update(&read[skip.min(length)..]);
            skip = skip.saturating_sub(length);
            bytes += length as u64;
            reader.consume(length);
        }
        let of = |context: Context| {
            let mut digest = [0; 32];
            digest.copy_from_slice(context.finish().as_ref());
            digest
        };
        let skip = header_bytes.len() as u64;
        Ok(Self {
            path: path.into(),
            header,
            header_bytes,
            body: Content::File { path: path.into(), skip },
            body_bytes: bytes.saturating_sub(skip),
            body_sha256: Digest(of(payload)),
            found: Found::There { bytes, sha256: of(whole) },
        })
    }

    /// Whether it is what was receipted.
    pub(super) fn is(&self, file: &ReceiptFile) -> bool {
        self.found == Found::There { bytes: file.bytes, sha256: file.sha256 }
    }

    /// Bytes of it that are held in memory.
    pub(super) fn held(&self) -> u64 {
        match &self.body {
            Content::Bytes(body) => (self.header_bytes.len() + body.len()) as u64,
            Content::File { .. } => 0,
        }
    }

    /// Bytes of all of it.
    pub(super) fn bytes(&self) -> u64 {
        self.header_bytes.len() as u64 + self.body_bytes
    }

    /// All of it, to be opened.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.body {
            Content::Bytes(body) => Box::new(self.header_bytes.chain(&body[..])),
            Content::File { path, .. } => Box::new(BufReader::new(File::open(path)?)),
        })
    }
}

/// Files that are held in memory while they are taken in; how much a batch holds of them, its `held_max` says.
const IN_MEMORY_MAX: u64 = 1 << 20;
