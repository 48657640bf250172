//! The canary call: a synthetic call through the whole path, every minute. If it does not come out sealed
//! and as it should, neither do others.
//!
//! ```text
//!  generator ─blocks─► dispatch ─► shard ─► store ─► commit ─manifest─► check ─► Status
//!      real time, documentation addresses            receipt written    files, hashes, age header
//! ```
//!
//! Its frames go into the queue of dispatch like those of an interface. Rules know it by its Call-ID, which
//! begins with a [`Token`] that only this process knows and that never was on a wire: no caller can have a
//! call taken for a canary's, and so left out of what is kept. Its recordings have names in [`FOLDER`], in
//! the same log of receipts; [`prune`] removes all but the newest there, and nothing anywhere else.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use ring::digest;

use crate::base::frame::{FrameBlock, FrameMeta};
use crate::base::time::Stamp;
use crate::fixture::generator::Generator;
use crate::fixture::recipe::{CallRecipe, Recipe};
use crate::recording::manifest::{FileFacts, Manifest, State};
use crate::seal::header::{Header, HeaderError};
use crate::seal::random::Randomness;
use crate::shell::clock;
use crate::shell::disk::{COPY_SUFFIX, Disk};
use crate::shell::recovery::PART_SUFFIX;
use crate::shell::status::Status;

/// What Call-IDs of this process's canary calls begin with. Has no `Debug`: it is a secret as long as the
/// process lives.
pub struct Token(String);

impl Token {
    /// Draws one.
    pub fn new(random: &mut dyn Randomness) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        let mut text = String::from("canary-");
        for byte in bytes {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('-');
        Self(text)
    }

    /// What Call-IDs begin with.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// Whether a call is a canary's.
    pub fn owns(&self, call_id: &str) -> bool {
        call_id.starts_with(&self.0)
    }
}

/// Why a canary call is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanaryFault {
    /// A sealed file has another hash than its receipt.
    #[error("{name} is not as it was sealed")]
    Changed {
        /// The file.
        name: String,
    },
    /// Nothing was stored.
    #[error("no file was stored")]
    Empty,
    /// A file cannot be read.
    #[error("reading {name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// No recording came out in time.
    #[error("no recording came out within {} s", patience.as_secs())]
    Late {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The books of the call are not those of its frames.
    #[error("{recorded} of its {sent} packets were recorded")]
    Lost {
        /// Frames that were sent.
        sent: u64,
        /// Frames that are in the recording.
        recorded: u64,
    },
    /// A file is not sealed.
    #[error("{name} has no age header: {source}")]
    NotSealed {
        /// The file.
        name: String,
        /// Why.
        source: HeaderError,
    },
    /// A file is too short for the call's sound.
    #[error("{name} has {bytes} bytes, fewer than {least} for {seconds:.1} s of {format}")]
    Short {
        /// The file.
        name: String,
        /// Bytes it has.
        bytes: u64,
        /// Bytes it should have.
        least: u64,
        /// Length of the recording.
        seconds: f64,
        /// Its format.
        format: String,
    },
    /// The recording did not end as the call did.
    #[error("its state is {}", state.as_str())]
    State {
        /// What it is.
        state: State,
    },
    /// Streams are missing, or have packets missing.
    #[error("its streams have {found:?} packets, and {sent:?} were sent")]
    Streams {
        /// Packets of each, in order of number.
        found: Vec<u64>,
        /// The same, as sent.
        sent: Vec<u64>,
    },
}

/// One canary call.
pub struct CanaryCall {
    /// None once all frames are out.
    generator: Option<Generator>,
    /// The next frame.
    ahead: Option<(Stamp, FrameBlock)>,
    frames: u64,
    bytes: u64,
    /// Known when all frames are out.
    call_id: String,
    packets: Vec<u64>,
}

impl CanaryCall {
    /// Plans a call that begins at `start`. `seed` decides its tags, ports and voices.
    pub fn new(start: Stamp, token: &Token, seed: u64) -> Self {
        let kind = CallRecipe {
            ring: RING,
            talk: TALK,
            call_id_prefix: token.0.clone(),
            voice_loop_secs: 1,
            ..CallRecipe::default()
        };
        let recipe = Recipe { seed, start, kinds: vec![kind], ..Recipe::default() };
        let generator = Generator::new(&recipe).expect("a constant recipe, which the tests make");
        let mut call = Self {
            generator: Some(generator),
            ahead: None,
            frames: 0,
            bytes: 0,
            call_id: String::new(),
            packets: Vec::new(),
        };
        call.look_ahead();
        call
    }

    /// Returns the frames up to `now`, or nothing when there are no more to come.
    pub fn frames(&mut self, now: Stamp) -> Option<FrameBlock> {
        self.ahead.as_ref()?;
        let mut block = FrameBlock::default();
        while let Some((_, frame)) = self.ahead.take_if(|(stamp, _)| *stamp <= now) {
            for meta in &frame.frames {
                block.push(*meta, frame.data(meta));
            }
            self.look_ahead();
        }
        Some(block)
    }

