//! The page of a bundle that people read: HTML on its own, without scripts or anything from elsewhere.

use std::fmt::Write;

use crate::archive::bundle::{Bundle, Form};
use crate::base::time::Stamp;

/// Language of a report.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Polish.
    Polish,
}

/// A recording as the report tells it, in the order of [`Bundle::recordings`].
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Its start.
    pub start: Stamp,
    /// Its end.
    pub end: Stamp,
    /// How it ended, as receipts have it.
    pub state: String,
    /// Who called, and whom; not told where the bundle is sealed.
    pub parties: Option<(String, String)>,
    /// Seconds without the sound that was sent, of both sides.
    pub gaps_s: f64,
    /// Seconds that were left out on purpose.
    pub masked_s: f64,
    /// Name of the recorder.
    pub recorder: String,
    /// Entries of the recorder's log when it was signed.
    pub log_size: Option<u64>,
    /// Paths with their SHA-256, in hexadecimal.
    pub files: Vec<(String, String)>,
}

/// The page.
pub fn html(bundle: &Bundle, told: &[Told], language: Language) -> String {
    let words = match language {
        Language::English => &ENGLISH,
        Language::Polish => &POLISH,
    };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{}</h1>\n",
        words.lang, words.title, words.title
    );
    let form = match bundle.form {
        Form::Plain => words.plain,
        Form::Sealed => words.sealed,
    };
    let reason = match bundle.reason.text.as_str() {
        "" => bundle.reason.code.clone(),
        text => format!("{}: {text}", bundle.reason.code),
    };
    table(
        &mut page,
        &[
            (words.number, &bundle.id),
            (words.made, &second(bundle.made)),
            (words.archive, bundle.vault.split('+').next().unwrap_or_default()),
            (words.receiver, &bundle.receiver),
            (words.reason, &reason),
            (words.by, &format!("{} ({} {})", bundle.by, words.entry, bundle.entry)),
            (words.count, &bundle.recordings.len().to_string()),
            (words.form, form),
        ],
    );
    for (recording, told) in bundle.recordings.iter().zip(told) {
        // Writing to a string does not fail.
        let _ = writeln!(page, "<section>\n<h2>{} {}</h2>", words.recording, recording.id);
        one(&mut page, recording.receipt_index, told, words);
        page.push_str("</section>\n");
    }
    let _ = writeln!(page, "<h2>{}</h2>\n<p>{}</p>", words.how, words.how_text);
    let _ = writeln!(page, "<pre>sejf verify --bundle . --vault '{}'</pre>", escape(&bundle.vault));
    let _ = writeln!(page, "<p class=\"small\">{}</p>\n</body>\n</html>", words.limits);
    page
}

fn one(page: &mut String, receipt_index: u64, told: &Told, words: &Words) {
    let (start, end) = (second(told.start), second(told.end));
    let length = clock(told.end.since(told.start).as_secs());
    let when = format!("{start} – {end} ({length})");
    let receipt = match told.log_size {
        Some(size) => format!("{} {receipt_index} {} {size}, {}", words.entry, words.of, words.proved),
        None => format!("{} {receipt_index}, {}", words.entry, words.unproved),
    };
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    let (gaps, masked) = (seconds(told.gaps_s), seconds(told.masked_s));
    let mut rows = vec![(words.when, when.as_str()), (words.state, words.state_of(&told.state))];
    if let Some((caller, callee)) = &told.parties {
        rows.extend([(words.caller, caller.as_str()), (words.callee, callee)]);
        rows.extend([(words.gaps, gaps.as_str()), (words.masked, &masked)]);
    }
    rows.extend([(words.recorder, told.recorder.as_str()), (words.receipt, &receipt)]);
    table(page, &rows);
    let _ = writeln!(page, "<table class=\"files\"><tr><th>{}</th><th>SHA-256</th></tr>", words.file);
    for (path, sha256) in &told.files {
        let name = path.rsplit('/').next().unwrap_or(path);
        let _ = writeln!(page, "<tr><td>{}</td><td><code>{}</code></td></tr>", escape(name), escape(sha256));
    }
    page.push_str("</table>\n");
}

