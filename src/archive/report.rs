//! The page of a bundle that people read: HTML on its own, without scripts or anything from elsewhere. It prints on
//! A4, and says everything in two languages.

use std::collections::BTreeMap;
use std::fmt::Write;

use unicode_normalization::char::is_combining_mark;

use crate::archive::bundle::{Bundle, BundledRecording, Form, Origin};
use crate::archive::report_words as words;
use crate::archive::report_words::Words;
use crate::base::party::Party;
use crate::base::time::Stamp;

/// Language that comes first in a report.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, Eq, PartialEq)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Polish.
    #[serde(rename = "pl")]
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
    /// What its manifest says; not told where the bundle is sealed.
    pub manifest: Option<ToldManifest>,
    /// Name of the recorder.
    pub recorder: String,
    /// Entries of the recorder's log when it was signed.
    pub log_size: Option<u64>,
    /// Paths with their SHA-256, in hexadecimal.
    pub files: Vec<(String, String)>,
}

/// What a manifest says, as far as the report tells it.
#[derive(Clone, Debug, Default)]
pub struct ToldManifest {
    /// Who called.
    pub caller: String,
    /// Whom.
    pub callee: String,
    /// Rule that had it recorded.
    pub rule: String,
    /// Stretches without the sound that was sent.
    pub gaps: Vec<ToldGap>,
    /// Stretches that were left out on purpose.
    pub masked: Vec<ToldMask>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// A stretch without the sound that was sent.
#[derive(Clone, Debug)]
pub struct ToldGap {
    /// Whose side.
    pub party: Party,
    /// Seconds from the start.
    pub at_s: f64,
    /// Seconds.
    pub length_s: f64,
    /// Why, as manifests have it.
    pub reason: String,
}

/// A stretch that was left out on purpose.
#[derive(Clone, Debug)]
pub struct ToldMask {
    /// Whose side; both where there is none.
    pub party: Option<Party>,
    /// Seconds from the start.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// How it was said, as manifests have it.
    pub by: String,
    /// Why, as given.
    pub reason: String,
}

impl Language {
    /// The other.
    pub fn other(self) -> Self {
        match self {
            Self::English => Self::Polish,
            Self::Polish => Self::English,
        }
    }

    /// As HTML names it.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Polish => "pl",
        }
    }
}

/// The page.
pub fn html(bundle: &Bundle, told: &[Told], language: Language) -> String {
    let mut page = Page { html: String::new(), language };
    let (lang, title) = (language.code(), words::TITLE.of(language));
    page.push(&format!(
        "<!DOCTYPE html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{}</h1>\n",
        words::TITLE.both(language)
    ));
    page.summary(bundle);
    for (nth, (recording, told)) in bundle.recordings.iter().zip(told).enumerate() {
        page.recording(nth + 1, recording, told);
    }
    page.how(bundle);
    page.push("</body>\n</html>\n");
    page.html
}

struct Page {
    html: String,
    language: Language,
}

