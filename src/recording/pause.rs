//! When a recording pauses: what the parties and their telephone systems say in SIP and with keys.
//!
//! [`PauseWatch`] only decides; [`crate::recording::recorder::Recorder::pause`] does. One that is
//! told to pause twice pauses once.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::party::Party;
use crate::base::time::Stamp;
use crate::wire::sip::{Message, Method, StartLine};

/// What may pause a recording and have it go on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PauseRules {
    /// Keys that pause, as `*1`: 1 to 16 of `0123456789*#ABCD`.
    pub dtmf_pause: Option<String>,
    /// Keys that have it go on. The same keys as `dtmf_pause` do both in turn.
    pub dtmf_resume: Option<String>,
    /// Name of a header that says `pause` or `resume`, as `X-Recording`, in any request; or of a line
    /// that says so in the body of an INFO. `;reason=…` may follow.
    pub header: Option<String>,
    /// Whose keys and requests count.
    pub by: PauseBy,
}

/// Who may pause a recording.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseBy {
    /// The one who called.
    Caller,
    /// The one who was called.
    Callee,
    /// Both, and media of which the party is not known.
    #[default]
    Either,
}

/// Why sound is left out, and who said so.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PauseReason {
    /// As given; may be empty.
    pub text: String,
    /// How it was said.
    pub by: MaskedBy,
}

/// How it was said that something is to be left out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskedBy {
    /// The operator, or a program of his, through the recorder's control socket.
    Control,
    /// Keys.
    Dtmf,
    /// A SIP INFO.
    Info,
    /// A SIP header.
    SipHeader,
    /// The tone of a key was found where keys are left out.
    Tone,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Leave out what comes.
    Pause(PauseReason),
    /// Go on.
    Resume,
}

/// How a key came: each way is a sequence of its own, as gateways send one press both ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyVia {
    /// RFC 4733.
    Event,
    /// SIP.
    Info,
    /// A tone in the sound.
    Tone,
}

/// Decides for one call.
#[derive(Debug)]
pub struct PauseWatch {
    rules: PauseRules,
    keys: Vec<Keys>,
    /// Requests that were taken in: others are the same at another hop, or again.
    requests: VecDeque<(Party, u32, Vec<u8>)>,
    paused: bool,
}

struct Keys {
    party: Party,
    via: KeyVia,
    last: Stamp,
    digits: String,
}

/// Hides the digits: they may be those of a card number.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("party", &self.party).field("via", &self.via).finish_non_exhaustive()
    }
}

impl PauseBy {
    fn allows(self, party: Party) -> bool {
        match self {
            Self::Caller => party == Party::Caller,
            Self::Callee => party == Party::Callee,
            Self::Either => true,
        }
    }
}

impl PauseRules {
    /// Whether keys can pause or have it go on, so that tones must be looked for.
    pub fn keys(&self) -> bool {
        self.dtmf_pause.is_some() || self.dtmf_resume.is_some()
    }

    /// Says what is wrong with a code.
    pub fn check(&self) -> Result<(), PauseRulesError> {
        for code in [&self.dtmf_pause, &self.dtmf_resume].into_iter().flatten() {
            let good = |digit: char| "0123456789*#ABCD".contains(digit);
            if code.is_empty() || code.len() > CODE_DIGITS_MAX || !code.chars().all(good) {
                return Err(PauseRulesError::Code { code: code.clone() });
            }
        }
        Ok(())
    }
}

/// Why rules cannot be followed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PauseRulesError {
    /// It cannot be dialled.
    #[error("the code `{code}` cannot be dialled: give 1 to 16 of 0123456789*#ABCD, as *1")]
    Code {
        /// As given.
        code: String,
    },
}

impl PauseWatch {
    /// Follows `rules`.
    pub fn new(rules: PauseRules) -> Self {
        Self { rules, keys: Vec::new(), requests: VecDeque::new(), paused: false }
    }

