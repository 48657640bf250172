//! Checks of recorders, as far as the vault can know them: what was taken in, their logs, versions, what was dropped.

use crate::archive::review::{
    CertificateFacts, Check, Facts, Finding, Limits, RecorderFacts, State, Text, few, is_old, minute,
};

pub(super) fn findings(facts: &Facts, limits: &Limits) -> Vec<Finding> {
    let mut found: Vec<_> = facts.certificates.iter().map(|one| certificate(one, facts, limits)).collect();
    match &facts.recorders {
        Ok(recorders) => {
            let newest =
                recorders.iter().filter_map(|one| one.version.as_deref()).max_by_key(|one| parts(one));
            for recorder in recorders {
                found.push(taken_in(recorder, facts, limits));
                found.push(gaps(recorder));
                found.push(version(recorder, newest));
                found.push(dropped(recorder));
                found.push(troubles(recorder));
                found.push(canary(recorder));
            }
        }
        Err(why) => {
            let all = [&TAKEN_IN, &GAPS, &VERSION, &DROPPED, &TROUBLES, &CANARY];
            found.extend(all.map(|check| check.unknown(why)));
        }
    }
    found
}

fn certificate(one: &CertificateFacts, facts: &Facts, limits: &Limits) -> Finding {
    let until = match &one.until {
        Ok(until) => *until,
        Err(why) => {
            return Finding { subject: one.subject.clone(), ..CERTIFICATE.unknown(why) };
        }
    };
    let soon = facts.now.after(limits.certificate.0);
    let (renewed_en, renewed_pl) =
        if one.is_renewed { (", and is made anew every day", ", odnawiany codziennie") } else { ("", "") };
    let said = Text::new(
        format!("it ends {}{renewed_en}", minute(until)),
        format!("wygasa {}{renewed_pl}", minute(until)),
    );
    let state = match () {
        () if one.is_renewed => State::Ok,
        () if until <= facts.now => State::Fails,
        () if until <= soon => State::Attention,
        () => State::Ok,
    };
    CERTIFICATE.found_of(&one.subject, state, said, Some(until))
}

fn taken_in(recorder: &RecorderFacts, facts: &Facts, limits: &Limits) -> Finding {
    let hours = limits.recorder.0.as_secs() / 3_600;
    let newest = recorder.taken_in.max(recorder.newest_event);
    let Some(at) = newest else {
        let said = Text::new("nothing was ever taken in", "niczego jeszcze nie przyjęto");
        return TAKEN_IN.found_of(&recorder.name, State::Fails, said, None);
    };
    let is_silent = is_old(at, facts.now, limits.recorder);
    let said = match (recorder.taken_in, is_silent) {
        (Some(at), false) => {
            Text::new(format!("last taken in {}", minute(at)), format!("ostatnio przyjęto {}", minute(at)))
        }
        (None, false) => Text::new("it has recorded nothing yet", "nic jeszcze nie nagrał"),
        (_, true) => Text::new(
            format!("nothing since {}, more than {hours} h", minute(at)),
            format!("nic od {}, ponad {hours} h", minute(at)),
        ),
    };
    let state = if is_silent { State::Fails } else { State::Ok };
    TAKEN_IN.found_of(&recorder.name, state, said, Some(at))
}

fn gaps(recorder: &RecorderFacts) -> Finding {
    let RecorderFacts { log_size, missing, awaited, .. } = recorder;
    let said = Text::new(
        format!("{log_size} entries, {missing} of them in no book, files of {awaited} not here yet"),
        format!("wpisów: {log_size}, w żadnej księdze: {missing}, bez plików: {awaited}"),
    );
    let state = if *missing > 0 {
        State::Fails
    } else if *awaited > 0 {
        State::Attention
    } else {
        State::Ok
    };
    GAPS.found_of(&recorder.name, state, said, recorder.taken_in)
}

fn version(recorder: &RecorderFacts, newest: Option<&str>) -> Finding {
    let (Some(version), Some(newest)) = (recorder.version.as_deref(), newest) else {
        let found = VERSION.unknown_in("nothing of it was taken in", "niczego z niego nie przyjęto");
        return Finding { subject: recorder.name.clone(), ..found };
    };
    let own = crate::archive::review::recorders::parts(env!("CARGO_PKG_VERSION"));
    let is_old = parts(version) < parts(newest).max(own);
    let said = Text::new(
        format!("{version}; the newest seen is {newest}, this vault's {}", env!("CARGO_PKG_VERSION")),
        format!("{version}; najnowsza widziana to {newest}, skarbca {}", env!("CARGO_PKG_VERSION")),
    );
    let state = if is_old { State::Attention } else { State::Ok };
    VERSION.found_of(&recorder.name, state, said, recorder.taken_in)
}

