//! From a configuration to what becomes of calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::recording::manifest::RecorderFacts;
use crate::recording::policy::{Key, Policy};
use crate::recording::recorder::{self, Content, Keep};
use crate::recording::rules::{
    self, Action, FALLBACK, PRIORITY, RETENTION, Rule, Taken, TrunkSpec, UNDECIDED,
};
use crate::seal::recipient::Recipients;
use crate::shell::canary;
use crate::shell::config::{Config, ConfigFault};

/// Makes the policy that `config` asks for.
pub fn policy(config: &Config, recorder: &RecorderFacts) -> Result<Policy, ConfigFault> {
    let mut configs = BTreeMap::new();
    let trunks = config.rules.trunks();
    for trunk in places(trunks) {
        for (number, rule) in config.rules.rules().iter().enumerate() {
            let of = trunk.map(|trunk| &trunks[trunk]);
            if rule.spec().trunk.is_none() || rule.spec().trunk.as_deref() == of.map(|of| of.name.as_str()) {
                let key: Key = (Taken::Rule(number), trunk);
                configs.insert(key, Arc::new(config_of(config, rule, of, recorder)?));
            }
        }
        let name = trunk.map_or(FALLBACK, |trunk| &trunks[trunk].name);
        for (taken, keep, rule) in NOTHING {
            configs.insert((taken, trunk), Arc::new(nothing(config, name, (keep, rule), recorder)));
        }
    }
    let otherwise = nothing(config, FALLBACK, (Keep::Nothing, FALLBACK), recorder);
    Ok(Policy::by_rules(config.rules.clone(), configs, otherwise))
}

fn places(trunks: &[TrunkSpec]) -> impl Iterator<Item = Option<usize>> + use<> {
    std::iter::once(None).chain((0..trunks.len()).map(Some))
}

fn config_of(
    config: &Config,
    rule: &Rule,
    trunk: Option<&TrunkSpec>,
    recorder: &RecorderFacts,
) -> Result<recorder::Config, ConfigFault> {
    let settings = rules::settings(rule, trunk);
    let keep = match rule.spec().action {
        Action::Record => Keep::All,
        Action::Metadata => Keep::Manifest,
        Action::Exclude => Keep::Nothing,
    };
    Ok(recorder::Config {
        keep,
        priority: settings.priority,
        folder: "",
        mask_digits: settings.mask_digits,
        pause: settings.pause.map(Into::into),
        content: settings.format.into(),
        recipients: match keep {
            Keep::Nothing | Keep::Undecided => Recipients::default(),
            Keep::All | Keep::Manifest => config.recipients(&settings)?,
        },
        recorder: recorder.clone(),
        labels: [
            trunk.map_or(FALLBACK, |trunk| &trunk.name).into(),
            format!("{}@{}", rule.name(), config.rules.version()),
            settings.retention.into(),
        ],
    })
}

/// Who is to open what rules record, by rule and trunk.
pub fn recipients(config: &Config) -> Result<Vec<(String, Recipients)>, ConfigFault> {
    let trunks = config.rules.trunks();
    let mut all = Vec::new();
    for trunk in places(trunks).map(|trunk| trunk.map(|trunk| &trunks[trunk])) {
        for rule in config.rules.rules() {
            let of_trunk = rule.spec().trunk.is_none()
                || rule.spec().trunk.as_deref() == trunk.map(|of| of.name.as_str());
            if of_trunk && rule.spec().action != Action::Exclude {
                let whom = format!("those of rule `{}`", rule.name());
                all.push((whom, config.recipients(&rules::settings(rule, trunk))?));
            }
        }
    }
    Ok(all)
}

/// Canary calls: as the first rule that records would have them, for those who can open the journal.
pub fn canary(config: &Config, recorder: &RecorderFacts) -> Result<recorder::Config, ConfigFault> {
    let recording = config.rules.rules().iter().find(|rule| rule.spec().action == Action::Record);
    Ok(recorder::Config {
        keep: Keep::All,
        priority: u8::MAX,
        folder: canary::FOLDER_PREFIX,
        mask_digits: false,
        pause: None,
        content: recording.map_or(Content::Opus, |rule| rules::settings(rule, None).format.into()),
        recipients: config.journal_recipients()?,
        recorder: recorder.clone(),
        labels: [
            canary::TRUNK.into(),
            format!("{}@{}", canary::TRUNK, config.rules.version()),
            canary::TRUNK.into(),
        ],
    })
}

/// What no rule takes, or perhaps one does.
fn nothing(
    config: &Config,
    trunk: &str,
    (keep, rule): (Keep, &str),
    recorder: &RecorderFacts,
) -> recorder::Config {
    recorder::Config {
        keep,
        priority: PRIORITY,
        folder: "",
        mask_digits: false,
        pause: None,
        content: Content::Opus,
        recipients: Recipients::default(),
        recorder: recorder.clone(),
        labels: [trunk.into(), format!("{rule}@{}", config.rules.version()), RETENTION.into()],
    }
}

