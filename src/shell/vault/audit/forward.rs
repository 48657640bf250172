//! Each entry of the log to a receiver, in order, at least once.
//!
//! What was sent counts as taken once the receiver says so: HTTPS by its status, a file by what is on the disk. Syslog has no
//! word for it, so each lot is a connection of its own, and counts once the receiver has read to its end and closed, within
//! TLS: whoever is in between can close for it, and cannot say that.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::archive::entry::Entry;
use crate::archive::log_query::{Format, leaf};
use crate::archive::syslog;
use crate::shell::clock;
use crate::shell::vault::audit::settings::{ForwardConfig, Receiver};
use crate::shell::vault::audit::{Fault, Job, Reached};
use crate::shell::vault::home::Vault;
use crate::shell::vault::intake::tls::{Oldest, client_config_of};

/// One receiver.
pub(super) struct Forward {
    vault: Arc<Vault>,
    config: ForwardConfig,
    host: String,
}

/// Entries that are sent together.
struct Lot {
    first: u64,
    entries: Vec<Vec<u8>>,
    /// There are more than go together.
    is_full: bool,
}

impl Forward {
    pub(super) fn new(vault: Arc<Vault>, config: ForwardConfig) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { vault, config, host: host.trim().to_owned() }
    }

    /// The next entries; none where it has all. That the last one it has taken is still the one that the log has is seen
    /// each time.
    async fn next(&self, reached: &Reached) -> Result<Option<Lot>, Fault> {
        let (vault, from, taken) = (Arc::clone(&self.vault), reached.size, reached.leaf.clone());
        let read = tokio::task::spawn_blocking(move || {
            let before = u64::from(from > 0);
            vault.log.read_from(from - before, LOT_MAX + before).map(|read| (read, before))
        });
        let read = read.await.map_err(|fault| Fault::Later(format!("reading the log: {fault}")))?;
        let ((mut entries, size), before) =
            read.map_err(|fault| Fault::Later(format!("reading the log: {fault}")))?;
        if from > size {
            let words =
                format!("it has taken {from} entries, and the log has {size}: the log was cut or put back");
            return Err(Fault::Alarm { alarm: "log-rolled-back", words });
        }
        if before == 1 {
            let last = entries.remove(0);
            if taken.is_some_and(|taken| taken != leaf(&last)) {
                let words = format!("entry {} is not the one it has taken: the log was forked", from - 1);
                return Err(Fault::Alarm { alarm: "log-forked", words });
            }
        }
        let mut bytes = 0;
        let fits = entries.iter().take_while(|entry| {
            bytes += entry.len();
            bytes <= LOT_BYTES_MAX
        });
        let count = fits.count().max(1).min(entries.len());
        entries.truncate(count);
        let is_full = from + (entries.len() as u64) < size;
        Ok((!entries.is_empty()).then_some(Lot { first: from, entries, is_full }))
    }

    async fn send(&self, lot: &Lot) -> Result<(), Fault> {
        let home = &self.vault.home;
        let own = |certificate: &Option<PathBuf>, key: &Option<PathBuf>| {
            certificate.as_ref().zip(key.as_ref()).map(|(one, other)| (home.join(one), home.join(other)))
        };
        match &self.config.to {
            Receiver::Syslog { address, tls_name, authority, certificate, key, close_notify } => {
                let name = tls_name.as_deref().unwrap_or_else(|| host_of(address));
                let tls = config(&home.join(authority), own(certificate, key).as_ref())?;
                let sent = timeout(PATIENCE, self.syslog(address, (name, *close_notify), tls, lot)).await;
                sent.unwrap_or_else(|_| Err(Fault::Later(format!("`{address}` does not take it in time"))))
            }
            Receiver::Https { url, authority, token, certificate, key } => {
                let tls = config(&home.join(authority), own(certificate, key).as_ref())?;
                let token = token.as_ref().map(|path| read_token(&home.join(path))).transpose()?;
                https(url, tls, token.as_ref(), lot).await
            }
            Receiver::File { folder } => {
                let (folder, name) = (home.join(folder), self.config.name.clone());
                let lines = lot.lines_by_day();
                let written = tokio::task::spawn_blocking(move || write_files(&folder, &name, &lines)).await;
                written.map_err(|fault| Fault::Later(fault.to_string()))?
            }
        }
    }

    async fn syslog(
        &self,
        address: &str,
        (name, has_word): (&str, bool),
        tls: rustls::ClientConfig,
        lot: &Lot,
    ) -> Result<(), Fault> {
        let later = |doing: &str| {
            let said = format!("{doing} `{address}`");
            move |fault: io::Error| Fault::Later(format!("{said}: {fault}"))
        };
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Fault::Later(format!("`{name}` can be the name of no certificate")))?;
        let stream = TcpStream::connect(address).await.map_err(later("reaching"))?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(server, stream).await;
        let mut stream = stream.map_err(later("TLS with"))?;
        let (log, now) = (self.vault.key.name(), clock::now());
        for (index, entry) in (lot.first..).zip(&lot.entries) {
            let message = syslog::framed(&syslog::message(log, &self.host, index, entry, now));
            stream.write_all(&message).await.map_err(later("sending to"))?;
        }
        stream.shutdown().await.map_err(later("sending to"))?;
        let mut rest = [0; 512];
        loop {
            match stream.read(&mut rest).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Closed without TLS's word for it. Where it has none that is all there is.
                Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof && !has_word => return Ok(()),
                Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Fault::Later(format!(
                        "`{address}` closes without TLS's close_notify, so nobody knows whether it has taken what was \
                         sent: `close_notify = false` where it never sends one"
                    )));
                }
                Err(fault) => return Err(later("waiting for the end of")(fault)),
            }
        }
    }
}

