//! A wire to record: a virtual cable in a network of its own, somebody who sends, and `sejf record` that listens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sejf::base::time::Stamp;
use sejf::fixture::generator::Generator;
use sejf::fixture::recipe::Recipe;
use sejf::fixture::truth::Truth;
use sejf::shell::control_client::Client;
use sejf::shell::status::snapshot::Snapshot;

use crate::support::{Bench, text};

/// Runs `test`, which is called `name` with its module, in a network and with mounts of its own: `unshare` runs this binary again,
/// for one test, inside. Where that is not permitted it is skipped, and says so.
pub(crate) fn inside(name: &str, test: impl FnOnce()) {
    inside_each(name, 1, |_| test());
}

/// The same `count` times at once, each with its number and its own network and mounts.
pub(crate) fn inside_each(name: &str, count: usize, test: impl FnOnce(usize)) {
    if let Ok(number) = std::env::var(INSIDE) {
        return test(number.parse().expect("a number"));
    }
    for ways in [&["-nm"][..], &["-rnm"]] {
        let mut command = Command::new("unshare");
        command.args(ways);
        if !command.args(["ip", "link", "show"]).output().is_ok_and(|shown| shown.status.success()) {
            continue;
        }
        std::thread::scope(|scope| {
            for number in 0..count {
                scope.spawn(move || again_inside(ways, name, number));
            }
        });
        return;
    }
    println!("skipped: no network namespaces here (unshare and ip must be permitted)");
}

fn again_inside(ways: &[&str], name: &str, number: usize) {
    let mut command = Command::new("unshare");
    command.args(ways).arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]);
    let ended = command.env(INSIDE, number.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let faults = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}\n{faults}");
    // What it measured.
    let tells = |line: &&str| line.starts_with("measured: ") || line.starts_with("skipped: ");
    said.lines().filter(tells).for_each(|line| println!("{line}"));
}

