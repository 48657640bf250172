//! A PostgreSQL of Debian's package for as long as a test runs: in a folder of its own, over a socket alone.

use std::fs::File;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub(crate) struct Server {
    dir: TempDir,
    process: Child,
    databases: std::cell::Cell<u32>,
}

impl Server {
    /// Nothing where the package is not installed.
    pub(crate) fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            eprintln!("skipped: PostgreSQL is not installed (apt-get install postgresql)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = dir.path().join("data");
        let made = unprivileged(&bin.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=sejf", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let log = File::create(dir.path().join("log")).unwrap();
        let process = unprivileged(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { dir, process, databases: 0.into() };
        server.wait(&bin);
        Some(server)
    }

    fn wait(&mut self, bin: &Path) {
        loop {
            let mut ready = Command::new(bin.join("pg_isready"));
            if ready.arg("-q").arg("-h").arg(self.dir.path()).status().unwrap().success() {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "PostgreSQL does not start: {}", log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The address of a new database.
    pub(crate) fn database(&self) -> String {
        let number = self.databases.get();
        self.databases.set(number + 1);
        let made = Command::new(programs().unwrap().join("createdb"))
            .arg("-h")
            .arg(self.dir.path())
            .args(["-U", "sejf", &format!("test{number}")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let host = self.dir.path().to_str().unwrap();
        format!("postgres:///test{number}?host={host}&user=sejf")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its processes end at once and leave nothing that anybody wants.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _ = self.process.wait();
    }
}

/// It refuses to run as root, and ends with the test that started it.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.retain(|bin| bin.join("initdb").exists());
    versions.sort();
    versions.pop()
}

const NOBODY: u32 = 65_534;
