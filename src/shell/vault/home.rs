//! A vault's home: configuration, signing key, log, keys, what comes in.
//!
//! ```text
//! vault.toml    configuration
//! signer        key that signs the log
//! signer.pub    its public half: what a verifier needs
//! log/          the log
//! keys/         first key place
//! users         who may sign in, sealed: see `users`
//! duties.json   which duties were done when
//! review.json   the last review
//! notices.json  what waits to be told
//! restoring/    what is restored for practice
//! drills.json   which custodian showed when that their share opens
//! incoming/     what is being taken in
//! copying/      what is on its way from one place to another; copying.turn and copying.lock: who may
//! exports.lock  who may make an export, or take a request for one back
//! versions.lock who may write versions of recordings
//! places/       folders that were begun as places, each by its name
//! ```

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::archive::access::{Action, Actor, NOTE_BYTES_MAX, Reason, Request};
use crate::archive::custody::{CustodianName, Custody};
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::epoch::ClassName;
use crate::archive::record::RecordingId;
use crate::archive::review::Digested;
use crate::seal::identity::Identities;
use crate::seal::note::{NoteError, Signer, VerifyKey};
use crate::seal::random::Randomness;
use crate::shell::clock;
use crate::shell::disk::{RealDisk, remedy};
use crate::shell::entropy::{NoRandomness, OsRandom};
use crate::shell::keys::KeyKind;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::config::{Config, ConfigError, PlaceConfig};
use crate::shell::vault::keydisk::{KeyDisk, RealKeyDisk};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::keystore::KeyStore;
use crate::shell::vault::log::{Denied, VaultLog};
use crate::shell::vault::matters::MattersError;
use crate::shell::vault::place::{self, Patience, Place, PlaceError};
use crate::shell::vault::reapply;
use crate::shell::vault::sampling::Draws;

/// A vault that is begun.
pub struct Vault {
    /// Its folder.
    pub home: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// What was done, by whom and why.
    pub log: VaultLog,
    /// Whose signature the log has.
    pub key: VerifyKey,
    /// Its keys, locked.
    pub keys: KeyStore,
    /// What its log says, as far as it was read.
    digested: Mutex<Digested>,
    /// Samples that are being drawn.
    pub(in crate::shell::vault) draws: Draws,
    /// Who reviews all of it for somebody who waits: one at a time.
    pub(crate) reviewing: tokio::sync::Mutex<()>,
    signer: SignerText,
}

/// What it takes to begin a vault.
#[derive(Clone, Debug)]
pub struct NewVault {
    /// Its name, in its log.
    pub name: String,
    /// Where recordings go first: a folder that is there.
    pub store: PathBuf,
    /// Further folders for the keys.
    pub key_places: Vec<PathBuf>,
    /// Kind of the root key and of epochs' keys.
    pub kind: KeyKind,
    /// Who holds the root key.
    pub custody: Custody,
}

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The configuration is of no use.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys are of no use.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// A place is not there.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Nothing was granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// The operating system refused.
    #[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody copies a recording and does not come to its end.
    #[error(
        "a copy in the vault `{}` has been under way for an hour: end `sejf copies` or `sejf scrub` and try again",
        home.display()
    )]
    Copying {
        /// The folder.
        home: PathBuf,
    },
    /// Somebody writes a version, or erases recordings, and does not come to its end.
    #[error(
        "in the vault `{}` a version has been being written, or recordings erased, for ten minutes: try again when that \
         is done",
        home.display()
    )]
    Annotating {
        /// The folder.
        home: PathBuf,
    },
    /// There is one already.
    #[error("`{}` has a vault already: begin another in another folder", home.display())]
    Exists {
        /// The folder.
        home: PathBuf,
    },
    /// The signing key is damaged, or the name cannot be one.
    #[error("the key that signs the vault's log, `{}`: {source}", path.display())]
    Signer {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// The catalog is of no use.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// There was another catalog.
    #[error(
        "catalog `{catalog}` is empty, and the vault's log says that recordings were taken in: it was lost, or is \
         another vault's. Make it anew with `sejf vault catalog rebuild --replace`; nothing is taken in, found or \
         destroyed before"
    )]
    CatalogLost {
        /// Its address.
        catalog: String,
    },
    /// What the catalog knows of the parties does not open.
    #[error(
        "recording {id}: what the catalog knows of its parties does not open, and is not found any more: make the \
         catalog anew with `sejf vault catalog rebuild`"
    )]
    Details {
        /// Which.
        id: RecordingId,
    },
    /// Not one of the configured codes.
    #[error("`{code}` is no code of a reason: {codes} (`reason_codes` in the vault's configuration)")]
    ReasonCode {
        /// What was given.
        code: String,
        /// Those that there are.
        codes: String,
    },
    /// Longer than entries of the log have room for.
    #[error(
        "the note has {bytes} bytes, and it is at most {NOTE_BYTES_MAX}: say where more of it is written"
    )]
    NoteTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// Something may have come back from an older state, and nothing is released before it is destroyed again.
    #[error("the vault stays locked, until what was destroyed is known to be gone: {0}")]
    Reapply(#[source] Box<MattersError>),
}

