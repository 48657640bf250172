//! What a bundle is written into: a folder, one file, or whoever takes it as it is made.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::digest;

use crate::archive::record::Digest;
use crate::archive::sums::{Sum, Sums};
use crate::archive::tarball::{self, BLOCK};
use crate::base::time::Stamp;
use crate::shell::vault::parcel::{Parcel, ParcelError, fault};

/// A bundle that is being made.
#[derive(Debug)]
pub enum Wrapping<'a> {
    /// A folder.
    Folder(Parcel),
    /// A tar archive: see [`crate::archive::tarball`].
    Tar(TarFile),
    /// The same archive, sent on byte for byte.
    Sent(TarSent<'a>),
}

/// To whom it is sent.
#[derive(Clone, Copy)]
pub struct Sink<'a> {
    /// Takes bytes on.
    pub send: &'a dyn Fn(&[u8]) -> io::Result<()>,
    /// Whether any of them have left: what waits to be sent has not.
    pub begun: &'a Cell<bool>,
}

/// A tar archive that is sent as it is made. Nothing of it is on a disk, and nothing can be taken back: what is to be in
/// it is known to be whole before.
pub struct TarSent<'a> {
    to: Sink<'a>,
    made_s: u64,
    /// What was begun last.
    last: Option<String>,
    sums: BTreeMap<String, Sum>,
}

/// A tar archive that is being written. What is in it is never on a disk by itself.
#[derive(Debug)]
pub struct TarFile {
    path: PathBuf,
    file: File,
    /// The time that every file in it has.
    made_s: u64,
    /// Where the next file begins.
    at: u64,
    /// What was written last, and where it begins: it alone can be taken back.
    last: Option<(String, u64)>,
    sums: BTreeMap<String, Sum>,
}

impl<'a> Wrapping<'a> {
    /// Begins what is sent on.
    pub fn sent(to: Sink<'a>, made: Stamp) -> Self {
        Self::Sent(TarSent { to, made_s: tarball::seconds(made), last: None, sums: BTreeMap::new() })
    }

    /// Whether what was written cannot be taken back.
    pub fn is_sent(&self) -> bool {
        matches!(self, Self::Sent(_))
    }

    /// Whether somebody has some of it already.
    pub fn has_sent(&self) -> bool {
        matches!(self, Self::Sent(tar) if tar.to.begun.get())
    }

    /// Begins a folder, which must not be there.
    pub fn folder(dir: &Path) -> Result<Self, ParcelError> {
        Parcel::begin(dir).map(Self::Folder)
    }

    /// Begins an archive, which must not be there. `made` is the time of the bundle.
    pub fn tar(path: &Path, made: Stamp) -> Result<Self, ParcelError> {
        let file = OpenOptions::new().write(true).read(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(fault("making", path))?;
        let made_s = tarball::seconds(made);
        Ok(Self::Tar(TarFile { path: path.into(), file, made_s, at: 0, last: None, sums: BTreeMap::new() }))
    }

    /// Writes a file.
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), ParcelError> {
        self.write(path, bytes.len() as u64, &mut |to| to.write_all(bytes))
    }

    /// Writes a file of so many bytes by a function.
    pub fn write(
        &mut self,
        path: &str,
        bytes: u64,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), ParcelError> {
        match self {
            Self::Folder(parcel) => parcel.write(path, |file| {
                let mut to = BufWriter::with_capacity(BUFFER_BYTES, file);
                write(&mut to)?;
                to.flush()
            }),
            Self::Tar(tar) => {
                let sum = tar.write(path, write).map_err(fault("writing", &tar.path))?;
                tar.sums.insert(path.into(), sum);
                Ok(())
            }
            Self::Sent(tar) => {
                let sum = tar.write(path, bytes, write).map_err(fault(SENDING, Path::new(path)))?;
                tar.sums.insert(path.into(), sum);
                Ok(())
            }
        }
    }

    /// What is in it so far.
    pub fn sums(&self) -> Sums {
        match self {
            Self::Folder(parcel) => parcel.sums(),
            Self::Tar(tar) => Sums(tar.sums.clone()),
            Self::Sent(tar) => Sums(tar.sums.clone()),
        }
    }

    /// SHA-256 of a file in it.
    pub fn sha256(&self, path: &str) -> Option<Digest> {
        match self {
            Self::Folder(parcel) => parcel.sha256(path),
            Self::Tar(tar) => tar.sums.get(path).map(|sum| sum.sha256),
            Self::Sent(tar) => tar.sums.get(path).map(|sum| sum.sha256),
        }
    }

