//! An S3 store in this process: as honest, or as dishonest, as it is told to be. Google's, too: its XML has the same form.
//!
//! What it does when honest is held against a real one by the same tests: see `mod.rs`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use futures_util::stream;
use sejf::archive::record::Digest;

/// What the store does wrong. One at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lie {
    None,
    // Puts.
    PutStoresNothing,
    PutCutsBody,
    PutFlipsBit,
    PutGoesElsewhere,
    PutGivesOtherTag,
    PutGivesOtherVersion,
    PutKeepsOtherChecksum,
    PutIsLostLater,
    PutOverwritesNothing,
    // Everything.
    Storm,
    StormThatPasses,
    // Reads.
    GetOldVersion,
    GetOtherObject,
    GetCutBody,
    GetBrokenBody,
    GetFlippedBit,
    GetNothingAtAll,
    GetIgnoresRange,
    GetShiftedRange,
    GetNotFound,
    GetSlowly,
    GetEndlessly,
    HeadSaysShorter,
    LongerThanPut,
    // The rest.
    DeleteDoesNothing,
    ListOutOfOrder,
    ListOtherNames,
    LockIsNotKept,
    LockIsShorter,
    LockIsOfTheWeakerKind,
    // What a store that says it is WORM may do.
    WormLetsDelete,
    WormLetsDeleteWithBypass,
    WormLetsShorten,
    WormLetsWeaken,
    WormRefusesAndDeletes,
    WormRefusesAndShortens,
    WormOverwritesInPlace,
    WormDeletesWithoutVersion,
    WormCannotTell,
    WormKeepsNoVersions,
    WormRefusesLocks,
}

#[derive(Clone, Debug)]
struct Kept {
    version: u64,
    content: Bytes,
    /// Mode and date, as given.
    lock: Option<(String, String)>,
    is_marker: bool,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Vec<Kept>>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    next: u64,
    requests: u64,
    lie: Option<Lie>,
    storms: u32,
    /// An object that it cannot give.
    refused: Option<String>,
}

/// A store that listens on loopback until it is dropped with the process.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Mutex<Inner>>,
    pub(crate) endpoint: String,
}

