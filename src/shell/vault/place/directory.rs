//! A folder.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::Errno;

use crate::base::time::Stamp;
use crate::shell::disk::{is_taken, rename_new};
use crate::shell::vault::place::{Content, Place, PlaceError, Removal, fill, is_plain};

/// A folder of a mounted file system.
#[derive(Debug)]
pub struct Directory {
    name: String,
    site: String,
    root: PathBuf,
    /// Held open, so that a write that failed is told to us: see [`crate::shell::disk`].
    handle: File,
    /// Names of what is being written.
    next: AtomicU64,
}

impl Directory {
    /// Opens the folder, which must be there: where a disk is not mounted, nothing is to be put beneath.
    pub fn open(name: &str, site: &str, root: &Path) -> Result<Self, PlaceError> {
        let fault = |source: io::Error| PlaceError::Io {
            place: name.into(),
            doing: "opening folder",
            object: root.display().to_string(),
            source: source.into(),
        };
        let handle = File::open(root).map_err(fault)?;
        if !handle.metadata().map_err(fault)?.is_dir() {
            return Err(fault(io::ErrorKind::NotADirectory.into()));
        }
        let next = AtomicU64::new(0);
        Ok(Self { name: name.into(), site: site.into(), root: root.into(), handle, next })
    }

    fn io(&self, doing: &'static str, object: &str) -> impl FnOnce(io::Error) -> PlaceError {
        let (place, object) = (self.name.clone(), object.to_owned());
        move |source| PlaceError::Io { place, doing, object, source: source.into() }
    }

    /// What the disk has lost is a copy that is broken, and to be mended; the place itself can be asked.
    fn unread(&self, object: &str, error: io::Error) -> PlaceError {
        let is = |errno: &Errno| error.raw_os_error() == Some(errno.raw_os_error());
        if [Errno::IO, Errno::UCLEAN, Errno::NODATA].iter().any(is) {
            let (place, fault) = (self.name.clone(), format!("the disk cannot read it: {error}"));
            return PlaceError::Lies { place, object: object.into(), fault };
        }
        self.io("reading", object)(error)
    }

    fn path(&self, object: &str) -> Result<PathBuf, PlaceError> {
        let refused = || io::Error::new(io::ErrorKind::InvalidInput, "no name of an object");
        if is_plain(object) { Ok(self.root.join(object)) } else { Err(self.io("naming", object)(refused())) }
    }

