//! Which recordings somebody means: those of a hold, of a request for destruction.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::archive::epoch::{ClassName, Epoch, Month};
use crate::archive::record::RecordingId;
use crate::base::time::Stamp;

/// Which recordings: all of what is said must hold. One that says nothing means every recording.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// These; where there are none, whichever.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub recordings: BTreeSet<RecordingId>,
    /// Of this class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassName>,
    /// Of this recorder: its whole public key, as recordings have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<String>,
    /// Begun then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Stamp>,
    /// Begun before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Stamp>,
}

/// What a scope looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its id.
    pub id: RecordingId,
    /// Its class.
    pub class: &'a ClassName,
    /// Its recorder.
    pub recorder: &'a str,
    /// When it began.
    pub start: Stamp,
}

impl Scope {
    /// Whether a recording is meant.
    pub fn covers(&self, subject: &Subject<'_>) -> bool {
        (self.recordings.is_empty() || self.recordings.contains(&subject.id))
            && self.class.as_ref().is_none_or(|class| class == subject.class)
            && self.recorder.as_ref().is_none_or(|recorder| recorder == subject.recorder)
            && self.from.is_none_or(|from| subject.start >= from)
            && self.to.is_none_or(|to| subject.start < to)
    }

    /// Whether a recording of this epoch may be meant, one that has not come yet included.
    pub fn may_cover(&self, epoch: &Epoch) -> bool {
        // An id begins with its time (RFC 9562 section 5.7): the recorder makes it when the call begins, or soon after.
        let is_near = |id: &RecordingId| {
            let month = Month::of(id.made());
            (epoch.month.previous()..=epoch.month.next()).contains(&month)
        };
        (self.recordings.is_empty() || self.recordings.iter().any(is_near))
            && self.class.as_ref().is_none_or(|class| *class == epoch.class)
            && self.from.is_none_or(|from| Month::of(from) <= epoch.month)
            && self.to.is_none_or(|to| Month::of(to) >= epoch.month)
    }

    /// Whether every recording is meant.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_said_must_hold() {
        let class: ClassName = "calls-5y".parse().unwrap();
        let (id, start) = (RecordingId::from_bytes([1; 16]), Stamp::from_unix_nanos(50));
        let subject = Subject { id, class: &class, recorder: "a", start };
        let at = |nanos| Some(Stamp::from_unix_nanos(nanos));
        let all = Scope::default();
        assert!(all.is_all() && all.covers(&subject));
        for (scope, covers) in [
            (Scope { recordings: [id].into(), ..all.clone() }, true),
            (Scope { recordings: [RecordingId::from_bytes([2; 16])].into(), ..all.clone() }, false),
            (Scope { class: Some(class.clone()), from: at(50), to: at(51), ..all.clone() }, true),
            (Scope { class: Some("other".parse().unwrap()), ..all.clone() }, false),
            (Scope { recorder: Some("b".into()), ..all.clone() }, false),
            (Scope { from: at(51), ..all.clone() }, false),
            (Scope { to: at(50), ..all }, false),
        ] {
            assert_eq!(scope.covers(&subject), covers, "{scope:?}");
            let text = serde_json::to_string(&scope).unwrap();
            assert_eq!(serde_json::from_str::<Scope>(&text).unwrap(), scope);
        }
    }

    #[test]
    fn an_epoch_may_be_meant_where_one_of_its_recordings_may() {
        let epoch: Epoch = "calls-5y/2026-11".parse().unwrap();
        // Made on 2026-11-23.
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(1_795_468_121_220_u64 << 16).to_be_bytes());
        let of =
            |id: [u8; 16]| Scope { recordings: [RecordingId::from_bytes(id)].into(), ..Scope::default() };
        let day = |seconds: u64| Some(Stamp::from_unix_nanos(seconds * 1_000_000_000));
        for (scope, may) in [
            (Scope::default(), true),
            (of(id), true),
            (of([0; 16]), false),
            (Scope { class: Some("other".parse().unwrap()), ..Scope::default() }, false),
            (Scope { from: day(1_795_468_121), ..Scope::default() }, true),
            (Scope { from: day(1_796_083_200), ..Scope::default() }, false),
            (Scope { to: day(1_795_468_121), ..Scope::default() }, true),
            (Scope { to: day(1_793_000_000), ..Scope::default() }, false),
        ] {
            assert_eq!(scope.may_cover(&epoch), may, "{scope:?}");
        }
    }
}
