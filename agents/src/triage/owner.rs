//! Whose alert it is: the owner of what fired, and the correlation key that follows from it.
//!
//! Workloads are known by namespace and name alone, so that an alert on a pod, one on its deployment
//! and one on the service of the same name meet. Generated parts of names (hashes, ordinals, ports)
//! never separate; clusters always do.

use std::collections::BTreeMap;

use incident::digest::Digest;
use incident::{AlertEvent, Subject, Untrusted};

use super::config::Config;
use super::names;

/// The owner of one alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    /// Equal for alerts of the same owner; safe as part of a key.
    pub(super) correlation: String,
    /// For people.
    pub(super) subject: Subject,
}

/// What kind of thing a label names. `class` is what counts for correlation.
struct Found {
    class: &'static str,
    kind: &'static str,
    name: String,
    namespaced: bool,
}

impl Found {
    fn workload(kind: &'static str, name: impl Into<String>) -> Self {
        Self {
            class: "workload",
            kind,
            name: name.into(),
            namespaced: true,
        }
    }

    fn machine(kind: &'static str, name: impl Into<String>) -> Self {
        Self {
            class: kind,
            kind,
            name: name.into(),
            namespaced: false,
        }
    }
}

/// Labels that name a workload as it is, most specific first.
const WORKLOADS: [(&str, &str); 8] = [
    ("deployment", "deployment"),
    ("statefulset", "statefulset"),
    ("daemonset", "daemonset"),
    ("horizontalpodautoscaler", "deployment"),
    ("workload", "deployment"),
    ("service", "service"),
    ("app_kubernetes_io_name", "service"),
    ("app", "service"),
];

/// The owner of `event`.
pub(super) fn of(event: &AlertEvent, config: &Config) -> Owner {
    let labels = Labels { event, config };
    let found = labels.find();
    let namespace = if found.namespaced {
        labels.get("namespace")
    } else {
        None
    };
    let cluster = event.label("cluster");
    let mut fields = vec![
        (String::from("class"), found.class),
        (String::from("name"), &found.name),
        (String::from("namespace"), namespace.unwrap_or_default()),
    ];
    for label in &config.separate_by {
        fields.push((
            format!("label {label}"),
            event.label(label).unwrap_or_default(),
        ));
    }
    let flat = fields
        .iter()
        .flat_map(|(name, value)| [name.as_str(), value]);
    let digest = Digest::of_fields("owner/1", flat);
    Owner {
        correlation: format!("{}-{}", found.class, digest.short(24)),
        subject: Subject {
            kind: found.kind.to_owned(),
            name: Untrusted::new(cut(&found.name, 253)),
            namespace: namespace.map(|text| Untrusted::new(cut(text, 253))),
            cluster: cluster.map(|text| Untrusted::new(cut(text, 253))),
        },
    }
}

struct Labels<'a> {
    event: &'a AlertEvent,
    config: &'a Config,
}

impl<'a> Labels<'a> {
    /// A label's value. Where Prometheus moved the measured object's own label aside, that one is
    /// meant, not the exporter's.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.event
            .label(&format!("exported_{name}"))
            .or_else(|| self.event.label(name))
    }

    /// The same, unless it names an exporter.
    fn owner(&self, name: &str) -> Option<&'a str> {
        self.get(name).filter(|value| !self.is_exporter(value))
    }

    fn is_exporter(&self, value: &str) -> bool {
        self.config.exporters.iter().any(|exporter| {
            value
                .strip_suffix(exporter.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('-') || rest.ends_with('/'))
        })
    }

    fn find(&self) -> Found {
        self.workload()
            .or_else(|| self.machine())
            .unwrap_or_else(|| Found {
                class: "alert",
                kind: "alert",
                name: self.event.name().to_owned(),
                namespaced: true,
            })
    }

    fn workload(&self) -> Option<Found> {
        if let Some(job) = self.owner("job_name") {
            return Some(Found::workload("job", names::job(job)));
        }
        for (label, kind) in WORKLOADS {
            if let Some(name) = self.owner(label) {
                return Some(Found::workload(kind, name));
            }
        }
        if let Some(name) = self.owner("replicaset") {
            return Some(Found::workload("deployment", names::replica_set(name)));
        }
        let (kind, name) = names::pod(self.get("pod")?);
        Some(Found::workload(kind, name)).filter(|_| !self.is_exporter(name))
    }

    /// Node, then scrape job, then address. A scrape job other than an exporter's is the service, so
    /// its instances belong together.
    fn machine(&self) -> Option<Found> {
        for label in ["node", "nodename", "kubernetes_node"] {
            if let Some(node) = self.get(label) {
                return Some(Found::machine("node", node));
            }
        }
        if let Some(job) = self.owner("job") {
            let namespace = self.get("namespace").unwrap_or_default();
            let own = job
                .strip_prefix(namespace)
                .and_then(|rest| rest.strip_prefix('/'));
            return Some(Found::workload("job", own.unwrap_or(job)));
        }
        if let Some(instance) = self.get("instance") {
            return Some(Found::machine("instance", names::host(instance)));
        }
        self.get("job").map(|job| Found::machine("job", job))
    }
}

/// At most `bytes` bytes of `text`, cut between characters.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// The same for a map of texts, also bounded in number.
pub(super) fn cut_map(
    map: &BTreeMap<String, Untrusted>,
    entries: usize,
    bytes: usize,
) -> BTreeMap<String, Untrusted> {
    map.iter()
        .take(entries)
        .map(|(name, text)| {
            (
                cut(name, bytes).to_owned(),
                Untrusted::new(cut(text.expose(), bytes)),
            )
        })
        .collect()
}
