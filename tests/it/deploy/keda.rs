//! The manifests of `deploy/keda` against KEDA's own schemas, and against the streams.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use incident::{Severity, keys};
use serde_json::{Value, json};

use super::files::{list, manifest, manifests, root, strings, text, word};
use super::schema::problems;

/// KEDA's schemas, by kind; none without the shared folder.
fn schemas() -> Option<BTreeMap<String, Value>> {
    let folder: PathBuf = root().join("../shared/data/crds/keda");
    if !folder.is_dir() {
        println!("SKIPPED: {} is not there", folder.display());
        return None;
    }
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a schema");
        let crd: Value = serde_saphyr::from_str(&text).expect("YAML");
        let version = &list(&crd["spec"]["versions"])[0];
        let api = format!("{}/{}", word(&crd["spec"]["group"]), word(&version["name"]));
        let schema = version["schema"]["openAPIV3Schema"].clone();
        let kind = word(&crd["spec"]["names"]["kind"]);
        found.insert(format!("{api} {kind}"), schema);
    }
    assert_eq!(found.len(), 3, "{:?}", found.keys());
    Some(found)
}

/// The scaled object, as the files stand.
pub(super) fn scaled_object() -> Value {
    manifest(
        &manifests("deploy/keda"),
        "ScaledObject",
        "nightshift-dispatcher",
    )
}

#[test]
fn every_manifest_fits_kedas_schema() {
    let Some(schemas) = schemas() else { return };
    let all = manifests("deploy/keda");
    assert_eq!(all.len(), 2);
    for manifest in &all {
        let kind = format!(
            "{} {}",
            word(&manifest["apiVersion"]),
            word(&manifest["kind"])
        );
        let schema = schemas.get(&kind).expect("KEDA knows the kind");
        assert_eq!(problems(schema, manifest), Vec::<String>::new());
    }
}

/// Every YAML file of the folder is in the kustomization: none goes unchecked or unapplied.
#[test]
fn no_manifest_is_left_out() {
    for folder in ["deploy/keda", "deploy/base"] {
        let kustomization: Value =
            serde_saphyr::from_str(&text(&format!("{folder}/kustomization.yaml"))).expect("YAML");
        let listed: BTreeSet<String> = strings(&kustomization["resources"]).into_iter().collect();
        let there: BTreeSet<String> = std::fs::read_dir(root().join(folder))
            .expect("a folder")
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .filter(|name| name != "kustomization.yaml")
            .collect();
        assert_eq!(listed, there, "{folder}");
    }
}

/// The validator finds what it is there for.
#[test]
fn a_wrong_manifest_is_refused() {
    let Some(schemas) = schemas() else { return };
    let schema = &schemas["keda.sh/v1alpha1 ScaledObject"];
    let check = |pointer: &str, value: Value, expect: &str| {
        let mut wrong = scaled_object();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        wrong
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect(parent)
            .insert(field.to_owned(), value);
        assert_eq!(problems(schema, &wrong), [expect]);
    };
    check(
        "/spec/minReplicas",
        json!(1),
        ".spec.minReplicas: unknown field",
    );
    check(
        "/spec/maxReplicaCount",
        json!(0),
        ".spec.maxReplicaCount: 0 against minimum 1",
    );
    check(
        "/spec/advanced/scalingModifiers/target",
        json!(4),
        ".spec.advanced.scalingModifiers.target: 4 against type \"string\"",
    );
    check(
        "/spec/advanced/scalingModifiers/metricType",
        json!("Average"),
        ".spec.advanced.scalingModifiers.metricType: \"Average\" against enum [\"AverageValue\",\"Value\"]",
    );
    check(
        "/spec/scaleTargetRef/name",
        json!(""),
        ".spec.scaleTargetRef.name: \"\" against minLength 1",
    );
    check(
        "/spec/triggers",
        json!([]),
        ".spec.triggers: [] against minItems 1",
    );
    check(
        "/spec/triggers/0/metadata",
        json!({"lagCount": 4}),
        ".spec.triggers[0].metadata.lagCount: 4 against type \"string\"",
    );
    check(
        "/spec/fallback",
        json!({"replicas": 2}),
        ".spec.fallback.failureThreshold: missing",
    );
    check(
        "/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleUp/tolerance",
        json!("0.1"),
        ".spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.tolerance: cannot check pattern",
    );
    check("/metadata/name", json!(1), "metadata.name: missing");
}

/// What each trigger measures: the stream, and `lag` or `pending`.
fn measured(trigger: &Value) -> (String, &'static str) {
    let metadata = &trigger["metadata"];
    let signal = match (
        metadata.get("lagCount"),
        metadata.get("pendingEntriesCount"),
    ) {
        (Some(_), None) => "lag",
        (None, Some(_)) => "pending",
        _ => panic!("{metadata} measures both or neither"),
    };
    (word(&metadata["stream"]), signal)
}

#[test]
fn the_formula_sums_lag_and_pending_of_every_stream_once() {
    let spec = &scaled_object()["spec"];
    let triggers = list(&spec["triggers"]);

    let mut expected = BTreeSet::new();
    let work = Severity::ALL.map(keys::work);
    for stream in work.into_iter().chain([keys::EVENTS.to_owned()]) {
        expected.insert((stream.clone(), "lag"));
        expected.insert((stream, "pending"));
    }
    let found: Vec<_> = triggers.iter().map(measured).collect();
    assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(found.len(), expected.len(), "a signal is measured twice");
    let streams: BTreeSet<&String> = expected.iter().map(|(stream, _)| stream).collect();
    assert_eq!(streams.len(), 4, "{streams:?}");

    let formula = word(&spec["advanced"]["scalingModifiers"]["formula"]);
    let mut summed: Vec<&str> = formula.split('+').map(str::trim).collect();
    let mut named: Vec<String> = triggers.iter().map(|t| word(&t["name"])).collect();
    summed.sort_unstable();
    named.sort_unstable();
    assert_eq!(summed, named);
    assert_eq!(
        named.iter().collect::<BTreeSet<_>>().len(),
        named.len(),
        "two triggers of one name"
    );
}

#[test]
fn the_triggers_watch_what_the_dispatcher_reads() {
    let spec = &scaled_object()["spec"];
    assert_eq!(
        (&spec["minReplicaCount"], &spec["maxReplicaCount"]),
        (&json!(1), &json!(5))
    );
    let at_once = dispatcher::Config::default().work.concurrency.to_string();
    let modifiers = &spec["advanced"]["scalingModifiers"];
    assert_eq!(modifiers["target"], json!(at_once));
    assert_eq!(modifiers["metricType"], "AverageValue");

    let database = bus::Config::default().database.to_string();
    assert_eq!(database, "4");
    assert_eq!(
        bus::Config::default().prefix,
        "",
        "stream names would differ"
    );
    for trigger in list(&spec["triggers"]) {
        let (_, signal) = measured(trigger);
        let target = if signal == "lag" {
            "lagCount"
        } else {
            "pendingEntriesCount"
        };
        let metadata = &trigger["metadata"];
        assert_eq!(trigger["type"], "redis-streams");
        assert_eq!(metadata["consumerGroup"], keys::GROUP);
        assert_eq!(metadata["databaseIndex"], json!(database));
        assert_eq!(metadata[target], json!(at_once));
        assert_eq!(metadata.as_object().map(serde_json::Map::len), Some(5));
    }
}
