//! Notices as people and programs read them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::archive::notice::{Batch, Kind, Notice, Topic};
use crate::archive::report::Language;

/// The subject of a message.
pub fn subject(vault: &str, batch: &Batch, language: Language) -> String {
    let count = |topic: Topic| batch.notices.iter().filter(|one| one.kind.topic() == topic).count();
    let parts: Vec<String> = Topic::ALL
        .into_iter()
        .filter(|topic| count(*topic) > 0)
        .map(|topic| {
            let word = match (topic, language) {
                (Topic::Alarms, Language::English) => "alarms",
                (Topic::Alarms, Language::Polish) => "alarmy",
                (Topic::Approvals, Language::English) => "waiting",
                (Topic::Approvals, Language::Polish) => "do zatwierdzenia",
                (Topic::Checks, Language::English) => "due",
                (Topic::Checks, Language::Polish) => "do zrobienia",
                (Topic::Digest, Language::English) => return "how it stands".to_owned(),
                (Topic::Digest, Language::Polish) => return "stan".to_owned(),
            };
            format!("{word}: {}", count(topic))
        })
        .collect();
    let vault: String = vault.chars().filter(|letter| !letter.is_control()).take(64).collect();
    format!("[sejf {vault}] {}", parts.join(", "))
}

/// The text of a message.
pub fn body(vault: &str, batch: &Batch, language: Language) -> String {
    let mut text = String::new();
    let mut notices: Vec<&Notice> = batch.notices.iter().collect();
    notices.sort_by_key(|notice| (notice.kind.topic(), notice.first));
    for notice in notices {
        let at = notice.last.to_string().get(..16).unwrap_or_default().replace('T', " ");
        let _ = write!(text, "{at} UTC  {}", sentence(notice, language));
        if notice.count > 1 {
            let _ = write!(text, " (×{})", notice.count);
        }
        text.push('\n');
        if let Some(more) = &notice.text {
            let more = if language == Language::English { &more.en } else { &more.pl };
            more.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
    }
    if batch.left_out > 0 {
        let _ = match language {
            Language::English => writeln!(text, "and {} more, which had no room here", batch.left_out),
            Language::Polish => writeln!(text, "i jeszcze {}, na które zabrakło miejsca", batch.left_out),
        };
    }
    let ends = match language {
        Language::English => "Who and why is in the vault's log. This message names no party of a call.",
        Language::Polish => "Kto i dlaczego, jest w dzienniku skarbca. Wiadomość nie podaje stron rozmów.",
    };
    let _ = write!(text, "\n{ends}\nVault: {vault}\nMessage: {}\n", batch.id);
    text
}

/// The same for programs.
pub fn json_body(vault: &str, batch: &Batch) -> Value {
    let notices = batch.notices.iter().map(|notice| {
        let mut told = json!(notice);
        told["topic"] = json!(notice.kind.topic());
        told["words"] = json!(sentence(notice, Language::English));
        told
    });
    json!({
        "schema": 1,
        "id": batch.id,
        "vault": vault,
        "made": batch.made,
        "notices": notices.collect::<Vec<_>>(),
        "left_out": batch.left_out,
    })
}

/// What has happened, in one sentence.
pub(super) fn sentence(notice: &Notice, language: Language) -> String {
    let (english, polish) = words(notice.kind);
    let words = if language == Language::English { english } else { polish };
    match notice.subject.as_str() {
        "" => words.to_owned(),
        subject => format!("{words}: {subject}"),
    }
}

fn words(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::BrokenGlass => ("ALARM: somebody broke the glass", "ALARM: zbito szybkę"),
        Kind::BulkListening => {
            ("ALARM: somebody hears many recordings", "ALARM: ktoś odsłuchuje wiele nagrań")
        }
        Kind::Lockout => (
            "ALARM: a sign-in was tried too often; the log says from where",
            "ALARM: zbyt wiele prób logowania; skąd, podaje dziennik",
        ),
        Kind::CopiesLost => (
            "ALARM: copies are lost, broken or out of reach; see sejf vault status",
            "ALARM: kopie utracone, zepsute lub niedostępne; zobacz sejf vault status",
        ),
        Kind::WormFailed => (
            "ALARM: a place does not keep what was written once; see sejf place test",
            "ALARM: miejsce nie chroni zapisów (WORM); zobacz sejf place test",
        ),
        Kind::ClockHalted => (
            "ALARM: the clock is not believed, nothing is destroyed; see sejf destroy clock",
            "ALARM: zegar niewiarygodny, niszczenie wstrzymane; zobacz sejf destroy clock",
        ),
        Kind::LogUnwritable => (
            "ALARM: the log cannot be written, nothing is released; make room, mend the disk",
            "ALARM: nie można pisać do dziennika, nic nie jest wydawane; zwolnij miejsce, napraw dysk",
        ),
        Kind::LogChanged => (
            "ALARM: the log was cut, put back or forked; see sejf audit verify",
            "ALARM: dziennik ucięto, cofnięto lub rozwidlono; zobacz sejf audit verify",
        ),
        Kind::PasskeyCopied => (
            "ALARM: a passkey was copied, and is blocked; see the user's sign-ins in the log",
            "ALARM: klucz dostępu skopiowano i zablokowano; zobacz logowania użytkownika w dzienniku",
        ),
        Kind::DutyLate => ("ALARM: late", "ALARM: spóźnione"),
        Kind::DutyFailed => (
            "ALARM: could not be done; see sejf vault status",
            "ALARM: nie wykonano; zobacz sejf vault status",
        ),
        Kind::MustNotBeRecorded => (
            "ALARM: a reviewer says that something must not have been recorded",
            "ALARM: odsłuchujący uznał, że czegoś nie wolno było nagrać",
        ),
        Kind::UserRequest => (
            "a second person is waited for: a user's roles or second factor, request",
            "czeka na drugą osobę: role lub drugi składnik użytkownika, wniosek",
        ),
        Kind::ExportRequest => (
            "a second person is waited for: an export, request",
            "czeka na drugą osobę: wydanie nagrań, wniosek",
        ),
        Kind::DestructionRequest => (
            "a second person is waited for: destruction, request",
            "czeka na drugą osobę: zniszczenie, wniosek",
        ),
        Kind::MediaDue => ("media are due; see sejf media due", "czas na nośniki; zobacz sejf media due"),
        Kind::CheckFails => {
            ("a check fails; see sejf review", "sprawdzenie niespełnione; zobacz sejf review")
        }
        Kind::Digest => ("how the archive stands", "stan archiwum"),
        Kind::Test => ("a test: this channel works", "próba: ten kanał działa"),
    }
}
