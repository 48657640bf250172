use std::net::SocketAddr;

use super::*;

#[derive(serde::Deserialize)]
struct File {
    #[serde(default)]
    trunk: Vec<TrunkSpec>,
    #[serde(default)]
    rule: Vec<RuleSpec>,
}

fn zones(name: &str) -> Option<TimeZone> {
    (name == "Europe/Warsaw").then(|| TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap())
}

fn set(text: &str) -> Result<RuleSet, RuleError> {
    let file: File = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    RuleSet::new(&file.trunk, &file.rule, None, &zones)
}

/// A set of one rule on one trunk.
fn one(condition: &str) -> RuleSet {
    let text = format!(
        "[[trunk]]\nname = 'carrier'\naddresses = ['192.0.2.0/28', '2001:db8:a::/64']\n\
         [[rule]]\nname = 'it'\naction = 'record'\nmatch = {condition}\n"
    );
    set(&text).unwrap_or_else(|error| panic!("{condition}: {error}"))
}

fn endpoint(text: &str) -> Endpoint {
    let address: SocketAddr = text.parse().unwrap();
    Endpoint::new(address.ip().into(), address.port())
}

/// Wednesday 25 November 2026, 10:30 in Warsaw.
fn at() -> Stamp {
    serde_json::from_str("\"2026-11-25T09:30:00Z\"").unwrap()
}

const INVITE: &str = "INVITE sip:+48-22-555%30100;npdi@pbx.example.com:5062;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.5\r\n\
    From: \"A\" <sip:+48615550101@carrier.example.net>;tag=1\r\n\
    t: <sip:sales@EXAMPLE.com>\r\n\
    Call-ID: 4711@192.0.2.5\r\n\
    CSeq: 1 INVITE\r\n\
    User-Agent: Asterisk PBX 20\r\n\
    P-Asserted-Identity: \"A\" <sip:+48615550199@ims.example.net>, <tel:+48615550101>\r\n\
    X-Tenant: acme\r\n\
    X-Tenant: other\r\n\
    Subject: folded\r\n here\r\n\
    \r\n";

fn opening<'a>(message: Option<&'a Message<'a>>) -> Opening<'a> {
    Opening {
        at: at(),
        src: endpoint("192.0.2.5:5060"),
        dst: endpoint("198.51.100.7:5070"),
        vlans: &[100, 20],
        tunnel: Some(Tunnel { kind: TunnelKind::Vxlan, id: 7 }),
        transport: Transport::Udp,
        message,
        orphan: message.is_none(),
    }
}

