//! A bundle as one file: a tar archive that has one form.
//!
//! Only regular files, each once and by a plain path, in ustar headers that hold nothing but path, length and the time
//! at which the bundle was made; then two blocks of zeros, and the end. What is in another form is refused, whatever
//! other programs would make of it: so two readers never see two archives in one.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use tar::{EntryType, Header};

use crate::archive::sums::is_plain_path;
use crate::base::time::Stamp;

/// Where a file is in an archive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Its first byte.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
}

/// What is in an archive.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Index {
    /// Its files.
    pub files: BTreeMap<String, Place>,
    /// Seconds since 1970 that every file has as its time.
    pub made_s: u64,
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// It ends early.
    #[error("the archive is cut after {at} bytes")]
    Cut {
        /// Bytes that there are.
        at: u64,
    },
    /// It cannot be read.
    #[error("reading the archive: {0}")]
    Io(#[from] io::Error),
    /// No file.
    #[error("the archive holds a {kind} at byte {at}: a bundle holds files alone")]
    Kind {
        /// What.
        kind: &'static str,
        /// Where.
        at: u64,
    },
    /// No header, or one that says more than a path, a length and a time.
    #[error("what stands at byte {at} of the archive is no header of a bundle's file")]
    Header {
        /// Where.
        at: u64,
    },
    /// More than any bundle has.
    #[error("the archive has more than {FILES_MAX} files")]
    Many,
    /// A path that leads elsewhere, or that no archive holds.
    #[error("`{path}` is no path of a bundle's file: it leads out of the bundle, or is too long")]
    Path {
        /// As it stands there.
        path: String,
    },
    /// Something follows its end, or stands between two files.
    #[error("the archive holds bytes at {at} that belong to no file")]
    Trailing {
        /// Where.
        at: u64,
    },
    /// Two files of one path.
    #[error("the archive holds `{path}` twice")]
    Twice {
        /// Which.
        path: String,
    },
}

/// What stands before a file.
pub fn head(path: &str, bytes: u64, made_s: u64) -> Result<[u8; BLOCK], TarError> {
    let fault = || TarError::Path { path: path.into() };
    if !is_plain_path(path) {
        return Err(fault());
    }
    let mut header = Header::new_ustar();
    header.set_path(path).map_err(|_| fault())?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(made_s);
    header.set_size(bytes);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// Zeros behind a file of so many bytes.
pub fn padding(bytes: u64) -> usize {
    (BLOCK - (bytes % BLOCK as u64) as usize) % BLOCK
}

/// Zeros that end an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Seconds of a time, as archives have them.
pub fn seconds(at: Stamp) -> u64 {
    at.since(Stamp::ZERO).as_secs()
}

impl Index {
    /// Looks through an archive of `length` bytes, without reading what its files hold.
    pub fn read(archive: &mut (impl Read + Seek), length: u64) -> Result<Self, TarError> {
        let mut index = Self::default();
        let mut at = 0;
        loop {
            let mut block = [0; BLOCK];
            exact(archive, &mut block, at, length)?;
            if block == [0; BLOCK] {
                break;
            }
            let (path, made_s, bytes) = index.entry(&block, at)?;
            let begin = at + BLOCK as u64;
            let pad = padding(bytes);
            let end = begin.checked_add(bytes).and_then(|end| end.checked_add(pad as u64));
            let end = end.filter(|end| *end <= length).ok_or(TarError::Cut { at: length })?;
            archive.seek(SeekFrom::Start(end - pad as u64))?;
            let mut zeros = vec![0; pad];
            archive.read_exact(&mut zeros)?;
            if zeros.iter().any(|byte| *byte != 0) {
                return Err(TarError::Trailing { at: end - pad as u64 });
            }
            index.made_s = made_s;
            index.files.insert(path, Place { at: begin, bytes });
            at = end;
        }
        let end = at + END.len() as u64;
        let mut second = [0; BLOCK];
        exact(archive, &mut second, at + BLOCK as u64, length)?;
        if second != [0; BLOCK] || length != end {
            return Err(TarError::Trailing { at: at + BLOCK as u64 });
        }
        Ok(index)
    }

    /// A header, which must be the one that its own path, length and time make.
    fn entry(&self, block: &[u8; BLOCK], at: u64) -> Result<(String, u64, u64), TarError> {
        let header = Header::from_byte_slice(block);
        let sound = |part: io::Result<u64>| part.map_err(|_| TarError::Header { at });
        if sound(header.cksum().map(u64::from))? != checksum(block) {
            return Err(TarError::Header { at });
        }
        if let Some(kind) = kind_of(header.entry_type()) {
            return Err(TarError::Kind { kind, at });
        }
        let path = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let (bytes, made_s) = (sound(header.size())?, sound(header.mtime())?);
        let is_one_form = head(&path, bytes, made_s)? == *block;
        if !is_one_form || (!self.files.is_empty() && made_s != self.made_s) {
            return Err(TarError::Header { at });
        }
        if self.files.contains_key(&path) {
            return Err(TarError::Twice { path });
        }
        if self.files.len() >= FILES_MAX {
            return Err(TarError::Many);
        }
        Ok((path, made_s, bytes))
    }
}

/// The sum of all bytes, those of the sum itself taken for spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

fn kind_of(kind: EntryType) -> Option<&'static str> {
    Some(match kind {
        EntryType::Regular => return None,
        EntryType::Link => "hard link",
        EntryType::Symlink => "symbolic link",
        EntryType::Char | EntryType::Block => "device",
        EntryType::Directory => "folder",
        EntryType::Fifo => "pipe",
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XGlobalHeader | EntryType::XHeader => {
            "header of another form of archives"
        }
        _ => "thing of a kind that is not known",
    })
}