fn table(page: &mut String, rows: &[(&str, &str)]) {
    page.push_str("<table>\n");
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(value));
    }
    page.push_str("</table>\n");
}

/// Text as it stands in a page: what came from a call must not become markup, nor turn the writing around.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                escaped.push('\u{fffd}');
            }
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// `2026-11-23 21:08:41 UTC`.
fn second(at: Stamp) -> String {
    format!("{} UTC", at.to_string().get(..19).unwrap_or_default().replace('T', " "))
}

/// `1:02:03`.
fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

struct Words {
    lang: &'static str,
    title: &'static str,
    number: &'static str,
    made: &'static str,
    archive: &'static str,
    receiver: &'static str,
    reason: &'static str,
    by: &'static str,
    entry: &'static str,
    of: &'static str,
    count: &'static str,
    form: &'static str,
    plain: &'static str,
    sealed: &'static str,
    recording: &'static str,
    when: &'static str,
    state: &'static str,
    states: [&'static str; 5],
    caller: &'static str,
    callee: &'static str,
    gaps: &'static str,
    masked: &'static str,
    recorder: &'static str,
    receipt: &'static str,
    proved: &'static str,
    unproved: &'static str,
    file: &'static str,
    how: &'static str,
    how_text: &'static str,
    limits: &'static str,
}

impl Words {
    fn state_of<'a>(&self, state: &'a str) -> &'a str
    where
        Self: 'static,
    {
        let names = ["complete", "interrupted", "failed", "unanswered", "excluded-by-rule"];
        names.iter().position(|name| *name == state).map_or(state, |at| self.states[at])
    }
}

const ENGLISH: Words = Words {
    lang: "en",
    title: "Recordings handed over",
    number: "Bundle",
    made: "Made",
    archive: "Archive",
    receiver: "For",
    reason: "Reason",
    by: "By",
    entry: "log entry",
    of: "of",
    count: "Recordings",
    form: "Form",
    plain: "in the open",
    sealed: "under the receiver’s key",
    recording: "Recording",
    when: "When",
    state: "Ended",
    states: ["complete", "interrupted", "failed", "unanswered", "not recorded by rule"],
    caller: "Caller",
    callee: "Called",
    gaps: "Without sound, both sides together",
    masked: "Left out on purpose",
    recorder: "Recorder",
    receipt: "Receipt",
    proved: "in the recorder’s signed log: proof enclosed",
    unproved: "without a proof from the recorder’s log",
    file: "File",
    how: "How to check this",
    how_text: "In the folder of this page, without network and without a key, and with the archive’s key \
               as it was told to you by another way:",
    limits: "The recorder signed the SHA-256 of each sealed file when the call had ended. The archive \
             compared it when it took the file in, and has kept the sealed payload unchanged since. It has \
             signed all files of this bundle. Times are of the recorder’s clock, in UTC. Any other program \
             may be used: SHA256SUMS is for sha256sum, the signatures are Ed25519 signed notes, the proofs \
             are those of RFC 9162.",
};

