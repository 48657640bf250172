//! What a compliance officer, a custodian and a data protection officer do: holds, exports, retention, destruction,
//! and all that takes a second person.

pub(super) mod approvals;
pub(super) mod bundle;
pub(super) mod exports;
mod faults;
pub(super) mod holds;
pub(super) mod matters;
pub(super) mod retention;
pub(super) mod run;
pub(super) mod targets;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::archive::access::{Action, Actor, Grant};
use crate::archive::entry::Outcome;
use crate::archive::export_request::Requests;
use crate::archive::reach::Belongs;
use crate::archive::record::RecordingId;
use crate::archive::scope::Scope;
use crate::shell::signals::Stop;
use crate::shell::vault::matters::Speaker;
use crate::web::call::Call;
use crate::web::desk::bundle::Ticket;
use crate::web::desk::run::Run;
use crate::web::problem::Problem;
use crate::web::shared::{Shared, beside, lock};

/// What its requests share.
pub(super) struct Desk {
    /// Bundles that may be fetched, by their traces.
    pub(super) tickets: Mutex<BTreeMap<String, Ticket>>,
    /// Requests for exports, and how far the log was read for them.
    pub(super) exports: Mutex<(Requests, u64)>,
    /// How destruction goes that was begun here.
    pub(super) run: Mutex<Option<Run>>,
    /// Whoever looks through all recordings does so alone.
    pub(super) looking: Semaphore,
    /// What ends a destruction between two steps.
    pub(super) stop: OnceLock<Stop>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            tickets: Mutex::default(),
            exports: Mutex::default(),
            run: Mutex::default(),
            looking: Semaphore::new(1),
            stop: OnceLock::new(),
        }
    }
}

impl Desk {
    /// How the last destruction goes that was begun here.
    pub(super) fn run_told(&self) -> Value {
        lock(&self.run).as_ref().map_or(Value::Null, Run::told)
    }
}

/// Who asks, with what was granted to them.
fn speaker(call: &Call) -> Result<Speaker, Problem> {
    call.session()?;
    let (who, grant) = (call.who()?, Arc::clone(call.grant()?));
    Ok(Speaker {
        actor: who.actor.clone(),
        custodians: Vec::new(),
        user: Some(who.name.clone()),
        reason: grant.reason().cloned(),
        granted: Some(grant),
        now: call.now,
    })
}

/// Whether what somebody sees of a matter is all of it. Who reaches only so far sees what they have said themselves.
fn sees_all(actor: &Actor) -> bool {
    actor.reaches(Action::ListMatters, &Belongs::default())
}

/// Does beside the requests what waits for the catalog and holds what cannot go from thread to thread.
async fn inside<T: Send + 'static>(
    shared: &Arc<Shared>,
    act: impl FnOnce(&Shared, &Handle) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let runtime = Handle::current();
    beside(shared, move |shared| act(shared, &runtime)).await
}

/// The same of what was granted: where it comes to nothing, the log has that.
async fn granted<T: Send + 'static>(
    shared: &Arc<Shared>,
    call: &Call,
    act: impl FnOnce(&Shared, &Handle, &Speaker) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let speaker = speaker(call)?;
    let grant = Arc::clone(call.grant()?);
    inside(shared, move |shared, runtime| {
        act(shared, runtime, &speaker).map_err(|problem| failed(shared, &grant, problem))
    })
    .await
}

pub(super) fn failed(shared: &Shared, grant: &Grant, problem: Problem) -> Problem {
    let told = shared.vault().log.outcome(grant, Outcome::Failed(problem.detail.clone()));
    told.map_or_else(|fault| Problem::unlogged(&fault), |_| problem)
}

/// What was granted, and makes no sense: what would count as given away does not.
async fn sensible<T>(shared: &Arc<Shared>, call: &Call, made: Result<T, Problem>) -> Result<T, Problem> {
    let problem = match made {
        Ok(made) => return Ok(made),
        Err(problem) => problem,
    };
    let grant = Arc::clone(call.grant()?);
    let problem = beside(shared, move |shared| Ok(failed(shared, &grant, problem)));
    Err(problem.await?)
}

/// Ids in a field of the body: of recordings.
fn ids(body: &Value, name: &str) -> Result<Vec<RecordingId>, Problem> {
    let texts = body.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let ids: Result<Vec<RecordingId>, _> = texts.map(str::parse).collect();
    let ids =
        ids.map_err(|_| Problem::bad(format!("`{name}` has ids of recordings: UUIDs, in small letters")))?;
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == ids.len() {
        Ok(ids)
    } else {
        Err(Problem::bad(format!("`{name}` has one of them twice")))
    }
}

/// Which recordings a body means.
fn scope(body: &Value) -> Result<Scope, Problem> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let time = |name: &str| text(name).map(|text| crate::web::recordings::stamp(name, text)).transpose();
    let class = text("class").map(str::parse).transpose();
    Ok(Scope {
        recordings: ids(body, "recordings")?.into_iter().collect(),
        class: class.map_err(|_| Problem::bad("`class` is no name of a class"))?,
        recorder: text("recorder").map(str::to_owned),
        from: time("from")?,
        to: time("to")?,
    })
}

/// A scope, as it is told: many ids are a number.
fn told_scope(scope: &Scope) -> Value {
    let some: Vec<_> = scope.recordings.iter().take(IDS_TOLD_MAX).collect();
    json!({
        "recordings": some,
        "count": scope.recordings.len(),
        "class": scope.class,
        "recorder": scope.recorder,
        "from": scope.from,
        "to": scope.to,
    })
}

const IDS_TOLD_MAX: usize = 1_000;
