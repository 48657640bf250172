//! What the operator asks by signal: SIGTERM and SIGINT stop, SIGHUP reads the configuration again,
//! SIGUSR1 tells how things are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::shell::threads::{ThreadFailed, start};

/// Whether to stop. All copies are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Why signals are not seen.
#[derive(Debug, thiserror::Error)]
#[error("listening for {signal}: {source}")]
pub struct SignalError {
    /// Its name.
    pub signal: &'static str,
    /// Why.
    pub source: std::io::Error,
}

impl Stop {
    /// Makes one that SIGTERM and SIGINT ask. The second of them ends the process at once, with exit code
    /// 130: whoever asks twice does not want to wait. What is on the disk then is what a crash leaves.
    pub fn on_signals() -> Result<Self, SignalError> {
        let stop = Self::default();
        for (name, signal) in [("SIGTERM", SIGTERM), ("SIGINT", SIGINT)] {
            let failed = |source| SignalError { signal: name, source };
            // Before the flag is set by this very signal, so it sees only an earlier one.
            flag::register_conditional_shutdown(signal, EXIT_IMPATIENT, stop.0.clone()).map_err(failed)?;
            flag::register(signal, stop.0.clone()).map_err(failed)?;
        }
        Ok(stop)
    }

    /// Makes one that SIGTERM, SIGINT and SIGHUP ask, for what must come to its end: asking again changes nothing. See
    /// [`LastResort`] for an end that does not come.
    pub fn on_signals_to_the_end() -> Result<Self, SignalError> {
        let stop = Self::default();
        for (name, signal) in [("SIGTERM", SIGTERM), ("SIGINT", SIGINT), ("SIGHUP", SIGHUP)] {
            let failed = |source| SignalError { signal: name, source };
            flag::register(signal, stop.0.clone()).map_err(failed)?;
        }
        Ok(stop)
    }

    /// Asks to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether somebody has asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What SIGHUP sets, where nothing else listens for it: read again what can be.
pub fn on_hang_up() -> Result<Arc<AtomicBool>, SignalError> {
    let asked = Arc::new(AtomicBool::new(false));
    let failed = |source| SignalError { signal: "SIGHUP", source };
    flag::register(SIGHUP, asked.clone()).map_err(failed)?;
    Ok(asked)
}

/// Ends the process where stopping does not come to an end, because a system call of the disk does not
/// return: nothing else in the process can help that. Dropped when the end has come.
#[derive(Debug)]
pub struct LastResort {
    _over: Sender<()>,
}

impl LastResort {
    /// From when `stop` is asked it waits for so long, has `remains` say what is left undone, and ends the process
    /// with exit code [`EXIT_HUNG`].
    pub fn arm(
        stop: Stop,
        patience: Duration,
        remains: impl Fn() -> String + Send + 'static,
    ) -> Result<Self, ThreadFailed> {
        // Not `std::process::exit`: what it would run at the end may wait for the very thread that hangs.
        Self::arm_with(stop, patience, remains, || signal_hook::low_level::exit(EXIT_HUNG))
    }

    fn arm_with(
        stop: Stop,
        patience: Duration,
        remains: impl Fn() -> String + Send + 'static,
        exit: impl FnOnce() + Send + 'static,
    ) -> Result<Self, ThreadFailed> {
        let (sender, over) = bounded::<()>(0);
        let wait = move || {
            let timeout = Err(RecvTimeoutError::Timeout);
            while !stop.asked() {
                if over.recv_timeout(ASKED_EVERY) != timeout {
                    return;
                }
            }
            if over.recv_timeout(patience) == timeout {
                tracing::error!(
                    "stopping took longer than {} s and is cut off: {}",
                    patience.as_secs(),
                    remains()
                );
                exit();
            }
        };
        start("last-resort", wait)?;
        Ok(Self { _over: sender })
    }
}

/// What else is asked. Asking again before it was heard is one asking.
#[derive(Debug)]
pub struct Requests {
    /// SIGHUP: read the configuration again.
    pub reload: Receiver<()>,
    /// SIGUSR1: tell the log how things are.
    pub status: Receiver<()>,
}

impl Requests {
    /// Listens, in a thread of its own: after [`crate::shell::sandbox::Plan::apply`]. Until then SIGHUP and
    /// SIGUSR1 end the process, as they do by default.
    pub fn listen() -> Result<Self, SignalError> {
        let failed = |source| SignalError { signal: "SIGHUP and SIGUSR1", source };
        let mut signals = Signals::new([SIGHUP, SIGUSR1]).map_err(failed)?;
        let (reload_sender, reload) = bounded(1);
        let (status_sender, status) = bounded(1);
        let listen = move || {
            for signal in signals.forever() {
                let sender = if signal == SIGHUP { &reload_sender } else { &status_sender };
                // Full: it is asked for already.
                let _ = sender.try_send(());
            }
        };
        thread::Builder::new().name("signals".into()).spawn(listen).map_err(failed)?;
        Ok(Self { reload, status })
    }
}

/// How long stopping may take: less than `TimeoutStopSec` of the unit, which would kill without a word.
pub const STOP_PATIENCE: Duration = Duration::from_secs(75);
/// Exit code of [`LastResort`]: stopped, and not in order.
pub const EXIT_HUNG: i32 = 3;
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// 128 + SIGINT, as shells count.
const EXIT_IMPATIENT: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_does_not_come_is_cut_off() {
        let armed = |patience| {
            let ((cut_sender, cut), stop) = (bounded(1), Stop::default());
            let exit = move || cut_sender.send(()).unwrap();
            let last = LastResort::arm_with(stop.clone(), patience, || "a test".into(), exit).unwrap();
            (last, stop, cut)
        };
        let (hung, stop, cut) = armed(Duration::ZERO);
        stop.ask();
        cut.recv().unwrap();
        drop(hung);
        let (never_asked, _, not_cut) = armed(Duration::ZERO);
        drop(never_asked);
        assert!(not_cut.recv().is_err());
        let (in_time, stop, not_cut) = armed(Duration::MAX);
        stop.ask();
        drop(in_time);
        assert!(not_cut.recv().is_err());
    }

    #[test]
    fn copies_are_one() {
        let stop = Stop::default();
        let copy = stop.clone();
        assert!(!copy.asked());
        stop.ask();
        assert!(copy.asked());
        assert!(!Stop::default().asked());
    }
}
