//! What a benchmark says: a number, what it stands beside, and the bar it has to clear.

use serde::{Deserialize, Serialize};

/// One number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The benchmark it belongs to.
    pub(crate) bench: String,
    /// Bus, policy, batch: whatever tells the rows of one benchmark apart.
    pub(crate) case: String,
    /// What was measured.
    pub(crate) what: String,
    /// The number.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: String,
    /// A limit or a peer of the same run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beside: Option<Beside>,
    /// What it has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bar: Option<Bar>,
}

/// A limit or a peer of the same run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// What it is.
    pub(crate) what: String,
    /// Its number, in the same unit.
    pub(crate) value: f64,
    /// Ours over theirs: the median over rounds of the ratio within a round.
    pub(crate) ratio: f64,
}

/// What a number or a ratio has to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bar {
    /// In words.
    pub(crate) what: String,
    /// Whether it is.
    pub(crate) met: bool,
}

impl Figure {
    /// A number that stands alone.
    pub(crate) fn new(
        bench: &str,
        case: impl Into<String>,
        what: &str,
        (value, unit): (f64, &str),
    ) -> Self {
        Self {
            bench: bench.to_owned(),
            case: case.into(),
            what: what.to_owned(),
            value,
            unit: unit.to_owned(),
            beside: None,
            bar: None,
        }
    }

    /// The same beside a peer.
    pub(crate) fn beside(mut self, what: impl Into<String>, value: f64, ratio: f64) -> Self {
        let what = what.into();
        self.beside = Some(Beside { what, value, ratio });
        self
    }

    /// The number itself must be at most `limit`.
    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.bar = Some(Bar {
            what: format!("at most {} {}", number(limit), self.unit),
            met: self.value <= limit,
        });
        self
    }

    /// The ratio must be at least `limit`.
    pub(crate) fn ratio_at_least(mut self, limit: f64) -> Self {
        let ratio = self.beside.as_ref().map_or(f64::NAN, |beside| beside.ratio);
        self.bar = Some(Bar {
            what: format!("at least {} of it", number(limit)),
            met: ratio >= limit,
        });
        self
    }
}

/// A number in as many digits as mean something.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// The table, in Markdown, which a terminal shows as well.
pub(crate) fn table(figures: &[Figure]) -> String {
    let head = [
        "benchmark",
        "case",
        "figure",
        "value",
        "beside",
        "ratio",
        "bar",
    ];
    let mut rows: Vec<[String; 7]> = vec![head.map(str::to_owned)];
    for figure in figures {
        let beside = figure.beside.as_ref();
        rows.push([
            figure.bench.clone(),
            figure.case.clone(),
            figure.what.clone(),
            format!("{} {}", number(figure.value), figure.unit),
            beside.map_or(String::new(), |b| {
                format!("{}: {}", b.what, number(b.value))
            }),
            beside.map_or(String::new(), |b| number(b.ratio)),
            figure.bar.as_ref().map_or(String::new(), |bar| {
                format!("{}: {}", bar.what, if bar.met { "met" } else { "MISSED" })
            }),
        ]);
    }
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        lines.push(format!("| {} |", cells.join(" | ")));
        if at == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            lines.push(format!("| {} |", rules.join(" | ")));
        }
    }
    lines.join("\n")
}
