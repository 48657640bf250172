//! What the sandbox takes away is gone, and what recording needs is left: tried out in a process of its
//! own, beside one without the sandbox that may do all of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{getppid, test_kill_process};
use rustix::thread::set_thread_uid;
use sejf::fixture::{generate, scenarios};
use sejf::shell::sandbox::{Measure, Outcome, Paths, Plan, Report, Unexpected, User};

use crate::faults;
use crate::support::{again, is_again};

#[test]
fn what_is_given_up_is_gone() {
    let place = Place::new();
    let free = tried(&place, "free");
    let bound = tried(&place, "bound");
    assert!(free.len() >= 20 && free.keys().eq(bound.keys()), "{free:?}\n{bound:?}");
    for (what, outcome) in &bound {
        let kept = what.starts_with("keep: ");
        assert_eq!(outcome == "done", kept, "{what}: {outcome}");
    }
    // Or nothing is proven: without the sandbox these work, for root at least.
    for (what, outcome) in &free {
        let for_all = ["keep: ", "write beside", "read beside", "connect", "start a program", "udp"];
        if is_root() || for_all.iter().any(|some| what.starts_with(some)) {
            assert_eq!(outcome, "done", "{what} without the sandbox");
        }
    }
}

/// A replay through all threads, where any call that is not in the list kills.
#[test]
fn recording_needs_no_other_system_calls() {
    let place = Place::new();
    let capture = place.spool.join("demo.pcap");
    fs::write(&capture, generate(&scenarios::demo()).expect("a sound recipe").capture).expect("capture");
    place.give_away();
    let output =
        again("sandbox::in_a_process_of_its_own", &[("SEJF_TRY", "replay"), ("SEJF_AT", place.text())]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("try replay = done"), "{}: {said}", output.status);
    let sealed = fs::read_dir(place.spool.join("out")).expect("recordings").flatten();
    assert!(sealed.filter(|entry| entry.path().extension().is_some_and(|end| end == "age")).count() > 4);
}

#[test]
fn what_is_not_in_the_list_kills_where_a_test_wants_it() {
    let place = Place::new();
    place.give_away();
    let output =
        again("sandbox::in_a_process_of_its_own", &[("SEJF_TRY", "kill"), ("SEJF_AT", place.text())]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("try sandbox = done") && !said.contains("try connect"), "{said}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(libc::SIGSYS), "{said}");
}

/// Not a test of its own: what the others run.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn in_a_process_of_its_own() {
    if !is_again() {
        return;
    }
    let at = PathBuf::from(std::env::var_os("SEJF_AT").expect("a folder"));
    match std::env::var("SEJF_TRY").expect("what to try").as_str() {
        "free" => try_all(&at, || ()),
        "bound" => try_all(&at, || tell_report(&sandbox(&at, Unexpected::Refuse))),
        "kill" => {
            tell_report(&sandbox(&at, Unexpected::Kill));
            tell("sandbox", Ok(()));
            let _ = TcpStream::connect("127.0.0.1:9");
            tell("connect", Ok(()));
        }
        "replay" => {
            tell_report(&sandbox(&at, Unexpected::Kill));
            let spool = at.join("spool");
            let replayed = faults::run(&spool.join("demo.pcap"), &spool.join("out"), 1, None);
            tell("replay", replayed.map_err(io::Error::other));
        }
        other => panic!("{other}"),
    }
}

fn sandbox(at: &Path, unexpected: Unexpected) -> Report {
    let paths = Paths { writable: vec![at.join("spool")], readable: vec![at.join("config")] };
    let mut plan = Plan::new(paths);
    plan.unexpected = unexpected;
    plan.user = is_root().then(|| User::find(ACCOUNT).expect("numbers"));
    plan.apply_to_this_thread()
}

fn tell_report(report: &Report) {
    println!("{report}");
    for (measure, outcome) in &report.outcomes {
        match outcome {
            Outcome::Applied(_) => {}
            // The machine's to give.
            Outcome::Unavailable(reason) if *measure == Measure::MemoryLock => {
                assert!(reason.contains("LimitMEMLOCK=infinity"), "{reason}");
                assert!(report.require(&[]).is_err());
            }
            Outcome::Unavailable(reason) => panic!("{measure:?}: {reason}"),
        }
    }
    report.require(&[Measure::MemoryLock]).expect("nothing else is missing");
}