const POLISH: Words = Words {
    lang: "pl",
    title: "Wydane nagrania",
    number: "Pakiet",
    made: "Sporządzono",
    archive: "Archiwum",
    receiver: "Dla",
    reason: "Powód",
    by: "Sporządził",
    entry: "wpis rejestru",
    of: "z",
    count: "Nagrania",
    form: "Postać",
    plain: "jawna",
    sealed: "zaszyfrowana kluczem odbiorcy",
    recording: "Nagranie",
    when: "Kiedy",
    state: "Zakończenie",
    states: ["pełne", "przerwane", "nieudane", "bez odpowiedzi", "nie nagrano zgodnie z regułą"],
    caller: "Dzwoniący",
    callee: "Odbierający",
    gaps: "Bez dźwięku, obie strony łącznie",
    masked: "Pominięto celowo",
    recorder: "Rejestrator",
    receipt: "Pokwitowanie",
    proved: "w podpisanym rejestrze rejestratora: dowód w pakiecie",
    unproved: "bez dowodu z rejestru rejestratora",
    file: "Plik",
    how: "Jak to sprawdzić",
    how_text: "W folderze tej strony, bez sieci i bez klucza prywatnego, podając klucz publiczny archiwum \
               otrzymany inną drogą:",
    limits: "Po zakończeniu rozmowy rejestrator podpisał skrót SHA-256 każdego zaszyfrowanego pliku. \
             Archiwum porównało go przy przyjęciu i od tego czasu przechowuje zaszyfrowaną treść bez \
             zmian. Archiwum podpisało wszystkie pliki tego pakietu. Czas według zegara rejestratora, UTC. \
             Można użyć innych programów: SHA256SUMS sprawdza sha256sum, podpisy to notatki Ed25519 \
             (signed note), dowody są zgodne z RFC 9162.",
};

const STYLE: &str = "body{font:14px/1.45 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#111}\
h1{font-size:1.5rem;margin:0 0 1rem}h2{font-size:1rem;margin:1.5rem 0 .4rem;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%;margin:.4rem 0}\
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #ccc;overflow-wrap:anywhere}\
th{font-weight:600;width:13rem}.files th{width:auto}code,pre{font:11px/1.4 monospace}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f3f3f3;padding:.5rem}.small{font-size:12px;color:#444}\
section{break-inside:avoid}@page{margin:15mm}@media print{body{margin:0;max-width:none}}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::access::Reason;
    use crate::archive::bundle::{BundledRecording, SCHEMA};
    use crate::archive::record::RecordingId;

    fn bundle() -> (Bundle, Vec<Told>) {
        let recording = BundledRecording {
            id: RecordingId::from_bytes([1; 16]),
            recorder: "r+00000000+AA".into(),
            receipt_index: 7,
            proved: true,
            files: Vec::new(),
        };
        let bundle = Bundle {
            schema: SCHEMA,
            id: "b1".into(),
            made: Stamp::from_unix_nanos(1_795_468_121_220_582_001),
            vault: "vault-1+00000000+AA".into(),
            by: "local:root".into(),
            receiver: "Sąd <b>".into(),
            reason: Reason { code: "court-order".into(), text: "II K \"12\"/26".into() },
            entry: 3,
            form: Form::Plain,
            recordings: vec![recording],
        };
        let told = Told {
            state: "complete".into(),
            parties: Some(("<script>alert(1)</script>".into(), "a&b\u{202e}c\u{7}".into())),
            log_size: Some(9),
            files: vec![("recordings/x/<img src=x>".into(), "00".into())],
            ..Told::default()
        };
        (bundle, vec![told])
    }

    #[test]
    fn nothing_that_came_from_a_call_becomes_markup() {
        for language in [Language::English, Language::Polish] {
            let (bundle, told) = bundle();
            let page = html(&bundle, &told, language);
            assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
            assert!(page.contains("a&amp;b\u{fffd}c\u{fffd}") && page.contains("&lt;img src=x&gt;"));
            assert!(page.contains("Sąd &lt;b&gt;") && page.contains("II K &quot;12&quot;/26"));
            for forbidden in ["<script", "<img", "<b>", "http://", "https://", "url(", "\u{202e}"] {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
        }
    }

    #[test]
    fn the_languages_differ_and_say_the_same() {
        let (bundle, told) = bundle();
        let english = html(&bundle, &told, Language::English);
        let polish = html(&bundle, &told, Language::Polish);
        assert!(english.contains("lang=\"en\"") && polish.contains("lang=\"pl\""));
        assert!(english.contains("complete") && polish.contains("pełne"));
        let facts = ["2026-11-23 21:08:41 UTC", "b1", "vault-1"];
        assert!(facts.iter().all(|fact| english.contains(fact) && polish.contains(fact)));
    }
}