    /// Writes under a name of its own, then gives it the one that it is to have, which fails where that is taken.
    fn write(&self, object: &str, content: &Content, lazily: bool) -> Result<(), PlaceError> {
        let path = self.path(object)?;
        let parent = path.parent().unwrap_or(&self.root);
        let temporary = self.write_temporary(object, parent, content, lazily)?;
        match rename_new(&temporary, &path) {
            Ok(()) => {}
            Err(error) if is_taken(&error) => {
                fs::remove_file(&temporary).map_err(self.io("tidying up after", object))?;
                if !self.is_same(&path, content, object)? {
                    return Err(PlaceError::Exists { place: self.name.clone(), object: object.into() });
                }
                // Whoever put it may have been stopped before it was on the disk.
                let synced = if lazily { Ok(()) } else { File::open(&path).and_then(|file| file.sync_all()) };
                synced.map_err(self.io("syncing", object))?;
            }
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                return Err(self.io("naming", object)(error));
            }
        }
        if lazily { Ok(()) } else { self.sync_dir(parent).map_err(self.io("syncing", object)) }
    }

    fn write_temporary(
        &self,
        object: &str,
        parent: &Path,
        content: &Content,
        lazily: bool,
    ) -> Result<PathBuf, PlaceError> {
        if !parent.is_dir() {
            fs::create_dir_all(parent).map_err(self.io("making folder for", object))?;
            if !lazily {
                self.sync_parents(parent).map_err(self.io("making folder for", object))?;
            }
        }
        let (temporary, mut file) = self.temporary(parent).map_err(self.io("writing", object))?;
        let written = content.reader().and_then(|mut reader| {
            io::copy(&mut reader, &mut file)?;
            if lazily { Ok(()) } else { file.sync_data() }
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            self.io("writing", object)(error)
        })?;
        Ok(temporary)
    }

    /// A name that nobody else has: another process may have our number in a container of its own.
    fn temporary(&self, parent: &Path) -> io::Result<(PathBuf, File)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!(".{}-{number}.tmp", std::process::id()));
            match File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|file| (path, file)),
            }
        }
    }

    fn is_same(&self, path: &Path, content: &Content, object: &str) -> Result<bool, PlaceError> {
        let compare = || {
            let (mut there, mut given) = (File::open(path)?, content.reader()?);
            let (mut a, mut b) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                let (read, other) = (fill(&mut there, &mut a)?, fill(&mut *given, &mut b)?);
                if a[..read] != b[..other] {
                    return Ok(false);
                }
                if read == 0 {
                    return Ok(true);
                }
            }
        };
        compare().map_err(self.io("comparing", object))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn sync_parents(&self, dir: &Path) -> io::Result<()> {
        for parent in dir.ancestors().take_while(|parent| parent.starts_with(&self.root)) {
            self.sync_dir(parent)?;
        }
        Ok(())
    }

    fn read(&self, path: &Path, range: Option<Range<u64>>) -> io::Result<Option<Bytes>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let length = file.metadata()?.len();
        let range = range.unwrap_or(0..length);
        let count = range.end.min(length).saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(Some(bytes.into()))
    }

    fn remove_temporaries(&self, folder: &Path, before: Stamp) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let before = SystemTime::UNIX_EPOCH + Duration::from_nanos(before.as_unix_nanos());
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let is_temporary =
                name.as_encoded_bytes().starts_with(b".") && name.as_encoded_bytes().ends_with(TEMPORARY);
            if is_temporary && entry.metadata()?.modified()? < before {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// All names below, in order: what a folder holds stands where the folder stands among its neighbours. Names
    /// of days begin with the year, so what is asked for is mostly in few folders.
    fn names(&self, prefix: &str, after: Option<&str>, count: usize) -> io::Result<Vec<String>> {
        let after = after.unwrap_or_default();
        let mut found = Vec::new();
        // What is yet to be looked at, the first of it last; folders end with `/`.
        let mut rest = self.entries("")?;
        while let Some(entry) = rest.pop() {
            if found.len() >= count {
                break;
            }
            if !entry.ends_with('/') {
                if entry.starts_with(prefix) && entry.as_str() > after {
                    found.push(entry);
                }
                continue;
            }
            let may_hold = entry.starts_with(prefix) || prefix.starts_with(entry.as_str());
            let is_over = entry.as_str() < after && !after.starts_with(entry.as_str());
            if may_hold && !is_over {
                match self.entries(&entry) {
                    // Emptied and removed since it was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    entries => rest.extend(entries?),
                }
            }
        }
        Ok(found)
    }

    /// Names in a folder, the last first.
    fn entries(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(dir))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_plain(&name) {
                let end = if entry.file_type()?.is_dir() { "/" } else { "" };
                entries.push(format!("{dir}{name}{end}"));
            }
        }
        entries.sort_unstable_by(|a, b| b.cmp(a));
        Ok(entries)
    }
}

