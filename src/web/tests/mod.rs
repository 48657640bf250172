mod account;
mod desk;
mod kept;
mod log_device;
mod matrix;
mod passkeys;
mod requests;
mod reviews;
mod sound;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::archive::access::{Action, Role};
use crate::archive::custody::Custody;
use crate::archive::details::Details;
use crate::archive::once::{self, Invite, Kept};
use crate::archive::password::{Cost, Password};
use crate::archive::reach::Reach;
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::request::What;
use crate::archive::scope::Scope;
use crate::archive::search::{IndexKeys, Indexed};
use crate::archive::throttle::Network;
use crate::archive::totp;
use crate::archive::user::{NewFactor, Roles, UserName};
use crate::archive::users::Change;
use crate::base::counters::Counters;
use crate::base::time::Stamp;
use crate::seal::identity::{Identities, generate_x25519};
use crate::seal::random::Seeded;
use crate::seal::receipt::{Receipt, ReceiptState, SCHEMA};
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::keys::KeyKind;
use crate::shell::vault::catalog::recordings::NewRecord;
use crate::shell::vault::export_requests;
use crate::shell::vault::home::{NewVault, Vault};
use crate::shell::vault::intake::Intake;
use crate::shell::vault::matters::Speaker;
use crate::shell::vault::users::Voice;
use crate::web::guard;
use crate::web::shared::{Shared, lock};
use crate::web::table::{ROUTES, Route};

/// A vault with one recording of team `sales` and one of team `help`.
pub(super) struct World {
    _dir: tempfile::TempDir,
    pub(super) shared: Arc<Shared>,
    pub(super) own: RecordingId,
    pub(super) other: RecordingId,
    /// An export and a destruction that were asked for, by number.
    pub(super) asked: Cell<(u64, u64)>,
}

/// A session of somebody, as their browser has it.
pub(super) struct Browser {
    pub(super) id: String,
    pub(super) csrf: String,
}

