//! Checks of keys: those of the coming months, custodians and their shares, what leaked.

use crate::archive::review::{Check, Facts, Finding, KeyFacts, Limits, State, Text, few, is_old, minute};
use crate::base::time::Stamp;

pub(super) fn findings(facts: &Facts, limits: &Limits) -> Vec<Finding> {
    let mut found = match &facts.keys {
        Ok(keys) => {
            vec![ahead(keys), key_places(keys), custodians(keys), drills(keys, facts.now, limits)]
        }
        Err(why) => [&AHEAD, &KEY_PLACES, &CUSTODIANS, &DRILLS].map(|check| check.unknown(why)).to_vec(),
    };
    found.push(leaked(facts));
    found
}

fn ahead(keys: &KeyFacts) -> Finding {
    if keys.lacking.is_empty() {
        let said = Text::new(
            format!("recipients are there for this month and {} to come", keys.months),
            format!("odbiorcy są na ten miesiąc i {} następne", keys.months),
        );
        return AHEAD.found(State::Ok, said, None);
    }
    let state = if keys.urgent > 0 { State::Fails } else { State::Attention };
    AHEAD.found(state, few(&keys.lacking), None)
}

fn key_places(keys: &KeyFacts) -> Finding {
    let there = keys.places - keys.absent.len().min(keys.places);
    if !keys.absent.is_empty() {
        return KEY_PLACES.found(State::Fails, few(&keys.absent), None);
    }
    let said = Text::new(format!("{there} are there"), format!("dostępne: {there}"));
    KEY_PLACES.found(if there < 2 { State::Attention } else { State::Ok }, said, None)
}

fn custodians(keys: &KeyFacts) -> Finding {
    let (needed, all) = (usize::from(keys.threshold), keys.custodians.len());
    let said = Text::new(
        format!("it takes {needed} of {all} custodians"),
        format!("potrzeba {needed} z {all} powierników"),
    );
    // With none to spare, whoever is ill locks everybody out; and alone one needs nobody.
    let state = if all < needed || needed == 0 {
        State::Fails
    } else if all == needed || needed < 2 {
        State::Attention
    } else {
        State::Ok
    };
    CUSTODIANS.found(state, said, Some(keys.made))
}

fn drills(keys: &KeyFacts, now: Stamp, limits: &Limits) -> Finding {
    let last = |shown: Option<Stamp>| shown.unwrap_or(keys.made);
    let late = keys.custodians.iter().filter(|one| is_old(last(one.shown), now, limits.drill));
    let late: Vec<String> = late.map(|one| one.name.clone()).collect();
    let never = keys.custodians.iter().filter(|one| one.shown.is_none());
    let never: Vec<String> = never.map(|one| one.name.clone()).collect();
    let fresh = keys.custodians.len() - late.len();
    let oldest = keys.custodians.iter().map(|one| last(one.shown)).min();
    let days = limits.drill.0.as_secs() / 86_400;
    if !late.is_empty() {
        let few = few(&late);
        let said = Text::new(
            format!("not within {days} days: {}", few.en),
            format!("nie w ciągu {days} dni: {}", few.pl),
        );
        let state = if fresh < usize::from(keys.threshold) { State::Fails } else { State::Attention };
        return DRILLS.found(state, said, oldest);
    }
    if !never.is_empty() {
        let few = few(&never);
        let said = Text::new(
            format!("not since the share was given: {}", few.en),
            format!("ani razu od wydania udziału: {}", few.pl),
        );
        return DRILLS.found(State::Attention, said, oldest);
    }
    let said = Text::new(
        format!("each share was opened within {days} days"),
        format!("każdy udział otwarto w ciągu {days} dni"),
    );
    DRILLS.found(State::Ok, said, oldest)
}

fn leaked(facts: &Facts) -> Finding {
    let Some(since) = facts.log.leaked.values().min() else {
        let said = Text::new("no renewal was begun and not finished", "żadna wymiana nie jest niedokończona");
        return LEAKED.found(State::Ok, said, facts.log.newest);
    };
    let told: Vec<_> =
        facts.log.leaked.iter().map(|(epoch, since)| format!("{epoch} ({})", minute(*since))).collect();
    LEAKED.found(State::Fails, few(&told), Some(*since))
}

const KEYS: (&str, &str) = ("the vault's key places", "miejsca kluczy skarbca");

const AHEAD: Check = Check {
    id: "keys-ahead",
    title: ("Keys of the coming months", "Klucze na następne miesiące"),
    source: KEYS,
    remedy: (
        "unlock it, which makes them: `sejf vault unlock HOME -i KEY`",
        "odblokuj, wtedy powstaną: `sejf vault unlock HOME -i KEY`",
    ),
};
const KEY_PLACES: Check = Check {
    id: "key-places",
    title: ("Key places", "Miejsca kluczy"),
    source: KEYS,
    remedy: (
        "two at least, on different devices: `key_places` in vault.toml; bring back what is absent, then `sejf vault keys repair HOME`",
        "co najmniej dwa, na różnych urządzeniach: `key_places` w vault.toml; przywróć brakujące, potem `sejf vault keys repair HOME`",
    ),
};
const CUSTODIANS: Check = Check {
    id: "custodians",
    title: ("Custodians", "Powiernicy"),
    source: KEYS,
    remedy: (
        "more of them than it takes, and two at least: `sejf vault keys rotate HOME --add NAME=RECIPIENT`",
        "więcej, niż potrzeba, i co najmniej dwóch: `sejf vault keys rotate HOME --add NAME=RECIPIENT`",
    ),
};
const DRILLS: Check = Check {
    id: "drills",
    title: ("Custodians' drills", "Ćwiczenia powierników"),
    source: ("drills.json of the vault, a copy of its log", "drills.json skarbca, kopia dziennika"),
    remedy: (
        "each of them: `sejf vault keys drill HOME -i KEY`",
        "każdy z nich: `sejf vault keys drill HOME -i KEY`",
    ),
};
const LEAKED: Check = Check {
    id: "leaked-keys",
    title: ("Keys that leaked and are not replaced", "Klucze ujawnione i niewymienione"),
    source: ("the vault's log", "dziennik skarbca"),
    remedy: (
        "`sejf vault keys leak HOME EPOCH --rewrap --go-on -i KEY --reason audit`",
        "`sejf vault keys leak HOME EPOCH --rewrap --go-on -i KEY --reason audit`",
    ),
};
