//! Looks for very many byte strings at once, in a few plain disguises: for what must not be on a disk.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What was found: a name, and the disguise.
pub(crate) type Found = BTreeSet<(&'static str, Disguise)>;

/// How a needle may be written.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Disguise {
    Plain,
    Base64,
    Hex,
}

/// What is looked for. All needles have [`BEGIN`] bytes or more.
pub(crate) struct Needles {
    /// By how they begin, whole.
    known: HashMap<[u8; BEGIN], Vec<Needle>>,
    /// Which first three bytes any of them has: most places need no more.
    begins: Vec<bool>,
    longest: usize,
    count: usize,
}

struct Needle {
    bytes: Box<[u8]>,
    name: &'static str,
    disguise: Disguise,
}

impl Needles {
    pub(crate) fn new() -> Self {
        Self { known: HashMap::new(), begins: vec![false; 1 << 24], longest: 0, count: 0 }
    }

    /// How many there are, disguises included.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Words of a text, as they are.
    pub(crate) fn word(&mut self, name: &'static str, word: &str) {
        assert!(word.len() >= WORD_MIN, "{word} may be anywhere by chance");
        self.add_disguised(name, word.as_bytes());
    }

    /// Pieces of `bytes`, one every `step`: who writes more than that writes one of them. Not those in which little
    /// happens: silence is everywhere and says nothing.
    pub(crate) fn pieces(&mut self, name: &'static str, bytes: &[u8], step: usize) {
        let changes = |piece: &[u8]| piece.windows(2).filter(|two| two[0] != two[1]).count() > PIECE / 2;
        let pieces = bytes.chunks(step).filter_map(|part| part.get(..PIECE)).filter(|piece| changes(piece));
        for (number, piece) in pieces.enumerate() {
            // In disguise some are enough, and there are five disguises of each.
            if number % 8 == 0 {
                self.add_disguised(name, piece);
            } else {
                self.add(name, Disguise::Plain, piece);
            }
        }
    }

    fn add_disguised(&mut self, name: &'static str, bytes: &[u8]) {
        self.add(name, Disguise::Plain, bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(name, Disguise::Hex, hex.as_bytes());
        self.add(name, Disguise::Hex, hex.to_uppercase().as_bytes());
        // Of what comes before and after, nothing is known: whole groups of three bytes only.
        for before in 0..3 {
            let whole = &bytes[before..];
            let text = STANDARD_NO_PAD.encode(&whole[..whole.len() / 3 * 3]);
            if text.len() >= BEGIN {
                self.add(name, Disguise::Base64, text.as_bytes());
            }
        }
    }

    fn add(&mut self, name: &'static str, disguise: Disguise, bytes: &[u8]) {
        assert!(bytes.len() < BLOCK_BYTES, "a needle of {} bytes", bytes.len());
        let begin = bytes.first_chunk().expect("longer than how it begins");
        self.begins[key(begin)] = true;
        let alike = self.known.entry(*begin).or_default();
        if !alike.iter().any(|known| *known.bytes == *bytes) {
            alike.push(Needle { bytes: bytes.into(), name, disguise });
            self.longest = self.longest.max(bytes.len());
            self.count += 1;
        }
    }

    /// What of them is in a file, a disk or a disk's image, read from its first to its last byte.
    pub(crate) fn found_in(&self, path: &Path) -> Found {
        let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut found, mut bytes, mut kept) = (Found::new(), vec![0; READ_BYTES], 0);
        loop {
            let more = file.read(&mut bytes[kept..]).expect("bytes");
            self.look(&bytes[..kept + more], &mut found);
            if more == 0 {
                return found;
            }
            // What may be the beginning of one.
            let keep = (kept + more).min(self.longest);
            bytes.copy_within(kept + more - keep..kept + more, 0);
            kept = keep;
        }
    }

    fn look(&self, bytes: &[u8], found: &mut Found) {
        for start in (0..bytes.len()).step_by(BLOCK_BYTES) {
            let whole = &bytes[start..bytes.len().min(start + BLOCK_BYTES + self.longest)];
            // Most of an image is empty.
            if whole == &EMPTY[..whole.len()] {
                continue;
            }
            let mut last = 0;
            for (at, byte) in whole.iter().take(BLOCK_BYTES + 2).enumerate() {
                last = (last << 8 | usize::from(*byte)) & 0xff_ffff;
                if at >= 2 && self.begins[last] {
                    self.compare(&bytes[start + at - 2..], found);
                }
            }
        }
    }

    fn compare(&self, bytes: &[u8], found: &mut Found) {
        let alike = bytes.first_chunk().and_then(|begin| self.known.get(begin));
        for Needle { bytes: needle, name, disguise } in alike.into_iter().flatten() {
            if bytes.starts_with(needle) {
                found.insert((name, *disguise));
            }
        }
    }
}

fn key(begin: &[u8; BEGIN]) -> usize {
    usize::from(begin[0]) << 16 | usize::from(begin[1]) << 8 | usize::from(begin[2])
}

const BEGIN: usize = 8;
/// Of words in disguise, eight bytes are left.
const WORD_MIN: usize = 8;
/// Bytes in a row that are no chance: 3 ms of µ-law.
const PIECE: usize = 24;
const BLOCK_BYTES: usize = 4_096;
/// Also the longest needle after it.
const EMPTY: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];
const READ_BYTES: usize = 8 << 20;

#[test]
fn needles_are_found_wherever_they_lie_and_nothing_else_is() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("image");
    let secret: Vec<u8> = (0..160_u16).map(|number| (number * 77 % 251) as u8).collect();
    let mut needles = Needles::new();
    needles.pieces("voice", &secret, 160);
    needles.word("number", "493012345678");
    needles.pieces("silence", &[0xff; 160], 32);
    assert_eq!(needles.count(), 6 + 5, "silence is none, and digits have one hexadecimal form");
    let found = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        needles.found_in(&path)
    };
    let mut image = vec![0; READ_BYTES + 3 * BLOCK_BYTES];
    assert_eq!(found(&image), Found::new());
    let (text, hex) = (b"<sip:+493012345678@", "3439333031323334353637380a");
    // Across what is read at once, across blocks, and at the very end.
    let end = image.len();
    for (secret, at, wanted) in [
        (&secret[..], READ_BYTES - 11, ("voice", Disguise::Plain)),
        (&secret[..], BLOCK_BYTES - 1, ("voice", Disguise::Plain)),
        (&text[..], BLOCK_BYTES - 7, ("number", Disguise::Plain)),
        (hex.as_bytes(), end - hex.len(), ("number", Disguise::Hex)),
    ] {
        image[at..at + secret.len()].copy_from_slice(secret);
        assert_eq!(found(&image), Found::from([wanted]), "at {at}");
        image[at..at + secret.len()].fill(0);
    }
    for before in 0..4 {
        let mut plain = vec![b'-'; before];
        plain.extend_from_slice(&secret);
        assert_eq!(
            found(STANDARD_NO_PAD.encode(plain).as_bytes()),
            Found::from([("voice", Disguise::Base64)])
        );
    }
}