pub(crate) fn ip(arguments: &str) {
    let ended = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(ended.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// Gives the test shared memory of its own: what others have there is not ours.
pub(crate) fn own_shared_memory() {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/dev/shm"]).status();
    assert!(mounted.is_ok_and(|status| status.success()), "mounting /dev/shm");
}

/// Connects `va`, where is recorded, and `vb`, where is sent, without chatter of the system's own.
pub(crate) fn cable() {
    for which in ["all", "default"] {
        // Where there is no IPv6 there is no chatter either.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
    }
    ip("link add va type veth peer name vb");
    // The sender last: it finds its carrier, and what is sent at once goes on the wire.
    ip("link set va arp off up");
    ip("link set vb arp off up");
}

/// Frames to send, each with its time from the first.
#[derive(Clone, Default)]
pub(crate) struct Frames(pub(crate) Vec<(Duration, Vec<u8>)>);

impl Frames {
    /// All frames of a recipe, and what they are.
    pub(crate) fn of(recipe: &Recipe) -> (Self, Truth) {
        let mut generator = Generator::new(recipe).expect("a sound recipe");
        let (mut frames, mut begin) = (Vec::new(), None::<Stamp>);
        while let Some(frame) = generator.next_frame() {
            let begin = *begin.get_or_insert(frame.stamp);
            frames.push((frame.stamp.since(begin), frame.bytes.to_vec()));
        }
        (Self(frames), generator.into_truth())
    }

    /// Those before `at`, and the others.
    pub(crate) fn split(mut self, at: Duration) -> (Self, Self) {
        let late = self.0.partition_point(|(time, _)| *time < at);
        let rest = self.0.split_off(late);
        (self, Self(rest))
    }

    /// Sends each at its time, the first at once; adds to `sent` as it goes, and ends early where `go_on` says so.
    /// Returns by how much the latest was late.
    pub(crate) fn send(&self, sent: &AtomicU64, go_on: impl Fn() -> bool) -> Duration {
        let mut sender = pcap::Capture::from_device("vb").unwrap().open().unwrap();
        let Some((begin, _)) = self.0.first() else { return Duration::ZERO };
        let (start, mut latest) = (Instant::now(), Duration::ZERO);
        for (at, frame) in &self.0 {
            let due = *at - *begin;
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            if !go_on() {
                break;
            }
            latest = latest.max(start.elapsed().saturating_sub(due));
            sender.sendpacket(&frame[..]).unwrap();
            sent.fetch_add(1, Ordering::Release);
        }
        latest
    }

    /// Sends all of them, each at its time.
    pub(crate) fn send_all(&self) -> Duration {
        self.send(&AtomicU64::new(0), || true)
    }
}

/// A `sejf record`.
pub(crate) struct Live {
    pub(crate) child: Child,
    pub(crate) root: PathBuf,
}

impl Live {
    /// Starts to record on `va` by these rules, below the folder `root` of the bench. Returns when it listens.
    pub(crate) fn start(bench: &Bench, root: &str, rules: &str) -> Self {
        let live = Self::spawn(bench, root, rules);
        live.wait_until_it_listens();
        live
    }

    /// The same, at once.
    pub(crate) fn spawn(bench: &Bench, root: &str, rules: &str) -> Self {
        let root = bench.path(root);
        fs::create_dir_all(&root).unwrap();
        write_config(bench, &root, rules);
        let out = |name: &str| File::options().create(true).append(true).open(root.join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sejf"))
            .args(["record", "--json", "--config", text(&root.join("sejf.toml"))])
            .stdin(Stdio::null())
            .stdout(out("told"))
            .stderr(out("log"))
            .spawn()
            .expect("the program runs");
        Self { child, root }
    }

    /// Its packet socket is there, with a ring, and its filter lets frames in: that is the last thing before it says
    /// that it captures.
    pub(crate) fn wait_until_it_listens(&self) {
        let fds = PathBuf::from(format!("/proc/{}/fd", self.child.id()));
        self.until("listens", || {
            let bound = fs::read_to_string("/proc/net/packet").unwrap();
            // sk RefCnt Type Proto Iface R Rmem User Inode
            let inodes = bound.lines().skip(1).map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                (words[5] == "1").then(|| format!("socket:[{}]", words[8]))
            });
            let inodes: Vec<String> = inodes.flatten().collect();
            fs::read_dir(&fds).is_ok_and(|fds| {
                fds.flatten()
                    .filter_map(|fd| fs::read_link(fd.path()).ok())
                    .any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
            })
        });
        self.until("captures", || self.status().is_some_and(|status| status.capturing));
    }

    /// How it says that it is, where it answers.
    pub(crate) fn status(&self) -> Option<Snapshot> {
        Client::connect(&self.root.join("control.sock")).and_then(|mut client| client.status()).ok()
    }

    /// Waits for a state, for as long as a machine that is very busy may take.
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(120);
        while !holds() {
            let ended = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
                .is_ok_and(|stat| stat.contains(") Z "));
            assert!(!ended, "it ended and never {what}: {}", self.log());
            assert!(Instant::now() < end, "it never {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).expect("it runs");
    }

    /// Tells it to stop, and returns what it told: manifests, and the books.
    pub(crate) fn stop(mut self) -> (Vec<serde_json::Value>, serde_json::Value) {
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {}", self.log());
        let mut told = self.told();
        let books = told.pop().expect("the books")["summary"].take();
        assert_eq!(books["balanced"], true, "{books}");
        (told, books)
    }

    /// What it has told so far.
    pub(crate) fn told(&self) -> Vec<serde_json::Value> {
        let told = fs::read_to_string(self.root.join("told")).unwrap();
        let whole = told.rfind('\n').map_or("", |end| &told[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap()
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A test that fails leaves nobody behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the configuration of a recorder below `root`.
pub(crate) fn write_config(bench: &Bench, root: &Path, rules: &str) {
    let place = |name: &str| text(&root.join(name)).to_owned();
    let config = format!(
        "[recorder]\nto = \"{}\"\nstate = \"{}\"\nshards = 2\nallow_single_recipient = true\n\
         [[capture]]\ninterface = \"va\"\n[recipients]\ndefault = [\"{}\"]\n\
         [journal]\ndirectory = \"{}\"\nsegment = \"4MiB\"\n[metrics]\nlisten = \"off\"\n\
         [control]\nsocket = \"{}\"\n\
         [sandbox]\nwaive = [\"memory-lock\", \"user\"]\n[canary]\nenabled = false\n{rules}",
        place("spool"),
        place("state"),
        bench.recipient,
        place("journal"),
        place("control.sock"),
    );
    fs::write(root.join("sejf.toml"), config).unwrap();
}

/// A rule that records all in `format`.
pub(crate) fn all_in(format: &str) -> String {
    format!("[[rule]]\nname = \"all\"\naction = \"record\"\nformat = \"{format}\"\n")
}

/// The frames of a pcapng file, in order.
pub(crate) fn frames_of(pcapng: &[u8]) -> Vec<Vec<u8>> {
    use pcap_parser::traits::PcapReaderIterator;
    let mut reader = pcap_parser::PcapNGReader::new(65_536, pcapng).expect("pcapng");
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let pcap_parser::PcapBlockOwned::NG(pcap_parser::Block::EnhancedPacket(packet)) = block {
                    frames.push(packet.data[..packet.caplen as usize].to_vec());
                }
                reader.consume(offset);
            }
            Err(pcap_parser::PcapError::Incomplete(_)) => reader.refill().expect("more"),
            // A salvaged file may end in the middle of a block.
            Err(_) => return frames,
        }
    }
}

const INSIDE: &str = "SEJF_WIRE_INSIDE";
