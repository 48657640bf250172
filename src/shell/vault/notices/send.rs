//! One message on one way: mail over SMTP with TLS, or JSON over HTTPS.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use ring::hmac;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::archive::notice::{Batch, body, json_body, subject};
use crate::archive::report::Language;
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::vault::notices::config::{MailTls, NotifyConfig, NotifyKind};

/// What a file of credentials has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MailCredentials {
    user: String,
    password: String,
}

/// Sends a message. Whoever does not answer in time has not got it, as far as we know.
pub(super) async fn send(
    config: &NotifyConfig,
    home: &Path,
    vault: &str,
    batch: &Batch,
) -> Result<(), String> {
    let sent = async {
        match &config.kind {
            NotifyKind::Email { .. } => mail(config, home, vault, batch).await,
            NotifyKind::Webhook { .. } => webhook(config, home, vault, batch).await,
        }
    };
    match timeout(DEADLINE, sent).await {
        Ok(sent) => sent,
        Err(_) => Err(format!("it did not answer within {} s", DEADLINE.as_secs())),
    }
}

async fn mail(config: &NotifyConfig, home: &Path, vault: &str, batch: &Batch) -> Result<(), String> {
    let NotifyKind::Email { server, port, tls, from, to, credentials, authority } = &config.kind else {
        return Err("it is no mail".into());
    };
    let message = message(vault, batch, from, to, config.language)?;
    let mut trusted = TlsParameters::builder(server.clone());
    if let Some(path) = authority {
        let path = home.join(path);
        let pem = read(&path)?;
        let certificate =
            Certificate::from_pem(pem.as_bytes()).map_err(fault("reading the authority", &path))?;
        // Alone: who controls one of the system's authorities is not to be in between.
        trusted = trusted.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    let trusted = trusted.build_rustls().map_err(|error| format!("setting up TLS: {}", chain(&error)))?;
    let said = |error: &dyn std::error::Error| format!("sending mail by `{server}`: {}", chain(error));
    let mut connection = connect(server, *port, *tls, trusted).await?;
    if let Some(path) = credentials {
        let path = home.join(path);
        let text = read(&path)?;
        // What the parser says would quote the line, which may hold the secret.
        let read: MailCredentials = toml::from_str(&text)
            .map_err(|_| format!("`{}` is to have `user = \"…\"` and `password = \"…\"`", path.display()))?;
        let credentials = Credentials::new(read.user, read.password);
        connection
            .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
            .await
            .map_err(|error| said(&error))?;
    }
    let sent = connection.send(message.envelope(), &message.formatted()).await;
    sent.map_err(|error| said(&error))?;
    // It has it, whatever it says to that.
    let _ = connection.quit().await;
    Ok(())
}

/// Under TLS when this returns; not at all where there is none to be had.
async fn connect(
    server: &str,
    port: Option<u16>,
    tls: MailTls,
    trusted: TlsParameters,
) -> Result<AsyncSmtpConnection, String> {
    let said = |error: &dyn std::error::Error| format!("connecting to `{server}`: {}", chain(error));
    let hello = ClientId::default();
    let connection = match tls {
        MailTls::Implicit => {
            let address = (server, port.unwrap_or(465));
            let made =
                AsyncSmtpConnection::connect_tokio1(address, Some(PATIENCE), &hello, Some(trusted), None)
                    .await;
            made.map_err(|error| said(&error))?
        }
        MailTls::Starttls => {
            let stream =
                TcpStream::connect((server, port.unwrap_or(587))).await.map_err(|error| said(&error))?;
            let stream = Box::new(Bounded { stream, left: ANSWER_BYTES_MAX, is_tls: false });
            let made = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
            let mut connection = made.map_err(|error| said(&error))?;
            if !connection.can_starttls() {
                return Err(format!("`{server}` has no STARTTLS, and nothing is sent in the open"));
            }
            connection.starttls(trusted, &hello).await.map_err(|error| said(&error))?;
            connection
        }
    };
    let is_encrypted = connection.is_encrypted();
    is_encrypted.then_some(connection).ok_or_else(|| format!("`{server}` took no TLS"))
}

/// What a server says before it has proved who it is comes to an end, whoever it is: all of it is looked through again
/// with each line. And before TLS it is read byte by byte: what was read ahead would count as said within it.
#[derive(Debug)]
struct Bounded {
    stream: TcpStream,
    left: usize,
    /// We have begun a handshake.
    is_tls: bool,
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "it says too much")));
        }
        if !self.is_tls && buffer.remaining() > 0 {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut one);
            buffer.put_slice(one.filled());
            self.left -= one.filled().len();
            return read;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_tls |= bytes.first() == Some(&TLS_HANDSHAKE);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn message(
    vault: &str,
    batch: &Batch,
    from: &str,
    to: &[String],
    language: Language,
) -> Result<Message, String> {
    let address = |text: &str| text.parse::<Mailbox>().map_err(|error| format!("`{text}`: {error}"));
    let from = address(from)?;
    let domain = from.email.domain().to_owned();
    let mut message = Message::builder()
        .from(from)
        .subject(subject(vault, batch, language))
        .message_id(Some(format!("<{}.{}@{domain}>", batch.id, "sejf")))
        .header(ContentType::TEXT_PLAIN);
    for one in to {
        message = message.to(address(one)?);
    }
    message.body(body(vault, batch, language)).map_err(|error| format!("making the mail: {error}"))
}