/// Why nothing is kept though no rule says so.
const NOTHING: [(Taken, Keep, &str); 2] =
    [(Taken::Default, Keep::Nothing, FALLBACK), (Taken::Undecided, Keep::Undecided, UNDECIDED)];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::endpoint::Endpoint;
    use crate::base::time::Stamp;
    use crate::call::table::{Opening, Transport};
    use crate::seal::identity::generate_x25519;
    use crate::seal::random::Seeded;

    #[test]
    fn rules_see_the_addresses_and_networks_of_media_without_signalling() {
        let (_, recipient) = generate_x25519(&mut Seeded::new(&[7; 32], "test", 0));
        let text = format!(
            "[[capture]]\ninterface = \"lo\"\n[recorder]\nallow_single_recipient = true\n[recipients]\ndefault = [\"{recipient}\"]\n\
             [[rule]]\nname = \"tagged\"\naction = \"metadata\"\nmatch = {{ orphan = true, vlan = 7 }}\n\
             [[rule]]\nname = \"here\"\naction = \"record\"\nmatch = {{ orphan = true, address = \"192.0.2.0/24\" }}\n\
             [[rule]]\nname = \"calls\"\naction = \"record\"\n"
        );
        let config = Config::parse(Path::new("sejf.toml"), &text).unwrap();
        let facts = RecorderFacts { id: "recorder-1".into(), version: "0.1.0".into() };
        let policy = policy(&config, &facts).unwrap();
        let endpoint = |ip: [u8; 4]| Endpoint::new(std::net::Ipv4Addr::from(ip).into(), 4_000);
        let opening = |src: [u8; 4], vlans: &[u16]| Opening {
            src: endpoint(src),
            dst: endpoint([198, 51, 100, 2]),
            vlans: vlans.to_vec(),
            tunnel: None,
            transport: Transport::Udp,
            message: Box::default(),
        };
        let rule = |src: [u8; 4], vlans: &[u16]| {
            let decided = policy.decide(Stamp::ZERO, true, &opening(src, vlans));
            decided.labels[1].split('@').next().unwrap().to_owned()
        };
        assert_eq!(rule([192, 0, 2, 1], &[]), "here");
        assert_eq!(rule([203, 0, 113, 1], &[7]), "tagged");
        assert_eq!(rule([203, 0, 113, 1], &[]), FALLBACK);
    }

    /// A call in whose middle the capture begins is kept out under a name of its own, on its trunk.
    #[test]
    fn what_a_rule_cannot_be_sure_of_is_kept_out_by_that_name() {
        let (_, recipient) = generate_x25519(&mut Seeded::new(&[7; 32], "test", 0));
        let text = format!(
            "[[capture]]\ninterface = \"lo\"\n[recorder]\nallow_single_recipient = true\n[recipients]\ndefault = [\"{recipient}\"]\n\
             [[trunk]]\nname = \"carrier\"\naddresses = \"192.0.2.0/24\"\n\
             [[rule]]\nname = \"out\"\naction = \"exclude\"\nmatch = {{ user_agent = \"*scanner*\" }}\n\
             [[rule]]\nname = \"calls\"\naction = \"record\"\n"
        );
        let config = Config::parse(Path::new("sejf.toml"), &text).unwrap();
        let facts = RecorderFacts { id: "recorder-1".into(), version: "0.1.0".into() };
        let policy = policy(&config, &facts).unwrap();
        let decide = |start: &str, src: [u8; 4]| {
            let message = format!("{start}\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: c\r\n\r\n");
            policy.decide(
                Stamp::ZERO,
                false,
                &Opening {
                    src: Endpoint::new(std::net::Ipv4Addr::from(src).into(), 5_060),
                    dst: Endpoint::new(std::net::Ipv4Addr::from([198, 51, 100, 2]).into(), 5_060),
                    vlans: Vec::new(),
                    tunnel: None,
                    transport: Transport::Udp,
                    message: message.into_bytes().into(),
                },
            )
        };
        let invite = decide("INVITE sip:b@x SIP/2.0", [192, 0, 2, 1]);
        assert_eq!((invite.keep, invite.labels[1].split('@').next()), (Keep::All, Some("calls")));
        for (src, trunk) in [([192, 0, 2, 1], "carrier"), ([203, 0, 113, 1], FALLBACK)] {
            let answer = decide("SIP/2.0 200 OK", src);
            assert_eq!(answer.keep, Keep::Undecided);
            assert_eq!(answer.labels[0], trunk);
            assert_eq!(answer.labels[1], format!("{UNDECIDED}@{}", config.rules.version()));
            // Another process that goes on with the call does not decide anew.
            assert_eq!(policy.as_labelled(&answer.labels).unwrap().keep, Keep::Undecided);
        }
    }
}
