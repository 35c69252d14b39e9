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

/// One folder for each bus, and the native scaler that reads it.
pub(super) const VARIANTS: [(&str, &str); 4] = [
    ("deploy/keda", "redis-streams"),
    ("deploy/keda/sentinel", "redis-sentinel-streams"),
    ("deploy/keda/cluster", "redis-cluster-streams"),
    ("deploy/keda/nats", "nats-jetstream"),
];
/// What takes the dispatcher down to 0.
const ZERO: &str = "deploy/keda/zero";

/// The scaled object of a folder.
pub(super) fn scaled_object_of(folder: &str) -> Value {
    manifest(&manifests(folder), "ScaledObject", "nightshift-dispatcher")
}

/// The scaled object, as the files stand.
pub(super) fn scaled_object() -> Value {
    scaled_object_of(VARIANTS[0].0)
}

/// The triggers of a folder: what the hook asks for, and the native ones.
pub(super) fn triggers(folder: &str) -> (Value, Vec<Value>) {
    let object = scaled_object_of(folder);
    let (want, native) = list(&object["spec"]["triggers"])
        .split_first()
        .expect("triggers");
    (want.clone(), native.to_vec())
}

#[test]
fn every_manifest_fits_kedas_schema() {
    let Some(schemas) = schemas() else { return };
    let mut checked = 0;
    let mut check = |manifest: &Value| {
        let (api, kind) = (word(&manifest["apiVersion"]), word(&manifest["kind"]));
        let schema = schemas.get(&format!("{api} {kind}"));
        let schema = schema.expect("KEDA knows the kind");
        assert_eq!(problems(schema, manifest), Vec::<String>::new());
        checked += 1;
    };
    for (folder, _) in VARIANTS {
        manifests(folder).iter().for_each(&mut check);
        check(&with_zero(folder));
    }
    // An object and its copy for 0 in each folder; three logins of Redis and four of the hook.
    assert_eq!(checked, 8 + 7);
}

/// Every YAML file of a folder is in its kustomization: none goes unchecked or unapplied.
#[test]
fn no_manifest_is_left_out() {
    let folders = VARIANTS.map(|(folder, _)| (folder, "resources"));
    let more = [("deploy/base", "resources"), (ZERO, "patches")];
    for (folder, field) in folders.into_iter().chain(more) {
        let kustomization: Value =
            serde_saphyr::from_str(&text(&format!("{folder}/kustomization.yaml"))).expect("YAML");
        let listed: BTreeSet<String> = match field {
            "patches" => list(&kustomization[field])
                .iter()
                .map(|patch| word(&patch["path"]))
                .collect(),
            _ => strings(&kustomization[field]).into_iter().collect(),
        };
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
    let folders: BTreeSet<String> = std::fs::read_dir(root().join("deploy/keda"))
        .expect("a folder")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("deploy/keda/{}", entry.file_name().to_string_lossy()))
        .collect();
    let known = VARIANTS.iter().skip(1).map(|(folder, _)| *folder);
    let known: BTreeSet<String> = known.chain([ZERO]).map(str::to_owned).collect();
    assert_eq!(folders, known, "a folder that nothing checks");
}

/// The scaled object of a folder with the component that takes it down to 0.
fn with_zero(folder: &str) -> Value {
    let mut object = scaled_object_of(folder);
    let patch: Value =
        serde_saphyr::from_str(&text(&format!("{ZERO}/scaledobject-dispatcher.yaml")))
            .expect("YAML");
    for field in ["apiVersion", "kind", "metadata"] {
        assert_eq!(patch[field], object[field], "the patch finds its object");
    }
    for (field, value) in patch["spec"].as_object().expect("fields") {
        // Single values only: they are replaced, whatever the way of merging.
        assert!(value.is_number(), "{field}");
        object["spec"][field] = value.clone();
    }
    object
}

