//! Many calls, recorders that are killed among them, and then every byte of the disk they wrote to: nothing plain is
//! there, not in what was removed either.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};

use sejf::base::format::Format;
use sejf::codec::decoder;
use sejf::fixture::recipe::{CallRecipe, Recipe};
use sejf::fixture::truth::Truth;

use crate::needles::{Disguise, Found, Needles};
use crate::secrets::{files_below, rtp_payload};
use crate::support::{Bench, assert_success, sejf, text};
use crate::wire::{Frames, Live, all_in, cable, inside, own_shared_memory};

#[test]
fn nothing_plain_is_on_the_disk_image_after_many_calls_and_crashes() {
    inside("disk_image::nothing_plain_is_on_the_disk_image_after_many_calls_and_crashes", || {
        own_shared_memory();
        cable();
        let long = std::env::var_os("SEJF_LONG_TESTS").is_some();
        let (rounds, calls) = if long { (24, 42) } else { (3, 14) };
        let bench = Bench::new();
        let mut disk = Image::mount(&bench);
        let root = disk.folder.join("live");
        fs::create_dir_all(&root).unwrap();
        // Manifests for testers, on standard output, have all there is to know: they go elsewhere.
        std::os::unix::fs::symlink(bench.path("told"), root.join("told")).unwrap();
        let cores = allow_core_files(&root);

        let mut needles = Needles::new();
        for round in 0..rounds {
            let (frames, truth) = calls_of(round, calls);
            let samples = learn(&mut needles, &frames, &truth);
            // For the counter-proof: what a decoder makes of one voice.
            fs::write(bench.path("plain.samples"), samples).unwrap();
            crash(&bench, &root, round, &frames);
        }
        // What was left is looked after, and of each form there is something that is whole.
        for round in rounds..rounds + FORMATS.len() as u64 {
            let (frames, truth) = calls_of(round, 6);
            learn(&mut needles, &frames, &truth);
            let live = start(&bench, &root, round);
            live.until("looked after what was left", || !any_ends(&live.spool(), ".part"));
            frames.split(Duration::from_secs(2)).0.send_all();
            live.stop();
        }
        let spool = root.join("spool");
        assert_success(&sejf(&["verify", text(&spool), "-i", &bench.key()]));
        let mut plain = open_all(&bench, &spool);
        assert!(plain.len() as u64 >= rounds, "{} recordings were opened", plain.len());
        for path in &plain {
            learn_file(&mut needles, path);
        }

        assert_no_file_tells(&needles, &root, rounds);
        disk.unmount();
        assert_eq!(disk.found(&needles), Found::new());

        plain.push(bench.path("plain.samples"));
        assert_the_scan_sees(&mut disk, &needles, &plain);
        println!(
            "measured: {} calls, {rounds} crashes, core files: {cores}, {} recordings opened; {} needles in {}: 0 hits",
            rounds * calls,
            plain.len() - 1,
            needles.count(),
            disk.what(),
        );
    });
}

/// Neither what recorders have left nor shared memory.
fn assert_no_file_tells(needles: &Needles, root: &Path, least: u64) {
    let left = files_below(root);
    assert!(left.len() as u64 > least, "{left:?}");
    let is_core =
        |path: &&PathBuf| path.file_name().is_some_and(|name| text(name.as_ref()).starts_with("core"));
    let dumped: Vec<&PathBuf> = left.iter().filter(is_core).collect();
    assert!(dumped.is_empty(), "a recorder that died left its memory: {dumped:?}");
    for path in left.iter().chain(&files_below(Path::new("/dev/shm"))).filter(|path| path.is_file()) {
        if !path.ends_with("told") {
            assert_eq!(needles.found_in(path), Found::new(), "{}", path.display());
        }
    }
}

/// Or it is blind: the same, not sealed, written to the same disk and removed again, is found.
fn assert_the_scan_sees(disk: &mut Image, needles: &Needles, plain: &[PathBuf]) {
    disk.write_and_remove(plain);
    let seen = disk.found(needles);
    for name in ["payload", "samples", "number", "SIP", "Opus", "WAV", "Call-ID"] {
        for disguise in [Disguise::Plain, Disguise::Base64, Disguise::Hex] {
            assert!(
                seen.contains(&(name, disguise)),
                "the scan does not see {name} in {disguise:?}: {seen:?}"
            );
        }
    }
}

