//! What the configuration says of the log's receivers and witnesses: `[[audit.forward]]` and `[[audit.witness]]`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use crate::archive::epoch::ClassName;
use crate::seal::cosign::CosignerKey;

/// Who gets the log, and who attests it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Who gets each entry.
    pub forward: Vec<ForwardConfig>,
    /// Who cosigns checkpoints.
    pub witness: Vec<WitnessConfig>,
}

/// Who gets each entry. What is not known is refused by [`Receiver`], which gets all that is left.
#[derive(Clone, Debug, Deserialize)]
pub struct ForwardConfig {
    /// Its name: how far it is, is kept by that.
    pub name: String,
    /// What it is, and how it is reached.
    #[serde(flatten)]
    pub to: Receiver,
}

/// A receiver. Paths are from the vault's home on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Receiver {
    /// Syslog over TLS (RFC 5424, RFC 5425).
    Syslog {
        /// `host:port`; the port is 6514 as a rule.
        address: String,
        /// The name that its certificate must have, where that is not the host.
        #[serde(default)]
        tls_name: Option<String>,
        /// PEM of the authorities that may have signed it. There is no way to do without.
        authority: PathBuf,
        /// PEM of our certificate, where it asks for one.
        #[serde(default)]
        certificate: Option<PathBuf>,
        /// PEM of its key.
        #[serde(default)]
        key: Option<PathBuf>,
        /// Whether it ends a connection within TLS, as RFC 5425 has it: what was sent counts as taken then. False where it
        /// never does: it counts once the connection is closed then, by whomever.
        #[serde(default = "yes")]
        close_notify: bool,
    },
    /// JSON lines, sent with POST.
    Https {
        /// `https://…`
        url: String,
        /// PEM of the authorities that may have signed its certificate. There is no way to do without.
        authority: PathBuf,
        /// A file with what goes into `Authorization: Bearer …`.
        #[serde(default)]
        token: Option<PathBuf>,
        /// PEM of our certificate, where it asks for one.
        #[serde(default)]
        certificate: Option<PathBuf>,
        /// PEM of its key.
        #[serde(default)]
        key: Option<PathBuf>,
    },
    /// JSON lines in files, one a day: `FOLDER/NAME-2026-11-23.jsonl`.
    File {
        /// A folder that is there.
        folder: PathBuf,
    },
}

/// Who cosigns checkpoints.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Its name here.
    pub name: String,
    /// Its submission prefix: `https://…`.
    pub url: String,
    /// Its public key: `name+hash+key`.
    pub key: String,
    /// PEM of the authorities that may have signed its certificate.
    pub authority: PathBuf,
}

impl AuditConfig {
    /// What is wrong with it, and what to do.
    pub(in crate::shell::vault) fn fault(&self) -> Option<String> {
        let names = self.forward.iter().map(|one| ("[[audit.forward]]", &one.name));
        let names = names.chain(self.witness.iter().map(|one| ("[[audit.witness]]", &one.name)));
        let mut seen = BTreeSet::new();
        for (kind, name) in names {
            // Names become parts of paths.
            if name.parse::<ClassName>().is_err() {
                return Some(format!("{kind} `{name}`: a name has lower-case letters, digits and `-`"));
            }
            if !seen.insert((kind, name)) {
                return Some(format!("two {kind} are named `{name}`"));
            }
        }
        self.forward
            .iter()
            .find_map(ForwardConfig::fault)
            .or_else(|| self.witness.iter().find_map(WitnessConfig::fault))
    }
}

impl ForwardConfig {
    fn fault(&self) -> Option<String> {
        let name = &self.name;
        let (certificate, key) = match &self.to {
            Receiver::Syslog { address, certificate, key, .. } => {
                let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                if port.is_none() {
                    return Some(format!("[[audit.forward]] `{name}`: `address` is `host:port`"));
                }
                (certificate, key)
            }
            Receiver::Https { url, certificate, key, .. } => {
                if !is_https(url) {
                    return Some(format!("[[audit.forward]] `{name}`: `url` begins with https://"));
                }
                (certificate, key)
            }
            Receiver::File { .. } => return None,
        };
        let is_half = certificate.is_some() != key.is_some();
        is_half
            .then(|| format!("[[audit.forward]] `{name}` takes `certificate` and `key`, or neither of them"))
    }
}

impl WitnessConfig {
    fn fault(&self) -> Option<String> {
        let name = &self.name;
        if !is_https(&self.url) {
            return Some(format!("[[audit.witness]] `{name}`: `url` begins with https://"));
        }
        let key = self.key.parse::<CosignerKey>();
        key.err().map(|fault| {
            format!(
                "[[audit.witness]] `{name}`: `key` is what `sejf audit witness` says at its start: {fault}"
            )
        })
    }
}

fn yes() -> bool {
    true
}

fn is_https(url: &str) -> bool {
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<String> {
        match toml::from_str::<AuditConfig>(text) {
            Ok(config) => config.fault(),
            Err(fault) => Some(fault.to_string()),
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let witness = "[[witness]]\nname = \"w\"\nurl = \"https://w\"\nauthority = \"w.pem\"\n";
        let key = "key = \"remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2\"\n";
        let syslog =
            "[[forward]]\nname = \"siem\"\nkind = \"syslog\"\naddress = \"h:6514\"\nauthority = \"a\"\n";
        assert_eq!(fault(&format!("{witness}{key}")), None);
        assert_eq!(fault(syslog), None);
        for (text, said) in [
            (format!("{witness}key = \"x\"\n"), "sejf audit witness"),
            (format!("{witness}{key}").replace("https://w", "http://w"), "https://"),
            (format!("{syslog}{syslog}"), "two"),
            (syslog.replace("siem", "../siem"), "lower-case"),
            (syslog.replace(":6514", ""), "host:port"),
            (format!("{syslog}certificate = \"c\"\n"), "neither"),
            (format!("{syslog}insecure = true\n"), "insecure"),
            (syslog.replace("authority = \"a\"\n", ""), "authority"),
        ] {
            let fault = fault(&text).unwrap_or_default();
            assert!(fault.contains(said), "{text}: {fault}");
        }
    }
}