/// Tries all, having opened before `restrict` what a recorder opens.
fn try_all(at: &Path, restrict: impl FnOnce()) {
    let spool = at.join("spool");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listener");
    let address = listener.local_addr().expect("address");
    let mut client = TcpStream::connect(address).expect("connection");
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listener");
    let other = (other.local_addr().expect("address"), other);
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("socket");
    datagrams.connect(datagrams.local_addr().expect("address")).expect("to itself");
    let local = UnixListener::bind(spool.join(format!("control-{}", std::process::id()))).expect("listener");
    let local_path = local.local_addr().expect("address").as_pathname().expect("path").to_owned();
    restrict();

    tell("keep: write, sync and rename in the spool", record_something(&spool));
    tell("keep: read the configuration again", fs::read(at.join("config/sejf.toml")).map(drop));
    tell(
        "keep: threads",
        std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().expect("joins")),
    );
    tell("keep: datagrams on a socket that is there", exchange(&datagrams));
    tell("keep: serve on a listener that is there", serve(listener, &mut client));
    tell("keep: a pair of sockets, to wake a thread", UnixStream::pair().map(drop));
    tell("keep: random bytes", File::open("/proc/self/status").and_then(|_| random()));

    let beside = at.join("beside/new");
    tell("write beside the spool", File::create(&beside).map(drop).and_then(|()| fs::remove_file(&beside)));
    tell("read beside the spool", fs::read(at.join("beside/old")).map(drop));
    tell("read /etc/shadow", fs::read("/etc/shadow").map(drop));
    let own = at.join("config/sejf.toml");
    tell("append to the configuration", File::options().append(true).open(&own).map(drop));
    tell("link out of the spool", fs::hard_link(at.join("beside/old"), spool.join("old")));
    tell("connect by TCP", TcpStream::connect(other.0).map(drop));
    tell("connect to a local socket", UnixStream::connect(&local_path).map(drop));
    tell("udp socket", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    tell("packet socket", socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop).map_err(Into::into));
    tell("memory of the parent", File::open(format!("/proc/{}/mem", parent())).map(drop));
    tell("signal the parent", getppid().map_or(Ok(()), test_kill_process).map_err(Into::into));
    tell("trace the parent", trace());
    tell("become root", set_thread_uid(rustix::process::Uid::ROOT).map_err(Into::into));
    tell("raise a capability", raise_capability());
    tell("start a program", Command::new("/bin/true").status().map(drop));
    if std::env::var("SEJF_TRY").is_ok_and(|what| what == "bound") {
        let error = Command::new("/bin/true").exec();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "execve: {error}");
    }
}

fn record_something(spool: &Path) -> io::Result<()> {
    let folder = spool.join("2026");
    fs::create_dir(&folder)?;
    let (part, whole) = (folder.join("call.part"), spool.join("call.age"));
    let mut file = File::create(&part)?;
    file.write_all(b"sealed")?;
    file.sync_all()?;
    file.set_len(4)?;
    renameat_with(CWD, &part, CWD, &whole, RenameFlags::NOREPLACE)?;
    File::open(spool)?.sync_all()?;
    assert_eq!(fs::read(&whole)?, b"seal");
    fs::remove_file(&whole)?;
    fs::remove_dir(&folder)
}

fn exchange(socket: &UdpSocket) -> io::Result<()> {
    socket.send(b"hello")?;
    let mut bytes = [0; 8];
    assert_eq!(socket.recv(&mut bytes)?, 5);
    Ok(())
}

/// As the metrics are served.
fn serve(listener: TcpListener, client: &mut TcpStream) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (mut accepted, _) = listener.accept().await?;
        accepted.write_all(b"metrics").await
    })?;
    let mut said = String::new();
    client.read_to_string(&mut said)?;
    assert_eq!(said, "metrics");
    Ok(())
}

fn random() -> io::Result<()> {
    let random = sejf::shell::entropy::OsRandom::new();
    random.map(drop).map_err(|error| io::Error::other(error.to_string()))
}

fn raise_capability() -> io::Result<()> {
    let raised = caps::raise(None, caps::CapSet::Effective, caps::Capability::CAP_NET_RAW);
    raised.map_err(|error| io::Error::other(error.to_string()))
}

/// Asks for a word of a process that is not traced: the kernel says so, if it may be asked at all.
fn trace() -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the answer is no, and if it were not it would come as a value.
    #[expect(unsafe_code, reason = "no safe interface to ptrace")]
    unsafe {
        libc::ptrace(libc::PTRACE_PEEKUSER, parent(), nothing, nothing);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

fn parent() -> i32 {
    getppid().map_or(0, |pid| pid.as_raw_nonzero().get())
}

fn tell(what: &str, outcome: io::Result<()>) {
    println!("try {what} = {}", outcome.map_or_else(|error| error.to_string(), |()| "done".into()));
}

fn tried(place: &Place, how: &str) -> BTreeMap<String, String> {
    place.give_away();
    let output = again("sandbox::in_a_process_of_its_own", &[("SEJF_TRY", how), ("SEJF_AT", place.text())]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{how}: {}: {said}{errors}", output.status);
    let lines = said.lines().filter_map(|line| line.split_once("try ")?.1.split_once(" = "));
    lines.map(|(what, outcome)| (what.into(), outcome.into())).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A spool, a configuration, and what is beside them; all belong to the account, so that only the sandbox
/// is in the way.
struct Place {
    dir: tempfile::TempDir,
    spool: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        for folder in ["spool", "config", "beside"] {
            fs::create_dir(dir.path().join(folder)).expect("folder");
        }
        fs::write(dir.path().join("config/sejf.toml"), "").expect("configuration");
        fs::write(dir.path().join("beside/old"), "").expect("file");
        Self { spool: dir.path().join("spool"), dir }
    }

    fn give_away(&self) {
        if is_root() {
            let User { uid, gid, .. } = User::find(ACCOUNT).expect("numbers");
            let mut paths = vec![self.dir.path().to_owned()];
            while let Some(path) = paths.pop() {
                chown(&path, Some(uid), Some(gid)).expect("chown");
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                paths.extend(entries.map(|entry| entry.path()));
            }
        }
    }

    fn text(&self) -> &str {
        crate::support::text(self.dir.path())
    }
}

/// nobody, on most systems.
const ACCOUNT: &str = "65534:65534";
