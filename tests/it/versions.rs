//! What is said of a recording later: found, shown, kept in all places, made anew; nothing of it is lost or said twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use sejf::archive::access::Reason;
use sejf::archive::record::Record;
use sejf::archive::version::{Change, VersionSlip};
use sejf::shell::vault::annotate::{AnnotateError, Annotator, Order, Step, Wish, Written};
use sejf::shell::vault::home::Vault;

use crate::support::{assert_success, sejf, text};
use crate::vault_intake::{World, copy_dir, wait};

/// A vault with two places, and a few recordings in both.
struct Desk {
    world: World,
}

impl Desk {
    fn new() -> Self {
        let world = World::new();
        let second = world.bench.path("second");
        fs::create_dir(&second).unwrap();
        let config = world.bench.path("home/vault.toml");
        let mut configured = fs::read_to_string(&config).unwrap();
        configured.push_str(&format!(
            "\n[[place]]\nname = \"second\"\nsite = \"there\"\nkind = \"directory\"\npath = {second:?}\n"
        ));
        fs::write(&config, configured).unwrap();
        world.record(&["basic.pcap", "bye-from-callee.pcap"], "spool");
        world.take_in("spool", true).unwrap();
        let desk = Self { world };
        assert_success(&desk.vault(&["copies", "run"], &[]));
        desk
    }

    /// A recording that there is something to hear of.
    fn record(&self) -> Record {
        self.world.records().into_iter().find(Record::is_recorded).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.bench.path(name)
    }

    /// `sejf WORDS HOME MORE`, without keys.
    fn vault(&self, words: &[&str], more: &[&str]) -> Output {
        let home = self.path("home");
        sejf(&[words, &[text(&home)], more].concat())
    }

    /// The same with the custodian's key.
    fn unlocked(&self, words: &[&str], more: &[&str]) -> Output {
        let key = self.path("ewa.key");
        self.vault(words, &[more, &["-i", text(&key)]].concat())
    }

    /// `sejf annotate WHAT HOME ID MORE`
    fn annotate(&self, what: &str, record: &Record, more: &[&str]) -> Output {
        let id = record.id.to_string();
        let why = ["--reason", "complaint", "--note", "T-17"];
        self.unlocked(&["annotate", what], &[&[id.as_str()], more, &why].concat())
    }

    fn history(&self, record: &Record) -> Vec<serde_json::Value> {
        let shown = self.unlocked(&["history"], &[&record.id.to_string(), "--json"]);
        assert_success(&shown);
        lines(&shown)
    }

    /// Ids of what is found.
    fn found(&self, how: &[&str]) -> Vec<String> {
        let found = self.unlocked(&["vault", "search"], &[how, &["--json"]].concat());
        lines(&found).iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    }

    fn assert_rebuilt(&self) {
        let rebuilt = self.unlocked(&["vault", "catalog", "rebuild"], &[]);
        assert_success(&rebuilt);
        let said = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
        assert!(said.contains("0 differences") && !said.contains('!'), "{said}");
        fs::remove_file(self.path("home/catalog.new.db")).unwrap();
    }