    /// Whether a recording is of this call.
    pub fn is_of(&self, manifest: &Manifest) -> bool {
        manifest.call.call_ids.contains(&self.call_id)
    }

    /// Checks the recording, whose receipt is written and whose files are in `dir`.
    pub fn check(&self, manifest: &Manifest, dir: &Path) -> Result<(), CanaryFault> {
        if manifest.state != State::Complete {
            return Err(CanaryFault::State { state: manifest.state });
        }
        let mut found: Vec<_> = manifest.streams.iter().map(|stream| stream.packets).collect();
        found.sort_unstable();
        if found != self.packets {
            return Err(CanaryFault::Streams { found, sent: self.packets.clone() });
        }
        let recorded = manifest.counters.recorded;
        if recorded != self.frames || !manifest.counters.balanced() {
            return Err(CanaryFault::Lost { sent: self.frames, recorded });
        }
        if manifest.files.is_empty() {
            return Err(CanaryFault::Empty);
        }
        for file in &manifest.files {
            let (bytes, sha256) = look_into(dir, &file.name)?;
            if sha256 != file.sha256 || bytes != file.bytes {
                return Err(CanaryFault::Changed { name: file.name.clone() });
            }
            self.long_enough(file, manifest.duration_s)?;
        }
        // What is in it is sealed, its hash is in its receipt alone: that it is there and sealed is seen.
        let folder =
            manifest.files[0].name.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"));
        look_into(dir, &format!("{folder}{}.json.age", manifest.id)).map(drop)
    }

    fn long_enough(&self, file: &FileFacts, seconds: f64) -> Result<(), CanaryFault> {
        let least = match file.format.as_str() {
            "wav" => (seconds * f64::from(file.sample_rate_hz) * f64::from(file.channels) * 2.0 * 0.9) as u64,
            "opus" => (seconds * OPUS_BYTES_PER_S_MIN) as u64,
            _ => self.bytes,
        };
        if file.bytes >= least {
            return Ok(());
        }
        let (name, format) = (file.name.clone(), file.format.clone());
        Err(CanaryFault::Short { name, bytes: file.bytes, least, seconds, format })
    }

    fn look_ahead(&mut self) {
        let Some(generator) = &mut self.generator else { return };
        if let Some(frame) = generator.next_frame() {
            let mut block = FrameBlock::default();
            let meta = FrameMeta {
                stamp: frame.stamp,
                number: 0,
                offset: 0,
                len: 0,
                wire_len: frame.bytes.len() as u32,
                link: frame.link,
                interface: INTERFACE,
            };
            block.push(meta, frame.bytes);
            self.frames += 1;
            self.bytes += frame.bytes.len() as u64;
            self.ahead = Some((frame.stamp, block));
            return;
        }
        let truth = self.generator.take().map(Generator::into_truth);
        if let Some(call) = truth.and_then(|mut truth| truth.calls.pop()) {
            self.call_id = call.call_id;
            self.packets = call.streams.iter().map(|stream| stream.packets).collect();
            self.packets.sort_unstable();
        }
    }
}

/// Length and hash of a file that begins with an age header.
fn look_into(dir: &Path, name: &str) -> Result<(u64, String), CanaryFault> {
    let io = |source| CanaryFault::Io { name: name.into(), source };
    let file = File::open(dir.join(name)).map_err(io)?;
    let mut reader = BufReader::new(file);
    Header::read(&mut reader).map_err(|source| CanaryFault::NotSealed { name: name.into(), source })?;
    reader.rewind().map_err(io)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut bytes = 0;
    loop {
        let chunk = io::BufRead::fill_buf(&mut reader).map_err(io)?;
        if chunk.is_empty() {
            break;
        }
        context.update(chunk);
        let length = chunk.len();
        bytes += length as u64;
        io::BufRead::consume(&mut reader, length);
    }
    let digest = context.finish();
    let mut sha256 = String::with_capacity(64);
    for byte in digest.as_ref() {
        // Writing to a String does not fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok((bytes, sha256))
}

/// Whether a file that a receipt names is of a canary call. The receipt is signed: nobody can make the
/// file of another call one that may be gone.
pub(super) fn is_name(name: &str) -> bool {
    name.strip_prefix(FOLDER).is_some_and(|rest| rest.starts_with('/'))
}

/// Removes all canary recordings in `dir` but the newest `keep`. Looks only into [`FOLDER`], and only
/// touches regular files named like recordings.
pub fn prune(disk: &mut dyn Disk, dir: &Path, keep: usize) -> io::Result<()> {
    let folder = dir.join(FOLDER);
    let (mut ids, mut files) = (BTreeSet::new(), Vec::new());
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((id, rest)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let is_ours = uuid::Uuid::try_parse(id).is_ok() && rest.ends_with(".age");
        if is_ours && entry.file_type()?.is_file() {
            ids.insert(id.to_owned());
            files.push((id.to_owned(), entry.path()));
        }
    }
    // UUIDv7: in the order of time.
    let kept: BTreeSet<_> = ids.into_iter().rev().take(keep).collect();
    files.iter().filter(|(id, _)| !kept.contains(id)).try_for_each(|(_, path)| disk.remove(path))
}

/// Removes what a recorder that died has left of a canary call: nobody misses it, and nobody salvages it. For who has
/// the folder alone.
pub fn sweep(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.as_os_str().as_encoded_bytes();
        if [PART_SUFFIX, COPY_SUFFIX].iter().any(|end| name.ends_with(end.as_bytes())) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one call to the next.
    pub every: Duration,
    /// How long frames gather.
    pub step: Duration,
    /// How long a recording is waited for after the call's last frame.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            step: Duration::from_millis(100),
            patience: Duration::from_secs(40),
        }
    }
}

