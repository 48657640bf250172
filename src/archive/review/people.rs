//! Checks of people: second factors, roles, tokens, who reached further, who heard much.

use crate::archive::review::{Check, Facts, Finding, Limits, State, Text, UserFacts, few, is_old, minute};

pub(super) fn findings(facts: &Facts, limits: &Limits) -> Vec<Finding> {
    let mut found = match &facts.users {
        Ok(users) => vec![
            second_factors(users),
            recovery_codes(users),
            certified(users, facts, limits),
            disabled(users),
            tokens_end(users, facts, limits),
            tokens_used(users, facts, limits),
        ],
        Err(why) => {
            let all = [&MFA, &RECOVERY, &CERTIFIED, &DISABLED, &TOKENS_END, &TOKENS_USED];
            all.map(|check| check.unknown(why)).to_vec()
        }
    };
    found.extend([glass(facts), bulk(facts, limits), lockouts(facts), sampling(facts)]);
    found
}

fn names<'a>(users: impl Iterator<Item = &'a UserFacts>) -> Vec<String> {
    users.map(|user| user.name.clone()).collect()
}

fn active(users: &[UserFacts]) -> impl Iterator<Item = &UserFacts> {
    users.iter().filter(|user| user.is_active)
}

fn second_factors(users: &[UserFacts]) -> Finding {
    let (all, without) = (active(users).count(), names(active(users).filter(|user| !user.has_second_factor)));
    let with = all - without.len();
    let said = Text::new(
        format!("{with} of {all} active users have a second factor"),
        format!("drugi składnik ma {with} z {all} aktywnych użytkowników"),
    );
    if without.is_empty() {
        return MFA.found(State::Ok, said, None);
    }
    let few = few(&without);
    MFA.found(
        State::Fails,
        Text::new(format!("{}; without: {}", said.en, few.en), format!("{}; bez: {}", said.pl, few.pl)),
        None,
    )
}

fn recovery_codes(users: &[UserFacts]) -> Finding {
    let few_left = names(active(users).filter(|user| user.recovery_codes < RECOVERY_FEW));
    if few_left.is_empty() {
        let said = Text::new("everybody has some left", "każdy ma jeszcze kody");
        return RECOVERY.found(State::Ok, said, None);
    }
    let few = few(&few_left);
    RECOVERY.found(
        State::Attention,
        Text::new(
            format!("fewer than {RECOVERY_FEW} are left to {}", few.en),
            format!("mniej niż {RECOVERY_FEW} kody mają: {}", few.pl),
        ),
        None,
    )
}

fn certified(users: &[UserFacts], facts: &Facts, limits: &Limits) -> Finding {
    let with_roles = || users.iter().filter(|user| !user.is_disabled && user.has_roles);
    let due = names(with_roles().filter(|user| is_old(user.certified, facts.now, limits.certify)));
    let (days, all) = (limits.certify.0.as_secs() / 86_400, with_roles().count());
    let oldest = with_roles().map(|user| user.certified).min();
    if due.is_empty() {
        let said = Text::new(
            format!("the roles of all {all} were given or certified within {days} days"),
            format!("role wszystkich ({all}) nadano lub potwierdzono w ciągu {days} dni"),
        );
        return CERTIFIED.found(State::Ok, said, oldest);
    }
    let few = few(&due);
    CERTIFIED.found(
        State::Fails,
        Text::new(
            format!("{} of {all} not within {days} days: {}", due.len(), few.en),
            format!("{} z {all} bez potwierdzenia od {days} dni: {}", due.len(), few.pl),
        ),
        oldest,
    )
}

fn disabled(users: &[UserFacts]) -> Finding {
    let with = names(users.iter().filter(|user| user.is_disabled && !user.tokens.is_empty()));
    if with.is_empty() {
        return DISABLED.found(State::Ok, Text::new("none has a token", "nikt nie ma tokenu"), None);
    }
    DISABLED.found(State::Fails, few(&with), None)
}

fn tokens_end(users: &[UserFacts], facts: &Facts, limits: &Limits) -> Finding {
    let soon = facts.now.after(limits.token_ends.0);
    let tokens = || users.iter().flat_map(|user| user.tokens.iter().map(move |token| (user, token)));
    let ending: Vec<_> =
        tokens().filter(|(_, token)| token.until > facts.now && token.until <= soon).collect();
    if ending.is_empty() {
        let said = Text::new("none ends soon", "żaden nie wygasa wkrótce");
        return TOKENS_END.found(State::Ok, said, None);
    }
    let told: Vec<_> = ending
        .iter()
        .map(|(user, token)| format!("{} of {} ({})", token.number, user.name, minute(token.until)))
        .collect();
    TOKENS_END.found(State::Attention, few(&told), ending.iter().map(|(_, token)| token.until).min())
}

