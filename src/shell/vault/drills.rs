//! Drills: custodians show that their shares still open, before the day it takes.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::archive::access::{Action, Request};
use crate::archive::custody::{CustodianName, Scheme};
use crate::archive::entry::{Outcome, Resource};
use crate::base::time::Stamp;
use crate::seal::identity::Identities;
use crate::shell::clock;
use crate::shell::vault::home::{Vault, VaultError, io_error, write_new};

/// When a custodian last showed that their share opens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// Who.
    pub custodian: CustodianName,
    /// When; never since they were given it where there is none.
    pub at: Option<Stamp>,
    /// Whether that is longer ago than [`DRILL_DAYS`].
    pub is_overdue: bool,
}

/// A copy of what the log says, so that the log need not be read from its beginning.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Drills(BTreeMap<CustodianName, Stamp>);

impl Vault {
    /// Tries which shares these keys open. The log has who it was.
    pub fn drill(&self, identities: &[Identities]) -> Result<Vec<CustodianName>, VaultError> {
        let custodians = self.keys.prove(identities)?.custodians();
        // In this order: a second factor that is shown after it was asked for is none.
        let actor = self.actor(&custodians);
        let (action, resource, now) = (Action::Drill, Resource::Vault, clock::now());
        let grant = self.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
        self.log.outcome(&grant, Outcome::Done(serde_json::json!({ "custodians": custodians })))?;
        self.drilled(&custodians, now)?;
        Ok(custodians)
    }

    /// When each custodian last showed it.
    pub fn drills(&self, scheme: &Scheme, now: Stamp) -> Result<Vec<Shown>, VaultError> {
        let drills = self.read_drills()?;
        let shown = scheme.holders.iter().map(|holder| {
            // A share that was made since is another one.
            let at = drills.0.get(&holder.name).copied().filter(|at| *at >= scheme.made);
            let is_overdue = now.since(at.unwrap_or(scheme.made)).as_secs() > DRILL_DAYS * 86_400;
            Shown { custodian: holder.name.clone(), at, is_overdue }
        });
        Ok(shown.collect())
    }

    pub(super) fn drilled(&self, custodians: &[CustodianName], now: Stamp) -> Result<(), VaultError> {
        // Two may do so at once.
        let _lock = self.keys.lock()?;
        let mut drills = self.read_drills()?;
        drills.0.extend(custodians.iter().map(|custodian| (custodian.clone(), now)));
        let bytes = serde_json::to_vec_pretty(&drills).expect("names and times");
        write_new(&self.home, DRILLS, &bytes, 0o600)
    }

    /// What cannot be read is a drill that is to be done again.
    fn read_drills(&self) -> Result<Drills, VaultError> {
        let path = self.home.join(DRILLS);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Drills::default()),
            Err(error) => Err(io_error("reading", &path)(error)),
        }
    }
}

/// After so many days a custodian has to show it again.
pub const DRILL_DAYS: u64 = 90;
const DRILLS: &str = "drills.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::custody::Custody;
    use crate::seal::identity::generate_x25519;
    use crate::seal::random::Seeded;
    use crate::shell::keys::KeyKind;
    use crate::shell::vault::home::NewVault;

    /// As several `age -d` do.
    #[test]
    fn drills_at_the_same_time_are_all_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut random) = (dir.path().join("store"), Seeded::new(&[1; 32], "custodians", 0));
        std::fs::create_dir(&store).unwrap();
        let custodians = (0..8).map(|number| {
            let name: CustodianName = format!("c{number}").parse().unwrap();
            (name, generate_x25519(&mut random).1)
        });
        let custody = Custody { threshold: 2, custodians: custodians.collect() };
        let names: Vec<_> = custody.custodians.iter().map(|(name, _)| name.clone()).collect();
        let new =
            NewVault { name: "v".into(), store, key_places: Vec::new(), kind: KeyKind::X25519, custody };
        let vault = Vault::create(&dir.path().join("home"), &new).unwrap();
        std::thread::scope(|scope| {
            for name in &names {
                let vault = &vault;
                scope.spawn(move || {
                    for _ in 0..20 {
                        vault.drilled(std::slice::from_ref(name), clock::now()).unwrap();
                    }
                });
            }
        });
        let shown = vault.drills(&vault.keys.scheme().unwrap(), clock::now()).unwrap();
        assert!(shown.len() == 8 && shown.iter().all(|shown| shown.at.is_some()), "{shown:?}");
    }
}
