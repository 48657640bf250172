//! What happens to the recorder itself, as events for the log of receipts.
//!
//! ```text
//! service: start, stop, reload ─► Events ─┐
//! every look: counters ─► Watch ──────────┴─► Recorder::note ─► committer ─► log
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::time::Stamp;
use crate::recording::manifest::RecorderFacts;
use crate::seal::event::{Event, EventKind, Stop};
use crate::shell::capture::Stats;
use crate::shell::clock;
use crate::shell::config::{Change, Config};
use crate::shell::journal::Status;

/// Makes the events of one recorder.
#[derive(Clone, Debug)]
pub struct Events {
    recorder: RecorderFacts,
}

impl Events {
    /// Events that `recorder` signs.
    pub fn new(recorder: &RecorderFacts) -> Self {
        Self { recorder: recorder.clone() }
    }

    /// Recording begins, by `config`.
    pub fn started(&self, config: &Config) -> Event {
        let rules = config.rules.version().into();
        self.event(clock::now(), EventKind::Started { rules, config_sha256: config.sha256 })
    }

    /// `new` is in force; nothing where it says the same as `old`.
    pub fn changed(&self, old: &Config, new: &Config) -> Option<Event> {
        let changes: Vec<_> = Config::diff(old, new).iter().map(Change::brief).collect();
        let kind = EventKind::ConfigurationChanged {
            rules_before: old.rules.version().into(),
            rules: new.rules.version().into(),
            config_sha256: new.sha256,
            more: 0,
            changes,
        };
        (old.sha256 != new.sha256).then(|| self.event(clock::now(), kind))
    }

    /// Another level of what is given up.
    pub fn shedding(&self, before: &str, level: &str) -> Event {
        let kind = EventKind::SheddingChanged { before: before.into(), level: level.into() };
        self.event(clock::now(), kind)
    }

    /// Recording ends.
    pub fn stopped(&self, how: Stop) -> Event {
        self.event(clock::now(), EventKind::Stopped { how })
    }

    fn event(&self, at: Stamp, kind: EventKind) -> Event {
        Event::new(at, kind, &self.recorder.id, &self.recorder.version)
    }
}

/// Looks at counters, and says what is worth an event. However often it is asked, the log does not fill: drops
/// are told once a minute, and what goes to and fro as it stands every ten seconds.
#[derive(Debug)]
pub struct Watch {
    events: Events,
    interfaces: Vec<Interface>,
    journal: Option<(Arc<Status>, Told)>,
    drops: Drops,
}

#[derive(Debug)]
struct Interface {
    name: String,
    /// Of all its rings.
    stats: Vec<Arc<Stats>>,
    /// Times that it had gone down when that was last told.
    downs: u64,
    told: Told,
}

/// A condition as the log has it.
#[derive(Debug, Default)]
struct Told {
    bad: bool,
    at: Option<Stamp>,
}

impl Told {
    /// Whether a change may be told again.
    fn is_due(&self, now: Stamp) -> bool {
        self.at.is_none_or(|at| passed(at, now, AGAIN_AFTER))
    }

    fn tell(&mut self, now: Stamp, bad: bool) {
        *self = Self { bad, at: Some(now) };
    }
}

/// Packets not taken in that the log has.
#[derive(Debug)]
struct Drops {
    since: Stamp,
    kernel: u64,
    queue: u64,
    /// Told at least once: the first drops are told at once.
    begun: bool,
}

impl Watch {
    /// Begins at `now`. `rings` are the names of the interfaces and the counters of their rings, in any order.
    pub fn new(
        events: Events,
        now: Stamp,
        rings: impl IntoIterator<Item = (String, Arc<Stats>)>,
        journal: Option<Arc<Status>>,
    ) -> Self {
        let mut interfaces: Vec<Interface> = Vec::new();
        for (name, stats) in rings {
            match interfaces.iter_mut().find(|known| known.name == name) {
                Some(known) => known.stats.push(stats),
                None => {
                    let (stats, told) = (vec![stats], Told::default());
                    interfaces.push(Interface { name, stats, downs: 0, told });
                }
            }
        }
        let journal = journal.map(|status| (status, Told::default()));
        let drops = Drops { since: now, kernel: 0, queue: 0, begun: false };
        Self { events, interfaces, journal, drops }
    }