/// Every condition, with a value that holds and one that does not.
const CONDITIONS: &[(&str, bool)] = &[
    ("{}", true),
    ("{ address = '192.0.2.0/24' }", true),
    ("{ address = ['203.0.113.0/24', '198.51.100.7'] }", true),
    ("{ address = '203.0.113.0/24' }", false),
    ("{ source = '192.0.2.5' }", true),
    ("{ source = '198.51.100.7' }", false),
    ("{ destination = '198.51.100.0/24' }", true),
    ("{ destination = '192.0.2.5' }", false),
    ("{ port = 5060 }", true),
    ("{ port = [1, '5065-5075'] }", true),
    ("{ port = 5061 }", false),
    ("{ source_port = 5060 }", true),
    ("{ source_port = 5070 }", false),
    ("{ destination_port = '5070' }", true),
    ("{ destination_port = 5060 }", false),
    ("{ vlan = 20 }", true),
    ("{ vlan = ['1-19', 100] }", true),
    ("{ vlan = 21 }", false),
    ("{ tunnel = 'vxlan:7' }", true),
    ("{ tunnel = 7 }", true),
    ("{ tunnel = 'gre' }", false),
    ("{ transport = ['tcp', 'udp'] }", true),
    ("{ transport = 'hep' }", false),
    ("{ user_agent = '*asterisk*' }", true),
    ("{ user_agent = 're:^asterisk pbx [0-9]+$' }", true),
    ("{ user_agent = 'asterisk' }", false),
    ("{ request_user = '+48225550100' }", true),
    ("{ request_user = '+49*' }", false),
    ("{ request_domain = 'pbx.example.com' }", true),
    ("{ request_domain = '*.example.net' }", false),
    ("{ from_user = '+4861*' }", true),
    ("{ from_user = 're:^.4822' }", false),
    ("{ from_domain = '*.example.net' }", true),
    ("{ from_domain = 'example.net' }", false),
    ("{ to_user = ['support', 'sales'] }", true),
    ("{ to_user = 'sale' }", false),
    ("{ to_domain = 'example.com' }", true),
    ("{ to_domain = 'pbx.*' }", false),
    ("{ identity_user = '+48615550101' }", true),
    ("{ identity_user = '+48615550100' }", false),
    ("{ identity_domain = 'ims.*' }", true),
    ("{ identity_domain = '*.com' }", false),
    ("{ header = { name = 'x-tenant' } }", true),
    ("{ header = { name = 'X-Tenant', value = 'OTHER' } }", true),
    ("{ header = { name = 's', value = 'folded here' } }", true),
    ("{ header = [{ name = 'X-No' }, { name = 'X-Tenant', value = 're:^ac' }] }", true),
    ("{ header = { name = 'X-Tenant', value = 're:^x' } }", false),
    ("{ header = { name = 'X-No' } }", false),
    ("{ direction = 'inbound' }", true),
    ("{ direction = 'outbound' }", false),
    ("{ time = { hours = '10:00-11:00', days = 'mon-fri', zone = 'Europe/Warsaw' } }", true),
    ("{ time = { hours = '10:00-11:00' } }", false),
    ("{ time = [{ days = 'sun' }, { hours = '09:00-10:00' }] }", true),
    ("{ percentage = 100 }", true),
    ("{ percentage = 0 }", false),
    ("{ orphan = false }", true),
    ("{ orphan = true }", false),
    // AND of keys, OR of values, and the words for both.
    ("{ from_user = '+4861*', to_user = 'sales' }", true),
    ("{ from_user = '+4861*', to_user = 'support' }", false),
    ("{ any = [{ to_user = 'support' }, { to_user = 'sales' }] }", true),
    ("{ any = [{ to_user = 'support' }, { to_user = 'x' }] }", false),
    (
        "{ all = [{ header = { name = 'X-Tenant', value = 'acme' } }, { header = { name = 'Subject' } }] }",
        true,
    ),
    ("{ all = [{ header = { name = 'X-Tenant', value = 'acme' } }, { header = { name = 'X-No' } }] }", false),
    ("{ not = { user_agent = '*scanner*' } }", true),
    ("{ not = { user_agent = '*asterisk*' } }", false),
    ("{ not = { any = [{ vlan = 20 }, { vlan = 21 }] } }", false),
    ("{ not = { not = { vlan = 20 } } }", true),
];

