//! Series in words: one sentence with numbers and units.

use incident::{Series, Untrusted};
use jiff::Timestamp;

/// One sentence about a series, moved or not.
pub(super) fn sentence(series: &Series) -> String {
    let name = series.name.one_line(160);
    let unit = series.unit.as_str();
    let threshold = series
        .threshold
        .map(|t| format!(" (the alert's threshold is {})", quantity(t, unit)))
        .unwrap_or_default();
    match (series.onset, series.before, series.after) {
        (Some(onset), Some(before), Some(after)) => {
            let verb = if after > before { "rose" } else { "fell" };
            format!(
                "{name} {verb} from {} to {} at {}{threshold}",
                quantity(before, unit),
                quantity(after, unit),
                clock_time(onset),
            )
        }
        (Some(onset), None, Some(after)) => format!(
            "{name} has had samples only since {}: {}{threshold}",
            clock_time(onset),
            quantity(after, unit),
        ),
        (_, Some(level), _) => format!(
            "{name} did not change clearly: about {} throughout{threshold}",
            quantity(level, unit)
        ),
        _ => format!("{name} has no samples in the window{threshold}"),
    }
}

/// `10:42:15 UTC`.
pub(super) fn clock_time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

/// A number with its unit, three significant digits.
pub(super) fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ratio" => format!("{} %", digits(value * 100.0)),
        "bytes" => bytes(value),
        "1/s" => format!("{}/s", digits(value)),
        "" => digits(value),
        "cores" if digits(value) == "1" => "1 core".to_owned(),
        "%" | "s" | "ms" | "cores" => format!("{} {unit}", digits(value)),
        other => format!("{} {}", digits(value), Untrusted::from(other).one_line(20)),
    }
}

fn bytes(value: f64) -> String {
    const STEPS: [(f64, &str); 3] = [
        (1_073_741_824.0, "GiB"),
        (1_048_576.0, "MiB"),
        (1024.0, "KiB"),
    ];
    let step = STEPS.iter().find(|(size, _)| value.abs() >= *size);
    match step {
        Some((size, name)) => format!("{} {name}", digits(value / size)),
        None => format!("{} B", digits(value)),
    }
}

fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:.2e}");
    }
    let decimals = match size {
        s if s >= 100.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s if s >= 0.1 => 3,
        s if s >= 0.01 => 4,
        _ => 6,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64, unit: &str, expect: &str) {
        assert_eq!(quantity(value, unit), expect);
    }

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        check(0.12, "s", "0.12 s");
        check(1.904, "s", "1.9 s");
        check(0.6234, "ratio", "62.3 %");
        check(0.0, "ratio", "0 %");
        check(42.04, "1/s", "42/s");
        check(123_456.7, "", "123457");
        check(134_217_728.0, "bytes", "128 MiB");
        check(-0.00312, "s", "-0.00312 s");
        check(1e-9, "", "1.00e-9");
        check(1.0, "cores", "1 core");
        check(2.0, "a\u{202e}b", "2 ab");
    }
}
