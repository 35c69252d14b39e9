//! Medians and quantiles.

use std::time::Duration;

/// The middle of `values`; not a number if there are none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// `values` in order.
pub(crate) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which a share `q` of the sorted `values` lies.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index within the sample"
)]
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    let index = (last as f64 * q).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// In milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