fn tokens_used(users: &[UserFacts], facts: &Facts, limits: &Limits) -> Finding {
    let is_unused = |user: &&UserFacts| {
        let used = facts.log.tokens_used.get(&user.name).copied();
        let current = user.tokens.iter().filter(|token| token.until > facts.now);
        // The log says for whom a token acted, not which: where none of them was used, none was.
        let mut old = current.filter(|token| is_old(token.since, facts.now, limits.token_unused)).peekable();
        old.peek().is_some() && used.is_none_or(|used| is_old(used, facts.now, limits.token_unused))
    };
    let unused = names(users.iter().filter(|user| !user.is_disabled).filter(is_unused));
    let days = limits.token_unused.0.as_secs() / 86_400;
    if unused.is_empty() {
        let said = Text::new(
            format!("whoever has some used one within {days} days"),
            format!("kto je ma, użył któregoś w ciągu {days} dni"),
        );
        return TOKENS_USED.found(State::Ok, said, None);
    }
    let few = few(&unused);
    TOKENS_USED.found(
        State::Attention,
        Text::new(
            format!("no token of theirs for {days} days: {}", few.en),
            format!("żadnego tokenu od {days} dni: {}", few.pl),
        ),
        None,
    )
}

fn glass(facts: &Facts) -> Finding {
    let recent: Vec<_> = facts.log.glass.iter().filter(|(at, _)| !is_old(*at, facts.now, MONTH)).collect();
    let Some((last, _)) = recent.last() else {
        let said = Text::new("not within 30 days", "nie w ciągu 30 dni");
        return GLASS.found(State::Ok, said, None);
    };
    let told: Vec<_> = recent.iter().rev().map(|(at, who)| format!("{who} ({})", minute(*at))).collect();
    GLASS.found(State::Attention, few(&told), Some(*last))
}

fn bulk(facts: &Facts, limits: &Limits) -> Finding {
    // The most comes first.
    let most = facts.log.heard.iter().filter_map(|(who, peaks)| {
        peaks.iter().find(|peak| !is_old(peak.at, facts.now, MONTH)).map(|peak| (who, peak))
    });
    let mut much: Vec<_> = most.filter(|(_, peak)| peak.count > limits.plays_an_hour).collect();
    much.sort_by_key(|(_, peak)| std::cmp::Reverse(peak.count));
    if much.is_empty() {
        let said = Text::new(
            format!("nobody heard more than {} recordings in an hour, within 30 days", limits.plays_an_hour),
            format!("w ciągu 30 dni nikt nie odsłuchał ponad {} nagrań w godzinę", limits.plays_an_hour),
        );
        return BULK.found(State::Ok, said, None);
    }
    let told: Vec<_> =
        much.iter().map(|(who, peak)| format!("{who}: {} ({})", peak.count, minute(peak.at))).collect();
    BULK.found(State::Fails, few(&told), much.iter().map(|(_, peak)| peak.at).max())
}

fn lockouts(facts: &Facts) -> Finding {
    let recent: Vec<_> =
        facts.log.lockouts.iter().filter(|(_, at)| !is_old(**at, facts.now, MONTH)).collect();
    if recent.is_empty() {
        let said = Text::new("none within 30 days", "brak w ciągu 30 dni");
        return LOCKOUTS.found(State::Ok, said, None);
    }
    let told: Vec<_> = recent.iter().map(|(who, at)| format!("{who} ({})", minute(**at))).collect();
    LOCKOUTS.found(State::Attention, few(&told), recent.iter().map(|(_, at)| **at).max())
}

fn sampling(facts: &Facts) -> Finding {
    let standing = facts.log.sampling.standing(facts.now);
    let wrong = standing.not_to_be_recorded;
    let said = Text::new(
        format!(
            "quarter {}: {} of {} drawn recordings have a verdict; {wrong} must not have been recorded",
            standing.quarter, standing.judged, standing.drawn
        ),
        format!(
            "kwartał {}: ocenę ma {} z {} wylosowanych nagrań; {wrong} nie wolno było nagrać",
            standing.quarter, standing.judged, standing.drawn
        ),
    );
    let state = if wrong > 0 {
        State::Fails
    } else if standing.drawn == 0 {
        State::Unknown
    } else if standing.judged < standing.drawn {
        State::Attention
    } else {
        State::Ok
    };
    SAMPLING.found(state, said, standing.at)
}

