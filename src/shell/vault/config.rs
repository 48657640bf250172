//! The configuration of a vault: one TOML file, `vault.toml` in its home.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::archive::class::Class;
use crate::archive::duties::Policy;
use crate::archive::entry::IDS_MAX;
use crate::archive::epoch::ClassName;
use crate::archive::password::Cost;
use crate::archive::reach::Team;
use crate::archive::review::Limits;
use crate::shell::vault::audit::settings::AuditConfig;
use crate::shell::vault::notices::config::NotifyConfig;
use crate::shell::vault::oidc::OidcConfig;
use crate::shell::vault::removal::RECEIVED;

/// A vault's configuration. A key that is not known is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The vault itself.
    pub vault: Section,
    /// Retention classes.
    #[serde(default, rename = "class")]
    pub classes: Vec<Class>,
    /// Places where copies are.
    #[serde(default, rename = "place")]
    pub places: Vec<PlaceConfig>,
    /// Recorders whose recordings are taken in.
    #[serde(default, rename = "recorder")]
    pub recorders: Vec<RecorderConfig>,
    /// Teams, for roles that reach only so far.
    #[serde(default, rename = "team")]
    pub teams: Vec<Team>,
    /// What is served over HTTPS; nothing where it is not said.
    #[serde(default)]
    pub web: Option<WebConfig>,
    /// What the vault does by itself while it runs, and how often.
    #[serde(default)]
    pub duties: Policy,
    /// Who gets the vault's log, and who attests it.
    #[serde(default)]
    pub audit: AuditConfig,
    /// From when on a review finds something wrong.
    #[serde(default)]
    pub review: Limits,
    /// Ways on which people are told.
    #[serde(default, rename = "notify")]
    pub notify: Vec<NotifyConfig>,
}

/// What is served over HTTPS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    /// Where: `127.0.0.1:8443`.
    pub listen: SocketAddr,
    /// Names by which browsers and programs reach it, besides those of loopback and `NAME.vault.sejf`, without port.
    #[serde(default)]
    pub names: Vec<String>,
    /// Certificate with its chain, in PEM; made by the vault's own authority (`tls/authority.pem`) where it is not said.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// What trying a password costs.
    #[serde(default)]
    pub password: Cost,
    /// Who else says who somebody is.
    #[serde(default)]
    pub oidc: Option<OidcConfig>,
    /// Control socket of a recorder on this machine, for the page of live calls.
    #[serde(default)]
    pub recorder: Option<PathBuf>,
}

/// The vault itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Its name, in its log.
    pub name: String,
    /// Catalog: `sqlite:PATH` or `postgres://…`; beside this file where it is not said.
    #[serde(default)]
    pub catalog: Option<String>,
    /// Further folders that keep the keys, each on another device or host: envelopes that are lost are
    /// recordings that are lost.
    #[serde(default)]
    pub key_places: Vec<PathBuf>,
    /// Recordings that one person may give away in a day without another's word; at most [`IDS_MAX`].
    #[serde(default = "export_alone_max")]
    pub export_alone_max: u64,
    /// Whether recordings may be given away in the open; otherwise only under the receiver's key.
    #[serde(default = "export_plain")]
    pub export_plain: bool,
    /// Codes of reasons that may be given.
    #[serde(default = "reason_codes")]
    pub reason_codes: Vec<String>,
}

fn export_alone_max() -> u64 {
    20
}

fn export_plain() -> bool {
    true
}

fn reason_codes() -> Vec<String> {
    let codes =
        ["audit", "complaint", "court-order", "customer-request", "drill", "erasure-request", "quality"];
    let more = ["retention", "transfer"];
    codes.iter().chain(&more).map(|code| (*code).to_owned()).collect()
}

/// A place where copies are. What is not known is refused by [`PlaceKind`], which gets all that is left.
#[derive(Clone, Debug, Deserialize)]
pub struct PlaceConfig {
    /// Its name.
    pub name: String,
    /// Where it stands: copies in one site count as one where sites are counted.
    pub site: String,
    /// What it is, and how it is reached.
    #[serde(flatten)]
    pub kind: PlaceKind,
}

impl PlaceConfig {
    /// Whether it is to keep what was written once.
    pub fn is_to_be_worm(&self) -> bool {
        matches!(self.kind, PlaceKind::S3 { object_lock: true, .. })
    }
}

