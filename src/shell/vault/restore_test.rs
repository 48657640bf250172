//! Restoring, for practice: a sample from every place into an empty folder, verified there, and where the vault is
//! unlocked opened and played to its end. What was opened is counted and forgotten: no plain byte is written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::archive::access::{Action, Actor, Request};
use crate::archive::copies::{ObjectFacts, Part, objects};
use crate::archive::entry::{Outcome, Resource};
use crate::archive::record::{ArchivedFile, Digest, Record, RecordingId};
use crate::recording::manifest::{Manifest, State};
use crate::recording::playback::{self, PlaybackError, Played};
use crate::seal::identity::Identities;
use crate::seal::open::{Opener, Remains};
use crate::seal::random::Randomness;
use crate::shell::clock;
use crate::shell::vault::catalog::rebuild::MANIFEST_BYTES_MAX;
use crate::shell::vault::copies::{Copier, CopyFault};
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::place::{self, Content, Found, Place};

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct RestoreReport {
    /// What came of each place.
    pub places: Vec<PlaceReport>,
    /// Whether files were opened: not without keys.
    pub opened: bool,
}

/// What came of a place.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct PlaceReport {
    /// The place.
    pub place: String,
    /// Recordings that were taken for the sample.
    pub sample: Vec<RecordingId>,
    /// Files that were restored and verified.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, files that were opened and are what they should be.
    pub opened: u64,
    /// Of these, sound that was decoded to its end.
    pub decoded: u64,
    /// Seconds of sound that was decoded.
    pub decoded_s: u64,
    /// What is wrong.
    pub failures: Vec<String>,
}

impl RestoreReport {
    /// Whether everything that was tried went well, and something was tried.
    pub fn is_good(&self) -> bool {
        let tried: usize = self.places.iter().map(|place| place.sample.len()).sum();
        tried > 0 && self.places.iter().all(|place| place.failures.is_empty())
    }
}

/// Restores `sample` recordings from every place into `target`, which must be empty or not be there yet. The log
/// has the report.
pub async fn restore_test(
    copier: &Copier<'_>,
    keys: Option<&KeyRing>,
    sample: u32,
    target: &Path,
    random: &mut (dyn Randomness + Send),
) -> Result<RestoreReport, CopyFault> {
    let scratch = |source| CopyFault::Scratch { path: target.into(), source };
    fs::create_dir_all(target).map_err(scratch)?;
    if fs::read_dir(target).map_err(scratch)?.next().is_some() {
        return Err(scratch(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "name an empty folder")));
    }
    let actor = Actor::vault();
    let (action, resource, now) = (Action::RestoreTest, Resource::Vault, clock::now());
    let grant = copier.log.ask(&Request { actor: &actor, action, resource, reason: None, now })?;
    let mut report = RestoreReport { opened: keys.is_some(), ..RestoreReport::default() };
    let range = copier.catalog.id_range().await?;
    for place in &copier.places {
        let mut one = PlaceReport { place: place.name().into(), ..PlaceReport::default() };
        if let Some(range) = range {
            one.sample = take_sample(copier, place.name(), range, sample, random).await?;
        }
        let folder = target.join(place.name());
        for record in copier.catalog.get_all(&one.sample).await? {
            restore_one(&**place, &record, keys, &folder, &mut one).await;
        }
        report.places.push(one);
    }
    for (name, error) in &copier.absent {
        let failures = vec![error.to_string()];
        report.places.push(PlaceReport { place: name.clone(), failures, ..PlaceReport::default() });
    }
    copier.log.outcome(&grant, Outcome::Done(serde_json::json!({ "restore-test": &report })))?;
    Ok(report)
}

