//! `age-plugin-sejf`: the `age` command opens archived files through the vault (C2SP `age-plugin`, identity-v1).
//!
//! ```text
//! AGE-PLUGIN-SEJF-1…     the path of a vault's home; no key
//! ```
//!
//! Whoever has this identity still needs the custodians' keys, says why, and is in the log before `age` gets a file
//! key.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use age::Identity as _;
use age_core::format::{FileKey, Stanza};
use age_plugin::identity::{Error, IdentityPluginV1};
use age_plugin::{Callbacks, PluginHandler, run_state_machine};
use bech32::ToBase32;

use crate::archive::access::{Action, Request};
use crate::archive::entry::{Outcome, Resource};
use crate::archive::envelope;
use crate::archive::record::RecordingId;
use crate::shell::clock;
use crate::shell::vault::home::Vault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::unlocking;

/// Name of the program that `age` looks for.
pub const PROGRAM: &str = "age-plugin-sejf";

/// The identity that leads `age` to the vault in `home`.
pub fn identity(home: &Path) -> String {
    let path = home.as_os_str().as_encoded_bytes();
    bech32::encode("age-plugin-sejf-", path.to_base32(), bech32::Variant::Bech32)
        .expect("our prefix is valid")
        .to_ascii_uppercase()
}

/// Speaks the protocol with `age` on standard input and output.
pub fn run(state_machine: &str) -> io::Result<()> {
    run_state_machine(state_machine, Handler)
}

struct Handler;

impl PluginHandler for Handler {
    type RecipientV1 = Infallible;
    type IdentityV1 = Plugin;

    fn identity_v1(self) -> io::Result<Plugin> {
        Ok(Plugin::default())
    }
}

/// Vaults that files may be in.
#[derive(Default)]
struct Plugin {
    homes: Vec<(usize, PathBuf)>,
}

impl IdentityPluginV1 for Plugin {
    fn add_identity(&mut self, index: usize, name: &str, bytes: &[u8]) -> Result<(), Error> {
        use std::os::unix::ffi::OsStrExt;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
        if name != "sejf" || !path.is_absolute() {
            let message = "this identity names no vault: `sejf vault keys identity HOME` prints one".into();
            return Err(Error::Identity { index, message });
        }
        self.homes.push((index, path));
        Ok(())
    }

    fn unwrap_file_keys(
        &mut self,
        files: Vec<Vec<Stanza>>,
        mut callbacks: impl Callbacks<Error>,
    ) -> io::Result<HashMap<usize, Result<FileKey, Vec<Error>>>> {
        let mut keys = HashMap::new();
        let mut open = Open::default();
        for (file, stanzas) in files.iter().enumerate() {
            let unwrapped = self.unwrap_file(file, stanzas, &mut |home, id, stanza| {
                open.unwrap(home, id, stanza, &mut callbacks)
            })?;
            keys.extend(unwrapped.map(|unwrapped| (file, unwrapped)));
        }
        Ok(keys)
    }
}

type Unwrapped = Result<FileKey, Refused>;

impl Plugin {
    /// The file's key, from the first of its stanzas and vaults that gives it; nothing where none is for us.
    fn unwrap_file(
        &self,
        file: usize,
        stanzas: &[Stanza],
        unwrap: &mut dyn FnMut(&Path, &RecordingId, &Stanza) -> io::Result<Unwrapped>,
    ) -> io::Result<Option<Result<FileKey, Vec<Error>>>> {
        let mut faults = Vec::new();
        for (nth, stanza) in stanzas.iter().enumerate().filter(|(_, stanza)| stanza.tag == envelope::TAG) {
            let fault = |message: String| Error::Stanza { file_index: file, stanza_index: nth, message };
            let Some(id) = stanza.args.first().and_then(|id| id.parse().ok()) else {
                faults.push(fault("the stanza names no recording".into()));
                continue;
            };
            for (index, home) in &self.homes {
                match unwrap(home, &id, stanza)? {
                    Ok(key) => return Ok(Some(Ok(key))),
                    Err(Refused::Vault(message)) => faults.push(Error::Identity { index: *index, message }),
                    Err(Refused::File(message)) => faults.push(fault(message)),
                }
            }
        }
        Ok((!faults.is_empty()).then_some(Err(faults)))
    }
}

/// Vaults that were unlocked for these files, each once.
#[derive(Default)]
struct Open(Vec<(PathBuf, Vault, KeyRing)>);

enum Refused {
    Vault(String),
    File(String),
}

impl Open {
    fn unwrap(
        &mut self,
        home: &Path,
        id: &RecordingId,
        stanza: &Stanza,
        callbacks: &mut impl Callbacks<Error>,
    ) -> io::Result<Unwrapped> {
        let place = match self.0.iter().position(|(known, ..)| known == home) {
            Some(place) => place,
            None => match unlock(home, callbacks)? {
                Ok((vault, ring)) => {
                    self.0.push((home.to_path_buf(), vault, ring));
                    self.0.len() - 1
                }
                Err(fault) => return Ok(Err(Refused::Vault(fault))),
            },
        };
        let (_, vault, ring) = &self.0[place];
        let asked = match std::env::var("SEJF_REASON") {
            Ok(reason) if !reason.trim().is_empty() => Ok(reason),
            _ => {
                let codes = vault.config.vault.reason_codes.join(", ");
                callbacks.request_public(&format!(
                    "Why is recording {id} opened? A code ({codes}) and, after a space, a note"
                ))?
            }
        };
        let Ok(reason) = asked else {
            return Ok(Err(Refused::Vault("no reason was given: set SEJF_REASON".into())));
        };
        Ok(release(vault, ring, id, stanza, &reason).map_err(Refused::File))
    }
}