impl Job for Forward {
    const EVERY: Duration = Duration::from_secs(1);

    async fn step(&self, reached: &Reached) -> Result<(Reached, bool), Fault> {
        let Some(lot) = self.next(reached).await? else { return Ok((reached.clone(), false)) };
        self.send(&lot).await?;
        let reached = Reached {
            size: lot.first + lot.entries.len() as u64,
            leaf: lot.entries.last().map(|entry| leaf(entry)),
            at: Some(clock::now()),
            fault: None,
        };
        Ok((reached, lot.is_full))
    }
}

impl Lot {
    fn lines(&self) -> impl Iterator<Item = String> {
        (self.first..).zip(&self.entries).map(|(index, entry)| Format::Jsonl.line(index, entry))
    }

    /// By the day of each entry; one that cannot be read goes with the one before.
    fn lines_by_day(&self) -> Vec<(String, String)> {
        let mut days: Vec<(String, String)> = Vec::new();
        for (line, entry) in self.lines().zip(&self.entries) {
            let at = Entry::from_bytes(entry).ok().map(|entry| entry.at);
            let day = at.and_then(|at| at.to_string().get(..10).map(str::to_owned));
            match (days.last_mut(), day) {
                (Some((last, lines)), day) if day.as_ref().is_none_or(|day| day == last) => {
                    lines.push_str(&line);
                }
                (_, day) => days.push((day.unwrap_or_else(|| "unreadable".into()), line)),
            }
        }
        days
    }
}

fn config(authority: &Path, own: Option<&(PathBuf, PathBuf)>) -> Result<rustls::ClientConfig, Fault> {
    let own = own.map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    client_config_of(authority, own, Oldest::Tls12).map_err(|fault| Fault::Later(fault.to_string()))
}

fn read_token(path: &Path) -> Result<Zeroizing<String>, Fault> {
    let read = std::fs::read_to_string(path).map(Zeroizing::new);
    let read = read.map_err(|fault| Fault::Later(format!("reading `{}`: {fault}", path.display())))?;
    Ok(Zeroizing::new(read.trim().to_owned()))
}

/// A client that reaches what it is told, and nothing on the way.
pub(super) fn client(tls: rustls::ClientConfig) -> Result<Client, Fault> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_PATIENCE)
        .timeout(PATIENCE)
        .build()
        .map_err(|fault| Fault::Later(fault.to_string()))
}

async fn https(
    url: &str,
    tls: rustls::ClientConfig,
    token: Option<&Zeroizing<String>>,
    lot: &Lot,
) -> Result<(), Fault> {
    let mut request = client(tls)?.post(url).header("content-type", "application/x-ndjson");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.as_str()));
    }
    let sent = request.body(lot.lines().collect::<String>()).send().await;
    let answer = sent.map_err(|fault| Fault::Later(format!("sending to `{url}`: {}", causes(&fault))))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(Fault::Later(format!("`{url}` does not take it: {status}"))),
    }
}

/// The error and its causes: what reqwest says by itself is not why.
pub(super) fn causes(fault: &dyn std::error::Error) -> String {
    let (mut said, mut cause) = (fault.to_string(), fault.source());
    while let Some(next) = cause {
        said.push_str(&format!(": {next}"));
        cause = next.source();
    }
    said
}

/// On the disk when this returns. What a power cut has left of a line is ended first.
fn write_files(folder: &Path, name: &str, days: &[(String, String)]) -> Result<(), Fault> {
    for (day, lines) in days {
        let path = folder.join(format!("{name}-{day}.jsonl"));
        let write = || {
            let mut file = std::fs::OpenOptions::new().create(true).read(true).append(true).open(&path)?;
            let mut last = [b'\n'];
            if file.metadata()?.len() > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            if last != [b'\n'] {
                file.write_all(b"\n")?;
            }
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            std::fs::File::open(folder)?.sync_all()
        };
        write().map_err(|fault| Fault::Later(format!("writing `{}`: {fault}", path.display())))?;
    }
    Ok(())
}

fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Entries that go together: of the longest ones, as many as fit.
const LOT_MAX: u64 = 1_000;
const LOT_BYTES_MAX: usize = 4 << 20;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
