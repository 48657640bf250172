//! A review as a page that people read and print, and that its vault has signed. HTML on its own: no scripts, nothing
//! from elsewhere; in two languages.
//!
//! ```text
//! page ─► SHA-256 ─► entry of the vault's log ─► note: SHA-256, entry, time; signed by the log's key ─► comment at the end
//! ```

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::archive::record::Digest;
use crate::archive::report::{Language, STYLE, escape, second};
use crate::archive::report_words::{Words, words};
use crate::archive::review::{Finding, Review, State, Text};
use crate::base::time::Stamp;
use crate::seal::note::{NoteError, Signer, VerifyKey};

/// What a signature of a report says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// When the review was made.
    pub at: Stamp,
    /// The entry of the vault's log that has the same SHA-256.
    pub entry: u64,
}

/// Why a report is not what its vault signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// There is no signature at its end.
    #[error("it has no signature at its end: it was cut, or is no report of a review")]
    Unsigned,
    /// The signature is another key's, or was changed.
    #[error("its signature is not this vault's: {0}")]
    Note(#[from] NoteError),
    /// The page is another.
    #[error("the page was changed after it was signed")]
    Changed,
}

/// The page, not yet signed.
pub fn html(review: &Review, language: Language) -> String {
    let title = TITLE.of(language);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}{MORE_STYLE}</style>\n</head>\n<body>\n<h1>{}</h1>\n",
        language.code(),
        TITLE.both(language)
    );
    summary(&mut page, review, language);
    for state in State::ALL {
        let findings: Vec<_> = review.findings.iter().filter(|finding| finding.state == state).collect();
        if !findings.is_empty() {
            list(&mut page, state, &findings, language);
        }
    }
    let _ = write!(
        page,
        "<section><h2>{}</h2>\n<p>{}</p>\n<pre>sejf review --verify FILE --vault '{}'</pre>\n</section>\n</body>\n</html>\n",
        HOW.both(language),
        HOW_TEXT.both(language),
        escape(&review.vault),
    );
    page
}

fn summary(page: &mut String, review: &Review, language: Language) {
    let counts: Vec<_> = State::ALL
        .iter()
        .map(|state| format!("{} {}", review.count(*state), state_words(*state).both(language)))
        .collect();
    page.push_str("<table class=\"facts\">\n");
    for (name, value) in [
        (ARCHIVE, format!("<code>{}</code>", escape(&review.vault))),
        (MADE, second(review.at)),
        (TOOL, escape(&review.tool)),
        (LOG, review.log_size.to_string()),
        (RESULT, counts.join("<br>")),
    ] {
        let _ = writeln!(page, "<tr><th>{}</th><td>{value}</td></tr>", name.both(language));
    }
    page.push_str("</table>\n");
}

fn list(page: &mut String, state: State, findings: &[&Finding], language: Language) {
    let heading = [CHECK, EVIDENCE, REMEDY].map(|words| format!("<th>{}</th>", words.both(language)));
    let _ = write!(
        page,
        "<section><h2>{} ({})</h2>\n<table class=\"found\"><thead><tr>{}</tr></thead><tbody>\n",
        state_words(state).both(language),
        findings.len(),
        heading.concat()
    );
    for finding in findings {
        let subject = match finding.subject.as_str() {
            "" => String::new(),
            subject => format!("<br><b>{}</b>", escape(subject)),
        };
        let at = finding.at.map_or_else(String::new, |at| format!("; {}", second(at)));
        let _ = writeln!(
            page,
            "<tr><td>{}{subject}<br><code>{}</code></td><td>{}<p class=\"small\">{}{at}</p></td><td>{}</td></tr>",
            both(&finding.title, language),
            escape(&finding.id),
            both(&finding.evidence, language),
            both(&finding.source, language),
            both(&finding.remedy, language),
        );
    }
    page.push_str("</tbody></table></section>\n");
}

