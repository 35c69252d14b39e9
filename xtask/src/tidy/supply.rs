//! Licences, banned crates, duplicate versions and the size of the tree, by the lists of deny.toml.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, Package};
use toml::{Table, Value};

/// More packages than this need a page in docs/decisions.
const PACKAGES_MAX: usize = 420;

/// One finding for every package that breaks a rule.
pub(crate) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("deny.toml")).context("deny.toml")?;
    let deny: Table = text.parse().context("deny.toml")?;
    let allowed = strings(
        deny.get("licenses")
            .and_then(|section| section.get("allow")),
    );
    let banned = crates(deny.get("bans").and_then(|section| section.get("deny")));
    let skipped = crates(deny.get("bans").and_then(|section| section.get("skip")));
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let outside = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some());
    for package in outside {
        let name = package.name.as_str();
        versions
            .entry(name)
            .or_default()
            .push(package.version.to_string());
        if banned.iter().any(|ban| ban == name) && is_built(metadata, package) {
            findings.push(format!("{name} is banned by deny.toml"));
        }
        if !package
            .source
            .as_ref()
            .is_some_and(cargo_metadata::Source::is_crates_io)
        {
            findings.push(format!("{name} does not come from the registry"));
        }
        let licence = package.license.as_deref().unwrap_or_default();
        if !licence_ok(licence, &allowed) {
            findings.push(format!(
                "{name} has licence {licence:?}, which deny.toml does not allow"
            ));
        }
    }
    for (name, versions) in &versions {
        if versions.len() > 1 && !skipped.iter().any(|skip| skip == name) {
            findings.push(format!(
                "{name} is there in versions {}; deny.toml skips none of that name",
                versions.join(", ")
            ));
        }
    }
    if metadata.packages.len() > PACKAGES_MAX {
        findings.push(format!(
            "{} packages; {PACKAGES_MAX} is the limit",
            metadata.packages.len()
        ));
    }
    Ok(findings)
}

/// The lock file also lists optional packages that no feature turns on; those are not built.
fn is_built(metadata: &Metadata, package: &Package) -> bool {
    let Some(graph) = &metadata.resolve else {
        return true;
    };
    graph
        .nodes
        .iter()
        .any(|node| node.deps.iter().any(|dep| dep.pkg == package.id))
}

/// An SPDX expression of AND, OR and parentheses against the allowed list.
fn licence_ok(expression: &str, allowed: &[String]) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let parts: Vec<&str> = flat.split(" AND ").collect();
    parts.iter().all(|part| {
        part.split(" OR ")
            .any(|licence| allowed.iter().any(|allowed| allowed == licence.trim()))
    })
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn crates(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| item.get("crate")?.as_str())
        .map(str::to_owned)
        .collect()
}