    /// What has happened since it last looked.
    pub fn look(&mut self, now: Stamp) -> Vec<Event> {
        let mut kinds = Vec::new();
        for interface in &mut self.interfaces {
            interface.look(now, &mut kinds);
        }
        if let Some((status, told)) = &mut self.journal {
            let bad = status.is_degraded();
            if bad != told.bad && told.is_due(now) {
                told.tell(now, bad);
                kinds.push(if bad { EventKind::JournalDegraded } else { EventKind::JournalRestored });
            }
        }
        kinds.extend(self.drops(now));
        kinds.into_iter().map(|kind| self.events.event(now, kind)).collect()
    }

    /// The same at the end: what would be told a minute later is told now.
    pub fn last_look(&mut self, now: Stamp) -> Vec<Event> {
        self.drops.begun = false;
        self.look(now)
    }

    fn drops(&mut self, now: Stamp) -> Option<EventKind> {
        let all = || self.interfaces.iter().flat_map(|interface| &interface.stats);
        let kernel: u64 = all().map(|stats| stats.kernel_drops.load(Ordering::Relaxed)).sum();
        let queue: u64 = all().map(|stats| stats.queue_drops.load(Ordering::Relaxed)).sum();
        let told = &mut self.drops;
        if told.begun && !passed(told.since, now, DROPS_EVERY) {
            return None;
        }
        let (more_kernel, more_queue) =
            (kernel.saturating_sub(told.kernel), queue.saturating_sub(told.queue));
        let from = std::mem::replace(&mut told.since, now);
        if more_kernel + more_queue == 0 {
            return None;
        }
        *told = Drops { since: now, kernel, queue, begun: true };
        Some(EventKind::Dropped { from: from.min(now), to: now, kernel: more_kernel, queue: more_queue })
    }
}

impl Interface {
    /// Down is what has gone down: a ring that has not begun yet is not up either.
    fn look(&mut self, now: Stamp, kinds: &mut Vec<EventKind>) {
        let downs = self.stats.iter().map(|stats| stats.downs.load(Ordering::Relaxed)).sum();
        let up = self.stats.iter().all(|stats| stats.up.load(Ordering::Relaxed));
        if !self.told.is_due(now) {
            return;
        }
        let went_down = downs > self.downs && !self.told.bad;
        if went_down {
            kinds.push(EventKind::InterfaceDown { interface: self.name.clone() });
            self.told.tell(now, true);
        }
        self.downs = downs;
        if up && self.told.bad {
            kinds.push(EventKind::InterfaceUp { interface: self.name.clone() });
            self.told.tell(now, false);
        }
    }
}

/// Whether so much time has passed; also where the clock was set back.
fn passed(since: Stamp, now: Stamp, duration: Duration) -> bool {
    now < since || now.since(since) >= duration
}

