//! Numbers, times and lengths of time as a tired person reads them.
//!
//! Never: a clock reading or a time zone other than UTC.

use incident::{Series, SeriesRole, Untrusted};
use jiff::{SignedDuration, Timestamp};

/// `12:03:10 UTC`.
pub(crate) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

/// `2026-07-11 12:03:10 UTC`.
pub(crate) fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// [`clock`] where both fall on the same day, [`date`] elsewhere.
pub(crate) fn near(at: Timestamp, other: Timestamp) -> String {
    let day = |t: Timestamp| t.strftime("%Y-%m-%d").to_string();
    if day(at) == day(other) {
        clock(at)
    } else {
        date(at)
    }
}

/// `45 s`, `3 min`, `1 h 5 min`, `2 days`; the sign is dropped.
pub(crate) fn length(span: SignedDuration) -> String {
    let seconds = span.as_secs().unsigned_abs();
    let minutes = (seconds + 30) / 60;
    match seconds {
        0..=89 => format!("{seconds} s"),
        90..=599 => {
            let halves = (seconds + 15) / 30;
            let half = if halves % 2 == 1 { ".5" } else { "" };
            format!("{}{half} min", halves / 2)
        }
        600..=5_399 => format!("{minutes} min"),
        5_400..=172_799 if minutes.is_multiple_of(60) => format!("{} h", minutes / 60),
        5_400..=172_799 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

/// `1 commit`, `2 commits`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// `93 %`; never a round 0 or 100, which nothing here deserves.
pub(crate) fn percent(confidence: f64) -> String {
    format!("{:.0} %", (confidence * 100.0).clamp(1.0, 99.0))
}

/// Three significant digits, no needless zeros.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    if size >= 1e9 {
        return format!("{value:.2e}");
    }
    if size >= 1e6 {
        return format!("{} million", number(value / 1e6));
    }
    let text = match size {
        s if s >= 100.0 => format!("{value:.0}"),
        s if s >= 10.0 => format!("{value:.1}"),
        s if s >= 1.0 => format!("{value:.2}"),
        s if s >= 0.1 => format!("{value:.3}"),
        s if s >= 0.01 => format!("{value:.4}"),
        s if s >= 0.001 => format!("{value:.5}"),
        s if s > 0.0 => return format!("{value:.1e}"),
        _ => return "0".to_owned(),
    };
    if text.contains('.') {
        let cut = text.trim_end_matches('0').trim_end_matches('.');
        return cut.to_owned();
    }
    text
}

/// A value with its unit: `31 %`, `240 ms`, `12.5/s`, `96 MiB`.
pub(crate) fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ratio" => format!("{} %", number(value * 100.0)),
        "percent" | "%" => format!("{} %", number(value)),
        "s" => seconds(value),
        "1/s" => format!("{}/s", number(value)),
        "bytes" | "B" | "By" => bytes(value),
        "" => number(value),
        other => format!("{} {}", number(value), Untrusted::new(other).one_line(16)),
    }
}

fn seconds(value: f64) -> String {
    match value.abs() {
        s if s >= 120.0 => format!("{} min", number(value / 60.0)),
        s if s >= 1.0 || s == 0.0 => format!("{} s", number(value)),
        s if s >= 1e-3 => format!("{} ms", number(value * 1e3)),
        _ => format!("{} µs", number(value * 1e6)),
    }
}

fn bytes(value: f64) -> String {
    const STEPS: [(f64, &str); 4] = [
        (1_099_511_627_776.0, "TiB"),
        (1_073_741_824.0, "GiB"),
        (1_048_576.0, "MiB"),
        (1024.0, "KiB"),
    ];
    match STEPS.iter().find(|(step, _)| value.abs() >= *step) {
        Some((step, name)) => format!("{} {name}", number(value / step)),
        None => format!("{} B", number(value)),
    }
}

/// `from 0.2 % to 31 % (155 times)`: what changed, with the factor where it says something.
pub(crate) fn shift(before: Option<f64>, after: Option<f64>, unit: &str) -> String {
    let (Some(before), Some(after)) = (before, after) else {
        return after.map_or_else(String::new, |after| format!("to {}", quantity(after, unit)));
    };
    let plain = format!(
        "from {} to {}",
        quantity(before, unit),
        quantity(after, unit)
    );
    let factor = after / before;
    if before.abs() > f64::EPSILON && factor.is_finite() && factor >= 1.5 {
        format!("{plain} ({} times)", times(factor))
    } else {
        plain
    }
}

