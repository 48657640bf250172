//! What was said of a recording later is destroyed with it.

use sejf::archive::version::{Change, History};
use sejf::shell::vault::annotate::{AnnotateError, Annotator, Order, Wish, Written};

use super::*;

fn say(vault: &Vault, ring: &KeyRing, record: &Record, change: &Change) -> Result<Written, AnnotateError> {
    let speaker = speaker(vault, "ewa");
    block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        let annotator = Annotator::open(vault, ring, &catalog).expect("an annotator");
        let (actor, reason) = (&speaker.actor, speaker.reason.clone());
        let said = annotator
            .say(&Order { id: record.id, wish: Wish::Say(change), after: None, actor, belongs: None, reason })
            .await;
        catalog.close().await;
        said
    })
}

fn history(vault: &Vault, ring: &KeyRing, record: &Record) -> Result<(Record, History), AnnotateError> {
    let speaker = speaker(vault, "ewa");
    block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        let annotator = Annotator::open(vault, ring, &catalog).expect("an annotator");
        let shown = annotator.history(&record.id, &speaker.actor, None, speaker.reason.clone()).await;
        catalog.close().await;
        shown
    })
}

/// How many documents of a recording open with any key that is left, of the copies in a folder.
fn opened(folder: &Path, record: &Record, keys: &Keys) -> usize {
    let opens = |file: &&&ArchivedFile| {
        let read = |object: String| std::fs::read(folder.join(object)).ok();
        let start = record.receipt.start;
        let parts = (read(file.header_object(&record.id, start)), read(file.body_object(&record.id, start)));
        let (Some(header), Some(body)) = parts else { return false };
        let whole = [header, body].concat();
        keys.iter()
            .any(|keys| Opener::open(&whole[..], keys).and_then(|mut opener| opener.read_whole()).is_ok())
    };
    let versions = record.versions();
    versions.values().flatten().filter(opens).count()
}

#[test]
fn what_was_said_goes_with_its_recording_from_all_copies() {
    let bench = Bench::new(&[(OLD, 2)]);
    let (vault, ring) = bench.unlock();
    let note = |text: &str| Change::Note { text: text.into() };
    let label = Change::Labels { add: vec!["skarga".into()], remove: Vec::new() };
    for record in &bench.records {
        assert_eq!(say(&vault, &ring, record, &note("he called again")).expect("said").number, 1);
        assert_eq!(say(&vault, &ring, record, &label).expect("said").number, 2);
    }
    let (gone, shown) = history(&vault, &ring, &bench.records[0]).expect("a history");
    assert_eq!((shown.number(), &shown.now().tags), (2, &vec!["skarga".to_owned()]));
    let (other, _) = history(&vault, &ring, &bench.records[1]).expect("a history");
    // Somebody keeps a copy of all that there is.
    let (store, kept) = (bench.path("store"), bench.path("kept"));
    copy(&store, &kept);
    let keys = bench.surviving_keys(&vault, &ring);
    assert_eq!((opened(&store, &gone, &keys), opened(&kept, &other, &keys)), (2, 2));

    bench.agree(&vault, &scope(&bench.ids(0..1)));
    let done = bench.destroy(&vault, &ring, &|_| true).expect("destroyed");
    assert_eq!(done.recordings, 1);
    let keys = bench.surviving_keys(&vault, &ring);
    assert_eq!((opened(&store, &gone, &keys), opened(&kept, &gone, &keys)), (0, 0));
    assert_eq!((opened(&store, &other, &keys), opened(&kept, &other, &keys)), (2, 2));
    // Of its objects only slips are left, which say nothing.
    let id = gone.id.to_string();
    let left: Vec<_> =
        files(&store).into_iter().filter(|path| path.to_string_lossy().contains(&id)).collect();
    assert!(left.iter().all(|path| path.to_string_lossy().ends_with(".version.json")), "{left:?}");
    let (_, certificate) = bench.certificates(&vault).pop().expect("a certificate");
    let digests: Vec<_> = gone.files.iter().map(|file| file.body_sha256).collect();
    assert_eq!(certificate.recordings()[0].sha256, digests, "all files are certified");
    for path in files(&bench.home()).iter().filter(|path| path.to_string_lossy().contains("catalog.db")) {
        assert!(!contains(&std::fs::read(path).expect("the catalog"), b"skarga"));
    }

    // Nothing more is said of it, or shown; of the other one it is.
    let refused = say(&vault, &ring, &gone, &note("too late"));
    assert!(matches!(refused, Err(AnnotateError::Nothing { phase: Phase::Destroyed, .. })), "{refused:?}");
    assert!(history(&vault, &ring, &gone).is_err());
    assert_eq!(history(&vault, &ring, &other).expect("a history").1.number(), 2);
    // A hold keeps it, and keeps nobody from saying something of it.
    let name = "II-K-1".parse().expect("a name");
    let ids = bench.ids(1..2);
    block_on(async {
        let catalog = vault.catalog().await.expect("the catalog");
        speaker(&vault, "ewa").hold(&vault, &catalog, &name, &scope(&ids)).await.expect("held");
        catalog.close().await;
    });
    assert_eq!(say(&vault, &ring, &other, &note("held")).expect("said").number, 3);
}
