//! Hashes of recorders' logs.

use crate::archive::intake::Known;
use crate::archive::proof::Proof;
use crate::seal::note::{Checkpoint, Signer};
use crate::seal::tree::{self, Hash};
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::awaited::NewEntries;
use crate::shell::vault::catalog::recorders::Position;
use crate::shell::vault::catalog::tests::wait;

/// Entry `index` of the log, in pieces of any length, is proved by hashes alone; and what is not here is not.
pub(super) async fn every_entry_is_proved_by_hashes_alone(address: String) {
    let catalog = Catalog::open(&address).await.unwrap();
    let signer = Signer::from_seed("recorder-1", &[1; 32]).unwrap();
    let recorder = signer.verify_key().to_string();
    let entry = |index: u64| format!("{{\"event\":{index}}}").into_bytes();
    let (mut leaves, mut known) = (Vec::new(), Known::default());
    for piece in [1, 255, 1, 600, 167, 66_000] {
        let others: Vec<_> = (known.size..known.size + piece).map(|index| (index, entry(index))).collect();
        leaves.extend(others.iter().map(|(_, entry)| Hash::leaf(entry)));
        let size = leaves.len() as u64;
        let root = tree::root(&leaves[..], size).unwrap();
        let checkpoint = signer.sign(&Checkpoint { origin: "recorder-1".into(), size, root });
        let position = Position { size, root, checkpoint };
        let entries = NewEntries { others, ..NewEntries::default() };
        assert!(catalog.note_log(&recorder, &known, &position, &entries).await.unwrap());
        known = Known { size, root };
        for index in [0, 1, 254, 255, 256, 300, size / 2, size - 1].into_iter().filter(|index| *index < size)
        {
            let tiles = catalog.hashes(&recorder, index, size).await.unwrap();
            let proof = Proof::make(signer.verify_key(), &tiles, index, &position.checkpoint).unwrap();
            assert_eq!(proof.verify(&entry(index), signer.verify_key()), Ok(()));
        }
    }
    let tiles = catalog.hashes("another", 0, 9).await.unwrap();
    assert!(tree::inclusion_proof(&tiles, 0, 9).is_none());
    catalog.close().await;
}

/// A log that was noted before hashes were kept: what comes later is not put behind a gap, and all of it is kept once
/// somebody has reckoned it.
pub(super) async fn a_log_that_was_known_before_gets_its_hashes_later(address: String) {
    let catalog = Catalog::open(&address).await.unwrap();
    let leaves: Vec<_> = (0..700_u64).map(|index| Hash::leaf(&index.to_be_bytes())).collect();
    let root = |size: u64| tree::root(&leaves[..], size).unwrap();
    let position = |size: u64| Position { size, root: root(size), checkpoint: String::new() };
    assert!(catalog.set_recorder_position("old", &position(512)).await.unwrap());
    let others = (512..600_u64).map(|index| (index, index.to_be_bytes().to_vec())).collect();
    let entries = NewEntries { others, ..NewEntries::default() };
    let known = Known { size: 512, root: root(512) };
    assert!(catalog.note_log("old", &known, &position(600), &entries).await.unwrap());
    let proof = async |index: u64| {
        let tiles = catalog.hashes("old", index, 600).await.unwrap();
        tree::inclusion_proof(&tiles, index, 600)
    };
    assert!(proof(599).await.is_none());
    // It has gone on meanwhile.
    catalog.put_hashes("old", &leaves[..512]).await.unwrap();
    assert!(proof(599).await.is_none());
    catalog.put_hashes("old", &leaves[..600]).await.unwrap();
    for index in [0, 511, 599] {
        let proof = proof(index).await.unwrap();
        assert!(tree::verify_inclusion(&leaves[index as usize], index, 600, &proof, &root(600)));
    }
    catalog.close().await;
}

#[test]
fn another_catalog_takes_them_over() {
    let dir = tempfile::tempdir().unwrap();
    wait(async {
        let open = async |name: &str| Catalog::open_file(&dir.path().join(name)).await.unwrap();
        let (present, into) = (open("present.db").await, open("into.db").await);
        let leaves: Vec<_> = (0..40_000_u64).map(|index| Hash::leaf(&index.to_be_bytes())).collect();
        let size = leaves.len() as u64;
        let root = tree::root(&leaves[..], size).unwrap();
        let position = Position { size, root, checkpoint: String::new() };
        assert!(present.set_recorder_position("one", &position).await.unwrap());
        present.put_hashes("one", &leaves).await.unwrap();
        into.copy_hashes(&present, "one").await.unwrap();
        for index in [0, 39_999] {
            let tiles = into.hashes("one", index, size).await.unwrap();
            let proof = tree::inclusion_proof(&tiles, index, size).unwrap();
            assert!(tree::verify_inclusion(&leaves[index as usize], index, size, &proof, &root));
        }
        present.close().await;
        into.close().await;
    });
}
