//! A vault that runs looks after itself: a real process, with intervals of seconds.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sejf::archive::access::Action;
use sejf::archive::duties::{Came, Duty, Standing, State};
use sejf::archive::entry::{Entry, Outcome};
use sejf::shell::vault::intake::serve::{Ask, Status, ask};

use crate::places::store::Store;
use crate::support::{assert_success, sejf, text};
use crate::vault_intake::{World, objects};

/// A vault with a second folder, and a recorder on the same machine whose files it frees.
struct Home {
    world: World,
}

impl Home {
    /// `more` is added to its configuration.
    fn new(copies: &str, more: &str) -> Self {
        let world = World::new();
        world.record(&["basic.pcap"], "spool");
        let home = Self { world };
        fs::create_dir(home.path("second")).expect("folder");
        let config = home.config();
        let key = config.lines().find(|line| line.starts_with("key = ")).expect("the recorder").to_owned();
        let spool = format!("{key}\nspool = {:?}\nfree = true\n", home.path("spool"));
        let config = config.replace(&format!("{key}\n"), &spool);
        let class = "keep_min = \"5 years\"\n";
        let config = config.replace(class, &format!("{class}copies = {copies}\n"));
        let second = format!(
            "\n[[place]]\nname = \"second\"\nsite = \"there\"\nkind = \"directory\"\npath = {:?}\n",
            home.path("second")
        );
        home.configure(&format!("{config}{second}{more}"));
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.bench.path(name)
    }

    fn home(&self) -> PathBuf {
        self.path("home")
    }

    fn config(&self) -> String {
        fs::read_to_string(self.home().join("vault.toml")).expect("configuration")
    }

    fn configure(&self, config: &str) {
        fs::write(self.home().join("vault.toml"), config).expect("configuration");
    }

