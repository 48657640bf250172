//! The operator's packet filter, in libpcap's language.

use std::collections::BTreeMap;

use pcap::{BpfProgram, Capture, Linktype};

use crate::base::frame::LinkType;

/// The filter makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("filter `{text}` on link type {link}: {source}; `man pcap-filter` has the language")]
pub struct FilterError {
    text: String,
    link: u16,
    source: pcap::Error,
}

impl FilterError {
    pub(super) fn new(text: &str, link: LinkType, source: pcap::Error) -> Self {
        Self { text: text.into(), link: link.0, source }
    }
}

/// A filter, compiled once for each link type that a capture has.
pub struct Filter {
    text: String,
    programs: BTreeMap<u16, Option<BpfProgram>>,
}

impl Filter {
    /// Compiles `text`, for Ethernet to begin with: a filter that makes no sense there makes none.
    pub fn new(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self { text: text.into(), programs: BTreeMap::new() };
        let program = filter.compile(LinkType::ETHERNET)?;
        filter.programs.insert(LinkType::ETHERNET.0, Some(program));
        Ok(filter)
    }

    /// Whether a frame is to be looked at. One of a link type that the filter does not fit is.
    pub fn passes(&mut self, link: LinkType, frame: &[u8]) -> bool {
        if !self.programs.contains_key(&link.0) {
            let program = self.compile(link).ok();
            self.programs.insert(link.0, program);
        }
        match self.programs.get(&link.0) {
            Some(Some(program)) => program.filter(frame),
            _ => true,
        }
    }

    fn compile(&self, link: LinkType) -> Result<BpfProgram, FilterError> {
        // Files number raw IP otherwise than libpcap does inside.
        let inside = if link == LinkType::RAW { 12 } else { i32::from(link.0) };
        let compiled = Capture::dead(Linktype(inside)).and_then(|dead| dead.compile(&self.text, true));
        compiled.map_err(|source| FilterError::new(&self.text, link, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_pass_by_link_type() {
        let mut filter = Filter::new("udp port 5060").unwrap();
        let mut ip = [0_u8; 28];
        ip[0] = 0x45;
        ip[3] = 28;
        ip[9] = 17;
        ip[22..24].copy_from_slice(&5060_u16.to_be_bytes());
        let ethernet = [&[0; 12][..], &[8, 0], &ip].concat();
        assert!(filter.passes(LinkType::ETHERNET, &ethernet));
        assert!(filter.passes(LinkType::RAW, &ip));
        ip[23] += 1;
        assert!(!filter.passes(LinkType::RAW, &ip));
        let error = Filter::new("udp prot 5060").err().unwrap().to_string();
        assert!(error.contains("`udp prot 5060`"), "{error}");
    }
}