impl Page {
    fn push(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn heading(&mut self, level: u8, words: Words, rest: &str) {
        let words = words.both(self.language);
        self.push(&format!("<h{level}>{words}{rest}</h{level}>\n"));
    }

    /// Rows of a name and a value, which is markup.
    fn table(&mut self, rows: &[(Words, String)]) {
        self.push("<table class=\"facts\">\n");
        for (name, value) in rows {
            let name = name.both(self.language);
            self.push(&format!("<tr><th>{name}</th><td>{value}</td></tr>\n"));
        }
        self.push("</table>\n");
    }

    /// A table with a heading of its own.
    fn list(&mut self, class: &str, heading: &[Words], rows: &[Vec<String>]) {
        let heading: String =
            heading.iter().map(|words| format!("<th>{}</th>", words.both(self.language))).collect();
        self.push(&format!("<table class=\"{class}\"><thead><tr>{heading}</tr></thead><tbody>\n"));
        for row in rows {
            let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
            self.push(&format!("<tr>{cells}</tr>\n"));
        }
        self.push("</tbody></table>\n");
    }

    fn summary(&mut self, bundle: &Bundle) {
        let both = |words: Words| words.both(self.language);
        let reason = match bundle.reason.text.as_str() {
            "" => escape(&bundle.reason.code),
            text => format!("{}: {}", escape(&bundle.reason.code), escape(text)),
        };
        let form = match bundle.form {
            Form::Plain => both(words::PLAIN),
            Form::Sealed => both(words::SEALED),
        };
        let by = format!("{}<br>{} {}", escape(&bundle.by), both(words::ENTRY), bundle.entry);
        self.table(&[
            (words::RECEIVER, escape(&bundle.receiver)),
            (words::REASON, reason),
            (words::BY, by),
            (words::MADE, second(bundle.made)),
            (words::ARCHIVE, format!("<code>{}</code>", escape(&bundle.vault))),
            (words::NUMBER, format!("<code>{}</code>", escape(&bundle.id))),
            (words::COUNT, bundle.recordings.len().to_string()),
            (words::FORM, form),
        ]);
    }

    fn recording(&mut self, nth: usize, recording: &BundledRecording, told: &Told) {
        self.push("<section>\n");
        self.heading(2, words::RECORDING, &format!(" {nth} <code>{}</code>", recording.id));
        let both = |words: Words| words.both(self.language);
        let state = words::state(&told.state).map_or_else(|| escape(&told.state), both);
        let mut rows = vec![
            (words::WHEN, format!("{} –<br>{}", second(told.start), second(told.end))),
            (words::LENGTH, clock(told.end.since(told.start).as_secs())),
            (words::STATE, state),
        ];
        match &told.manifest {
            Some(manifest) => rows.extend([
                (words::CALLER, escape(&manifest.caller)),
                (words::CALLEE, escape(&manifest.callee)),
                (words::RULE, escape(&manifest.rule)),
            ]),
            None => rows.push((words::CALLER, both(words::UNTOLD))),
        }
        let index = recording.receipt_index;
        let receipt = match told.log_size {
            Some(size) => {
                format!("{} {index} / {size}: {}", both(words::RECEIPT_ENTRY), both(words::PROVED))
            }
            None => format!("{} {index}: {}", both(words::RECEIPT_ENTRY), both(words::UNPROVED)),
        };
        rows.extend([
            (words::RECORDER, format!("<code>{}</code>", escape(&recording.recorder))),
            (words::RECEIPT, receipt),
            (words::ORIGIN, both(origin(recording))),
        ]);
        self.table(&rows);
        if let Some(manifest) = &told.manifest {
            self.gaps(&manifest.gaps);
            self.masked(&manifest.masked);
            if !manifest.notes.is_empty() {
                self.heading(3, words::NOTES, "");
                let notes = manifest.notes.iter().take(ROWS_MAX).map(|note| vec![escape(note)]);
                self.list("spans", &[], &notes.collect::<Vec<_>>());
                self.more(manifest.notes.len());
            }
        }
        let digests: Vec<_> = told
            .files
            .iter()
            .map(|(path, sha256)| {
                let folder = crate::archive::bundle::folder(&recording.id);
                let name = path.strip_prefix(&format!("{folder}/")).unwrap_or(path);
                vec![escape(name), format!("<code>{}</code>", escape(sha256))]
            })
            .collect();
        self.list("files", &[words::FILE, SHA256], &digests);
        self.push("</section>\n");
    }

    /// By reason and side with their sums, then one by one.
    fn gaps(&mut self, gaps: &[ToldGap]) {
        if gaps.is_empty() {
            return self.table(&[(words::GAPS, words::NONE.both(self.language))]);
        }
        let mut sums: BTreeMap<(Party, &str), (u64, f64)> = BTreeMap::new();
        for gap in gaps {
            let sum = sums.entry((gap.party, &gap.reason)).or_default();
            *sum = (sum.0 + 1, sum.1 + gap.length_s);
        }
        let side = |party| side(party).both(self.language);
        let why = |name: &str| words::gap(name).map_or_else(|| escape(name), |why| why.both(self.language));
        let mut rows: Vec<Vec<String>> = sums
            .iter()
            // One alone is its own sum.
            .filter(|(_, (count, _))| *count > 1)
            .map(|((party, reason), (count, length_s))| {
                vec![
                    format!("<b>{count} ×</b>"),
                    format!("<b>{length_s:.2} s</b>"),
                    side(*party),
                    why(reason),
                ]
            })
            .collect();
        rows.extend(gaps.iter().take(ROWS_MAX).map(|gap| {
            vec![at(gap.at_s), format!("{:.2} s", gap.length_s), side(gap.party), why(&gap.reason)]
        }));
        self.heading(3, words::GAPS, "");
        self.list("spans", &[words::FROM, words::LENGTH, words::SIDE, words::WHY], &rows);
        self.more(gaps.len());
    }

    fn masked(&mut self, masked: &[ToldMask]) {
        if masked.is_empty() {
            return self.table(&[(words::MASKED, words::NONE.both(self.language))]);
        }
        let rows: Vec<Vec<String>> = masked
            .iter()
            .take(ROWS_MAX)
            .map(|span| {
                let by = words::masked_by(&span.by);
                vec![
                    at(span.from_s),
                    format!("{:.2} s", (span.to_s - span.from_s).max(0.0)),
                    span.party.map_or(words::BOTH, side).both(self.language),
                    by.map_or_else(|| escape(&span.by), |by| by.both(self.language)),
                    escape(&span.reason),
                ]
            })
            .collect();
        self.heading(3, words::MASKED, "");
        let heading = [words::FROM, words::LENGTH, words::SIDE, words::SAID_BY, words::WHY];
        self.list("spans", &heading, &rows);
        self.more(masked.len());
    }

    fn more(&mut self, count: usize) {
        if let Some(more) = count.checked_sub(ROWS_MAX).filter(|more| *more > 0) {
            let words = words::MORE.both(self.language);
            self.push(&format!("<p>… {more} {words}</p>\n"));
        }
    }

    fn how(&mut self, bundle: &Bundle) {
        self.push("<section>\n");
        self.heading(2, words::HOW, "");
        let mut recorders: Vec<&str> =
            bundle.recordings.iter().map(|recording| recording.recorder.as_str()).collect();
        recorders.sort_unstable();
        recorders.dedup();
        let mut verify = format!("sejf verify --bundle . --vault '{}'", escape(&bundle.vault));
        if let [recorder] = recorders[..] {
            let _ = write!(verify, " \\\n     --recorder '{}'", escape(recorder));
        }
        let third = match bundle.form {
            Form::Plain => (words::STEP_SEALED, "sha256sum recordings/*/sealed/*".to_owned()),
            Form::Sealed => (words::STEP_OPEN, "sejf verify --bundle . -i KEYFILE".to_owned()),
        };
        let steps =
            [(words::STEP_SUMS, "sha256sum -c SHA256SUMS".to_owned()), (words::STEP_VERIFY, verify), third];
        self.paragraph("", words::HOW_TEXT);
        self.push("<ol>\n");
        for (words, command) in steps {
            let words = words.both(self.language);
            self.push(&format!("<li>{words}<pre>{command}</pre></li>\n"));
        }
        self.push("</ol>\n");
        self.paragraph("small", words::LIMITS);
        self.push("</section>\n");
    }

    /// Longer text: one language below the other.
    fn paragraph(&mut self, class: &str, words: Words) {
        for language in [self.language, self.language.other()] {
            let (lang, text) = (language.code(), words.of(language));
            let other = if language == self.language { "" } else { " o" };
            self.push(&format!("<p class=\"{class}{other}\" lang=\"{lang}\">{text}</p>\n"));
        }
    }
}

/// How far a recording can be followed: as far as the file of it that leads least far.
fn origin(recording: &BundledRecording) -> Words {
    let origins = || recording.files.iter().map(|file| &file.origin);
    if origins().any(Option::is_none) {
        words::WORD
    } else if origins().any(|origin| matches!(origin, Some(Origin::Enclosed))) {
        words::ENCLOSED
    } else {
        words::DISCLOSED
    }
}

fn side(party: Party) -> Words {
    match party {
        Party::Caller => words::CALLER,
        Party::Callee => words::CALLEE,
        Party::Unknown => words::UNKNOWN,
    }
}

/// Text as it stands in a page: what came from a call must not become markup, nor turn the writing around, nor be
/// drawn over what is beside it.
pub(in crate::archive) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str("<bdi>");
    let mut marks = 0;
    for letter in text.chars() {
        marks = if is_combining_mark(letter) { marks + 1 } else { 0 };
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter if letter.is_control() || is_unseen(letter) => escaped.push('\u{fffd}'),
            _ if marks > MARKS_MAX => {}
            letter => escaped.push(letter),
        }
    }
    escaped.push_str("</bdi>");
    escaped
}