    /// Writes what is not in the list: the list itself, and its signature last.
    pub fn put_last(&mut self, path: &str, bytes: &[u8]) -> Result<(), ParcelError> {
        match self {
            Self::Folder(parcel) => parcel.put_last(path, bytes),
            Self::Tar(tar) => {
                let written = tar.write(path, &mut |to| to.write_all(bytes));
                written.map(drop).map_err(fault("writing", &tar.path))
            }
            Self::Sent(tar) => {
                let written = tar.write(path, bytes.len() as u64, &mut |to| to.write_all(bytes));
                written.map(drop).map_err(fault(SENDING, Path::new(path)))
            }
        }
    }

    /// Takes away again what was written last, whole or not; nothing where there is no such file.
    pub fn discard(&mut self, path: &str) -> Result<(), ParcelError> {
        match self {
            Self::Folder(parcel) => parcel.discard(path),
            Self::Tar(tar) => tar.discard(path).map_err(fault("writing", &tar.path)),
            Self::Sent(tar) if tar.last.as_deref() == Some(path) => {
                Err(fault("taking back", Path::new(path))(io::Error::other("it was sent already")))
            }
            Self::Sent(_) => Ok(()),
        }
    }

    /// Ends it; all of it is on the disk, or sent.
    pub fn finish(&mut self) -> Result<(), ParcelError> {
        match self {
            Self::Folder(parcel) => parcel.sync(),
            Self::Tar(tar) => tar.finish().map_err(fault("writing", &tar.path)),
            Self::Sent(tar) => (tar.to.send)(&tarball::END).map_err(fault(SENDING, Path::new("bundle"))),
        }
    }

    /// Removes what did not become whole. What cannot be removed has no signature, and is told.
    pub fn abandon(self) -> Result<(), ParcelError> {
        match self {
            Self::Folder(parcel) => parcel.abandon(),
            Self::Tar(tar) => std::fs::remove_file(&tar.path).map_err(fault("removing", &tar.path)),
            // It has no signature and no end.
            Self::Sent(_) => Ok(()),
        }
    }
}

impl std::fmt::Debug for TarSent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarSent").field("files", &self.sums.len()).finish_non_exhaustive()
    }
}

impl TarSent<'_> {
    /// The header comes first: it has the length, and what follows has that or the archive ends here.
    fn write(
        &mut self,
        path: &str,
        length: u64,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Sum> {
        if self.sums.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("`{path}` is in it already")));
        }
        let head = tarball::head(path, length, self.made_s);
        let head = head.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.last = Some(path.into());
        (self.to.send)(&head)?;
        let hash = digest::Context::new(&digest::SHA256);
        let mut to = Counted { to: Onwards(self.to), bytes: 0, hash };
        write(&mut to)?;
        if to.bytes != length {
            let what = format!("`{path}` has {} bytes, and {length} were said", to.bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let pad = tarball::padding(length);
        (self.to.send)(&[0; BLOCK][..pad])?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(to.hash.finish().as_ref());
        Ok(Sum { sha256: Digest(sha256), bytes: Some(length) })
    }
}

struct Onwards<'a>(Sink<'a>);

