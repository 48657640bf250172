//! The configuration from the command line: what is refused and where, what is odd, and which rule the
//! calls of a capture take.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::{Bench, assert_success, lines, own_captures, sejf, text, without};

/// Two who can open, so that nothing is odd but what a test puts in.
fn recipients(bench: &Bench) -> String {
    let made = sejf(&["keygen"]);
    let words = String::from_utf8(made.stdout).expect("text");
    let second = words.split_whitespace().find(|word| word.starts_with("age1")).expect("a recipient");
    format!("[recipients]\ndefault = [\"{}\", \"{second}\"]\n", bench.recipient)
}

fn write(bench: &Bench, more: &str) -> PathBuf {
    let path = bench.path("sejf.toml");
    let capture = "[[capture]]\ninterface = \"lo\"\n";
    fs::write(&path, format!("{capture}{}{more}", recipients(bench))).expect("file");
    path
}

fn check(path: &Path, more: &[&str]) -> Output {
    sejf(&[&["config", "check", "--config", text(path)], more].concat())
}

const RECORD: &str = "[[rule]]\nname = \"all\"\naction = \"record\"\n";

#[test]
fn check_prints_what_is_understood_and_exits_by_what_it_finds() {
    let bench = Bench::new();
    let path = write(
        &bench,
        "[[trunk]]\nname = \"carrier\"\naddresses = [\"192.0.2.0/24\"]\nmask_digits = true\n\
         [[rule]]\nname = \"sales\"\ntrunk = \"carrier\"\naction = \"record\"\nretention = \"long\"\n\
         match = { to_user = \"+48*\", not = { user_agent = \"*scanner*\" } }\n",
    );
    let checked = check(&path, &[]);
    assert_success(&checked);
    let said = String::from_utf8(checked.stdout).expect("text");
    for words in [
        "/var/lib/sejf/spool",
        "192.0.2.0/24",
        "masked",
        "to_user +48* and not (user_agent *scanner*)",
        "long",
        "are not recorded",
    ] {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
    assert!(!said.contains("ODD") && !said.contains(&bench.recipient), "{said}");

    let odd = check(&write(&bench, &format!("[metrics]\nlisten = \"0.0.0.0:9464\"\n{RECORD}")), &[]);
    assert_eq!(odd.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&odd.stdout).contains("ODD: [metrics]"));

    let odd = check(&write(&bench, ""), &["--json"]);
    assert_eq!(odd.status.code(), Some(1));
    let said = &lines(&odd.stdout)[0];
    assert_eq!(said["odd"][0]["oddity"], "records-nothing");
    assert_eq!(said["sections"]["journal"]["hand_over"], "150ms");
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_place_and_remedy() {
    let bench = Bench::new();
    let path = write(&bench, "[[rule]]\nname = \"all\"\naction = \"record\"\nrecipents = [\"default\"]\n");
    let wrong = check(&path, &[]);
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0));
    let said = String::from_utf8(wrong.stderr).expect("text");
    assert_eq!(said.lines().count(), 1, "{said}");
    for words in ["sejf.toml", "line 8", "[[rule]]", "`recipents`", "did you mean `recipients`?"] {
        assert!(said.contains(words), "{words} is missing: {said}");
    }
    let wrong = check(&path, &["--json"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = &lines(&wrong.stdout)[0];
    assert_eq!((&said["ok"], &said["line"]), (&Value::from(false), &Value::from(8)));

    let missing = check(&bench.path("none.toml"), &[]);
    assert_eq!(missing.status.code(), Some(2));
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("none.toml") && said.contains("No such file"), "{said}");

    let binary = bench.path("binary.toml");
    fs::write(&binary, [0xff, 0xfe, 0]).expect("file");
    assert_eq!(check(&binary, &[]).status.code(), Some(2));
}

#[test]
fn the_sample_is_shown_and_is_what_is_delivered() {
    let shown = sejf(&["config", "show", "--defaults"]);
    assert_success(&shown);
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sejf.toml");
    assert_eq!(shown.stdout, fs::read(&sample).expect("sample"));
    // It records nothing, and its interface need not exist here: odd, not wrong.
    assert_eq!(check(&sample, &[]).status.code(), Some(1));
    let bench = Bench::new();
    let shown = sejf(&["config", "show", "--config", text(&write(&bench, RECORD))]);
    assert_success(&shown);
    let sections: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(sections["capture"][0]["ring"], "64MiB");
}

