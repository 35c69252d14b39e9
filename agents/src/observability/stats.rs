//! Robust statistics over one time series: where it shifted, from what to what.
//!
//! For: the onset of a metric. Medians and interquartile ranges only, so that a single spike neither
//! makes an onset nor hides one; the scale has a floor, because a nearly constant metric has a tiny
//! interquartile range and would win with noise.
//!
//! Never: time, I/O, knowledge of what a metric means. It works on positions in a slice.

use std::ops::Range;

/// Samples needed before a cut to know what normal is.
const BEFORE_MIN: usize = 8;
/// Samples needed after a cut: fewer are a spike, not a shift.
const AFTER_MIN: usize = 3;
/// A shift of so many scales counts. Three interquartile ranges are four standard deviations of
/// Gaussian noise; the tests state the false-positive rate this gives.
const SCORE_MIN: f64 = 3.0;
/// The scale is at least this part of the median before: five per cent is never news.
const FLOOR_OF_MEDIAN: f64 = 0.05;
/// The scale is at least this part of the whole range, which bounds the score.
const FLOOR_OF_RANGE: f64 = 0.01;
/// The largest score there is: from nothing at all to something.
pub(super) const SCORE_MAX: f64 = 1.0 / FLOOR_OF_RANGE;
/// Samples further out than so many scales are pulled in before means are compared.
const CLIP: f64 = 8.0;
/// Part of the samples on each side that must lie on their side of the halfway point.
const STAYS: f64 = 0.8;

/// Where a series shifted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shift {
    /// The first sample that left the normal range.
    pub(super) index: usize,
    /// Median of the samples before.
    pub(super) before: f64,
    /// Median of the samples from `index` on.
    pub(super) after: f64,
    /// |after - before| over the floored interquartile range of the samples before; at most
    /// [`SCORE_MAX`].
    pub(super) score: f64,
}

/// The quantile `q` of `values` (linear between neighbours); none for an empty slice.
pub(super) fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, q)
}

/// The middle value.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position in a slice of some thousand samples"
)]
fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let at = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let here = *sorted.get(low)?;
    let next = sorted.get(low + 1).copied().unwrap_or(here);
    Some(here + (next - here) * part)
}

/// Finds the shift whose first sample lies in `allowed`, if there is a clear one. `values` are
/// finite and in order of time.
pub(super) fn shift(values: &[f64], allowed: Range<usize>) -> Option<Shift> {
    let cut = best_cut(values, &allowed)?;
    let normal = Normal::of(values.get(..cut)?, spread(values)?)?;
    let target = median(values.get(cut..)?)?;
    let onset = settle(values, cut, &normal, target, &allowed);

    let (head, tail) = values.split_at_checked(onset)?;
    let normal = Normal::of(head, spread(values)?)?;
    let after = median(tail)?;
    let score = (after - normal.median).abs() / normal.scale;
    let clear = score >= SCORE_MIN && stays_shifted(head, tail, normal.median, after);
    clear.then_some(Shift {
        index: onset,
        before: normal.median,
        after,
        score,
    })
}

/// What the samples before a cut look like.
struct Normal {
    median: f64,
    scale: f64,
}

impl Normal {
    /// None if there is no sample, or if nothing in the whole series ever differs.
    fn of(samples: &[f64], range: f64) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = quantile_of_sorted(&sorted, 0.5)?;
        let iqr = quantile_of_sorted(&sorted, 0.75)? - quantile_of_sorted(&sorted, 0.25)?;
        let scale = iqr
            .max(FLOOR_OF_MEDIAN * median.abs())
            .max(FLOOR_OF_RANGE * range);
        (scale > 0.0 && scale.is_finite()).then_some(Self { median, scale })
    }
}

fn spread(values: &[f64]) -> Option<f64> {
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    Some(high - low)
}

