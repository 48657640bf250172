//! What is installed with the program makes sense to who reads it: systemd, Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unit for people to install, and all that it leaves open, in `systemd-analyze`'s own measure.
#[test]
fn the_unit_leaves_little_open() {
    ["sejf.service", "sejf-vault.service"].into_iter().for_each(leaves_little_open);
}

fn leaves_little_open(unit: &str) {
    let unit = deploy(unit);
    let analysed = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .output();
    let Ok(analysed) = analysed else {
        println!("skipped: no systemd-analyze here");
        return;
    };
    let said = String::from_utf8_lossy(&analysed.stdout).into_owned();
    let Some(line) = said.lines().find(|line| line.contains("Overall exposure level")) else {
        println!(
            "skipped: this systemd-analyze has no --offline: {}",
            String::from_utf8_lossy(&analysed.stderr)
        );
        return;
    };
    let level = line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).expect("a number");
    assert!(level <= EXPOSURE_MAX, "{}: exposure {level}\n{said}", unit.display());
}

#[test]
fn the_units_have_no_word_that_systemd_does_not_know() {
    let units = [deploy("sejf.service"), deploy("sejf-vault.service"), deploy("sejf-metrics.socket")];
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").args(&units).output() else {
        println!("skipped: no systemd-analyze here");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    for complaint in said.lines().filter(|line| line.contains("ignoring") || line.contains("Unknown")) {
        // systemd before 253: the README says what to do.
        let old = complaint.contains("notify-reload");
        // The units of the machine are not ours.
        assert!(old || !complaint.contains(text(&deploy(""))), "{complaint}");
    }
}

/// A stop that hangs is ended by the program, which says what is lost; not by who only kills.
#[test]
fn the_unit_waits_longer_for_the_end_than_the_program() {
    let unit = fs::read_to_string(deploy("sejf.service")).expect("unit");
    let line = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let seconds: u64 =
        line.and_then(|value| value.strip_suffix('s')).expect("seconds").parse().expect("a number");
    assert!(seconds > sejf::shell::signals::STOP_PATIENCE.as_secs() + 5, "{seconds} s");
}

/// What the program counts on to be there when it runs under the unit.
#[test]
fn the_unit_gives_what_the_recorder_needs() {
    let unit = fs::read_to_string(deploy("sejf.service")).expect("unit");
    for line in [
        "Type=notify-reload",
        "ExecStart=/usr/bin/sejf record --config /etc/sejf/sejf.toml",
        "AmbientCapabilities=CAP_NET_RAW",
        "CapabilityBoundingSet=CAP_NET_RAW",
        "LimitMEMLOCK=infinity",
        "StateDirectory=sejf",
    ] {
        assert!(unit.lines().any(|found| found == line), "no line `{line}`");
    }
    let calls: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
        .flat_map(str::split_whitespace)
        .collect();
    for call in ["capset", "seccomp", "landlock_restrict_self", "mlockall"] {
        assert!(calls.contains(&call), "the sandbox needs {call}");
    }
    let metrics = fs::read_to_string(deploy("sejf-metrics.socket")).expect("unit");
    assert!(metrics.contains("FileDescriptorName=metrics") && metrics.contains("ListenStream=127.0.0.1:"));
}

#[test]
fn the_vault_has_an_account_a_folder_and_no_capability() {
    let read = |name: &str| fs::read_to_string(deploy(name)).expect("a file");
    let unit = read("sejf-vault.service");
    for line in [
        "Type=notify",
        "ExecStart=/usr/bin/sejf vault serve /var/lib/sejf-vault --listen [::]:7443",
        "User=sejf-vault",
        "StateDirectory=sejf-vault",
        "CapabilityBoundingSet=",
        "MemorySwapMax=0",
        "LimitCORE=0",
    ] {
        assert!(unit.lines().any(|found| found == line), "no line `{line}`");
    }
    assert!(read("sejf.sysusers").lines().any(|line| line.starts_with("u sejf-vault ")));
    assert!(
        read("sejf.tmpfiles").lines().any(|line| line.starts_with("d /var/lib/sejf-vault 0700 sejf-vault"))
    );
}

/// An alert on a metric that nobody exports never fires.
#[test]
fn alerts_use_metrics_that_there_are() {
    let rules = fs::read_to_string(deploy("prometheus/sejf-alerts.yml")).expect("rules");
    let used = metric_names(&rules);
    assert!(used.len() > 10, "{used:?}");
    let known: BTreeSet<String> = METRICS.iter().map(ToString::to_string).collect();
    let unknown: Vec<_> = used.iter().filter(|name| !known.contains(base(name))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let unwatched: Vec<_> =
        known.iter().filter(|name| !used.iter().any(|used| base(used) == *name)).collect();
    assert!(unwatched.is_empty(), "no alert looks at {unwatched:?}");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/shell/metrics.rs");
    if let Ok(source) = fs::read_to_string(source) {
        for name in METRICS {
            let stem =
                name.trim_start_matches("sejf_").trim_end_matches("_total").trim_end_matches("_seconds");
            let stem = stem.trim_end_matches("_bytes");
            assert!(source.contains(stem), "src/shell/metrics.rs does not export {name}");
        }
    }
}

#[test]
fn prometheus_takes_the_rules() {
    let rules = deploy("prometheus/sejf-alerts.yml");
    match Command::new("promtool").args(["check", "rules"]).arg(&rules).output() {
        Ok(checked) => {
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
        Err(_) => println!("skipped: no promtool here (package prometheus)"),
    }
    let text = fs::read_to_string(rules).expect("rules");
    let alerts = text.matches("- alert: ").count();
    for each in [" expr: ", " severity: ", " summary: "] {
        assert_eq!(text.matches(each).count(), alerts, "{each}");
    }
    for line in text.lines() {
        let open = |bracket| line.matches(bracket).count();
        assert!(open('(') == open(')') && open('[') == open(']') && open('{') == open('}'), "{line}");
    }
}

fn metric_names(text: &str) -> BTreeSet<String> {
    let word = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    text.split(word).filter(|word| word.starts_with("sejf_")).map(String::from).collect()
}

/// A histogram is queried by its buckets.
fn base(name: &str) -> &str {
    name.trim_end_matches("_bucket")
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(path: &Path) -> &str {
    crate::support::text(path)
}

const EXPOSURE_MAX: f64 = 1.5;

/// What the recorder exports.
const METRICS: [&str; 17] = [
    "sejf_calls_live",
    "sejf_calls_total",
    "sejf_canary_failures_total",
    "sejf_canary_last_success_timestamp_seconds",
    "sejf_capture_kernel_drops_total",
    "sejf_capture_queue_drops_total",
    "sejf_commit_seconds",
    "sejf_disk_free_bytes",
    "sejf_disk_full_in_seconds",
    "sejf_interface_up",
    "sejf_journal_degraded",
    "sejf_journal_lag_seconds",
    "sejf_packets_captured_total",
    "sejf_packets_discarded_total",
    "sejf_packets_recorded_total",
    "sejf_queue_depth",
    "sejf_shedding_level",
];