fn test_rules(path: &Path, captures: &[&Path], more: &[&str]) -> Output {
    let mut args = vec!["rules", "test", "--config", text(path), "--pcap"];
    args.extend(captures.iter().map(|capture| text(capture)));
    args.extend(more);
    sejf(&args)
}

/// Every capture of the project, whatever its link type, transport and tags: each call takes the one rule
/// that is for all, once.
#[test]
fn every_call_of_every_capture_takes_a_rule_once() {
    let bench = Bench::new();
    let path = write(&bench, RECORD);
    let captures = own_captures();
    assert!(captures.len() > 30);
    for capture in &captures {
        let tested = test_rules(&path, &[capture], &["--json"]);
        assert_success(&tested);
        let calls = lines(&tested.stdout);
        let expected = calls_in(capture);
        assert_eq!(calls.len(), expected, "{}", capture.display());
        assert!(calls.iter().all(|call| call["rule"] == "all" && call["action"] == "record"));
        let ids: std::collections::BTreeSet<_> =
            calls.iter().map(|call| call["call_id"].to_string()).collect();
        assert_eq!(ids.len(), calls.len());
    }
}

/// Calls that replaying gives, by the golden file beside the capture.
fn calls_in(capture: &Path) -> usize {
    let golden = fs::read_to_string(format!("{}.expect", capture.display())).expect("golden file");
    let documents = serde_json::Deserializer::from_str(&golden).into_iter::<Value>();
    let ids = documents.flat_map(|document| {
        let ids = document.expect("JSON")["call"]["call_ids"].as_array().cloned().unwrap_or_default();
        ids.into_iter().map(|id| id.to_string())
    });
    ids.collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn rules_decide_on_what_the_capture_says_and_explain_it() {
    let bench = Bench::new();
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let path = write(
        &bench,
        "[[trunk]]\nname = \"here\"\naddresses = [\"192.0.2.0/24\", \"198.51.100.0/24\", \"2001:db8::/32\"]\n\
         [[rule]]\nname = \"tagged\"\naction = \"exclude\"\nmatch = { vlan = \"1-4094\" }\n\
         [[rule]]\nname = \"stream\"\naction = \"metadata\"\nmatch = { transport = \"tcp\" }\n\
         [[rule]]\nname = \"six\"\ntrunk = \"here\"\naction = \"record\"\nformat = \"wav\"\nmatch = { address = \"::/0\" }\n\
         [[rule]]\nname = \"never\"\naction = \"record\"\nmatch = { from_user = \"nobody\" }\n",
    );
    let decided = |name: &str| {
        let tested = test_rules(&path, &[&captures.join(name)], &["--json", "--explain"]);
        assert_success(&tested);
        lines(&tested.stdout).remove(0)
    };
    for (name, rule, action) in [
        ("vlan.pcap", "tagged", "exclude"),
        ("qinq.pcap", "tagged", "exclude"),
        ("tcp.pcap", "stream", "metadata"),
        ("tcp-segments.pcap", "stream", "metadata"),
        ("ipv6.pcap", "six", "record"),
        ("fragmented-invite-ipv6.pcap", "six", "record"),
        ("basic.pcap", "default", "exclude"),
    ] {
        let call = decided(name);
        assert_eq!((&call["rule"], &call["action"]), (&rule.into(), &action.into()), "{name}: {call}");
    }
    let call = decided("ipv6.pcap");
    assert_eq!((&call["format"], &call["trunk"]), (&"wav".into(), &"here".into()));
    let steps = decided("basic.pcap")["steps"].clone();
    let names: Vec<_> = steps.as_array().expect("steps").iter().map(|step| step["rule"].clone()).collect();
    assert_eq!(names, ["tagged", "stream", "six", "never"]);
    assert_eq!(steps[1]["unmet"][0]["found"], "udp");

    let told =
        test_rules(&path, &[&captures.join("basic.pcap"), &captures.join("vlan.pcap")], &["--explain"]);
    assert_success(&told);
    let said = String::from_utf8(told.stdout).expect("text");
    assert!(said.contains("no rule matches") && said.contains("not never: from_user nobody"), "{said}");
}

#[test]
fn a_rule_that_cannot_be_sure_is_told() {
    let bench = Bench::new();
    let whole = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/basic.pcap")).expect("capture");
    let capture = bench.path("late.pcap");
    fs::write(&capture, without(&whole, b"INVITE sip")).expect("file");
    let path = write(
        &bench,
        &format!(
            "[[rule]]\nname = \"out\"\naction = \"exclude\"\nmatch = {{ user_agent = \"*scanner*\" }}\n{RECORD}"
        ),
    );
    let tested = test_rules(&path, &[&capture], &["--json", "--explain"]);
    assert_success(&tested);
    let calls = lines(&tested.stdout);
    assert_eq!(calls.len(), 1, "{calls:?}");
    let call = &calls[0];
    assert_eq!((&call["rule"], &call["action"]), (&"undecided".into(), &"exclude".into()), "{call}");
    assert_eq!((&call["doubt"], &call["why"]), (&"out".into(), &Value::Null), "{call}");
    assert_eq!(call["steps"][0]["doubt"], "not told by response 200", "{call}");
    let told = test_rules(&path, &[&capture], &["--explain"]);
    let said = String::from_utf8(told.stdout).expect("text");
    for words in ["it cannot be told whether out matches", "perhaps out: user_agent *scanner*"] {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
}

#[test]
fn a_damaged_capture_is_said_and_a_missing_one_refused() {
    let bench = Bench::new();
    let path = write(&bench, RECORD);
    let whole = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/basic.pcap")).expect("capture");
    let cut = bench.path("cut.pcap");
    fs::write(&cut, &whole[..whole.len() - 7]).expect("file");
    let tested = test_rules(&path, &[&cut], &["--json"]);
    assert_eq!((tested.status.code(), lines(&tested.stdout).len()), (Some(1), 1));
    assert!(String::from_utf8_lossy(&tested.stderr).contains("damaged"));
    assert_eq!(test_rules(&path, &[&bench.path("none.pcap")], &[]).status.code(), Some(2));
}

#[test]
fn media_without_signalling_is_shown_where_a_rule_asks_for_it() {
    let bench = Bench::new();
    let whole = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/basic.pcap")).expect("capture");
    let capture = bench.path("media.pcap");
    fs::write(&capture, without(&whole, b"SIP/2.0")).expect("file");
    let rules =
        |condition: &str| format!("[[rule]]\nname = \"media\"\naction = \"record\"\nmatch = {condition}\n");
    let path = write(&bench, &rules("{ orphan = true, address = \"192.0.2.0/24\" }"));
    let tested = test_rules(&path, &[&capture], &["--json"]);
    assert_success(&tested);
    let calls = lines(&tested.stdout);
    assert_eq!(calls.len(), 1, "{calls:?}");
    let call = &calls[0];
    assert_eq!((&call["rule"], &call["orphan"], &call["from"]), (&"media".into(), &true.into(), &"-".into()));
    let addresses = format!("{} {}", call["src"], call["dst"]);
    assert!(addresses.contains("192.0.2.10:") && addresses.contains("198.51.100.10:"), "{call}");
    let path = write(&bench, &rules("{ address = \"192.0.2.0/24\" }"));
    let tested = test_rules(&path, &[&capture], &["--json"]);
    assert_success(&tested);
    assert!(tested.stdout.is_empty(), "no rule asks for it");
}

#[test]
fn every_condition_has_an_action_a_counter_and_a_way_to_force_it() {
    let table = sejf(&["config", "policies"]);
    assert_success(&table);
    let said = String::from_utf8(table.stdout).expect("text");
    let listed = sejf(&["config", "policies", "--json"]);
    assert_success(&listed);
    let rows = lines(&listed.stdout);
    assert!(rows.len() > 20, "{said}");
    for row in &rows {
        for key in ["condition", "action", "counter", "forced_by"] {
            let cell = row[key].as_str().expect("text");
            assert!(!cell.is_empty() && said.contains(cell), "{key} of {row} is not in:\n{said}");
        }
    }
    let forcible = rows.iter().filter_map(|row| row["forced_by"].as_str()?.strip_prefix("--force "));
    let mut count = 0;
    for name in forcible {
        count += 1;
        // Known, and then stopped by a configuration that is not there.
        let tried = sejf(&["record", "--force", name, "--config", "/nonexistent/sejf.toml"]);
        let said = String::from_utf8_lossy(&tried.stderr).into_owned();
        assert!(said.contains("/nonexistent/sejf.toml"), "{name}: {said}");
    }
    assert!(count >= 9, "{count}");
    let wrong = sejf(&["record", "--force", "ssrc-changed"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said.contains("no such condition") && said.contains("disk-full"), "{said}");
}