impl Write for Onwards<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0.send)(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TarFile {
    /// The header comes when the length is known, into the room that was left for it.
    fn write(
        &mut self,
        path: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Sum> {
        let odd = |error: tarball::TarError| io::Error::new(io::ErrorKind::InvalidInput, error);
        if self.sums.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("`{path}` is in it already")));
        }
        tarball::head(path, 0, self.made_s).map_err(odd)?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.at))?;
        let buffered = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut to = Counted { to: buffered, bytes: 0, hash: digest::Context::new(&digest::SHA256) };
        to.to.write_all(&[0; BLOCK])?;
        write(&mut to)?;
        let Counted { mut to, bytes, hash } = to;
        let pad = tarball::padding(bytes);
        to.write_all(&[0; BLOCK][..pad])?;
        to.flush()?;
        let head = tarball::head(path, bytes, self.made_s).map_err(odd)?;
        file.seek(SeekFrom::Start(self.at))?;
        file.write_all(&head)?;
        self.last = Some((path.into(), self.at));
        self.at += BLOCK as u64 + bytes + pad as u64;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.finish().as_ref());
        Ok(Sum { sha256: Digest(sha256), bytes: Some(bytes) })
    }

    fn discard(&mut self, path: &str) -> io::Result<()> {
        if let Some((_, began)) = self.last.take_if(|(last, _)| last == path) {
            self.at = began;
            self.sums.remove(path);
        }
        // Also what was begun and has no header yet.
        self.file.set_len(self.at)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.write_all(&tarball::END)?;
        self.file.sync_all()?;
        // Its name is to be on the disk too.
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

struct Counted<W> {
    to: W,
    bytes: u64,
    hash: digest::Context,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

const BUFFER_BYTES: usize = 256 << 10;
const SENDING: &str = "sending";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tarball::Index;

    /// What fails leaves nothing, and the same files make the same archive.
    #[test]
    fn an_archive_has_what_became_whole_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let made = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
        let path = dir.path().join("bundle.tar");
        let mut tar = Wrapping::tar(&path, made).unwrap();
        assert!(Wrapping::tar(&path, made).is_err(), "overwritten");
        tar.put("a", b"first").unwrap();
        let failed = tar.write("b", 3 * BUFFER_BYTES as u64, &mut |to| {
            to.write_all(&[9; 3 * BUFFER_BYTES])?;
            Err(io::Error::other("a copy that is damaged"))
        });
        assert!(failed.is_err());
        tar.discard("b").unwrap();
        assert!(tar.put("a", b"another").is_err(), "twice");
        // One that was whole and is another than it should be.
        tar.write("b", 4_000, &mut |to| to.write_all(&[9; 4_000])).unwrap();
        tar.discard("b").unwrap();
        assert_eq!(tar.sha256("b"), None);
        // What others have followed stays.
        tar.discard("a").unwrap();
        tar.write("b", 700, &mut |to| to.write_all(&[2; 700])).unwrap();
        assert!(tar.put("../c", b"").is_err());
        tar.discard("../c").unwrap();
        tar.put_last("last", b"x").unwrap();
        tar.finish().unwrap();
        assert_eq!(tar.sha256("b"), Some(Digest::of(&[2; 700])));
        assert_eq!(tar.sums().0.keys().collect::<Vec<_>>(), ["a", "b"]);
        let bytes = std::fs::read(&path).unwrap();
        let index = Index::read(&mut io::Cursor::new(&bytes), bytes.len() as u64).unwrap();
        assert_eq!(index.files.keys().collect::<Vec<_>>(), ["a", "b", "last"]);
        assert_eq!(index.made_s, 1_795_468_121);
        let place = index.files["b"];
        assert_eq!(bytes[place.at as usize..][..700], [2; 700]);
        let mut again = Wrapping::tar(&dir.path().join("again.tar"), made).unwrap();
        again.put("a", b"first").unwrap();
        again.put("b", &[2; 700]).unwrap();
        again.put_last("last", b"x").unwrap();
        again.finish().unwrap();
        assert_eq!(std::fs::read(dir.path().join("again.tar")).unwrap(), bytes);
        again.abandon().unwrap();
        assert!(!dir.path().join("again.tar").exists());
    }

    /// What is sent is the archive that would be on the disk, and one that could not be is never taken for whole.
    #[test]
    fn what_is_sent_is_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let made = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
        let path = dir.path().join("bundle.tar");
        let sent = std::cell::RefCell::new(Vec::new());
        let begun = Cell::new(false);
        let sink = Sink {
            send: &|bytes: &[u8]| {
                sent.borrow_mut().extend_from_slice(bytes);
                begun.set(true);
                Ok(())
            },
            begun: &begun,
        };
        for mut tar in [Wrapping::tar(&path, made).unwrap(), Wrapping::sent(sink, made)] {
            assert!(!tar.has_sent());
            tar.put("a", b"first").unwrap();
            tar.write("b/c", 700, &mut |to| to.write_all(&[2; 700])).unwrap();
            assert!(tar.put("a", b"another").is_err(), "twice");
            tar.put_last("last", b"x").unwrap();
            assert_eq!(tar.sums().0.keys().collect::<Vec<_>>(), ["a", "b/c"]);
            tar.finish().unwrap();
            assert_eq!(tar.has_sent(), tar.is_sent());
        }
        assert_eq!(std::fs::read(&path).unwrap(), *sent.borrow());
        sent.borrow_mut().clear();
        let mut tar = Wrapping::sent(sink, made);
        tar.put("a", b"first").unwrap();
        tar.discard("b").unwrap();
        for bytes in [699, 701] {
            let path = format!("b{bytes}");
            assert!(tar.write(&path, bytes, &mut |to| to.write_all(&[2; 700])).is_err());
            assert!(tar.discard(&path).is_err(), "it is out");
        }
        tar.abandon().unwrap();
        let bytes = sent.borrow();
        assert!(Index::read(&mut io::Cursor::new(&*bytes), bytes.len() as u64).is_err());
        let (none, gone) = (Cell::new(false), |_: &[u8]| Err(io::ErrorKind::BrokenPipe.into()));
        let mut tar = Wrapping::sent(Sink { send: &gone, begun: &none }, made);
        assert!(tar.put("a", b"first").is_err() && !tar.has_sent());
    }
}
