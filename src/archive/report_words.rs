//! Words of the page of a bundle, in two languages.

use crate::archive::report::Language;

/// The same in both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Words {
    /// English.
    pub(super) en: &'static str,
    /// Polish.
    pub(super) pl: &'static str,
}

impl Words {
    /// In one language.
    pub(super) fn of(self, language: Language) -> &'static str {
        match language {
            Language::English => self.en,
            Language::Polish => self.pl,
        }
    }

    /// Both, that language first; markup.
    pub(super) fn both(self, first: Language) -> String {
        let second = first.other();
        let (one, other) = (self.of(first), self.of(second));
        if one == other {
            return one.to_owned();
        }
        format!("{one} <span class=\"o\" lang=\"{}\">{other}</span>", second.code())
    }
}

pub(super) const fn words(en: &'static str, pl: &'static str) -> Words {
    Words { en, pl }
}

/// How a recording ended.
pub(super) fn state(name: &str) -> Option<Words> {
    Some(match name {
        "complete" => words("complete", "pełne"),
        "interrupted" => words("interrupted: what came after is missing", "przerwane: dalszego ciągu brak"),
        "failed" => words("could not be recorded", "nie udało się nagrać"),
        "unanswered" => words("not answered", "bez odpowiedzi"),
        "excluded-by-rule" => words("not recorded, by rule", "nie nagrano zgodnie z regułą"),
        _ => return None,
    })
}

/// Why a stretch is without the sound that was sent.
pub(super) fn gap(name: &str) -> Option<Words> {
    Some(match name {
        "capture-drop" => words("lost by the recorder’s capture", "utracone przy przechwytywaniu"),
        "hold" => words("on hold: nothing was sent", "połączenie zawieszone: nic nie wysyłano"),
        "masked" => words("left out on purpose", "pominięte celowo"),
        "network-loss" => {
            words("lost in the network before the recorder", "utracone w sieci przed rejestratorem")
        }
        "queue-drop" => words("shed by the recorder", "odrzucone przez rejestrator"),
        "silence" => words("nothing was sent", "nic nie wysyłano"),
        "undecodable" => words("there, and not decodable", "odebrane, nie do zdekodowania"),
        _ => return None,
    })
}

/// How it was said that something is to be left out.
pub(super) fn masked_by(name: &str) -> Option<Words> {
    Some(match name {
        "control" => words("the operator", "operator"),
        "dtmf" => words("keys that were pressed", "wybrane klawisze"),
        "info" => words("a SIP INFO", "komunikat SIP INFO"),
        "sip-header" => words("a SIP header", "nagłówek SIP"),
        "tone" => words("the tone of a key", "ton klawisza"),
        _ => return None,
    })
}

pub(super) const TITLE: Words = words("Recordings handed over", "Wydane nagrania");
pub(super) const NUMBER: Words = words("Bundle", "Pakiet");
pub(super) const MADE: Words = words("Made", "Sporządzono");
pub(super) const ARCHIVE: Words = words("Archive", "Archiwum");
pub(super) const RECEIVER: Words = words("For", "Dla");
pub(super) const REASON: Words = words("Reason", "Powód");
pub(super) const BY: Words = words("By", "Sporządził");
pub(super) const ENTRY: Words = words("entry in the archive’s log", "wpis w rejestrze archiwum");
pub(super) const COUNT: Words = words("Recordings", "Nagrania");
pub(super) const FORM: Words = words("Form", "Postać");
pub(super) const PLAIN: Words = words("in the open", "jawna");
pub(super) const SEALED: Words = words("under the receiver’s key", "zaszyfrowana kluczem odbiorcy");
pub(super) const RECORDING: Words = words("Recording", "Nagranie");
pub(super) const WHEN: Words = words("When", "Kiedy");
pub(super) const LENGTH: Words = words("Length", "Długość");
pub(super) const STATE: Words = words("Ended", "Zakończenie");
pub(super) const CALLER: Words = words("Caller", "Dzwoniący");
pub(super) const CALLEE: Words = words("Called", "Odbierający");
pub(super) const UNKNOWN: Words = words("not known", "nieznany");
pub(super) const BOTH: Words = words("both", "obie strony");
pub(super) const RULE: Words = words("Recorded by rule", "Nagrano wg reguły");
pub(super) const RECORDER: Words = words("Recorder", "Rejestrator");
pub(super) const RECEIPT: Words = words("Receipt", "Pokwitowanie");
pub(super) const RECEIPT_ENTRY: Words = words("entry in the recorder’s log", "wpis w rejestrze rejestratora");
pub(super) const PROVED: Words =
    words("signed by the recorder; the proof is enclosed", "podpisany przez rejestrator; dowód w pakiecie");
