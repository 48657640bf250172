//! Whose recordings somebody's role is for: teams, and the trunks that calls come over.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::archive::details::Details;

/// How far a role reaches.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Every recording.
    All,
    /// Recordings of one of these teams, or that came over one of these trunks.
    #[serde(untagged)]
    Of {
        /// Teams.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        teams: BTreeSet<String>,
        /// Trunks.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        trunks: BTreeSet<String>,
    },
}

/// Whose a recording is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Belongs {
    /// Teams whose people spoke, or that its trunk is for.
    pub teams: BTreeSet<String>,
    /// Trunk it came over; empty where it is not known.
    pub trunk: String,
}

/// A team, as it is configured.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// Its name.
    pub name: String,
    /// Its people.
    #[serde(default)]
    pub agents: BTreeSet<String>,
    /// Trunks that are for it alone.
    #[serde(default)]
    pub trunks: BTreeSet<String>,
}

impl Reach {
    /// Of these teams and trunks; of everything where none is named.
    pub fn of(teams: impl IntoIterator<Item = String>, trunks: impl IntoIterator<Item = String>) -> Self {
        let (teams, trunks): (BTreeSet<_>, BTreeSet<_>) =
            (teams.into_iter().collect(), trunks.into_iter().collect());
        if teams.is_empty() && trunks.is_empty() { Self::All } else { Self::Of { teams, trunks } }
    }

    /// Whether a recording is within it. One of which nothing is known is in no limited reach.
    pub fn covers(&self, belongs: &Belongs) -> bool {
        match self {
            Self::All => true,
            Self::Of { teams, trunks } => {
                let is_trunk = !belongs.trunk.is_empty() && trunks.contains(&belongs.trunk);
                is_trunk || !teams.is_disjoint(&belongs.teams)
            }
        }
    }
}

impl Belongs {
    /// What a recording's details say, by the teams that there are.
    pub fn of(details: &Details, teams: &[Team]) -> Self {
        let is_of = |team: &&Team| {
            details.agents.iter().any(|agent| team.agents.contains(agent))
                || (!details.trunk.is_empty() && team.trunks.contains(&details.trunk))
        };
        let teams = teams.iter().filter(is_of).map(|team| team.name.clone()).collect();
        Self { teams, trunk: details.trunk.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_of_the_teams_whose_people_or_trunks_it_has() {
        let team = |name: &str, agent: &str, trunk: &str| Team {
            name: name.into(),
            agents: [agent.into()].into(),
            trunks: [trunk.into()].into(),
        };
        let teams = [team("sales", "jana", "a"), team("help", "ola", "b"), team("law", "jan", "")];
        let details = |agents: &[&str], trunk: &str| Details {
            agents: agents.iter().map(|agent| (*agent).to_owned()).collect(),
            trunk: trunk.into(),
            ..Details::default()
        };
        let of = |agents: &[&str], trunk: &str| Belongs::of(&details(agents, trunk), &teams).teams;
        assert_eq!(of(&["jana"], "b"), ["sales".to_owned(), "help".to_owned()].into());
        assert_eq!(of(&["nobody"], ""), BTreeSet::new());
        let sales = Reach::of(["sales".to_owned()], []);
        assert!(sales.covers(&Belongs::of(&details(&["jana"], ""), &teams)));
        assert!(!sales.covers(&Belongs::of(&details(&[], ""), &teams)));
        assert!(
            !Reach::Of { teams: BTreeSet::new(), trunks: [String::new()].into() }.covers(&Belongs::default())
        );
    }

    #[test]
    fn it_comes_back_from_json() {
        for (reach, text) in [
            (Reach::All, r#""all""#),
            (Reach::of(["sales".into()], []), r#"{"teams":["sales"]}"#),
            (Reach::of(["sales".into()], ["a".into()]), r#"{"teams":["sales"],"trunks":["a"]}"#),
        ] {
            assert_eq!(serde_json::to_string(&reach).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reach>(text).unwrap(), reach);
        }
        // A role without a reach is a mistake, and no role for everything.
        assert!(!serde_json::from_str::<Reach>("{}").unwrap().covers(&Belongs::default()));
    }
}
