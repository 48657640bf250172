//! Line spectral frequencies and the filters they stand for (RFC 3951 4.1, 3.2.7).

use super::tables::LSF_HIGH;
use super::tables::LSF_LOW;
use super::tables::LSF_MIDDLE;

/// Coefficients of a prediction filter after the leading 1.
pub(super) type Filter = [f32; ORDER];
/// Line spectral frequencies, radians.
pub(super) type Frequencies = [f32; ORDER];

/// Order of the prediction filter.
pub(super) const ORDER: usize = 10;

/// Returns the frequencies of three codebook indices, kept apart so that the filter is stable.
pub(super) fn frequencies(index: &[usize; 3]) -> Frequencies {
    let mut all = [0.0; ORDER];
    all[..3].copy_from_slice(&LSF_LOW[index[0]]);
    all[3..6].copy_from_slice(&LSF_MIDDLE[index[1]]);
    all[6..].copy_from_slice(&LSF_HIGH[index[2]]);
    for _ in 0..2 {
        for at in 0..ORDER - 1 {
            if all[at + 1] < all[at] {
                all[at + 1] = all[at] + APART / 2.0;
                all[at] = all[at + 1] - APART / 2.0;
            } else if all[at + 1] - all[at] < APART {
                all[at] -= APART / 2.0;
                all[at + 1] += APART / 2.0;
            }
            all[at] = all[at].clamp(LOWEST, HIGHEST);
        }
    }
    all
}

/// Returns the filter of `earlier` and `later` mixed, `weight` being that of `earlier`.
pub(super) fn filter(earlier: &Frequencies, later: &Frequencies, weight: f32) -> Filter {
    let mut mixed = [0.0; ORDER];
    for ((mixed, earlier), later) in mixed.iter_mut().zip(earlier).zip(later) {
        *mixed = weight * earlier + (1.0 - weight) * later;
    }
    spread_ill_conditioned(&mut mixed);
    // The symmetric and the antisymmetric polynomial, each a product of second-order factors with
    // a zero pair at every other frequency; the root at 1 or -1 comes last.
    let symmetric = polynomial(&mixed, 0, 1.0);
    let antisymmetric = polynomial(&mixed, 1, -1.0);
    std::array::from_fn(|k| 0.5 * (symmetric[k + 1] + antisymmetric[k + 1]))
}

/// Expands the product of `1 - 2 cos(w) z^-1 + z^-2` over every second frequency from `first` on,
/// times `1 + last z^-1`.
fn polynomial(frequencies: &Frequencies, first: usize, last: f32) -> [f32; ORDER + 2] {
    let mut product = [0.0; ORDER + 2];
    product[0] = 1.0;
    for frequency in frequencies.iter().skip(first).step_by(2) {
        let middle = -2.0 * frequency.cos();
        for k in (1..ORDER + 2).rev() {
            product[k] += middle * product[k - 1] + if k > 1 { product[k - 2] } else { 0.0 };
        }
    }
    for k in (1..ORDER + 2).rev() {
        product[k] += last * product[k - 1];
    }
    product
}

/// Spreads frequencies that reach the ends of the spectrum evenly.
fn spread_ill_conditioned(all: &mut Frequencies) {
    use std::f32::consts::PI;
    if all[0] > 0.0 && all[ORDER - 1] < PI {
        return;
    }
    let low = if all[0] <= 0.0 { 0.022 * 2.0 * PI } else { all[0] };
    let high = if all[ORDER - 1] >= PI { 0.499 * 2.0 * PI } else { all[ORDER - 1] };
    for (at, frequency) in all.iter_mut().enumerate() {
        *frequency = low + (high - low) * at as f32 / (ORDER - 1) as f32;
    }
}

/// Least distance of two frequencies, 50 Hz.
const APART: f32 = 0.039;
const LOWEST: f32 = 0.01;
#[expect(clippy::approx_constant, reason = "the number of the RFC, a little below pi")]
const HIGHEST: f32 = 3.14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ilbc::tables::LSF_MEAN;

    #[test]
    fn the_filter_of_frequencies_has_its_zeros_between_them() {
        // Evenly spaced frequencies are those of no prediction at all.
        let flat = std::array::from_fn(|k| (k + 1) as f32 * std::f32::consts::PI / 11.0);
        assert!(filter(&flat, &flat, 0.3).iter().all(|c| c.abs() < 1e-5));
        let mean = filter(&LSF_MEAN, &LSF_MEAN, 1.0);
        assert!(mean[0] < -0.5, "speech leans to the low side: {mean:?}");
    }

    #[test]
    fn every_index_gives_frequencies_within_the_spectrum() {
        for low in 0..64 {
            for rest in 0..128 {
                let found = frequencies(&[low, rest, 127 - rest]);
                assert!(found.iter().all(|f| (0.0..3.2).contains(f)), "{found:?}");
                assert!(filter(&found, &LSF_MEAN, 0.5).iter().all(|c| c.is_finite()));
            }
        }
    }
}
