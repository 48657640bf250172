use super::*;
use crate::seal::log::CHECKPOINT_PATH;
use crate::seal::log::Log;
use crate::seal::log_verify::samples::{Files, signer};
use crate::seal::random::{Randomness, Seeded};

/// A log of these entries, signed with its own key; with checkpoints of all sizes that are asked for.
fn log_of(entries: &[Vec<u8>], sizes: &[u64]) -> (Files, Vec<Checkpoint>) {
    let (mut log, mut files, mut kept) = (Log::new(), Files::new(), Vec::new());
    let key = signer();
    for entry in entries {
        log.append(entry).unwrap();
        if sizes.contains(&log.size()) {
            kept.push(key.verify_key().open(&log.checkpoint(&key)).unwrap());
        }
    }
    files.extend(log.files_changed());
    files.insert(CHECKPOINT_PATH.into(), log.checkpoint(&key).into_bytes());
    (files, kept)
}

fn entries(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("entry {number}").into_bytes()).collect()
}

fn audit(files: &Files, kept: &[Checkpoint]) -> LogAudit {
    audit_log(&|path| files.get(path).cloned(), signer().verify_key(), kept)
}

/// Bundles alone, of other entries; tiles and checkpoint stay.
fn with_bundles_of(files: &Files, entries: &[Vec<u8>]) -> Files {
    let mut changed = files.clone();
    let paths: Vec<_> = files.keys().filter(|path| path.starts_with("tile/entries/")).cloned().collect();
    for (number, path) in paths.iter().enumerate() {
        let last = number + 1 == paths.len();
        let part = entries.iter().skip(number * TILE_WIDTH).take(if last { usize::MAX } else { TILE_WIDTH });
        let bundle = part.flat_map(|entry| [&(entry.len() as u16).to_be_bytes(), &entry[..]].concat());
        changed.insert(path.clone(), bundle.collect());
    }
    changed
}

#[test]
fn an_honest_log_goes_on_from_each_of_its_checkpoints() {
    for size in [1, 2, 255, 256, 257, 700] {
        let sizes: Vec<u64> = (1..=size).collect();
        let (files, kept) = log_of(&entries(size), &sizes);
        let audit = audit(&files, &kept);
        assert_eq!((audit.findings.len(), audit.continued as u64), (0, size));
        assert_eq!(audit.entries.len() as u64, size);
    }
}

#[test]
fn what_became_of_an_entry_is_named() {
    let all = entries(300);
    let (files, kept) = log_of(&all, &[100, 300]);
    let found = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut other = all.clone();
        change(&mut other);
        audit(&with_bundles_of(&files, &other), &kept).findings
    };
    assert_eq!(found(&|all| all[270] = b"other".to_vec()), [Finding::Edited { index: 270 }]);
    assert_eq!(found(&|all| drop(all.remove(299))), [Finding::Removed { index: 299 }]);
    assert_eq!(found(&|all| drop(all.remove(270))), [Finding::Removed { index: 270 }]);
    assert_eq!(found(&|all| all.insert(270, b"new".to_vec())), [Finding::Inserted { before: 270 }]);
    assert_eq!(found(&|all| all.push(b"new".to_vec())), [Finding::Inserted { before: 300 }]);
    let swapped =
        [Finding::Reordered { place: 260, index: 262 }, Finding::Reordered { place: 262, index: 260 }];
    assert_eq!(found(&|all| all.swap(260, 262)), swapped);
    // What slips over the end of a bundle is not told of each.
    assert_eq!(found(&|all| drop(all.remove(7))), [Finding::Removed { index: 7 }]);
    assert_eq!(found(&|all| all.insert(7, b"new".to_vec())), [Finding::Inserted { before: 7 }]);
    let swapped =
        [Finding::Reordered { place: 10, index: 280 }, Finding::Reordered { place: 280, index: 10 }];
    assert_eq!(found(&|all| all.swap(10, 280)), swapped);
    let mut gone = files.clone();
    gone.remove("tile/entries/000");
    assert_eq!(audit(&gone, &kept[..1]).findings, [Finding::Lost { from: 0, to: 256 }]);
}

