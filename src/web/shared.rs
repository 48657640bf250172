//! What all requests share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::archive::access::{Action, Grant};
use crate::archive::entry::{Entry, Outcome, Resource, SCHEMA};
use crate::archive::once::{self, Kept, Shown};
use crate::archive::passkey::{Challenge, Party};
use crate::archive::password::{Cost, Password};
use crate::archive::public_key::Base64Url;
use crate::archive::rate::Rate;
use crate::archive::reach::Belongs;
use crate::archive::record::Record;
use crate::archive::session::Sessions;
use crate::archive::throttle::{Network, Throttle};
use crate::archive::totp;
use crate::archive::user::UserName;
use crate::base::time::Stamp;
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::home::Vault;
use crate::shell::vault::intake::Intake;
use crate::shell::vault::oidc::{Provider, Question};
use crate::shell::vault::place::Place;
use crate::shell::vault::users::UserStore;
use crate::web::WebError;
use crate::web::desk::Desk;
use crate::web::places::Places;
use crate::web::problem::Problem;
use crate::web::recall;

/// What all requests share.
pub(super) struct Shared {
    pub(super) intake: Intake,
    pub(super) places: Vec<Arc<dyn Place>>,
    pub(super) users: UserStore,
    pub(super) throttle: Mutex<Throttle>,
    pub(super) sessions: Mutex<Sessions>,
    pub(super) pending: Mutex<BTreeMap<[u8; 32], Pending>>,
    /// Where searches go on.
    pub(super) goes_on: Places,
    pub(super) plays: Mutex<BTreeMap<String, Arc<Play>>>,
    /// Who watches live calls, under which name and until when.
    pub(super) watches: Mutex<BTreeMap<String, (UserName, Stamp)>>,
    /// Holds, exports, destruction.
    pub(super) desk: Desk,
    /// Requests of an address.
    pub(super) asked: Mutex<Rate<Network>>,
    /// Plays of a user.
    pub(super) played: Mutex<Rate<String>>,
    /// The same, from when on somebody looks into it.
    pub(super) played_much: Mutex<Rate<String>>,
    /// Tries that are refused unseen, in the log: once a minute an address.
    pub(super) told: Mutex<Rate<Network>>,
    /// Passwords that are hashed at once: each takes its memory.
    pub(super) hashing: Semaphore,
    /// Those, and who waits for it.
    pub(super) hashing_or_waiting: Semaphore,
    /// Pictures of recordings that are made at once.
    pub(super) drawing: Semaphore,
    /// Those, and who waits for it.
    pub(super) drawing_or_waiting: Semaphore,
    /// Who else says who somebody is.
    pub(super) provider: Option<Arc<Provider>>,
    pub(super) decoy: Password,
    pub(super) cost: Cost,
    /// Names that requests may have in `Host`, besides those of loopback.
    pub(super) names: Vec<String>,
}

/// Somebody who is half way through proving who they are.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Nobody knows before a passkey has said so.
    pub(super) user: Option<UserName>,
    pub(super) from: Network,
    pub(super) until: Stamp,
    pub(super) step: Step,
    /// What a passkey may answer, once.
    pub(super) asked: Option<Asked>,
}

/// What is asked of a passkey, and in whose name.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) challenge: Challenge,
    pub(super) party: Party,
    /// Of whom one is made, as authenticators know them; empty where one is used.
    pub(super) handle: Base64Url,
}

/// What the next thing that is shown is for.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The second factor, after a password; or a passkey alone.
    SignIn,
    /// The second factor again.
    Again,
    /// Another passkey.
    AddPasskey,
    /// By an invitation.
    Enrol { shown: Kept, password: Password, totp: totp::Secret },
    /// At the identity provider; which browser it is says a cookie.
    Oidc { question: Box<Question>, browser: Kept },
}

/// A recording that somebody may hear for a while.
#[derive(Debug)]
pub(super) struct Play {
    pub(super) user: UserName,
    pub(super) record: Record,
    pub(super) belongs: Belongs,
    pub(super) grant: Arc<Grant>,
    pub(super) until: Stamp,
}

impl Shared {
    pub(super) fn new(intake: Intake, names: Vec<String>, cost: Cost) -> Result<Self, WebError> {
        let places = intake.vault().places_if_there()?;
        let throttle = recall::failures(intake.vault(), clock::now())?;
        let played_much = intake.vault().config.review.plays_an_hour;
        Ok(Self {
            places,
            intake,
            users: UserStore::default(),
            throttle: Mutex::new(throttle),
            sessions: Mutex::default(),
            pending: Mutex::default(),
            goes_on: Places::new(&mut OsRandom::new()?),
            plays: Mutex::default(),
            watches: Mutex::default(),
            desk: Desk::default(),
            asked: Mutex::new(Rate::new(ASKED_MAX, ASKED_SECONDS)),
            played: Mutex::new(Rate::new(PLAYED_MAX, HOUR)),
            played_much: Mutex::new(Rate::new(played_much, HOUR)),
            told: Mutex::new(Rate::new(1, 60)),
            hashing: Semaphore::new(HASHING_MAX),
            hashing_or_waiting: Semaphore::new(HASHING_OR_WAITING_MAX),
            drawing: Semaphore::new(1),
            drawing_or_waiting: Semaphore::new(DRAWING_OR_WAITING_MAX),
            provider: None,
            decoy: Password::decoy(cost, &mut OsRandom::new()?),
            cost,
            names,
        })
    }

