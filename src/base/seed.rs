//! Hash tables whose collisions nobody outside can choose.

use std::collections::HashMap;
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

/// A table whose keys come from packets. Never iterated over: its order depends on the seed.
pub type SeededMap<K, V> = HashMap<K, V, SeedableRandomState>;

/// What the hashes of a run depend on: random where packets come from a wire, fixed for a replay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HashSeed(pub u64);

impl HashSeed {
    /// Makes an empty table.
    pub fn table<K, V>(self) -> SeededMap<K, V> {
        // The part that long keys are hashed with is as good as the first seed of the process.
        let shared = SHARED.get_or_init(|| SharedSeed::from_u64(self.0));
        HashMap::with_hasher(SeedableRandomState::with_seed(self.0, shared))
    }
}

static SHARED: OnceLock<SharedSeed> = OnceLock::new();

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn hashes_depend_on_the_seed() {
        let hash = |seed: u64| HashSeed(seed).table::<u64, ()>().hasher().hash_one(5_u64);
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }
}
