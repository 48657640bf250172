//! Deciding which rule a call takes. Budget: 5 µs a call with 100 rules of which none matches.
#![expect(missing_docs, reason = "criterion_group! makes an undocumented function")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sejf::base::endpoint::{Endpoint, Ip};
use sejf::base::time::Stamp;
use sejf::recording::rules::{Opening, RuleSet, Taken, Transport};
use sejf::shell::config::Sections;
use sejf::wire::sip::Message;

const INVITE: &str = "INVITE sip:+48225550100@pbx.example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.5;branch=z9hG4bK1\r\n\
    From: <sip:+48615550101@carrier.example.net>;tag=1\r\n\
    To: <sip:+48225550100@example.com>\r\n\
    Call-ID: 4711@192.0.2.5\r\n\
    CSeq: 1 INVITE\r\n\
    User-Agent: PBX 20\r\n\
    P-Asserted-Identity: <sip:+48615550199@ims.example.net>\r\n\
    X-Tenant: acme\r\n\r\n";

fn decide(criterion: &mut Criterion) {
    let kinds = [
        "to_user = \"+49*\"",
        "from_user = \"re:^[+]48(22|61)555[0-9]{3}$\"",
        "source = \"203.0.113.0/24\"",
        "user_agent = \"*scanner*\"",
        "header = { name = \"X-Tenant\", value = \"other\" }",
        "identity_domain = \"*.example.org\"",
        "time = { days = \"mon-fri\", hours = \"08:00-18:00\" }, vlan = 7",
        "direction = \"outbound\"",
        "percentage = 0.001",
        "request_domain = \"re:[.]example[.]org$\"",
    ];
    let rules: String = (0..100)
        .map(|number| {
            let kind = kinds[number % kinds.len()];
            format!("[[rule]]\nname = \"r{number}\"\naction = \"record\"\nmatch = {{ {kind} }}\n")
        })
        .collect();
    let text = format!("[[trunk]]\nname = \"t\"\naddresses = \"192.0.2.0/24\"\n{rules}");
    let sections: Sections = toml::from_str(&text).expect("rules");
    let set = RuleSet::new(&sections.trunk, &sections.rule, None, &|_| None).expect("rules");
    let message = Message::parse(INVITE.as_bytes()).expect("a message");
    let opening = Opening {
        at: Stamp::ZERO,
        src: Endpoint::new(Ip::v4([192, 0, 2, 5]), 5_060),
        dst: Endpoint::new(Ip::v4([198, 51, 100, 7]), 5_060),
        vlans: &[],
        tunnel: None,
        transport: Transport::Udp,
        message: Some(&message),
        orphan: false,
    };
    assert_eq!(set.decide(&opening).taken, Taken::Default, "all rules are tried");
    criterion.bench_function("decide/100", |bencher| bencher.iter(|| set.decide(black_box(&opening))));
}

criterion_group!(benches, decide);
criterion_main!(benches);
