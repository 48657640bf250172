//! Connections that are counted by who has them, and that end by themselves.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::shell::clock;

/// How many each has open.
#[derive(Debug)]
pub(crate) struct Open<K>(Arc<Mutex<BTreeMap<K, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted<K: Ord>(Open<K>, K);

impl<K> Clone for Open<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Open<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Ord> Open<K> {
    /// Counts one more, where it has not `max` already.
    pub(crate) fn one_more(&self, whose: K, max: usize) -> Option<Counted<K>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(whose.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Counted(self.clone(), whose))
    }
}

impl<K: Ord> Drop for Counted<K> {
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

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long it may send nothing. What comes in keeps nothing open: a request that trickles in is one that does not
    /// come.
    pub(crate) patience: Duration,
    /// How long it lasts, whatever it sends.
    pub(crate) lifetime: Duration,
    /// How much it may read.
    pub(crate) read_max: usize,
}

/// A connection within its bounds; what it holds is let go of with it.
pub(crate) struct Bounded<S, H> {
    stream: S,
    bounds: Bounds,
    until: Pin<Box<Sleep>>,
    ends: Instant,
    unread: usize,
    _held: H,
}

impl<S, H> Bounded<S, H> {
    /// Begins now.
    pub(crate) fn new(stream: S, bounds: Bounds, held: H) -> Self {
        let until = Box::pin(tokio::time::sleep(bounds.patience.min(bounds.lifetime)));
        let (ends, unread) = (clock::monotonic() + bounds.lifetime, bounds.read_max);
        Self { stream, bounds, until, ends, unread, _held: held }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.until.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin, H: Unpin> AsyncRead for Bounded<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        if self.unread == 0 {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.unread = self.unread.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin, H: Unpin> AsyncWrite for Bounded<S, H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(1..))) {
            let until = self.ends.min(clock::monotonic() + self.bounds.patience);
            self.until.as_mut().reset(until.into());
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn each_has_so_many_and_takes_none_from_another() {
        let open = Open::default();
        let mut all: Vec<_> = (0..3).map(|_| open.one_more("one", 3).unwrap()).collect();
        assert!(open.one_more("one", 3).is_none());
        assert!(open.one_more("other", 3).is_some());
        all.pop();
        assert!(open.one_more("one", 3).is_some());
        drop(all);
        assert!(open.0.lock().unwrap().is_empty());
    }

    fn wait<T>(what: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
    }

    #[test]
    fn it_ends_where_nothing_is_sent_and_where_its_time_is_up() {
        wait(async {
            let bounds = |patience, lifetime| Bounds {
                patience: Duration::from_millis(patience),
                lifetime: Duration::from_millis(lifetime),
                read_max: 4,
            };
            let (mut far, near) = tokio::io::duplex(64);
            let mut quiet = Bounded::new(near, bounds(50, 60_000), ());
            // What comes in keeps it from nothing.
            far.write_all(b"ab").await.unwrap();
            assert_eq!(quiet.read(&mut [0; 2]).await.unwrap(), 2);
            assert_eq!(quiet.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let (mut far, near) = tokio::io::duplex(64);
            let mut busy = Bounded::new(near, bounds(60_000, 50), ());
            busy.write_all(b"x").await.unwrap();
            assert_eq!(busy.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let mut much = Bounded::new(tokio::io::empty(), bounds(60_000, 60_000), ());
            assert_eq!(much.read(&mut [0; 9]).await.unwrap(), 0, "an end is no error");
            let (mut other, near) = tokio::io::duplex(64);
            let mut much = Bounded::new(near, bounds(60_000, 60_000), ());
            other.write_all(b"abcdefgh").await.unwrap();
            assert!(much.read_exact(&mut [0; 4]).await.is_ok());
            assert_eq!(much.read_u8().await.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            far.shutdown().await.unwrap();
        });
    }
}