#[test]
fn of_a_fork_the_checkpoints_on_both_sides_say_where() {
    let all = entries(300);
    let (_, kept) = log_of(&all, &[50, 100, 200, 300]);
    let mut other = all.clone();
    other[120] = b"other".to_vec();
    let (forked, of_fork) = log_of(&other, &[200]);
    assert_eq!(audit(&forked, &kept).findings, [Finding::Forked { from: 100, to: 200 }]);
    assert_eq!(audit(&forked, &kept[3..]).findings, [Finding::Forked { from: 0, to: 300 }]);
    // Also where the fork goes on further.
    other.extend(entries(40));
    assert_eq!(audit(&log_of(&other, &[]).0, &kept[1..]).findings, [Finding::Forked { from: 100, to: 200 }]);
    let two = [kept[2].clone(), of_fork[0].clone()];
    assert!(audit(&forked, &two).findings.contains(&Finding::TwoLogs { size: 200 }));
}

#[test]
fn a_log_that_was_put_back_is_shorter_than_it_was() {
    let all = entries(300);
    let (_, kept) = log_of(&all, &[50, 299]);
    let (older, _) = log_of(&all[..200], &[]);
    let audit = audit(&older, &kept);
    assert_eq!((audit.findings, audit.continued), (vec![Finding::RolledBack { had: 299, has: 200 }], 1));
}

#[test]
fn where_all_hashes_were_made_anew_a_kept_checkpoint_narrows_it() {
    let all = entries(300);
    let (files, kept) = log_of(&all, &[100]);
    let mut other = all;
    other[120] = b"other".to_vec();
    let (mut forged, _) = log_of(&other, &[]);
    forged.insert(CHECKPOINT_PATH.into(), files[CHECKPOINT_PATH].clone());
    let found = audit(&forged, &kept).findings;
    assert!(found.contains(&Finding::Unlike { from: 100, to: 300 }), "{found:?}");
    // With the entries, their tile, but not what is above: it is known which bundle.
    let (mut forged, _) = log_of(&other, &[]);
    for path in [CHECKPOINT_PATH, "tile/1/000.p/1"] {
        forged.insert(path.into(), files[path].clone());
    }
    assert_eq!(audit(&forged, &kept).findings[0], Finding::Unlike { from: 0, to: 256 });
}

/// Somebody with root: what they do to the log, of which an auditor has a checkpoint of `kept` entries.
struct Attacker {
    random: Seeded,
}