/// Asks for the custodians' keys, and unlocks.
fn unlock(
    home: &Path,
    callbacks: &mut impl Callbacks<Error>,
) -> io::Result<Result<(Vault, KeyRing), String>> {
    let vault = match Vault::open(home) {
        Ok(vault) => vault,
        Err(fault) => return Ok(Err(fault.to_string())),
    };
    let (mut files, passphrases) = unlocking::credentials()?;
    if let Some(named) = std::env::var_os("SEJF_IDENTITY") {
        files.extend(std::env::split_paths(&named));
    }
    if files.is_empty() {
        let question = "Files of the custodians' keys that unlock the vault, with `:` between them";
        match callbacks.request_public(question)? {
            Ok(named) => files.extend(std::env::split_paths(named.trim())),
            Err(_) => return Ok(Err("no custodians' keys were named: set SEJF_IDENTITY".into())),
        }
    }
    let ring = unlocking::identities(&files, &passphrases)
        .map_err(|fault| fault.to_string())
        .and_then(|identities| vault.unlock(&identities).map_err(|fault| fault.to_string()));
    Ok(ring.map(|ring| (vault, ring)))
}

/// The file key, once the log has who takes it, and why.
fn release(
    vault: &Vault,
    ring: &KeyRing,
    id: &RecordingId,
    stanza: &Stanza,
    reason: &str,
) -> Result<FileKey, String> {
    let (code, note) = reason.trim().split_once(' ').unwrap_or((reason.trim(), ""));
    let reason = vault.reason(code, note).map_err(|fault| fault.to_string())?;
    let actor = vault.actor_of(ring);
    let (action, resource, now) = (Action::Open, Resource::Recording(*id), clock::now());
    let request = Request { actor: &actor, action, resource, reason: Some(reason), now };
    let grant = vault.log.ask(&request).map_err(|fault| fault.to_string())?;
    let released = ring.find_envelopes(id).map_err(|fault| fault.to_string()).and_then(|envelopes| {
        let mut keys = envelopes.iter().filter_map(|envelope| envelope.unwrap_stanza(stanza)?.ok());
        keys.next().ok_or_else(|| format!("recording {id} has no envelope in this vault that opens it"))
    });
    let outcome = match &released {
        Ok(_) => Outcome::Done(serde_json::json!({ "through": PROGRAM })),
        Err(fault) => Outcome::Failed(fault.clone()),
    };
    vault.log.outcome(&grant, outcome).map_err(|fault| fault.to_string())?;
    released
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_a_file_is_not_undone_by_what_comes_after() {
        let plugin = Plugin { homes: vec![(0, "/one".into()), (1, "/two".into())] };
        let id = RecordingId::from_bytes([7; 16]).to_string();
        let stanza = |args: &[&str]| Stanza {
            tag: envelope::TAG.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            body: Vec::new(),
        };
        let other = || Stanza { tag: "X25519".into(), ..stanza(&[]) };
        let mut asked = Vec::new();
        let mut unwrap = |stanzas: &[Stanza], opens: &str| {
            let unwrapped = plugin.unwrap_file(0, stanzas, &mut |home, _, _| {
                asked.push(home.to_path_buf());
                let is_it = home == Path::new(opens);
                Ok(if is_it { Ok(FileKey::new(Box::new([7; 16]))) } else { Err(Refused::Vault("no".into())) })
            });
            let unwrapped = unwrapped.unwrap().map(|key| key.map(drop).map_err(|faults| faults.len()));
            (unwrapped, std::mem::take(&mut asked).len())
        };
        let (ours, malformed) = (|| stanza(&[&id, "salt"]), || stanza(&["?"]));
        // The malformed one comes before, after, and alone.
        assert_eq!(unwrap(&[ours(), malformed(), ours()], "/one"), (Some(Ok(())), 1));
        assert_eq!(unwrap(&[malformed(), other(), ours()], "/two"), (Some(Ok(())), 2));
        assert_eq!(unwrap(&[malformed(), ours()], "/none"), (Some(Err(3)), 2));
        assert_eq!(unwrap(&[other()], "/one"), (None, 0));
    }

    #[test]
    fn the_identity_is_the_path_of_the_vault() {
        let text = identity(Path::new("/var/lib/sejf/vault"));
        assert!(text.starts_with("AGE-PLUGIN-SEJF-1"), "{text}");
        let parsed: age::plugin::Identity = text.parse().unwrap();
        assert_eq!(parsed.plugin(), "sejf");
        let mut plugin = Plugin::default();
        assert!(plugin.add_identity(0, "sejf", b"/var/lib/sejf/vault").is_ok());
        assert!(plugin.add_identity(1, "sejf", b"vault").is_err());
        assert!(plugin.add_identity(1, "other", b"/vault").is_err());
    }
}
