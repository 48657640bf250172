//! How what a vault does by itself stands, for `vault status` and `vault running status`.

use crate::archive::duties::{Came, Standing};
use crate::base::time::Stamp;
use crate::cli::text::columns;

/// A line each; nothing where there are none.
pub(super) fn text(standing: &[Standing]) -> String {
    if standing.is_empty() {
        return String::new();
    }
    let mut rows = vec![["DUTY", "LAST", "NEXT", "RESULT"].map(str::to_owned).to_vec()];
    rows.extend(standing.iter().map(row));
    columns(&rows)
}

fn row(standing: &Standing) -> Vec<String> {
    let second = |at: Stamp| format!("{}Z", at.to_string().get(..19).unwrap_or_default());
    let last = standing.last.map_or("not yet".into(), second);
    let next = match (standing.off, standing.running) {
        (true, _) => "off".into(),
        (_, true) => "now".into(),
        _ => standing.next.map_or(String::new(), second),
    };
    let came = match standing.came {
        None | Some(Came::Well) => "",
        Some(Came::Found | Came::FoundSoFar) => "found: ",
        Some(Came::More) => "goes on: ",
        Some(Came::Waits) => "waits: ",
        Some(Came::Failed) => "failed: ",
        Some(Came::Stopped) => "stopped: ",
        Some(Came::CutOff) => "cut off: ",
    };
    let mark = match (standing.is_wrong(), standing.late) {
        (true, true) => "! LATE  ",
        (true, false) => "! ",
        _ => "",
    };
    // One line, whatever a store has said.
    let words = standing.words.replace(['\r', '\n'], " ");
    vec![standing.duty.to_string(), last, next, format!("{mark}{came}{words}")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::duties::{Duty, Policy, Schedule, State};

    #[test]
    fn what_is_late_or_failed_is_loud_and_what_is_off_is_named() {
        let policy: Policy = toml::from_str("media = 'off'").unwrap();
        let at = |hours: u64| Stamp::from_unix_nanos((1_795_000_000 + hours * 3_600) * 1_000_000_000);
        let mut schedule = Schedule::new(policy, State::default(), at(0));
        schedule.begin(Duty::Copies, at(0));
        schedule.end(at(0), Came::Failed, "a store\nis away".into());
        schedule.begin(Duty::Scrub, at(0));
        schedule.end(at(0), Came::Well, "7 copies read".into());
        let shown = text(&schedule.standing(at(1)));
        let line = |duty: &str| shown.lines().find(|line| line.starts_with(duty)).unwrap().to_owned();
        assert!(line("copies").ends_with("! LATE  failed: a store is away"), "{shown}");
        assert!(line("scrub").ends_with("2026-11-18T12:06:40Z  7 copies read"), "{shown}");
        assert_eq!(line("media").split_whitespace().collect::<Vec<_>>(), ["media", "not", "yet", "off"]);
        assert!(!line("keys").contains('!'), "{shown}");
        assert_eq!(text(&[]), "");
    }
}