#[derive(Clone)]
struct SignerText(Arc<Zeroizing<String>>);

impl Vault {
    /// Begins a vault in `home`. Interrupted, it can be begun again.
    pub fn create(home: &Path, new: &NewVault) -> Result<Self, VaultError> {
        Self::create_on(home, new, Arc::new(RealKeyDisk))
    }

    /// The same with key files on any disk.
    pub fn create_on(home: &Path, new: &NewVault, disk: Arc<dyn KeyDisk>) -> Result<Self, VaultError> {
        let config = home.join(CONFIG);
        if config.exists() {
            return Err(VaultError::Exists { home: home.into() });
        }
        // Tried before anything is written; the file itself comes last, for who has it has a vault.
        let text = config_text(new);
        Config::parse(&config, &text)?;
        RealKeyDisk.create_dir(home).map_err(io_error("making folder", home))?;
        let signer = create_signer(home, &new.name)?;
        let vault = signer.verify_key().to_string();
        match KeyStore::create_on(home, &new.key_places, &vault, new.kind, &new.custody, disk) {
            // A try before this one came as far as the configuration.
            Err(KeyFault::Exists { .. })
                if KeyStore::open(home, &new.key_places, &vault)
                    .is_ok_and(|keys| keys.scheme().is_ok_and(|scheme| scheme.custody() == new.custody)) => {}
            other => drop(other?),
        }
        for folder in [INCOMING, LOG] {
            let path = home.join(folder);
            RealKeyDisk.create_dir(&path).map_err(io_error("making folder", &path))?;
        }
        write_new(home, CONFIG, text.as_bytes(), 0o600)?;
        let vault = Self::open(home)?;
        let actor = Actor::local_administrator(&user(), None);
        let (action, resource, now) = (Action::Configure, Resource::Vault, clock::now());
        let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
        let scheme = vault.keys.scheme()?;
        let custodians: Vec<_> = scheme.holders.iter().map(|holder| holder.name.as_str()).collect();
        let details = serde_json::json!({
            "root": scheme.root, "generation": scheme.generation, "threshold": scheme.threshold,
            "custodians": custodians,
        });
        vault.log.outcome(&grant, Outcome::Done(details))?;
        place::mark::see(home, &vault.key.to_string(), vault.first())?;
        Ok(vault)
    }

    /// Opens the vault in `home`, locked.
    pub fn open(home: &Path) -> Result<Self, VaultError> {
        Self::open_on(home, Arc::new(RealKeyDisk))
    }

    /// The same with key files on any disk.
    pub fn open_on(home: &Path, disk: Arc<dyn KeyDisk>) -> Result<Self, VaultError> {
        let config = Config::load(&home.join(CONFIG))?;
        let path = home.join(SIGNER);
        let text = std::fs::read_to_string(&path).map_err(io_error("reading", &path))?;
        let signer = SignerText(Arc::new(Zeroizing::new(text)));
        let parsed = Signer::from_text(&signer.0).map_err(|source| VaultError::Signer { path, source })?;
        let key = parsed.verify_key().clone();
        let keys = KeyStore::open_on(home, &config.vault.key_places, &key.to_string(), disk)?;
        let log_signer = signer.clone();
        let sign = move || Signer::from_text(&log_signer.0).expect("it was read when the vault was opened");
        let log = VaultLog::new(&home.join(LOG), sign, Box::new(RealDisk::new(false)));
        Ok(Self {
            home: home.into(),
            config,
            log,
            key,
            keys,
            digested: Mutex::default(),
            draws: Draws::default(),
            reviewing: tokio::sync::Mutex::default(),
            signer,
        })
    }

    /// What signs certificates and reports of this vault.
    pub fn signer(&self) -> Signer {
        Signer::from_text(&self.signer.0).expect("it was read when the vault was opened")
    }

    /// What its log says, read on from where it was read to before: the first time, from its beginning.
    pub fn digested<T>(&self, look: impl FnOnce(&Digested) -> T) -> Result<T, ReceiptsError> {
        let mut digested = self.digested.lock().unwrap_or_else(PoisonError::into_inner);
        if self.log.signed()?.size < digested.size {
            // It was put back: what was read is of another.
            *digested = Digested::default();
        }
        let from = digested.size;
        self.log.each(from, |_, entry| {
            digested.absorb(entry);
            Ok::<_, ReceiptsError>(())
        })?;
        Ok(look(&digested))
    }