/// Recordings near random points between the first and the last.
async fn take_sample(
    copier: &Copier<'_>,
    place: &str,
    (first, last): (RecordingId, RecordingId),
    sample: u32,
    random: &mut (dyn Randomness + Send),
) -> Result<Vec<RecordingId>, CopyFault> {
    let number = |id: RecordingId| u128::from_be_bytes(*id.as_bytes());
    let mut taken = Vec::new();
    for _ in 0..sample {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        let span = number(last).saturating_sub(number(first)).saturating_add(1);
        let point = number(first) + u128::from_be_bytes(bytes) % span;
        let near = RecordingId::from_bytes(point.to_be_bytes());
        // One that was not taken yet: there may be fewer than were asked for.
        let found = copier.catalog.copies_near(place, &near, sample).await?;
        match found.into_iter().find(|id| !taken.contains(id)) {
            Some(id) => taken.push(id),
            None => break,
        }
    }
    Ok(taken)
}

async fn restore_one(
    place: &dyn Place,
    record: &Record,
    keys: Option<&KeyRing>,
    folder: &Path,
    report: &mut PlaceReport,
) {
    let identities = match keys.map(|keys| identities(keys, record)).transpose() {
        Ok(identities) => identities,
        Err(why) => return report.failures.push(format!("{}: {why}", record.id)),
    };
    let all = objects(record);
    for slip in all.iter().filter(|object| object.part == Part::Slip) {
        let name = slip.name.rsplit('/').next().unwrap_or(&slip.name);
        match restore_file(place, name, &[slip], folder).await {
            Ok(_) => {
                report.files += 1;
                report.bytes += slip.bytes;
            }
            Err(why) => report.failures.push(format!("{name}: {why}")),
        }
    }
    let (mut manifest, mut played) = (None, Vec::new());
    for file in &record.files {
        let names = [
            file.header_object(&record.id, record.receipt.start),
            file.body_object(&record.id, record.receipt.start),
        ];
        let parts: Vec<&ObjectFacts> =
            names.iter().filter_map(|name| all.iter().find(|object| object.name == *name)).collect();
        let restored = restore_file(place, &file.name, &parts, folder).await;
        let path = match restored {
            Ok(path) => path,
            Err(why) => {
                report.failures.push(format!("{}: {why}", file.name));
                continue;
            }
        };
        report.files += 1;
        report.bytes += file.header_bytes + file.body_bytes;
        // What a dead recorder left before it had a header does not open, and is whole as it is.
        let Some(identities) = identities.as_ref().filter(|_| file.header_bytes > 0) else { continue };
        match open(&path, file, record, identities, &mut manifest) {
            Ok(found) => {
                report.opened += 1;
                played.extend(found.map(|played| (file.name.as_str(), played)));
            }
            Err(why) => report.failures.push(format!("{}: {why}", file.name)),
        }
    }
    let sound = played.iter().filter(|(_, played)| played.channels > 0);
    report.decoded += sound.clone().count() as u64;
    report.decoded_s += sound.map(|(_, played)| played.seconds() as u64).sum::<u64>();
    if let Some(manifest) = manifest {
        report.failures.extend(faults_of(&manifest, record, &played));
    }
}

/// What a manifest says otherwise than the sound that was played.
fn faults_of(manifest: &Manifest, record: &Record, played: &[(&str, Played)]) -> Vec<String> {
    let mut faults = Vec::new();
    if manifest.id != record.receipt.id || manifest.start != record.receipt.start {
        faults.push(format!("{}: its manifest is of another recording", record.id));
    }
    for file in manifest.files.iter().filter(|file| file.kind == "audio") {
        // What did not play is told.
        let Some((name, played)) = played.iter().find(|(name, _)| *name == file.name) else { continue };
        if u32::from(file.channels) != u32::from(played.channels) || file.sample_rate_hz != played.rate_hz {
            faults.push(format!(
                "{name}: {} channels at {} Hz, and its manifest says {} at {}",
                played.channels, played.rate_hz, file.channels, file.sample_rate_hz
            ));
        }
        let (seconds, said) = (played.seconds(), manifest.duration_s);
        if manifest.state == State::Complete && (seconds - said).abs() > LENGTH_S {
            faults.push(format!("{name}: {seconds:.3} s of sound, and its manifest says {said:.3} s"));
        }
    }
    faults
}

