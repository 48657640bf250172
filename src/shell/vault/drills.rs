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
