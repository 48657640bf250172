use serde_json::{Value, json};

use super::*;
use crate::recording::rules::{HeaderMatch, Match, Pause, RuleSpec, TimeMatch};
use crate::shell::keys::KeyKind;

fn key() -> String {
    keys::generate(KeyKind::X25519).unwrap().recipient
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("sejf.toml"), text)
}

/// A configuration with nothing odd, and more of it.
fn with(more: &str) -> String {
    let (a, b) = (key(), key());
    format!("[[capture]]\ninterface = 'lo'\n[recipients]\ndefault = ['{a}', '{b}']\n{more}")
}

const RULE: &str = "[[rule]]\nname = 'all'\naction = 'record'\n";

fn odd(text: &str) -> Vec<String> {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}"));
    let there = ["eth0".to_owned(), "lo".to_owned()];
    config.oddities(Some(&there)).iter().map(ToString::to_string).collect()
}

#[test]
fn the_sample_is_taken_as_it_is_and_records_nothing() {
    let config = parse(SAMPLE).unwrap();
    let oddities = config.oddities(None);
    assert_eq!(oddities, [Oddity::RecordsNothing]);
    assert!(config.rules.rules().is_empty());
}

/// The sample with all that is commented out put in. A comment has a space after its mark, a key has none.
fn uncommented() -> String {
    let lines = SAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace("age1-of-the-archive", &key()).replace("age1-of-who-stands-in", &key())
}

fn tables() -> Value {
    let text = uncommented();
    parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let value: toml::Value = toml::from_str(&text).unwrap();
    serde_json::to_value(value).unwrap()
}

#[test]
fn the_sample_names_every_key_and_its_defaults_are_the_real_ones() {
    let shown = tables();
    let defaults = serde_json::to_value(Sections::default()).unwrap();
    let mut compared = 0;
    for (section, values) in defaults.as_object().unwrap() {
        let there = &shown[section];
        assert!(!there.is_null(), "[{section}] is not in the sample");
        let (values, there) = match section.as_str() {
            "recipients" | "trunk" | "rule" => continue,
            "capture" => (serde_json::to_value(Capture::default()).unwrap(), &there[0]),
            _ => (values.clone(), there),
        };
        for (name, default) in values.as_object().unwrap() {
            let there = &there[name];
            assert!(!there.is_null(), "[{section}] {name} is not in the sample");
            if default.is_null() || name == "interface" {
                assert!(name == "interface" || comment_above(section, name).contains("xample"), "{name}");
            } else {
                compared += 1;
                assert_eq!(there, default, "[{section}] {name}");
            }
        }
    }
    assert!(compared > 25, "{compared}");
}

/// The comment lines above a key of a section in the sample.
fn comment_above(section: &str, key: &str) -> String {
    let mut lines = SAMPLE.lines().skip_while(|line| line.trim_matches(['[', ']', '#']) != section);
    let mut comment = String::new();
    lines.next();
    for line in lines {
        if line.starts_with(&format!("#{key} ")) {
            return comment;
        }
        if line.starts_with("# ") {
            comment.push_str(line);
        } else {
            comment.clear();
        }
    }
    panic!("{section}.{key} is not in the sample");
}

#[test]
fn the_sample_names_every_key_of_trunks_and_rules() {
    let shown = tables();
    let rule: RuleSpec = toml::from_str("name = 'x'\naction = 'record'").unwrap();
    for (keys, there) in [
        (serde_json::to_value(TrunkSpec::default()), &shown["trunk"][0]),
        (serde_json::to_value(&rule), &shown["rule"][0]),
        (serde_json::to_value(Match::default()), &shown["rule"][0]["match"]),
        (serde_json::to_value(Pause::default()), &shown["rule"][0]["pause"]),
        (serde_json::to_value(Pause::default()), &shown["trunk"][0]["pause"]),
        (serde_json::to_value(HeaderMatch::default()), &shown["rule"][0]["match"]["header"]),
        (serde_json::to_value(TimeMatch::default()), &shown["rule"][0]["match"]["time"]),
    ] {
        for key in keys.unwrap().as_object().unwrap().keys() {
            assert!(!there[key].is_null(), "{key} is not in the sample: {there}");
        }
    }
    // What holds where neither rule nor trunk says anything.
    let set = RuleSet::new(&[], &[rule], None, &|_| None).unwrap();
    let settings = rules::settings(&set.rules()[0], None);
    for there in [&shown["trunk"][0], &shown["rule"][0]] {
        assert_eq!(there["format"], serde_json::to_value(settings.format).unwrap());
        assert_eq!(there["retention"], settings.retention);
        assert_eq!(there["priority"], settings.priority);
        assert_eq!(there["mask_digits"], settings.mask_digits);
        assert_eq!(there["recipients"], json!([DEFAULT_GROUP]));
    }
}