impl Attacker {
    fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }

    fn path(&mut self, files: &Files, prefix: &str) -> String {
        let paths: Vec<_> = files.keys().filter(|path| path.starts_with(prefix)).collect();
        paths[self.below(paths.len() as u64) as usize].clone()
    }

    /// What is done to entries; nothing of those from `kept` on, which the auditor has not seen.
    fn tamper(&mut self, all: &mut Vec<Vec<u8>>, kept: u64) {
        let at = self.below(kept) as usize;
        match self.below(4) {
            0 => {
                let byte = self.below(all[at].len() as u64) as usize;
                all[at][byte] ^= 1 + self.below(255) as u8;
            }
            1 => drop(all.remove(at)),
            2 => all.insert(at, format!("forged {at}").into_bytes()),
            _ => {
                let other = self.below(kept) as usize;
                if other == at {
                    all[at].push(b'!');
                } else {
                    all.swap(at, other);
                }
            }
        }
    }

    fn attack(&mut self, kind: u64, files: &Files, all: &[Vec<u8>], kept: u64) -> Files {
        let (mut changed, mut other) = (files.clone(), all.to_vec());
        match kind {
            // Bytes of any file.
            0 => {
                let path = self.path(files, "");
                let bytes = changed.get_mut(&path).unwrap();
                let at = self.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 + self.below(255) as u8;
            }
            // A file that is gone, or cut, or has more.
            1 => {
                let path = self.path(files, "");
                match self.below(3) {
                    0 => drop(changed.remove(&path)),
                    1 => {
                        let bytes = changed.get_mut(&path).unwrap();
                        let length = self.below(bytes.len() as u64) as usize;
                        bytes.truncate(length);
                    }
                    _ => changed.get_mut(&path).unwrap().push(self.below(256) as u8),
                }
            }
            // Entries, in their bundles alone.
            2 => {
                self.tamper(&mut other, all.len() as u64);
                changed = with_bundles_of(files, &other);
            }
            // Entries, and all hashes made anew below the old checkpoint.
            3 => {
                self.tamper(&mut other, all.len() as u64);
                changed = log_of(&other, &[]).0;
                changed.insert(CHECKPOINT_PATH.into(), files[CHECKPOINT_PATH].clone());
            }
            // The log's own key is stolen: another log, signed, perhaps longer or shorter.
            4 => {
                self.tamper(&mut other, kept);
                match self.below(3) {
                    0 => other.truncate((kept + self.below(other.len() as u64 + 1)) as usize),
                    1 => {
                        other
                            .extend((0..self.below(300)).map(|number| format!("more {number}").into_bytes()));
                    }
                    _ => {}
                }
                changed = log_of(&other, &[]).0;
            }
            // An older checkpoint, validly signed then, and the tail cut; or the whole as it was then.
            5 => {
                let size = self.below(kept);
                let (older, _) = log_of(&all[..size as usize], &[]);
                if self.below(2) == 0 {
                    changed = older;
                } else {
                    changed.insert(CHECKPOINT_PATH.into(), older[CHECKPOINT_PATH].clone());
                }
            }
            // Signed by another key of the same name, or by nobody.
            _ => self.sign(&mut changed, other, kept),
        }
        changed
    }

    fn sign(&mut self, changed: &mut Files, mut other: Vec<Vec<u8>>, kept: u64) {
        let note = match self.below(2) {
            0 => {
                let mut seed = [0; 32];
                self.random.fill(&mut seed);
                let thief = crate::seal::note::Signer::from_seed("recorder-1", &seed).unwrap();
                let mut log = Log::new();
                self.tamper(&mut other, kept);
                other.iter().for_each(|entry| drop(log.append(entry)));
                changed.extend(log.files_changed());
                log.checkpoint(&thief)
            }
            _ => String::from("recorder-1\n1\nx\n"),
        };
        changed.insert(CHECKPOINT_PATH.into(), note.into_bytes());
    }
}

/// 10,000 attacks by whoever has root on the vault, and for some of them the log's key too: the auditor has a checkpoint
/// of before, and finds each of them. What is honest is found honest each time.
#[test]
fn ten_thousand_attacks_are_found_and_no_honest_log_is_accused() {
    let (mut by_kind, mut named, mut done) = ([0_u64; 7], 0_u64, 0_u64);
    let mut round = 0;
    while done < 10_000 {
        let mut attacker = Attacker { random: Seeded::new(&[9; 32], "attacks", round) };
        round += 1;
        let size = match round % 5 {
            0 => 250 + attacker.below(20),
            1 => 500 + attacker.below(60),
            _ => 1 + attacker.below(60),
        };
        let all = entries(size);
        let kept = 1 + attacker.below(size);
        let (files, known) = log_of(&all, &[kept]);
        let honest = audit(&files, &known);
        assert_eq!((honest.findings.len(), honest.continued), (0, 1), "round {round}: {:?}", honest.findings);
        for attack in 0..30 {
            let kind = attack % 7;
            let changed = attacker.attack(kind, &files, &all, kept);
            if changed == files {
                continue;
            }
            let found = audit(&changed, &known);
            assert!(
                !found.findings.is_empty(),
                "round {round}, attack {attack} of kind {kind}, {kept} of {size}"
            );
            named += u64::from(found.findings.iter().any(|finding| finding.index().is_some()));
            by_kind[kind as usize] += 1;
            done += 1;
        }
    }
    assert!(by_kind.iter().all(|count| *count > 500), "{by_kind:?}");
    // The others are about files in which nothing of an entry is wrong, or a checkpoint that says nothing.
    assert!(named > done / 2, "{named} of {done}");
}