/// What a place is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum PlaceKind {
    /// A folder of a file system that is mounted.
    Directory {
        /// The folder.
        path: PathBuf,
    },
    /// An S3-compatible store. Credentials come from a file, never from here.
    S3 {
        /// `https://…`; of Amazon where it is not said.
        #[serde(default)]
        endpoint: Option<String>,
        /// Bucket.
        bucket: String,
        /// Region.
        #[serde(default)]
        region: Option<String>,
        /// Put before each object's name.
        #[serde(default)]
        prefix: String,
        /// A file with `access_key_id = "…"` and `secret_access_key = "…"`.
        credentials: PathBuf,
        /// PEM of an authority that is trusted for this store alone.
        #[serde(default)]
        authority: Option<PathBuf>,
        /// Whether objects are locked for their retention, and the place is to be WORM.
        #[serde(default)]
        object_lock: bool,
        /// Plain HTTP to a loopback address, for tests.
        #[serde(default)]
        loopback_http: bool,
    },
    /// Azure Blob Storage.
    Azure {
        /// Account.
        account: String,
        /// Container.
        container: String,
        /// Put before each object's name.
        #[serde(default)]
        prefix: String,
        /// A file with `access_key = "…"`.
        credentials: PathBuf,
        /// Another address than Azure's, as Azurite's.
        #[serde(default)]
        endpoint: Option<String>,
        /// Plain HTTP to a loopback address, for tests.
        #[serde(default)]
        loopback_http: bool,
    },
    /// Google Cloud Storage.
    Gcs {
        /// Bucket.
        bucket: String,
        /// Put before each object's name.
        #[serde(default)]
        prefix: String,
        /// Service account, as Google gives it.
        credentials: PathBuf,
        /// Where it is, if not at Google's own address.
        #[serde(default)]
        endpoint: Option<String>,
        /// Whether its endpoint may be plain HTTP on this machine: for tests.
        #[serde(default)]
        loopback_http: bool,
    },
}

/// A recorder whose recordings are taken in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecorderConfig {
    /// Its public key: `recorder.pub` beside its receipts has it.
    pub key: String,
    /// Its spool on this machine, to be watched; none where it sends.
    #[serde(default)]
    pub spool: Option<PathBuf>,
    /// Whether files that are taken over, and in as many copies as asked, are removed from the spool.
    #[serde(default)]
    pub free: bool,
}

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("reading configuration `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("configuration `{}`: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What, with its line.
        source: Box<toml::de::Error>,
    },
    /// It contradicts itself.
    #[error("configuration `{}`: {fault}", path.display())]
    Fault {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        fault: String,
    },
}

impl Config {
    /// Reads `vault.toml`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.into(), source };
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(path, &text)
    }

    /// Reads a configuration's text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let parse = |source| ConfigError::Parse { path: path.into(), source: Box::new(source) };
        let config: Self = toml::from_str(text).map_err(parse)?;
        match config.fault() {
            Some(fault) => Err(ConfigError::Fault { path: path.into(), fault }),
            None => Ok(config),
        }
    }

    fn fault(&self) -> Option<String> {
        let twice = |names: Vec<&str>| {
            let mut seen = BTreeSet::new();
            names.into_iter().find(|name| !seen.insert(*name)).map(str::to_owned)
        };
        // Names become parts of paths, and stand in lists.
        if let Some(place) = self.places.iter().find(|place| place.name.parse::<ClassName>().is_err()) {
            let name = &place.name;
            return Some(format!(
                "`{name}` cannot be the name of a place: like a class's, it has lower-case letters, digits and `-`"
            ));
        }
        if let Some(name) = twice(self.places.iter().map(|place| place.name.as_str()).collect()) {
            return Some(format!("two places are named `{name}`"));
        }
        if self.places.iter().any(|place| place.name == RECEIVED) {
            return Some(format!("no place may be named `{RECEIVED}`: certificates say that of spools"));
        }
        if let Some(name) = twice(self.classes.iter().map(|class| class.name.as_str()).collect()) {
            return Some(format!("two classes are named `{name}`"));
        }
        if !matches!(self.places.first().map(|place| &place.kind), Some(PlaceKind::Directory { .. })) {
            return Some("the first [[place]] must be a directory: recordings are taken in there".into());
        }
        if let Some(name) = twice(self.teams.iter().map(|team| team.name.as_str()).collect()) {
            return Some(format!("two teams are named `{name}`"));
        }
        if let Some(name) = twice(self.notify.iter().map(|one| one.name.as_str()).collect()) {
            return Some(format!("two [[notify]] are named `{name}`"));
        }
        if self.vault.export_alone_max > IDS_MAX as u64 {
            let detail =
                "an entry of the log names no more recordings, and what one gives away alone it names";
            return Some(format!("`export_alone_max` is at most {IDS_MAX}: {detail}"));
        }
        let notify = self.notify.iter().find_map(NotifyConfig::fault);
        let fault = notify.or_else(|| self.review.fault()).or_else(|| self.audit.fault());
        fault.or_else(|| self.web.as_ref().and_then(WebConfig::fault))
    }

    /// The class of that name.
    pub fn class(&self, name: &ClassName) -> Option<&Class> {
        self.classes.iter().find(|class| class.name == *name)
    }
}

