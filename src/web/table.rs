//! All routes: what answers them, and who may ask. The router, the rules and the OpenAPI document are made from this one
//! table, so there is no route without a rule.

mod desk;

use std::sync::{Arc, LazyLock};

use axum::http::Method;
use axum::response::Response;
use futures_util::future::BoxFuture;

use crate::archive::access::Action;
use crate::web::account;
use crate::web::call::Call;
use crate::web::held;
use crate::web::live;
use crate::web::log;
use crate::web::manifest;
use crate::web::oidc;
use crate::web::openapi;
use crate::web::passkeys;
use crate::web::people;
use crate::web::play;
use crate::web::problem::Problem;
use crate::web::recordings;
use crate::web::review;
use crate::web::samples;
use crate::web::shared::Shared;
use crate::web::sign_in;
use crate::web::stock;
use crate::web::ui;
use crate::web::versions;

/// A route.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) method: Method,
    /// With parameters in braces.
    pub(super) path: &'static str,
    pub(super) rule: Rule,
    /// Its name for programs.
    pub(super) id: &'static str,
    pub(super) about: &'static str,
    /// What is sent: in the body, or of a GET in the query.
    pub(super) fields: &'static [Field],
    pub(super) run: Run,
}

/// What answers.
pub(super) type Run = fn(Arc<Shared>, Call) -> BoxFuture<'static, Result<Response, Problem>>;

/// Who may ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rule {
    /// A file of the page: the same for whoever reaches us, and nothing of this vault.
    Public,
    /// Whoever reaches us: what it does proves who one is, or says nothing of recordings.
    Anybody,
    /// Whoever has signed in, or a token for it; what it says is theirs.
    SignedIn,
    /// Whoever `access::decide` grants it to. The log has it first.
    Action(Action, Target),
}

/// What the action is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// The archive.
    Vault,
    /// The recording `{id}`: it matters whose it is.
    Recording,
    /// The user `{user}` of the path, or of the body.
    User,
    /// What was asked by `{number}`.
    Asked,
    /// The medium `{medium}`.
    Medium,
    /// Who asks.
    Own,
    /// `recordings` of the body.
    Recordings,
    /// Recordings that the body means: by id, class, recorder, time.
    Scope,
    /// The same, and `name` of the hold that is laid on them.
    NewHold,
    /// The hold `name` of the body.
    Hold,
    /// The export that was asked for by `{number}`.
    ExportAsked,
    /// The destruction that was asked for by `{number}`.
    DestructionAsked,
}

impl Target {
    /// Whether it is one that the desk looks up.
    pub(super) fn is_of_the_desk(self) -> bool {
        use Target::{DestructionAsked, ExportAsked, Hold, NewHold, Recordings, Scope};
        matches!(self, Recordings | Scope | NewHold | Hold | ExportAsked | DestructionAsked)
    }
}

/// Something that is sent.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) is_needed: bool,
    pub(super) about: &'static str,
}

/// What it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    Texts,
    Roles,
    Reason,
    /// What a browser gives of a passkey.
    Passkey,
}

const fn needed(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, is_needed: true, about }
}

const fn may(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, is_needed: false, about }
}

// Whether it is needed says `access`, which logs that it was not there.
const REASON: Field = may("reason", Kind::Reason, "why: one of the vault's codes, and text or a ticket");
const CODE: Field = may("code", Kind::Text, "six digits of the app, or a recovery code");
const PASSKEY: Field =
    may("passkey", Kind::Passkey, "in place of `code`: what PublicKeyCredential.toJSON() gives");
const PASSKEY_NAME: Field = may("name", Kind::Text, "what you call the passkey");
const LATER: Field = may("pending", Kind::Text, "with `passkey`: as the step before has said");
const PENDING: Field = needed("pending", Kind::Text, "as the step before has said");
const PASSWORD: Field = needed("password", Kind::Text, "12 characters at least");

macro_rules! run {
    ($of:ident::$handler:ident) => {
        |shared, call| Box::pin($of::$handler(shared, call))
    };
}

/// All of them.
pub(super) static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| [COMMON, desk::ROUTES].concat());

