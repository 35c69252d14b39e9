//! The manifests of `deploy/base` against the programs, the configuration and `deploy/keda`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::nightshift::program;
use tests::ports;
use tests::wait::until;

use super::files::{effective, list, manifest, manifests, port, span, strings, text, word, yaml};
use super::keda::scaled_object;

const FOLDER: &str = "deploy/base";

/// Which Secret is mounted where.
const SECRETS: [(&str, &str); 2] = [
    ("nightshift", "/run/secrets/nightshift"),
    ("nightshift-redis", "/run/secrets/redis"),
];

fn role(name: &str) -> Value {
    let name = format!("nightshift-{name}");
    manifest(&manifests(FOLDER), "Deployment", &name)
}

fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

fn container(workload: &Value) -> &Value {
    let all = list(&pod(workload)["containers"]);
    assert_eq!(all.len(), 1);
    &all[0]
}

/// The text of the ConfigMap, which the kustomization makes of a file.
fn config_map() -> String {
    let kustomization = yaml(&format!("{FOLDER}/kustomization.yaml"));
    let made = list(&kustomization["configMapGenerator"]);
    assert_eq!(made[0]["name"], "nightshift");
    let files = strings(&made[0]["files"]);
    assert_eq!(files, ["nightshift.toml"], "the file is the key");
    text(&format!("{FOLDER}/{}", files[0]))
}

/// Where a role listens, by the configuration.
fn ports_by_role(config: &Value) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        ("hook", port(&word(&config["hook"]["listen"]))),
        ("dispatcher", port(&word(&config["metrics_listen"]))),
        ("agents", port(&word(&config["agents"]["listen"]))),
    ])
}

#[test]
fn ports_commands_and_configuration_agree() {
    let config = effective(&config_map());
    let all = manifests(FOLDER);
    for (name, port) in ports_by_role(&config) {
        let workload = role(name);
        let container = container(&workload);
        let open = &container["ports"][0];
        assert_eq!(
            (&open["name"], &open["containerPort"]),
            (&json!("http"), &json!(port))
        );
        let service = manifest(&all, "Service", &format!("nightshift-{name}"));
        let published = &service["spec"]["ports"][0];
        assert_eq!(
            (&published["port"], &published["targetPort"]),
            (&json!(port), &json!("http"))
        );

        let words = strings(&container["args"]);
        let output = Command::new(program("nightshift").expect("the binary is built"))
            .args(&words)
            .arg("--help")
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{words:?}");
        assert!(
            words[0].starts_with(name.trim_end_matches('s')),
            "{name}: {words:?}"
        );
    }
    let called = [
        (&config["api"]["url"], "hook"),
        (&config["a2a"]["public_url"], "agents"),
    ];
    for (url, name) in called {
        let port = ports_by_role(&config)[name];
        assert_eq!(*url, format!("http://nightshift-{name}:{port}"));
    }
    assert_eq!(config["bus"]["kind"], "redis");
}

#[test]
fn labels_lead_to_their_pods() {
    let all = manifests(FOLDER);
    let mut workloads = BTreeMap::new();
    for workload in all.iter().filter(|m| m["spec"]["template"].is_object()) {
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        assert_eq!(workload["spec"]["selector"]["matchLabels"], *labels);
        let name = word(&workload["metadata"]["name"]);
        assert_eq!(labels["app.kubernetes.io/name"], json!(name));
        workloads.insert(name, labels.clone());
    }
    assert_eq!(workloads.len(), 4);
    for other in &all {
        let (kind, name) = (word(&other["kind"]), word(&other["metadata"]["name"]));
        let selected = match kind.as_str() {
            "Service" => &other["spec"]["selector"],
            "PodDisruptionBudget" => &other["spec"]["selector"]["matchLabels"],
            _ => continue,
        };
        assert_eq!(*selected, workloads[&name], "{kind} {name}");
    }
    let budget = manifest(&all, "PodDisruptionBudget", "nightshift-hook");
    let replicas = role("hook")["spec"]["replicas"].as_u64();
    assert!(
        budget["spec"]["minAvailable"].as_u64() < replicas,
        "no pod could ever move"
    );
}