impl Store {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = Self { inner: Arc::default(), endpoint };
        let served = store.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = Router::new().fallback(answer).with_state(served);
                axum::serve(listener, router).await.unwrap();
            });
        });
        store
    }

    pub(super) fn tell(&self, lie: Lie) {
        let mut inner = self.lock();
        inner.lie = Some(lie);
        inner.storms = 2;
    }

    /// How many requests there were.
    pub(super) fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// Damages what is kept, as a disk would.
    pub(super) fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.lock();
        let kept = inner.objects.get_mut(key).and_then(|versions| versions.last_mut()).unwrap();
        let mut content = kept.content.to_vec();
        change(&mut content);
        kept.content = content.into();
    }

    /// Loses an object with all its versions.
    pub(super) fn lose(&self, key: &str) {
        self.lock().objects.remove(key).unwrap();
    }

    /// Has one object that it cannot give, whoever asks.
    pub(super) fn refuse(&self, key: &str) {
        self.lock().refused = Some(key.into());
    }

    /// How many versions of an object it keeps, markers too.
    pub(super) fn versions_of(&self, key: &str) -> usize {
        self.lock().objects.get(key).map_or(0, Vec::len)
    }

    /// Locks what there is of an object, as a bucket's own rule does.
    pub(super) fn lock_all(&self, key: &str) {
        for kept in self.lock().objects.get_mut(key).unwrap() {
            kept.lock = Some(("COMPLIANCE".into(), "2099-01-01T00:00:00Z".into()));
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn lie(&self) -> Lie {
        self.lie.unwrap_or(Lie::None)
    }

    fn put(&mut self, key: &str, content: &[u8]) -> Response<Body> {
        let lie = self.lie();
        self.next += 1;
        let version = self.next;
        let mut tag = tag(content);
        let mut kept = content.to_vec();
        let mut key = key.to_owned();
        match lie {
            Lie::PutCutsBody => kept.truncate(kept.len() / 2),
            Lie::PutFlipsBit => kept[0] ^= 1,
            Lie::PutGoesElsewhere => key.push_str(".other"),
            Lie::PutGivesOtherTag => tag = "\"other\"".into(),
            Lie::LongerThanPut => kept.push(0),
            _ => {}
        }
        let kept = Kept { version, content: kept.into(), lock: None, is_marker: false };
        let versions = self.objects.entry(key).or_default();
        match lie {
            Lie::PutStoresNothing => {}
            Lie::PutOverwritesNothing if !versions.is_empty() => {}
            // Changes what is there under the version that it has.
            Lie::WormOverwritesInPlace if !versions.is_empty() => {
                versions.iter_mut().for_each(|old| old.content = kept.content.clone());
            }
            _ => versions.push(kept),
        }
        self.objects.retain(|_, versions| !versions.is_empty());
        let version = if lie == Lie::PutGivesOtherVersion { version + 1_000 } else { version };
        let mut answer =
            Response::builder().header("etag", tag).header("x-goog-generation", version.to_string());
        if lie != Lie::WormKeepsNoVersions {
            answer = answer.header("x-amz-version-id", format!("v{version}"));
        }
        answer.body(Body::empty()).unwrap()
    }

    fn find(&self, key: &str, version: Option<&str>) -> Option<&Kept> {
        let versions = self.objects.get(key)?;
        match version {
            Some(version) => versions.iter().find(|kept| format!("v{}", kept.version) == version),
            None => versions.last().filter(|kept| !kept.is_marker),
        }
    }

    fn head(&self, key: &str, version: Option<&str>) -> Response<Body> {
        let Some(kept) = self.find(key, version) else { return refuse(404, "NoSuchKey") };
        let shorter = u64::from(self.lie() == Lie::HeadSaysShorter);
        let mut answer = self.facts(kept).header("content-length", kept.content.len() as u64 - shorter);
        let sum = if self.lie() == Lie::PutKeepsOtherChecksum {
            Digest::of(b"other")
        } else {
            Digest::of(&kept.content)
        };
        answer = answer.header("x-amz-checksum-sha256", base64(&sum.0));
        if let Some((mode, until)) = &kept.lock {
            answer = answer
                .header("x-amz-object-lock-mode", mode)
                .header("x-amz-object-lock-retain-until-date", until);
        }
        answer.body(Body::empty()).unwrap()
    }

    fn facts(&self, kept: &Kept) -> axum::http::response::Builder {
        let answer = Response::builder()
            .header("etag", tag(&kept.content))
            .header("x-goog-generation", kept.version.to_string())
            .header("last-modified", "Mon, 23 Nov 2026 21:08:41 GMT");
        if self.lie() == Lie::WormKeepsNoVersions {
            return answer;
        }
        answer.header("x-amz-version-id", format!("v{}", kept.version))
    }

    fn get(&self, key: &str, version: Option<&str>, headers: &HeaderMap) -> Response<Body> {
        let lie = self.lie();
        let mut found = self.find(key, version);
        match lie {
            Lie::GetOldVersion => found = self.objects.get(key).and_then(|versions| versions.first()),
            Lie::GetOtherObject => {
                found = self.objects.values().next_back().and_then(|versions| versions.last());
            }
            Lie::GetNotFound | Lie::PutIsLostLater => found = None,
            _ => {}
        }
        let Some(kept) = found else { return refuse(404, "NoSuchKey") };
        let whole = &kept.content;
        let asked = headers
            .get("range")
            .and_then(|value| value.to_str().ok())
            .filter(|_| lie != Lie::GetIgnoresRange);
        let Some((start, end)) = asked.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
            return self
                .facts(kept)
                .header("content-length", whole.len())
                .body(Body::from(whole.clone()))
                .unwrap();
        };
        let (mut start, mut end): (usize, usize) =
            (start.parse().unwrap(), end.parse::<usize>().unwrap() + 1);
        if start >= whole.len() {
            return refuse(416, "InvalidRange");
        }
        end = end.min(whole.len());
        let size = whole.len();
        if lie == Lie::GetShiftedRange {
            (start, end) = (start + 1, (end + 1).min(size));
        }
        let mut body = whole[start..end].to_vec();
        let length = body.len();
        match lie {
            Lie::GetFlippedBit => body[length / 2] ^= 0x80,
            Lie::GetCutBody => body.truncate(length / 2),
            Lie::GetBrokenBody => body.truncate(length / 2),
            Lie::GetNothingAtAll => body.clear(),
            _ => {}
        }
        // One that says how short it is, and one whose connection breaks.
        let said = if lie == Lie::GetBrokenBody { length } else { body.len() };
        let mut answer =
            self.facts(kept).status(206).header("content-range", format!("bytes {start}-{}/{size}", end - 1));
        let body = match lie {
            Lie::GetEndlessly => Body::from_stream(stream::repeat_with(|| {
                Ok::<_, std::io::Error>(Bytes::from(vec![0; 65_536]))
            })),
            Lie::GetSlowly => slow(length),
            _ => {
                answer = answer.header("content-length", said);
                broken(body, said)
            }
        };
        if matches!(lie, Lie::GetEndlessly | Lie::GetSlowly) {
            answer = answer.header("content-length", if lie == Lie::GetEndlessly { 1 << 40 } else { length });
        }
        answer.body(body).unwrap()
    }

    fn delete(&mut self, key: &str, version: Option<&str>, headers: &HeaderMap) -> Response<Body> {
        let lie = self.lie();
        let done = || Response::builder().status(204).body(Body::empty()).unwrap();
        if lie == Lie::DeleteDoesNothing {
            return done();
        }
        let bypass = headers.contains_key("x-amz-bypass-governance-retention");
        let Some(versions) = self.objects.get_mut(key) else { return done() };
        match version {
            Some(version) => {
                let version: u64 = version.trim_start_matches('v').parse().unwrap_or_default();
                let is_locked = versions.iter().any(|kept| {
                    kept.version == version
                        && kept.lock.as_ref().is_some_and(|(mode, _)| mode == "COMPLIANCE" || !bypass)
                });
                let lets = lie == Lie::WormLetsDelete || (lie == Lie::WormLetsDeleteWithBypass && bypass);
                if is_locked && lie == Lie::WormCannotTell {
                    return refuse(501, "NotImplemented");
                }
                if !is_locked || lets || lie == Lie::WormRefusesAndDeletes {
                    versions.retain(|kept| kept.version != version);
                }
                self.objects.retain(|_, versions| !versions.is_empty());
                if is_locked && !lets { refuse(403, "AccessDenied") } else { done() }
            }
            None if lie == Lie::WormKeepsNoVersions || lie == Lie::WormDeletesWithoutVersion => {
                self.objects.remove(key);
                done()
            }
            None => {
                self.next += 1;
                let version = self.next;
                versions.push(Kept { version, content: Bytes::new(), lock: None, is_marker: true });
                done()
            }
        }
    }

    fn retain(&mut self, key: &str, version: Option<&str>, body: &[u8]) -> Response<Body> {
        let lie = self.lie();
        let text = String::from_utf8_lossy(body);
        let between = |tag: &str| {
            let rest = text.split_once(&format!("<{tag}>"))?.1;
            rest.split_once('<').map(|(value, _)| value.to_owned())
        };
        let (Some(mode), Some(until)) = (between("Mode"), between("RetainUntilDate")) else {
            return refuse(400, "MalformedXML");
        };
        if lie == Lie::WormRefusesLocks {
            return refuse(400, "InvalidRequest");
        }
        let Some(versions) = self.objects.get_mut(key) else { return refuse(404, "NoSuchKey") };
        let kept = versions
            .iter_mut()
            .rev()
            .find(|kept| version.is_none_or(|version| format!("v{}", kept.version) == version));
        let Some(kept) = kept else { return refuse(404, "NoSuchVersion") };
        let done = || Response::new(Body::empty());
        if let Some((old_mode, old_until)) = &kept.lock {
            let is_shorter = until < *old_until;
            let is_weaker = mode != *old_mode;
            let lets = (lie == Lie::WormLetsShorten && is_shorter && !is_weaker)
                || (lie == Lie::WormLetsWeaken && is_weaker);
            if lie == Lie::WormRefusesAndShortens || lets {
                kept.lock = Some((mode, until));
            } else if !is_shorter && !is_weaker {
                kept.lock = Some((mode, until));
                return done();
            }
            return if lets { done() } else { refuse(403, "AccessDenied") };
        }
        kept.lock = match lie {
            Lie::LockIsNotKept => None,
            Lie::LockIsShorter => Some((mode, format!("2020{}", &until[4..]))),
            Lie::LockIsOfTheWeakerKind => Some(("GOVERNANCE".into(), until)),
            _ => Some((mode, until)),
        };
        done()
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response<Body> {
        let empty = String::new();
        let prefix = query.get("prefix").unwrap_or(&empty);
        let after = query.get("continuation-token").or_else(|| query.get("start-after")).unwrap_or(&empty);
        let mut keys: Vec<&String> = self
            .objects
            .iter()
            .filter(|(key, versions)| {
                key.starts_with(prefix.as_str())
                    && *key > after
                    && versions.last().is_some_and(|kept| !kept.is_marker)
            })
            .map(|(key, _)| key)
            .collect();
        // Small pages, so that there is more than one.
        let is_truncated = keys.len() > PAGE;
        keys.truncate(PAGE);
        let next = keys.last().map(|key| key.to_string()).unwrap_or_default();
        if self.lie() == Lie::ListOutOfOrder {
            keys.reverse();
        }
        let strange = "../../etc/passwd".to_owned();
        if self.lie() == Lie::ListOtherNames {
            keys.push(&strange);
        }
        let mut xml = format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>");
        if is_truncated {
            xml += &format!("<NextContinuationToken>{next}</NextContinuationToken>");
        }
        for key in keys {
            xml += &format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-23T21:08:41.000Z</LastModified><ETag>\"x\"</ETag><Size>1</Size></Contents>"
            );
        }
        Response::new(Body::from(xml + "</ListBucketResult>"))
    }

    fn versions(&self, query: &BTreeMap<String, String>) -> Response<Body> {
        if self.lie() == Lie::WormKeepsNoVersions {
            return refuse(501, "NotImplemented");
        }
        let empty = String::new();
        let prefix = query.get("prefix").unwrap_or(&empty);
        let mut xml = "<ListVersionsResult><IsTruncated>false</IsTruncated>".to_owned();
        for (key, versions) in self.objects.iter().filter(|(key, _)| key.starts_with(prefix.as_str())) {
            for kept in versions.iter().rev() {
                let kind = if kept.is_marker { "DeleteMarker" } else { "Version" };
                xml += &format!("<{kind}><Key>{key}</Key><VersionId>v{}</VersionId></{kind}>", kept.version);
            }
        }
        Response::new(Body::from(xml + "</ListVersionsResult>"))
    }

    fn upload(&mut self, key: &str, query: &BTreeMap<String, String>, body: Bytes) -> Response<Body> {
        if query.contains_key("uploads") {
            self.next += 1;
            let id = format!("u{}", self.next);
            self.uploads.insert(id.clone(), BTreeMap::new());
            return Response::new(Body::from(format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            )));
        }
        let id = query.get("uploadId").cloned().unwrap_or_default();
        if let Some(part) = query.get("partNumber") {
            let tag = tag(&body);
            let Some(parts) = self.uploads.get_mut(&id) else { return refuse(404, "NoSuchUpload") };
            parts.insert(part.parse().unwrap(), body);
            return Response::builder().header("etag", tag).body(Body::empty()).unwrap();
        }
        let Some(parts) = self.uploads.remove(&id) else { return refuse(404, "NoSuchUpload") };
        let whole: Vec<u8> = parts.into_values().flatten().collect();
        let put = self.put(key, &whole);
        let tag = put.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        let mut answer = Response::builder();
        for name in ["x-amz-version-id", "x-goog-generation"] {
            if let Some(version) = put.headers().get(name) {
                answer = answer.header(name, version);
            }
        }
        let xml =
            format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>");
        answer.body(Body::from(xml)).unwrap()
    }
}

