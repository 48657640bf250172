//! What becomes of each call: a rule's decision as the configuration of its recording.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::net;
use crate::base::time::Stamp;
use crate::call::table::{Opening, Transport};
use crate::recording::recorder::Config;
use crate::recording::rules;
use crate::recording::rules::{RuleSet, Taken};
use crate::wire::sip::Message;

/// What becomes of calls. Replaced as a whole when the configuration is read again; a call keeps what it
/// began with.
#[derive(Debug)]
pub struct Policy {
    rules: Option<RuleSet>,
    configs: BTreeMap<Key, Arc<Config>>,
    otherwise: Arc<Config>,
    canary: Option<Canary>,
}

/// How Call-IDs of canary calls begin, and how these are recorded.
struct Canary {
    prefix: Box<[u8]>,
    config: Arc<Config>,
}

/// Without the prefix: it is a secret.
impl std::fmt::Debug for Canary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canary").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Places of rule and trunk, as [`rules::Decision`] says them.
pub type Key = (Taken, Option<usize>);

impl Policy {
    /// The same for all calls.
    pub fn same(config: Config) -> Self {
        Self { rules: None, configs: BTreeMap::new(), otherwise: Arc::new(config), canary: None }
    }

    /// By rules. `configs` has each pair of rule and trunk that may come up; `otherwise` is for any other.
    pub fn by_rules(rules: RuleSet, configs: BTreeMap<Key, Arc<Config>>, otherwise: Config) -> Self {
        Self { rules: Some(rules), configs, otherwise: Arc::new(otherwise), canary: None }
    }

    /// Records calls whose Call-ID begins with `prefix` as `config` says, whatever the rules are. The prefix
    /// must be a secret: whoever knows it decides what becomes of his calls.
    pub fn with_canary(self, prefix: &str, config: Config) -> Self {
        Self { canary: Some(Canary { prefix: prefix.as_bytes().into(), config: Arc::new(config) }), ..self }
    }

    /// Whether media without signalling can be kept: where not, it need not be looked for.
    pub fn wants_orphans(&self) -> bool {
        self.rules.as_ref().is_some_and(RuleSet::wants_orphans)
    }

    /// Priorities of what is kept, ascending.
    pub fn priorities(&self) -> Vec<u8> {
        let kept = self.configs.values().chain([&self.otherwise]).filter(|config| !config.keep.is_nothing());
        let mut priorities: Vec<u8> = kept.map(|config| config.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        priorities
    }

    /// What becomes of a call of which nothing can be said.
    pub fn otherwise(&self) -> Arc<Config> {
        self.otherwise.clone()
    }

    /// Says how to record a call of which that was decided before, by another process perhaps: none where no
    /// rule gives these labels.
    pub fn as_labelled(&self, labels: &[String; 3]) -> Option<Arc<Config>> {
        let all = self.configs.values().chain([&self.otherwise]);
        all.into_iter().find(|config| config.labels == *labels).cloned()
    }

    /// Says how to record a call that began `at` with `first`; an `orphan` is media without signalling.
    pub fn decide(&self, at: Stamp, orphan: bool, first: &Opening) -> Arc<Config> {
        let message = Message::parse(&first.message).ok();
        if let (Some(Canary { prefix, config }), Some(id)) =
            (&self.canary, message.as_ref().and_then(Message::call_id))
            && !prefix.is_empty()
            && id.starts_with(prefix)
        {
            return config.clone();
        }
        let Some(rules) = &self.rules else { return self.otherwise.clone() };
        let decision = rules.decide(&opening(at, orphan, first, message.as_ref()));
        let key = (decision.taken, decision.trunk_index);
        self.configs.get(&key).unwrap_or(&self.otherwise).clone()
    }
}

/// A beginning as rules look at it. `message` is its message, parsed.
pub fn opening<'a>(
    at: Stamp,
    orphan: bool,
    first: &'a Opening,
    message: Option<&'a Message<'a>>,
) -> rules::Opening<'a> {
    rules::Opening {
        at,
        src: first.src,
        dst: first.dst,
        vlans: &first.vlans,
        tunnel: first.tunnel.map(tunnel),
        transport: transport(first.transport),
        message,
        orphan,
    }
}

/// As rules name it.
fn tunnel(tunnel: net::Tunnel) -> rules::Tunnel {
    let (kind, id) = match tunnel {
        net::Tunnel::Geneve(id) => (rules::TunnelKind::Geneve, id),
        net::Tunnel::Gre(id) => (rules::TunnelKind::Gre, id),
        net::Tunnel::Vxlan(id) => (rules::TunnelKind::Vxlan, id),
    };
    rules::Tunnel { kind, id }
}

/// As rules name it.
pub fn transport(transport: Transport) -> rules::Transport {
    match transport {
        Transport::Hep => rules::Transport::Hep,
        Transport::Tcp => rules::Transport::Tcp,
        Transport::Udp => rules::Transport::Udp,
        Transport::WebSocket => rules::Transport::Ws,
    }
}