const COMMON: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/",
        rule: Rule::Public,
        id: "page",
        about: "The page for people.",
        fields: &[],
        run: run!(ui::page),
    },
    Route {
        method: Method::GET,
        path: "/ui/{file}",
        rule: Rule::Public,
        id: "pageFile",
        about: "A file of the page.",
        fields: &[],
        run: run!(ui::file),
    },
    Route {
        method: Method::GET,
        path: oidc::PAGE,
        rule: Rule::Public,
        id: "pageOidc",
        about: "The page, where an identity provider sends people back to.",
        fields: &[],
        run: run!(ui::page),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/openapi.json",
        rule: Rule::Anybody,
        id: "openapi",
        about: "This document.",
        fields: &[],
        run: run!(openapi::serve),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/login",
        rule: Rule::Anybody,
        id: "login",
        about: "Signs in, first factor: name and password. What is `pending` goes to /api/v1/login/factor, with one of `factors`; `passkey` is what a browser asks a passkey with.",
        fields: &[needed("user", Kind::Text, "name"), needed("password", Kind::Text, "password")],
        run: run!(sign_in::login),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/login/factor",
        rule: Rule::Anybody,
        id: "loginFactor",
        about: "Signs in, second factor. Sets the session's cookie; `csrf` goes into the header Sejf-CSRF of all that changes something.",
        fields: &[PENDING, CODE, PASSKEY],
        run: run!(sign_in::factor),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/login/passkey",
        rule: Rule::Anybody,
        id: "loginPasskey",
        about: "Begins to sign in with a passkey alone, which then has to know who uses it. Goes on at /api/v1/login/factor.",
        fields: &[],
        run: run!(passkeys::begin),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/login",
        rule: Rule::Anybody,
        id: "loginWays",
        about: "In which ways one signs in here.",
        fields: &[],
        run: run!(oidc::ways),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/login/oidc",
        rule: Rule::Anybody,
        id: "loginOidc",
        about: "Begins to sign in by the identity provider: `url` is where the browser goes.",
        fields: &[],
        run: run!(oidc::begin),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/login/oidc/finish",
        rule: Rule::Anybody,
        id: "loginOidcFinish",
        about: "Goes on with what the identity provider has sent the browser back with: signs in, or gives `pending` for our own second factor.",
        fields: &[
            needed("state", Kind::Text, "as it came back"),
            needed("code", Kind::Text, "as it came back"),
            may("iss", Kind::Text, "as it came back"),
        ],
        run: run!(oidc::finish),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/enrol",
        rule: Rule::Anybody,
        id: "enrol",
        about: "Uses an invitation, first step: sets a password. `secret` and `uri` are for an authenticator app, `qr` is `uri` as a QR code.",
        fields: &[needed("invite", Kind::Text, "invitation"), PASSWORD],
        run: run!(sign_in::enrol),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/enrol/confirm",
        rule: Rule::Anybody,
        id: "enrolConfirm",
        about: "Uses an invitation, second step: a code shows that the app has the secret, or a passkey was made. Gives recovery codes, and signs in.",
        fields: &[PENDING, CODE, PASSKEY, PASSKEY_NAME],
        run: run!(sign_in::confirm),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/enrol/passkey",
        rule: Rule::Anybody,
        id: "enrolPasskey",
        about: "Uses an invitation, between its steps: what a browser makes a passkey with, in place of an app.",
        fields: &[PENDING],
        run: run!(passkeys::begin_enrolling),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/me",
        rule: Rule::SignedIn,
        id: "me",
        about: "Who one is, with which roles and reach, and how long the session lasts.",
        fields: &[],
        run: run!(sign_in::me),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/step-up",
        rule: Rule::SignedIn,
        id: "stepUp",
        about: "Shows the second factor again: for what takes one of the last five minutes. The session has another cookie and `csrf` then.",
        fields: &[CODE, LATER, PASSKEY],
        run: run!(sign_in::step_up),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/step-up/passkey",
        rule: Rule::SignedIn,
        id: "stepUpPasskey",
        about: "Begins to show a passkey again. Goes on at /api/v1/step-up.",
        fields: &[],
        run: run!(passkeys::begin_step_up),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/sessions",
        rule: Rule::SignedIn,
        id: "sessions",
        about: "Where one is signed in: since when, from where, with which browser.",
        fields: &[],
        run: run!(account::sessions),
    },
    Route {
        method: Method::DELETE,
        path: "/api/v1/sessions/{number}",
        rule: Rule::SignedIn,
        id: "endSession",
        about: "Ends one of one's own sessions.",
        fields: &[],
        run: run!(account::end_session),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/sessions/end-others",
        rule: Rule::SignedIn,
        id: "endOtherSessions",
        about: "Ends all of one's own sessions but this one.",
        fields: &[],
        run: run!(account::end_others),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/passkeys/options",
        rule: Rule::Action(Action::ChangeOwn, Target::Own),
        id: "passkeyOptions",
        about: "Begins to add a passkey: what a browser makes it with.",
        fields: &[],
        run: run!(passkeys::begin_adding),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/passkeys",
        rule: Rule::Action(Action::ChangeOwn, Target::Own),
        id: "addPasskey",
        about: "Adds the passkey that was made.",
        fields: &[
            PENDING,
            needed("passkey", Kind::Passkey, "what PublicKeyCredential.toJSON() gives"),
            PASSKEY_NAME,
        ],
        run: run!(passkeys::add),
    },
    Route {
        method: Method::DELETE,
        path: "/api/v1/passkeys/{number}",
        rule: Rule::Action(Action::ChangeOwn, Target::Own),
        id: "removePasskey",
        about: "Takes a passkey away, unless it is the last second factor.",
        fields: &[],
        run: run!(passkeys::remove),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/recovery-codes",
        rule: Rule::Action(Action::ChangeOwn, Target::Own),
        id: "newRecoveryCodes",
        about: "Makes new recovery codes. Those of before are dead.",
        fields: &[],
        run: run!(account::recovery_codes),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/password",
        rule: Rule::Action(Action::ChangeOwn, Target::Own),
        id: "changePassword",
        about: "Changes the password. Other sessions end.",
        fields: &[
            needed("password", Kind::Text, "the one of now"),
            needed("new_password", Kind::Text, "12 characters at least"),
        ],
        run: run!(account::change_password),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/logout",
        rule: Rule::SignedIn,
        id: "logout",
        about: "Ends the session.",
        fields: &[],
        run: run!(sign_in::logout),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/break-glass",
        rule: Rule::Action(Action::BreakGlass, Target::Own),
        id: "breakGlass",
        about: "Reaches beyond the own teams and trunks for 15 minutes. Alarms, and the log has it.",
        fields: &[REASON],
        run: run!(sign_in::break_glass),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/recordings",
        rule: Rule::Action(Action::Search, Target::Vault),
        id: "search",
        about: "Finds recordings, newest first: all of what is said must hold. Of those out of reach none is shown.",
        fields: SEARCH,
        run: run!(recordings::search),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/recordings/{id}",
        rule: Rule::Action(Action::Show, Target::Recording),
        id: "recording",
        about: "One recording, with who spoke.",
        fields: &[],
        run: run!(recordings::one),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/recordings/{id}/manifest",
        rule: Rule::Action(Action::Show, Target::Recording),
        id: "manifest",
        about: "What a recording says of itself: streams and their quality, gaps, what was masked, the SIP messages.",
        fields: &[],
        run: run!(manifest::serve),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/recordings/{id}/versions",
        rule: Rule::Action(Action::Show, Target::Recording),
        id: "versions",
        about: "What was said of a recording later, by whom, when and why, and what holds now.",
        fields: &[],
        run: run!(versions::list),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/recordings/{id}/versions",
        rule: Rule::Action(Action::Annotate, Target::Recording),
        id: "addVersion",
        about: "Says something of a recording, or makes a copy of its sound with spans silenced. What was before stays.",
        fields: SAID,
        run: run!(versions::say),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/recordings/{id}/copies",
        rule: Rule::Action(Action::Show, Target::Recording),
        id: "copies",
        about: "Where its copies are, what was found when they were last read, and what its class asks for.",
        fields: &[],
        run: run!(held::copies),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/recordings/{id}/accesses",
        rule: Rule::Action(Action::ShowAccess, Target::Recording),
        id: "accesses",
        about: "Who saw and heard it, and why: from the last 65536 entries of the log, or of those before `before`.",
        fields: &[may("before", Kind::Number, "number of an entry: the `before` of an answer")],
        run: run!(held::accesses),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/recordings/{id}/plays",
        rule: Rule::Action(Action::Open, Target::Recording),
        id: "play",
        about: "Begins to hear a recording: gives a trace, and for two hours an address of each of its files.",
        fields: &[REASON],
        run: run!(play::begin),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/plays/{trace}/{file}",
        rule: Rule::SignedIn,
        id: "sound",
        about: "The sound, or the part that Range asks for, to whom it was granted. The log has each part before its first byte.",
        fields: &[],
        run: run!(play::bytes),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/plays/{trace}/{file}/peaks",
        rule: Rule::SignedIn,
        id: "peaks",
        about: "How loud each side of the sound is over its length, from 0 to 255: for a picture of it.",
        fields: &[],
        run: run!(play::peaks),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/stock",
        rule: Rule::Action(Action::ShowStock, Target::Vault),
        id: "stock",
        about: "Classes and what they ask for, places and how they stand, lost recordings, and duties with what is late.",
        fields: &[],
        run: run!(stock::copies),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/media",
        rule: Rule::Action(Action::ShowStock, Target::Vault),
        id: "media",
        about: "Media that were written: where they are, under which seal, and what is due.",
        fields: &[],
        run: run!(stock::media),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/media/{medium}",
        rule: Rule::Action(Action::ShowStock, Target::Medium),
        id: "medium",
        about: "One of them, and who had it when.",
        fields: &[],
        run: run!(stock::medium),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/media/{medium}/moves",
        rule: Rule::Action(Action::Media, Target::Medium),
        id: "moveMedium",
        about: "Says that a medium was taken out, or is back.",
        fields: &[
            needed("what", Kind::Text, "check-out or check-in"),
            needed("place", Kind::Text, "where it lies then, or who has it"),
            may("seal", Kind::Text, "number of the seal that is on it"),
            REASON,
        ],
        run: run!(stock::move_medium),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/keys",
        rule: Rule::Action(Action::ShowStock, Target::Vault),
        id: "keys",
        about: "Custodians and their last drill, epochs, and whether the vault is locked. No key of it.",
        fields: &[],
        run: run!(stock::keys),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/live",
        rule: Rule::Action(Action::ShowLive, Target::Vault),
        id: "live",
        about: "Calls that are being recorded on this machine, and how its recorder is. Of those out of reach none is shown.",
        fields: &[],
        run: run!(live::calls),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/live/{watch}",
        rule: Rule::SignedIn,
        id: "liveAgain",
        about: "The same again, for a quarter of an hour to whom it was granted: `watch` is of the first answer.",
        fields: &[],
        run: run!(live::again),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/log",
        rule: Rule::Action(Action::ReadLog, Target::Vault),
        id: "log",
        about: "Entries of the vault's log.",
        fields: &[
            may("from", Kind::Number, "the first one"),
            may("count", Kind::Number, "how many: 100, and 250 at most"),
        ],
        run: run!(log::page),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/log/export",
        rule: Rule::Action(Action::ReadLog, Target::Vault),
        id: "logExport",
        about: "Entries of the vault's log as a file: JSON lines, or CSV, each with its hash in the log's tree.",
        fields: LOG_EXPORT,
        run: run!(log::export),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/users",
        rule: Rule::Action(Action::ListUsers, Target::Vault),
        id: "users",
        about: "All users, and what is asked for them.",
        fields: &[],
        run: run!(people::list),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/users",
        rule: Rule::Action(Action::ManageUsers, Target::User),
        id: "addUser",
        about: "Adds a user, without roles. The invitation is for them alone, and lasts a day.",
        fields: &[needed("user", Kind::Text, "name"), REASON],
        run: run!(people::add),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/users/{user}/requests",
        rule: Rule::Action(Action::ManageUsers, Target::User),
        id: "askForUser",
        about: "Asks for other roles for a user, or for another second factor. Counts once a second person agrees.",
        fields: &[
            may("roles", Kind::Roles, "all that they are to have, each with its reach"),
            may("reset", Kind::Flag, "true for another password and second factor"),
            REASON,
        ],
        run: run!(people::ask),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/users/{user}/disable",
        rule: Rule::Action(Action::ManageUsers, Target::User),
        id: "disableUser",
        about: "Has a user not sign in any more: at once, and for good.",
        fields: &[REASON],
        run: run!(people::disable),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/users/{user}/end-sessions",
        rule: Rule::Action(Action::ManageUsers, Target::User),
        id: "endSessions",
        about: "Ends all sessions of a user, who may sign in again.",
        fields: &[REASON],
        run: run!(people::end_sessions),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/requests/{number}/agree",
        rule: Rule::Action(Action::ApproveUsers, Target::Asked),
        id: "agree",
        about: "Agrees to what another has asked for a third: it is done.",
        fields: &[REASON],
        run: run!(people::agree),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/certifications",
        rule: Rule::Action(Action::ListUsers, Target::Vault),
        id: "certifications",
        about: "Whose roles are to be looked at again, and when somebody last said that they are right.",
        fields: &[],
        run: run!(review::certifications),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/users/{user}/certify",
        rule: Rule::Action(Action::CertifyRoles, Target::User),
        id: "certify",
        about: "Says that a user's roles are still right. Nobody says so of their own.",
        fields: &[
            needed("roles", Kind::Roles, "all that were seen, each with its reach: others may have come"),
            REASON,
        ],
        run: run!(review::certify),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/review",
        rule: Rule::Action(Action::Review, Target::Vault),
        id: "review",
        about: "Holds the archive against what it should be: each finding with state, evidence, where from, and what to do.",
        fields: &[],
        run: run!(review::show),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/review/report",
        rule: Rule::Action(Action::Review, Target::Vault),
        id: "reviewReport",
        about: "The same as a page in HTML, signed by the vault: `sejf review --verify` checks it. The log has its SHA-256.",
        fields: &[may("language", Kind::Text, "which comes first: en or pl")],
        run: run!(review::report),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/samples",
        rule: Rule::Action(Action::Sample, Target::Own),
        id: "samples",
        about: "Recordings of the quarter that is over, drawn for who asks; drawn now where it is the first time.",
        fields: &[],
        run: run!(samples::list),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/recordings/{id}/verdict",
        rule: Rule::Action(Action::Judge, Target::Recording),
        id: "verdict",
        about: "Says what a recording is that was drawn for who asks. A note becomes a version of the recording, and takes a reason.",
        fields: &[
            needed("verdict", Kind::Text, "fine, poor-sound, wrong-party, must-not-be-recorded, not-heard"),
            may("note", Kind::Text, "more on it: sealed with the recording"),
            REASON,
        ],
        run: run!(samples::verdict),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/tokens",
        rule: Rule::Action(Action::MakeToken, Target::Own),
        id: "makeToken",
        about: "Makes a token for a program, to be sent as `Authorization: Bearer …`. It does nothing that takes a second factor.",
        fields: &[
            needed("label", Kind::Text, "what it is for"),
            needed("only", Kind::Texts, "of search, show, read-log, list-users"),
            needed("days", Kind::Number, "1 to 90"),
            REASON,
        ],
        run: run!(people::make_token),
    },
    Route {
        method: Method::DELETE,
        path: "/api/v1/tokens/{number}",
        rule: Rule::Action(Action::MakeToken, Target::Own),
        id: "revokeToken",
        about: "Takes a token back.",
        fields: &[],
        run: run!(people::revoke_token),
    },
];