    /// Takes in a SIP message that `party` sent.
    pub fn signal(&mut self, at: Stamp, party: Party, sip: &[u8]) -> Option<Action> {
        let message = Message::parse(sip).ok()?;
        let StartLine::Request { method, .. } = message.start() else { return None };
        if !self.rules.by.allows(party) || !self.is_new(party, &message, *method) {
            return None;
        }
        let name = self.rules.header.clone();
        let mut said =
            name.as_deref().and_then(|name| message.header(name)).map(|v| (v, MaskedBy::SipHeader));
        if *method == Method::Info {
            let line = name.as_deref().and_then(|name| line_of(message.body(), name));
            said = said.or(line.map(|value| (value, MaskedBy::Info)));
        }
        if let Some(action) = said.and_then(|(value, by)| action(value, by)) {
            return self.decided(action);
        }
        let mut decided = None;
        for digit in digits_of(&message) {
            decided = self.digit(at, party, digit, KeyVia::Info).or(decided);
        }
        decided
    }

    /// Takes in a key that `party` pressed.
    pub fn digit(&mut self, at: Stamp, party: Party, digit: char, via: KeyVia) -> Option<Action> {
        if !self.rules.keys() || !self.rules.by.allows(party) {
            return None;
        }
        let index = match self.keys.iter().position(|keys| keys.party == party && keys.via == via) {
            Some(index) => index,
            None => {
                self.keys.push(Keys { party, via, last: at, digits: String::new() });
                self.keys.len() - 1
            }
        };
        let keys = &mut self.keys[index];
        if at.since(keys.last) > BETWEEN_KEYS_MAX {
            keys.digits.clear();
        }
        keys.last = at;
        if keys.digits.len() >= CODE_DIGITS_MAX {
            keys.digits.remove(0);
        }
        keys.digits.push(digit);
        let dialled = |code: &Option<String>| {
            code.as_ref().filter(|code| keys.digits.ends_with(code.as_str())).map_or(0, String::len)
        };
        let (pause, resume) = (dialled(&self.rules.dtmf_pause), dialled(&self.rules.dtmf_resume));
        if pause == 0 && resume == 0 {
            return None;
        }
        keys.digits.clear();
        // Of two codes with one ending the longer one was meant; one code for both is a switch.
        let pauses = if pause == resume { !self.paused } else { pause > resume };
        let by = if via == KeyVia::Info { MaskedBy::Info } else { MaskedBy::Dtmf };
        self.decided(if pauses {
            Action::Pause(PauseReason { text: String::new(), by })
        } else {
            Action::Resume
        })
    }

    /// Tells what became of the recording, whoever said so.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// The same press seen two ways must not switch twice: what is so already is no decision.
    fn decided(&mut self, action: Action) -> Option<Action> {
        let pauses = matches!(action, Action::Pause(_));
        if pauses == self.paused {
            return None;
        }
        self.paused = pauses;
        // The same press by another way is one behind: its keys are of no use any more.
        if self.rules.dtmf_pause == self.rules.dtmf_resume {
            self.keys.iter_mut().for_each(|keys| keys.digits.clear());
        }
        Some(action)
    }

    fn is_new(&mut self, party: Party, message: &Message<'_>, method: Method<'_>) -> bool {
        let Some((number, _)) = message.cseq() else { return true };
        let method = &method.as_bytes()[..method.as_bytes().len().min(METHOD_BYTES_MAX)];
        if self.requests.iter().any(|known| (known.0, known.1, known.2.as_slice()) == (party, number, method))
        {
            return false;
        }
        if self.requests.len() >= REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back((party, number, method.to_vec()));
        true
    }
}

/// Whether a SIP message tells of keys in its body: what must not be kept where keys are not.
pub fn carries_digits(sip: &[u8]) -> bool {
    Message::parse(sip).is_ok_and(|message| {
        !message.body().is_empty()
            && message.content_type().is_some_and(|kind| {
                let multipart = kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"));
                DIGIT_TYPES
                    .iter()
                    .any(|digits| contains(kind, digits) || (multipart && contains(message.body(), digits)))
            })
    })
}