#[test]
fn what_keda_names_is_there() {
    let all = manifests(FOLDER);
    let object = scaled_object();
    let target = word(&object["spec"]["scaleTargetRef"]["name"]);
    let dispatcher = manifest(&all, "Deployment", &target);
    assert!(
        dispatcher["spec"].get("replicas").is_none(),
        "applying would undo the autoscaler"
    );
    let most = object["spec"]["maxReplicaCount"].as_u64();
    assert!(most > Some(1));

    let namespace = word(&yaml(&format!("{FOLDER}/kustomization.yaml"))["namespace"]);
    manifest(&all, "Namespace", &namespace);
    assert_eq!(
        yaml("deploy/keda/kustomization.yaml")["namespace"],
        json!(namespace)
    );
    let service = manifest(&all, "Service", "nightshift-redis");
    let port = &service["spec"]["ports"][0]["port"];
    let address = format!("nightshift-redis.{namespace}.svc:{port}");
    let config = effective(&config_map());
    let (want, native) = list(&object["spec"]["triggers"])
        .split_first()
        .expect("triggers");
    let service = manifest(&all, "Service", "nightshift-hook");
    let port = &service["spec"]["ports"][0]["port"];
    let url = format!("http://nightshift-hook.{namespace}.svc:{port}/api/v1/backlog");
    assert_eq!(want["metadata"]["url"], json!(url));
    for trigger in native {
        assert_eq!(trigger["metadata"]["address"], json!(address));
        let index = trigger["metadata"]["databaseIndex"].as_str();
        assert_eq!(index, Some(config["bus"]["database"].to_string().as_str()));
    }
    // What logs in reads the Secrets that the roles read themselves.
    let logins = manifests("deploy/keda");
    let secret = |trigger: &Value| {
        let login = word(&trigger["authenticationRef"]["name"]);
        let login = manifest(&logins, "TriggerAuthentication", &login);
        let secret = &login["spec"]["secretTargetRef"][0];
        ["parameter", "name", "key"].map(|field| word(&secret[field]))
    };
    assert_eq!(secret(want), ["token", "nightshift", "token"]);
    for trigger in native {
        assert_eq!(
            secret(trigger),
            ["password", "nightshift-redis", "password"]
        );
    }
    let at_once = &config["dispatcher"]["work"]["concurrency"];
    let target = object["spec"]["advanced"]["scalingModifiers"]["target"].as_str();
    assert_eq!(
        target,
        Some(at_once.to_string().as_str()),
        "one replica's share"
    );
}

#[test]
fn pods_have_no_rights() {
    let all = manifests(FOLDER);
    let kinds: BTreeSet<String> = all.iter().map(|m| word(&m["kind"])).collect();
    assert!(
        kinds.iter().all(|kind| !kind.contains("Role")),
        "nothing is granted: {kinds:?}"
    );
    assert!(
        kinds.iter().all(|kind| kind != "Secret"),
        "no secret stands in a file"
    );
    let account = manifest(&all, "ServiceAccount", "nightshift");
    assert_eq!(account["automountServiceAccountToken"], false);
    for workload in all.iter().filter(|m| m["spec"]["template"].is_object()) {
        let (pod, container) = (pod(workload), container(workload));
        assert_eq!(pod["serviceAccountName"], "nightshift");
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(
            (
                &pod["securityContext"]["runAsNonRoot"],
                &pod["securityContext"]["runAsUser"]
            ),
            (&json!(true), &json!(10001))
        );
        // Secrets are readable by this group.
        assert_eq!(pod["securityContext"]["fsGroup"], 10001);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(
            container["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            })
        );
        for amount in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            assert!(container["resources"].pointer(amount).is_some(), "{amount}");
        }
    }
}

/// Nothing is killed while it drains, and what is asked of a role is a page it has.
#[test]
fn probes_and_grace_fit_the_roles() {
    let config = effective(&config_map());
    let grace = span(&config["grace"]);
    for name in ["hook", "dispatcher", "agents"] {
        let workload = role(name);
        let waits = pod(&workload)["terminationGracePeriodSeconds"].as_u64();
        let waits = Duration::from_secs(waits.expect("a number"));
        // The dispatcher gives back what does not finish, and is through with it before the end.
        assert!(span(&config["dispatcher"]["grace"]) < grace);
        // Agents get a quarter of the grace on top, then the bus closes.
        assert!(
            waits > grace.mul_f64(1.25) + Duration::from_secs(5),
            "{name}"
        );
        let container = container(&workload);
        let asked = |probe: &str| {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["port"], "http", "{name} {probe}");
            word(&get["path"])
        };
        assert_eq!(
            (asked("startupProbe"), asked("livenessProbe")),
            ("/healthz".into(), "/healthz".into())
        );
        // Only the hook has a page that says whether it can store.
        let ready = if name == "hook" {
            "/readyz"
        } else {
            "/healthz"
        };
        assert_eq!(asked("readinessProbe"), ready);
    }
}

