//! Which crate may depend on which: the house plan of docs/ARCHITECTURE.md as a check.

use cargo_metadata::{Metadata, Package};

/// Rooms that stand side by side: none may depend on another.
const FEATURES: [&str; 8] = [
    "hook",
    "dispatcher",
    "agents",
    "pipelines",
    "bus",
    "a2a",
    "forge",
    "notify",
];
/// What every room may stand on.
const GROUND: [&str; 2] = ["runtime", "incident"];
/// Crates that may be named by one room only: (prefix of the crate's name, the room).
const RESERVED: [(&str, &[&str]); 8] = [
    // The benchmarks measure against a plain receiver that speaks to Redis.
    ("redis", &["bus", "tests"]),
    ("redb", &["bus"]),
    ("async-nats", &["bus"]),
    ("a2a-", &["a2a"]),
    ("kube", &["agents"]),
    ("indicatif", &["nightshift", "tests", "xtask"]),
    ("clap", &["nightshift", "tests", "xtask"]),
    ("anyhow", &["nightshift", "tests", "xtask"]),
];
/// What the vocabulary must not know.
const NOT_IN_INCIDENT: [&str; 6] = [
    "tokio",
    "tokio-util",
    "axum",
    "reqwest",
    "tracing",
    "backon",
];

/// One finding for every forbidden edge.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let members: Vec<&Package> = metadata.workspace_packages();
    let ours: Vec<&str> = members
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut findings = Vec::new();
    for package in &members {
        let from = package.name.as_str();
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            if ours.contains(&to) && !may(from, to) {
                findings.push(format!(
                    "{from} must not depend on {to}: only on {}",
                    GROUND.join(" and ")
                ));
            }
            if from == "incident" && NOT_IN_INCIDENT.contains(&to) {
                findings.push(format!(
                    "incident must not depend on {to}: it is words, not I/O"
                ));
            }
            for (prefix, rooms) in RESERVED {
                if to.starts_with(prefix) && !ours.contains(&to) && !rooms.contains(&from) {
                    findings.push(format!(
                        "{from} must not name {to}: only {} may",
                        rooms.join(", ")
                    ));
                }
            }
        }
    }
    findings
}

fn may(from: &str, to: &str) -> bool {
    match from {
        "incident" | "xtask" => false,
        "runtime" => to == "incident",
        "nightshift" => to != "tests" && to != "xtask",
        "tests" => to != "xtask",
        _ if FEATURES.contains(&from) => GROUND.contains(&to),
        _ => false,
    }
}
