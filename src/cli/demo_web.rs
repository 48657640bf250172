//! `sejf demo --web`: a vault with recordings, its page, and who may look at it. Nothing of it is left behind.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;

use crate::archive::access::{Action, Request, Role};
use crate::archive::custody::Custody;
use crate::archive::entry::Resource;
use crate::archive::epoch::{Epoch, Month};
use crate::archive::once::{self, Invite};
use crate::archive::reach::Reach;
use crate::archive::user::{Roles, UserName};
use crate::archive::users::Change;
use crate::base::time::Stamp;
use crate::cli::demo::Silent;
use crate::cli::replay::{Advanced, Run};
use crate::cli::vault::wait;
use crate::fixture::{self, recipe::Recipe};
use crate::recording::recorder::Content;
use crate::seal::identity::Identities;
use crate::shell::entropy::OsRandom;
use crate::shell::keys::{self, KeyKind, KeyPair};
use crate::shell::signals::{LastResort, Stop};
use crate::shell::vault::home::{NewVault, Vault};
use crate::shell::vault::intake::Intake;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::users::{UserStore, Voice};
use crate::shell::{clock, identity};
use crate::web::Web;

/// Shows the page until it is stopped: with the calls of these captures, or some of its own.
pub(super) fn run(captures: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals_to_the_end()?;
    let folder = Folder::new()?;
    let _last_resort = LastResort::arm(stop.clone(), PATIENCE, left_behind(folder.0.clone()))?;
    let pair = keys::generate(KeyKind::X25519)?;
    let vault = begin(&folder.0, &pair)?;
    let custodian = [Identities::parse(&pair.identity_file())?];
    let ring = Arc::new(vault.unlock(&custodian)?);
    record(&folder.0, &ring, captures, &stop)?;
    let mut links = Vec::new();
    for (name, roles, what) in PEOPLE {
        links.push((*name, invited(&vault, &custodian, name, roles)?, *what));
    }
    wait(serve(&folder.0, ring, &links, &stop))??;
    drop(vault);
    folder.remove()?;
    writeln!(std::io::stdout(), "\nEnded; nothing of it is left.")?;
    Ok(ExitCode::SUCCESS)
}

/// Who is invited: no one person may do all of it.
const PEOPLE: &[(&str, &[Role], &str)] = &[
    ("rita", &[Role::Reviewer, Role::Compliance], "finds and hears recordings"),
    ("ada", &[Role::Admin], "says who may"),
    ("iga", &[Role::Auditor], "reads the log"),
    ("olek", &[Role::Operator], "looks after copies, media"),
];

fn begin(dir: &Path, pair: &KeyPair) -> anyhow::Result<Vault> {
    let store = dir.join("store");
    std::fs::create_dir(&store).with_context(|| format!("making folder `{}`", store.display()))?;
    let custodian = ("demo".parse()?, pair.recipient.clone());
    let custody = Custody { threshold: 1, custodians: vec![custodian] };
    let name = "demo".to_owned();
    let new = NewVault { name, store, key_places: Vec::new(), kind: KeyKind::X25519, custody };
    let vault = Vault::create(&dir.join("home"), &new)?;
    let recorder = identity::load_or_create(Some(&dir.join("recorder")))?;
    let path = dir.join("home/vault.toml");
    let doing = || format!("writing `{}`", path.display());
    let config = std::fs::read_to_string(&path).with_context(doing)?;
    let more =
        format!("\n[[recorder]]\nkey = \"{}\"\n\n[web]\nlisten = \"127.0.0.1:0\"\n", recorder.verify_key());
    std::fs::write(&path, config + &more).with_context(doing)?;
    drop(vault);
    Ok(Vault::open(&dir.join("home"))?)
}

/// Records what is in these captures, or some calls of the last hour.
fn record(dir: &Path, ring: &Arc<KeyRing>, captures: &[PathBuf], stop: &Stop) -> anyhow::Result<()> {
    let begun = clock::now().before(Duration::from_secs(3_600));
    let mut captures = captures.to_vec();
    if captures.is_empty() {
        let capture = dir.join("demo.pcap");
        std::fs::write(&capture, fixture::generate(&calls(begun))?.capture)
            .with_context(|| format!("writing `{}`", capture.display()))?;
        captures.push(capture);
    }
    let epoch = Epoch { class: "calls-5y".parse()?, month: Month::of(begun) };
    let recipients = keys::recipients(std::slice::from_ref(&ring.epoch(&epoch)?.recipient), &[])?;
    let spool = dir.join("spool");
    let run = Run {
        captures,
        to: spool.clone(),
        recipients,
        content: Content::Opus,
        orphans: false,
        filter: None,
        journal: None,
        stop: stop.clone(),
        mask_digits: true,
        pause: None,
    };
    run.start(&Advanced::with_state(dir.join("recorder")), &mut Silent)?;
    let vault = Arc::new(Vault::open(&dir.join("home"))?);
    wait(async {
        let intake = Intake::open(vault).await?;
        intake.set_keys(Some(Arc::clone(ring)));
        let report = intake.take_in_folder(&spool).await?;
        anyhow::ensure!(
            report.archived > 0,
            "there is no recording to show: are there calls in the captures?"
        );
        intake.catalog().close().await;
        Ok(())
    })?
}

