//! Routes of those who hold, export and destroy.

use axum::http::Method;

use super::{Field, Kind, REASON, Route, Rule, Target, may, needed};
use crate::archive::access::Action;
use crate::web::desk::{approvals, bundle, exports, holds, matters, retention, run};

macro_rules! run {
    ($of:ident::$handler:ident) => {
        |shared, call| Box::pin($of::$handler(shared, call))
    };
}

const NAME: Field = needed("name", Kind::Text, "name of the hold, as the court's file number");
const RECORDINGS: Field = needed("recordings", Kind::Texts, "ids of recordings, at most 1000");
const SOME: Field = may("recordings", Kind::Texts, "ids of recordings, at most 1000");
const CLASS: Field = may("class", Kind::Text, "retention class");
const RECORDER: Field =
    may("recorder", Kind::Text, "recorder: its public key, or the name that it begins with");
const FROM: Field = may("from", Kind::Text, "begun then or later: 2026-11-23 or 2026-11-23T21:08:41Z");
const TO: Field = may("to", Kind::Text, "begun before");
const FOR: Field = needed("for", Kind::Text, "who it is for: a court and its file number, a customer");
const RECIPIENTS: Field = may(
    "recipients",
    Kind::Texts,
    "the receiver's keys, age recipients or SSH public keys; with none, it is given in the open",
);
const LANGUAGE: Field = may("language", Kind::Text, "that comes first in the report: en or pl");

/// All of them.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/api/v1/recordings/{id}/matters",
        rule: Rule::Action(Action::Show, Target::Recording),
        id: "matters",
        about: "What holds a recording, until when it is kept and why, what is asked of it.",
        fields: &[],
        run: run!(matters::serve),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/holds",
        rule: Rule::Action(Action::ListMatters, Target::Vault),
        id: "holds",
        about: "All holds, those that were let go included. Who reaches only so far sees their own.",
        fields: &[],
        run: run!(holds::list),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/holds",
        rule: Rule::Action(Action::Hold, Target::NewHold),
        id: "hold",
        about: "Keeps recordings from destruction, those that come later and fit as well. All of what is said must hold.",
        fields: &[
            NAME,
            SOME,
            CLASS,
            RECORDER,
            FROM,
            TO,
            may("all", Kind::Flag, "true for every recording"),
            REASON,
        ],
        run: run!(holds::place),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/holds/release",
        rule: Rule::Action(Action::ReleaseHold, Target::Hold),
        id: "releaseHold",
        about: "Lets a hold go. Its name is not given again.",
        fields: &[NAME, REASON],
        run: run!(holds::release),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/exports/requests",
        rule: Rule::Action(Action::ListMatters, Target::Vault),
        id: "exportRequests",
        about: "Requests for exports, and how many recordings one gives away alone in a day.",
        fields: &[],
        run: run!(exports::list),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/exports/requests",
        rule: Rule::Action(Action::AskExport, Target::Recordings),
        id: "askExport",
        about: "Asks for an export that nobody makes alone. Counts once a second person agrees.",
        fields: &[RECORDINGS, FOR, RECIPIENTS, REASON],
        run: run!(exports::ask),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/exports/requests/{number}/agree",
        rule: Rule::Action(Action::ApproveExport, Target::ExportAsked),
        id: "agreeToExport",
        about: "Agrees to an export that another has asked for.",
        fields: &[REASON],
        run: run!(exports::approve),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/exports/requests/{number}/withdraw",
        rule: Rule::Action(Action::AskExport, Target::ExportAsked),
        id: "withdrawExport",
        about: "Takes a request for an export back.",
        fields: &[REASON],
        run: run!(exports::withdraw),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/exports/requests/{number}/bundle",
        rule: Rule::Action(Action::Export, Target::ExportAsked),
        id: "makeAskedExport",
        about: "Leave to fetch the bundle of a request to which a second person has agreed: gives its address, for five minutes.",
        fields: &[LANGUAGE],
        run: run!(exports::make_asked),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/exports",
        rule: Rule::Action(Action::Export, Target::Recordings),
        id: "makeExport",
        about: "Leave to fetch a bundle of recordings: gives its address, for five minutes. Beyond what one gives away alone it takes a request.",
        fields: &[RECORDINGS, FOR, RECIPIENTS, LANGUAGE, REASON],
        run: run!(exports::make),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/exports/{trace}",
        rule: Rule::SignedIn,
        id: "bundle",
        about: "The bundle, a tar archive, to whom it was granted and once. It is made as it is sent; the log has it before its end.",
        fields: &[],
        run: run!(bundle::fetch),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/retention",
        rule: Rule::Action(Action::ListMatters, Target::Vault),
        id: "retention",
        about: "What falls due in which month, classes, requests for destruction, certificates, and how a destruction goes.",
        fields: &[],
        run: run!(retention::overview),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/retention/now",
        rule: Rule::Action(Action::ListMatters, Target::Vault),
        id: "retentionNow",
        about: "What would be destroyed now, and why the rest would not. Changes nothing.",
        fields: &[],
        run: run!(retention::look),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/destructions",
        rule: Rule::Action(Action::AskDestruction, Target::Scope),
        id: "askDestruction",
        about: "Asks for the destruction of recordings whose time is over. Counts once a second person agrees, or as the class says.",
        fields: &[
            SOME,
            CLASS,
            RECORDER,
            FROM,
            TO,
            may(
                "what",
                Kind::Text,
                "due; unneeded: whatever need not be kept any longer; erasure: its person has asked",
            ),
            may("due_by", Kind::Text, "only what may go by then; now, where it is not said"),
            may("standing", Kind::Flag, "true for what comes to it later as well"),
            REASON,
        ],
        run: run!(retention::ask),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/destructions/{number}/agree",
        rule: Rule::Action(Action::ApproveDestruction, Target::DestructionAsked),
        id: "agreeToDestruction",
        about: "Agrees to a destruction that another has asked for.",
        fields: &[REASON],
        run: run!(retention::approve),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/destructions/{number}/withdraw",
        rule: Rule::Action(Action::AskDestruction, Target::DestructionAsked),
        id: "withdrawDestruction",
        about: "Takes a request for destruction back.",
        fields: &[REASON],
        run: run!(retention::withdraw),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/destructions/run",
        rule: Rule::Action(Action::Destroy, Target::Vault),
        id: "destroy",
        about: "Destroys what is due, was asked for and agreed to: in the background, /api/v1/retention says how it goes.",
        fields: &[REASON],
        run: run!(run::begin),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/certificates/{number}/{form}",
        rule: Rule::Action(Action::ListMatters, Target::Vault),
        id: "certificate",
        about: "A certificate of destruction: as json, as a signed note, or as a page (html) to be kept.",
        fields: &[],
        run: run!(retention::certificate),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/approvals",
        rule: Rule::Action(Action::ListApprovals, Target::Vault),
        id: "approvals",
        about: "All that waits for a second person, and who that may be.",
        fields: &[],
        run: run!(approvals::list),
    },
];