async fn answer(State(store): State<Store>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 30).await.unwrap();
    let pairs = |text: &str| -> BTreeMap<String, String> {
        reqwest::Url::parse(&format!("http://x/?{text}")).unwrap().query_pairs().into_owned().collect()
    };
    let query = pairs(head.uri.query().unwrap_or_default());
    let key = head.uri.path().strip_prefix("/bucket").unwrap_or_default().trim_start_matches('/');
    // Google's clients write all but letters and digits in hexadecimal.
    let key = pairs(&format!("key={key}")).remove("key").unwrap_or_default();
    let version = query.get("versionId").map(String::as_str);
    let mut inner = store.lock();
    inner.requests += 1;
    match inner.lie() {
        Lie::Storm => return refuse(503, "SlowDown"),
        Lie::StormThatPasses if inner.storms > 0 => {
            inner.storms -= 1;
            return refuse(503, "SlowDown");
        }
        _ => {}
    }
    if head.method == Method::GET && inner.refused.as_ref() == Some(&key) {
        return refuse(500, "InternalError");
    }
    let is_part = query.contains_key("uploads") || query.contains_key("uploadId");
    match head.method {
        Method::PUT if query.contains_key("retention") => inner.retain(&key, version, &body),
        Method::PUT | Method::POST if is_part => inner.upload(&key, &query, body),
        Method::PUT => {
            let is_there = inner.find(&key, None).is_some();
            let is_create_only = ["if-none-match", "x-goog-if-generation-match"];
            if is_there && is_create_only.iter().any(|name| head.headers.contains_key(*name)) {
                return refuse(412, "PreconditionFailed");
            }
            inner.put(&key, &body)
        }
        Method::HEAD => inner.head(&key, version),
        Method::GET if query.contains_key("versions") => inner.versions(&query),
        Method::GET if key.is_empty() => inner.list(&query),
        Method::GET => inner.get(&key, version, &head.headers),
        Method::DELETE => inner.delete(&key, version, &head.headers),
        _ => refuse(405, "MethodNotAllowed"),
    }
}

fn refuse(status: u16, code: &str) -> Response<Body> {
    let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).body(Body::from(body)).unwrap()
}

/// A body that ends before it should: the connection breaks.
fn broken(body: Vec<u8>, said: usize) -> Body {
    if body.len() == said {
        return Body::from(body);
    }
    let first = Ok(Bytes::from(body));
    let then = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    Body::from_stream(stream::iter([first, then]))
}

/// A byte now and then.
fn slow(length: usize) -> Body {
    Body::from_stream(stream::unfold(length, |left| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (left > 0).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"x")), left - 1))
    }))
}

fn tag(content: &[u8]) -> String {
    format!("\"{}\"", &Digest::of(content).to_string()[..32])
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

const PAGE: usize = 3;