/// Those of `sejf demo`, more of them and longer.
fn calls(start: Stamp) -> Recipe {
    let mut recipe = fixture::scenarios::demo();
    for (number, kind) in (1..).zip(&mut recipe.kinds) {
        kind.talk = Duration::from_secs(9 + 7 * number);
    }
    Recipe { start, calls: 16, spacing: Duration::from_secs(41), ..recipe }
}

fn invited(vault: &Vault, custodian: &[Identities], name: &str, roles: &[Role]) -> anyhow::Result<String> {
    let user: UserName = name.parse()?;
    let custodians = vault.keys.prove(custodian)?.custodians();
    let (actor, resource, now) = (vault.actor(&custodians), Resource::User(name.into()), clock::now());
    let reason = Some(vault.reason("drill", "demo")?);
    let grant =
        vault.log.ask(&Request { actor: &actor, action: Action::ManageUsers, resource, reason, now })?;
    let (shown, kept) = once::generate(&mut OsRandom::new()?);
    let roles: Roles = roles.iter().map(|role| (*role, Reach::All)).collect();
    let invite = Invite { kept, until: now.after(INVITED) };
    let change = Change::Add { user, roles, invite, by_custodian: true };
    UserStore::default().change(vault, Voice::Granted(&grant), &change)?;
    Ok(shown.to_string())
}

async fn serve(
    dir: &Path,
    ring: Arc<KeyRing>,
    links: &[(&str, String, &str)],
    stop: &Stop,
) -> anyhow::Result<()> {
    let vault = Arc::new(Vault::open(&dir.join("home"))?);
    let config = vault.config.web.clone().context("vault.toml says nothing of [web]")?;
    let intake = Intake::open(vault).await?;
    intake.set_keys(Some(ring));
    let web = Web::bind(&intake, &config).await?;
    let address = web.address().context("finding where the page is reached")?;
    // By a name: passkeys take no addresses.
    tell(&format!("https://localhost:{}", address.port()), links).context("saying where the page is")?;
    let serving = tokio::spawn(web.run(stop.clone(), Arc::new(AtomicBool::new(false))));
    while !stop.asked() && !serving.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    serving.abort();
    intake.catalog().close().await;
    Ok(())
}

/// Says what is to be removed by hand. The demo keeps no log that would.
fn left_behind(dir: PathBuf) -> impl Fn() -> String {
    move || {
        let said = format!("folder `{}` is left: remove it by hand", dir.display());
        let _ = writeln!(std::io::stderr(), "\nEnding takes too long and is cut off: {said}");
        said
    }
}

fn tell(page: &str, links: &[(&str, String, &str)]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "A vault with recordings, until Ctrl-C. Open one of these; each works once, and sets up a password and a"
    )?;
    writeln!(
        out,
        "second factor (any authenticator app). The browser does not know the certificate of this vault: go on.\n"
    )?;
    for (name, invite, what) in links {
        writeln!(out, "  {name:<5} {what:<27} {page}/#/enrol/{invite}")?;
    }
    writeln!(out, "\nLater: {page}")?;
    out.flush()
}

/// A folder that is removed, also where something goes wrong on the way.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let (name, _) = once::generate(&mut OsRandom::new()?);
        let path = std::env::temp_dir().join(format!("sejf-demo-{}", &name[..16]));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("making folder `{}`", path.display()))?;
        Ok(Self(path))
    }

    fn remove(&self) -> anyhow::Result<()> {
        let said = || format!("removing folder `{}`: remove it by hand", self.0.display());
        std::fs::remove_dir_all(&self.0).with_context(said)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.0.exists() {
            // What went wrong before is what is told.
            let _ = self.remove();
        }
    }
}

/// How long ending may take.
const PATIENCE: Duration = Duration::from_secs(10);
const INVITED: Duration = Duration::from_secs(24 * 3_600);
