//! What S3 has and the common interface of object stores has not: versions and locks.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredential, Checksum};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::{ClientOptions, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::archive::record::Digest;
use crate::base::time::Stamp;
use crate::shell::vault::place::Stat;
use crate::shell::vault::place::open::{Connector, Patience};

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Where a bucket is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// `https://host`, without the bucket.
    pub(super) endpoint: String,
    pub(super) bucket: String,
    pub(super) region: String,
}

/// A bucket.
pub(super) struct S3 {
    address: Address,
    credential: Arc<AwsCredential>,
    client: HttpClient,
    patience: Patience,
}

/// What the store answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    body: Bytes,
}

/// A version of an object, or a marker that says that it was deleted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) key: String,
    pub(super) version_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_version_id_marker: Option<String>,
    #[serde(default, rename = "Version")]
    versions: Vec<Version>,
    #[serde(default, rename = "DeleteMarker")]
    markers: Vec<Version>,
}

impl S3 {
    pub(super) fn new(
        address: Address,
        key_id: String,
        secret_key: String,
        client: HttpClient,
        patience: Patience,
    ) -> Self {
        let credential = Arc::new(AwsCredential { key_id, secret_key, token: None });
        Self { address, credential, client, patience }
    }

    pub(super) fn client(&self) -> HttpClient {
        self.client.clone()
    }

    /// The same bucket behind the common interface.
    pub(super) fn store(&self, connector: Connector) -> object_store::Result<AmazonS3> {
        let Address { endpoint, bucket, region } = &self.address;
        AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id(&self.credential.key_id)
            .with_secret_access_key(&self.credential.secret_key)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_disable_bulk_delete(true)
            .with_retry(self.patience.retry())
            .with_client_options(ClientOptions::new().with_allow_http(endpoint.starts_with("http:")))
            .with_http_connector(connector)
            .build()
    }

    /// What the store says of an object, or of a version of it.
    pub(super) async fn stat(&self, key: &str, version: Option<&str>) -> Result<Option<Stat>, Fault> {
        let query: Vec<_> = version.map(|version| ("versionId", version)).into_iter().collect();
        let answer =
            self.call(Method::HEAD, key, &query, &[("x-amz-checksum-mode", "ENABLED")], Bytes::new()).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        answer.succeeded()?;
        let length = answer.header("content-length").and_then(|text| text.parse().ok());
        let until = answer.header("x-amz-object-lock-retain-until-date");
        // In the other mode some may lift it.
        let is_compliance = answer.header("x-amz-object-lock-mode") == Some("COMPLIANCE");
        let sha256 = answer.header("x-amz-checksum-sha256");
        Ok(Some(Stat {
            bytes: length.ok_or("the store does not say how long it is")?,
            tag: answer.header("etag").map(str::to_owned),
            version: answer.header("x-amz-version-id").map(str::to_owned),
            // Of parts together it is another sum, with `-N` at its end.
            sha256: sha256.and_then(|text| BASE64_STANDARD.decode(text).ok()?.try_into().ok()),
            locked_until: until.filter(|_| is_compliance).and_then(parse_time),
        }))
    }

    /// All versions and markers of an object.
    pub(super) async fn versions_of(&self, key: &str) -> Result<Vec<Version>, Fault> {
        let mut versions = self.versions(key).await?;
        versions.retain(|version| version.key == key);
        Ok(versions)
    }

