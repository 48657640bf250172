//! Connections of recorders: so many of each one, and none whose other end is gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::seal::note::VerifyKey;
use crate::shell::connections::{Counted, Open};

/// A connection that is counted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TlsStream<TcpStream>,
    #[expect(dead_code, reason = "held, not used")]
    pub(super) counted: Counted<String>,
}

/// Counts one more of a recorder, where it has not too many.
pub(super) fn one_more(open: &Open<String>, recorder: &VerifyKey) -> Result<Counted<String>, String> {
    let name = recorder.to_string();
    let counted = open.one_more(name.clone(), CONNECTIONS_MAX);
    counted.ok_or_else(|| format!("recorder {name} has {CONNECTIONS_MAX} connections open already"))
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
