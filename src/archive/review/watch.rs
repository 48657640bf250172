//! Checks of the log itself, and of the program.

use crate::archive::review::{Check, Facts, Finding, Known, Limits, State, Text, few, is_old, minute};
use crate::base::time::Stamp;

pub(super) fn findings(facts: &Facts, limits: &Limits) -> Vec<Finding> {
    vec![
        readable(facts),
        elsewhere(&WITNESS, facts.witnessed.as_ref(), facts.now),
        elsewhere(&FORWARD, facts.forwarded.as_ref(), facts.now),
        advisories(facts, limits),
    ]
}

fn readable(facts: &Facts) -> Finding {
    let (size, unreadable) = (facts.log.size, facts.log.unreadable);
    let said = Text::new(
        format!("{size} entries, {unreadable} of them not readable by this version"),
        format!("wpisów: {size}, nieczytelnych dla tej wersji: {unreadable}"),
    );
    let is_ahead = facts.log.newest.is_some_and(|newest| newest > facts.now.after(DAY));
    let state = if is_ahead || size == 0 {
        State::Fails
    } else if unreadable > 0 {
        State::Attention
    } else {
        State::Ok
    };
    READABLE.found(state, said, facts.log.newest)
}

/// What another host should have had lately.
fn elsewhere(check: &Check, last: Option<&Known<Stamp>>, now: Stamp) -> Finding {
    match last {
        None => check.unknown_in("none is configured", "nie skonfigurowano"),
        Some(Err(why)) => check.found(State::Fails, Text::same(why.clone()), None),
        Some(Ok(at)) => {
            let is_late = is_old(*at, now, crate::archive::duties::Length(DAY));
            let said = Text::new(format!("last {}", minute(*at)), format!("ostatnio {}", minute(*at)));
            check.found(if is_late { State::Fails } else { State::Ok }, said, Some(*at))
        }
    }
}

fn advisories(facts: &Facts, limits: &Limits) -> Finding {
    let known = match &facts.advisories {
        None => {
            return ADVISORIES.unknown_in(
                "`advisories` of [review] names no file",
                "`advisories` w [review] nie podaje pliku",
            );
        }
        Some(Err(why)) => return ADVISORIES.unknown(why),
        Some(Ok(known)) => known,
    };
    if !known.open.is_empty() {
        return ADVISORIES.found(State::Fails, few(&known.open), known.at);
    }
    let days = limits.advisories_age.0.as_secs() / 86_400;
    match known.at {
        None => ADVISORIES.unknown_in("the file says not as of when it is", "plik nie podaje, z kiedy jest"),
        Some(at) if is_old(at, facts.now, limits.advisories_age) => ADVISORIES.found(
            State::Attention,
            Text::new(
                format!("none, as of {}: more than {days} days ago", minute(at)),
                format!("brak, stan na {}: ponad {days} dni temu", minute(at)),
            ),
            Some(at),
        ),
        Some(at) => ADVISORIES.found(
            State::Ok,
            Text::new(format!("none, as of {}", minute(at)), format!("brak, stan na {}", minute(at))),
            Some(at),
        ),
    }
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

const READABLE: Check = Check {
    id: "log",
    title: ("The vault's log", "Dziennik skarbca"),
    source: ("the log, with its signature", "dziennik z podpisem"),
    remedy: (
        "`sejf audit verify HOME`; use the version that wrote it",
        "`sejf audit verify HOME`; użyj wersji, która go zapisała",
    ),
};
const WITNESS: Check = Check {
    id: "log-witness",
    title: ("Log signed by another host", "Dziennik podpisany przez inny komputer"),
    source: ("the vault's log", "dziennik skarbca"),
    remedy: (
        "[[audit.witness]] in vault.toml, and on another host `sejf audit witness`; `sejf vault status HOME` says why it is behind",
        "[[audit.witness]] w vault.toml, a na innym komputerze `sejf audit witness`; `sejf vault status HOME` powie, co przeszkadza",
    ),
};
const FORWARD: Check = Check {
    id: "log-forwarding",
    title: ("Log sent to another host", "Dziennik wysyłany na inny komputer"),
    source: ("the vault's log", "dziennik skarbca"),
    remedy: (
        "[[audit.forward]] in vault.toml, to where those who run the vault change nothing; `sejf vault status HOME` says why it is behind",
        "[[audit.forward]] w vault.toml, tam, gdzie obsługa skarbca niczego nie zmieni; `sejf vault status HOME` powie, co przeszkadza",
    ),
};
const ADVISORIES: Check = Check {
    id: "advisories",
    title: ("Advisories against this version", "Znane luki tej wersji"),
    source: ("the file that [review] names", "plik podany w [review]"),
    remedy: (
        "`cargo audit --json > FILE` beside the release's Cargo.lock, and `advisories = \"FILE\"` in [review]; update where one is open",
        "`cargo audit --json > FILE` przy Cargo.lock wydania i `advisories = \"FILE\"` w [review]; przy luce zaktualizuj",
    ),
};