    /// All versions and markers of objects whose keys begin with `prefix`.
    pub(super) async fn versions(&self, prefix: &str) -> Result<Vec<Version>, Fault> {
        let mut found = Vec::new();
        let mut markers: Option<(String, String)> = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("versions", ""), ("prefix", prefix), ("max-keys", "1000")];
            if let Some((key, version)) = &markers {
                query.extend([("key-marker", key.as_str()), ("version-id-marker", version.as_str())]);
            }
            let answer = self.call(Method::GET, "", &query, &[], Bytes::new()).await?;
            answer.succeeded()?;
            let page: Versions = quick_xml::de::from_reader(&answer.body[..])?;
            found.extend(page.versions.into_iter().chain(page.markers));
            match (page.is_truncated, page.next_key_marker, page.next_version_id_marker) {
                (true, Some(key), Some(version)) => markers = Some((key, version)),
                _ => return Ok(found),
            }
        }
        Err("the list of versions has no end".into())
    }

    /// Removes a version. With `bypass`, as somebody who may lift locks of the weaker kind.
    pub(super) async fn remove(
        &self,
        key: &str,
        version: Option<&str>,
        bypass: bool,
    ) -> Result<Answer, Fault> {
        let query: Vec<_> = version.map(|version| ("versionId", version)).into_iter().collect();
        let headers: &[_] = if bypass { &[BYPASS] } else { &[] };
        self.call(Method::DELETE, key, &query, headers, Bytes::new()).await
    }

    /// Puts under a name, whatever is there.
    pub(super) async fn overwrite(&self, key: &str, content: Bytes) -> Result<Answer, Fault> {
        self.call(Method::PUT, key, &[], &[], content).await
    }

    /// The whole of a small version.
    pub(super) async fn get(&self, key: &str, version: &str) -> Result<Answer, Fault> {
        self.call(Method::GET, key, &[("versionId", version)], &[], Bytes::new()).await
    }

    /// Sets until when a version is locked.
    pub(super) async fn retain(
        &self,
        key: &str,
        version: Option<&str>,
        mode: &str,
        until: Stamp,
        bypass: bool,
    ) -> Result<Answer, Fault> {
        let mut query = vec![("retention", "")];
        query.extend(version.map(|version| ("versionId", version)));
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode>\
             <RetainUntilDate>{}</RetainUntilDate></Retention>",
            whole_seconds(until)
        );
        let headers: &[_] = if bypass { &[BYPASS] } else { &[] };
        self.call(Method::PUT, key, &query, headers, body.into()).await
    }

    async fn call(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Answer, Fault> {
        let mut wait = self.patience.backoff;
        for tried in 0.. {
            let answer = self.call_once(&method, key, query, headers, &body).await;
            // Nothing that is called here does harm when it is done twice.
            let is_passing = match &answer {
                Ok(answer) => answer.status >= 500 || answer.status == 429,
                Err(_) => true,
            };
            if !is_passing || tried >= self.patience.retries {
                return answer;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err("tried for ever".into())
    }

    async fn call_once(
        &self,
        method: &Method,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        body: &Bytes,
    ) -> Result<Answer, Fault> {
        let mut url = Url::parse(&format!("{}/{}/{key}", self.address.endpoint, self.address.bucket))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = HttpRequest::new(HttpRequestBody::from(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.as_str().parse()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value)?);
        }
        let digest = Digest::of(body);
        if !body.is_empty() {
            let sum = HeaderValue::from_str(&BASE64_STANDARD.encode(digest.0))?;
            request.headers_mut().insert("x-amz-checksum-sha256", sum);
        }
        AwsAuthorizer::new(&self.credential, "s3", &self.address.region)
            .try_authorize(&mut request, Some(&digest.0))?;
        let (head, body) = self.client.execute(request).await?.into_parts();
        let mut bytes = Vec::new();
        let mut stream = body.bytes_stream();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err("the store's answer has no end".into());
            }
        }
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: bytes.into() })
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// An error of what the store says, where it refuses.
    pub(super) fn succeeded(&self) -> Result<(), Fault> {
        if self.is_success() { Ok(()) } else { Err(self.to_string().into()) }
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Status and error code: `403 AccessDenied`.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Error {
            code: String,
        }
        let code = quick_xml::de::from_reader::<_, Error>(&self.body[..]).map(|error| error.code);
        let code = code.unwrap_or_default();
        let is_word = code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        write!(f, "the store answers {} {}", self.status, if is_word { &code } else { "" })
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("address", &self.address).finish_non_exhaustive()
    }
}

fn parse_time(text: &str) -> Option<Stamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Stamp::from_unix_nanos(u64::try_from(at.as_nanosecond()).ok()?))
}

/// Not before `until`, in the form that all stores read: fractions of seconds are lost in some.
fn whole_seconds(until: Stamp) -> String {
    let seconds = until.as_unix_nanos().div_ceil(1_000_000_000);
    let text = Stamp::from_unix_nanos(seconds.saturating_mul(1_000_000_000)).to_string();
    format!("{}Z", &text[..19])
}

const BYPASS: (&str, &str) = ("x-amz-bypass-governance-retention", "true");
const ANSWER_BYTES_MAX: usize = 4 << 20;
const PAGES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_never_shorter_than_asked() {
        let at = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
        assert_eq!(whole_seconds(at), "2026-11-23T21:08:42Z");
        assert_eq!(whole_seconds(Stamp::from_unix_nanos(1_795_468_121_000_000_000)), "2026-11-23T21:08:41Z");
        assert!(parse_time("2026-11-23T21:08:42Z").unwrap() > at);
        assert_eq!(parse_time("2026-11-23T21:08:42.000Z"), parse_time("2026-11-23T21:08:42Z"));
        assert_eq!(parse_time("soon"), None);
    }

    #[test]
    fn what_a_store_says_of_itself_does_not_reach_the_terminal_as_it_is() {
        let answer = |body: &str| Answer {
            status: 403,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        let refused = answer("<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
        assert_eq!(refused.to_string(), "the store answers 403 AccessDenied");
        assert!(refused.succeeded().is_err());
        assert_eq!(answer("<Error><Code>\u{1b}[2J</Code></Error>").to_string(), "the store answers 403 ");
        assert_eq!(answer("no XML").to_string(), "the store answers 403 ");
    }

    #[test]
    fn versions_and_markers_are_read_in_any_order() {
        let xml = "<ListVersionsResult><IsTruncated>false</IsTruncated>\
            <Version><Key>a</Key><VersionId>1</VersionId></Version>\
            <DeleteMarker><Key>a</Key><VersionId>2</VersionId></DeleteMarker>\
            <Version><Key>ab</Key><VersionId>3</VersionId></Version></ListVersionsResult>";
        let page: Versions = quick_xml::de::from_reader(xml.as_bytes()).unwrap();
        assert_eq!((page.versions.len(), page.markers.len()), (2, 1));
        assert_eq!(page.versions[1].version_id, "3");
    }
}