/// What a canary needs of a recorder.
pub struct Driver {
    /// Also with the rules.
    pub token: Arc<Token>,
    /// Where recordings go.
    pub dir: PathBuf,
    /// Where faults are told.
    pub status: Arc<Status>,
    /// Puts frames into the queue of dispatch. Returns false when the recorder ends. Called with no frames
    /// too, so that the others need not wait for them: all up to the stamp have been handed on.
    pub inject: Box<dyn FnMut(FrameBlock, Stamp) -> bool + Send>,
    /// Manifests of recordings whose trunk is [`TRUNK`], once their receipts are written. Bounded.
    pub done: Receiver<Manifest>,
    /// Removes old canary recordings.
    pub disk: Box<dyn Disk>,
    /// Seeds of calls.
    pub random: Box<dyn Randomness + Send>,
    /// How often.
    pub pace: Pace,
}

impl Driver {
    /// Works until `stop` is set or the recorder ends.
    pub fn run(mut self, stop: &AtomicBool) {
        self.status.canary_enabled();
        loop {
            let begun = clock::monotonic();
            match self.round(stop) {
                None => return,
                Some(Ok(())) => self.status.canary_passed(clock::now()),
                Some(Err(fault)) => {
                    tracing::error!(%fault, "the canary call did not come out as it should");
                    self.status.canary_failed(&fault);
                }
            }
            if let Err(error) = prune(self.disk.as_mut(), &self.dir, KEPT) {
                tracing::warn!(%error, "old canary recordings stay");
            }
            while begun.elapsed() < self.pace.every {
                if !self.pass_time(stop) {
                    return;
                }
            }
        }
    }

    /// One call. None where the recorder ends.
    fn round(&mut self, stop: &AtomicBool) -> Option<Result<(), CanaryFault>> {
        let mut seed = [0; 8];
        self.random.fill(&mut seed);
        let (start, begun) = (clock::now(), clock::monotonic());
        let mut call = CanaryCall::new(start, &self.token, u64::from_le_bytes(seed));
        loop {
            // A clock that is set must not hold the call up.
            let now = start.after(begun.elapsed());
            let Some(block) = call.frames(now) else { break };
            if !(self.inject)(block, now) || !self.pass_time(stop) {
                return None;
            }
        }
        let all_sent = clock::monotonic();
        while all_sent.elapsed() < self.pace.patience {
            match self.done.recv_timeout(self.pace.step) {
                Ok(manifest) if call.is_of(&manifest) => return Some(call.check(&manifest, &self.dir)),
                // One that was late.
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
            if stop.load(Ordering::Relaxed) || !(self.inject)(FrameBlock::default(), clock::now()) {
                return None;
            }
        }
        Some(Err(CanaryFault::Late { patience: self.pace.patience }))
    }

    /// Waits a step. Returns false where the recorder ends.
    fn pass_time(&mut self, stop: &AtomicBool) -> bool {
        std::thread::sleep(self.pace.step);
        !stop.load(Ordering::Relaxed) && (self.inject)(FrameBlock::default(), clock::now())
    }
}

/// The trunk of canary calls. No trunk of a configuration may have the name.
pub const TRUNK: &str = "canary";
/// The folder of canary recordings: their files' names begin with it and `/`.
pub const FOLDER: &str = "canary";
/// The same as names of files begin with it.
pub const FOLDER_PREFIX: &str = "canary/";
/// Recordings that stay.
pub const KEPT: usize = 10;
/// The interface that canary frames are from: no other has the number.
pub const INTERFACE: u16 = u16::MAX;
const RING: Duration = Duration::from_millis(400);
const TALK: Duration = Duration::from_millis(2_400);
/// Voices at the lowest rate that is used; silence alone would be less.
const OPUS_BYTES_PER_S_MIN: f64 = 500.0;