/// Both languages, the chosen one first.
fn both(text: &Text, language: Language) -> String {
    let (first, other) = match language {
        Language::English => (&text.en, &text.pl),
        Language::Polish => (&text.pl, &text.en),
    };
    if first == other {
        return escape(first);
    }
    format!(
        "{} <span class=\"o\" lang=\"{}\">{}</span>",
        escape(first),
        language.other().code(),
        escape(other)
    )
}

/// SHA-256 of the page, for the log.
pub fn digest(page: &str) -> Digest {
    Digest::of(page.as_bytes())
}

/// The page with its vault's signature, once the log has its SHA-256 in `entry`.
pub fn sign(page: &str, at: Stamp, entry: u64, signer: &Signer) -> Result<String, NoteError> {
    let note = signer.sign_statement(&statement(&digest(page), at, entry))?;
    Ok(format!("{page}{BEGINS}{}{ENDS}", BASE64_STANDARD.encode(note)))
}

/// Whether the vault of that key has signed this page.
pub fn verify(text: &str, key: &VerifyKey) -> Result<Signed, ReportError> {
    let (page, rest) = text.rsplit_once(BEGINS).ok_or(ReportError::Unsigned)?;
    let note = rest.strip_suffix(ENDS).ok_or(ReportError::Unsigned)?;
    let note = BASE64_STANDARD.decode(note).ok().and_then(|note| String::from_utf8(note).ok());
    let note = note.ok_or(ReportError::Unsigned)?;
    let said = key.open_text(&note)?;
    let mut lines = said.lines();
    let (_, sha256) = (lines.next(), lines.next().unwrap_or_default());
    let at = lines.next().and_then(|line| serde_json::from_value(line.into()).ok());
    let entry = lines.next().and_then(|line| line.strip_prefix("entry ")?.parse().ok());
    let (Some(at), Some(entry)) = (at, entry) else { return Err(ReportError::Unsigned) };
    let is_same = sha256 == digest(page).to_string() && said == statement(&digest(page), at, entry);
    if is_same { Ok(Signed { at, entry }) } else { Err(ReportError::Changed) }
}

fn statement(sha256: &Digest, at: Stamp, entry: u64) -> String {
    format!("{KIND}\n{sha256}\n{at}\nentry {entry}\n")
}

fn state_words(state: State) -> Words {
    match state {
        State::Fails => words("fails", "nie spełniono"),
        State::Attention => words("needs attention", "wymaga uwagi"),
        State::Unknown => words("cannot be known here", "nie wiadomo"),
        State::Ok => words("as it should be", "w porządku"),
    }
}

const TITLE: Words = words("Review of an archive", "Przegląd archiwum");
const ARCHIVE: Words = words("Archive", "Archiwum");
const MADE: Words = words("Made", "Sporządzono");
const TOOL: Words = words("Program", "Program");
const LOG: Words = words("Entries in the archive’s log", "Wpisy w dzienniku archiwum");
const RESULT: Words = words("Result", "Wynik");
const CHECK: Words = words("Check", "Sprawdzenie");
const EVIDENCE: Words = words("Evidence, and where from", "Stan i jego źródło");
const REMEDY: Words = words("What to do", "Co zrobić");
const HOW: Words = words("How to check this", "Jak to sprawdzić");
const HOW_TEXT: Words = words(
    "The archive has signed this page, and its log has the page’s SHA-256. With the archive’s key as it was told to you \
     by another way:",
    "Archiwum podpisało tę stronę, a jego dziennik zawiera jej skrót SHA-256. Kluczem archiwum otrzymanym inną drogą:",
);
const MORE_STYLE: &str = ".found{table-layout:fixed}.found th:first-child{width:24%}.found th:last-child{width:33%}\
.found td p{margin:2px 0}";
const BEGINS: &str = "<!-- signed by the archive: ";
const ENDS: &str = " -->\n";
const KIND: &str = "sejf review report 1";