/// The cut with the largest shift of clipped means, weighted as in a two-sample test. Ties go to
/// the earliest cut, so that the answer is always the same.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of some thousand samples"
)]
fn best_cut(values: &[f64], allowed: &Range<usize>) -> Option<usize> {
    let n = values.len();
    let range = spread(values)?;
    let centre = median(values)?;
    let iqr = quantile(values, 0.75)? - quantile(values, 0.25)?;
    let scale = iqr.max(FLOOR_OF_RANGE * range);
    if scale <= 0.0 || !scale.is_finite() {
        return None;
    }
    let clipped: Vec<f64> = values
        .iter()
        .map(|v| ((v - centre) / scale).clamp(-CLIP, CLIP))
        .collect();
    let total: f64 = clipped.iter().sum();
    let first = allowed.start.max(BEFORE_MIN);
    let last = allowed.end.min((n + 1).checked_sub(AFTER_MIN)?);
    let mut best: Option<(f64, usize)> = None;
    let mut sum = 0.0;
    for (index, value) in clipped.iter().enumerate() {
        if (first..last).contains(&index) {
            let (left, right) = (index as f64, (n - index) as f64);
            let gap = ((total - sum) / right - sum / left).abs();
            let weight = gap * (left * right / n as f64).sqrt();
            if best.is_none_or(|(top, _)| weight > top) {
                best = Some((weight, index));
            }
        }
        sum += value;
    }
    best.map(|(_, index)| index)
}

/// Moves the cut to the first sample that left the normal range: back over a ramp (a rate over a
/// window climbs for as long as the window), forward over samples that are still normal.
fn settle(
    values: &[f64],
    cut: usize,
    normal: &Normal,
    target: f64,
    allowed: &Range<usize>,
) -> usize {
    let way = (target - normal.median).signum();
    let fence = (1.5 * normal.scale).max(0.1 * (target - normal.median).abs());
    let left = |index: usize| {
        values
            .get(index)
            .is_some_and(|v| (v - normal.median) * way > fence)
    };
    let earliest = allowed.start.max(BEFORE_MIN);
    let latest = allowed
        .end
        .saturating_sub(1)
        .min(values.len().saturating_sub(AFTER_MIN));
    let mut onset = cut;
    while onset > earliest && left(onset - 1) {
        onset -= 1;
    }
    while onset < latest && !left(onset) {
        onset += 1;
    }
    onset
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of some thousand samples"
)]
fn stays_shifted(head: &[f64], tail: &[f64], before: f64, after: f64) -> bool {
    let halfway = f64::midpoint(before, after);
    let way = (after - before).signum();
    let beyond = |side: &[f64]| {
        let count = side.iter().filter(|v| (**v - halfway) * way > 0.0).count();
        count as f64 / side.len().max(1) as f64
    };
    beyond(tail) >= STAYS && beyond(head) <= 1.0 - STAYS
}

#[cfg(test)]
mod tests {
    use incident::ports::Entropy as _;
    use proptest::prelude::*;
    use runtime::SeededEntropy;

    use super::*;

    /// Gaussian by the sum of twelve uniforms: good to three standard deviations and beyond.
    fn gauss(source: &SeededEntropy) -> f64 {
        (0..12).map(|_| source.unit()).sum::<f64>() - 6.0
    }

    fn laplace(source: &SeededEntropy) -> f64 {
        let u = source.unit() - 0.5;
        -u.signum() * (1.0 - 2.0 * u.abs()).max(1e-12).ln()
    }

    fn noise(n: usize, draw: impl Fn() -> f64, memory: f64) -> Vec<f64> {
        let mut last = 0.0;
        std::iter::repeat_with(|| {
            last = memory * last + draw();
            last
        })
        .take(n)
        .collect()
    }

    fn check_false_positives(name: &str, draw: impl Fn(&SeededEntropy) -> f64, memory: f64) {
        let source = SeededEntropy::new(7);
        for n in [20, 60, 240] {
            let found = (0..1_000)
                .filter(|_| {
                    let values = noise(n, || draw(&source), memory);
                    shift(&values, 0..n).is_some()
                })
                .count();
            assert!(found <= 10, "{name}, {n} samples: {found} of 1000");
        }
    }

    /// The stated rate: at most one stationary series in a hundred has an onset.
    #[test]
    fn stationary_noise_has_no_onset() {
        check_false_positives("gaussian", gauss, 0.0);
        check_false_positives("laplace", laplace, 0.0);
        check_false_positives("gaussian with memory", gauss, 0.5);
    }

    #[test]
    fn a_constant_a_short_and_an_empty_series_have_no_onset() {
        assert_eq!(shift(&[], 0..0), None);
        assert_eq!(shift(&[1.0; 50], 0..50), None);
        assert_eq!(shift(&[1.0, 2.0, 3.0], 0..3), None);
    }