pub(super) const CHEAP: Cost = Cost { memory_mib: 1, passes: 1 };
pub(super) const HOST: &str = "localhost:8443";
pub(super) const PASSWORD: &str = "correct horse battery";
const TEAMS: &str =
    "\n[[team]]\nname = 'sales'\nagents = ['jana']\n[[team]]\nname = 'help'\nagents = ['ola']\n";

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl World {
    pub(super) async fn new() -> Self {
        Self::made(CHEAP, "", |_| {}).await
    }

    pub(super) async fn with_cost(cost: Cost) -> Self {
        Self::made(cost, "", |_| {}).await
    }

    /// With more in its configuration.
    pub(super) async fn with(more: &str) -> Self {
        Self::made(CHEAP, more, |_| {}).await
    }

    /// With something of the vault changed.
    pub(super) async fn changed(change: impl FnOnce(&mut Vault)) -> Self {
        Self::made(CHEAP, "", change).await
    }

    async fn made(cost: Cost, more: &str, change: impl FnOnce(&mut Vault)) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let (home, store) = (dir.path().join("home"), dir.path().join("store"));
        std::fs::create_dir(&store).unwrap();
        let (identity, recipient) = generate_x25519(&mut Seeded::new(&[1; 32], "web", 0));
        let custody = Custody { threshold: 1, custodians: vec![("ewa".parse().unwrap(), recipient)] };
        let (name, kind) = ("archive".to_owned(), KeyKind::X25519);
        Vault::create(&home, &NewVault { name, store, key_places: Vec::new(), kind, custody }).unwrap();
        let config = std::fs::read_to_string(home.join("vault.toml")).unwrap();
        std::fs::write(home.join("vault.toml"), config + TEAMS + more).unwrap();
        let mut vault = Vault::open(&home).unwrap();
        change(&mut vault);
        let vault = Arc::new(vault);
        let ring = Arc::new(vault.unlock(&[Identities::parse(&identity).unwrap()]).unwrap());
        let intake = Intake::open(vault).await.unwrap();
        intake.set_keys(Some(ring));
        let shared = Arc::new(Shared::new(intake, vec!["vault.example.org".into()], cost).unwrap());
        let asked = Cell::new((999, 999));
        let world = Self { _dir: dir, shared, own: record(1).id, other: record(2).id, asked };
        world.take_in(&[(1, "jana"), (2, "ola")]).await;
        world
    }

    /// Takes recordings in, of who spoke; the later the higher the number.
    pub(super) async fn take_in(&self, recordings: &[(u64, &str)]) -> Vec<RecordingId> {
        let recordings = recordings.iter().map(|(number, agent)| (record(*number), *agent));
        self.take_in_all(recordings.collect()).await
    }

    /// The same, of these seconds since 1970.
    pub(super) async fn take_in_at(&self, recordings: &[(u64, &str)]) -> Vec<RecordingId> {
        // Of what was before, no number is one of those after.
        let number = |start: u64| start.checked_sub(FIRST).unwrap_or(start);
        let recordings = recordings.iter().map(|(start, agent)| (record_of(*start, number(*start)), *agent));
        self.take_in_all(recordings.collect()).await
    }

    pub(super) async fn take_in_all(&self, recordings: Vec<(Record, &str)>) -> Vec<RecordingId> {
        let ring = self.shared.intake.keys().unwrap();
        let mut records = Vec::new();
        for (record, agent) in recordings {
            let epoch = record.epoch().unwrap();
            let envelope = ring.envelopes_for(&epoch, &[record.id]).unwrap().remove(0);
            let details =
                Details { caller: "+48221234567".into(), agents: vec![agent.into()], ..Details::default() };
            let key = ring.index_keys(&epoch).unwrap().remove(0);
            let sealed = details.seal(&envelope, &mut OsRandom::new().unwrap());
            let indexed = Some(Indexed { details: sealed, terms: key.terms(&details) });
            records.push(NewRecord { record, indexed });
        }
        self.shared.intake.catalog().take_in(&records).await.unwrap();
        records.iter().map(|one| one.record.id).collect()
    }

    /// Has a custodian hold the own recording, and ask for its export and its destruction.
    pub(super) async fn ask_as(&self, custodian: &str) {
        let (vault, catalog) = (self.shared.vault(), self.shared.intake.catalog());
        let reason = vault.reason("retention", "T-1").unwrap();
        let speaker = Speaker::here(vault, vec![custodian.parse().unwrap()], Some(reason));
        let scope = Scope { recordings: [self.own].into(), ..Scope::default() };
        speaker.hold(vault, catalog, &"K.1".parse().unwrap(), &scope).await.unwrap();
        let export = export_requests::ask(vault, &speaker, &[self.own], "court", Vec::new()).unwrap();
        let destruction =
            speaker.ask_destruction(vault, catalog, &scope, What::Due, Some(speaker.now)).await.unwrap();
        self.asked.set((export, destruction));
    }

    /// A user with these roles, who may sign in. Their second factor.
    pub(super) fn user(&self, name: &str, roles: Roles) -> totp::Secret {
        self.user_at(name, roles, CHEAP)
    }

    /// The same, with a password that costs so much.
    pub(super) fn user_at(&self, name: &str, roles: Roles, cost: Cost) -> totp::Secret {
        let user: UserName = name.parse().unwrap();
        let mut random = OsRandom::new().unwrap();
        let (shown, kept) = once::generate(&mut random);
        let until = clock::now().after(std::time::Duration::from_secs(60));
        let invite = Invite { kept, until };
        self.change(&Change::Add { user: user.clone(), roles, invite, by_custodian: true });
        let totp = totp::Secret::generate(&mut random);
        let password = Password::new(name, PASSWORD, cost, &mut random).unwrap();
        let (shown, totp_kept) = (Kept::of(&shown), totp.clone());
        // Of long ago: the code of now is still to be had.
        self.change(&Change::Enrol {
            user,
            shown,
            password,
            factor: NewFactor::Totp(totp_kept, 1),
            recovery: Vec::new(),
        });
        totp
    }

    pub(super) fn change(&self, change: &Change) {
        let user = "setup".parse().unwrap();
        let voice = Voice::Own { user: &user, origin: "local", action: Action::SignIn };
        self.shared.users.change(self.shared.vault(), voice, change).unwrap();
    }

    /// A session of theirs, whose second factor was shown so many seconds ago.
    pub(super) fn browser(&self, user: &str, factor_age_s: u64) -> Browser {
        let (now, mut random) = (clock::now(), OsRandom::new().unwrap());
        let mut sessions = lock(&self.shared.sessions);
        let opened = sessions.begin(user, Network::from(here().ip()), now, &mut random);
        sessions.age(&opened.id, now.before(std::time::Duration::from_secs(factor_age_s)));
        Browser { id: opened.id.to_string(), csrf: opened.csrf.to_string() }
    }

    pub(super) async fn send(&self, route: &'static Route, request: Request) -> Response {
        // Of many requests in a second; what a rate does, its own test says.
        *lock(&self.shared.asked) = crate::archive::rate::Rate::new(1_000, 1);
        *lock(&self.shared.played) = crate::archive::rate::Rate::new(1_000, 1);
        guard::serve(Arc::clone(&self.shared), Some(route), here(), request).await
    }

    /// Sends as a browser does.
    pub(super) async fn ask(
        &self,
        id: &str,
        path: &str,
        browser: Option<&Browser>,
        body: &Value,
    ) -> (StatusCode, Value) {
        let route = route(id);
        told(self.send(route, request(route, path, browser, body)).await).await
    }

    pub(super) fn entries(&self) -> u64 {
        self.shared.vault().log.read_from(0, 1).unwrap().1
    }
}