/// `1.10.0` is after `1.9.3`.
fn parts(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    core.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn dropped(recorder: &RecorderFacts) -> Finding {
    let dropped: u64 = recorder.dropped.values().sum();
    if recorder.taken_in.is_none() {
        let found = DROPPED.unknown_in("nothing of it was taken in", "niczego z niego nie przyjęto");
        return Finding { subject: recorder.name.clone(), ..found };
    }
    let by: Vec<_> = recorder.dropped.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
    let said = if dropped == 0 {
        Text::new(
            format!("of {} frames none, by receipts and events of 7 days", recorder.captured),
            format!("z {} ramek żadnej, wg pokwitowań i zdarzeń z 7 dni", recorder.captured),
        )
    } else {
        let few = few(&by);
        Text::new(
            format!("{dropped}, by receipts and events of 7 days: {}", few.en),
            format!("{dropped}, wg pokwitowań i zdarzeń z 7 dni: {}", few.pl),
        )
    };
    DROPPED.found_of(
        &recorder.name,
        if dropped > 0 { State::Fails } else { State::Ok },
        said,
        recorder.taken_in,
    )
}

fn troubles(recorder: &RecorderFacts) -> Finding {
    if recorder.newest_event.is_none() {
        let found = TROUBLES.unknown_in("no event of it has come", "nie nadeszło żadne jego zdarzenie");
        return Finding { subject: recorder.name.clone(), ..found };
    }
    if recorder.troubles.is_empty() {
        let said = Text::new("it runs, by its last event", "działa, wg ostatniego zdarzenia");
        return TROUBLES.found_of(&recorder.name, State::Ok, said, recorder.newest_event);
    }
    TROUBLES.found_of(&recorder.name, State::Fails, few(&recorder.troubles), recorder.newest_event)
}

/// Neither receipts nor events tell of it.
fn canary(recorder: &RecorderFacts) -> Finding {
    let found = CANARY.unknown_in("its recorder keeps that to itself", "rejestrator zachowuje to dla siebie");
    Finding { subject: recorder.name.clone(), ..found }
}

const SENT: (&str, &str) = ("receipts that were taken in", "przyjęte pokwitowania");
const EVENTS: (&str, &str) = ("events in the recorder's log", "zdarzenia w dzienniku rejestratora");

const CERTIFICATE: Check = Check {
    id: "certificate",
    title: ("Certificate", "Certyfikat"),
    source: ("the certificate itself", "sam certyfikat"),
    remedy: (
        "a recorder's: `sejf vault enrol HOME`; the web's: put another at `certificate` and `key` of [web], then SIGHUP",
        "rejestratora: `sejf vault enrol HOME`; strony: nowy w `certificate` i `key` w [web], potem SIGHUP",
    ),
};
const TAKEN_IN: Check = Check {
    id: "recorder-intake",
    title: ("Recorder's last recordings", "Ostatnie nagrania rejestratora"),
    source: SENT,
    remedy: (
        "on the recorder: `sejf status`, and whether `sejf forward` runs",
        "na rejestratorze: `sejf status` oraz czy działa `sejf forward`",
    ),
};
const GAPS: Check = Check {
    id: "recorder-log",
    title: ("Recorder's log without gaps", "Dziennik rejestratora bez luk"),
    source: ("books of the catalog", "księgi katalogu"),
    remedy: (
        "`sejf vault running status HOME` says what is waited for; `sejf vault catalog rebuild HOME` reads all anew",
        "`sejf vault running status HOME` powie, na co czeka; `sejf vault catalog rebuild HOME` czyta od nowa",
    ),
};
const VERSION: Check = Check {
    id: "recorder-version",
    title: ("Recorder's version", "Wersja rejestratora"),
    source: SENT,
    remedy: ("install the newest version on it", "zainstaluj na nim najnowszą wersję"),
};
const DROPPED: Check = Check {
    id: "recorder-drops",
    title: ("Frames that a recorder dropped", "Ramki utracone przez rejestrator"),
    source: ("receipts and events", "pokwitowania i zdarzenia"),
    remedy: (
        "on the recorder: `sejf top`, and `sejf config policies` for what is given up first",
        "na rejestratorze: `sejf top` oraz `sejf config policies`",
    ),
};
const TROUBLES: Check = Check {
    id: "recorder-state",
    title: ("Recorder's own troubles", "Kłopoty rejestratora"),
    source: EVENTS,
    remedy: ("on the recorder: `sejf status`", "na rejestratorze: `sejf status`"),
};
const CANARY: Check = Check {
    id: "recorder-canary",
    title: ("Recorder's canary call", "Rozmowa kontrolna rejestratora"),
    source: ("nothing that comes to the vault", "nic, co trafia do skarbca"),
    remedy: (
        "on the recorder: `sejf status` names its canary; metrics have `sejf_canary_…`",
        "na rejestratorze: `sejf status` podaje stan; metryki mają `sejf_canary_…`",
    ),
};