    #[test]
    fn a_spike_a_drift_and_a_recovered_bump_are_no_shift() {
        let flat = |n: usize| std::iter::repeat_n(10.0, n);
        let spike: Vec<f64> = flat(30).chain([900.0]).chain(flat(30)).collect();
        assert_eq!(shift(&spike, 0..61), None);
        let drift: Vec<f64> = (0..60).map(f64::from).collect();
        assert_eq!(shift(&drift, 0..60), None);
        let bump: Vec<f64> = flat(30)
            .chain(std::iter::repeat_n(50.0, 4))
            .chain(flat(26))
            .collect();
        assert_eq!(shift(&bump, 0..60), None);
    }

    #[test]
    fn a_ramp_begins_at_its_foot() {
        // A rate over four samples climbs for four samples.
        let values: Vec<f64> = std::iter::repeat_n(0.0, 30)
            .chain([1.0, 2.0, 3.0])
            .chain(std::iter::repeat_n(4.0, 20))
            .collect();
        let found = shift(&values, 0..values.len()).unwrap();
        assert_eq!((found.index, found.before, found.after), (30, 0.0, 4.0));
    }

    #[test]
    fn only_the_allowed_part_is_searched() {
        let values: Vec<f64> = std::iter::repeat_n(0.0, 20)
            .chain(std::iter::repeat_n(4.0, 40))
            .collect();
        assert_eq!(shift(&values, 0..60).map(|s| s.index), Some(20));
        assert_eq!(shift(&values, 40..60), None);
    }

    proptest! {
        #[test]
        fn a_planted_onset_is_found(
            seed in any::<u64>(), head in 15_usize..120, tail in 5_usize..60,
            size in 10.0..1000.0_f64, up in any::<bool>(),
        ) {
            let source = SeededEntropy::new(seed);
            let size = if up { size } else { -size };
            let base = 100.0;
            let mut values = noise(head + tail, || gauss(&source), 0.0);
            for (index, value) in values.iter_mut().enumerate() {
                *value += base + if index >= head { size * 3.0 } else { 0.0 };
            }
            let found = shift(&values, 0..head + tail);
            let found = found.expect("a shift of ten deviations and more");
            prop_assert!(found.index.abs_diff(head) <= 2, "{} for {head}", found.index);
            prop_assert_eq!(found.after > found.before, up);
        }

        #[test]
        fn units_do_not_matter(
            values in proptest::collection::vec(-1000_i32..1000, 12..80), power in -20_i32..20,
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let factor = 2_f64.powi(power);
            let scaled: Vec<f64> = values.iter().map(|v| v * factor).collect();
            let (a, b) = (shift(&values, 0..values.len()), shift(&scaled, 0..values.len()));
            prop_assert_eq!(a.map(|s| (s.index, s.score)), b.map(|s| (s.index, s.score)));
            prop_assert_eq!(a.map(|s| s.after * factor), b.map(|s| s.after));
            let mirrored: Vec<f64> = values.iter().map(|v| -v).collect();
            let c = shift(&mirrored, 0..values.len());
            prop_assert_eq!(a.map(|s| (s.index, -s.after)), c.map(|s| (s.index, s.after)));
        }

        /// The cut does not depend on the level; the verdict does, on purpose: the floor is a part
        /// of the median.
        #[test]
        fn the_level_does_not_move_the_cut(
            step in 40_i32..400, head in 10_usize..60, tail in 5_usize..60, level in -4096_i32..4096,
        ) {
            let values: Vec<f64> = (0..head + tail)
                .map(|i| f64::from(if i >= head { step } else { 0 }) + f64::from(u8::from(i % 2 == 0)))
                .collect();
            let lifted: Vec<f64> = values.iter().map(|v| v + f64::from(level)).collect();
            let all = 0..values.len();
            prop_assert_eq!(best_cut(&values, &all), Some(head));
            prop_assert_eq!(best_cut(&lifted, &all), Some(head));
        }

        #[test]
        fn any_input_is_survived(values in proptest::collection::vec(any::<f64>(), 0..60), a in 0_usize..80, b in 0_usize..80) {
            let values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
            if let Some(found) = shift(&values, a..b) {
                prop_assert!((a..b).contains(&found.index));
                prop_assert!(found.score <= SCORE_MAX + 1e-6);
            }
        }
    }
}
