//! Who an alert is about, in Prometheus's own labels.
//!
//! An alert's labels are what its rule left of the series (aggregation drops them) plus what the
//! rule added (a `service` no series carries). So the series its expression reads are asked first,
//! and the labels alone are the fallback.

use std::collections::{BTreeMap, BTreeSet};

use incident::Incident;
use incident::incident::Member;

use super::prometheus::Labels;
use super::promql::{Matcher, is_label_name, selector};

/// Labels that single out a workload, in the order they appear in selectors.
const WORKLOAD: [&str; 9] = [
    "cluster",
    "namespace",
    "job",
    "service",
    "app",
    "deployment",
    "statefulset",
    "container",
    "component",
];
/// Labels that single out one copy of a workload.
const COPY: [&str; 3] = ["instance", "pod", "node"];
/// A label with more values than this does not single out anything.
const VALUES_MAX: usize = 3;
/// Guesses from the alert's labels alone.
const GUESSES_MAX: usize = 8;

/// Reads the expression out of a `generatorURL`: the `g0.expr` of a Prometheus graph page.
pub(super) fn expression(member: &Member, longest: usize) -> Option<String> {
    let url = reqwest::Url::parse(member.generator_url.expose()).ok()?;
    let (_, text) = url.query_pairs().find(|(key, _)| key == "g0.expr")?;
    let text = text.trim();
    (!text.is_empty() && text.len() <= longest).then(|| text.to_owned())
}

/// Whether a series can be one the alert is about: no label says otherwise.
pub(super) fn agrees(series: &Labels, member: &Member) -> bool {
    let same = |label: &str| match (series.get(label), member.labels.get(label)) {
        (Some(ours), Some(theirs)) => ours == theirs.expose(),
        _ => true,
    };
    WORKLOAD.iter().chain(&COPY).all(|label| same(label))
}

/// Matchers from the series an alert's expression reads; empty if they have nothing in common.
pub(super) fn of_series(series: &[Labels], member: &Member) -> Vec<Matcher> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let ours: Vec<&Labels> = series.iter().filter(|s| agrees(s, member)).collect();
    for labels in &ours {
        for label in WORKLOAD.iter().chain(&COPY) {
            let value = labels.get(*label).map_or("", String::as_str);
            values.entry(label).or_default().insert(value);
        }
    }
    // A copy is singled out only if the alert names it: a fault of one copy is told apart from its
    // peers' by the alert, not by which series exist.
    let wanted = |label: &str| WORKLOAD.contains(&label) || member.labels.contains_key(label);
    WORKLOAD
        .iter()
        .chain(&COPY)
        .filter_map(|label| {
            let all: Vec<&str> = values.get(label)?.iter().copied().collect();
            let usable = wanted(label) && all.len() <= VALUES_MAX && !all.contains(&"");
            usable.then(|| Matcher::one_of(label, &all))
        })
        .collect()
}

/// Matchers guessed from the alert's own labels, most specific first.
pub(super) fn guesses(incident: &Incident, member: Option<&Member>) -> Vec<Vec<Matcher>> {
    let label = |name: &str| {
        let text = member?.labels.get(name)?.expose();
        (!text.is_empty() && is_label_name(name)).then(|| Matcher::equal(name, text))
    };
    let all = |names: &[&str]| -> Vec<Matcher> { names.iter().filter_map(|n| label(n)).collect() };
    let mut found: Vec<Vec<Matcher>> = vec![
        all(&[&WORKLOAD[..], &COPY[..]].concat()),
        all(&["namespace", "job", "instance"]),
        all(&["namespace", "job"]),
        all(&["job"]),
        all(&["namespace", "service"]),
        all(&["namespace", "app"]),
        all(&["namespace", "pod"]),
        all(&["instance"]),
    ];
    // `job` is often the name of the service, and a rule often adds `service` of its own.
    let subject = &incident.subject;
    if matches!(
        subject.kind.as_str(),
        "service" | "deployment" | "statefulset" | "job"
    ) {
        let name = subject.name.expose();
        found.insert(1, vec![Matcher::equal("job", name)]);
        found.push(vec![Matcher::equal("service", name)]);
        found.push(vec![Matcher::equal("app", name)]);
    }
    let mut seen = BTreeSet::new();
    found.retain(|matchers| {
        let alone = matches!(matchers.as_slice(), [only] if only.label == "namespace");
        !matchers.is_empty() && !alone && seen.insert(selector("", matchers))
    });
    found.truncate(GUESSES_MAX);
    found
}