pub(super) fn here() -> SocketAddr {
    "192.0.2.7:4711".parse().unwrap()
}

pub(super) fn route(id: &str) -> &'static Route {
    ROUTES.iter().find(|route| route.id == id).unwrap_or_else(|| panic!("no route {id}"))
}

pub(super) fn request(route: &Route, path: &str, browser: Option<&Browser>, body: &Value) -> Request {
    let mut request = Request::builder().method(route.method.clone()).uri(path).header("host", HOST);
    if let Some(Browser { id, csrf }) = browser {
        request = request.header("cookie", format!("__Host-sejf={id}")).header("sejf-csrf", csrf);
        request = request.header("origin", format!("https://{HOST}"));
    }
    if route.method == Method::GET || body.is_null() {
        return request.body(Body::empty()).unwrap();
    }
    request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
}

pub(super) async fn told(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({ "bytes": bytes.len() })))
}

/// End of a problem's type; nothing where it is none.
pub(super) fn kind(answer: &Value) -> &str {
    answer["type"].as_str().and_then(|kind| kind.strip_prefix("urn:sejf:problem:")).unwrap_or_default()
}

pub(super) fn roles(role: Role, reach: Reach) -> Roles {
    [(role, reach)].into()
}

fn record(number: u64) -> Record {
    record_of(FIRST + number, number)
}

const FIRST: u64 = 1_795_468_121;

/// One that began so many seconds after 1970.
pub(super) fn record_of(seconds: u64, number: u64) -> Record {
    let start = Stamp::from_unix_nanos(seconds * 1_000_000_000);
    let end = start.after(std::time::Duration::from_secs(60));
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(start.as_unix_millis() << 16).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    let id = RecordingId::from_bytes(id);
    let receipt = Receipt {
        schema: SCHEMA,
        id: id.to_string(),
        state: ReceiptState::Complete,
        start,
        end,
        files: Vec::new(),
        rule: "all@1".into(),
        counters: Counters::default(),
        recorder: "recorder".into(),
        version: "0.1.0".into(),
    };
    let digest = Digest::of(b"not there");
    let file = ArchivedFile {
        name: format!("{id}.opus.age"),
        header_sha256: digest,
        header_bytes: 150,
        body_sha256: digest,
        body_bytes: 90,
    };
    Record {
        id,
        recorder: "recorder".into(),
        receipt_index: number,
        receipt,
        class: Some("calls-5y".parse().unwrap()),
        phase: Phase::Archived,
        taken_in: end,
        files: vec![file],
    }
}
