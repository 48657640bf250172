//! Connections of recorders: so many of each one, and none whose other end is gone.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::seal::note::VerifyKey;

/// How many connections recorders have open.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(Arc<Mutex<BTreeMap<String, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Open, String);

/// A connection that is counted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TlsStream<TcpStream>,
    #[expect(dead_code, reason = "held, not used")]
    pub(super) counted: Counted,
}

impl Open {
    /// Counts one more, where its recorder has not too many.
    pub(super) fn one_more(&self, recorder: &VerifyKey) -> Result<Counted, String> {
        let name = recorder.to_string();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(name.clone()).or_default();
        if *count >= CONNECTIONS_MAX {
            return Err(format!("recorder {name} has {CONNECTIONS_MAX} connections open already"));
        }
        *count += 1;
        Ok(Counted(self.clone(), name))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
    }
}

/// Has the operating system end a connection whose other end says nothing for two minutes, not even that it is there.
pub(super) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, ASKED_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, ASKED_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ASKED_MAX)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connections of one recorder: it uses two, and some may be left by a network that failed.
pub(super) const CONNECTIONS_MAX: usize = 32;
const ASKED_AFTER: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_secs(15);
const ASKED_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::note::Signer;

    #[test]
    fn a_recorder_has_so_many_connections_and_takes_none_from_another() {
        let key = |name: &str| Signer::from_seed(name, &[3; 32]).unwrap().verify_key().clone();
        let open = Open::default();
        let mut all: Vec<_> = (0..CONNECTIONS_MAX).map(|_| open.one_more(&key("one")).unwrap()).collect();
        assert!(open.one_more(&key("one")).is_err());
        assert!(open.one_more(&key("other")).is_ok());
        all.pop();
        assert!(open.one_more(&key("one")).is_ok());
        drop(all);
        assert!(open.0.lock().unwrap().is_empty());
    }
}
