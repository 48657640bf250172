//! Checks of what is kept: copies, places, media, restore tests, destruction.

use crate::archive::copies::Worm;
use crate::archive::duties::{Came, Duty};
use crate::archive::media::Due;
use crate::archive::review::{
    Check, CopiesFacts, Facts, Finding, Limits, PlaceStands, State, Text, few, is_old, minute,
};

pub(super) fn findings(facts: &Facts, limits: &Limits) -> Vec<Finding> {
    let mut found = match &facts.copies {
        Ok(copies) => vec![short(copies, limits), lost(copies)],
        Err(why) => vec![SHORT.unknown(why), LOST.unknown(why)],
    };
    match &facts.places {
        Ok(places) => {
            for place in places {
                found.push(reached(place));
                found.push(worm(place, facts, limits));
                found.push(restore(place, facts, limits));
                found.push(scrub(place, facts, limits));
            }
            found.extend(worm_at_all(facts, places));
        }
        Err(why) => found.extend([&PLACE, &WORM, &RESTORE, &SCRUB].map(|check| check.unknown(why))),
    }
    found.push(media(facts));
    found.extend([destruction(facts, limits), clock(facts), duties(facts)]);
    found
}

fn short(copies: &CopiesFacts, limits: &Limits) -> Finding {
    let hours = limits.copies.0.as_secs() / 3_600;
    let CopiesFacts { recordings, short, short_for_long, .. } = *copies;
    let said = Text::new(
        format!(
            "{short} of {recordings} recordings have too few, {short_for_long} of them for more than {hours} h"
        ),
        format!("za mało kopii: {short} z {recordings} nagrań, w tym {short_for_long} dłużej niż {hours} h"),
    );
    let state = if short_for_long > 0 { State::Fails } else { State::Ok };
    SHORT.found(state, said, None)
}

fn lost(copies: &CopiesFacts) -> Finding {
    let lost = copies.lost;
    let said = Text::new(
        format!("of {lost} recordings no good copy is known"),
        format!("nagrania bez żadnej dobrej kopii: {lost}"),
    );
    LOST.found(if lost > 0 { State::Fails } else { State::Ok }, said, None)
}

fn reached(place: &PlaceStands) -> Finding {
    match &place.absent {
        Some(why) => PLACE.found_of(&place.name, State::Fails, Text::same(one_line(why)), None),
        None => {
            let PlaceStands { good, wrong, .. } = place;
            let said = Text::new(
                format!("it is there: {good} copies are good, {wrong} broken or missing"),
                format!("dostępne: dobrych kopii {good}, zepsutych lub brakujących {wrong}"),
            );
            let state = if *wrong > 0 { State::Attention } else { State::Ok };
            PLACE.found_of(&place.name, state, said, place.oldest_read)
        }
    }
}

fn worm(place: &PlaceStands, facts: &Facts, limits: &Limits) -> Finding {
    let hours = limits.worm_test.0.as_secs() / 3_600;
    let is_fresh = place.worm_tested.is_some_and(|at| !is_old(at, facts.now, limits.worm_test));
    let (state, said) = match (&place.worm, place.is_to_be_worm) {
        (Worm::Passed, true) if is_fresh => (
            State::Ok,
            Text::new("nothing that was written could be changed", "niczego zapisanego nie dało się zmienić"),
        ),
        (Worm::Passed, true) => (
            State::Fails,
            Text::new(
                format!("passed, and not tried for more than {hours} h"),
                format!("test zaliczony, lecz ponad {hours} h temu"),
            ),
        ),
        (Worm::Failed(why), true) => {
            let why = one_line(why);
            (State::Fails, Text::new(format!("it is to be WORM: {why}"), format!("ma być WORM: {why}")))
        }
        (Worm::Untested, true) => (
            State::Fails,
            Text::new("it is to be WORM, and was not tried", "ma być WORM, a nie było testowane"),
        ),
        (Worm::Passed, false) => {
            (State::Ok, Text::new("it is, without being asked to", "jest, choć nie musi"))
        }
        (Worm::Failed(_) | Worm::Untested, false) => {
            (State::Ok, Text::new("it is not to be WORM, and is not", "nie ma być WORM i nie jest"))
        }
    };
    WORM.found_of(&place.name, state, said, place.worm_tested)
}

/// Where a class takes copies in WORM places only, there must be one.
fn worm_at_all(facts: &Facts, places: &[PlaceStands]) -> Option<Finding> {
    let copies = facts.copies.as_ref().ok().filter(|copies| copies.need_worm)?;
    let some = places.iter().filter(|place| place.is_to_be_worm && place.worm == Worm::Passed).count();
    let said = Text::new(
        format!("a class takes WORM places only; {some} passed"),
        format!("pewna klasa wymaga miejsc WORM; test zaliczyło: {some}"),
    );
    let state = if copies.need_worm && some == 0 { State::Fails } else { State::Ok };
    Some(WORM_PLACES.found(state, said, None))
}