    fn serve(&self, unlocked: bool) -> Serving {
        let (home, key) = (self.home(), self.path("ewa.key"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_sejf"));
        command.args(["vault", "serve", text(&home), "--listen", "127.0.0.1:0"]);
        if unlocked {
            command.args(["-i", text(&key)]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program runs");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        said.read_line(&mut line).expect("a line");
        assert!(line.starts_with("listening on "), "{line}");
        Serving(child)
    }

    /// Asks the vault that runs.
    fn status(&self) -> Status {
        ask(&self.home(), &Ask::Status {}).expect("an answer").status.expect("how it is")
    }

    fn duty(&self, duty: Duty) -> Option<Standing> {
        self.status().duties.into_iter().find(|standing| standing.duty == duty)
    }

    fn has_come(&self, duty: Duty, came: Came) -> bool {
        self.duty(duty).is_some_and(|standing| standing.came == Some(came))
    }

    /// As it is on the disk, whether or not it runs.
    fn kept(&self) -> State {
        let kept = fs::read(self.home().join("duties.json")).unwrap_or_default();
        serde_json::from_slice(&kept).unwrap_or_default()
    }

    fn entries(&self) -> Vec<Entry> {
        let vault = self.world.vault();
        let (entries, _) = vault.log.read_from(0, 100_000).expect("the log");
        entries.iter().map(|entry| Entry::from_bytes(entry).expect("an entry")).collect()
    }

    fn sealed_in(&self, folder: &str) -> Vec<PathBuf> {
        let is_sealed = |path: &PathBuf| path.extension().is_some_and(|end| end == "age");
        objects(&self.path(folder)).into_keys().filter(is_sealed).collect()
    }

    fn bodies(&self, folder: &str) -> Vec<PathBuf> {
        let is_body = |path: &PathBuf| path.extension().is_some_and(|end| end == "body");
        objects(&self.path(folder)).into_keys().filter(is_body).collect()
    }

    fn vault_status(&self) -> (Option<i32>, String) {
        let output = sejf(&["vault", "status", text(&self.home())]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A process, ended with the test.
struct Serving(Child);

impl Serving {
    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.0)
    }

    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }

    fn stop(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).expect("asked to stop");
        (self.0.wait().expect("ended"), begun.elapsed())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn relative(paths: &[PathBuf], folder: &Path) -> Vec<String> {
    paths.iter().map(|path| text(path.strip_prefix(folder).expect("below it")).to_owned()).collect()
}

/// The whole way without anybody's command: taken in, copied, freed, broken, found, mended, tested.
#[test]
fn a_vault_that_runs_looks_after_its_recordings() {
    let home = Home::new("{ total = 3, sites = 2, offline = 0 }", "");
    let store = Store::start();
    let credentials = home.path("credentials");
    fs::write(&credentials, "access_key_id = 'AK'\nsecret_access_key = 'SK'\n").expect("credentials");
    home.configure(&format!(
        "{}\n[[place]]\nname = 'store'\nsite = 'far'\nkind = 's3'\nendpoint = '{}'\nbucket = 'bucket'\n\
         credentials = {credentials:?}\nloopback_http = true\nobject_lock = true\n\n[duties]\nscrub = '1 second'\n\
         scrub_period = '2 seconds'\nworm_test = '1 hour'\nrestore_test = '2 seconds'\nmedia = 'off'\n",
        home.config(),
        store.endpoint
    ));
    let sealed = home.sealed_in("spool");
    assert!(!sealed.is_empty());
    let serving = home.serve(true);
    until("the recorder's files are freed", || home.sealed_in("spool").is_empty());
    let (first, second) = (home.bodies("store"), home.bodies("second"));
    assert!(!first.is_empty());
    assert_eq!(relative(&first, &home.path("store")), relative(&second, &home.path("second")));
    until("the store passes its test", || home.has_come(Duty::WormTest, Came::Well));

    // A bit falls over in one copy, and another one is gone.
    let (broken, lost) = (&second[0], &first[first.len() - 1]);
    let (good, gone) = (fs::read(broken).expect("a body"), fs::read(lost).expect("a body"));
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(broken, &bad).expect("broken");
    fs::remove_file(lost).expect("removed");
    until("both are mended", || {
        fs::read(broken).is_ok_and(|bytes| bytes == good) && fs::read(lost).is_ok_and(|bytes| bytes == gone)
    });
    until("a sample was restored and opened", || {
        home.duty(Duty::RestoreTest).is_some_and(|standing| standing.words.contains("opened"))
    });
    until("each was done", || {
        let duties = home.status().duties;
        duties.iter().all(|standing| standing.off || standing.came.is_some())
    });
    // It is made again where one of the others has come to find something, or to find nothing any more.
    until("the review is well", || {
        home.duty(Duty::Review).is_some_and(|standing| standing.words.starts_with("0 checks fail"))
    });
    let running = sejf(&["vault", "running", "status", text(&home.home())]);
    let said = String::from_utf8_lossy(&running.stdout).into_owned();
    assert!(said.lines().any(|line| line.starts_with("scrub ")), "{said}");
    let (ended, _) = serving.stop();
    assert!(ended.success(), "{ended}");

    let (code, status) = home.vault_status();
    assert_eq!(code, Some(0), "{status}");
    let line = |duty: &str| status.lines().find(|line| line.starts_with(duty)).expect("its line").to_owned();
    assert!(line("media").contains("off"), "{status}");
    assert!(line("worm-test").contains("`store` is WORM"), "{status}");
    assert!(line("keys").contains("recipients are there"), "{status}");
    let entries = home.entries();
    let said = |key: &str, is_it: &dyn Fn(&serde_json::Value) -> bool| {
        let done =
            entries.iter().filter(|entry| entry.actor == "vault").filter_map(|entry| match &entry.outcome {
                Outcome::Done(value) => value.get(key),
                _ => None,
            });
        done.filter(|value| is_it(value)).count()
    };
    assert!(said("worm", &|value| value == "WORM") == 1);
    assert!(said("scrub", &|value| value["wrong_count"].as_u64() > Some(0)) >= 1);
    assert!(said("restore-test", &|value| value["opened"] == true) >= 1);
    for duty in [Duty::Keys, Duty::Clock, Duty::DestructionPlan] {
        assert!(said("duty", &|value| value == duty.as_str()) >= 1, "{duty}");
    }
    let by_itself = |entry: &&Entry| entry.actor == "vault";
    let never = [Action::Open, Action::Export, Action::Destroy];
    assert!(entries.iter().filter(by_itself).all(|entry| !never.contains(&entry.action)));
    assert!(!home.home().join("restoring").exists(), "nothing is left of what was restored");
}

/// A store that never answers: it holds up neither taking in, nor the end, nor what comes after a kill.
#[test]
fn a_duty_that_hangs_holds_nothing_up_and_one_that_was_killed_is_done_again() {
    let home = Home::new("{ total = 3, sites = 2, offline = 0 }", "");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let credentials = home.path("credentials");
    fs::write(&credentials, "access_key_id = 'AK'\nsecret_access_key = 'SK'\n").expect("credentials");
    let before = home.config();
    home.configure(&format!(
        "{before}\n[[place]]\nname = 'store'\nsite = 'far'\nkind = 's3'\nendpoint = 'http://{}'\nbucket = 'bucket'\n\
         credentials = {credentials:?}\nloopback_http = true\n\n[duties]\ncopies = '1 second'\nworm_test = 'off'\n\
         restore_test = 'off'\nscrub = 'off'\n",
        silent.local_addr().expect("its address")
    ));
    let copying = || home.duty(Duty::Copies).is_some_and(|standing| standing.running);
    let is_archived = |count: u64| home.status().archived >= count;
    let serving = home.serve(true);
    until("the first is taken in", || is_archived(1));
    until("copies are being made", || copying() && !home.bodies("second").is_empty());
    home.world.record(&["bye-from-callee.pcap"], "spool");
    let begun = home.kept().duties[&Duty::Copies].begun;
    until("more is taken in meanwhile", || is_archived(2));
    assert!(copying() && home.kept().duties[&Duty::Copies].begun == begun, "the same run");
    assert!(!home.sealed_in("spool").is_empty(), "nothing is freed that has too few copies");
    let (ended, took) = serving.stop();
    assert!(ended.success() && took < Duration::from_secs(8), "{ended} after {took:?}");
    assert_eq!(home.kept().duties[&Duty::Copies].came, Some(Came::Stopped));

    let serving = home.serve(true);
    until("copies are being made again", copying);
    serving.kill();
    let cut_off = home.kept().duties[&Duty::Copies].clone();
    assert!(cut_off.begun.is_some() && cut_off.ended.is_none(), "{cut_off:?}");
    // The store is given up for a folder.
    fs::create_dir(home.path("third")).expect("folder");
    home.configure(&format!(
        "{before}\n[[place]]\nname = 'third'\nsite = 'far'\nkind = 'directory'\npath = {:?}\n\n[duties]\n\
         copies = '1 second'\n",
        home.path("third")
    ));
    let serving = home.serve(true);
    until("all are freed", || home.sealed_in("spool").is_empty());
    let all = relative(&home.bodies("store"), &home.path("store"));
    for place in ["second", "third"] {
        assert_eq!(relative(&home.bodies(place), &home.path(place)), all, "{place}");
    }
    until("it is well", || home.has_come(Duty::Copies, Came::Well));
    assert!(serving.stop().0.success());
}

/// What takes keys waits for them and says so; what does not is done meanwhile.
#[test]
fn what_takes_keys_waits_until_the_vault_is_unlocked() {
    let more =
        "\n[[class]]\nname = \"calls-new\"\nkeep_min = \"1 year\"\n\n[duties]\nrestore_test = '1 second'\n";
    let home = Home::new("{ total = 2, sites = 2, offline = 0 }", more);
    let serving = home.serve(false);
    until("keys are found to be lacking", || home.has_come(Duty::Keys, Came::Found));
    let running = || sejf(&["vault", "running", "status", text(&home.home())]);
    let output = running();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("unlock the vault"), "{said}");
    let (code, status) = home.vault_status();
    let line = status.lines().find(|line| line.starts_with("keys ")).expect("its line");
    assert!(
        code == Some(1) && line.contains("! found: 3 keys are to be made, the first calls-new/"),
        "{status}"
    );
    let recipients = || sejf(&["vault", "keys", "recipients", text(&home.home())]);
    let lists =
        |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).contains("\ncalls-new = ");
    assert!(!lists(&recipients()));

    let unlock = ["vault", "running", "unlock", text(&home.home()), "-i", text(&home.path("ewa.key"))]
        .map(str::to_owned);
    assert_success(&sejf(&unlock.iter().map(String::as_str).collect::<Vec<_>>()));
    until("they are made", || home.has_come(Duty::Keys, Came::Well));
    let listed = recipients();
    assert!(lists(&listed), "{listed:?}");
    until("a sample is opened", || {
        home.duty(Duty::RestoreTest).is_some_and(|standing| standing.words.contains("opened"))
    });
    until("its files are freed", || home.sealed_in("spool").is_empty());
    let output = running();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(serving.stop().0.success());
}

#[test]
fn a_duty_that_is_not_known_is_refused_by_its_name() {
    let home = Home::new("{ total = 2, sites = 2, offline = 0 }", "\n[duties]\nscrubbing = '1 hour'\n");
    let refused = sejf(&["vault", "status", text(&home.home())]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("scrubbing"), "{said}");
}

const PATIENCE: Duration = Duration::from_secs(90);