fn exact(archive: &mut impl Read, block: &mut [u8], at: u64, length: u64) -> Result<(), TarError> {
    if at.checked_add(BLOCK as u64).is_none_or(|end| end > length) {
        return Err(TarError::Cut { at: length });
    }
    Ok(archive.read_exact(block)?)
}

/// Bytes of a header, and what all else is filled up to.
pub const BLOCK: usize = 512;
/// More than any bundle has: what is listed of them is held in memory.
const FILES_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(archive: &mut Vec<u8>, head: &[u8], content: &[u8]) {
        archive.extend_from_slice(head);
        archive.extend_from_slice(content);
        archive.resize(archive.len() + padding(content.len() as u64), 0);
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (path, content) in files {
            put(&mut archive, &head(path, content.len() as u64, 77).unwrap(), content);
        }
        archive.extend_from_slice(&END);
        archive
    }

    fn read(bytes: &[u8]) -> Result<Index, TarError> {
        Index::read(&mut io::Cursor::new(bytes), bytes.len() as u64)
    }

    /// A header of another form, with its right sum.
    fn odd(change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let mut header = Header::from_byte_slice(&head("a/b", 1, 77).unwrap()).clone();
        change(&mut header);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    #[test]
    fn files_are_found_where_they_are_and_another_reader_agrees() {
        let long = format!("recordings/{}/{}", "0123456789".repeat(4), "x".repeat(90));
        let files: [(&str, &[u8]); 4] = [("a", b""), ("a.b/c", &[1; 512]), (&long, &[2; 513]), ("z", b"end")];
        let bytes = archive(&files);
        assert_eq!(bytes, archive(&files));
        let index = read(&bytes).unwrap();
        assert_eq!((index.files.len(), index.made_s), (4, 77));
        for (path, content) in files {
            let Place { at, bytes: length } = index.files[path];
            assert_eq!(&bytes[at as usize..(at + length) as usize], content);
        }
        let mut other = tar::Archive::new(&bytes[..]);
        let seen: Vec<_> = other
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(seen, files.map(|(path, _)| path.to_owned()));
        assert!(matches!(head(&"y".repeat(300), 0, 0), Err(TarError::Path { .. })));
        // Beyond what octal digits hold.
        let block = head("large", 1 << 40, 77).unwrap();
        assert_eq!(Header::from_byte_slice(&block).size().unwrap(), 1 << 40);
    }

    #[test]
    fn every_cut_and_all_that_follows_is_refused() {
        let bytes = archive(&[("a", b"1"), ("b", &[7; 600])]);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "cut to {length}");
        }
        for more in [&[0][..], &[0; 512], &[0; 1024], b"x"] {
            assert!(matches!(read(&[&bytes[..], more].concat()), Err(TarError::Trailing { .. })));
        }
    }

    #[test]
    fn no_byte_outside_of_files_can_be_another() {
        let bytes = archive(&[("a", b"1"), ("b", &[7; 600])]);
        let index = read(&bytes).unwrap();
        let is_inside =
            |at: u64| index.files.values().any(|file| (file.at..file.at + file.bytes).contains(&at));
        for at in (0..bytes.len()).filter(|at| !is_inside(*at as u64)) {
            for flip in [1, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                assert!(read(&changed).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn what_leads_out_or_is_no_file_is_refused() {
        let refused = |head: Vec<u8>| {
            let mut bytes = Vec::new();
            put(&mut bytes, &head, b"1");
            bytes.extend_from_slice(&END);
            read(&bytes).unwrap_err()
        };
        let kinds = [
            EntryType::Link,
            EntryType::Symlink,
            EntryType::Char,
            EntryType::Block,
            EntryType::Directory,
            EntryType::Fifo,
            EntryType::Continuous,
            EntryType::GNULongName,
            EntryType::GNULongLink,
            EntryType::GNUSparse,
            EntryType::XGlobalHeader,
            EntryType::XHeader,
        ];
        for kind in kinds {
            let fault = refused(odd(|header| header.set_entry_type(kind)));
            assert!(matches!(fault, TarError::Kind { at: 0, .. }), "{kind:?}: {fault}");
        }
        for path in ["../b", "/b", "a/../b", "a//b", "./b", "a/", "", "a\nb", "a\u{1b}[2J"] {
            let fault = refused(odd(|header| {
                let name = &mut header.as_ustar_mut().unwrap().name;
                name.fill(0);
                name[..path.len()].copy_from_slice(path.as_bytes());
            }));
            assert!(matches!(fault, TarError::Path { .. }), "{path:?}: {fault}");
        }
        assert!(matches!(refused(odd(|header| header.set_size(u64::MAX >> 1))), TarError::Cut { .. }));
        assert!(matches!(refused(odd(|header| header.set_uid(1))), TarError::Header { .. }));
        assert!(matches!(refused(odd(|header| header.set_mode(0o4755))), TarError::Header { .. }));
        let twice = read(&archive(&[("a", b"1"), ("a", b"2")])).unwrap_err();
        assert!(matches!(twice, TarError::Twice { path } if path == "a"));
        let mut times = archive(&[("a", b"1")]);
        times.truncate(times.len() - END.len());
        put(&mut times, &head("b", 1, 78).unwrap(), b"2");
        times.extend_from_slice(&END);
        assert!(matches!(read(&times), Err(TarError::Header { at: 1024 })));
    }
}