/// Drops are told once in this time.
const DROPS_EVERY: Duration = Duration::from_secs(60);
/// What is up or down, or works or not, is told again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn events() -> Events {
        Events::new(&RecorderFacts { id: "recorder-1".into(), version: "0.1.0".into() })
    }

    fn at(seconds: u64) -> Stamp {
        Stamp::from_unix_nanos(seconds * 1_000_000_000)
    }

    fn names(events: &[Event]) -> Vec<&'static str> {
        events.iter().map(|event| event.kind.as_str()).collect()
    }

    #[test]
    fn interfaces_that_go_and_come_are_told_and_do_not_fill_the_log() {
        let stats: Vec<_> = (0..2).map(|_| Arc::new(Stats::default())).collect();
        let rings = stats.iter().map(|stats| ("eth1".to_owned(), stats.clone()));
        let mut watch = Watch::new(events(), at(0), rings, None);
        assert!(watch.look(at(1)).is_empty(), "not begun is not down");
        stats.iter().for_each(|stats| stats.up.store(true, Ordering::Relaxed));
        assert!(watch.look(at(2)).is_empty());
        let down = |stats: &Stats| {
            stats.up.store(false, Ordering::Relaxed);
            stats.downs.fetch_add(1, Ordering::Relaxed);
        };
        stats.iter().for_each(|stats| down(stats));
        assert_eq!(names(&watch.look(at(3))), ["interface-down"]);
        assert!(watch.look(at(4)).is_empty());
        stats[0].up.store(true, Ordering::Relaxed);
        assert!(watch.look(at(20)).is_empty(), "one of its rings is still down");
        stats[1].up.store(true, Ordering::Relaxed);
        assert_eq!(names(&watch.look(at(21))), ["interface-up"]);
        // A thousand times in a second.
        for _ in 0..1_000 {
            down(&stats[0]);
            stats[0].up.store(true, Ordering::Relaxed);
            assert!(watch.look(at(22)).is_empty());
        }
        assert_eq!(names(&watch.look(at(31))), ["interface-down", "interface-up"]);
        assert!(watch.look(at(60)).is_empty());
    }

    #[test]
    fn drops_are_told_at_once_and_then_once_a_minute() {
        let stats = Arc::new(Stats::default());
        let mut watch = Watch::new(events(), at(0), [("eth1".to_owned(), stats.clone())], None);
        assert!(watch.look(at(100)).is_empty());
        stats.kernel_drops.store(5, Ordering::Relaxed);
        let told = watch.look(at(101));
        assert_eq!(told[0].kind, EventKind::Dropped { from: at(100), to: at(101), kernel: 5, queue: 0 });
        stats.kernel_drops.store(6, Ordering::Relaxed);
        assert!(watch.look(at(102)).is_empty());
        stats.queue_drops.store(2, Ordering::Relaxed);
        let told = watch.look(at(161));
        assert_eq!(told[0].kind, EventKind::Dropped { from: at(101), to: at(161), kernel: 1, queue: 2 });
        assert!(watch.look(at(300)).is_empty());
        stats.queue_drops.store(3, Ordering::Relaxed);
        assert!(watch.look(at(301)).is_empty());
        assert_eq!(names(&watch.last_look(at(301))), ["dropped"]);
        // The clock was set back: told all the same.
        stats.queue_drops.store(4, Ordering::Relaxed);
        assert_eq!(names(&watch.look(at(200))), ["dropped"]);
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_told() {
        let status = Arc::new(Status::default());
        let mut watch = Watch::new(events(), at(0), [], Some(status.clone()));
        status.degraded.store(true, Ordering::Relaxed);
        assert_eq!(names(&watch.look(at(1))), ["journal-degraded"]);
        status.degraded.store(false, Ordering::Relaxed);
        assert!(watch.look(at(2)).is_empty());
        assert_eq!(names(&watch.look(at(12))), ["journal-restored"]);
    }

    #[test]
    fn a_changed_configuration_is_told_by_its_keys_and_never_by_its_values() {
        let config = |number: &str| {
            let text = format!(
                "[[capture]]\ninterface = \"lo\"\n[[rule]]\nname = \"few\"\naction = \"exclude\"\n\
                 match = {{ to_user = \"{number}\" }}\n"
            );
            Config::parse(Path::new("sejf.toml"), &text).unwrap()
        };
        let (old, new) = (config("+420111"), config("+420222"));
        let event = events().changed(&old, &new).unwrap();
        let EventKind::ConfigurationChanged { rules_before, rules, changes, config_sha256, more } =
            &event.kind
        else {
            panic!("{event:?}")
        };
        assert_ne!(rules_before, rules);
        assert_eq!((&changes[..], *more), (&["rule.few.match changed".to_owned()][..], 0));
        assert_eq!((*config_sha256, new.sha256 == old.sha256), (new.sha256, false));
        assert!(!String::from_utf8(event.to_entry()).unwrap().contains("420"));
        assert!(events().changed(&old, &old.clone()).is_none());
        let started = String::from_utf8(events().started(&old).to_entry()).unwrap();
        assert!(started.contains(old.rules.version()), "{started}");
    }
}