/// The keys that a message tells of: `Signal=5` (dtmf-relay), `5` (application/dtmf), `d=5` (Nortel),
/// `digits="5"` (KPML, RFC 4730).
fn digits_of(message: &Message<'_>) -> Vec<char> {
    if !carries_digits(message.raw()) {
        return Vec::new();
    }
    let body = message.body();
    let value = line_of(body, "Signal").or_else(|| line_of(body, "d")).or_else(|| {
        let at = body.windows(8).position(|word| word == b"digits=\"")?;
        body[at + 8..].split(|byte| *byte == b'"').next()
    });
    let value = value.unwrap_or(body).trim_ascii();
    match value {
        b"10" => vec!['*'],
        b"11" => vec!['#'],
        [b'1', second @ b'2'..=b'5'] => vec![char::from(b'A' + second - b'2')],
        value if value.len() <= CODE_DIGITS_MAX => value
            .iter()
            .map(|byte| char::from(byte.to_ascii_uppercase()))
            .filter(|digit| "0123456789*#ABCD".contains(*digit))
            .collect(),
        _ => Vec::new(),
    }
}

/// The value of the line `name: value` or `name=value`.
fn line_of<'a>(body: &'a [u8], name: &str) -> Option<&'a [u8]> {
    body.split(|byte| matches!(byte, b'\r' | b'\n')).find_map(|line| {
        let (known, rest) = line.trim_ascii().split_at_checked(name.len())?;
        let rest = rest.trim_ascii_start();
        let value = rest.strip_prefix(b":").or_else(|| rest.strip_prefix(b"="))?;
        known.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

fn action(value: &[u8], by: MaskedBy) -> Option<Action> {
    let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let word = parts.next()?;
    if word.eq_ignore_ascii_case(b"resume") {
        return Some(Action::Resume);
    }
    if !word.eq_ignore_ascii_case(b"pause") {
        return None;
    }
    let reason = parts.find_map(|part| line_of(part, "reason")).unwrap_or_default();
    let reason = String::from_utf8_lossy(&reason[..reason.len().min(REASON_BYTES_MAX)]);
    let text = reason.trim_matches('"').chars().filter(|c| !c.is_control()).collect();
    Some(Action::Pause(PauseReason { text, by }))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// What bodies that tell of keys are called.
const DIGIT_TYPES: [&[u8]; 5] = [
    b"application/dtmf",
    b"application/kpml-response",
    b"application/vnd.nortelnetworks.digits",
    b"audio/telephone-event",
    b"application/telephone-event",
];
/// Longest code.
const CODE_DIGITS_MAX: usize = 16;
/// Keys further apart are no code.
const BETWEEN_KEYS_MAX: Duration = Duration::from_secs(3);
/// Requests that are known again.
const REQUESTS_MAX: usize = 16;
/// What is kept of a method's name.
const METHOD_BYTES_MAX: usize = 16;
/// What is kept of a reason.
const REASON_BYTES_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::from_unix_nanos(1_795_000_000_000_000_000 + ms * 1_000_000)
    }

    fn rules() -> PauseRules {
        PauseRules {
            dtmf_pause: Some("*1".into()),
            dtmf_resume: Some("*2".into()),
            header: Some("X-Recording".into()),
            by: PauseBy::Callee,
        }
    }

    fn request(method: &str, cseq: u32, more: &str, body: &str) -> Vec<u8> {
        format!(
            "{method} sip:a@h SIP/2.0\r\nFrom: <sip:b@h>;tag=1\r\nTo: <sip:a@h>;tag=2\r\nCall-ID: x\r\n\
             CSeq: {cseq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn paused(by: MaskedBy, text: &str) -> Option<Action> {
        Some(Action::Pause(PauseReason { text: text.into(), by }))
    }

    #[test]
    fn a_code_pauses_and_another_resumes() {
        let mut watch = PauseWatch::new(rules());
        let mut dial = |ms, party, digit| watch.digit(at(ms), party, digit, KeyVia::Event);
        assert_eq!(dial(0, Party::Caller, '*'), None);
        assert_eq!(dial(100, Party::Caller, '1'), None, "only the callee may");
        assert_eq!(dial(200, Party::Callee, '*'), None);
        assert_eq!(dial(4_000, Party::Callee, '1'), None, "too slow");
        assert_eq!(dial(4_100, Party::Callee, '*'), None);
        assert_eq!(dial(4_200, Party::Callee, '1'), paused(MaskedBy::Dtmf, ""));
        for digit in "1234567812345678123*".chars() {
            assert_eq!(dial(4_300, Party::Callee, digit), None);
        }
        assert_eq!(dial(4_400, Party::Callee, '2'), Some(Action::Resume));
    }

    #[test]
    fn one_press_that_comes_two_ways_is_one() {
        let mut watch =
            PauseWatch::new(PauseRules { dtmf_resume: Some("*1".into()), by: PauseBy::Either, ..rules() });
        let mut actions = Vec::new();
        for (ms, digit) in [(0, '*'), (200, '1'), (5_000, '*'), (5_200, '1')] {
            actions.extend(watch.digit(at(ms), Party::Caller, digit, KeyVia::Event));
            actions.extend(watch.digit(at(ms + 40), Party::Caller, digit, KeyVia::Tone));
        }
        let pauses: Vec<_> = actions.iter().map(|action| matches!(action, Action::Pause(_))).collect();
        assert_eq!(pauses, [true, false]);
    }

    #[test]
    fn a_header_or_a_line_of_an_info_pauses() {
        let mut watch = PauseWatch::new(rules());
        let pause = request("UPDATE", 5, "x-recording: Pause; reason=\"card number\"\r\n", "");
        assert_eq!(watch.signal(at(0), Party::Caller, &pause), None, "only the callee may");
        let want = paused(MaskedBy::SipHeader, "card number");
        assert_eq!(watch.signal(at(0), Party::Callee, &pause), want);
        let resume = request("INFO", 6, "Content-Type: text/plain\r\n", "a: b\r\nX-Recording: resume\r\n");
        assert_eq!(watch.signal(at(9), Party::Callee, &resume), Some(Action::Resume));
        assert_eq!(watch.signal(at(10), Party::Callee, &pause), None, "the same request again");
        let other = request("INFO", 7, "X-Recording: maybe\r\n", "");
        assert_eq!(watch.signal(at(11), Party::Callee, &other), None);
    }

    #[test]
    fn keys_in_sip_are_keys() {
        for (kind, star, one) in [
            ("application/dtmf-relay", "Signal= *\r\nDuration=160\r\n", "Signal=1\r\nDuration=160\r\n"),
            ("application/dtmf-relay", "Signal=10\r\nDuration=160\r\n", "signal = 1\r\n"),
            ("application/dtmf", "*", "1\r\n"),
            ("application/vnd.nortelnetworks.digits", "p=x\r\nd=*\r\n", "d=1\r\n"),
            (
                "application/kpml-response+xml",
                "<kpml-response digits=\"*\"/>",
                "<k code=\"200\" digits=\"1\"/>",
            ),
        ] {
            let mut watch = PauseWatch::new(rules());
            let kind = format!("Content-Type: {kind}\r\n");
            let (star, one) = (request("INFO", 1, &kind, star), request("INFO", 2, &kind, one));
            assert!(carries_digits(&star) && carries_digits(&one));
            assert_eq!(watch.signal(at(0), Party::Callee, &star), None, "{kind}");
            assert_eq!(watch.signal(at(0), Party::Callee, &star), None, "{kind}");
            assert_eq!(watch.signal(at(9), Party::Callee, &one), paused(MaskedBy::Info, ""), "{kind}");
        }
        assert!(!carries_digits(&request("INFO", 1, "Content-Type: text/plain\r\n", "Signal=1")));
        let parts = "--b\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=1\r\n--b--\r\n";
        assert!(carries_digits(&request("INFO", 1, "Content-Type: multipart/mixed;boundary=b\r\n", parts)));
    }

    #[test]
    fn codes_that_nobody_can_dial_are_refused() {
        assert!(rules().check().is_ok());
        for code in ["", "x", "12345678901234567"] {
            assert!(PauseRules { dtmf_pause: Some(code.into()), ..rules() }.check().is_err(), "{code}");
        }
    }
}
