//! One series as an inline SVG: line, threshold, onset and alert, axes with units and UTC times.

use incident::{Evidence, Fact, Series};
use jiff::Timestamp;

use super::escape;
use crate::phrase;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 42.0;
const BOTTOM: f64 = 26.0;
/// Points drawn; longer series are thinned to the extremes of equal slices.
const POINTS_MAX: usize = 480;

/// Draws the series of `item`, if it is one with at least two points, with the alert's `threshold`;
/// `fired_at` marks the alert.
pub(super) fn svg(item: &Evidence, threshold: Option<f64>, fired_at: Timestamp) -> Option<String> {
    let Fact::Series(series) = &item.observation.fact else {
        return None;
    };
    let points: Vec<(f64, f64)> = series
        .points
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(at, value)| (seconds(*at), *value))
        .collect();
    let (first, last) = (points.first()?.0, points.last()?.0);
    let frame = Frame::around(&points, threshold, (first, last))?;
    let id = item.id.to_string().to_lowercase();
    let mut out = vec![
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">"
        ),
        format!(
            "<title id=\"{id}-title\">{}</title>",
            escape::html_plain(&title(series))
        ),
        format!(
            "<desc id=\"{id}-desc\">{}</desc>",
            escape::html_plain(&description(series, fired_at))
        ),
    ];
    y_axis(&frame, &series.unit, &mut out);
    x_axis(&frame, &mut out);
    if let Some(threshold) = threshold.filter(|t| t.is_finite()) {
        let y = frame.y(threshold);
        out.push(format!(
            "<line class=\"threshold\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            WIDTH - RIGHT
        ));
        let label = format!("threshold {}", phrase::quantity(threshold, &series.unit));
        out.push(format!(
            "<text class=\"threshold-label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT + 4.0,
            y - 4.0,
            escape::html_plain(&label)
        ));
    }
    out.push(line(&frame, &thin(&points)));
    if let Some(onset) = series.onset {
        mark(&frame, Mark::Onset, onset, &mut out);
    }
    mark(&frame, Mark::Alert, fired_at, &mut out);
    out.push("</svg>".to_owned());
    Some(out.join("\n"))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 are far below 2^52"
)]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn title(series: &Series) -> String {
    format!("{}: {}", series.role.label(), series.name.one_line(120))
}

fn description(series: &Series, fired_at: Timestamp) -> String {
    let shift = phrase::shift(series.before, series.after, &series.unit);
    let onset = series.onset.map_or_else(
        || "no onset".to_owned(),
        |at| format!("onset {}", phrase::clock(at)),
    );
    let goes = if shift.is_empty() {
        String::new()
    } else {
        format!("goes {shift}, ")
    };
    format!("{goes}{onset}, alert {}", phrase::clock(fired_at))
}

/// The mapping from values to the drawing.
struct Frame {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
    step: f64,
}

impl Frame {
    fn around(
        points: &[(f64, f64)],
        threshold: Option<f64>,
        (from, to): (f64, f64),
    ) -> Option<Self> {
        let values = points
            .iter()
            .map(|(_, v)| *v)
            .chain(threshold.filter(|t| t.is_finite()));
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            low = low.min(value);
            high = high.max(value);
        }
        // Zero belongs in the picture unless the values live far away from it.
        if low > 0.0 && low < high * 0.6 {
            low = 0.0;
        }
        let flat = (high - low).abs() <= f64::EPSILON * high.abs().max(1.0);
        if flat {
            let room = if high == 0.0 { 1.0 } else { high.abs() * 0.5 };
            (low, high) = (low - room.min(low.abs()), high + room);
        }
        let step = nice((high - low) / 3.0);
        let frame = Self {
            from,
            to,
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
            step,
        };
        let height = frame.high - frame.low;
        let usable = to > from && step > 0.0 && height > 0.0 && height.is_finite();
        usable.then_some(frame)
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + (second - self.from) / (self.to - self.from) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

/// The next 1, 2, 2.5 or 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let scaled = step / power;
    let round = [1.0, 2.0, 2.5, 5.0, 10.0];
    let fitting = round.into_iter().find(|r| *r >= scaled - 1e-9);
    fitting.unwrap_or(10.0) * power
}

