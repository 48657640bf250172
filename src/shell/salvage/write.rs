//! One recording put together, and sealed anew.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::counters::Counters;
use crate::base::time::Stamp;
use crate::recording::journal::Id;
use crate::recording::manifest::{CallFacts, EndedBy, FileFacts, Manifest, RecorderFacts, SCHEMA, State};
use crate::recording::recorder::{Content, hex};
use crate::recording::salvage::{Ended, Ending};
use crate::seal::header::HeaderError;
use crate::seal::identity::Identities;
use crate::seal::open::{OpenError, Opener};
use crate::seal::random::Randomness;
use crate::seal::stream::{PagePool, SealedChunk, SealedFile, Sealer};
use crate::shell::recovery::{PART_SUFFIX, interrupted_name};
use crate::shell::salvage::index::{FilePieces, Index};
use crate::shell::salvage::{Asked, Fault, Report, SalvageError, Salvaged, Sources};

/// Puts a recording together, unless it was before.
pub(super) fn recording(
    asked: &Asked<'_>,
    id: &Id,
    sources: &Sources,
    index: &Index,
    random: &mut dyn Randomness,
    report: &mut Report,
) -> Result<(), SalvageError> {
    let text = uuid::Uuid::from_bytes(*id).to_string();
    let manifest_name = format!("{text}.json.age");
    if asked.to.join(&manifest_name).exists() {
        report.done_before += 1;
        return Ok(());
    }
    let mut contents: Vec<(Content, Option<&str>, Option<&FilePieces>)> =
        index.contents(id).map(|(content, pieces)| (content, None, Some(pieces))).collect();
    for (content, name) in &sources.contents {
        match contents.iter_mut().find(|(known, ..)| known == content) {
            Some((_, source, _)) => *source = Some(name),
            None => contents.push((*content, Some(name), None)),
        }
    }
    let mut parts = Vec::new();
    for (content, source, pieces) in contents {
        let name = format!("{text}.{}.age", content.extension());
        let Some(made) = file(asked, (&name, content), source, pieces, random, report)? else {
            return Ok(());
        };
        parts.extend(made.sealed.is_some().then_some((name, content, made)));
    }
    let (sealed, opened) = match &sources.manifest {
        Some(name) => match sealed_manifest(&asked.dir.join(name), asked.identities) {
            Ok(manifest) => (manifest, true),
            // None of the keys, and so nothing at all of this recording.
            Err(()) => (None, false),
        },
        None => (None, true),
    };
    if !opened && parts.is_empty() && index.facts(id).is_none() {
        report.closed += 1;
        return Ok(());
    }
    let manifest = manifest(&text, sealed, index.facts(id), &parts);
    write_manifest(asked, &manifest_name, &manifest, random)?;
    for name in parts.iter().map(|(name, ..)| name).chain([&manifest_name]) {
        let path = asked.to.join(name);
        // A salvage that was cut off may have named it already.
        std::fs::rename(part_path(&path), &path)
            .map_err(|source| SalvageError::io("naming", &path, source))?;
    }
    File::open(asked.to)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| SalvageError::io("syncing", asked.to, source))?;
    report.salvaged.push(Salvaged {
        id: text,
        state: manifest.state,
        duration_s: manifest.duration_s,
        from_files: parts.iter().map(|(.., made)| made.from_file).sum(),
        from_journal: parts.iter().map(|(.., made)| made.from_journal).sum(),
        whole: manifest.state != State::Interrupted,
    });
    Ok(())
}

/// One file as it was put together.
struct Made {
    /// None where there was nothing whole in it.
    sealed: Option<SealedFile>,
    ended: Ended,
    from_file: u64,
    from_journal: u64,
    /// Whether its end is the one that the recorder gave it.
    whole: bool,
}

/// Seals what there is of a file. Returns nothing where none of the keys opens it.
fn file(
    asked: &Asked<'_>,
    (name, content): (&str, Content),
    source: Option<&str>,
    pieces: Option<&FilePieces>,
    random: &mut dyn Randomness,
    report: &mut Report,
) -> Result<Option<Made>, SalvageError> {
    let none = FilePieces::default();
    let pieces = pieces.unwrap_or(&none);
    let opened = match source.map(|source| (source, open(&asked.dir.join(source), asked.identities))) {
        None => None,
        Some((_, Ok(opener))) => opener,
        Some((source, Err(error))) if error.is_no_match() => {
            report.closed += 1;
            if pieces.pieces.is_empty() {
                return Ok(None);
            }
            report.faults.push(Fault::File { name: source.into(), reason: error.to_string() });
            None
        }
        Some((source, Err(error))) => {
            report.faults.push(Fault::File { name: source.into(), reason: error.to_string() });
            None
        }
    };
    let mut output = Output::new(asked, name, content, random)?;
    let mut ended_itself = false;
    if let Some(mut opener) = opened {
        loop {
            match opener.next_chunk() {
                Ok(Some(chunk)) => {
                    differences(name, output.taken, chunk, pieces, report);
                    output.push(chunk)?;
                }
                Ok(None) => {
                    ended_itself = true;
                    break;
                }
                // As far as it goes: what came before has proved itself.
                Err(_) => break,
            }
        }
    }
    let from_file = output.taken;
    if !ended_itself {
        join(name, &mut output, pieces, report)?;
    }
    let from_journal = output.taken - from_file;
    let whole = ended_itself || pieces.length == Some(output.taken);
    let (sealed, ended) = output.finish()?;
    Ok(Some(Made { sealed, ended, from_file, from_journal, whole }))
}