#[test]
fn errors_name_line_key_and_what_was_meant() {
    let secret = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ";
    for (text, words) in [
        (
            "[[capture]]\ninterface = 'lo'\nsnaplenn = 7\n",
            &["line 3", "[[capture]]", "`snaplenn`", "`snaplen`"][..],
        ),
        ("[recroder]\n", &["line 1", "`recroder`", "`recorder`"]),
        ("[log]\nlevel = 'loud'\n", &["line 2", "[log]", "loud"]),
        ("[log]\nlevle = 'info'\n", &["line 2", "did you mean `level`"]),
        ("[journal]\nquux = 1\n", &["line 2", "there are directory, segment"]),
        ("[journal]\nsegment = '64MB'\n", &["line 2", "`64MB` is no size"]),
        ("[journal]\nsegment = 64\n", &["line 2", "string"]),
        ("[recorder\n", &["line 1"]),
        ("[recorder]\nname = 'a'\nname = 'b'\n", &["line 3", "duplicate"]),
        (
            "[[capture]]\ninterface = 'lo'\n[[trunk]]\nname = 'canary'\naddresses = '::/0'\n",
            &["line 4", "trunk.name", "`canary`", "another name"],
        ),
        ("", &["no `[[capture]]`"]),
        ("[[capture]]\n", &["line 1", "capture.interface", "1 to 15 letters"]),
        ("[[capture]]\ninterface = 'lo'\nthreads = 65\n", &["line 3", "capture.threads", "1 to 64"]),
        ("[[capture]]\ninterface = 'lo'\n[[capture]]\ninterface = 'lo'\n", &["line 4", "`lo`", "twice"]),
        ("[[capture]]\ninterface = 'lo'\n[journal]\nhand_over = '2s'\n", &["line 4", "2s", "10ms to 750ms"]),
        (
            "[[capture]]\ninterface = 'lo'\n[[rule]]\nname = 'a'\naction = 'record'\n",
            &["line 3", "nobody", "keygen"],
        ),
        (
            "[[capture]]\ninterface = 'lo'\n[[rule]]\nname = 'a'\naction = 'keep'\n",
            &["line 5", "`keep`", "`record`"],
        ),
        ("[[rule]]\nname = 'a'\n", &["line 1", "[[rule]]", "missing field `action`"]),
        (
            "[[rule]]\nname = 'a'\naction = 'record'\nmatch = { to_usr = 'x' }\n",
            &["line 4", "`to_usr`", "`to_user`"],
        ),
        (
            "[[rule]]\nname = 'a'\naction = 'record'\nmatch.source = '192.0.2.9/24'\n",
            &["line 4", "`192.0.2.0/24`"],
        ),
        (
            "[[rule]]\nname = 'a'\naction = 'record'\n[rule.match.header]\nnam = 'x'\n",
            &["line 5", "[rule.match.header]", "`name`"],
        ),
        (
            "[[capture]]\ninterface = 'lo'\n[recipients]\nx = 'age1qqq'\n",
            &["line 4", "recipients.x", "group `x`", "misspelt"],
        ),
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{text}\n{said}");
        assert!(!said.contains('\n'), "{said}");
    }
    let text = format!("[[capture]]\ninterface = 'lo'\n[recipients]\nx = '{secret}'\n");
    let said = parse(&text).unwrap_err().to_string();
    assert!(said.contains("private key") && !said.contains("QQQQ"), "{said}");
}

#[test]
fn rules_are_refused_where_their_recipients_make_no_sense() {
    let other = key();
    for (more, words) in [
        (format!("alone = '{other}'\n{RULE}recipients = 'alone'\n"), ["one recipient only", "allow_single"]),
        (format!("{RULE}recipients = 'defualt'\n"), ["rule `all`", "did you mean `default`"]),
        (format!("{RULE}recipients = 'age1qqq'\n"), ["rule `all`", "misspelt"]),
        (
            format!(
                "alone = '{other}'\n[[trunk]]\nname = 't'\naddresses = '::/0'\nrecipients = 'alone'\n{RULE}"
            ),
            ["rule `all` on trunk `t`", "one recipient only"],
        ),
        (format!("{RULE}trunk = 't'\n"), ["line 5", "no trunk `t`"]),
        (format!("{RULE}match.time.zone = 'Europe/Warszawa'\n"), ["rule `all`", "Europe/Warszawa"]),
    ] {
        let said = parse(&with(&more)).unwrap_err().to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{more}\n{said}");
    }
    let config =
        parse(&with(&format!("b = '{other}'\n{RULE}recipients = ['default', 'b', '{other}']\n"))).unwrap();
    let settings = rules::settings(&config.rules.rules()[0], None);
    assert_eq!(config.recipients(&settings).unwrap().len(), 3);
}

