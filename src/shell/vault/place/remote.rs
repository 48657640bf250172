//! An object store: S3, Azure, Google.
//!
//! A put counts when the store, asked again, says that it has so many bytes under the tag and version that it
//! gave. Whether they are the right ones is seen when they are read: see [`super::read`].

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, PutResult,
};

use crate::archive::copies::Worm;
use crate::archive::record::Digest;
use crate::base::time::Stamp;
use crate::shell::vault::place::s3::{S3, Version};
use crate::shell::vault::place::{Content, Place, PlaceError, Removal, Stat, fill, is_plain, worm};

/// An object store.
#[derive(Debug)]
pub(super) struct Remote {
    name: String,
    site: String,
    /// Before each object's name; without slashes at its ends.
    prefix: String,
    store: Arc<dyn ObjectStore>,
    /// What only S3 has.
    s3: Option<S3>,
    locks: bool,
}

impl Remote {
    pub(super) fn new(
        name: &str,
        site: &str,
        prefix: &str,
        store: Arc<dyn ObjectStore>,
        s3: Option<S3>,
        locks: bool,
    ) -> Self {
        let [name, site, prefix] = [name, site, prefix].map(str::to_owned);
        Self { name, site, prefix, store, s3, locks }
    }

    /// The key under which an object is.
    fn key(&self, object: &str) -> Result<String, PlaceError> {
        if !is_plain(object) {
            return Err(self.io("naming", object)("no name of an object".into()));
        }
        Ok(if self.prefix.is_empty() { object.into() } else { format!("{}/{object}", self.prefix) })
    }

    fn io(
        &self,
        doing: &'static str,
        object: &str,
    ) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> PlaceError {
        let (place, object) = (self.name.clone(), object.to_owned());
        move |source| PlaceError::Io { place, doing, object, source }
    }

    fn fails(&self, doing: &'static str, object: &str) -> impl FnOnce(Error) -> PlaceError {
        let fault = self.io(doing, object);
        move |error| fault(error.into())
    }

    fn lies(&self, object: &str, fault: impl fmt::Display) -> PlaceError {
        PlaceError::Lies { place: self.name.clone(), object: object.into(), fault: fault.to_string() }
    }

    /// Puts it, create-only as far as the store knows how; something small as a whole, else in parts.
    async fn send(&self, object: &str, content: &Content, mode: PutMode) -> Result<Sent, PlaceError> {
        let path = Path::from(self.key(object)?);
        let bytes =
            content.len().map_err(|error| self.io("reading what is to be put as", object)(error.into()))?;
        let put = if bytes <= PART_BYTES as u64 * 2 {
            let whole = content
                .read_whole()
                .map_err(|error| self.io("reading what is to be put as", object)(error.into()))?;
            let sha256 = Digest::of(&whole).0;
            let options = PutOptions { mode, ..PutOptions::default() };
            let put = self.store.put_opts(&path, PutPayload::from_bytes(whole), options).await;
            put.map(|result| Sent { bytes, sha256: Some(sha256), result })
        } else {
            self.send_parts(object, &path, content).await?.map(|result| Sent { bytes, sha256: None, result })
        };
        put.map_err(|error| match error {
            Error::AlreadyExists { .. } | Error::Precondition { .. } => {
                PlaceError::Exists { place: self.name.clone(), object: object.into() }
            }
            other => self.fails("putting", object)(other),
        })
    }

    async fn send_parts(
        &self,
        object: &str,
        path: &Path,
        content: &Content,
    ) -> Result<object_store::Result<PutResult>, PlaceError> {
        let mut upload = match self.store.put_multipart(path).await {
            Ok(upload) => upload,
            Err(error) => return Ok(Err(error)),
        };
        let reader = content.reader();
        let mut reader =
            reader.map_err(|error| self.io("reading what is to be put as", object)(error.into()))?;
        let sent = send_all(&mut *upload, &mut *reader).await;
        if sent.is_err() {
            // Else they are kept, and paid for. Where this fails too, the bucket's own rule clears up.
            let _ = upload.abort().await;
        }
        sent.map_err(|error| match error {
            Unsent::Read(error) => self.io("reading what is to be put as", object)(error.into()),
            Unsent::Store(error) => self.fails("putting", object)(error),
        })
        .map(Ok)
    }

