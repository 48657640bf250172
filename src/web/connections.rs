//! Connections of browsers and programs: TLS 1.3, so many in all and of one address, and none that takes its time.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::archive::throttle::Network;
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::signals::Stop;
use crate::shell::vault::intake::tls::TlsError;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Connections that have shaken hands.
pub(super) struct Served(mpsc::Receiver<(Connection, Peer)>);

impl Served {
    /// Takes connections from `listener` until it is asked to stop. `config` makes what TLS needs, each day anew and
    /// where `reload` was set; where that fails, what was there before stays.
    pub(super) fn begin(
        listener: TcpListener,
        config: impl Fn(Stamp) -> Result<ServerConfig, TlsError> + Send + 'static,
        stop: Stop,
        reload: Arc<AtomicBool>,
    ) -> Self {
        let (sender, ready) = mpsc::channel(1);
        tokio::spawn(accept(listener, config, stop, reload, sender));
        Self(ready)
    }
}

impl Listener for Served {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        match self.0.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Connected<IncomingStream<'_, Served>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Served>) -> Self {
        *stream.remote_addr()
    }
}

async fn accept(
    listener: TcpListener,
    config: impl Fn(Stamp) -> Result<ServerConfig, TlsError> + Send + 'static,
    stop: Stop,
    reload: Arc<AtomicBool>,
    ready: mpsc::Sender<(Connection, Peer)>,
) {
    let (places, open) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Open::default());
    let mut made: Option<(Instant, TlsAcceptor)> = None;
    while !stop.asked() {
        let Ok(Ok((stream, address))) = timeout(TICK, listener.accept()).await else { continue };
        let now = clock::monotonic();
        let is_old = |(at, _): &(Instant, TlsAcceptor)| now.duration_since(*at) > CERTIFICATE_LASTS;
        if reload.swap(false, Ordering::AcqRel) || made.as_ref().is_none_or(is_old) {
            match config(clock::now()) {
                Ok(config) => made = Some((now, TlsAcceptor::from(Arc::new(config)))),
                Err(error) => {
                    tracing::error!("reading certificate and key again: {error}; those of before stay");
                }
            }
        }
        let Some((_, acceptor)) = &made else { continue };
        // Who finds no place is let go of at once: the others are not to wait for it.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let Some(counted) = open.one_more(address.ip().into()) else { continue };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let connection = Connection::new(stream, place, counted);
                    let _ = ready.send((connection, Peer(address))).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, "handshake: {error}"),
                Err(_) => tracing::debug!(%address, "the handshake was not finished in time"),
            }
        });
    }
}

/// How many connections addresses have open.
#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<BTreeMap<Network, usize>>>);

/// One of them, until it is dropped.
struct Counted(Open, Network);

impl Open {
    fn one_more(&self, from: Network) -> Option<Counted> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(from).or_default();
        if *count >= OF_ONE_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Counted(self.clone(), from))
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

/// A connection that ends where nothing was sent for a while, and some time after it began whatever is sent. What comes
/// in keeps nothing open: a request that trickles in is one that does not come.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    until: Pin<Box<Sleep>>,
    ends: Instant,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>, place: OwnedSemaphorePermit, counted: Counted) -> Self {
        let until = Box::pin(tokio::time::sleep(PATIENCE));
        Self { stream, until, ends: clock::monotonic() + LIFETIME, _place: place, _counted: counted }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.until.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn wrote(&mut self) {
        let until = self.ends.min(clock::monotonic() + PATIENCE);
        self.until.as_mut().reset(until.into());
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.wrote();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

const CONNECTIONS_MAX: usize = 256;
const OF_ONE_ADDRESS_MAX: usize = 64;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing may be sent: a request comes whole and is answered within it, and whoever hears takes some of it.
const PATIENCE: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_secs(2 * 3_600);
const CERTIFICATE_LASTS: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_millis(100);