/// The settings under which 0 replicas strand nothing.
#[test]
fn from_zero_and_back() {
    for (folder, _) in VARIANTS {
        let spec = with_zero(folder)["spec"].clone();
        assert_eq!(spec["minReplicaCount"], 0);
        // One entry anywhere wakes a dispatcher.
        let modifiers = &spec["advanced"]["scalingModifiers"];
        assert_eq!(modifiers["activationTarget"], "0");
        // Somebody looks every few seconds, and does not leave before work that was put back is due.
        let config = dispatcher::Config::default();
        assert!(spec["pollingInterval"].as_u64() <= Some(5));
        let cool = spec["cooldownPeriod"].as_u64().expect("a number");
        assert!(cool > config.work.deadline.0.as_secs());
        assert!(cool > config.retry.wait_max.0.as_secs());
    }
    // Without it those two would have no effect, and KEDA warns about them.
    let plain = &scaled_object()["spec"];
    assert_eq!(plain["minReplicaCount"], 1);
    assert!(plain.get("pollingInterval").is_none() && plain.get("cooldownPeriod").is_none());
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
        "/spec/triggers/1/metadata",
        json!({"lagCount": 4}),
        ".spec.triggers[1].metadata.lagCount: 4 against type \"string\"",
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

/// What a native trigger measures: the stream, and `lag`, `pending` or their `sum`.
pub(super) fn measured(trigger: &Value) -> (String, &'static str) {
    let metadata = &trigger["metadata"];
    let given = ["lagCount", "pendingEntriesCount", "lagThreshold"];
    let signal = match given.map(|field| metadata.get(field).is_some()) {
        [true, false, false] => "lag",
        [false, true, false] => "pending",
        [false, false, true] => "sum",
        _ => panic!("{metadata} measures none or several"),
    };
    (word(&metadata["stream"]), signal)
}

/// What a stream is called on the bus of a folder.
fn on_the_bus(folder: &str, stream: &str) -> String {
    match folder.rsplit('/').next() {
        Some("cluster") => format!("{{nightshift}}:{stream}"),
        Some("nats") => stream.replace(':', "-"),
        _ => stream.to_owned(),
    }
}

#[test]
fn the_formula_asks_the_hook_and_then_sums_every_stream_once() {
    let work = Severity::ALL.map(keys::work);
    let streams: Vec<String> = work.into_iter().chain([keys::EVENTS.to_owned()]).collect();
    for (folder, scaler) in VARIANTS {
        let signals: &[&str] = match scaler {
            "nats-jetstream" => &["sum"],
            _ => &["lag", "pending"],
        };
        let mut expected = BTreeSet::new();
        for stream in &streams {
            let stream = on_the_bus(folder, stream);
            expected.extend(signals.iter().map(|signal| (stream.clone(), *signal)));
        }
        let (want, native) = triggers(folder);
        let found: Vec<_> = native.iter().map(measured).collect();
        assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), expected);
        assert_eq!(found.len(), expected.len(), "a signal is measured twice");

        let spec = &scaled_object_of(folder)["spec"];
        let formula = word(&spec["advanced"]["scalingModifiers"]["formula"]);
        let sum = formula.strip_prefix("want ?? (").expect("the hook first");
        let sum = sum.strip_suffix(')').expect("a sum");
        let mut summed: Vec<&str> = sum.split('+').map(str::trim).collect();
        let mut named: Vec<String> = native.iter().map(|t| word(&t["name"])).collect();
        assert_eq!(want["name"], "want");
        summed.sort_unstable();
        named.sort_unstable();
        assert_eq!(summed, named);
        let different: BTreeSet<&String> = named.iter().collect();
        assert_eq!(different.len(), named.len(), "two triggers of one name");
        // Without it a trigger that fails makes the whole formula fail.
        assert_eq!(spec["fallback"]["behavior"], "scalingModifiers");
    }
}

/// The folders differ in the native triggers and in nothing else.
#[test]
fn every_bus_is_scaled_alike() {
    let rest = |folder: &str| {
        let mut object = scaled_object_of(folder);
        let spec = object["spec"].as_object_mut().expect("fields");
        spec["advanced"]["scalingModifiers"]["formula"] = Value::Null;
        spec.insert("triggers".to_owned(), json!([triggers(folder).0]));
        let kustomization: Value =
            serde_saphyr::from_str(&text(&format!("{folder}/kustomization.yaml"))).expect("YAML");
        (object, kustomization)
    };
    for (folder, _) in VARIANTS {
        assert_eq!(rest(folder), rest(VARIANTS[0].0), "{folder}");
    }
}

#[test]
fn the_triggers_watch_what_the_dispatcher_reads() {
    let bus = bus::Config::default();
    assert_eq!((bus.database, bus.prefix.as_str()), (4, ""));
    let at_once = dispatcher::Config::default().work.concurrency.to_string();
    for (folder, scaler) in VARIANTS {
        let spec = &scaled_object_of(folder)["spec"];
        assert_eq!(spec["maxReplicaCount"], 5);
        let modifiers = &spec["advanced"]["scalingModifiers"];
        assert_eq!(modifiers["target"], json!(at_once));
        assert_eq!(modifiers["metricType"], "AverageValue");
        let (want, native) = triggers(folder);
        assert_eq!(want["type"], "metrics-api");
        assert_eq!(want["metadata"]["targetValue"], json!(at_once));
        for trigger in native {
            let metadata = &trigger["metadata"];
            assert_eq!(trigger["type"], scaler);
            let (group, target, place) = match scaler {
                "nats-jetstream" => ("consumer", "lagThreshold", ("account", json!("$G"))),
                "redis-cluster-streams" => ("consumerGroup", "", ("databaseIndex", Value::Null)),
                _ => ("consumerGroup", "", ("databaseIndex", json!("4"))),
            };
            assert_eq!(metadata[group], keys::GROUP);
            // Of two targets one is there; `measured` says so.
            let target = match (target, measured(&trigger).1) {
                ("", "lag") => "lagCount",
                ("", _) => "pendingEntriesCount",
                (target, _) => target,
            };
            assert_eq!(metadata[target], json!(at_once));
            assert_eq!(metadata[place.0], place.1, "{folder}");
            if scaler == "redis-sentinel-streams" {
                assert_eq!(metadata["sentinelMaster"], json!(bus.sentinel.master));
            }
        }
    }
}