    /// Folder of what is being taken in.
    pub fn incoming(&self) -> PathBuf {
        self.home.join(INCOMING)
    }

    /// Names of the retention classes.
    pub fn classes(&self) -> Vec<ClassName> {
        self.config.classes.iter().map(|class| class.name.clone()).collect()
    }

    /// A reason with one of the configured codes.
    pub fn reason(&self, code: &str, text: &str) -> Result<Reason, VaultError> {
        let codes = &self.config.vault.reason_codes;
        if !codes.iter().any(|known| known == code) {
            return Err(VaultError::ReasonCode { code: code.into(), codes: codes.join(", ") });
        }
        if text.len() > NOTE_BYTES_MAX {
            return Err(VaultError::NoteTooLong { bytes: text.len() });
        }
        Ok(Reason { code: code.into(), text: text.into() })
    }

    /// All places where copies are, in the order of the configuration: the first is where recordings are taken in.
    pub fn places(&self) -> Result<Vec<Arc<dyn Place>>, VaultError> {
        let open = |config: &PlaceConfig| self.place(config, Patience::default());
        Ok(self.config.places.iter().map(open).collect::<Result<_, _>>()?)
    }

    /// Opens a place, where it is the one that was begun by its name.
    pub fn place(&self, config: &PlaceConfig, patience: Patience) -> Result<Arc<dyn Place>, PlaceError> {
        place::mark::see(&self.home, &self.key.to_string(), config)?;
        place::open_with(config, patience)
    }

    /// Begins a place whose disk is new, or was lost. The log has it.
    pub fn begin_place(&self, config: &PlaceConfig) -> Result<(), VaultError> {
        let (actor, now) = (self.actor(&[]), clock::now());
        let (action, resource) = (Action::Configure, Resource::Place(config.name.clone()));
        let grant = self.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
        let begun = place::mark::begin(&self.home, &self.key.to_string(), config);
        let outcome = match &begun {
            Ok(()) => Outcome::Done(serde_json::json!({ "begun": config.name })),
            Err(fault) => Outcome::Failed(fault.to_string()),
        };
        self.log.outcome(&grant, outcome)?;
        Ok(begun?)
    }

    /// The same, where what is done in the others is not to wait for one that is away: that one says so of all that is
    /// asked of it.
    pub fn places_if_there(&self) -> Result<Vec<Arc<dyn Place>>, VaultError> {
        let open = |config: &PlaceConfig| place::if_there(config, self.place(config, Patience::default()));
        Ok(self.config.places.iter().map(open).collect::<Result<_, _>>()?)
    }

    /// The first place, where recordings are taken in, whatever may be wrong with others.
    pub fn first_place(&self) -> Result<Arc<dyn Place>, VaultError> {
        Ok(self.place(self.first(), Patience::default())?)
    }

    fn first(&self) -> &PlaceConfig {
        self.config.places.first().expect("a configuration without one is refused")
    }

    /// The catalog: as configured, or `catalog.db` in the home. One that was lost is not taken for an empty one.
    pub async fn catalog(&self) -> Result<Catalog, VaultError> {
        let catalog = self.catalog_as_it_is().await?;
        self.check_catalog(&catalog).await?;
        Ok(catalog)
    }

    /// The same, lost or not: for who makes it anew.
    pub async fn catalog_as_it_is(&self) -> Result<Catalog, VaultError> {
        Ok(match &self.config.vault.catalog {
            Some(address) => Catalog::open(address).await?,
            None => Catalog::open_file(&self.home.join(CATALOG)).await?,
        })
    }

    /// A catalog that was lost is made by whoever opens it, and then knows nothing of what was destroyed or is held.
    pub(super) async fn check_catalog(&self, catalog: &Catalog) -> Result<(), VaultError> {
        if !catalog.recorders().await?.is_empty() {
            return Ok(());
        }
        let mut had_some = false;
        self.log.each(0, |_, bytes| {
            let Ok(entry) = Entry::from_bytes(bytes) else { return Ok(()) };
            let counted: &[&str] = match entry.action {
                Action::TakeIn => &["archived", "staged", "without_files", "known"],
                // What it has found is what there was, from then on.
                Action::Rebuild => &["recordings"],
                _ => return Ok(()),
            };
            if let Outcome::Done(details) = &entry.outcome {
                let is_some = |name: &&str| details.get(*name).and_then(|count| count.as_u64()) > Some(0);
                had_some = counted.iter().any(is_some);
            }
            Ok::<_, ReceiptsError>(())
        })?;
        if had_some {
            return Err(VaultError::CatalogLost { catalog: catalog.name().into() });
        }
        Ok(())
    }