    /// Asks for what was put.
    async fn confirm(&self, object: &str, sent: &Sent) -> Result<(), PlaceError> {
        let Some(stat) = self.stat(object).await? else {
            return Err(self.lies(object, "the store says that it was put, and has it not"));
        };
        if stat.bytes != sent.bytes {
            let fault = format!("{} bytes were put, and the store has {}", sent.bytes, stat.bytes);
            return Err(self.lies(object, fault));
        }
        // Of an upload in parts, some say it without its quotes, and Ceph not at all.
        let word = |text: &Option<String>| {
            text.as_deref().map(|text| text.trim_matches('"').to_owned()).filter(|text| !text.is_empty())
        };
        let differs = |a: &Option<String>, b: &Option<String>| match (word(a), word(b)) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        };
        if differs(&stat.tag, &sent.result.e_tag) || differs(&stat.version, &sent.result.version) {
            return Err(self.lies(object, "the store has something else there than what was put"));
        }
        if let (Some(says), Some(sha256)) = (stat.sha256, sent.sha256)
            && says != sha256
        {
            return Err(self.lies(object, "the store has another SHA-256 than what was put"));
        }
        Ok(())
    }

    /// Whether what is there is the same; then somebody was interrupted after the put.
    async fn compare(&self, object: &str, content: &Content) -> Result<(), PlaceError> {
        let io = |error: std::io::Error| self.io("reading what is to be put as", object)(error.into());
        let exists = || PlaceError::Exists { place: self.name.clone(), object: object.into() };
        let bytes = content.len().map_err(io)?;
        if self.size(object).await? != Some(bytes) {
            return Err(exists());
        }
        let mut reader = content.reader().map_err(io)?;
        let mut given = vec![0; PART_BYTES];
        let mut at = 0;
        while at < bytes {
            let count = fill(&mut *reader, &mut given).map_err(io)?;
            let there = self.get(object, Some(at..at + count as u64)).await?;
            if count == 0 || there.is_none_or(|there| there != given[..count]) {
                return Err(exists());
            }
            at += count as u64;
        }
        Ok(())
    }

    async fn overwrite(&self, object: &str, content: &Content) -> Result<Sent, PlaceError> {
        let sent = self.send(object, content, PutMode::Overwrite).await?;
        self.confirm(object, &sent).await?;
        Ok(sent)
    }

    /// Of a header, no version of before may stay: whoever has its key would open it for ever.
    async fn remove_others(&self, s3: &S3, object: &str, kept: Option<&str>) -> Result<(), PlaceError> {
        let key = self.key(object)?;
        // As a store calls the one version where it keeps none.
        let is_other = |version: &Version| version.version_id != kept.unwrap_or("null");
        let others = match s3.versions_of(&key).await {
            Ok(versions) => versions.into_iter().filter(is_other).collect::<Vec<_>>(),
            // A store without versions may have no list of them.
            Err(_) if kept.is_none() => return Ok(()),
            Err(source) => return Err(self.io("listing old versions of", object)(source)),
        };
        for version in &others {
            let answer = s3.remove(&key, Some(&version.version_id), false).await;
            let answer = answer.map_err(self.io("removing an old version of", object))?;
            if !answer.is_success() && answer.status != 404 {
                let why = format!("{answer}; headers must not be locked, nor by a rule of the bucket");
                return Err(self.io("removing an old version of", object)(why.into()));
            }
        }
        let is_left = !others.is_empty() && {
            let versions = s3.versions_of(&key).await.map_err(self.io("listing old versions of", object))?;
            versions.iter().any(is_other)
        };
        if is_left {
            Err(self.lies(object, "the store says that old versions were removed, and has them"))
        } else {
            Ok(())
        }
    }

    async fn remove_versions(&self, s3: &S3, object: &str) -> Result<Removal, PlaceError> {
        let key = self.key(object)?;
        // Without versions, a store may have no list of them: then there is one to remove.
        let versions = match s3.versions_of(&key).await {
            Ok(versions) => versions.into_iter().map(|version| Some(version.version_id)).collect(),
            Err(_) if self.size(object).await?.is_none() => return Ok(Removal::Absent),
            Err(_) => vec![None],
        };
        if versions.is_empty() {
            return Ok(Removal::Absent);
        }
        let mut is_kept = false;
        for version in &versions {
            let answer = s3.remove(&key, version.as_deref(), false).await;
            let answer = answer.map_err(self.io("removing", object))?;
            match answer.status {
                200..300 | 404 => {}
                // Locked, or we may not: it stays in both cases.
                403 | 409 => is_kept = true,
                _ => return Err(self.io("removing", object)(answer.to_string().into())),
            }
        }
        if is_kept {
            return Ok(Removal::Locked);
        }
        let is_left = match s3.versions_of(&key).await {
            Ok(versions) => !versions.is_empty(),
            Err(_) => self.size(object).await?.is_some(),
        };
        if is_left {
            Err(self.lies(object, "the store says that it was removed, and has it still"))
        } else {
            Ok(Removal::Removed)
        }
    }

    /// One request's worth.
    async fn get_part(&self, object: &str, range: Range<u64>) -> Result<Option<Bytes>, PlaceError> {
        let path = Path::from(self.key(object)?);
        let range = GetRange::Bounded(range);
        let options = GetOptions { range: Some(range.clone()), ..GetOptions::default() };
        let got = match self.store.get_opts(&path, options).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(self.fails("reading", object))?,
        };
        let expected = got.range.end.saturating_sub(got.range.start);
        let mut bytes = Vec::new();
        let mut stream = got.into_stream();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(self.fails("reading", object))?);
            if bytes.len() as u64 > expected {
                return Err(self.lies(object, "the store sends more than was asked for"));
            }
        }
        if bytes.len() as u64 != expected {
            let fault = format!("of {expected} bytes the store sends {}", bytes.len());
            return Err(self.lies(object, fault));
        }
        Ok(Some(bytes.into()))
    }
}

