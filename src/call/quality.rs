//! Listening quality of a stream, estimated (ITU-T G.107 E-model, G.113 appendix I).

/// What the estimate rests on.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Encoding name.
    pub encoding: &'a str,
    /// Packets that came.
    pub packets: u64,
    /// Packets that did not, or came too late.
    pub lost: u64,
    /// Runs of loss: 1 for random loss, larger for bursts.
    pub loss_runs: u64,
    /// Interarrival jitter.
    pub jitter_ms: f64,
}

/// Returns the mean opinion score, 1.0 to 4.5.
///
/// Delay is not known to one observer, so `Id` is taken for a jitter buffer of twice the jitter
/// and nothing else: the figure says how it sounded, not how it felt to talk.
pub fn mos(heard: &Heard<'_>) -> f64 {
    let expected = heard.packets + heard.lost;
    if expected == 0 {
        return 1.0;
    }
    let (ie, bpl) = equipment(heard.encoding);
    let loss_percent = 100.0 * heard.lost as f64 / expected as f64;
    let ie_effective = if heard.lost == 0 {
        ie
    } else {
        // G.107 (7-29): BurstR is the mean run against the mean run of random loss.
        let mean_run = heard.lost as f64 / heard.loss_runs.max(1) as f64;
        let burst_ratio = (mean_run * (1.0 - loss_percent / 100.0)).max(1.0);
        ie + (95.0 - ie) * loss_percent / (loss_percent / burst_ratio + bpl)
    };
    let delay_ms = 20.0 + 2.0 * heard.jitter_ms;
    let id = 0.024 * delay_ms + if delay_ms > 177.3 { 0.11 * (delay_ms - 177.3) } else { 0.0 };
    let r = 93.2 - id - ie_effective;
    let score = match r {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        r => 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6,
    };
    (score.clamp(1.0, 4.5) * 100.0).round() / 100.0
}

/// Equipment impairment and packet-loss robustness (G.113 table I.1 and I.4; wideband codecs are
/// given narrowband's zero impairment, as the scale here is narrowband's).
fn equipment(encoding: &str) -> (f64, f64) {
    match encoding {
        "PCMU" | "PCMA" | "G722" | "L16" => (0.0, 25.1),
        "OPUS" | "AMR-WB" => (0.0, 20.0),
        "G729" => (11.0, 19.0),
        "AMR" => (5.0, 10.0),
        "GSM" => (20.0, 10.0),
        "ILBC" => (11.0, 32.0),
        "SPEEX" => (11.0, 15.0),
        name if name.contains("G726") => (7.0, 10.0),
        _ => (10.0, 15.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_loss(encoding: &str, lost: u64, loss_runs: u64) -> f64 {
        mos(&Heard { encoding, packets: 1_000 - lost, lost, loss_runs, jitter_ms: 1.0 })
    }

    #[test]
    fn g711_without_loss_is_toll_quality() {
        assert!((4.3..=4.5).contains(&with_loss("PCMU", 0, 0)));
        assert!((3.9..4.2).contains(&with_loss("G729", 0, 0)));
    }

    #[test]
    fn loss_lowers_and_bursts_lower_more() {
        assert!(with_loss("PCMU", 20, 20) < with_loss("PCMU", 5, 5));
        assert!(with_loss("PCMU", 50, 2) < with_loss("PCMU", 50, 50));
        assert!(with_loss("PCMU", 1_000, 1) < 1.5);
    }
}