    /// Unlocks with the custodians' keys: the log has who did it first. Makes the keys of the coming months, and
    /// destroys again what has come back from an older state.
    pub fn unlock(&self, identities: &[Identities]) -> Result<KeyRing, VaultError> {
        let proof = self.keys.prove(identities)?;
        let opened = proof.custodians();
        let now = clock::now();
        let actor = Actor::local_administrator(&user(), (!opened.is_empty()).then_some(now));
        let (action, resource) = (Action::Unlock, Resource::Vault);
        let grant = self.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
        let unlocked = self.keys.unlock_with(proof).and_then(|ring| {
            if self.keys.absent().is_empty() {
                ring.make_ahead(&self.classes(), now)?;
            }
            Ok(ring)
        });
        let outcome = match &unlocked {
            Ok(_) => Outcome::Done(serde_json::json!({ "custodians": opened })),
            Err(fault) => Outcome::Failed(fault.to_string()),
        };
        self.log.outcome(&grant, outcome)?;
        let mut ring = unlocked?;
        let again = reapply::at_unlock(self, &ring).map_err(|fault| VaultError::Reapply(Box::new(fault)))?;
        if again > 0 {
            tracing::warn!(
                "{again} recordings or epochs came back from an older state, and are destroyed again"
            );
            ring.set_came_back(again);
        }
        if let Err(fault) = self.drilled(&opened, now) {
            // The log has it, and it is only asked for once more.
            tracing::warn!(%fault, "that custodians have shown their shares is not written down");
        }
        Ok(ring)
    }

    /// Who acts here with what custodians have unlocked: that was their second factor.
    pub fn actor_of(&self, ring: &KeyRing) -> Actor {
        Actor::local_administrator(&user(), Some(ring.opened_at()))
    }

    /// Who acts here, with their custodian's key as the second factor where one of `custodians` was proved.
    pub fn actor(&self, custodians: &[CustodianName]) -> Actor {
        Actor::local_administrator(&user(), (!custodians.is_empty()).then(clock::now))
    }
}

/// Who runs this: for the log.
pub fn user() -> String {
    let id = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| id.to_string())
}

fn create_signer(home: &Path, name: &str) -> Result<Signer, VaultError> {
    let path = home.join(SIGNER);
    let fault = |source| VaultError::Signer { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        // Of a try before this one.
        Ok(text) => return Signer::from_text(&Zeroizing::new(text)).map_err(fault),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("reading", &path)(error)),
    }
    let mut random = OsRandom::new()?;
    let mut mark = [0; 4];
    random.fill(&mut mark);
    let name = format!("{name}-{:08x}", u32::from_be_bytes(mark));
    let signer = Signer::generate(&name, &mut random).map_err(fault)?;
    write_new(home, SIGNER, format!("{}\n", *signer.to_text()).as_bytes(), 0o600)?;
    write_new(home, SIGNER_PUBLIC, format!("{}\n", signer.verify_key()).as_bytes(), 0o644)?;
    Ok(signer)
}

/// Writes a file of the home, whole or not at all: also where others do so at the same time.
pub(super) fn write_new(home: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), VaultError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let (aside, path) = (home.join(format!(".{name}.{process}-{number}.new")), home.join(name));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let write = || {
        let mut file = options.open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, &path)?;
        std::fs::File::open(home)?.sync_all()
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&aside);
        io_error("writing", &path)(error)
    })
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VaultError {
    let path = path.to_path_buf();
    move |source| VaultError::Io { doing, path, source }
}

fn config_text(new: &NewVault) -> String {
    // As TOML strings: a path may have quotes.
    let text = |value: &str| toml::Value::from(value).to_string();
    let path = |path: &Path| text(&path.display().to_string());
    let key_places: Vec<_> = new.key_places.iter().map(|place| path(place)).collect();
    format!(
        "# Configuration of a vault: see README.md.\n\
         [vault]\n\
         name = {}\n\
         # Recordings that one person may give away in a day without another's word.\n\
         export_alone_max = 20\n\
         # Further folders for the keys, each on another device or host.\n\
         key_places = [{}]\n\n\
         [[place]]\n\
         name = \"first\"\n\
         site = \"here\"\n\
         kind = \"directory\"\n\
         path = {}\n\n\
         [[class]]\n\
         name = \"calls-5y\"\n\
         keep_min = \"5 years\"\n",
        text(&new.name),
        key_places.join(", "),
        path(&new.store),
    )
}

const CONFIG: &str = "vault.toml";
pub(super) const CATALOG: &str = "catalog.db";
const INCOMING: &str = "incoming";
const LOG: &str = "log";
const SIGNER: &str = "signer";
const SIGNER_PUBLIC: &str = "signer.pub";
