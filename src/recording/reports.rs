//! What the two ends said of the media themselves (RTCP), beside what the recorder saw.

use std::collections::BTreeMap;

use crate::base::limits::CALL_STREAMS_MAX;
use crate::base::time::Stamp;
use crate::recording::manifest::RemoteReport;
use crate::wire::rtcp::{self, ReportBlock, RtcpPacket};

/// The RTCP of one call.
#[derive(Debug, Default)]
pub struct Reports {
    packets: u64,
    unreadable: u64,
    /// By the source that is spoken of.
    sources: BTreeMap<u32, Source>,
}

#[derive(Debug, Default)]
struct Source {
    sender_reports: u64,
    /// Packets it says it has sent, in its last report.
    sent: Option<u32>,
    /// The last block about it, and how many there were.
    heard: Option<(ReportBlock, u64)>,
    bye: Option<Stamp>,
}

impl Reports {
    /// Takes in one datagram. Of SRTCP, whose body is closed, only that it came.
    pub fn datagram(&mut self, at: Stamp, payload: &[u8], closed: bool) {
        self.packets += 1;
        if closed {
            return;
        }
        for packet in rtcp::packets(payload) {
            match packet {
                Ok(RtcpPacket::SenderReport { report, blocks }) => {
                    if let Some(source) = self.source(report.ssrc) {
                        source.sender_reports += 1;
                        source.sent = Some(report.packets);
                    }
                    blocks.for_each(|block| self.heard(block));
                }
                Ok(RtcpPacket::ReceiverReport { blocks, .. }) => blocks.for_each(|block| self.heard(block)),
                Ok(RtcpPacket::Bye(ssrcs)) => {
                    for ssrc in ssrcs {
                        if let Some(source) = self.source(ssrc) {
                            source.bye.get_or_insert(at);
                        }
                    }
                }
                Ok(_) => {}
                Err(_) => self.unreadable += 1,
            }
        }
    }

    fn heard(&mut self, block: ReportBlock) {
        if let Some(source) = self.source(block.ssrc) {
            let before = source.heard.map_or(0, |(_, reports)| reports);
            source.heard = Some((block, before + 1));
        }
    }

    fn source(&mut self, ssrc: u32) -> Option<&mut Source> {
        if self.sources.len() >= CALL_STREAMS_MAX && !self.sources.contains_key(&ssrc) {
            return None;
        }
        Some(self.sources.entry(ssrc).or_default())
    }

    /// What was said of one source; nothing where nobody spoke of it.
    pub fn of(&self, ssrc: u32, clock_rate_hz: u32) -> Option<RemoteReport> {
        let source = self.sources.get(&ssrc)?;
        let jitter = |block: &ReportBlock| f64::from(block.jitter) * 1e3 / f64::from(clock_rate_hz.max(1));
        Some(RemoteReport {
            sender_reports: source.sender_reports,
            sent: source.sent,
            receiver_reports: source.heard.map_or(0, |(_, reports)| reports),
            lost: source.heard.map(|(block, _)| block.lost),
            jitter_ms: source.heard.map(|(block, _)| (jitter(&block) * 1e3).round() / 1e3),
            bye: source.bye,
        })
    }

    /// Packets, and how many parts of them could not be read.
    pub fn packets(&self) -> (u64, u64) {
        (self.packets, self.unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_goodbyes_are_kept_by_source() {
        let mut reports = Reports::default();
        let mut datagram = vec![0x81, 200, 0, 12, 0, 0, 0, 7];
        datagram.extend([0; 12]);
        datagram.extend(500_u32.to_be_bytes());
        datagram.extend([0; 4]);
        // A block about source 9: 3 lost, jitter 16.
        datagram.extend([0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0]);
        datagram.extend([0x81, 203, 0, 1, 0, 0, 0, 7]);
        reports.datagram(Stamp::from_unix_nanos(5), &datagram, false);
        let sender = reports.of(7, 8_000).unwrap();
        assert_eq!(
            (sender.sender_reports, sender.sent, sender.bye),
            (1, Some(500), Some(Stamp::from_unix_nanos(5)))
        );
        let heard = reports.of(9, 8_000).unwrap();
        assert_eq!((heard.lost, heard.jitter_ms, heard.bye), (Some(3), Some(2.0), None));
        assert!(reports.of(1, 8_000).is_none());
        reports.datagram(Stamp::ZERO, &datagram[..30], false);
        assert_eq!(reports.packets(), (2, 1));
    }
}