#[test]
fn every_condition_decides_and_says_why_not() {
    let message = Message::parse(INVITE.as_bytes()).unwrap();
    for (condition, want) in CONDITIONS {
        let set = one(condition);
        let opening = opening(Some(&message));
        let decision = set.decide(&opening);
        assert_eq!(decision.taken == Taken::Rule(0), *want, "{condition}");
        assert_eq!(decision.action == Action::Record, *want, "{condition}");
        assert_eq!(decision.rule.name(), if *want { "it" } else { "default" }, "{condition}");
        let steps = set.explain(&opening);
        assert_eq!(steps.len(), 1, "{condition}");
        assert_eq!((steps[0].matched, steps[0].unmet.is_empty()), (*want, *want), "{condition}: {steps:?}");
        assert!(steps[0].unmet.iter().all(|unmet| !unmet.condition.is_empty() && !unmet.found.is_empty()));
        // The same thing, denied, is the opposite.
        assert_eq!(one(&format!("{{ not = {condition} }}")).decide(&opening).taken == Taken::Rule(0), !*want);
    }
    // No key of an expression is without a line above.
    let keys = serde_json::to_value(Match::default()).unwrap();
    for key in keys.as_object().unwrap().keys() {
        assert!(CONDITIONS.iter().any(|(condition, _)| condition.contains(&format!("{key} = "))), "{key}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_and_nothing_is_recorded_by_default() {
    let message = Message::parse(INVITE.as_bytes()).unwrap();
    let opening = opening(Some(&message));
    let text = "[[rule]]\nname = 'a'\naction = 'exclude'\nmatch.to_user = 'sales'\n\
                [[rule]]\nname = 'b'\naction = 'record'\n";
    assert_eq!(set(text).unwrap().decide(&opening).action, Action::Exclude);
    let set = set("").unwrap();
    let decision = set.decide(&opening);
    assert_eq!((decision.rule.name(), decision.action), (FALLBACK, Action::Exclude));
    assert!(set.explain(&opening).is_empty());
}

#[test]
fn settings_are_the_rules_then_the_trunks_then_the_defaults() {
    let text = "[[trunk]]\nname = 't'\naddresses = '192.0.2.0/24'\nformat = 'wav'\npriority = 7\n\
                mask_digits = true\nrecipients = ['them']\npause.dtmf_pause = '*1'\n\
                [[rule]]\nname = 'a'\naction = 'record'\nformat = 'pcap'\nretention = 'long'\n";
    let message = Message::parse(INVITE.as_bytes()).unwrap();
    let there = opening(Some(&message));
    let with_trunk = set(text).unwrap();
    let decision = with_trunk.decide(&there);
    assert_eq!((decision.trunk_index, decision.trunk.unwrap().name.as_str()), (Some(0), "t"));
    let settings = decision.settings();
    assert_eq!((settings.format, settings.retention, settings.priority), (Format::Pcap, "long", 7));
    // A rule for all trunks still masks on the trunk that asks for it.
    assert!(settings.mask_digits);
    assert_eq!(settings.recipients, ["them"]);
    assert_eq!(settings.pause.unwrap().dtmf_pause.as_deref(), Some("*1"));
    let elsewhere = Opening { src: endpoint("203.0.113.1:5060"), ..there };
    let settings = with_trunk.decide(&elsewhere).settings();
    assert_eq!((settings.format, settings.retention, settings.priority), (Format::Pcap, "long", PRIORITY));
    assert!(!settings.mask_digits && settings.recipients.is_empty() && settings.pause.is_none());
}

#[test]
fn a_rule_of_a_trunk_takes_its_calls_only_and_directions_are_the_trunks() {
    let text = "[[trunk]]\nname = 'near'\naddresses = '198.51.100.0/24'\n\
                [[trunk]]\nname = 'far'\naddresses = '192.0.2.0/24'\n\
                [[rule]]\nname = 'none'\ntrunk = 'near'\naction = 'record'\nmatch.direction = 'inbound'\n\
                [[rule]]\nname = 'out'\ntrunk = 'near'\naction = 'record'\nmatch.direction = 'outbound'\n\
                [[rule]]\nname = 'in'\ntrunk = 'far'\naction = 'record'\nmatch.direction = 'inbound'\n";
    let set = set(text).unwrap();
    let invite = Message::parse(INVITE.as_bytes()).unwrap();
    let to_near = opening(Some(&invite));
    assert_eq!(set.decide(&to_near).rule.name(), "out");
    let elsewhere = Opening { dst: endpoint("203.0.113.1:5060"), ..to_near };
    let decision = set.decide(&elsewhere);
    assert_eq!((decision.rule.name(), decision.trunk_index), ("in", Some(1)));
    assert_eq!(set.explain(&elsewhere)[0].unmet[0].condition, "trunk near");
    // Both sides are the trunk's: no direction.
    let inside = Opening { dst: endpoint("192.0.2.9:5060"), ..to_near };
    assert_eq!(set.decide(&inside).rule.name(), FALLBACK);
    assert!(set.explain(&inside)[2].unmet[0].found.starts_with("neither"));
    // A call seen from its answer on: whose answer it is cannot be told, so both directions may be.
    let answer = late("SIP/2.0 200 OK");
    let answer = Message::parse(answer.as_bytes()).unwrap();
    let back = Opening { src: to_near.dst, dst: to_near.src, message: Some(&answer), ..to_near };
    let decision = set.decide(&back);
    assert_eq!((decision.rule.name(), decision.doubt.unwrap().name()), (UNDECIDED, "none"));
    // With both ends on the trunk it is neither, whoever called.
    let inside = Opening { src: endpoint("192.0.2.9:5060"), ..back };
    assert_eq!(set.decide(&inside).rule.name(), FALLBACK);
}

/// [`INVITE`] with another start line, and with the tag that messages in a dialog have.
fn late(start: &str) -> String {
    let (_, headers) = INVITE.split_once("\r\n").unwrap();
    format!("{start}\r\n{headers}").replacen("sales@EXAMPLE.com>", "sales@EXAMPLE.com>;tag=2", 1)
}

/// What a call that is first seen after its INVITE cannot tell, a rule cannot be sure of.
#[test]
fn a_call_first_seen_in_the_middle_is_kept_out_where_a_rule_may_keep_it_out() {
    let later = ["SIP/2.0 200 OK", "SIP/2.0 183 Session Progress", "ACK sip:x@y SIP/2.0"]
        .into_iter()
        .chain(["INVITE sip:x@y SIP/2.0", "UPDATE sip:x@y SIP/2.0", "PRACK sip:x@y SIP/2.0"]);
    for start in later {
        let text = late(start);
        let message = Message::parse(text.as_bytes()).unwrap();
        let call = opening(Some(&message));
        // What the INVITE said, what it did not, and what neither side can have been.
        for (excluded, told) in [
            ("user_agent = '*scanner*'", false),
            ("user_agent = '*asterisk*'", false),
            ("request_user = '+4822*'", false),
            ("request_domain = 'secret.example.com'", false),
            ("identity_user = '+48999'", false),
            ("identity_domain = '*.org'", false),
            ("header = { name = 'X-Secret' }", false),
            ("header = { name = 'X-Tenant', value = 'none' }", false),
            ("not = { header = { name = 'X-Tenant' } }", false),
            ("any = [{ vlan = 4 }, { user_agent = 'x' }]", false),
            ("direction = 'outbound'", false),
            ("source = '192.0.2.5'", false),
            ("destination_port = 5060", false),
            ("from_user = 'sales'", false),
            ("to_user = 'sales', vlan = 20", false),
            ("all = [{ from_user = '+4861*' }, { to_user = 'sales' }]", false),
            ("from_user = '+48999'", true),
            ("all = [{ from_user = '+4861*' }, { to_user = '+4861*' }]", true),
            ("vlan = 21", true),
            ("user_agent = 'x', vlan = 21", true),
            ("transport = 'tcp'", true),
            ("address = '203.0.113.0/24'", true),
            ("percentage = 0", true),
        ] {
            let rules = |more: &str| {
                let text = format!(
                    "[[trunk]]\nname = 't'\naddresses = '192.0.2.0/24'\n\
                     [[rule]]\nname = 'out'\naction = 'exclude'\nmatch = {{ {excluded} }}\n\
                     [[rule]]\nname = 'all'\naction = 'record'\n{more}"
                );
                set(&text).unwrap()
            };
            let (asked, set) = (format!("{start}: {excluded}"), rules(""));
            let decision = set.decide(&call);
            let steps = set.explain(&call);
            assert_eq!(decision.rule.name(), if told { "all" } else { UNDECIDED }, "{asked}");
            assert_eq!(decision.action == Action::Record, told, "{asked}");
            assert_eq!(decision.doubt.map(Rule::name), (!told).then_some("out"), "{asked}");
            assert_eq!((steps.len(), steps[0].matched, steps[1].matched), (2, false, true), "{asked}");
            assert_eq!(steps[0].doubt.is_some(), !told, "{asked}");
            assert!(!steps[0].unmet.is_empty(), "{asked}");
            // Whoever takes calls in doubt takes it.
            assert_eq!(rules("in_doubt = true").decide(&call).rule.name(), "all", "{asked}");
        }
    }
}

#[test]
fn a_doubt_counts_where_it_matters() {
    let text = late("SIP/2.0 200 OK");
    let message = Message::parse(text.as_bytes()).unwrap();
    let call = opening(Some(&message));
    let rule = |name: &str, rest: &str| format!("[[rule]]\nname = '{name}'\n{rest}\n");
    let asks = "match.user_agent = 'x'";
    let decided = |rules: &[String]| {
        let set = set(&rules.concat()).unwrap();
        let decision = set.decide(&call);
        (decision.rule.name().to_owned(), decision.taken)
    };
    let undecided = (UNDECIDED.to_owned(), Taken::Undecided);
    // Both keep it out, or both record it the same way.
    let out = rule("a", &format!("action = 'exclude'\n{asks}"));
    assert_eq!(decided(std::slice::from_ref(&out)), (FALLBACK.into(), Taken::Default));
    assert_eq!(decided(&[out.clone(), rule("b", "action = 'exclude'")]).1, Taken::Rule(1));
    let same = rule("a", &format!("action = 'record'\n{asks}"));
    assert_eq!(decided(&[same.clone(), rule("b", "action = 'record'")]).1, Taken::Rule(1));
    // Perhaps it is to be recorded, for others, or not at all.
    assert_eq!(decided(&[same.clone(), rule("b", "action = 'record'\nrecipients = 'them'")]), undecided);
    assert_eq!(decided(&[same, rule("b", "action = 'metadata'")]), undecided);
    assert_eq!(decided(&[rule("a", &format!("action = 'record'\n{asks}"))]), undecided);
    // A rule that takes calls in doubt does so by its own doubt too.
    let (sure, bold) =
        (rule("b", "action = 'record'"), format!("action = 'exclude'\n{asks}\nin_doubt = true"));
    assert_eq!(decided(&[rule("a", &bold), sure]).1, Taken::Rule(0));
    // The INVITE itself leaves no doubt, nor is one about what comes after the rule that takes the call.
    let message = Message::parse(INVITE.as_bytes()).unwrap();
    let set = set(&[out.clone(), rule("b", "action = 'record'")].concat()).unwrap();
    assert_eq!(set.decide(&opening(Some(&message))).taken, Taken::Rule(1));
    assert_eq!(decided(&[rule("b", "action = 'record'"), out]).1, Taken::Rule(0));
}

/// Padding does not get a call past a rule: more than is looked at is as good as unknown.
#[test]
fn more_than_is_looked_at_is_not_taken_for_all_there_is() {
    let rules = "[[rule]]\nname = 'out'\naction = 'exclude'\nmatch.any = [{ header = { name = 'X-Tenant', \
                 value = '*secret*' } }, { user_agent = '*scanner*' }, { to_user = '*scanner*' }]\n\
                 [[rule]]\nname = 'all'\naction = 'record'\n";
    let set = set(rules).unwrap();
    let many = |count: usize| "X-Tenant: none\r\n".repeat(count);
    let long = |name: &str| format!("{name}: {}\r\n", "x".repeat(VALUE_BYTES_MAX + 1));
    for (headers, want) in [
        (many(62), "all"),
        (many(63), UNDECIDED),
        (many(64) + "X-Tenant: secret\r\n", UNDECIDED),
        (many(10) + "X-Tenant: secret\r\n" + &many(60), "out"),
        (long("X-Tenant"), UNDECIDED),
        (long("X-Other"), "all"),
        (long("User-Agent"), UNDECIDED),
    ] {
        let text = INVITE.replacen("User-Agent: Asterisk PBX 20\r\n", &headers, 1);
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(set.decide(&opening(Some(&message))).rule.name(), want, "{:.40}", headers);
    }
    let text = INVITE.replacen("sip:sales@", &format!("sip:{}@", "x".repeat(VALUE_BYTES_MAX)), 1);
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(set.decide(&opening(Some(&message))).rule.name(), UNDECIDED);
    // The snap length has cut it before its headers ended.
    let (cut, _) = INVITE.split_once("User-Agent").unwrap();
    let message = Message::parse(cut.as_bytes()).unwrap();
    let call = opening(Some(&message));
    assert_eq!(set.decide(&call).rule.name(), UNDECIDED);
    assert_eq!(set.explain(&call)[0].doubt.as_deref(), Some("the message is cut"));
}

#[test]
fn parameters_and_separators_get_no_number_past_a_rule() {
    for user in
        ["+48123", "+48123;phone-context=x", "+48123;isub=7", "+48-12-3", "+48(1)2.3;npdi", "%2B48%2D123"]
    {
        let text = INVITE.replacen("sip:sales@", &format!("sip:{user}@"), 1);
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(
            one("{ to_user = '+48123' }").decide(&opening(Some(&message))).taken,
            Taken::Rule(0),
            "{user}"
        );
        let plain = user.replace("%2B", "+").replace("%2D", "-");
        let asked = format!("{{ to_user = '{plain}' }}");
        assert_eq!(one(&asked).decide(&opening(Some(&message))).taken, Taken::Rule(0), "{user} as written");
    }
}

#[test]
fn media_without_signalling_needs_a_rule_that_asks_for_it() {
    let orphan = opening(None);
    for condition in ["{}", "{ address = '192.0.2.5' }", "{ not = { to_user = 'x' } }"] {
        let set = one(condition);
        assert_eq!(set.decide(&orphan).taken, Taken::Default, "{condition}");
        assert_eq!(set.explain(&orphan)[0].unmet[0].found, "media without it");
        assert!(!set.wants_orphans(), "{condition}");
    }
    for (condition, wants) in [
        ("{ orphan = true }", true),
        ("{ orphan = false }", false),
        ("{ any = [{ orphan = true }, { to_user = 'x' }] }", true),
        ("{ not = { orphan = false } }", true),
    ] {
        assert_eq!(one(condition).wants_orphans(), wants, "{condition}");
    }
    assert_eq!(one("{ orphan = true, address = '192.0.2.5' }").decide(&orphan).taken, Taken::Rule(0));
    assert_eq!(one("{ any = [{ orphan = true }, { to_user = 'x' }] }").decide(&orphan).taken, Taken::Rule(0));
    assert_eq!(one("{ orphan = true, percentage = 99.9 }").decide(&orphan).taken, Taken::Default);
}

#[test]
fn a_percentage_is_that_part_of_the_calls_and_the_same_everywhere() {
    let (some, more) = (one("{ percentage = 12.5 }"), one("{ percentage = 50 }"));
    let (mut few, mut half) = (0, 0);
    for number in 0..4_000 {
        let text = INVITE.replace("4711@", &format!("{number}@"));
        let message = Message::parse(text.as_bytes()).unwrap();
        let call = opening(Some(&message));
        let other = Opening { at: Stamp::ZERO, src: call.dst, dst: call.src, ..call };
        let chosen = some.decide(&call).taken == Taken::Rule(0);
        assert_eq!(chosen, some.decide(&other).taken == Taken::Rule(0), "only the Call-ID decides");
        few += u32::from(chosen);
        let also = more.decide(&call).taken == Taken::Rule(0);
        half += u32::from(also);
        assert!(!chosen || also, "a larger part holds the smaller");
    }
    assert!((430..570).contains(&few) && (1_880..2_120).contains(&half), "{few} {half}");
    // Known answer, so that two releases agree: what SHA-256 of `4711@192.0.2.5` begins with.
    let message = Message::parse(INVITE.as_bytes()).unwrap();
    let (call, set) = (opening(Some(&message)), one("{}"));
    assert_eq!(Facts::new(&set, &call, false).share(), Some(0xabfa_a3eb_7e53_1ddd));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let rule = |text: &str| format!("[[trunk]]\nname = 'carrier-a'\naddresses = '::/0'\n[[rule]]\n{text}\n");
    let deep = format!("{}vlan = 1{}", "not = { ".repeat(18), " }".repeat(18));
    for (text, words) in [
        ("[[trunk]]\nname = 'x'".to_owned(), ["trunk `x`", "no `addresses`"]),
        ("[[trunk]]\naddresses = '::/0'".to_owned(), ["trunk number 1", "is no name"]),
        (rule("name = 'a b'\naction = 'record'"), ["rule `a b`", "is no name"]),
        (rule("name = 'default'\naction = 'record'"), ["rule `default`", "twice"]),
        (rule("name = 'undecided'\naction = 'record'"), ["rule `undecided`", "twice"]),
        (rule("name = 'a'\naction = 'record'\ntrunk = 'carier-a'"), ["rule `a`", "did you mean `carrier-a`"]),
        (rule("name = 'a'\naction = 'record'\ntrunk = 'x'"), ["rule `a`", "no trunk `x`"]),
        (rule("name = 'a'\naction = 'record'\nmatch.percentage = 101"), ["rule `a`", "not 0 to 100"]),
        (rule("name = 'a'\naction = 'record'\nmatch.percentage = nan"), ["rule `a`", "not 0 to 100"]),
        (rule("name = 'a'\naction = 'record'\nmatch.header = { value = 'x' }"), ["rule `a`", "`name`"]),
        (rule("name = 'a'\naction = 'record'\nmatch.header.name = ' X-Tenant'"), ["` X-Tenant`", "blanks"]),
        (rule("name = 'a'\naction = 'record'\npause.header = 'X-Recording:'"), ["`X-Recording:`", "colon"]),
        (rule("name = 'a'\naction = 'record'\nmatch.time.zone = 'Mars/Olympus'"), ["Mars/Olympus", "IANA"]),
        (rule("name = 'a'\naction = 'record'\npause.dtmf_pause = '1x'"), ["`1x`", "DTMF"]),
        (rule(&format!("name = 'a'\naction = 'record'\nmatch = {{ {deep} }}")), ["rule `a`", "deep"]),
        (rule("name = 'a'\naction = 'record'\n[[rule]]\nname = 'a'\naction = 'record'"), ["`a`", "twice"]),
    ] {
        let error = set(&text).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
    for text in ["match = { to_user = [] }", "match.all = []", "match.toUser = 'x'", "match.to_user = ''"] {
        let text = rule(&format!("name = 'a'\naction = 'record'\n{text}"));
        assert!(toml::from_str::<File>(&text).is_err(), "{text}");
    }
}

#[test]
fn rules_that_cannot_match_are_told() {
    let text = "[[trunk]]\nname = 't'\naddresses = '::/0'\n\
                [[rule]]\nname = 'a'\ntrunk = 't'\naction = 'record'\n\
                [[rule]]\nname = 'b'\naction = 'record'\nmatch.vlan = 7\n\
                [[rule]]\nname = 'c'\ntrunk = 't'\naction = 'exclude'\nmatch.vlan = 8\n\
                [[rule]]\nname = 'd'\naction = 'exclude'\nmatch.vlan = 7\n\
                [[rule]]\nname = 'e'\naction = 'record'\n\
                [[rule]]\nname = 'f'\naction = 'record'\nmatch.orphan = true\n";
    let set = set(text).unwrap();
    let names: Vec<_> = set.shadowed().iter().map(|(rule, by)| (rule.name(), by.name())).collect();
    assert_eq!(names, [("c", "a"), ("d", "b")]);
}

#[test]
fn the_version_changes_with_what_is_said_and_only_then() {
    let text = "[[rule]]\nname = 'a'\naction = 'record'\nmatch = { vlan = 7, port = 5060 }";
    let same = "[[rule]]\naction = 'record'\nname = 'a'\nmatch.port = [5060]\nmatch.vlan = '7'";
    let version = set(text).unwrap().version().to_owned();
    assert_eq!(version.len(), 12);
    assert_eq!(set(same).unwrap().version(), version);
    assert_ne!(set(&text.replace("5060", "5061")).unwrap().version(), version);
    let file: File = toml::from_str(text).unwrap();
    let counted = RuleSet::new(&file.trunk, &file.rule, Some(7), &zones).unwrap();
    assert_eq!(counted.version(), format!("7-{version}"));
}

#[test]
fn expressions_read_like_sentences() {
    let text = "{ to_user = ['+48*', 'x'], not = { user_agent = '*scanner*' }, \
                any = [{ vlan = 7 }, { time = { hours = '08:00-18:00', days = 'mon-fri' } }] }";
    assert_eq!(
        one(text).rules()[0].expression(),
        "to_user +48* or x and (vlan 7 or time mon-fri 08:00-18:00 in UTC) and not (user_agent *scanner*)"
    );
    assert_eq!(one("{}").rules()[0].expression(), "always");
}

#[test]
fn near_names_are_found_and_far_ones_not() {
    let names = ["recipients", "interface", "snaplen", "to"];
    for (name, want) in [
        ("recipents", Some("recipients")),
        ("interfcae", Some("interface")),
        ("snap_len", Some("snaplen")),
        ("t", Some("to")),
        ("nothing-like-it", None),
        ("", None),
    ] {
        assert_eq!(nearest(name, names), want, "{name}");
    }
}

/// Nothing that an outsider sends makes a decision fail.
#[test]
fn hostile_messages_have_a_decision() {
    let all: Vec<&str> = CONDITIONS.iter().map(|(condition, _)| *condition).collect();
    let rules: String = all
        .iter()
        .enumerate()
        .map(|(n, condition)| format!("[[rule]]\nname = 'r{n}'\naction = 'record'\nmatch = {{ all = [{condition}, {{ vlan = 4095 }}] }}\n"))
        .collect();
    let set = set(&format!("[[trunk]]\nname = 't'\naddresses = '::/0'\n{rules}")).unwrap();
    let (mut state, mut parsed) = (9_u32, 0);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize
    };
    for round in 0..1_000 {
        let mut bytes = INVITE.as_bytes().to_vec();
        for _ in 0..next() % 8 {
            let place = next() % bytes.len();
            match next() % 4 {
                0 => bytes[place] = next() as u8,
                1 => bytes.truncate(place.max(60)),
                2 => drop(bytes.splice(place..place, std::iter::repeat_n(b"%:@;<\">\r"[next() % 8], 2_000))),
                _ => bytes[place] = b"\r\n:;<>@%\""[next() % 9],
            }
        }
        let Ok(message) = Message::parse(&bytes) else { continue };
        parsed += 1;
        let call = Opening { vlans: &[], orphan: round % 5 == 0, ..opening(Some(&message)) };
        assert_eq!(set.decide(&call).rule.name(), FALLBACK);
        assert_eq!(set.explain(&call).len(), all.len());
    }
    assert!(parsed > 300, "{parsed}");
}
