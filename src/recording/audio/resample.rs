//! Another rate where the file has one already: a windowed sinc, whatever the ratio.

/// Turns samples at one rate into samples at another.
#[derive(Clone, Debug)]
pub(super) struct Resampler {
    from_hz: u32,
    to_hz: u32,
    /// Coefficients, [`TAPS`] for each of [`PHASES`] places between two samples.
    table: Vec<f32>,
    history: Vec<f32>,
    /// Place of the next output in units of `1 / to_hz` input samples.
    next: u64,
}

impl Resampler {
    /// Makes one; both rates are above zero.
    pub(super) fn new(from_hz: u32, to_hz: u32) -> Self {
        let taps = taps(from_hz, to_hz);
        Self {
            from_hz,
            to_hz,
            table: table(from_hz, to_hz, taps),
            // So that output 0 is input 0: half the filter looks back at silence.
            history: vec![0.0; taps / 2],
            next: 0,
        }
    }

    /// Returns the rate that goes in.
    pub(super) fn source_hz(&self) -> u32 {
        self.from_hz
    }

    /// Appends what `pcm` gives. Sound comes half a filter late in samples taken, never in place.
    pub(super) fn push(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        self.history.extend(pcm.iter().map(|sample| f32::from(*sample)));
        let taps = self.table.len() / PHASES;
        let to = u64::from(self.to_hz);
        loop {
            let whole = (self.next / to) as usize;
            let Some(window) = self.history.get(whole..whole + taps) else { break };
            let phase = (self.next % to) as usize * PHASES / self.to_hz as usize;
            let coefficients = &self.table[phase * taps..][..taps];
            let sum: f32 = window.iter().zip(coefficients).map(|(a, b)| a * b).sum();
            out.push(sum.round().clamp(-32_768.0, 32_767.0) as i16);
            self.next += u64::from(self.from_hz);
        }
        let used = ((self.next / to) as usize).min(self.history.len());
        self.history.drain(..used);
        self.next -= used as u64 * to;
    }
}

/// Lower cut-off needs a longer filter.
fn taps(from_hz: u32, to_hz: u32) -> usize {
    let shrink = from_hz.div_ceil(to_hz).clamp(1, 8) as usize;
    TAPS * shrink
}

fn table(from_hz: u32, to_hz: u32, taps: usize) -> Vec<f32> {
    let cut = 0.92 * (f64::from(to_hz) / f64::from(from_hz)).min(1.0);
    let mut table = Vec::with_capacity(PHASES * taps);
    for phase in 0..PHASES {
        let centre = (taps / 2) as f64 + phase as f64 / PHASES as f64;
        let row: Vec<f64> =
            (0..taps).map(|tap| tap as f64 - centre).map(|x| sinc(x * cut) * window(x, taps)).collect();
        let sum: f64 = row.iter().sum();
        table.extend(row.iter().map(|value| (value / sum) as f32));
    }
    table
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

/// Hann.
fn window(x: f64, taps: usize) -> f64 {
    let half = taps as f64 / 2.0 + 1.0;
    0.5 + 0.5 * (std::f64::consts::PI * (x / half).clamp(-1.0, 1.0)).cos()
}

/// Taps of the filter where the rate goes up.
const TAPS: usize = 16;
/// Places between two input samples.
const PHASES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_place_and_level() {
        for (from, to) in
            [(8_000, 16_000), (16_000, 8_000), (48_000, 8_000), (44_100, 16_000), (8_000, 48_000)]
        {
            let tone = |rate: u32, n: usize| {
                (10_000.0 * (n as f64 * 440.0 * std::f64::consts::TAU / f64::from(rate)).sin()) as i16
            };
            let mut resampler = Resampler::new(from, to);
            let mut out = Vec::new();
            let pcm: Vec<i16> = (0..from as usize).map(|n| tone(from, n)).collect();
            pcm.chunks(171).for_each(|chunk| resampler.push(chunk, &mut out));
            let missing = to as usize - out.len();
            assert!(missing <= to as usize / 500 + 1, "{from} to {to}: {missing} samples late");
            let worst =
                (200..out.len() - 200).map(|n| (i32::from(out[n]) - i32::from(tone(to, n))).abs()).max();
            assert!(worst.unwrap() < 500, "{from} to {to}: {worst:?}");
        }
    }
}