fn restore(place: &PlaceStands, facts: &Facts, limits: &Limits) -> Finding {
    let days = limits.restore_test.0.as_secs() / 86_400;
    let Some(last) = facts.log.restored.get(&place.name) else {
        let said = Text::new("never", "nigdy");
        return RESTORE.found_of(&place.name, State::Fails, said, None);
    };
    let said = Text::new(
        format!("{} files restored, {} opened, {} failures", last.files, last.opened, last.failures),
        format!("odtworzono plików: {}, otwarto: {}, błędów: {}", last.files, last.opened, last.failures),
    );
    let state = if last.failures > 0 || is_old(last.at, facts.now, limits.restore_test) {
        State::Fails
    } else if last.files == 0 || last.opened == 0 {
        State::Attention
    } else {
        State::Ok
    };
    let said = if is_old(last.at, facts.now, limits.restore_test) {
        Text::new(
            format!("{}; more than {days} days ago", said.en),
            format!("{}; ponad {days} dni temu", said.pl),
        )
    } else {
        said
    };
    RESTORE.found_of(&place.name, state, said, Some(last.at))
}

fn scrub(place: &PlaceStands, facts: &Facts, limits: &Limits) -> Finding {
    let days = limits.scrub.0.as_secs() / 86_400;
    let Some(oldest) = place.oldest_read else {
        let said = Text::new("there is no copy to read", "nie ma kopii do odczytu");
        return SCRUB.found_of(&place.name, State::Ok, said, None);
    };
    let is_late = is_old(oldest, facts.now, limits.scrub);
    let said = Text::new(
        format!("each copy was read since {}", minute(oldest)),
        format!("każdą kopię odczytano od {}", minute(oldest)),
    );
    let said = if is_late {
        Text::new(
            format!("{}, which is more than {days} days", said.en),
            format!("{}, czyli ponad {days} dni temu", said.pl),
        )
    } else {
        said
    };
    SCRUB.found_of(&place.name, if is_late { State::Fails } else { State::Ok }, said, Some(oldest))
}

fn media(facts: &Facts) -> Finding {
    let media = match &facts.media {
        Ok(media) => media,
        Err(why) => return MEDIA.unknown(why),
    };
    let due = media.iter().filter_map(|medium| match medium.due {
        Due::Check(_) => None,
        Due::CheckNow(_) => Some(format!("{}: check", medium.id)),
        Due::Mend => Some(format!("{}: mend", medium.id)),
        Due::Destroy => Some(format!("{}: destroy", medium.id)),
    });
    let due: Vec<_> = due.collect();
    if due.is_empty() {
        let all = media.len();
        let said = Text::new(format!("{all} media, none due"), format!("nośników: {all}, żaden nie czeka"));
        return MEDIA.found(State::Ok, said, None);
    }
    let is_damaged = media.iter().any(|medium| medium.due == Due::Mend);
    MEDIA.found(if is_damaged { State::Fails } else { State::Attention }, few(&due), None)
}

fn destruction(facts: &Facts, limits: &Limits) -> Finding {
    let hours = limits.destruction.0.as_secs() / 3_600;
    let Some(planned) = facts.log.planned else {
        return DESTRUCTION.unknown_in(
            "the vault has made no plan: `destruction_plan` of [duties] says when",
            "skarbiec nie ma planu: kiedy, mówi `destruction_plan` w [duties]",
        );
    };
    match facts.log.destroyable {
        Some((since, count)) if is_old(since, facts.now, limits.destruction) => DESTRUCTION.found(
            State::Fails,
            Text::new(
                format!(
                    "{count} recordings or keys may be destroyed, some since {}: more than {hours} h",
                    minute(since)
                ),
                format!("do zniszczenia: {count}, część od {}: ponad {hours} h", minute(since)),
            ),
            Some(planned),
        ),
        Some((since, count)) => DESTRUCTION.found(
            State::Attention,
            Text::new(
                format!("{count} recordings or keys may be destroyed, since {}", minute(since)),
                format!("do zniszczenia: {count}, od {}", minute(since)),
            ),
            Some(planned),
        ),
        None => DESTRUCTION.found(
            State::Ok,
            Text::new("nothing waits to be destroyed", "nic nie czeka na zniszczenie"),
            Some(planned),
        ),
    }
}

fn clock(facts: &Facts) -> Finding {
    let standing = facts.duties.iter().find(|one| one.duty == Duty::Clock);
    let Some((standing, came)) = standing.and_then(|one| Some((one, one.came?))) else {
        return CLOCK.unknown_in(
            "nobody has looked at it yet: `clock` of [duties] says when",
            "nikt go jeszcze nie sprawdził: kiedy, mówi `clock` w [duties]",
        );
    };
    let said = Text::same(one_line(&standing.words));
    let state = if came == Came::Well { State::Ok } else { State::Fails };
    CLOCK.found(state, said, standing.last)
}

