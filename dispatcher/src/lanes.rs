//! Which lane is served first.

use std::collections::BTreeMap;
use std::time::Duration;

use incident::Severity;

/// Lanes in the order in which to try them. By urgency; but when it is the turn of ageing, lanes
/// below critical that were left waiting for longer than `age_max` come first, the longest waiting
/// before others. Critical work needs no ageing: it has every other turn.
pub(crate) fn order(
    ages: &BTreeMap<Severity, Duration>,
    age_max: Duration,
    turn_of_ageing: bool,
) -> Vec<Severity> {
    let mut lanes = Severity::ALL.to_vec();
    if turn_of_ageing {
        let age = |lane: &Severity| {
            let lesser = *lane != Severity::Critical;
            ages.get(lane)
                .copied()
                .filter(|age| lesser && *age > age_max)
        };
        // A stable sort: lanes of the same age, or without one, stay in the order of urgency.
        lanes.sort_by_key(|lane| std::cmp::Reverse(age(lane)));
    }
    lanes
}
