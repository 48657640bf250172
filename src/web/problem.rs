//! Why a request is not answered: RFC 9457, with a `type` that programs tell apart.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::archive::access::Refusal;
use crate::archive::passkey::PasskeyFault;
use crate::archive::throttle::Wait;
use crate::archive::users::UsersFault;
use crate::base::time::Stamp;
use crate::shell::vault::catalog::CatalogError;
use crate::shell::vault::log::Denied;
use crate::shell::vault::users::UsersError;

/// A request that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// End of its `type`.
    pub(super) kind: &'static str,
    pub(super) detail: String,
    /// Seconds after which it may be tried again.
    pub(super) retry_s: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), retry_s: None }
    }

    /// What was sent makes no sense.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// Nobody has signed in.
    pub(super) fn sign_in() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "sign-in", "sign in first: the session is over, or there is none")
    }

    /// The step before was not done, or is too long ago.
    pub(super) fn pending() -> Self {
        let detail = "begin anew: the step before is over, or was done elsewhere";
        Self::new(StatusCode::UNAUTHORIZED, "pending", detail)
    }

    /// There are no keys.
    pub(super) fn locked() -> Self {
        let detail = "the vault is locked: a custodian unlocks it with `sejf vault running unlock`";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "locked", detail)
    }

    /// Nothing is released that the log does not have.
    pub(super) fn unlogged(fault: &dyn std::fmt::Display) -> Self {
        tracing::error!("nothing is released, because the log cannot be written: {fault}");
        let detail = "nothing is done, because the log of it cannot be written: whoever runs the vault finds why there";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unlogged", detail)
    }

    /// Something of ours is in the way: whoever asked is not told what.
    pub(super) fn fault(doing: &str, fault: &dyn std::fmt::Display) -> Self {
        tracing::error!("{doing}: {fault}");
        let detail = format!("{doing} failed: whoever runs the vault finds why in its output");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
    }

    /// Too often.
    pub(super) fn too_many(retry_s: u64, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail);
        Self { retry_s: Some(retry_s.max(1)), ..problem }
    }

    /// Somebody else's turn.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        Self { retry_s: Some(5), ..problem }
    }

    pub(super) fn wait(wait: Wait, now: Stamp) -> Self {
        let detail = "too many failures: try again later, or from where you usually sign in";
        Self::too_many(wait.until.since(now).as_secs() + 1, detail)
    }

    pub(super) fn into_response(self) -> Response {
        let text = json!({
            "type": format!("urn:sejf:problem:{}", self.kind),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Body::from(format!("{text}\n")));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(retry_s) = self.retry_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_s));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Role { .. } => "role",
            Refusal::Reach => "reach",
            Refusal::Token => "token",
            Refusal::SecondPerson { .. } => "second-person",
            Refusal::SecondFactor => {
                let detail = format!("{refusal}: POST a code to /api/v1/step-up, then ask again");
                return Self::new(StatusCode::FORBIDDEN, "second-factor", detail);
            }
            Refusal::Reason => {
                let detail = "this takes a reason: {\"reason\": {\"code\": …, \"text\": …}}";
                return Self::new(StatusCode::FORBIDDEN, "reason", detail);
            }
        };
        Self::new(StatusCode::FORBIDDEN, kind, refusal.to_string())
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refused(refusal) => refusal.into(),
            Denied::Unlogged(fault) => Self::unlogged(&fault),
        }
    }
}

impl From<UsersFault> for Problem {
    fn from(fault: UsersFault) -> Self {
        let (status, kind) = match fault {
            UsersFault::Unknown(_) | UsersFault::NotAsked(_) | UsersFault::NoToken(_) => {
                (StatusCode::NOT_FOUND, "not-found")
            }
            UsersFault::NoPasskey(_) => (StatusCode::NOT_FOUND, "not-found"),
            UsersFault::Passkey(PasskeyFault::Copied | PasskeyFault::Blocked) => {
                (StatusCode::UNAUTHORIZED, "passkey-copied")
            }
            UsersFault::Passkey(_) => (StatusCode::UNAUTHORIZED, "passkey"),
            UsersFault::PasskeyName => (StatusCode::BAD_REQUEST, "request"),
            UsersFault::SamePasskey => (StatusCode::CONFLICT, "passkey-known"),
            UsersFault::LastFactor => (StatusCode::CONFLICT, "last-factor"),
            UsersFault::Code => (StatusCode::UNAUTHORIZED, "code"),
            UsersFault::Invitation => (StatusCode::UNAUTHORIZED, "invitation"),
            UsersFault::NeedsSecond | UsersFault::SamePerson => (StatusCode::FORBIDDEN, "second-person"),
            UsersFault::Conflict { .. } => (StatusCode::CONFLICT, "roles-conflict"),
            _ => (StatusCode::CONFLICT, "conflict"),
        };
        Self::new(status, kind, fault.to_string())
    }
}

impl From<UsersError> for Problem {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::Fault(fault) => fault.into(),
            UsersError::Log(fault) => Self::unlogged(&fault),
            fault @ UsersError::LogShrank { .. } => Self::unlogged(&fault),
            other => Self::fault("reading or changing the users", &other),
        }
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Query(fault) => Self::bad(fault.to_string()),
            other => Self::fault("asking the catalog", &other),
        }
    }
}