pub(super) const UNPROVED: Words =
    words("there is no proof of it: it is the archive’s word", "brak dowodu: według oświadczenia archiwum");
pub(super) const ORIGIN: Words = words("From receipt to sound", "Od pokwitowania do dźwięku");
pub(super) const DISCLOSED: Words = words(
    "the sealed file as the recorder made it is enclosed, with its key: that this is the sound can be checked to the last byte",
    "plik zaszyfrowany przez rejestrator jest w pakiecie wraz z kluczem: zgodność dźwięku można sprawdzić co do bajtu",
);
pub(super) const ENCLOSED: Words = words(
    "can be checked to the last byte with the receiver’s key",
    "można sprawdzić co do bajtu kluczem odbiorcy",
);
pub(super) const WORD: Words = words(
    "that this is the content of the sealed file which the receipt names is the archive’s word",
    "że jest to treść zaszyfrowanego pliku z pokwitowania — według oświadczenia archiwum",
);
pub(super) const GAPS: Words =
    words("Stretches without the sound that was sent", "Odcinki bez wysłanego dźwięku");
pub(super) const MASKED: Words = words("Stretches that were left out on purpose", "Odcinki pominięte celowo");
pub(super) const NONE: Words = words("none", "brak");
pub(super) const UNTOLD: Words = words(
    "who spoke and what is missing stands in the sealed manifest",
    "rozmówcy i braki są podane w zaszyfrowanym opisie (manifest)",
);
pub(super) const FROM: Words = words("From", "Od");
pub(super) const SIDE: Words = words("Side", "Strona");
pub(super) const WHY: Words = words("Why", "Dlaczego");
pub(super) const SAID_BY: Words = words("Said by", "Na polecenie");
pub(super) const MORE: Words = words("more, in manifest.json", "więcej, w manifest.json");
pub(super) const NOTES: Words = words("Notes of the recorder", "Uwagi rejestratora");
pub(super) const FILE: Words = words("File", "Plik");
pub(super) const HOW: Words = words("How to check this", "Jak to sprawdzić");
pub(super) const HOW_TEXT: Words = words(
    "In the folder of this page, without network; the keys of archive and recorder as they were told to you by another way.",
    "W folderze tej strony, bez sieci; klucze archiwum i rejestratora otrzymane inną drogą.",
);
pub(super) const STEP_SUMS: Words =
    words("Every file is as it was made:", "Każdy plik jest taki, jak go sporządzono:");
pub(super) const STEP_VERIFY: Words = words(
    "Signatures of archive and recorders, their logs, and the way from each receipt to the sound:",
    "Podpisy archiwum i rejestratorów, ich rejestry oraz droga od każdego pokwitowania do dźwięku:",
);
pub(super) const STEP_SEALED: Words = words(
    "By hand: these numbers stand in the receipt.json beside them, which the recorder signed:",
    "Ręcznie: te same liczby są w sąsiednim receipt.json, podpisanym przez rejestrator:",
);
pub(super) const STEP_OPEN: Words = words(
    "With the receiver’s key, also from the receipt to the sound:",
    "Kluczem odbiorcy także od pokwitowania do dźwięku:",
);
pub(super) const LIMITS: Words = words(
    "When a call had ended its recorder signed the SHA-256 of each sealed file, in a log that only grows. The archive \
     compared it when it took the file in. It has signed all files of this bundle. Times are of the recorder’s clock, \
     in UTC. That a voice is a person’s, or that a number was not falsified in the network, no signature proves. Any \
     other program may be used: SHA256SUMS is for sha256sum, signatures are Ed25519 signed notes, proofs those of \
     RFC 9162, sealed files age v1.",
    "Po zakończeniu rozmowy rejestrator podpisał skrót SHA-256 każdego zaszyfrowanego pliku w rejestrze, do którego \
     można tylko dopisywać. Archiwum porównało go przy przyjęciu i podpisało wszystkie pliki tego pakietu. Czas według \
     zegara rejestratora, UTC. Żaden podpis nie dowodzi, czyj jest głos, ani że numeru nie sfałszowano w sieci. Można \
     użyć innych programów: SHA256SUMS sprawdza sha256sum, podpisy to notatki Ed25519 (signed note), dowody są zgodne \
     z RFC 9162, pliki zaszyfrowane z age v1.",
);