/// Appends what the journal has beyond what is there.
fn join(
    name: &str,
    output: &mut Output,
    pieces: &FilePieces,
    report: &mut Report,
) -> Result<(), SalvageError> {
    for piece in pieces.pieces.iter() {
        let at = output.taken;
        if piece.end() <= at {
            continue;
        }
        if piece.offset > at {
            report.faults.push(Fault::Hole { name: name.into(), at, next: piece.offset });
            break;
        }
        output.push(&piece.bytes()[(at - piece.offset) as usize..])?;
    }
    Ok(())
}

/// Tells where a chunk of the file, which begins at `at`, is not what the journal was given.
fn differences(name: &str, at: u64, chunk: &[u8], pieces: &FilePieces, report: &mut Report) {
    let end = at + chunk.len() as u64;
    let over = pieces.pieces.iter().filter(|piece| piece.offset < end && piece.end() > at);
    for piece in over {
        let (from, to) = (piece.offset.max(at), piece.end().min(end));
        let ours = &chunk[(from - at) as usize..(to - at) as usize];
        let theirs = &piece.bytes()[(from - piece.offset) as usize..(to - piece.offset) as usize];
        if ours != theirs {
            report.faults.push(Fault::Differs { name: name.into(), offset: from, bytes: to - from });
        }
    }
}

/// Nothing where the file ends before its first chunk begins: it was made, and nothing of it was written.
fn open(path: &Path, identities: &Identities) -> Result<Option<Opener<impl Read + use<>>>, OpenError> {
    let file = match File::open(path) {
        // A recorder has started meanwhile, and given what was left unfinished its name.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(interrupted_name);
            name.map_or(Err(error), |name| File::open(path.with_file_name(name)))
        }
        file => file,
    };
    let file = file.map_err(OpenError::Io)?;
    match Opener::open(BufReader::new(file), identities) {
        Ok(opener) => Ok(Some(opener)),
        Err(OpenError::Cut { .. } | OpenError::NotAge | OpenError::Header(HeaderError::Cut { .. })) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A file that is sealed anew, under a name of its own until it is whole.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    sealer: Sealer,
    pool: PagePool,
    ending: Ending,
    plain: Vec<u8>,
    /// Plain bytes that came in.
    taken: u64,
    /// Plain bytes that went out.
    given: u64,
}

impl Output {
    fn new(
        asked: &Asked<'_>,
        name: &str,
        content: Content,
        random: &mut dyn Randomness,
    ) -> Result<Self, SalvageError> {
        let path = part_path(&asked.to.join(name));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|source| SalvageError::io("creating", &path, source))?;
        let (sealer, header) = Sealer::start(asked.recipients, random)?;
        let mut output = Self {
            file: BufWriter::new(file),
            sealer,
            pool: PagePool::default(),
            ending: Ending::new(content),
            plain: Vec::new(),
            taken: 0,
            given: 0,
            path,
        };
        output.write(&[header])?;
        Ok(output)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), SalvageError> {
        self.taken += bytes.len() as u64;
        self.ending.push(bytes, &mut self.plain);
        self.seal()
    }

    fn seal(&mut self) -> Result<(), SalvageError> {
        self.given += self.plain.len() as u64;
        let mut chunks = Vec::new();
        self.sealer.write(&self.plain, &mut self.pool, &mut |chunk| chunks.push(chunk));
        self.plain.clear();
        self.write(&chunks)
    }

    fn write(&mut self, chunks: &[SealedChunk]) -> Result<(), SalvageError> {
        for chunk in chunks {
            let written = self.file.write_all(chunk.as_bytes());
            written.map_err(|source| SalvageError::io("writing", &self.path, source))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Option<SealedFile>, Ended), SalvageError> {
        let ending = std::mem::replace(&mut self.ending, Ending::new(Content::Wav));
        let ended = ending.finish(&mut self.plain);
        self.seal()?;
        let io = |path: &Path, source| SalvageError::io("writing", path, source);
        if self.given == 0 {
            std::fs::remove_file(&self.path).map_err(|source| io(&self.path, source))?;
            return Ok((None, ended));
        }
        let Self { path, mut file, sealer, mut pool, .. } = self;
        let mut chunks = Vec::new();
        let sealed = sealer.finish(&mut pool, &mut |chunk| chunks.push(chunk));
        for chunk in chunks {
            file.write_all(chunk.as_bytes()).map_err(|source| io(&path, source))?;
        }
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(|source| io(&path, source))?;
        Ok((Some(sealed), ended))
    }
}