async fn webhook(config: &NotifyConfig, home: &Path, vault: &str, batch: &Batch) -> Result<(), String> {
    let NotifyKind::Webhook { url, secret, authority } = &config.kind else {
        return Err("it is no webhook".into());
    };
    // Fails where there is one already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let path = home.join(secret);
    let secret = read(&path)?;
    let secret = secret.trim().as_bytes();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("`{}` is to have {SECRET_BYTES_MIN} bytes at least", path.display()));
    }
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("sejf/", env!("CARGO_PKG_VERSION")))
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .http1_only()
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE);
    if let Some(path) = authority {
        let path = home.join(path);
        let trusted = reqwest::Certificate::from_pem_bundle(read(&path)?.as_bytes())
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| format!("authority `{}` holds no PEM certificate", path.display()))?;
        client = client.tls_certs_only(trusted);
    }
    let client = client.build().map_err(|error| format!("setting up HTTPS: {}", chain(&error)))?;
    let text = json_body(vault, batch).to_string();
    let time = seconds(clock::now());
    let request = client
        .post(url)
        .header("Content-Type", "application/json")
        .header("Sejf-Id", &batch.id)
        .header("Sejf-Time", time.to_string())
        .header("Sejf-Signature", signature(secret, time, &text))
        .body(text);
    // Of what it answers only the status counts; the rest is not read.
    let answer =
        request.send().await.map_err(|error| format!("sending to the webhook: {}", chain(&error)))?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(format!("the webhook answered {}", answer.status()))
    }
}

/// By which a receiver knows that it is from here, and of when: HMAC-SHA256 over `TIME.BODY`.
pub fn signature(secret: &[u8], time: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn seconds(at: Stamp) -> u64 {
    at.as_unix_nanos() / 1_000_000_000
}

fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(fault("reading", path))
}

fn fault<E: Display>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> String {
    let path = path.display().to_string();
    move |error| format!("{doing} `{path}`: {error}")
}

/// The error and its causes, in one line: a server may have said some of it.
fn chain(error: &dyn std::error::Error) -> String {
    let (mut said, mut cause) = (error.to_string(), error.source());
    while let Some(next) = cause {
        let words = next.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        cause = next.source();
    }
    said.replace(|letter: char| letter.is_control(), " ").chars().take(FAULT_CHARS_MAX).collect()
}

/// Nothing of one message takes longer.
const DEADLINE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(15);
/// Of a mail server, with its certificates.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How a record of it begins; no command does.
const TLS_HANDSHAKE: u8 = 0x16;
const SECRET_BYTES_MIN: usize = 32;
const FAULT_CHARS_MAX: usize = 400;