impl WebConfig {
    fn fault(&self) -> Option<String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Some("[web] takes `certificate` and `key`, or neither of them".into());
        }
        let is_name = |name: &&String| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte))
        };
        let strange = self.names.iter().find(|name| !is_name(name));
        strange
            .map(|name| format!("`{name}` is no name of a host: write it without `https://` and port"))
            .or_else(|| self.password.fault())
            .or_else(|| self.oidc.as_ref().and_then(OidcConfig::fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(places: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("vault.toml"), &format!("[vault]\nname = 'v'\n{places}"))
    }

    /// The sample has every duty with its default, and is a configuration.
    #[test]
    fn the_sample_is_read_and_says_the_defaults() {
        let sample = include_str!("../../../deploy/vault.toml");
        let config = Config::parse(Path::new("vault.toml"), sample).unwrap();
        assert_eq!(config.duties, Policy::default());
        assert_eq!((config.places.len(), config.classes.len(), config.recorders.len()), (2, 1, 1));
        let duties = sample.split("[duties]").nth(1).and_then(|rest| rest.split("[[place]]").next()).unwrap();
        for duty in crate::archive::duties::Duty::ALL {
            let key = format!("\n{} = ", duty.as_str().replace('-', "_"));
            assert!(duties.contains(&key), "{key}");
        }
        for (key, wrong) in
            [("copies = \"5 minutes\"", "copys = \"5 minutes\""), ("\"1 hour\"", "\"1 hours ago\"")]
        {
            let said =
                Config::parse(Path::new("vault.toml"), &sample.replace(key, wrong)).unwrap_err().to_string();
            assert!(
                said.contains("vault.toml") && (said.contains("copys") || said.contains("length")),
                "{said}"
            );
        }
    }

    /// What somebody gives away at nobody else's word, the log names.
    #[test]
    fn nobody_gives_more_away_alone_than_an_entry_names() {
        let with = |max: u64| {
            let directory = "[[place]]\nname = 'a'\nsite = 's'\nkind = 'directory'\npath = '/a'\n";
            let text = format!("[vault]\nname = 'v'\nexport_alone_max = {max}\n{directory}");
            Config::parse(Path::new("vault.toml"), &text)
        };
        assert_eq!(with(100).unwrap().vault.export_alone_max, 100);
        let refused = with(101).unwrap_err().to_string();
        assert!(refused.contains("export_alone_max") && refused.contains("names no more"), "{refused}");
    }

    #[test]
    fn places_are_read_and_what_is_not_known_is_refused() {
        let directory = "[[place]]\nname = 'a'\nsite = 's'\nkind = 'directory'\npath = '/a'\n";
        let store = "[[place]]\nname = 'b'\nsite = 't'\nkind = 's3'\nbucket = 'b'\ncredentials = '/c'\n";
        let config = parse(&format!("{directory}{store}object_lock = true")).unwrap();
        assert!(matches!(config.places[1].kind, PlaceKind::S3 { object_lock: true, .. }));
        for wrong in [
            format!("{directory}{store}verify = false"),
            format!("{directory}bucket = 'b'"),
            format!("{store}{directory}"),
            format!("{directory}{directory}"),
            directory.replace("'a'", "'../a'"),
            directory.replace("'a'", "'A b'"),
            directory.replace("'a'", "''"),
            "[[place]]\nname = 'a'\nsite = 's'\nkind = 'ftp'".into(),
        ] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_served_is_said_in_full_and_passwords_are_not_cheap() {
        let directory = "[[place]]\nname = 'a'\nsite = 's'\nkind = 'directory'\npath = '/a'\n";
        let web = |more: &str| parse(&format!("{directory}[web]\nlisten = '127.0.0.1:8443'\n{more}"));
        assert!(parse(directory).unwrap().web.is_none());
        assert_eq!(web("names = ['vault.example.org']").unwrap().web.unwrap().password, Cost::default());
        assert!(web("password = { memory_mib = 19, passes = 2 }").is_ok());
        let oidc = "[web.oidc]\nissuer = 'https://id.example.org'\nclient_id = 'sejf'\ncredentials = 'c'";
        let oidc = web(oidc).unwrap().web.unwrap().oidc.unwrap();
        assert_eq!((oidc.label(), oidc.amr.as_slice()), ("id.example.org", &["mfa".to_owned()][..]));
        for wrong in [
            "password = { memory_mib = 18, passes = 2 }",
            "password = { memory_mib = 64, passes = 1 }",
            "certificate = '/c'",
            "names = ['https://vault.example.org']",
            "plain = true",
            "[web.oidc]\nissuer = 'http://id.example.org'\nclient_id = 'sejf'\ncredentials = 'c'",
            "[web.oidc]\nissuer = 'http://127.0.0.1.evil.example'\nclient_id = 's'\ncredentials = 'c'\nloopback_http = true",
            "[web.oidc]\nissuer = 'https://id.example.org'\nclient_id = 'sejf'\nclient_secret = 'in the open'",
            "[[team]]\nname = 'a'\n[[team]]\nname = 'a'",
        ] {
            assert!(web(wrong).is_err(), "{wrong}");
        }
    }
}
