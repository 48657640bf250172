//! How often somebody may ask: a bucket of tokens that fills steadily.

use std::collections::BTreeMap;

use crate::base::time::Stamp;

/// Buckets, one a key. So many at most: where there are more, those that are full go.
#[derive(Debug)]
pub struct Rate<K> {
    room: u32,
    /// Nanoseconds in which one token comes.
    every_ns: u64,
    /// By key, the time at which its bucket will be full.
    full_at: BTreeMap<K, u64>,
}

impl<K: Clone + Ord> Rate<K> {
    /// `room` at once, and `room` more in `seconds`.
    pub fn new(room: u32, seconds: u32) -> Self {
        let every_ns = u64::from(seconds) * 1_000_000_000 / u64::from(room.max(1));
        Self { room, every_ns, full_at: BTreeMap::new() }
    }

    /// Takes a token. Where there is none, says in how many seconds there will be one.
    pub fn take(&mut self, key: &K, now: Stamp) -> Result<(), u64> {
        let now = now.as_unix_nanos();
        if self.full_at.len() >= KEYS_MAX && !self.full_at.contains_key(key) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= KEYS_MAX {
                self.full_at.pop_first();
            }
        }
        let most = self.every_ns * u64::from(self.room);
        let full_at = self.full_at.entry(key.clone()).or_insert(now);
        // Of a clock that went back, no more than the bucket has.
        let until_full = (*full_at).max(now).min(now + most) - now;
        if until_full + self.every_ns > most {
            *full_at = now + until_full;
            return Err((until_full + self.every_ns - most).div_ceil(1_000_000_000));
        }
        *full_at = now + until_full + self.every_ns;
        Ok(())
    }
}

/// Keys that are kept.
const KEYS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn so_many_at_once_and_as_many_again_in_time() {
        let (mut rate, begin) = (Rate::new(10, 5), Stamp::from_unix_nanos(1_800_000_000_000_000_000));
        let mut taken = |key: u8, after_ms: u64| {
            let now = begin.after(Duration::from_millis(after_ms));
            (0..100).take_while(|_| rate.take(&key, now).is_ok()).count()
        };
        assert_eq!((taken(1, 0), taken(1, 0), taken(2, 0)), (10, 0, 10));
        assert_eq!((taken(1, 499), taken(1, 500), taken(1, 1_500)), (0, 1, 2));
        assert_eq!(taken(1, 60_000), 10);
        // A clock that goes back gives nothing, and takes no more than a bucket.
        assert_eq!((taken(1, 0), taken(1, 5_000)), (0, 10));
        assert_eq!(rate.take(&2, begin), Err(1));
    }

    #[test]
    fn memory_has_a_ceiling() {
        let (mut rate, now) = (Rate::new(1, 60), Stamp::from_unix_nanos(1_800_000_000_000_000_000));
        for key in 0..KEYS_MAX + 500 {
            assert_eq!(rate.take(&key, now), Ok(()));
        }
        assert!(rate.full_at.len() <= KEYS_MAX);
    }
}
