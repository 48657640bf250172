//! The thread that has segments ready and takes them back: whatever waits for a slow disk and is not the
//! journal itself.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, Sender};

use crate::base::policy::Condition;
use crate::seal::segment::FRAME_HEAD_BYTES;
use crate::shell::clock;
use crate::shell::journal::Beside;
use crate::shell::journal::disk::JournalDisk;
use crate::shell::persist::Slow;

/// What the keeper is to do.
pub(super) enum Job {
    /// Make a segment.
    Allocate(PathBuf),
    /// Wait until all that was sent to storage before is written, have it synced, and take segments back.
    Free {
        /// The store's answer to a barrier.
        reached: Receiver<()>,
        /// Segments, and whether each may be used again.
        segments: Vec<(PathBuf, bool)>,
        /// Recordings that the disk had lost a file of when these were chosen.
        lost: u64,
    },
}

/// What has come of it.
pub(super) enum Report {
    /// A segment is ready.
    Spare(PathBuf),
    /// What these held is in files that are on the disk. Those that may be used again come back as spares.
    Freed(Vec<PathBuf>),
    /// It could not be done.
    Failed {
        /// Whether a segment that was to be ready is not.
        segment: bool,
        /// What it was.
        doing: &'static str,
        /// The segment or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Segments stay as they are: storage has ended, or could not be synced, or it is not known what the disk
    /// has kept of some file.
    Kept,
}

pub(super) struct Keeper {
    pub(super) disk: Box<dyn JournalDisk>,
    /// The folder of recordings, whose file system is synced.
    pub(super) recordings: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) reports: Sender<Report>,
    pub(super) slow: Slow,
    pub(super) beside: Beside,
}

impl Keeper {
    /// Works until there are no more jobs.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        if let Err(source) = self.disk.watch(&self.recordings) {
            self.failed(false, "watching", &self.recordings, source);
        }
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Allocate(path) => match self.disk.allocate(&path, self.segment_bytes) {
                    Ok(()) => self.report(Report::Spare(path)),
                    Err(source) => self.failed(true, "making journal segment", &path, source),
                },
                Job::Free { reached, segments, lost } => self.free(&reached, segments, lost),
            }
        }
    }

    fn free(&mut self, reached: &Receiver<()>, segments: Vec<(PathBuf, bool)>, lost: u64) {
        if reached.recv().is_err() {
            return self.report(Report::Kept);
        }
        let doubt = self.beside.doubt.clone();
        let before = doubt.standing();
        if before.doubted || before.lost != lost {
            return self.report(Report::Kept);
        }
        let dir = self.recordings.clone();
        let begun = clock::monotonic();
        let synced = self.disk.sync(&dir);
        self.slow.took("syncing", &dir, begun.elapsed());
        if let Err(source) = synced {
            // What of the files is on the disk is not known: the segments are all there is.
            doubt.failed();
            self.beside.load.tally().note(Condition::SyncFailed);
            self.failed(false, "syncing", &dir, source);
            return self.report(Report::Kept);
        }
        // A failure may have been told to somebody else meanwhile. Files that are doubted only now are no
        // matter: what is written of them was not before the barrier.
        if doubt.standing().failures != before.failures {
            return self.report(Report::Kept);
        }
        self.report(Report::Freed(segments.iter().map(|(path, _)| path.clone()).collect()));
        for (path, again) in segments {
            let erased = again.then(|| self.erase(&path));
            self.disk.close(&path);
            match erased {
                Some(Ok(())) => self.report(Report::Spare(path)),
                Some(Err(source)) => {
                    self.failed(true, "emptying journal segment", &path, source);
                    // What it holds is elsewhere; that it stays does no harm.
                    let _ = self.disk.remove(&path);
                }
                None => drop(self.disk.remove(&path)),
            }
        }
    }

    /// So that nobody takes it for a segment with something in it.
    fn erase(&mut self, path: &Path) -> std::io::Result<()> {
        self.disk.write_at(path, 0, &[0; FRAME_HEAD_BYTES])?;
        self.disk.sync_data(path)
    }

    fn failed(&self, segment: bool, doing: &'static str, path: &Path, source: std::io::Error) {
        self.report(Report::Failed { segment, doing, path: path.into(), source });
    }

    fn report(&self, report: Report) {
        // The journal has ended: nobody needs to know.
        let _ = self.reports.send(report);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::shell::doubt::Doubt;
    use crate::shell::load::Load;

    /// What the next sync is met with.
    enum Sync {
        Fails,
        /// It is all right, and meanwhile somebody else is told that it was not.
        FailsElsewhere,
        Works,
    }

    struct TestDisk(Receiver<Sync>, Arc<Doubt>);

    impl JournalDisk for TestDisk {
        fn allocate(&mut self, _: &Path, _: u64) -> std::io::Result<()> {
            Ok(())
        }

        fn write_at(&mut self, _: &Path, _: u64, _: &[u8]) -> std::io::Result<()> {
            Ok(())
        }

        fn sync_data(&mut self, _: &Path) -> std::io::Result<()> {
            Ok(())
        }

        fn sync(&mut self, _: &Path) -> std::io::Result<()> {
            match self.0.try_recv().expect("no sync is of use now") {
                Sync::Fails => return Err(std::io::Error::from_raw_os_error(5)),
                Sync::FailsElsewhere => self.1.failed(),
                Sync::Works => {}
            }
            Ok(())
        }

        fn close(&mut self, _: &Path) {}

        fn remove(&mut self, _: &Path) -> std::io::Result<()> {
            Ok(())
        }

        fn truncate(&mut self, _: &Path, _: u64) -> std::io::Result<()> {
            Ok(())
        }

        fn rename_new(&mut self, _: &Path, _: &Path) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_goes_while_a_file_is_in_doubt() {
        let (doubt, load) = (Arc::new(Doubt::default()), Arc::new(Load::new(0, &[])));
        let ((syncs, syncs_met), (reports, reported)) = (bounded(1), bounded(8));
        let mut keeper = Keeper {
            disk: Box::new(TestDisk(syncs_met, doubt.clone())),
            recordings: "out".into(),
            segment_bytes: 0,
            reports,
            slow: Slow::default(),
            beside: Beside { doubt: doubt.clone(), load: load.clone() },
        };
        let mut freed = |sync: Option<Sync>, lost| {
            sync.into_iter().for_each(|sync| syncs.send(sync).unwrap());
            let (sender, reached) = bounded(1);
            sender.send(()).unwrap();
            keeper.free(&reached, vec![("1.segment".into(), false)], lost);
            let reports: Vec<_> = reported.try_iter().collect();
            let freed = reports.iter().any(|report| matches!(report, Report::Freed(_)));
            assert_ne!(freed, reports.iter().any(|report| matches!(report, Report::Kept)));
            freed
        };
        doubt.begin("open");
        assert!(freed(Some(Sync::Works), 0));
        assert!(!freed(Some(Sync::Fails), 0));
        assert_eq!(load.tally().snapshot().get(Condition::SyncFailed), 1);
        assert!(!freed(None, 0), "a later sync proves nothing");
        doubt.proved("open", doubt.provable("open").unwrap());
        assert!(!freed(Some(Sync::FailsElsewhere), 0));
        assert!(!freed(None, 0));
        doubt.proved("open", doubt.provable("open").unwrap());
        assert!(freed(Some(Sync::Works), 0));
        doubt.lost(["open"].into_iter());
        assert!(!freed(None, 0), "chosen before it was known what was lost");
        assert!(freed(Some(Sync::Works), 1));
    }
}