    pub(super) fn vault(&self) -> &Vault {
        self.intake.vault()
    }

    /// Keeps what is to be shown again soon. What it is shown by.
    pub(super) fn keep_pending(&self, pending: Pending, now: Stamp) -> Result<Shown, Problem> {
        let (shown, kept) = once::generate(&mut random()?);
        let mut all = lock(&self.pending);
        all.retain(|_, one| now < one.until);
        let full = || Problem::too_many(60, "too many people are signing in: try again in a minute");
        if pending.user.is_none() {
            // Anybody can begin so: nobody takes the room of others, or of who has shown a first factor.
            make_room(&mut all, pending.from);
            if all.values().filter(|one| one.user.is_none()).count() >= PENDING_MAX / 2 {
                return Err(full());
            }
        }
        if all.len() >= PENDING_MAX {
            return Err(full());
        }
        all.insert(kept.bytes(), pending);
        Ok(shown)
    }

    /// What was kept, where it still counts: at the same address.
    pub(super) fn pending(&self, shown: &str, from: Network, now: Stamp) -> Result<Pending, Problem> {
        let pending = lock(&self.pending).get(&Kept::of(shown).bytes()).cloned();
        pending.filter(|one| now < one.until && one.from == from).ok_or_else(Problem::pending)
    }

    /// The same, with what a passkey may answer: that is answered now, whatever the answer is.
    pub(super) fn take_asked(
        &self,
        shown: &str,
        from: Network,
        now: Stamp,
    ) -> Result<(Pending, Asked), Problem> {
        let mut pending = self.pending(shown, from, now)?;
        let mut all = lock(&self.pending);
        let asked = all.get_mut(&Kept::of(shown).bytes()).and_then(|one| one.asked.take());
        pending.asked = None;
        Ok((pending, asked.ok_or_else(Problem::pending)?))
    }

    /// Has a passkey asked something by who is half way through already.
    pub(super) fn ask_again(&self, shown: &str, asked: Asked) -> Result<(), Problem> {
        let mut all = lock(&self.pending);
        let pending = all.get_mut(&Kept::of(shown).bytes()).ok_or_else(Problem::pending)?;
        pending.asked = Some(asked);
        Ok(())
    }

    pub(super) fn forget_pending(&self, shown: &str) {
        lock(&self.pending).remove(&Kept::of(shown).bytes());
    }

    /// Something about who somebody is, for the log. Where it cannot be written, nobody is let in.
    pub(super) fn log_own(
        &self,
        actor: String,
        origin: String,
        action: Action,
        outcome: Outcome,
    ) -> Result<(), Problem> {
        let resource = Resource::User(actor.trim_start_matches("user:").to_owned());
        let at = clock::now();
        let entry = Entry { schema: SCHEMA, at, actor, origin, action, resource, reason: None, outcome };
        self.vault().log.write(&[entry]).map(drop).map_err(|fault| Problem::unlogged(&fault))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Of what nobody's name is known of yet, one address has so much: the oldest goes.
fn make_room(all: &mut BTreeMap<[u8; 32], Pending>, from: Network) {
    let theirs = || all.iter().filter(|(_, one)| one.user.is_none() && one.from == from);
    if theirs().count() < NAMELESS_MAX {
        return;
    }
    let oldest = theirs().min_by_key(|(_, one)| one.until).map(|(id, _)| *id);
    if let Some(oldest) = oldest {
        all.remove(&oldest);
    }
}

/// What a panic left is whole: each holds it for one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn random() -> Result<OsRandom, Problem> {
    OsRandom::new().map_err(|fault| Problem::fault("making a secret", &fault))
}

/// Does what waits for a disk, or for a hash, beside the requests.
pub(super) async fn beside<T: Send + 'static>(
    shared: &Arc<Shared>,
    act: impl FnOnce(&Shared) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let shared = Arc::clone(shared);
    let done = tokio::task::spawn_blocking(move || act(&shared)).await;
    done.unwrap_or_else(|fault| Err(Problem::fault("answering", &fault)))
}

/// Does beside the requests what reads disks or opens keys on the way, although it is written as what waits: the vault
/// has one thread for all that waits.
pub(super) async fn aside<T: Send + 'static>(
    act: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || runtime.block_on(act)).await;
    done.unwrap_or_else(|fault| Err(Problem::fault("answering", &fault)))
}

/// Requests of one address in [`ASKED_SECONDS`]: an office behind one address, each page of which asks several times.
pub(super) const ASKED_MAX: u32 = 1_800;
pub(super) const ASKED_SECONDS: u32 = 60;
const HOUR: u32 = 3_600;
/// Recordings that one user begins to hear in an hour.
const PLAYED_MAX: u32 = 120;
const HASHING_MAX: usize = 2;
const HASHING_OR_WAITING_MAX: usize = 32;
const DRAWING_OR_WAITING_MAX: usize = 32;
const PENDING_MAX: usize = 10_000;
/// Of what one address has begun, without saying who one is.
const NAMELESS_MAX: usize = 64;