/// Every file that the configuration names is mounted, for the roles that read it and no others.
#[test]
fn secrets_reach_who_reads_them() {
    let config = effective(&config_map());
    let readers = [
        (&config["hook"]["auth"]["token_files"][0], vec!["hook"]),
        (&config["a2a"]["token_file"], vec!["agents", "dispatcher"]),
        (&config["approval"]["key_file"], vec!["agents", "hook"]),
        (
            &config["bus"]["url_file"],
            vec!["agents", "dispatcher", "hook"],
        ),
    ];
    for (path, expected) in readers {
        let (folder, key) = path
            .as_str()
            .and_then(|path| path.rsplit_once('/'))
            .expect("a path");
        let has = |name: &str| {
            let workload = role(name);
            let mounts = list(&container(&workload)["volumeMounts"]);
            let Some(mount) = mounts.iter().find(|mount| mount["mountPath"] == folder) else {
                return false;
            };
            let volumes = list(&pod(&workload)["volumes"]);
            let volume = volumes
                .iter()
                .find(|volume| volume["name"] == mount["name"]);
            let secret = &volume.expect("a volume of that name")["secret"];
            let known = SECRETS.contains(&(secret["secretName"].as_str().unwrap_or("?"), folder));
            assert!(known, "{name}: {secret} at {folder}");
            assert_eq!(secret["defaultMode"], 0o440);
            list(&secret["items"])
                .iter()
                .any(|item| item["key"] == key && item["path"] == key)
        };
        let found: Vec<&str> = ["agents", "dispatcher", "hook"]
            .into_iter()
            .filter(|name| has(name))
            .collect();
        assert_eq!(found, expected, "{path}");
    }
    for name in ["agents", "dispatcher", "hook"] {
        let workload = role(name);
        let container = container(&workload);
        let env = list(&container["env"]);
        assert_eq!(env[0]["name"], "NIGHTSHIFT_CONFIG");
        assert_eq!(env[0]["value"], "/etc/nightshift/nightshift.toml");
        let mounts = list(&container["volumeMounts"]);
        assert!(
            mounts
                .iter()
                .any(|m| m["name"] == "config" && m["mountPath"] == "/etc/nightshift")
        );
    }
    // The agents write mirrors; nobody else writes.
    let writes = |name: &str| {
        let workload = role(name);
        let mounts = list(&container(&workload)["volumeMounts"]).to_vec();
        let open = mounts.iter().filter(|m| m["readOnly"] != true);
        open.map(|m| word(&m["mountPath"])).collect::<Vec<_>>()
    };
    assert_eq!(
        writes("agents"),
        [word(&config["data_dir"]), "/tmp".to_owned()]
    );
    assert_eq!(writes("hook"), [""; 0]);
    assert_eq!(writes("dispatcher"), [""; 0]);
}

/// The Redis of the manifest, started by its own words: only who has the password gets in, and what
/// is acknowledged is on disk.
#[tokio::test]
async fn redis_starts_as_written_and_asks_for_the_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("password");
    let password = "p".repeat(40);
    std::fs::write(&secret, &password).expect("a file");
    let workload = manifest(&manifests(FOLDER), "StatefulSet", "nightshift-redis");
    let words = strings(&container(&workload)["command"]);
    let at = ports::free().expect("a port");
    let script = words[2]
        .replace("/run/secrets/redis/password", &secret.display().to_string())
        .replace(
            "--dir /data",
            &format!("--port {} --dir {}", at.port(), folder.path().display()),
        );
    let mut command = tokio::process::Command::new(&words[0]);
    command.args([&words[1], &script]);
    let mut redis =
        tests::process::Process::start("redis", folder.path(), &mut command).expect("it starts");

    let says = async |url: &str| {
        let client = bus_at(url, folder.path()).await;
        client.map_err(|error| format!("{error:#}"))
    };
    let within = Duration::from_secs(20);
    let good = format!("redis://:{password}@{at}");
    until("Redis with the password", within, async || {
        says(&good).await.ok()
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", redis.log_tail()));
    let refused = says(&format!("redis://{at}")).await;
    assert!(refused.is_err(), "no password was asked for");
    let status = redis.terminate(within).await.expect("it ends on SIGTERM");
    assert!(status.success(), "{status}");
}

/// Opens the bus as a role would, with the address in a file, and stores something.
async fn bus_at(url: &str, folder: &std::path::Path) -> anyhow::Result<()> {
    let file = folder.join("url");
    std::fs::write(&file, url)?;
    let config = bus::Config {
        kind: bus::Kind::Redis,
        url_file: Some(file),
        ..bus::Config::default()
    };
    let clock: std::sync::Arc<dyn incident::ports::Clock> = runtime::SystemClock::new();
    let supervisor = runtime::Supervisor::new(runtime::Shutdown::new(), clock.clone());
    let opened = bus::Bus::open(&config, clock, &supervisor).await?;
    let stored = opened.check().await;
    opened.close().await;
    supervisor.drain(Duration::from_secs(1)).await;
    Ok(stored?)
}