/// What a series is called inside a sentence: its name without what stands in brackets at its end.
pub(crate) fn series_name(series: &Series) -> String {
    let name = series.name.one_line(80);
    match name.split_once(" (") {
        Some((head, _)) if !head.is_empty() && name.ends_with(')') => head.to_owned(),
        _ => name,
    }
}

/// A series' name after what it measures, where the name does not begin with that: `Errors: 5xx per
/// second`, `Error ratio`.
pub(crate) fn titled(role: SeriesRole, name: &str) -> String {
    let label = role.label();
    if name.to_lowercase().starts_with(label.trim_end_matches('s')) {
        capital(name)
    } else {
        format!("{}: {name}", capital(label))
    }
}

/// What a series did: `from 0.2 % to 31 % (155 times)`; one that did not exist before has no shift.
pub(crate) fn course(series: &Series) -> String {
    match (series.onset, series.before, series.after) {
        (Some(_), None, Some(after)) => {
            format!("{}, with no samples before", quantity(after, &series.unit))
        }
        (Some(_), before, after) => shift(before, after, &series.unit),
        (None, before, _) => before.map_or_else(
            || "no samples".to_owned(),
            |level| format!("about {}, no clear change", quantity(level, &series.unit)),
        ),
    }
}

/// Whether a series rose, fell or began to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Rose,
    Fell,
    Began,
}

impl Way {
    pub(crate) fn of(series: &Series) -> Self {
        match (series.before, series.after) {
            (Some(before), Some(after)) if after < before => Self::Fell,
            (None, _) => Self::Began,
            _ => Self::Rose,
        }
    }

    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Rose => "rose",
            Self::Fell => "fell",
            Self::Began => "began",
        }
    }
}

/// [`course`] in few words, with the time: `0.2 % to 31 % at 12:03:00`.
pub(crate) fn course_short(series: &Series) -> String {
    let amount = |value| quantity(value, &series.unit);
    let at = series.onset.map(|at| at.strftime("%H:%M:%S").to_string());
    match (at, series.before, series.after) {
        (Some(at), Some(before), Some(after)) => {
            format!("{} to {} at {at}", amount(before), amount(after))
        }
        (Some(at), None, Some(after)) => format!("none, {} from {at}", amount(after)),
        (Some(at), _, None) => format!("moved at {at}"),
        (None, _, _) => course(series),
    }
}

/// With a capital at its beginning.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// With a small letter at its beginning, to follow a colon.
pub(crate) fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [head @ .., last] => {
            let head: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", head.join(", "), last.as_ref())
        }
    }
}

/// A factor with two significant digits at most.
pub(crate) fn times(factor: f64) -> String {
    if factor >= 10.0 {
        format!("{factor:.0}")
    } else {
        let text = format!("{factor:.1}");
        text.trim_end_matches(".0").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64, unit: &str, expect: &str) {
        assert_eq!(quantity(value, unit), expect);
    }

    #[test]
    fn values_carry_their_unit() {
        check(0.3137, "ratio", "31.4 %");
        check(0.24, "s", "240 ms");
        check(0.0, "s", "0 s");
        check(2.5, "s", "2.5 s");
        check(600.0, "s", "10 min");
        check(0.000_25, "s", "250 µs");
        check(12.04, "1/s", "12/s");
        check(100_663_296.0, "bytes", "96 MiB");
        check(512.0, "bytes", "512 B");
        check(1_234_567.0, "", "1.23 million");
        check(0.0004, "", "4.0e-4");
        check(100.0, "", "100");
        check(-3.0, "jobs", "-3 jobs");
    }

    #[test]
    fn lengths_of_time_are_round() {
        let check =
            |secs, expect: &str| assert_eq!(length(SignedDuration::from_secs(secs)), expect);
        check(45, "45 s");
        check(-180, "3 min");
        check(150, "2.5 min");
        check(3600, "60 min");
        check(7200, "2 h");
        check(5_700, "1 h 35 min");
        check(200_000, "2 days");
    }

    #[test]
    fn a_shift_names_the_factor_only_where_it_grew() {
        let check = |before, after, expect: &str| {
            assert_eq!(shift(Some(before), Some(after), "ratio"), expect);
        };
        check(0.002, 0.31, "from 0.2 % to 31 % (155 times)");
        check(0.0, 0.31, "from 0 % to 31 %");
        check(0.5, 0.4, "from 50 % to 40 %");
    }
}
