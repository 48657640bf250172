//! Connections of browsers and programs: TLS 1.3, so many in all and of one address, and none that takes its time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::archive::throttle::Network;
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::connections::{Bounded, Bounds, Counted, Open};
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
    let (mut acceptor, mut lasts_until): (Option<TlsAcceptor>, _) = (None, clock::monotonic());
    while !stop.asked() {
        let (stream, address) = match timeout(TICK, listener.accept()).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => {
                // As where there are no descriptors left: it would be the same at once.
                tracing::debug!("accepting a connection: {error}");
                tokio::time::sleep(TICK).await;
                continue;
            }
            Err(_) => continue,
        };
        let now = clock::monotonic();
        if reload.swap(false, Ordering::AcqRel) || now >= lasts_until {
            match config(clock::now()) {
                Ok(config) => {
                    acceptor = Some(TlsAcceptor::from(Arc::new(config)));
                    lasts_until = now + CERTIFICATE_LASTS;
                }
                Err(error) => {
                    tracing::error!("reading certificate and key again: {error}; those of before stay");
                    lasts_until = now + READ_AGAIN_AFTER;
                }
            }
        }
        let Some(acceptor) = &acceptor else { continue };
        // Who finds no place is let go of at once: the others are not to wait for it.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let Some(counted) = open.one_more(address.ip().into(), OF_ONE_ADDRESS_MAX) else { continue };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let connection = Bounded::new(stream, BOUNDS, (place, counted));
                    let _ = ready.send((connection, Peer(address))).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, "handshake: {error}"),
                Err(_) => tracing::debug!(%address, "the handshake was not finished in time"),
            }
        });
    }
}

/// One of those in all, and one of its address.
pub(super) type Connection = Bounded<TlsStream<TcpStream>, (OwnedSemaphorePermit, Counted<Network>)>;

const CONNECTIONS_MAX: usize = 256;
const OF_ONE_ADDRESS_MAX: usize = 64;
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// A request comes whole and is answered within the patience, and whoever hears takes some of it.
const BOUNDS: Bounds = Bounds {
    patience: Duration::from_secs(30),
    lifetime: Duration::from_secs(2 * 3_600),
    read_max: usize::MAX,
};
const CERTIFICATE_LASTS: Duration = Duration::from_secs(86_400);
/// Where certificate and key could not be read: not at each connection.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::web::tests::wait;

    #[test]
    fn a_certificate_that_cannot_be_read_is_not_read_at_each_connection() {
        wait(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, reload) = (Stop::default(), Arc::new(AtomicBool::new(false)));
            let read = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&read);
            let config = move |_| {
                count.fetch_add(1, Ordering::AcqRel);
                Err(TlsError::Pem { path: "web.pem".into(), what: "certificate" })
            };
            let _served = Served::begin(listener, config, stop.clone(), Arc::clone(&reload));
            let connect = async || {
                let mut stream = TcpStream::connect(address).await.unwrap();
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "let go of at once");
            };
            for _ in 0..5 {
                connect().await;
            }
            assert_eq!(read.load(Ordering::Acquire), 1);
            // Asked to, it reads them again.
            reload.store(true, Ordering::Release);
            connect().await;
            assert_eq!(read.load(Ordering::Acquire), 2);
            stop.ask();
        });
    }
}