/// What was put, and what the store said to it.
struct Sent {
    bytes: u64,
    /// Of a whole; a store keeps another sum of parts.
    sha256: Option<[u8; 32]>,
    result: PutResult,
}

enum Unsent {
    Read(std::io::Error),
    Store(Error),
}

/// One part after the other: a link that is slow does not get faster by more at a time, and memory stays small.
async fn send_all(
    upload: &mut dyn MultipartUpload,
    reader: &mut (dyn Read + Send),
) -> Result<PutResult, Unsent> {
    loop {
        let mut part = vec![0; PART_BYTES];
        let count = fill(reader, &mut part).map_err(Unsent::Read)?;
        if count == 0 {
            return upload.complete().await.map_err(Unsent::Store);
        }
        part.truncate(count);
        upload.put_part(PutPayload::from(part)).await.map_err(Unsent::Store)?;
    }
}

#[async_trait]
impl Place for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn site(&self) -> &str {
        &self.site
    }

    async fn put_new(&self, object: &str, content: Content, _lazily: bool) -> Result<(), PlaceError> {
        // A condition alone is not enough: some stores make a second version of what is there.
        if self.size(object).await?.is_some() {
            return self.compare(object, &content).await;
        }
        match self.send(object, &content, PutMode::Create).await {
            Ok(sent) => self.confirm(object, &sent).await,
            Err(PlaceError::Exists { .. }) => self.compare(object, &content).await,
            Err(error) => Err(error),
        }
    }

    async fn replace(&self, object: &str, content: Bytes) -> Result<(), PlaceError> {
        let sent = self.overwrite(object, &Content::Bytes(content)).await?;
        match &self.s3 {
            Some(s3) => self.remove_others(s3, object, sent.result.version.as_deref()).await,
            None => Ok(()),
        }
    }

    async fn mend(&self, object: &str, content: Content) -> Result<(), PlaceError> {
        self.overwrite(object, &content).await.map(drop)
    }

    /// What a store has said yes to is as durable as the store is.
    async fn flush(&self) -> Result<(), PlaceError> {
        Ok(())
    }

    async fn get(&self, object: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PlaceError> {
        if let Some(range) = range.clone().filter(|range| range.start < range.end)
            && range.end - range.start <= PART_BYTES as u64
        {
            match self.get_part(object, range.clone()).await {
                // Nothing is asked of what begins after the end; stores refuse that in many ways.
                Err(error @ PlaceError::Io { .. }) => match self.size(object).await {
                    Ok(Some(size)) if size <= range.start => return Ok(Some(Bytes::new())),
                    _ => return Err(error),
                },
                other => return other,
            }
        }
        let Some(size) = self.size(object).await? else { return Ok(None) };
        let range = range.unwrap_or(0..size);
        let range = range.start..range.end.min(size);
        if range.end.saturating_sub(range.start) > WHOLE_BYTES_MAX {
            let fault = format!("the store says that it has {size} bytes, which is too many to read at once");
            return Err(self.lies(object, fault));
        }
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + PART_BYTES as u64);
            match self.get_part(object, at..end).await? {
                None => return Ok(None),
                Some(part) if part.len() as u64 == end - at => bytes.extend_from_slice(&part),
                Some(_) => return Err(self.lies(object, "it changes while it is read")),
            }
            at = end;
        }
        Ok(Some(bytes.into()))
    }

    async fn size(&self, object: &str) -> Result<Option<u64>, PlaceError> {
        Ok(self.stat(object).await?.map(|stat| stat.bytes))
    }

    async fn stat(&self, object: &str) -> Result<Option<Stat>, PlaceError> {
        let key = self.key(object)?;
        if let Some(s3) = &self.s3 {
            return s3.stat(&key, None).await.map_err(self.io("looking at", object));
        }
        match self.store.head(&Path::from(key)).await {
            Ok(meta) => {
                Ok(Some(Stat { bytes: meta.size, tag: meta.e_tag, version: meta.version, ..Stat::default() }))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fails("looking at", object)(error)),
        }
    }

    fn locks(&self) -> bool {
        self.locks
    }

    async fn lock(&self, object: &str, until: Stamp) -> Result<(), PlaceError> {
        let Some(s3) = &self.s3 else {
            return Err(self.lies(object, "locks of this kind of store are set by its own rules, not by us"));
        };
        let is_locked = |stat: &Option<Stat>| {
            stat.as_ref().and_then(|stat| stat.locked_until).is_some_and(|at| at >= until)
        };
        if is_locked(&self.stat(object).await?) {
            return Ok(());
        }
        let answer = s3.retain(&self.key(object)?, None, "COMPLIANCE", until, false).await;
        answer.and_then(|answer| answer.succeeded()).map_err(self.io("locking", object))?;
        if is_locked(&self.stat(object).await?) {
            Ok(())
        } else {
            Err(self.lies(object, "the store says that it is locked, and shows no such lock"))
        }
    }

    async fn worm_test(&self, now: Stamp) -> Result<Worm, PlaceError> {
        match &self.s3 {
            Some(s3) => {
                worm::clear_up(s3, &self.key(worm::CANARIES)?).await;
                worm::test_s3(self, s3, &self.key(&worm::canary(now))?, now).await
            }
            None => worm::test_other(self, &worm::canary(now)).await,
        }
    }

    async fn remove(&self, object: &str) -> Result<Removal, PlaceError> {
        if let Some(s3) = &self.s3 {
            return self.remove_versions(s3, object).await;
        }
        if self.size(object).await?.is_none() {
            return Ok(Removal::Absent);
        }
        match self.store.delete(&Path::from(self.key(object)?)).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(
                Error::PermissionDenied { .. } | Error::Precondition { .. } | Error::AlreadyExists { .. },
            ) => {
                return Ok(Removal::Locked);
            }
            Err(error) => return Err(self.fails("removing", object)(error)),
        }
        match self.size(object).await? {
            None => Ok(Removal::Removed),
            Some(_) => Err(self.lies(object, "the store says that it was removed, and has it still")),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, count: usize) -> Result<Vec<String>, PlaceError> {
        let within = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        // Stores list by whole parts of names here.
        let dir = format!("{within}{prefix}");
        let dir = dir.rfind('/').map(|end| Path::from(&dir[..end]));
        let mut listed = match after {
            Some(after) => self.store.list_with_offset(dir.as_ref(), &Path::from(format!("{within}{after}"))),
            None => self.store.list(dir.as_ref()),
        };
        let mut found: Vec<String> = Vec::new();
        while found.len() < count
            && let Some(meta) = listed.next().await
        {
            let meta = meta.map_err(self.fails("listing", prefix))?;
            let Some(name) = meta.location.as_ref().strip_prefix(&within) else { continue };
            if !is_plain(name) || !name.starts_with(prefix) || after.is_some_and(|after| name <= after) {
                continue;
            }
            if found.last().is_some_and(|last| name <= last.as_str()) {
                return Err(self.lies(prefix, "the store lists names out of order"));
            }
            found.push(name.to_owned());
        }
        Ok(found)
    }
}

/// Of an upload, and read at a time: as little as all stores take, with room.
const PART_BYTES: usize = 8 << 20;
/// A recording is smaller; who says that it is larger wants our memory.
const WHOLE_BYTES_MAX: u64 = 2 << 30;
