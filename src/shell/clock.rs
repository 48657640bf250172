//! The only place that reads a clock.
#![expect(clippy::disallowed_methods, reason = "this is the clock")]

use std::time::{Duration, Instant, SystemTime};

use crate::base::time::Stamp;

/// Returns the wall clock: for a recorder's key, never for a recording's timeline.
pub fn now() -> Stamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Stamp::from_unix_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns the time since the machine started, sleep included, and which start that was: what a wall clock that is
/// not believed is held against.
pub fn since_boot() -> std::io::Result<(Duration, String)> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok((Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)), boot.trim().to_owned()))
}

/// Returns a clock that only goes forward: for progress and for how long to gather a batch.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Returns microseconds of `CLOCK_MONOTONIC`: what a service manager compares with its own.
pub fn monotonic_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000).saturating_add(nanos.unwrap_or(0) / 1_000)
}