fn identities(keys: &KeyRing, record: &Record) -> Result<Identities, String> {
    let epoch = record.epoch().ok_or("it has no class")?;
    // While the epoch is renewed, some places have its header under one envelope and some under another.
    let opens = keys.opens(&epoch, &record.id).map_err(|error| error.to_string())?;
    Ok(opens.ok_or("its envelope is gone, and nobody has written down that it was destroyed")?)
}

/// Header and payload, one after the other: a plain age file again. Read back from the disk before it counts.
async fn restore_file(
    place: &dyn Place,
    name: &str,
    parts: &[&ObjectFacts],
    folder: &Path,
) -> Result<PathBuf, String> {
    let said = |error: io::Error| format!("writing into `{}`: {error}", folder.display());
    // A recorder gave the name: it names nothing outside.
    let path = folder.join(name.replace('/', "_").trim_start_matches('.'));
    fs::create_dir_all(folder).map_err(said)?;
    let mut restored = File::create_new(&path).map_err(said)?;
    let scratch = folder.join(".restoring");
    for object in parts {
        let fetched = place::fetch(place, &object.name, object.bytes, object.sha256, &scratch).await;
        let content = match fetched.map_err(|error| error.to_string())? {
            Ok(content) => content,
            Err(Found::Wrong(why)) => return Err(why),
            Err(_) => return Err("it is not there".into()),
        };
        match content {
            Content::Bytes(bytes) => restored.write_all(&bytes).map_err(said)?,
            Content::File { path, .. } => {
                io::copy(&mut File::open(path).map_err(said)?, &mut restored).map(drop).map_err(said)?;
            }
        }
    }
    let _ = fs::remove_file(&scratch);
    restored.sync_all().map_err(said)?;
    let mut whole = File::open(&path).map_err(said)?;
    for object in parts {
        if digest(&mut whole, object.bytes).map_err(said)? != object.sha256 {
            return Err("what was restored reads otherwise".into());
        }
    }
    Ok(path)
}

fn digest(file: &mut File, bytes: u64) -> io::Result<Digest> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut rest = file.take(bytes);
    let mut buffer = vec![0; 65_536];
    loop {
        match rest.read(&mut buffer)? {
            0 => break,
            read => context.update(&buffer[..read]),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(Digest(digest))
}

/// Opens all of it, and plays what is sound. A manifest is read.
fn open(
    path: &Path,
    file: &ArchivedFile,
    record: &Record,
    identities: &Identities,
    manifest: &mut Option<Manifest>,
) -> Result<Option<Played>, String> {
    let sealed = File::open(path).map_err(|error| error.to_string())?;
    let opened = Opener::open(io::BufReader::new(sealed), identities);
    let mut plain = Remains::of(opened, record.receipt.is_recovered()).map_err(|error| error.to_string())?;
    let result = match playback::content_of(&file.name) {
        Some(content) => playback::play(&mut plain, content).map(Some),
        None if file.name.ends_with(".json.age") => {
            if file.body_bytes > MANIFEST_BYTES_MAX {
                return Err("it is too long for a manifest".into());
            }
            let mut bytes = Zeroizing::new(Vec::with_capacity(file.body_bytes as usize));
            plain.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            if !plain.is_cut() {
                *manifest = Some(serde_json::from_slice(&bytes).map_err(|error| error.to_string())?);
            }
            return Ok(None);
        }
        None => io::copy(&mut plain, &mut io::sink()).map(|_| None).map_err(PlaybackError::from),
    };
    match result {
        // As it was found after its recorder had died: what there is of it has been played.
        _ if plain.is_cut() => Ok(None),
        Ok(played) => Ok(played),
        Err(error) => Err(error.to_string()),
    }
}

/// By how much sound and call may differ: what a recorder promises of its gaps.
const LENGTH_S: f64 = 0.1;
