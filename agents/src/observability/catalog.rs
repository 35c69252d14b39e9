//! The metrics of a subject: what there is, of which type, with which labels.

use std::collections::{BTreeMap, BTreeSet};

use super::prometheus::{Labels, Metadata};
use super::promql::{is_label_name, is_metric_name};

/// Values of one label that are kept; more are only counted.
const VALUES_MAX: usize = 64;

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Only grows; its rate means something.
    Counter,
    /// Goes up and down.
    Gauge,
    /// The buckets of a histogram.
    Buckets,
    /// Quantiles computed by the exporter.
    Quantiles,
    /// Sums, counts and bookkeeping of others.
    Part,
}

/// One metric of the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metric {
    /// Its full name.
    pub(super) name: String,
    /// How it counts.
    pub(super) shape: Shape,
    /// `s`, `bytes`, `ratio`, `cores` or empty.
    pub(super) unit: &'static str,
    /// Label names and values, without the name.
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
}

impl Metric {
    /// The words of the name, in lower case.
    pub(super) fn words(&self) -> BTreeSet<String> {
        words(&self.name)
    }

    /// The name without what its type adds.
    pub(super) fn base(&self) -> &str {
        let name = self.name.as_str();
        ["_bucket", "_total"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name)
    }
}

/// The words of a metric name.
pub(super) fn words(name: &str) -> BTreeSet<String> {
    name.split(['_', ':'])
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Gathers label sets into metrics, in order of name; at most `limit` of them.
pub(super) fn gather(
    series: &[Labels],
    metadata: &BTreeMap<String, Metadata>,
    limit: usize,
) -> (Vec<Metric>, usize) {
    let mut by_name: BTreeMap<&str, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for labels in series {
        let Some(name) = labels.get("__name__").filter(|name| is_metric_name(name)) else {
            continue;
        };
        let known = by_name.entry(name).or_default();
        for (label, value) in labels {
            if label != "__name__" && is_label_name(label) {
                let values = known.entry(label.clone()).or_default();
                if values.len() < VALUES_MAX {
                    values.insert(value.clone());
                }
            }
        }
    }
    let left_out = by_name.len().saturating_sub(limit);
    let metrics = by_name.into_iter().take(limit).map(|(name, labels)| {
        let said = describe(name, metadata);
        Metric {
            name: name.to_owned(),
            shape: shape(name, &labels, said),
            unit: unit(name, said),
            labels,
        }
    });
    (metrics.collect(), left_out)
}

/// What the exporter says of a metric: exporters name the family, series carry suffixes.
fn describe<'m>(name: &str, metadata: &'m BTreeMap<String, Metadata>) -> Option<&'m Metadata> {
    let family = ["_bucket", "_sum", "_count", "_total"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix));
    metadata
        .get(name)
        .or_else(|| family.and_then(|family| metadata.get(family)))
}

fn shape(
    name: &str,
    labels: &BTreeMap<String, BTreeSet<String>>,
    said: Option<&Metadata>,
) -> Shape {
    let kind = said.map_or("", |m| m.kind.as_str());
    let family = matches!(kind, "histogram" | "summary" | "gaugehistogram");
    if name.ends_with("_bucket") && labels.contains_key("le") {
        return Shape::Buckets;
    }
    if labels.contains_key("quantile") && kind != "gauge" {
        return Shape::Quantiles;
    }
    let part = (name.ends_with("_sum") || name.ends_with("_count")) && (family || kind.is_empty());
    if part || name.ends_with("_created") || name.ends_with("_info") || kind == "info" {
        return Shape::Part;
    }
    match kind {
        "counter" => Shape::Counter,
        "gauge" => Shape::Gauge,
        _ if name.ends_with("_total") => Shape::Counter,
        _ => Shape::Gauge,
    }
}

fn unit(name: &str, said: Option<&Metadata>) -> &'static str {
    let base = ["_bucket", "_total"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    let word = said
        .map(|m| m.unit.as_str())
        .filter(|unit| !unit.is_empty());
    let last = base.rsplit('_').next().unwrap_or_default();
    match word.unwrap_or(last) {
        "seconds" | "secs" => "s",
        "milliseconds" | "millis" | "ms" => "ms",
        "bytes" => "bytes",
        "ratio" => "ratio",
        "percent" => "%",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        name: &str,
        labels: &[(&str, &str)],
        said: Option<(&str, &str)>,
        expect: (Shape, &str),
    ) {
        let mut series: Labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        series.insert("__name__".to_owned(), name.to_owned());
        let metadata = said
            .map(|(family, kind)| {
                let kind = kind.to_owned();
                let unit = String::new();
                (family.to_owned(), Metadata { kind, unit })
            })
            .into_iter()
            .collect();
        let (metrics, _) = gather(&[series], &metadata, 10);
        let found: Vec<_> = metrics.iter().map(|m| (m.shape, m.unit)).collect();
        assert_eq!(found, [expect], "{name}");
    }

    #[test]
    fn types_follow_metadata_then_convention() {
        check("http_requests_total", &[], None, (Shape::Counter, ""));
        check(
            "http_requests",
            &[],
            Some(("http_requests", "counter")),
            (Shape::Counter, ""),
        );
        check(
            "pool_total",
            &[],
            Some(("pool_total", "gauge")),
            (Shape::Gauge, ""),
        );
        check(
            "a_seconds_bucket",
            &[("le", "1")],
            None,
            (Shape::Buckets, "s"),
        );
        check("a_seconds_sum", &[], None, (Shape::Part, ""));
        check(
            "queue_count",
            &[],
            Some(("queue_count", "gauge")),
            (Shape::Gauge, ""),
        );
        check(
            "a_seconds",
            &[("quantile", "0.9")],
            None,
            (Shape::Quantiles, "s"),
        );
        check("build_info", &[], None, (Shape::Part, ""));
        check(
            "cpu_seconds_total",
            &[],
            Some(("cpu_seconds", "counter")),
            (Shape::Counter, "s"),
        );
    }

    #[test]
    fn names_that_cannot_stand_in_a_query_are_left_out() {
        let series = |name: &str| Labels::from([("__name__".to_owned(), name.to_owned())]);
        let all = [series("a"), series("b{} or c"), series("d"), Labels::new()];
        let (metrics, left_out) = gather(&all, &BTreeMap::new(), 1);
        assert_eq!(
            (metrics[0].name.as_str(), metrics.len(), left_out),
            ("a", 1, 1)
        );
    }
}