/// Calls in µ-law and A-law, some of which are over before the crash.
fn calls_of(round: u64, calls: u64) -> (Frames, Truth) {
    let kinds = [("PCMU", 700), ("PCMA", 700), ("PCMU", 20_000)].map(|(codec, talk_ms)| CallRecipe {
        format: Format::new(codec, 8_000),
        ring: Duration::from_millis(200),
        talk: Duration::from_millis(talk_ms),
        voice_loop_secs: 1,
        ..CallRecipe::default()
    });
    let spacing = Duration::from_millis(70);
    let recipe = Recipe { seed: 100 + round, calls, spacing, kinds: kinds.into(), ..Recipe::default() };
    let (mut frames, truth) = Frames::of(&recipe);
    frames.0.retain(|(at, _)| *at < SENT);
    (frames, truth)
}

/// Records calls until the recorder is killed, in another state each time.
fn crash(bench: &Bench, root: &Path, round: u64, frames: &Frames) {
    let mut live = start(bench, root, round);
    let (sent, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let before = names(&live.spool());
    std::thread::scope(|scope| {
        scope.spawn(|| frames.send(&sent, || !over.load(Ordering::Acquire)));
        let all = frames.0.len() as u64;
        // Each form in each state, in turn.
        match (round + round / 3) % 3 {
            0 => live.until("sent most", || sent.load(Ordering::Acquire) >= all * 2 / 3),
            1 => live.until("named a file", || {
                names(&live.spool()).difference(&before).any(|name| name.ends_with(".json.age"))
            }),
            _ => live.until("began a file", || {
                sent.load(Ordering::Acquire) >= all / 4 && any_ends(&live.spool(), ".part")
            }),
        }
        // A fault of its own would leave a core file; `kill -9` does not.
        live.signal(if round.is_multiple_of(2) { Signal::KILL } else { Signal::ABORT });
        over.store(true, Ordering::Release);
    });
    let status = live.child.wait().expect("it is gone");
    assert!(!status.success(), "it was killed: {status}");
}

fn start(bench: &Bench, root: &Path, round: u64) -> Live {
    let format = FORMATS[round as usize % FORMATS.len()];
    // A disk this small is all reserve otherwise.
    let rules = format!("[limits]\ndisk_reserve = \"16MiB\"\n{}", all_in(format));
    Live::start(bench, text(root), &rules)
}

/// Learns what is on the wire: payload, the sound in it, who speaks to whom, and SIP. Returns the sound of some.
fn learn(needles: &mut Needles, frames: &Frames, truth: &Truth) -> Vec<u8> {
    let mut decoders = ["PCMU", "PCMA"].map(|codec| decoder(&Format::new(codec, 8_000)).expect("built in"));
    let mut some = Vec::new();
    // One packet in three: a voice is more than one packet.
    for (_, frame) in frames.0.iter().step_by(3) {
        let Some((kind, coded)) = rtp_payload(frame) else { continue };
        let Some(decoder) = decoders.get_mut(usize::from(kind / 8)) else { continue };
        needles.pieces("payload", coded, 80);
        let mut samples = Vec::new();
        decoder.decode(coded, &mut samples).expect("G.711 is any bytes");
        let samples: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        needles.pieces("samples", &samples, 160);
        if some.len() < 64_000 {
            some.extend_from_slice(&samples);
        }
    }
    for call in &truth.calls {
        needles.word("Call-ID", &call.call_id);
        for number in [&call.from, &call.to] {
            needles.word("number", number.trim_start_matches('+'));
        }
    }
    for word in ["INVITE sip:", "BYE sip:", "ACK sip:", "SIP/2.0 200", "Call-ID:", "a=rtpmap:"] {
        needles.word("SIP", word);
    }
    needles.word("Call-ID", "\"call_ids\"");
    needles.word("Opus", "OpusHead");
    needles.word("WAV", "WAVEfmt ");
    some
}

/// What a recorder sealed, in the form in which it had it.
fn learn_file(needles: &mut Needles, plain: &Path) {
    let bytes = fs::read(plain).expect("opened file");
    let name = text(plain);
    if name.contains(".opus") {
        needles.pieces("Opus", &bytes, 96);
    } else if name.contains(".wav") {
        needles.pieces("WAV", &bytes, 640);
    }
}

/// Makes plain files, away from the disk, of all that recorders have sealed, finished or not.
fn open_all(bench: &Bench, spool: &Path) -> Vec<PathBuf> {
    let salvaged = bench.path("salvaged");
    let salvage =
        ["salvage", text(spool), "-i", &bench.key(), "--to", text(&salvaged), "-r", &bench.recipient];
    assert_success(&sejf(&salvage));
    let mut plain = Vec::new();
    for folder in [spool, &salvaged] {
        for sealed in files_below(folder) {
            let name = text(sealed.file_name().expect("a name").as_ref()).to_owned();
            if !name.ends_with(".age") || name.contains(".interrupted.") {
                continue;
            }
            let to = bench.path(&format!("plain-{}-{name}", plain.len()));
            let opened = sejf(&["open", text(&sealed), "-i", &bench.key(), "-o", text(&to), "--force"]);
            if opened.status.success() {
                plain.push(to);
            }
        }
    }
    plain
}

/// Where recorders write: a file system in a file, so that all that was ever written can be read; where that cannot
/// be had, a folder.
struct Image {
    folder: PathBuf,
    image: Option<PathBuf>,
    mounted: bool,
}

impl Image {
    fn mount(bench: &Bench) -> Self {
        let (folder, image) = (bench.path("disk"), bench.path("disk.image"));
        fs::create_dir_all(&folder).unwrap();
        File::create_new(&image).and_then(|file| file.set_len(IMAGE_BYTES)).unwrap();
        let made = run("mkfs.ext4", &["-q", "-F", text(&image)]);
        let mut disk = Self { folder, image: Some(image), mounted: false };
        if let Err(why) = made.and_then(|()| disk.mount_again()) {
            println!("skipped: the raw disk, for the files on it alone: {why}");
            disk.image = None;
        }
        disk
    }

    fn mount_again(&mut self) -> Result<(), String> {
        let Some(image) = &self.image else { return Ok(()) };
        run("mount", &["-o", "loop", text(image), text(&self.folder)])?;
        self.mounted = true;
        Ok(())
    }

    /// After this all is in the image.
    fn unmount(&mut self) {
        std::env::set_current_dir("/").unwrap();
        if self.mounted {
            run("umount", &[text(&self.folder)]).unwrap();
            self.mounted = false;
        }
    }

    fn found(&self, needles: &Needles) -> Found {
        match &self.image {
            Some(image) => needles.found_in(image),
            None => {
                let mut files = files_below(&self.folder);
                files.retain(|path| path.is_file() && !path.ends_with("told"));
                files.iter().flat_map(|path| needles.found_in(path)).collect()
            }
        }
    }

    /// Writes some of each kind, as they are and in disguise, and has them on the disk before they are removed.
    fn write_and_remove(&mut self, plain: &[PathBuf]) {
        self.mount_again().unwrap();
        let folder = self.folder.join("plain");
        fs::create_dir(&folder).unwrap();
        for kind in [".pcapng", ".wav", ".opus", ".json", ".samples"] {
            for (number, path) in plain.iter().filter(|path| text(path).contains(kind)).take(3).enumerate() {
                let bytes = fs::read(path).unwrap();
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let forms = [bytes.clone(), STANDARD.encode(&bytes).into(), hex.into()];
                for (form, bytes) in forms.iter().enumerate() {
                    let mut file = File::create_new(folder.join(format!("{number}-{form}{kind}"))).unwrap();
                    file.write_all(bytes).unwrap();
                    file.sync_all().unwrap();
                }
            }
        }
        if self.image.is_some() {
            fs::remove_dir_all(&folder).unwrap();
        }
        self.unmount();
    }

    fn what(&self) -> &'static str {
        if self.image.is_some() { "a raw disk" } else { "files" }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // A test that fails: the mount itself ends with the namespace.
        if self.mounted {
            let _ = std::env::set_current_dir("/");
            let _ = run("umount", &["-l", text(&self.folder)]);
        }
    }
}

/// Lets every process started from here leave a core file on the disk, and shows with one that it would.
fn allow_core_files(root: &Path) -> &'static str {
    let folder = root.join("cores");
    fs::create_dir(&folder).unwrap();
    std::env::set_current_dir(&folder).unwrap();
    let unlimited = Rlimit { current: None, maximum: None };
    if setrlimit(Resource::Core, unlimited).is_err() {
        return "not permitted here";
    }
    let mut other = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(other.id()).unwrap()).unwrap();
    kill_process(pid, Signal::ABORT).unwrap();
    other.wait().unwrap();
    let cores = files_below(&folder);
    cores.iter().for_each(|core| fs::remove_file(core).unwrap());
    if cores.is_empty() { "go elsewhere here" } else { "of others only" }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let ended = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if ended.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn any_ends(folder: &Path, end: &str) -> bool {
    names(folder).iter().any(|name| name.ends_with(end))
}

const FORMATS: [&str; 3] = ["pcap", "wav", "opus"];
/// How long frames are sent: a call's files have their names some seconds after it ended.
const SENT: Duration = Duration::from_secs(8);
/// Most of it is never touched, and takes no room.
const IMAGE_BYTES: u64 = 512 << 20;