const USERS: (&str, &str) = ("the vault's users", "użytkownicy skarbca");
const LOG: (&str, &str) = ("the vault's log", "dziennik skarbca");
const MONTH: crate::archive::duties::Length =
    crate::archive::duties::Length(std::time::Duration::from_secs(30 * 86_400));
const RECOVERY_FEW: usize = 3;

const MFA: Check = Check {
    id: "mfa",
    title: ("Second factors of users", "Drugi składnik użytkowników"),
    source: USERS,
    remedy: (
        "`sejf vault user reset-factor HOME NAME -i KEY --reason audit`, or disable them",
        "`sejf vault user reset-factor HOME NAME -i KEY --reason audit` albo wyłącz konto",
    ),
};
const RECOVERY: Check = Check {
    id: "recovery-codes",
    title: ("Recovery codes that are left", "Pozostałe kody odzyskiwania"),
    source: USERS,
    remedy: (
        "have their second factor reset in time: `sejf vault user reset-factor HOME NAME -i KEY --reason audit`",
        "w porę nowy drugi składnik: `sejf vault user reset-factor HOME NAME -i KEY --reason audit`",
    ),
};
const CERTIFIED: Check = Check {
    id: "roles-certified",
    title: ("Roles certified again", "Ponowne potwierdzenie ról"),
    source: USERS,
    remedy: (
        "an administrator who is another: on the page Review, or `sejf vault user certify HOME NAME -i KEY`",
        "inny administrator: na stronie Przegląd albo `sejf vault user certify HOME NAME -i KEY`",
    ),
};
const DISABLED: Check = Check {
    id: "disabled-with-token",
    title: ("Disabled users with tokens", "Wyłączeni użytkownicy z tokenami"),
    source: USERS,
    remedy: (
        "this should not be possible: find out in the log how it came to be, and disable the user again",
        "nie powinno być możliwe: sprawdź w dzienniku, jak do tego doszło, i wyłącz konto ponownie",
    ),
};
const TOKENS_END: Check = Check {
    id: "tokens-ending",
    title: ("Tokens about to end", "Tokeny bliskie wygaśnięcia"),
    source: USERS,
    remedy: (
        "who needs it makes another on the page Account, and takes this one back",
        "kto go potrzebuje, tworzy nowy na stronie Konto i unieważnia ten",
    ),
};
const TOKENS_USED: Check = Check {
    id: "tokens-unused",
    title: ("Tokens that nobody uses", "Nieużywane tokeny"),
    source: LOG,
    remedy: ("its owner takes it back on the page Account", "właściciel unieważnia go na stronie Konto"),
};
const GLASS: Check = Check {
    id: "broken-glass",
    title: ("Broken glass", "Zbita szybka"),
    source: LOG,
    remedy: (
        "ask why, and see in the log what was heard meanwhile",
        "zapytaj o powód i sprawdź w dzienniku, co wtedy odsłuchano",
    ),
};
const BULK: Check = Check {
    id: "bulk-listening",
    title: ("Bulk listening", "Masowe odsłuchiwanie"),
    source: LOG,
    remedy: (
        "ask what for; `plays_an_hour` in [review] says from when on; `sejf vault user disable HOME NAME -i KEY --reason audit`",
        "zapytaj, po co; próg to `plays_an_hour` w [review]; `sejf vault user disable HOME NAME -i KEY --reason audit`",
    ),
};
const LOCKOUTS: Check = Check {
    id: "lockouts",
    title: ("Lockouts", "Zablokowane logowania"),
    source: LOG,
    remedy: (
        "see in the log from where it was tried, and ask whose name it was",
        "sprawdź w dzienniku, skąd próbowano, i zapytaj właściciela nazwy",
    ),
};
const SAMPLING: Check = Check {
    id: "sampling",
    title: ("Samples looked at by reviewers", "Próbki sprawdzone przez odsłuchujących"),
    source: LOG,
    remedy: (
        "reviewers hear theirs on the page Sampling; what must not have been recorded: `sejf destroy ask`",
        "odsłuchujący oceniają swoje na stronie Próbki; czego nie wolno było nagrać: `sejf destroy ask`",
    ),
};