fn duties(facts: &Facts) -> Finding {
    let wrong: Vec<_> = facts
        .duties
        .iter()
        .filter(|one| one.is_wrong())
        .map(|one| if one.late { format!("{} (late)", one.duty) } else { one.duty.to_string() })
        .collect();
    let off: Vec<_> = facts.duties.iter().filter(|one| one.off).map(|one| one.duty.to_string()).collect();
    let newest = facts.duties.iter().filter_map(|one| one.last).max();
    if !wrong.is_empty() {
        return DUTIES.found(State::Fails, few(&wrong), newest);
    }
    if !off.is_empty() {
        let few = few(&off);
        let said = Text::new(format!("switched off: {}", few.en), format!("wyłączone: {}", few.pl));
        return DUTIES.found(State::Unknown, said, newest);
    }
    let said = Text::new("none is late, none has found anything", "żaden się nie spóźnia i nic nie znalazł");
    DUTIES.found(State::Ok, said, newest)
}

/// What a store or the operating system said.
fn one_line(text: &str) -> String {
    text.replace(|letter: char| letter.is_control(), " ").chars().take(400).collect()
}

const CATALOG: (&str, &str) = ("the catalog", "katalog");
const LOG: (&str, &str) = ("the vault's log", "dziennik skarbca");
const KEPT: (&str, &str) =
    ("what the vault does by itself (duties.json)", "czynności własne skarbca (duties.json)");

const SHORT: Check = Check {
    id: "copies-short",
    title: ("Recordings with too few copies", "Nagrania z za małą liczbą kopii"),
    source: CATALOG,
    remedy: (
        "`sejf copies run HOME` says what is in the way; media are written with `sejf media write`",
        "`sejf copies run HOME` powie, co przeszkadza; nośniki: `sejf media write`",
    ),
};
const LOST: Check = Check {
    id: "copies-lost",
    title: ("Recordings without a good copy", "Nagrania bez dobrej kopii"),
    source: CATALOG,
    remedy: (
        "`sejf scrub HOME` looks everywhere; bring back places and media that are away",
        "`sejf scrub HOME` szuka wszędzie; przywróć nieobecne miejsca i nośniki",
    ),
};
const PLACE: Check = Check {
    id: "place",
    title: ("Place with copies", "Miejsce z kopiami"),
    source: ("the place itself, and the catalog", "samo miejsce i katalog"),
    remedy: (
        "mount or reach it again; what is broken is mended by `sejf scrub HOME`",
        "podłącz je ponownie; zepsute kopie naprawia `sejf scrub HOME`",
    ),
};
const WORM: Check = Check {
    id: "worm-test",
    title: ("WORM self-test", "Test WORM"),
    source: ("the place's last self-test, in the catalog", "ostatni test miejsca, w katalogu"),
    remedy: (
        "`sejf place test HOME`; put the store's object lock right where it fails",
        "`sejf place test HOME`; przy błędzie popraw blokadę obiektów",
    ),
};
const WORM_PLACES: Check = Check {
    id: "worm-places",
    title: ("Places that keep what was written once", "Miejsca tylko do zapisu (WORM)"),
    source: CATALOG,
    remedy: (
        "add a [[place]] with `object_lock = true`, then `sejf place test HOME`",
        "dodaj [[place]] z `object_lock = true`, potem `sejf place test HOME`",
    ),
};
const RESTORE: Check = Check {
    id: "restore-test",
    title: ("Restore test", "Test odtworzenia"),
    source: LOG,
    remedy: (
        "`sejf restore-test HOME --to DIR -i KEY`, in an empty folder",
        "`sejf restore-test HOME --to DIR -i KEY`, w pustym folderze",
    ),
};
const SCRUB: Check = Check {
    id: "scrub",
    title: ("Every copy read", "Odczyt wszystkich kopii"),
    source: CATALOG,
    remedy: ("`sejf scrub HOME --days 30`", "`sejf scrub HOME --days 30`"),
};
const MEDIA: Check = Check {
    id: "media",
    title: ("Media that are due", "Nośniki, na które czas"),
    source: ("the register of media, in the catalog", "rejestr nośników, w katalogu"),
    remedy: ("`sejf media due HOME` says what to do", "`sejf media due HOME` powie, co zrobić"),
};
const DESTRUCTION: Check = Check {
    id: "destruction",
    title: ("Destruction that is due", "Zaległe niszczenie"),
    source: LOG,
    remedy: (
        "`sejf destroy plan HOME`, then `sejf destroy run HOME -i KEY -i KEY`",
        "`sejf destroy plan HOME`, potem `sejf destroy run HOME -i KEY -i KEY`",
    ),
};
const CLOCK: Check = Check {
    id: "clock",
    title: ("Clock", "Zegar"),
    source: KEPT,
    remedy: (
        "put it right; where it is right: `sejf destroy clock HOME -i KEY -i KEY`",
        "nastaw go; jeśli idzie dobrze: `sejf destroy clock HOME -i KEY -i KEY`",
    ),
};
const DUTIES: Check = Check {
    id: "duties",
    title: ("What the vault does by itself", "Czynności własne skarbca"),
    source: KEPT,
    remedy: (
        "`sejf vault status HOME` says why; what is off must be done by timers",
        "`sejf vault status HOME` powie dlaczego; wyłączone muszą wykonywać inne programy",
    ),
};