    /// Says a note, as far as `steps` go; `None` where it was ended before.
    fn say(&self, record: &Record, note: &str, steps: usize) -> Option<Written> {
        let done = AtomicUsize::new(0);
        match self.say_while(record, note, move |_| done.fetch_add(1, Ordering::Relaxed) + 1 < steps) {
            Ok(written) => Some(written),
            Err(AnnotateError::Ended(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Says a note, for as long as `goes_on` says so.
    fn say_while(
        &self,
        record: &Record,
        note: &str,
        goes_on: impl Fn(Step) -> bool + Send + Sync + 'static,
    ) -> Result<Written, AnnotateError> {
        let vault = self.world.vault();
        let ring = self.world.unlock(&vault);
        let actor = vault.actor_of(&ring);
        wait(async {
            let catalog = vault.catalog().await.unwrap();
            let annotator = Annotator::open(&vault, &ring, &catalog).unwrap().ending(goes_on);
            let change = Change::Note { text: note.into() };
            let reason = Some(Reason { code: "complaint".into(), text: String::new() });
            let order = Order {
                id: record.id,
                wish: Wish::Say(&change),
                after: None,
                actor: &actor,
                belongs: None,
                reason,
            };
            let said = annotator.say(&order).await;
            catalog.close().await;
            said
        })
    }

    /// Entries of the log, one after the other.
    fn log(&self) -> String {
        let (entries, _) = self.world.vault().log.read_from(0, 1_000).unwrap();
        entries.iter().map(|entry| String::from_utf8_lossy(entry).into_owned() + "\n").collect()
    }
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All files below a folder, but for the mark of a place.
fn below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![dir.to_path_buf()]);
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with(".sejf-place") {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn what_was_said_is_found_shown_and_made_anew_and_nobody_reads_it_without_a_key() {
    let desk = Desk::new();
    let record = desk.record();
    let id = record.id.to_string();
    let manifest_caller = desk.history(&record)[0]["details"]["caller"].as_str().unwrap().to_owned();
    assert_success(&desk.annotate("note", &record, &["--text", "Zażalenie: oddzwonić\ndo środy"]));
    assert_success(&desk.annotate("label", &record, &["--add", "VIP-klient", "--add", "skarga"]));
    assert_success(&desk.annotate("agent", &record, &["--add", "Jana Nováčková"]));
    let correct = ["--field", "caller", "--was", manifest_caller.as_str(), "--is", "+48 22 999 88 77"];
    assert_success(&desk.annotate("correct", &record, &correct));
    assert_success(&desk.annotate("label", &record, &["--remove", "skarga"]));

    // Search finds what holds now, and nothing that held before.
    assert_eq!(desk.found(&["--tag", "vip-KLIENT"]), [id.as_str()]);
    assert_eq!(desk.found(&["--agent", "jana novackova"]), [id.as_str()]);
    assert_eq!(desk.found(&["--party", "+48229998877"]), [id.as_str()]);
    assert!(desk.found(&["--tag", "skarga"]).is_empty());
    assert!(!desk.found(&["--party", manifest_caller.as_str()]).contains(&id));

    // The history shows all of it, with what was before.
    let history = desk.history(&record);
    let numbers: Vec<_> = history.iter().filter_map(|line| line["version"].as_u64()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    assert_eq!(history[0]["details"]["caller"], manifest_caller.as_str());
    assert_eq!(history[1]["change"]["note"]["text"], "Zażalenie: oddzwonić\ndo środy");
    assert_eq!(history[1]["reason"], serde_json::json!({ "code": "complaint", "text": "T-17" }));
    assert!(history[1]["author"].as_str().unwrap().starts_with("local:"));
    assert_eq!(history[4]["change"]["correction"]["was"], manifest_caller.as_str());
    assert_eq!(history[5]["before"], serde_json::json!(["VIP-klient", "skarga"]));
    assert_eq!(history[6]["now"]["tags"], serde_json::json!(["VIP-klient"]));
    let shown = desk.unlocked(&["history"], &[&id]);
    assert_success(&shown);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for line in ["   | do środy", "   + VIP-klient", "   - skarga", "   before: VIP-klient, skarga"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }

    // No word of it in the open: not in the places, the catalog or the log. The log has numbers and digests.
    for needle in ["VIP-klient", "oddzwoni", "Nov\u{e1}", "999 88 77", "229998877"] {
        for dir in ["store", "second", "home"] {
            for (path, bytes) in below(&desk.path(dir)) {
                assert!(!holds(&bytes, needle), "`{needle}` is in {dir}/{}", path.display());
            }
        }
    }
    let digest = history[3]["sha256"].as_str().unwrap();
    let home: Vec<u8> = below(&desk.path("home/log")).into_values().flatten().collect();
    assert!(holds(&home, digest));
    desk.assert_rebuilt();
    // Nothing that was recorded was touched.
    let now = desk.record();
    assert_eq!(now.originals().cloned().collect::<Vec<_>>(), record.files);
}

#[test]
fn hostile_words_are_refused_and_harmless_ones_shown_as_they_are() {
    let desk = Desk::new();
    let record = desk.record();
    let refused = |output: Output, why: &str| {
        assert_eq!(output.status.code(), Some(2), "{why}");
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    };
    refused(desk.annotate("note", &record, &["--text", "a\u{1b}]0;x\u{7}"]), "steers");
    refused(desk.annotate("note", &record, &["--text", "a\u{202e}b"]), "steers");
    refused(desk.annotate("note", &record, &["--text", "  "]), "has no text");
    refused(desk.annotate("label", &record, &["--add", "a\nb"]), "steers");
    refused(desk.annotate("label", &record, &["--remove", "nobody"]), "nothing would change");
    let correct = ["--field", "trunk", "--was", "never", "--is", "x"];
    refused(desk.annotate("correct", &record, &correct), "is not what it was said to be");
    let long = desk.path("long");
    fs::write(&long, "a".repeat(16 * 1024 + 1)).unwrap();
    refused(desk.annotate("note", &record, &["--text-file", text(&long)]), "at most 16384");
    fs::write(&long, [0xff, 0xfe]).unwrap();
    refused(desk.annotate("note", &record, &["--text-file", text(&long)]), "UTF-8");
    // Without a reason, of nobody's recording, of one that was not recorded.
    let id = record.id.to_string();
    refused(desk.unlocked(&["annotate", "note"], &[&id, "--text", "x"]), "reason");
    let nobody = "0193c4a5-0000-7000-8000-000000000001";
    let why = ["--reason", "complaint", "--text", "x"];
    refused(desk.unlocked(&["annotate", "note"], &[&[nobody], &why[..]].concat()), "no recording");
    assert_eq!(desk.history(&record).len(), 2, "nothing was said");
    let words = "<script>alert(1)</script> ' OR 1=1 -- \"\\u0000\" ../../x 🙂";
    fs::write(&long, format!("{words}\r\n")).unwrap();
    assert_success(&desk.annotate("note", &record, &["--text-file", text(&long)]));
    assert_eq!(desk.history(&record)[1]["change"]["note"]["text"], words);
    desk.assert_rebuilt();
}

#[test]
fn killed_after_any_step_and_said_again_it_is_said_once() {
    let desk = Desk::new();
    let record = desk.record();
    let dirs = ["home", "store", "second"];
    for dir in dirs {
        copy_dir(&desk.path(dir), &desk.path(&format!("fresh-{dir}")));
    }
    let reset = || {
        for dir in dirs {
            fs::remove_dir_all(desk.path(dir)).unwrap();
            copy_dir(&desk.path(&format!("fresh-{dir}")), &desk.path(dir));
        }
    };
    let names = |dir: &str| below(&desk.path(dir)).into_keys().collect::<Vec<_>>();
    let rewrap = |more: &[&str]| {
        let epoch = record.epoch().unwrap().to_string();
        let leak = [&[epoch.as_str(), "--rewrap", "--reason", "drill"], more].concat();
        desk.unlocked(&["vault", "keys", "leak"], &leak)
    };
    assert_eq!(desk.say(&record, "he called again", usize::MAX).unwrap().number, 1);
    let whole = (names("store"), names("second"));
    assert_eq!(whole.0, whole.1);
    let mut whole_steps = 0;
    for steps in 1.. {
        reset();
        let ended = desk.say(&record, "he called again", steps);
        // Whoever looks next sees it or not, and never half of it.
        let seen = desk.history(&record).len() - 2;
        let again = desk.say(&record, "he called again", usize::MAX).unwrap();
        assert_eq!((again.number, again.was_there), (1, seen == 1), "after {steps} steps");
        assert_eq!((names("store"), names("second")), whole, "after {steps} steps");
        assert_eq!(desk.history(&record).len(), 3, "after {steps} steps");
        if steps % 3 == 0 || ended.is_some() {
            desk.assert_rebuilt();
            assert_success(&desk.vault(&["copies", "run"], &[]));
            assert_success(&desk.vault(&["scrub"], &["--days", "0"]));
        }
        if ended.is_some() {
            assert!(steps > 8, "only {steps} steps");
            break;
        }
        whole_steps = steps;
    }
    // Said again with nobody looking in between; envelopes are not exchanged where a header would be left.
    for steps in 1..=whole_steps {
        reset();
        assert!(desk.say(&record, "he called again", steps).is_none());
        let is_there = names("store").iter().any(|path| path.to_string_lossy().ends_with("version.json"));
        let is_known = desk.record().files.len() > record.files.len();
        if is_there {
            let refused = rewrap(&[]);
            assert_eq!(refused.status.success(), is_known, "after {steps} steps: {}", stderr(&refused));
            let said = String::from_utf8_lossy(&refused.stdout).into_owned();
            assert_eq!(said.contains("`sejf history` takes it over"), !is_known, "{said}");
        }
        let again = desk.say(&record, "he called again", usize::MAX).unwrap();
        assert_eq!((again.number, again.was_there), (1, is_there), "after {steps} steps");
        if is_there && !is_known {
            assert_success(&rewrap(&["--go-on"]));
        }
        assert_eq!((names("store"), names("second")), whole, "after {steps} steps");
        assert_eq!(desk.history(&record)[1]["change"]["note"]["text"], "he called again");
    }
    // Another one begins where the first was cut off before it was said, and has the number.
    reset();
    assert!(desk.say(&record, "the first", 3).is_none());
    assert_eq!(desk.say(&record, "the second", usize::MAX).unwrap().number, 1);
    assert_eq!(desk.history(&record)[1]["change"]["note"]["text"], "the second");
    desk.assert_rebuilt();
}

#[test]
fn of_several_at_once_nothing_is_lost_and_who_saw_an_older_state_is_told() {
    let desk = Desk::new();
    let record = desk.record();
    let at_once = |after: &[&str]| -> Vec<Output> {
        std::thread::scope(|scope| {
            let one = |n: usize| {
                let (desk, record) = (&desk, &record);
                move || {
                    let note = format!("note {n}");
                    desk.annotate("note", record, &[&["--text", note.as_str()], after].concat())
                }
            };
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(one(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let said = at_once(&["--after", "0"]);
    assert_eq!(said.iter().filter(|output| output.status.success()).count(), 1);
    for lost in said.iter().filter(|output| !output.status.success()) {
        assert!(stderr(lost).contains("has version 1 by now"), "{}", stderr(lost));
    }
    let said = at_once(&[]);
    let is_written = said.iter().filter(|output| output.status.success()).count();
    assert_eq!(is_written, 4, "{}", said.iter().map(stderr).collect::<String>());
    let history = desk.history(&record);
    let mut notes: Vec<_> =
        history.iter().filter_map(|line| line["change"]["note"]["text"].as_str()).collect();
    assert!((4..=5).contains(&notes.len()), "{notes:?}");
    notes.sort_unstable();
    notes.dedup();
    assert_eq!(notes, ["note 0", "note 1", "note 2", "note 3"]);
    desk.assert_rebuilt();
}

#[test]
fn it_is_in_all_places_mended_where_it_is_not_and_exported() {
    let desk = Desk::new();
    let record = desk.record();
    let (second, away) = (desk.path("second"), desk.path("away"));
    assert_success(&desk.annotate("note", &record, &["--text", "the first"]));
    assert_eq!(below(&desk.path("store")), below(&second), "the other place has it at once");
    // A place that is away gets it later.
    fs::rename(&second, &away).unwrap();
    assert_success(&desk.annotate("note", &record, &["--text", "the second"]));
    fs::rename(&away, &second).unwrap();
    assert_ne!(below(&desk.path("store")), below(&second));
    assert_success(&desk.vault(&["copies", "run"], &[]));
    assert_eq!(below(&desk.path("store")), below(&second));

    // Lost and damaged objects of versions are mended as any are.
    let whole = below(&second);
    let version = |end: &str| {
        let name = whole.keys().find(|path| path.to_string_lossy().ends_with(end));
        second.join(name.unwrap_or_else(|| panic!("no {end}")))
    };
    fs::remove_file(version(".v1.body")).unwrap();
    fs::write(version(".v2.version.json"), "{}").unwrap();
    assert_eq!(desk.vault(&["scrub"], &["--days", "0"]).status.code(), Some(1));
    assert_eq!(below(&second), whole);
    assert_success(&desk.vault(&["scrub"], &["--days", "0"]));
    let store = desk.path("store");
    let first = store.join(version(".v1.hdr").strip_prefix(&second).unwrap());
    fs::remove_file(first).unwrap();
    // Until then it is read from the other place.
    assert_eq!(desk.history(&record).len(), 4);
    assert_eq!(desk.vault(&["scrub"], &["--days", "0"]).status.code(), Some(1));
    assert_eq!(below(&store), whole);
    let practice = desk.path("practice");
    let test = desk.unlocked(&["restore-test"], &["--to", text(&practice)]);
    assert_success(&test);

    // Slips tell that there is something, and no more.
    let slip = fs::read(version(".v1.version.json")).unwrap();
    let slip = VersionSlip::from_bytes(&slip, &record.id, 1).unwrap();
    assert_eq!(slip.bodies.len(), 1);

    // Put under another envelope, it is under that in all places.
    let epoch = record.epoch().unwrap().to_string();
    let leak = ["--rewrap", "--reason", "drill"];
    let leaked = desk.unlocked(&["vault", "keys", "leak"], &[&[epoch.as_str()], &leak[..]].concat());
    assert_success(&leaked);
    assert_eq!(below(&store), below(&second));
    assert_ne!(below(&store), whole);
    assert_success(&desk.annotate("note", &record, &["--text", "the third"]));
    assert_eq!(desk.history(&record).len(), 5);
    desk.assert_rebuilt();

    let to = desk.path("bundle");
    let id = record.id.to_string();
    let args = [&id, "--to", text(&to), "--for", "court", "--reason", "court-order", "--note", "II K 1/26"];
    assert_success(&desk.unlocked(&["export"], &args));
    let checked = sejf(&["verify", "--bundle", text(&to)]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("nothing is changed"), "{}", stderr(&checked));
    for (number, note) in [(1, "the first"), (2, "the second"), (3, "the third")] {
        let path = to.join(format!("recordings/{id}/history/{number}.json"));
        let document: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(document["change"]["note"]["text"], note);
    }
}

/// A catalog that was made anew from a place that had lost a slip does not know of the version.
#[test]
fn a_number_is_taken_where_any_place_has_its_slip() {
    // Of the last one a place that has no slip of it says nothing; the catalog of before does.
    for (lost, told) in
        [(2, "bring it back into this place before the catalog is replaced"), (3, "1 differences")]
    {
        let desk = Desk::new();
        let record = desk.record();
        for note in ["the first", "the second", "the third"] {
            assert_success(&desk.annotate("note", &record, &["--text", note]));
        }
        let whole = below(&desk.path("store"));
        let slip = desk.path("store").join(record.version_slip_object(lost));
        fs::remove_file(&slip).unwrap();
        let rebuilt = desk.unlocked(&["vault", "catalog", "rebuild"], &["--replace"]);
        let said = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
        assert!(said.contains(told), "{said}");
        assert_success(&desk.annotate("note", &record, &["--text", "the fourth"]));
        let history = desk.history(&record);
        let notes = history.iter().filter_map(|line| line["change"]["note"]["text"].as_str());
        assert_eq!(notes.collect::<Vec<_>>(), ["the first", "the second", "the third", "the fourth"]);
        assert_success(&desk.vault(&["copies", "run"], &[]));
        let (store, second) = (below(&desk.path("store")), below(&desk.path("second")));
        for (path, bytes) in &whole {
            assert_eq!(store.get(path), Some(bytes), "{}", path.display());
        }
        assert_eq!(store, second);
        desk.assert_rebuilt();
    }
}

#[test]
fn what_was_written_is_in_the_log_whoever_was_cut_off() {
    let desk = Desk::new();
    let record = desk.record();
    let ended = desk.say_while(&record, "cut off", |step| step != Step::SlipPut);
    assert!(matches!(ended, Err(AnnotateError::Ended(Step::SlipPut))), "{ended:?}");
    assert!(!desk.log().contains("\"found\":true"));
    let digest = desk.history(&record)[1]["sha256"].as_str().unwrap().to_owned();
    let told = format!("{{\"found\":true,\"kind\":\"note\",\"sha256\":\"{digest}\",\"version\":1}}");
    assert_eq!(desk.log().matches(&told).count(), 1);
    desk.history(&record);
    assert_eq!(desk.log().matches(&told).count(), 1, "it is found once");

    // What fails after the slip has written something all the same, and says which version.
    let (home, id) = (desk.path("home"), record.id);
    let failed = desk.say_while(&record, "not cataloged", move |step| {
        if step == Step::SlipPut {
            let home = home.clone();
            let destroyed = std::thread::spawn(move || {
                wait(async {
                    let catalog = Vault::open(&home).unwrap().catalog().await.unwrap();
                    catalog.set_destroyed(&[id]).await.unwrap();
                    catalog.close().await;
                });
            });
            destroyed.join().unwrap();
        }
        true
    });
    let Err(AnnotateError::Unfinished { number: 2, sha256, .. }) = failed else { panic!("{failed:?}") };
    let told = format!("version 2, whose document has SHA-256 {sha256}, was written");
    assert_eq!(desk.log().matches(&told).count(), 1);
}

/// Packets of an Ogg Opus file, but for the two headers.
fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(file));
    let mut packets = Vec::new();
    while let Some(packet) = reader.read_packet().unwrap() {
        packets.push(packet.data);
    }
    packets.split_off(2)
}

#[test]
fn a_redacted_copy_is_silent_where_it_was_asked_and_the_original_stays() {
    let desk = Desk::new();
    let record = desk.record();
    let before = desk.world.opened();
    let redact = |more: &[&str]| desk.annotate("redact", &record, more);
    assert_eq!(redact(&["--span", "9:00:00-9:00:01"]).status.code(), Some(2), "after its end");
    assert_eq!(redact(&["--span", "2-1"]).status.code(), Some(2));
    assert_success(&redact(&["--span", "00:00-00:01"]));
    // Said again, it is there once.
    let again = redact(&["--span", "00:00-00:01", "--json"]);
    assert_success(&again);
    assert_eq!((&lines(&again)[0]["version"], &lines(&again)[0]["was_there"]), (&1.into(), &true.into()));
    let history = desk.history(&record);
    let redacted = &history[1]["change"]["redacted"];
    assert_eq!(redacted["spans"], serde_json::json!([{ "from_ms": 0, "to_ms": 1_000 }]));
    let name = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let (of, copy) = (name(&redacted["of"]), name(&redacted["file"]["name"]));
    assert_eq!(copy, format!("{}.v1.opus.age", record.id));

    let after = desk.world.opened();
    let (original, silenced) = (packets(&after[&of]), packets(&after[&copy]));
    assert_eq!(after[&of], before[&of], "the original stays");
    assert_eq!(original.len(), silenced.len());
    assert!(original.len() > 60, "only {} packets", original.len());
    assert_eq!(original[52..], silenced[52..]);
    assert!(silenced[..52].iter().all(|packet| packet[..] == [0x98, 2, 0xff, 0xfe, 0x98, 0xff, 0xfe]));
    assert_ne!(original[..52], silenced[..52]);
    assert_eq!(below(&desk.path("store")), below(&desk.path("second")), "the other place has it at once");
    desk.assert_rebuilt();
    // Restored for practice, it is decoded to its end as any sound is.
    let practice = desk.path("practice");
    assert_success(&desk.unlocked(&["restore-test"], &["--to", text(&practice)]));
    // No plain sound is left anywhere.
    for dir in ["home", "store", "second"] {
        let plain = below(&desk.path(dir)).into_iter().find(|(_, bytes)| holds(bytes, "OpusHead"));
        assert!(plain.is_none(), "{plain:?}");
    }
    let to = desk.path("bundle");
    let id = record.id.to_string();
    let args = [&id, "--to", text(&to), "--for", "court", "--reason", "court-order", "--note", "II K 1/26"];
    assert_success(&desk.unlocked(&["export"], &args));
    let given = fs::read(to.join(format!("recordings/{id}/history/1.opus"))).unwrap();
    assert_eq!(packets(&given), silenced);
}