fn y_axis(frame: &Frame, unit: &str, out: &mut Vec<String>) {
    let mut tick = frame.low;
    // The step is a third of the range at least, so there are five lines at most.
    for _ in 0..6 {
        if tick > frame.high + frame.step / 2.0 {
            break;
        }
        let y = frame.y(tick);
        let value = if tick.abs() < frame.step / 1e6 {
            0.0
        } else {
            tick
        };
        out.push(format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            WIDTH - RIGHT
        ));
        out.push(format!(
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            escape::html_plain(&phrase::quantity(value, unit))
        ));
        tick += frame.step;
    }
}

fn x_axis(frame: &Frame, out: &mut Vec<String>) {
    const STEPS: [f64; 12] = [
        15.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0, 43_200.0,
        86_400.0,
    ];
    let length = frame.to - frame.from;
    let step = STEPS.into_iter().find(|s| length / s <= 5.0);
    let step = step.unwrap_or((length / 5.0 / 86_400.0).ceil() * 86_400.0);
    let mut tick = (frame.from / step).ceil() * step;
    let base = HEIGHT - BOTTOM;
    for _ in 0..8 {
        if tick > frame.to {
            break;
        }
        let x = frame.x(tick);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a tick lies between two timestamps"
        )]
        let at = Timestamp::from_second(tick as i64).unwrap_or_default();
        let format = match step {
            s if s < 60.0 => "%H:%M:%S",
            s if s < 86_400.0 => "%H:%M",
            _ => "%m-%d",
        };
        out.push(format!(
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{base:.1}\" y2=\"{:.1}\"/>",
            base + 4.0
        ));
        out.push(format!(
            "<text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            base + 18.0,
            at.strftime(format)
        ));
        tick += step;
    }
}

/// The extremes of equal slices, in order, so that no spike is lost.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let slice = points.len().div_ceil(POINTS_MAX / 2);
    let mut out = Vec::with_capacity(POINTS_MAX);
    for part in points.chunks(slice) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let low = part.iter().min_by(by_value).copied();
        let high = part.iter().max_by(by_value).copied();
        let mut both: Vec<(f64, f64)> = low.into_iter().chain(high).collect();
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        both.dedup();
        out.extend(both);
    }
    out
}

fn line(frame: &Frame, points: &[(f64, f64)]) -> String {
    let points: Vec<String> = points
        .iter()
        .map(|(at, value)| format!("{:.1},{:.1}", frame.x(*at), frame.y(*value)))
        .collect();
    format!("<polyline class=\"line\" points=\"{}\"/>", points.join(" "))
}

#[derive(Clone, Copy)]
enum Mark {
    Onset,
    Alert,
}

/// Room a label takes, in units of the drawing.
const LABEL: f64 = 100.0;

/// A vertical line below its name and time. The alert comes after the onset: its label stands in the
/// upper row, where the line of the onset does not reach, and the onset's to the left of its line,
/// where that of the alert does not.
fn mark(frame: &Frame, mark: Mark, at: Timestamp, out: &mut Vec<String>) {
    let second = seconds(at);
    if second < frame.from || second > frame.to {
        return;
    }
    let x = frame.x(second);
    let (kind, label_y, left) = match mark {
        Mark::Onset => ("onset", TOP - 8.0, x > LEFT + LABEL),
        Mark::Alert => ("alert", TOP - 26.0, x > WIDTH - RIGHT - LABEL),
    };
    let (anchor, label_x) = if left {
        ("end", x - 4.0)
    } else {
        ("start", x + 4.0)
    };
    out.push(format!(
        "<line class=\"{kind}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
        label_y - 9.0,
        HEIGHT - BOTTOM
    ));
    out.push(format!(
        "<text class=\"{kind}-label\" x=\"{label_x:.1}\" y=\"{label_y:.1}\" text-anchor=\"{anchor}\">{kind} {}</text>",
        at.strftime("%H:%M:%S")
    ));
}
