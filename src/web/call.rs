//! One request, as what answers it sees it: known who asks, checked, granted.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::Value;

use crate::archive::access::{Actor, Grant};
use crate::archive::details::Details;
use crate::archive::once::Shown;
use crate::archive::record::Record;
use crate::archive::session::{Client, Session};
use crate::archive::throttle::Network;
use crate::archive::user::UserName;
use crate::base::time::Stamp;
use crate::web::problem::Problem;

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) now: Stamp,
    pub(super) from: IpAddr,
    /// Our own name and port, as the request has them.
    pub(super) host: String,
    /// Of the path, by name.
    pub(super) params: Vec<(&'static str, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) who: Option<Who>,
    /// The log has it.
    pub(super) grant: Option<Arc<Grant>>,
    /// The recording that it is about, with who spoke where that is known.
    pub(super) recording: Option<(Record, Option<Details>)>,
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) name: UserName,
    pub(super) actor: Actor,
    /// Its id, and what it is; none where a program asks with a token.
    pub(super) session: Option<(Shown, Session)>,
}

impl Call {
    pub(super) fn network(&self) -> Network {
        self.from.into()
    }

    pub(super) fn origin(&self) -> String {
        self.from.to_canonical().to_string()
    }

    /// What asks, for lists of sessions.
    pub(super) fn client(&self) -> Client {
        let agent = self.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        Client::new(self.network(), self.origin(), agent)
    }

    pub(super) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// A field of the body: the table has seen to it that it is text where it must be there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Who asks: known wherever the table says so.
    pub(super) fn who(&self) -> Result<&Who, Problem> {
        self.who.as_ref().ok_or_else(Problem::sign_in)
    }

    /// The session: a token has none.
    pub(super) fn session(&self) -> Result<&(Shown, Session), Problem> {
        self.who()?.session.as_ref().ok_or_else(Problem::sign_in)
    }

    /// What was granted: there is one wherever the table names an action.
    pub(super) fn grant(&self) -> Result<&Arc<Grant>, Problem> {
        self.grant
            .as_ref()
            .ok_or_else(|| Problem::fault("granting it", &"the table of routes names no action"))
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(format!("{value}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The same, and all is well.
pub(super) fn ok(value: &Value) -> Response {
    json(StatusCode::OK, value)
}
