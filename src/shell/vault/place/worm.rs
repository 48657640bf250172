//! Whether a place keeps what was written once: tried, not believed.
//!
//! ```text
//! put a canary ─► lock it for a day ─► delete, shorten, weaken, overwrite it ─► is all still as it was?
//! ```
//!
//! All with our own credentials: what they cannot do, somebody who stole them cannot. Canaries whose lock is over
//! are cleared up by the next test.

use std::time::Duration;

use bytes::Bytes;

use crate::archive::copies::Worm;
use crate::archive::record::Digest;
use crate::base::time::Stamp;
use crate::shell::vault::place::s3::{Answer, S3};
use crate::shell::vault::place::{Content, Place, PlaceError};

type Answered = Result<Answer, Box<dyn std::error::Error + Send + Sync>>;

/// The name of a canary.
pub(super) fn canary(now: Stamp) -> String {
    format!("{CANARIES}{:020}", now.as_unix_nanos())
}

pub(super) async fn test_s3(place: &dyn Place, s3: &S3, key: &str, now: Stamp) -> Result<Worm, PlaceError> {
    let object = canary(now);
    let failed = |why: String| Ok(Worm::Failed(why));
    place.put_new(&object, Content::Bytes(content(now)), false).await?;
    let Some(version) = place.stat(&object).await?.and_then(|stat| stat.version) else {
        let removed = place.remove(&object).await;
        drop(removed);
        return failed("the bucket keeps no versions: make one with Object Lock".into());
    };
    let until = now.after(LOCK);
    let fault = |doing| {
        let (place, object) = (place.name().to_owned(), object.clone());
        move |source| PlaceError::Io { place, doing, object, source }
    };
    let locked =
        s3.retain(key, Some(&version), "COMPLIANCE", until, false).await.map_err(fault("locking"))?;
    if !locked.is_success() {
        drop(place.remove(&object).await);
        return failed(format!("a lock is refused: {locked}; make the bucket with Object Lock"));
    }
    let probe = Probe { s3, key, version: &version, now, until };
    if let Some(missing) = probe.damage().await.map_err(fault("reading back"))? {
        return failed(format!("a lock was set, and {missing}"));
    }
    let mut passed = probe.attempts().await.map_err(fault("trying to break"))?;
    passed.extend(probe.damage().await.map_err(fault("reading back"))?);
    Ok(if passed.is_empty() { Worm::Passed } else { Worm::Failed(passed.join("; ")) })
}

/// A locked canary.
struct Probe<'a> {
    s3: &'a S3,
    key: &'a str,
    version: &'a str,
    now: Stamp,
    until: Stamp,
}

impl Probe<'_> {
    /// What was let through of what must not be.
    async fn attempts(&self) -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
        let Self { s3, key, now, until, .. } = *self;
        let version = Some(self.version);
        let sooner = now.after(Duration::from_secs(60));
        let tried: Vec<(&str, Answered)> = vec![
            ("it was shortened", s3.retain(key, version, "COMPLIANCE", sooner, false).await),
            ("it was shortened with a bypass", s3.retain(key, version, "COMPLIANCE", sooner, true).await),
            ("it was made weaker", s3.retain(key, version, "GOVERNANCE", until, false).await),
            ("it was made weaker with a bypass", s3.retain(key, version, "GOVERNANCE", sooner, true).await),
            ("it was deleted", s3.remove(key, version, false).await),
            ("it was deleted with a bypass", s3.remove(key, version, true).await),
        ];
        let mut passed = Vec::new();
        for (what, answer) in tried {
            let answer = answer?;
            if answer.is_success() {
                passed.push(what.to_owned());
            } else if answer.status != 403 && answer.status != 400 && answer.status != 409 {
                // No refusal, but a store that could not.
                passed.push(format!("whether {what} is not known: {answer}"));
            }
        }
        // These may go through, for they make a version and a marker. The version beneath must not be touched.
        s3.overwrite(key, Bytes::from_static(b"other")).await?;
        if let Some(damage) = self.damage().await? {
            passed.push(format!("when it was written over, {damage}"));
        }
        s3.remove(key, None, false).await?;
        Ok(passed)
    }

    /// What is not as it was put and locked.
    async fn damage(&self) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        let Some(stat) = self.s3.stat(self.key, Some(self.version)).await? else {
            return Ok(Some("it is gone".into()));
        };
        // Stores keep whole seconds.
        if stat.locked_until.is_none_or(|at| at.after(Duration::from_secs(1)) < self.until) {
            return Ok(Some("its lock is not there, or shorter".into()));
        }
        let read = self.s3.get(self.key, self.version).await?;
        if !read.is_success() || *read.body() != content(self.now) {
            return Ok(Some("it is not what was put".into()));
        }
        Ok(None)
    }
}

/// Locks of other stores are set by their own rules, so this tries only what can be tried.
pub(super) async fn test_other(place: &dyn Place, object: &str) -> Result<Worm, PlaceError> {
    let before = content(Stamp::ZERO);
    place.put_new(object, Content::Bytes(before.clone()), false).await?;
    let mut passed = Vec::new();
    if place.replace(object, Bytes::from_static(b"other")).await.is_ok() {
        passed.push("it was written over");
    }
    drop(place.remove(object).await);
    match place.get(object, None).await? {
        None => passed.push("it was deleted"),
        Some(after) if after != before => passed.push("it was changed"),
        Some(_) => {}
    }
    // To be on the safe side where nothing came through.
    passed.push("whether a lock can be shortened cannot be tried on this kind of store: use S3");
    Ok(Worm::Failed(passed.join("; ")))
}

/// Removes canaries of earlier tests whose lock is over; those that are locked stay. They are hidden beneath their
/// markers, so a list of names would not show them.
pub(super) async fn clear_up(s3: &S3, canaries: &str) {
    for version in s3.versions(canaries).await.unwrap_or_default().iter().take(CLEAR_UP_MAX) {
        drop(s3.remove(&version.key, Some(&version.version_id), false).await);
    }
}

fn content(now: Stamp) -> Bytes {
    Bytes::from(Digest::of(&now.as_unix_nanos().to_be_bytes()).to_string())
}

/// How canaries' names begin: the bucket may have others that are not so different.
pub(super) const CANARIES: &str = "canary/worm-";
/// Longer than the time between two tests.
const LOCK: Duration = Duration::from_secs(25 * 3600);
const CLEAR_UP_MAX: usize = 500;