/// The manifest that the recorder sealed, where all of it is there.
fn sealed_manifest(path: &Path, identities: &Identities) -> Result<Option<Manifest>, ()> {
    match open(path, identities) {
        Ok(Some(mut opener)) => {
            let json = opener.read_whole().ok();
            Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
        }
        Err(error) if error.is_no_match() => Err(()),
        Ok(None) | Err(_) => Ok(None),
    }
}

fn manifest(
    id: &str,
    sealed: Option<Manifest>,
    facts: Option<&Manifest>,
    parts: &[(String, Content, Made)],
) -> Manifest {
    let complete = sealed.is_some();
    let mut manifest = sealed.or_else(|| facts.cloned()).unwrap_or_else(|| unknown(id));
    let all_whole = manifest.files.len() == parts.len() && parts.iter().all(|(.., made)| made.whole);
    // The last facts of a call that ended say how it ended, and then nothing is missing.
    let ended = manifest.call.ended_by.is_some_and(|by| by != EndedBy::CaptureEnd);
    if !(all_whole && (complete || ended)) {
        manifest.state = State::Interrupted;
        manifest.notes.push(
            "the recorder stopped before the call did, or before its files were kept: this was put together from \
             what it had written; the last second, or what a slow disk had not taken yet, is missing"
                .into(),
        );
    } else {
        manifest
            .notes
            .push("the recorder stopped before it had named this recording; nothing is missing".into());
    }
    manifest.files.clear();
    for (name, content, made) in parts {
        let Made { sealed, ended, from_file, from_journal, whole } = made;
        let Some(sealed) = sealed else { continue };
        let mut note = format!(
            "{}: {from_file} bytes from the file, {from_journal} from the journal",
            content.extension()
        );
        if *whole {
            note.push_str(", to its end");
        }
        if ended.dropped > 0 {
            note.push_str(&format!("; the last {} made up nothing whole and are left out", ended.dropped));
        }
        manifest.notes.push(note);
        manifest.files.push(FileFacts {
            name: name.clone(),
            kind: if *content == Content::Packets { "packets" } else { "audio" }.into(),
            bytes: sealed.bytes,
            sha256: hex(&sealed.sha256),
            format: content.extension().into(),
            channels: ended.channels,
            sample_rate_hz: ended.rate_hz,
        });
        // Its counters are of when the journal was told last how the call is.
        let more = ended.packets.saturating_sub(manifest.counters.recorded);
        manifest.counters.recorded += more;
        manifest.counters.captured += more;
        manifest.end = manifest.end.max(ended.last.unwrap_or(manifest.end));
        if ended.rate_hz > 0 && manifest.state == State::Interrupted {
            let nanos = u128::from(ended.samples) * 1_000_000_000 / u128::from(ended.rate_hz);
            let length = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            manifest.end = manifest.end.max(manifest.start.after(length));
        }
    }
    let nanos = manifest.end.since(manifest.start).as_nanos() as f64;
    manifest.duration_s = (nanos / 1e6).round() / 1e3;
    manifest
}

/// A manifest of a recording of which only the id is known.
fn unknown(id: &str) -> Manifest {
    let at = uuid::Uuid::parse_str(id).ok().and_then(|id| id.get_timestamp());
    let start = at.map_or(Stamp::ZERO, |at| {
        let (seconds, nanos) = at.to_unix();
        Stamp::from_unix_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(nanos)))
    });
    Manifest {
        schema: SCHEMA,
        id: id.into(),
        part: None,
        state: State::Interrupted,
        start,
        end: start,
        answered: None,
        duration_s: 0.0,
        trunk: String::new(),
        rule: String::new(),
        retention_class: String::new(),
        call: CallFacts::default(),
        streams: Vec::new(),
        gaps: Vec::new(),
        masked: Vec::new(),
        files: Vec::new(),
        counters: Counters::default(),
        ladder: Vec::new(),
        notes: vec!["nothing is known of the call: the journal does not have it".into()],
        recorder: RecorderFacts { id: String::new(), version: String::new() },
    }
}

fn write_manifest(
    asked: &Asked<'_>,
    name: &str,
    manifest: &Manifest,
    random: &mut dyn Randomness,
) -> Result<(), SalvageError> {
    let path = part_path(&asked.to.join(name));
    let io = |source| SalvageError::io("writing", &path, source);
    let json = serde_json::to_vec(manifest).map_err(|error| io(error.into()))?;
    let (mut sealer, header) = Sealer::start(asked.recipients, random)?;
    let mut bytes = header.into_vec();
    let mut pool = PagePool::default();
    let mut take = |chunk: SealedChunk| bytes.extend(chunk.into_vec());
    sealer.write(&json, &mut pool, &mut take);
    sealer.finish(&mut pool, &mut take);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(io)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)
}

fn part_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PART_SUFFIX);
    name.into()
}
