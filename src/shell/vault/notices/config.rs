//! Ways on which people are told: `[[notify]]` in vault.toml.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::Url;
use serde::Deserialize;

use crate::archive::duties::Length;
use crate::archive::epoch::ClassName;
use crate::archive::notice::{Channel, Topic};
use crate::archive::report::Language;

/// A way on which people are told. What is not known is refused by [`NotifyKind`], which gets all that is left.
#[derive(Clone, Debug, Deserialize)]
pub struct NotifyConfig {
    /// Its name.
    pub name: String,
    /// What goes on it: `alarms`, `approvals`, `checks`, `digest`; all of it where it is not said.
    #[serde(default = "all_topics")]
    pub what: BTreeSet<Topic>,
    /// How long it is left alone after a message: what comes meanwhile is one message.
    #[serde(default = "every")]
    pub every: Length,
    /// Language of mail.
    #[serde(default)]
    pub language: Language,
    /// What it is, and how it is reached.
    #[serde(flatten)]
    pub kind: NotifyKind,
}

/// What a way is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum NotifyKind {
    /// Mail over SMTP; never without TLS.
    Email {
        /// Host of the mail server, as its certificate has it.
        server: String,
        /// Port; 587 with STARTTLS, 465 where TLS comes first.
        #[serde(default)]
        port: Option<u16>,
        /// How TLS begins.
        #[serde(default)]
        tls: MailTls,
        /// From whom.
        from: String,
        /// To whom.
        to: Vec<String>,
        /// A file with `user = "…"` and `password = "…"`; without, nobody signs in.
        #[serde(default)]
        credentials: Option<PathBuf>,
        /// PEM of an authority that is trusted for this server alone.
        #[serde(default)]
        authority: Option<PathBuf>,
    },
    /// JSON by POST over HTTPS.
    Webhook {
        /// `https://…`
        url: String,
        /// A file with the secret by which the receiver knows that it is from here: 32 bytes at least.
        secret: PathBuf,
        /// PEM of an authority that is trusted for this receiver alone.
        #[serde(default)]
        authority: Option<PathBuf>,
    },
}

/// How TLS begins with a mail server.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum MailTls {
    /// The server is asked to begin it; where it will not, nothing is sent.
    #[default]
    Starttls,
    /// With the first byte.
    Implicit,
}

fn all_topics() -> BTreeSet<Topic> {
    Topic::ALL.into()
}

fn every() -> Length {
    Length(Duration::from_secs(300))
}

impl NotifyConfig {
    /// What the queue has to know of it.
    pub fn channel(&self) -> Channel {
        Channel { name: self.name.clone(), topics: self.what.clone(), every: self.every.0 }
    }

    /// What is wrong with it; nothing where it is of use.
    pub(in crate::shell::vault) fn fault(&self) -> Option<String> {
        let name = &self.name;
        if name.parse::<ClassName>().is_err() {
            return Some(format!("[[notify]] `{name}`: a name has lower-case letters, digits and `-`"));
        }
        match &self.kind {
            NotifyKind::Email { server, from, to, .. } => {
                let is_wrong = |address: &&String| address.parse::<Mailbox>().is_err();
                let wrong = [from].into_iter().chain(to).find(is_wrong);
                match wrong {
                    Some(wrong) => Some(format!("[[notify]] `{name}`: `{wrong}` is no mail address")),
                    None if to.is_empty() => Some(format!("[[notify]] `{name}`: `to` names nobody")),
                    None if server.is_empty() || server.contains([':', '/', ' ']) => Some(format!(
                        "[[notify]] `{name}`: `server` is the name of a host; its port stands at `port`"
                    )),
                    None => None,
                }
            }
            NotifyKind::Webhook { url, .. } => {
                let is_good = Url::parse(url).is_ok_and(|url| {
                    url.scheme() == "https"
                        && url.has_host()
                        && url.username().is_empty()
                        && url.password().is_none()
                });
                (!is_good).then(|| {
                    format!("[[notify]] `{name}`: `url` is https://HOST/…, with no name or password in it")
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shell::vault::config::{Config, ConfigError};

    fn parse(notify: &str) -> Result<Config, ConfigError> {
        let place = "[[place]]\nname = 'a'\nsite = 's'\nkind = 'directory'\npath = '/a'\n";
        Config::parse(Path::new("vault.toml"), &format!("[vault]\nname = 'v'\n{place}{notify}"))
    }

    #[test]
    fn ways_are_read_and_none_of_them_is_plain() {
        let mail = "[[notify]]\nname = 'ops'\nkind = 'email'\nserver = 'mail.example.org'\nfrom = 'sejf@example.org'\n\
                    to = ['Ops <ops@example.org>']\n";
        let hook = "[[notify]]\nname = 'hook'\nkind = 'webhook'\nurl = 'https://hooks.example.org/x'\nsecret = '/s'\n";
        let config = parse(&format!("{mail}{hook}what = ['alarms']\nevery = '1 minute'\n")).unwrap();
        assert_eq!(config.notify.len(), 2);
        assert_eq!(config.notify[0].what.len(), 4);
        assert!(matches!(config.notify[0].kind, NotifyKind::Email { tls: MailTls::Starttls, .. }));
        assert_eq!(config.notify[1].channel().every, Duration::from_secs(60));
        for wrong in [
            format!("{mail}tls = 'none'"),
            format!("{mail}password = 'x'"),
            mail.replace("ops@example.org", "ops"),
            mail.replace("sejf@example.org", "sejf@example.org\\r\\nBcc: x@y.z").replace('\'', "\""),
            mail.replace("['Ops <ops@example.org>']", "[]"),
            mail.replace("mail.example.org", "mail.example.org:25"),
            hook.replace("https://", "http://"),
            hook.replace("hooks.", "user:word@hooks."),
            format!("{hook}insecure = true"),
            format!("{hook}what = ['everything']"),
            format!("{hook}{hook}"),
            hook.replace("'hook'", "'A b'"),
        ] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }
}
