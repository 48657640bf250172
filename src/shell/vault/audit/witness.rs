//! The newest checkpoint to a witness, with the proof that the log goes on from what it knows; what it cosigns is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;

use crate::seal::cosign::CosignerKey;
use crate::seal::log_verify::TileNodes;
use crate::seal::note::Checkpoint;
use crate::seal::tree;
use crate::seal::witness::AddCheckpoint;
use crate::shell::clock;
use crate::shell::vault::audit::forward::{causes, client};
use crate::shell::vault::audit::settings::WitnessConfig;
use crate::shell::vault::audit::{Fault, Job, Reached, WITNESSED, make_dir};
use crate::shell::vault::home::{Vault, write_new};
use crate::shell::vault::intake::tls::{Oldest, client_config_of};

/// One witness.
pub(super) struct Witness {
    vault: Arc<Vault>,
    config: WitnessConfig,
}

/// What a witness says.
enum Said {
    /// Its lines below the checkpoint.
    Cosigned(String),
    /// So many entries it knows.
    Knows(u64),
}

impl Witness {
    pub(super) fn new(vault: Arc<Vault>, config: WitnessConfig) -> Self {
        Self { vault, config }
    }

    /// What it is asked, where it knows so many entries.
    async fn ask_from(&self, old: u64) -> Result<(Checkpoint, AddCheckpoint), Fault> {
        let vault = Arc::clone(&self.vault);
        let asked = tokio::task::spawn_blocking(move || {
            vault.log.signed_with(|checkpoint, note, read| {
                let nodes = TileNodes { read, size: checkpoint.size };
                // Nothing is to be proved from nothing, nor of what is the same.
                let proof = match old {
                    0 => Some(Vec::new()),
                    old if old >= checkpoint.size => Some(Vec::new()),
                    old => tree::consistency_proof(&nodes, old, checkpoint.size),
                };
                (checkpoint.clone(), note.to_owned(), proof)
            })
        });
        let read = asked.await.map_err(|fault| Fault::Later(fault.to_string()))?;
        let (checkpoint, note, proof) =
            read.map_err(|fault| Fault::Later(format!("reading the log: {fault}")))?;
        let proof = proof.ok_or_else(|| Fault::Later("reading the log: a tile is missing".into()))?;
        if old > checkpoint.size {
            return Err(self.rolled_back(old, checkpoint.size));
        }
        Ok((checkpoint, AddCheckpoint { old, proof, note }))
    }

    fn rolled_back(&self, knows: u64, size: u64) -> Fault {
        let name = &self.config.name;
        let words = format!(
            "witness `{name}` has seen {knows} entries, and the log has {size}: the log was cut or put back"
        );
        Fault::Alarm { alarm: "log-rolled-back", words }
    }

    async fn post(&self, checkpoint: &Checkpoint, ask: &AddCheckpoint) -> Result<Said, Fault> {
        let WitnessConfig { url, key, authority, name } = &self.config;
        let tls = client_config_of(&self.vault.home.join(authority), None, Oldest::Tls13);
        let client = client(tls.map_err(|fault| Fault::Later(fault.to_string()))?)?;
        let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
        let later = |fault: reqwest::Error| Fault::Later(format!("asking `{url}`: {}", causes(&fault)));
        let mut answer = client.post(&url).body(ask.to_text()).send().await.map_err(later)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(later)? {
            // Whatever length it has declared.
            if bytes.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(Fault::Later(format!("asking `{url}`: its answer is too long")));
            }
            bytes.extend_from_slice(&part);
        }
        let text = String::from_utf8_lossy(&bytes);
        match status {
            StatusCode::OK => {
                let key: CosignerKey =
                    key.parse().map_err(|fault| Fault::Later(format!("`key`: {fault}")))?;
                let lines = key.lines_for(checkpoint, &text);
                lines.map(Said::Cosigned).map_err(|fault| {
                    Fault::Later(format!("`{url}` answers with no cosignature of {}: {fault}", key.name()))
                })
            }
            StatusCode::CONFLICT => match text.trim().parse() {
                Ok(size) if size != ask.old => Ok(Said::Knows(size)),
                _ => Err(self.forked(name)),
            },
            StatusCode::UNPROCESSABLE_ENTITY => Err(self.forked(name)),
            status => Err(Fault::Later(format!("`{url}` does not cosign: {status}"))),
        }
    }

    fn forked(&self, name: &str) -> Fault {
        let words = format!("witness `{name}` knows another log under this one's name: the log was forked");
        Fault::Alarm { alarm: "log-forked", words }
    }
}