/// What has no shape of its own, and changes that of others.
fn is_unseen(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// `2026-11-23 21:08:41 UTC`.
pub(in crate::archive) fn second(at: Stamp) -> String {
    format!("{} UTC", at.to_string().get(..19).unwrap_or_default().replace('T', " "))
}

/// `1:02:03`.
fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// `0:00:12.34`: seconds from the start.
fn at(seconds: f64) -> String {
    let hundredths = (seconds.max(0.0) * 100.0).round() as u64;
    format!("{}.{:02}", clock(hundredths / 100), hundredths % 100)
}

const SHA256: Words = Words { en: "SHA-256", pl: "SHA-256" };
/// Rows of one list: the manifest has all.
const ROWS_MAX: usize = 30;
/// Marks over one letter: more than any writing has.
const MARKS_MAX: usize = 2;

pub(in crate::archive) const STYLE: &str = "@page{size:A4;margin:14mm 15mm}*{box-sizing:border-box}\
body{font:13px/1.4 'Liberation Sans',Arial,Helvetica,'DejaVu Sans',sans-serif;max-width:190mm;margin:8mm auto;padding:0 5mm;color:#111}\
h1{font-size:21px;margin:0 0 10px;padding-bottom:6px;border-bottom:2px solid #111}\
h2{font-size:15px;margin:20px 0 4px;padding-bottom:3px;border-bottom:1px solid #111;break-after:avoid}\
h2 code{float:right;font-weight:400;line-height:22px}h3{font-size:13px;margin:12px 0 2px;break-after:avoid}\
.o{font-weight:400;color:#666;font-size:.88em}p{margin:6px 0}p.o{font-size:12px}.small{font-size:11.5px;color:#333}\
table{border-collapse:collapse;width:100%;margin:2px 0 8px}thead{display:table-header-group}tr{break-inside:avoid}\
th,td{text-align:left;vertical-align:top;padding:3px 8px 3px 0;border-bottom:1px solid #ddd;overflow-wrap:anywhere}\
th{font-weight:600}.facts{table-layout:fixed}.facts th{width:31%}.facts+.facts{margin-top:-8px}\
.spans th,.spans td{padding-right:14px}.spans td:nth-child(-n+3){white-space:nowrap}\
.files{table-layout:fixed}.files th:first-child{width:43%}.files td{font:9.5px/1.6 'Liberation Mono','DejaVu Sans Mono',monospace}bdi{unicode-bidi:isolate}\
code,pre{font:11px/1.45 'Liberation Mono','DejaVu Sans Mono',monospace}.files code{font-size:8.8px}\
ol{margin:6px 0;padding-left:20px}li{break-inside:avoid}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f3f3f3;padding:6px 8px;margin:3px 0 8px;border-left:3px solid #999}\
@media print{body{margin:0;padding:0;max-width:none}pre{background:none}}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::access::Reason;
    use crate::archive::bundle::{BundledFile, SCHEMA};
    use crate::archive::record::{Digest, RecordingId};

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
        let manifest = ToldManifest {
            caller: "<script>alert(1)</script>".into(),
            callee: "a&b\u{202e}c\u{7}".into(),
            rule: "</td></table><h1>".into(),
            gaps: vec![ToldGap {
                party: Party::Caller,
                at_s: 3_723.456,
                length_s: 1.5,
                reason: "network-loss".into(),
            }],
            masked: vec![ToldMask {
                party: None,
                from_s: 2.0,
                to_s: 5.25,
                by: "control".into(),
                reason: "\u{1b}[2J<img src=x onerror=y>".into(),
            }],
            notes: vec!["javascript:\u{2066}x".into()],
        };
        let told = Told {
            state: "complete".into(),
            manifest: Some(manifest),
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
            assert!(page.contains("\u{fffd}[2J&lt;img src=x onerror=y&gt;"));
            for forbidden in ["<script", "<img", "</table><h1>", "http://", "https://", "url(", "@import"] {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            assert!(!page.chars().any(|letter| is_unseen(letter) || letter == '\u{1b}' || letter == '\u{7}'));
            // Every tag is one of ours.
            let known = [
                "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "table",
                "thead", "tbody", "tr", "th", "td", "section", "code", "pre", "p", "ol", "li", "b", "br",
                "bdi", "span",
            ];
            for tag in page.split('<').skip(1) {
                let name = tag.trim_start_matches('/').split([' ', '>']).next().unwrap();
                assert!(known.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_told_one_by_one_and_in_sum() {
        let (bundle, mut told) = bundle();
        let page = html(&bundle, &told, Language::English);
        assert!(!page.contains(" ×"), "one alone is its own sum");
        for words in ["1:02:03.46", "1.50 s", "lost in the network", "0:00:02.00", "3.25 s", "the operator"] {
            assert!(page.contains(words), "{words}");
        }
        let manifest = told[0].manifest.as_mut().unwrap();
        manifest.gaps = vec![manifest.gaps[0].clone(); ROWS_MAX + 12];
        manifest.masked.clear();
        let page = html(&bundle, &told, Language::English);
        assert!(page.contains("42 ×") && page.contains("<b>63.00 s</b>") && page.contains("… 12 more"));
        assert!(page.contains("left out on purpose") && page.contains("none"));
    }

    #[test]
    fn how_far_it_is_proved_is_told_as_far_as_the_weakest_file_leads() {
        let (mut bundle, told) = bundle();
        let file = |origin| BundledFile {
            path: "x".into(),
            receipt_name: "x".into(),
            body_sha256: Digest::of(b""),
            body_bytes: 1,
            origin,
        };
        let disclosed = || Some(Origin::Disclosed { sealed: "s".into(), file_key: "k".into() });
        let page = |bundle: &Bundle| html(bundle, &told, Language::English);
        bundle.recordings[0].files = vec![file(disclosed()), file(disclosed())];
        assert!(page(&bundle).contains(words::DISCLOSED.en) && !page(&bundle).contains(words::WORD.en));
        bundle.recordings[0].files = vec![file(disclosed()), file(None), file(Some(Origin::Enclosed))];
        assert!(page(&bundle).contains(words::WORD.en) && !page(&bundle).contains(words::DISCLOSED.en));
    }

    #[test]
    fn marks_do_not_pile_up() {
        let piled = format!("a{}b", "\u{301}".repeat(500));
        assert_eq!(escape(&piled), "<bdi>a\u{301}\u{301}b</bdi>");
        assert_eq!(escape("Łódź żółć é"), "<bdi>Łódź żółć é</bdi>");
    }

    #[test]
    fn the_languages_differ_and_say_the_same() {
        let (bundle, told) = bundle();
        let english = html(&bundle, &told, Language::English);
        let polish = html(&bundle, &told, Language::Polish);
        assert!(english.contains("lang=\"en\"") && polish.contains("lang=\"pl\""));
        let facts =
            ["2026-11-23 21:08:41 UTC", "b1", "vault-1", "complete", "pełne", "sha256sum -c SHA256SUMS"];
        assert!(facts.iter().all(|fact| english.contains(fact) && polish.contains(fact)));
        let at = |page: &str, words: &str| page.find(words).unwrap();
        assert!(at(&english, "Recordings handed over") < at(&english, "Wydane nagrania"));
        assert!(at(&polish, "Wydane nagrania") < at(&polish, "Recordings handed over"));
    }
}
