//! Destruction, carried out: what is due, was asked for and was agreed to, in the background of the vault that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::archive::access::Actor;
use crate::archive::entry::Outcome;
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::vault::destroy::{Destroyer, Done, Step};
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::matters::{MattersError, catch_up, clock_trust};
use crate::web::call::{Call, json as answer};
use crate::web::desk::failed;
use crate::web::problem::Problem;
use crate::web::shared::{Shared, beside, lock};

/// How a destruction goes.
#[derive(Debug)]
pub(in crate::web) struct Run {
    by: String,
    begun: Stamp,
    /// Batches that are certified.
    certified: Arc<AtomicU64>,
    ended: Option<(Stamp, Result<Done, String>)>,
}

impl Run {
    pub(super) fn told(&self) -> Value {
        let mut told = json!({
            "by": self.by,
            "begun": self.begun,
            "certified": self.certified.load(Ordering::Relaxed),
        });
        match &self.ended {
            None => {}
            Some((at, Ok(done))) => {
                told["ended"] = json!(at);
                told["done"] = json!({
                    "recordings": done.recordings,
                    "finished": done.finished,
                    "epochs": done.epochs,
                    "again": done.again,
                    "left": done.left,
                    "received": done.received,
                    "spared": done.spared,
                });
            }
            Some((at, Err(fault))) => {
                told["ended"] = json!(at);
                told["fault"] = json!(fault);
            }
        }
        told
    }
}

/// Begins. One destroys at a time.
pub(in crate::web) async fn begin(shared: Arc<Shared>, call: Call) -> Result<Response, Problem> {
    let (actor, grant) = (call.who()?.actor.clone(), Arc::clone(call.grant()?));
    call.session()?;
    let (begun, certified) = (call.now, Arc::new(AtomicU64::new(0)));
    let ready = shared.intake.keys().ok_or_else(Problem::locked).and_then(|ring| {
        let mut run = lock(&shared.desk.run);
        if run.as_ref().is_some_and(|run| run.ended.is_none()) {
            let detail = "somebody destroys what is due just now: see how far it is";
            return Err(Problem::new(StatusCode::CONFLICT, "conflict", detail));
        }
        let (by, certified) = (actor.name.clone(), Arc::clone(&certified));
        *run = Some(Run { by, begun, certified, ended: None });
        Ok(ring)
    });
    let ring = match ready {
        Ok(ring) => ring,
        Err(problem) => return beside(&shared, move |shared| Err(failed(shared, &grant, problem))).await,
    };
    let runtime = Handle::current();
    let told = shared.desk.run_told();
    tokio::spawn(async move {
        let inner = Arc::clone(&shared);
        let work = move || destroy(&inner, &actor, &ring, begun, &certified, &runtime);
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.unwrap_or_else(|fault| Err(fault.to_string()));
        if let Err(fault) = &done {
            tracing::error!("destroying what is due: {fault}");
            // What has a certificate is in the log already.
            let outcome = Outcome::Failed(fault.clone());
            let told = beside(&shared, move |shared| {
                shared.vault().log.outcome(&grant, outcome).map_err(|fault| Problem::unlogged(&fault))
            });
            if let Err(problem) = told.await {
                tracing::error!("writing into the log that it failed: {}", problem.detail);
            }
        }
        if let Some(run) = lock(&shared.desk.run).as_mut() {
            run.ended = Some((clock::now(), done));
        }
    });
    Ok(answer(StatusCode::ACCEPTED, &told))
}

fn destroy(
    shared: &Shared,
    actor: &Actor,
    ring: &KeyRing,
    now: Stamp,
    certified: &AtomicU64,
    runtime: &Handle,
) -> Result<Done, String> {
    let (vault, catalog) = (shared.vault(), shared.intake.catalog());
    let go_on = |step: Step| {
        if step == Step::Certified {
            certified.fetch_add(1, Ordering::Relaxed);
        }
        !shared.desk.stop.get().is_some_and(crate::shell::signals::Stop::asked)
    };
    let done = runtime.block_on(async {
        let newest = catch_up(vault, catalog).await?.newest;
        let trust = clock_trust(vault, newest)?;
        let places = &shared.places;
        let destroyer = Destroyer { vault, ring, catalog, places, actor, now, trust, go_on: &go_on };
        destroyer.run().await
    });
    done.map_err(|fault: MattersError| fault.to_string())
}