#[test]
fn what_is_odd_is_told() {
    assert_eq!(odd(&with(RULE)), Vec::<String>::new());
    let other = key();
    for (text, words) in [
        (with(""), ["no rule records", "[[rule]]"]),
        (with(RULE).replace("'lo'", "'eth7'"), ["`eth7` does not exist", "eth0, lo"]),
        (with(RULE).replace("'lo'", "'lo'\nring = '4MiB'"), ["holds 4MiB", "33 ms"]),
        (with(RULE).replace("'lo'", "'lo'\nsnaplen = 1514"), ["is 1514", "1700"]),
        (with(&format!("x = '{other}'\n{RULE}")), ["group `x`", "opens nothing"]),
        (with(&format!("[metrics]\nlisten = '0.0.0.0:9464'\n{RULE}")), ["0.0.0.0:9464", "[metrics]"]),
        (
            with(&format!("{RULE}[[rule]]\nname = 'b'\naction = 'exclude'\n")),
            ["`b` can never match", "`all`"],
        ),
        (with(&format!("{RULE}match.percentage = 0\n")), ["`all` can never match", "percentage"]),
        (
            with(&format!(
                "[[trunk]]\nname = 't'\naddresses = '::/0'\n[[trunk]]\nname = 'u'\naddresses = '::/0'\n{RULE}trunk = 't'\n"
            )),
            ["trunk `u`", "never used"],
        ),
    ] {
        let said = odd(&text);
        assert_eq!(said.len(), 1, "{text}\n{said:?}");
        assert!(words.iter().all(|word| said[0].contains(word)), "{text}\n{said:?}");
    }
    // One who can open is odd where it is permitted, and two of the same are one.
    let text = format!(
        "[recorder]\nallow_single_recipient = true\n[[capture]]\ninterface = 'lo'\n[recipients]\ndefault = ['{other}', '{other}']\n{RULE}"
    );
    let found = parse(&text);
    assert!(found.as_ref().is_err_and(|error| error.to_string().contains("twice")), "{found:?}");
}

#[test]
fn changes_are_named_with_what_they_take() {
    let before = with(&format!(
        "[[trunk]]\nname = 't'\naddresses = '192.0.2.0/24'\n{RULE}match.to_user = '+48*'\n[[rule]]\nname = 'b'\naction = 'exclude'\n"
    ));
    let old = parse(&before).unwrap();
    assert_eq!(Config::diff(&old, &old), []);
    let after = before
        .replace("'lo'", "'lo'\nsnaplen = 2000\n[[capture]]\ninterface = 'eth0'")
        .replace("+48*", "+49*")
        .replace("'192.0.2.0/24'", "['192.0.2.0/24', '2001:db8::/32']\nmask_digits = true")
        .replace("name = 'b'", "name = 'c'")
        + "[log]\nlevel = 'debug'\nformat = 'json'\n[recorder]\nshards = 3\nrevision = 2\n";
    let new = parse(&after).unwrap();
    assert_ne!(old.rules.version(), new.rules.version());
    let changes = Config::diff(&old, &new);
    let find = |key: &str| {
        let found = changes.iter().find(|change| change.key == key);
        found.unwrap_or_else(|| panic!("{key} is not among {changes:?}"))
    };
    for (key, restart) in [
        ("capture.lo.snaplen", true),
        ("capture.eth0.threads", true),
        ("log.level", false),
        ("log.format", true),
        ("recorder.revision", false),
        ("recorder.shards", true),
        ("rule order", false),
        ("rule.all.match", false),
        ("rule.b.action", false),
        ("rule.c.action", false),
        ("trunk.t.addresses", false),
        ("trunk.t.mask_digits", false),
    ] {
        assert_eq!(find(key).restart, restart, "{key}");
    }
    assert_eq!(find("capture.lo.snaplen").to_string(), "capture.lo.snaplen: 65535 → 2000 (needs a restart)");
    assert_eq!(
        find("rule.all.match").to_string(),
        r#"rule.all.match: {"to_user":["+48*"]} → {"to_user":["+49*"]}"#
    );
    assert_eq!(find("rule.b.action").brief(), "rule.b.action removed");
    // Numbers and addresses stay out of what logs say.
    assert!(changes.iter().all(|change| !change.brief().contains("+4") && !change.brief().contains("192")));
}