const SAID: &[Field] = &[
    needed("kind", Kind::Text, "note, labels, agents, correction or redacted"),
    needed("after", Kind::Number, "number of the last version that you have seen; 0 where there was none"),
    may("text", Kind::Text, "of a note"),
    may("add", Kind::Texts, "labels or agents that are put on"),
    may("remove", Kind::Texts, "those that are taken off"),
    may("field", Kind::Text, "what is corrected: caller, callee, from, to, trunk"),
    may("was", Kind::Text, "what it was until now"),
    may("is", Kind::Text, "what it is"),
    may("spans", Kind::Texts, "what nobody hears in the copy, in seconds of the sound: 12.5-19.25"),
    REASON,
];

const SEARCH: &[Field] = &[
    may("party", Kind::Texts, "number or name of who spoke, or how it begins: +4822*"),
    may("trunk", Kind::Text, "trunk the call came over"),
    may("agent", Kind::Text, "who of the call centre's people spoke"),
    may("tag", Kind::Texts, "what was put on it"),
    may("class", Kind::Text, "retention class"),
    may("state", Kind::Text, "complete, interrupted, failed, unanswered, excluded-by-rule"),
    may("from", Kind::Text, "begun then or later: 2026-11-23 or 2026-11-23T21:08:41Z"),
    may("to", Kind::Text, "begun before"),
    may("min_length", Kind::Number, "seconds"),
    may("max_length", Kind::Number, "seconds"),
    may("limit", Kind::Number, "how many at most: 50, and 500 at most"),
    may("after", Kind::Text, "goes on where a page before ended: its `next`"),
];

const LOG_EXPORT: &[Field] = &[
    may("format", Kind::Text, "jsonl or csv"),
    may("actor", Kind::Text, "who: user:rita, or just rita"),
    may("action", Kind::Text, "what was done: open, export"),
    may("recording", Kind::Text, "on which one, by id"),
    may("outcome", Kind::Text, "granted, refused, done, failed"),
    may("from", Kind::Text, "then or later: 2026-11-23 or 2026-11-23T21:08:41Z"),
    may("to", Kind::Text, "before"),
];

impl Route {
    /// Parameters of a path that is this one's; nothing where it is another's.
    pub(super) fn params(&self, path: &str) -> Option<Vec<(&'static str, String)>> {
        let mut params = Vec::new();
        let (mut ours, mut theirs) = (self.path.split('/'), path.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return Some(params),
                (Some(our), Some(their)) => match our.strip_prefix('{').and_then(|our| our.strip_suffix('}'))
                {
                    Some(name) if !their.is_empty() => params.push((name, their.to_owned())),
                    None if our == their => {}
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    /// Whether it changes something: then a browser must show that it is ours.
    pub(super) fn changes(&self) -> bool {
        self.method != Method::GET
    }
}