impl Job for Witness {
    const EVERY: Duration = Duration::from_secs(10);

    async fn step(&self, reached: &Reached) -> Result<(Reached, bool), Fault> {
        let mut old = reached.size;
        for _ in 0..TRIES {
            let (checkpoint, ask) = self.ask_from(old).await?;
            if checkpoint.size == reached.size && reached.fault.is_none() {
                return Ok((reached.clone(), false));
            }
            match self.post(&checkpoint, &ask).await? {
                Said::Cosigned(lines) => {
                    keep(&self.vault.home, &checkpoint, &ask.note, &lines)?;
                    let (size, at) = (checkpoint.size, Some(clock::now()));
                    return Ok((Reached { size, leaf: None, at, fault: None }, false));
                }
                Said::Knows(size) if size > checkpoint.size => {
                    return Err(self.rolled_back(size, checkpoint.size));
                }
                Said::Knows(size) => old = size,
            }
        }
        Err(Fault::Later("the witness knows another number of entries each time".into()))
    }
}

/// Keeps a cosigned checkpoint, with what other witnesses have said of the same.
fn keep(home: &Path, checkpoint: &Checkpoint, note: &str, lines: &str) -> Result<(), Fault> {
    let keep = || {
        let dir = make_dir(home)?.join(WITNESSED);
        std::fs::create_dir_all(&dir).map_err(crate::shell::vault::home::io_error("making folder", &dir))?;
        let name = format!("{:020}", checkpoint.size);
        let there = std::fs::read_to_string(dir.join(&name)).ok().filter(|there| there.starts_with(note));
        let mut text = there.unwrap_or_else(|| note.to_owned());
        let is_new = |line: &&str| !text.contains(*line);
        let new: String = lines.split_inclusive('\n').filter(is_new).collect();
        text.push_str(&new);
        write_new(&dir, &name, text.as_bytes(), 0o644)?;
        thin(&dir);
        Ok(())
    };
    keep().map_err(|fault: crate::shell::vault::home::VaultError| Fault::Later(fault.to_string()))
}

/// Of checkpoints the newest are kept, and the last of each day before.
fn thin(dir: &Path) {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let kept = names.filter_map(|entry| {
        let size: u64 = entry.file_name().to_str()?.parse().ok()?;
        let written = entry.metadata().ok()?.modified().ok()?;
        let since = written.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some((size, since.as_secs() / DAY_S))
    });
    for size in superfluous(&kept.collect()) {
        // One that stays does no harm.
        let _ = std::fs::remove_file(dir.join(format!("{size:020}")));
    }
}

/// Sizes of checkpoints that nobody needs, of those with the day when they were kept.
fn superfluous(kept: &BTreeMap<u64, u64>) -> Vec<u64> {
    let old = kept.len().saturating_sub(NEWEST_KEPT);
    let pairs = kept.iter().zip(kept.iter().skip(1)).take(old);
    pairs.filter(|((_, day), (_, next))| day == next).map(|((size, _), _)| *size).collect()
}

const TRIES: usize = 3;
const ANSWER_BYTES_MAX: usize = 64 << 10;
const NEWEST_KEPT: usize = 100;
const DAY_S: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_one_of_each_day() {
        // Ten a day for thirty days.
        let kept: BTreeMap<u64, u64> = (0..300).map(|size| (size, size / 10)).collect();
        let gone = superfluous(&kept);
        let left: Vec<u64> = kept.keys().copied().filter(|size| !gone.contains(size)).collect();
        assert_eq!(left.len(), 20 + 100);
        assert!(left.contains(&9) && left.contains(&199) && left.contains(&200) && !left.contains(&8));
        assert!(superfluous(&(0..100).map(|size| (size, 0)).collect()).is_empty());
    }
}