/// Blocks: a local disk answers in milliseconds, and who has many files to read or write does it on threads of its own.
#[async_trait]
impl Place for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn site(&self) -> &str {
        &self.site
    }

    async fn put_new(&self, object: &str, content: Content, lazily: bool) -> Result<(), PlaceError> {
        self.write(object, &content, lazily)
    }

    async fn replace(&self, object: &str, content: Bytes) -> Result<(), PlaceError> {
        self.mend(object, Content::Bytes(content)).await
    }

    async fn mend(&self, object: &str, content: Content) -> Result<(), PlaceError> {
        let path = self.path(object)?;
        let parent = path.parent().unwrap_or(&self.root);
        let temporary = self.write_temporary(object, parent, &content, false)?;
        fs::rename(&temporary, &path)
            .and_then(|()| self.sync_dir(parent))
            .map_err(self.io("replacing", object))
    }

    async fn flush(&self) -> Result<(), PlaceError> {
        rustix::fs::syncfs(&self.handle).map_err(|error| self.io("syncing", "what was put")(error.into()))
    }

    async fn get(&self, object: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PlaceError> {
        self.read(&self.path(object)?, range).map_err(|error| self.unread(object, error))
    }

    async fn size(&self, object: &str) -> Result<Option<u64>, PlaceError> {
        match fs::metadata(self.path(object)?) {
            Ok(facts) => Ok(Some(facts.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io("looking at", object)(error)),
        }
    }

    async fn clear_up(&self, folder: &str, before: Stamp) -> Result<(), PlaceError> {
        let path = self.path(folder)?;
        self.remove_temporaries(&path, before).map_err(self.io("clearing up folder", folder))
    }

    async fn remove(&self, object: &str) -> Result<Removal, PlaceError> {
        let path = self.path(object)?;
        match fs::remove_file(&path) {
            Ok(()) => {
                let parent = path.parent().unwrap_or(&self.root);
                self.sync_dir(parent).map_err(self.io("syncing after removal of", object))?;
                Ok(Removal::Removed)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removal::Absent),
            // Immutable (`chattr +i`), and not merely somebody else's.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Ok(Removal::Locked),
            Err(error) => Err(self.io("removing", object)(error)),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, count: usize) -> Result<Vec<String>, PlaceError> {
        self.names(prefix, after, count).map_err(self.io("listing", prefix))
    }
}

/// How names of what is being written end.
const TEMPORARY: &[u8] = b".tmp";

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn bytes(text: &str) -> Content {
        Content::Bytes(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_is_put_is_there_once_and_never_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = Directory::open("here", "site", dir.path()).unwrap();
        wait(async {
            place.put_new("2026/11/a.body", bytes("one"), false).await.unwrap();
            place.put_new("2026/11/a.body", bytes("one"), true).await.unwrap();
            let other = place.put_new("2026/11/a.body", bytes("two"), false).await;
            assert!(matches!(other, Err(PlaceError::Exists { .. })), "{other:?}");
            assert_eq!(&place.get("2026/11/a.body", None).await.unwrap().unwrap()[..], b"one");
            assert_eq!(&place.get("2026/11/a.body", Some(1..9)).await.unwrap().unwrap()[..], b"ne");
            place.replace("2026/11/a.hdr", Bytes::from_static(b"h")).await.unwrap();
            place.replace("2026/11/a.hdr", Bytes::from_static(b"header")).await.unwrap();
            assert_eq!(place.size("2026/11/a.hdr").await.unwrap(), Some(6));
            assert_eq!(place.size("2026/11/b.hdr").await.unwrap(), None);
            assert_eq!(place.remove("2026/11/a.hdr").await.unwrap(), Removal::Removed);
            assert_eq!(place.remove("2026/11/a.hdr").await.unwrap(), Removal::Absent);
        });
    }

    #[test]
    fn what_a_disk_has_lost_is_a_broken_copy_and_not_a_place_that_is_away() {
        let dir = tempfile::tempdir().unwrap();
        let place = Directory::open("here", "site", dir.path()).unwrap();
        for (errno, is_lost) in
            [(Errno::IO, true), (Errno::UCLEAN, true), (Errno::NODATA, true), (Errno::STALE, false)]
        {
            let fault = place.unread("a.body", errno.into());
            assert_eq!(matches!(fault, PlaceError::Lies { .. }), is_lost, "{errno}: {fault}");
        }
    }

    #[test]
    fn objects_are_listed_in_order_and_in_pages() {
        let dir = tempfile::tempdir().unwrap();
        let place = Directory::open("here", "site", dir.path()).unwrap();
        wait(async {
            let names = [
                "2026/10.txt",
                "2026/10/31/c.body",
                "2026/10/31/c.hdr",
                "2026/11/01/a.body",
                "2026/11/02/b.body",
                "note",
            ];
            for name in names.iter().rev() {
                place.put_new(name, bytes("x"), true).await.unwrap();
            }
            place.flush().await.unwrap();
            assert_eq!(place.list("", None, 10).await.unwrap(), names);
            assert_eq!(place.list("2026/11/", None, 10).await.unwrap(), names[3..5]);
            let mut all: Vec<String> = Vec::new();
            while let page = place.list("", all.last().map(String::as_str), 1).await.unwrap()
                && !page.is_empty()
            {
                all.extend(page);
            }
            assert_eq!(all, names);
        });
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let place = Directory::open("here", "site", dir.path()).unwrap();
        for name in ["../a", "/etc/passwd", "a/../../b", "", "a//b", ".tmp"] {
            assert!(wait(place.put_new(name, bytes("x"), true)).is_err(), "{name}");
        }
    }
}
