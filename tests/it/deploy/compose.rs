//! docker-compose.yml and the files it mounts, against each other and against the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use tests::nightshift::program;

use super::files::{effective, list, port, root, span, strings, text, word, yaml};

/// The user everything runs as.
const USER: &str = "10001";

/// The services of docker-compose.yml.
pub(super) fn services() -> BTreeMap<String, Value> {
    serde_json::from_value(yaml("docker-compose.yml")["services"].clone()).expect("services")
}

/// Source and target of every volume of a service.
pub(super) fn volumes(service: &Value) -> Vec<(String, String)> {
    let volumes = strings(&service["volumes"]);
    let parts = volumes.iter().map(|volume| {
        let mut parts = volume.split(':');
        let source = parts.next().expect("a source").to_owned();
        (source, parts.next().expect("a target").to_owned())
    });
    parts.collect()
}

/// The program and the arguments of a service of our own image.
pub(super) fn command(service: &Value) -> Option<Vec<String>> {
    (service["image"] == "nightshift:dev").then(|| {
        let mut words = match &service["entrypoint"] {
            Value::Null => vec!["nightshift".to_owned()],
            entrypoint => strings(entrypoint),
        };
        words.extend(strings(&service["command"]));
        words
    })
}

fn configuration() -> Value {
    effective(&text("deploy/compose/nightshift.toml"))
}

/// Where every service listens, as others name it.
fn addresses() -> BTreeSet<String> {
    let config = configuration();
    let services = services();
    let demo = command(&services["demo"]).expect("our image");
    let [hook, dispatcher, agents] = [
        &config["hook"]["listen"],
        &config["metrics_listen"],
        &config["agents"]["listen"],
    ]
    .map(|listen| port(&word(listen)));
    BTreeSet::from([
        format!("hook:{hook}"),
        format!("dispatcher:{dispatcher}"),
        format!("agents:{agents}"),
        format!("demo:{}", port(&demo[2])),
        // What these listen on unless told otherwise.
        "redis:6379".to_owned(),
        "prometheus:9090".to_owned(),
        "alertmanager:9093".to_owned(),
    ])
}

fn must_listen(url: &str) {
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    let address = address.split('/').next().unwrap_or_default();
    assert!(addresses().contains(address), "nobody listens at {url}");
}

#[test]
fn everything_that_is_named_is_there() {
    let all = yaml("docker-compose.yml");
    let declared: BTreeSet<&String> = all["volumes"]
        .as_object()
        .expect("volumes")
        .keys()
        .collect();
    let services = services();
    assert_eq!(services.len(), 9);
    let mut used = BTreeSet::new();
    for (name, service) in &services {
        for (source, target) in volumes(service) {
            assert!(target.starts_with('/'), "{name}: {target}");
            if source.starts_with('.') {
                let file = root().join(&source);
                let found = file
                    .metadata()
                    .unwrap_or_else(|e| panic!("{name}: {source}: {e}"));
                let runs = found.permissions().mode() & 0o111 == 0o111;
                assert_eq!(
                    runs,
                    target.contains("/bin/") || target.contains("/opt/"),
                    "{source}"
                );
            } else {
                used.insert(source);
            }
        }
        let needed = match &service["depends_on"] {
            Value::Object(map) => map.keys().cloned().collect(),
            other => strings(other),
        };
        for other in needed {
            let other_service = services.get(&other).expect(&other);
            let condition = &service["depends_on"][&other]["condition"];
            let waits = condition == "service_healthy";
            assert!(
                !waits || other_service["healthcheck"].is_object(),
                "{other} is never healthy"
            );
        }
    }
    assert_eq!(used.iter().collect::<BTreeSet<_>>(), declared);
}

#[test]
fn every_command_is_one_the_programs_know() {
    let runs = |words: &[String]| {
        let output = Command::new(program("nightshift").expect("the binary is built"))
            .args(words)
            .arg("--help")
            .output()
            .expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {err}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut roles = BTreeSet::new();
    for (name, service) in services() {
        let Some(words) = command(&service) else {
            continue;
        };
        match words[0].as_str() {
            "nightshift" => {
                // An unknown subcommand is an error even with --help.
                assert!(runs(&words[1..]).contains("Usage:"), "{name}");
                assert!(words.get(2).is_none_or(|agent| agent == "all"), "{name}");
                roles.insert(words[1].clone());
                assert_eq!(
                    service["environment"]["NIGHTSHIFT_CONFIG"], "/etc/nightshift/nightshift.toml",
                    "{name}"
                );
            }
            "demo-service" | "/bin/sh" => {}
            other => panic!("{name} runs {other}, which is not in the image"),
        }
        let probe = strings(&service["healthcheck"]["test"]);
        if probe.get(1).is_some_and(|word| word == "nightshift") {
            runs(&probe[2..]);
        }
    }
    assert_eq!(
        roles.into_iter().collect::<Vec<_>>(),
        ["agent", "dispatcher", "hook"]
    );
    let unknown = Command::new(program("nightshift").expect("the binary is built"))
        .args(["agents", "--help"])
        .output()
        .expect("it runs");
    assert!(
        !unknown.status.success(),
        "--help would hide an unknown subcommand"
    );
}

#[test]
fn who_calls_whom_agrees_with_who_listens() {
    let config = configuration();
    for url in [
        &config["bus"]["url"],
        &config["api"]["url"],
        &config["a2a"]["public_url"],
        &config["agents"]["observability"]["prometheus_url"],
    ] {
        must_listen(&word(url));
    }
    assert!(word(&config["api"]["url"]).starts_with("http://hook:"));
    assert!(word(&config["a2a"]["public_url"]).starts_with("http://agents:"));

    let prometheus = yaml("deploy/compose/prometheus.yml");
    let mut scraped = BTreeSet::new();
    for job in list(&prometheus["scrape_configs"]) {
        for target in list(&job["static_configs"])
            .iter()
            .flat_map(|c| strings(&c["targets"]))
        {
            must_listen(&target);
            scraped.insert(target.split(':').next().unwrap_or_default().to_owned());
        }
    }
    assert_eq!(
        scraped.into_iter().collect::<Vec<_>>(),
        ["agents", "demo", "dispatcher", "hook"]
    );
    assert_eq!(
        config["hook"]["metrics_open"], true,
        "Prometheus comes without credentials"
    );
    let managers = &prometheus["alerting"]["alertmanagers"][0]["static_configs"][0];
    must_listen(&strings(&managers["targets"])[0]);

    let alertmanager = yaml("deploy/compose/alertmanager.yml");
    let webhook = &alertmanager["receivers"][0]["webhook_configs"][0];
    let url = word(&webhook["url"]);
    must_listen(&url);
    assert!(url.ends_with("/webhook/alertmanager"), "{url}");
    let token = &webhook["http_config"]["authorization"]["credentials_file"];
    let copied =
        word(&config["hook"]["auth"]["token_files"][0]).replace("/token", "/alertmanager-token");
    assert_eq!(
        *token,
        json!(copied),
        "the world copies the one to the other"
    );

    let load = command(&services()["load"]).expect("our image");
    must_listen(&load[3]);
    assert!(load[3].ends_with("/checkout"), "{load:?}");
}

/// Every path that a service of ours reads lies in one of its volumes.
#[test]
fn every_path_is_mounted_where_it_is_read() {
    let config = configuration();
    let services = services();
    let mounted = |service: &str, path: &str| {
        let found = volumes(&services[service])
            .iter()
            .any(|(_, target)| path == target || path.starts_with(&format!("{target}/")));
        assert!(found, "{service} does not see {path}");
    };
    let token = word(&config["hook"]["auth"]["token_files"][0]);
    let agent_token = word(&config["a2a"]["token_file"]);
    let key = word(&config["approval"]["key_file"]);
    for (service, paths) in [
        ("hook", vec![&token, &key]),
        ("agents", vec![&agent_token, &key]),
        ("dispatcher", vec![&agent_token]),
        ("world", vec![&token, &agent_token, &key]),
    ] {
        for path in paths {
            mounted(service, path);
        }
    }
    let alertmanager = yaml("deploy/compose/alertmanager.yml");
    let webhook = &alertmanager["receivers"][0]["webhook_configs"][0];
    let copy = &webhook["http_config"]["authorization"]["credentials_file"];
    mounted("alertmanager", &word(copy));
    let remote = word(&config["repositories"][0]["remote"]);
    mounted("agents", &remote);
    mounted("agents", &word(&config["data_dir"]));
    let script = text("deploy/compose/world.sh");
    for made in [&token, &agent_token, &key] {
        let name = made.rsplit('/').next().unwrap_or_default();
        assert!(
            script.contains(&format!("\nsecret {name}\n")),
            "nobody makes {made}"
        );
    }
    let demo = command(&services["demo"]).expect("our image");
    mounted("demo", &demo[4]);
    let prometheus = yaml("deploy/compose/prometheus.yml");
    mounted("prometheus", &strings(&prometheus["rule_files"])[0]);
}

#[test]
fn the_image_and_the_script_agree_on_the_user() {
    let dockerfile = text("Dockerfile");
    assert!(text("deploy/compose/world.sh").contains(&format!("keep \"$1\" root:{USER} 640")));
    assert!(dockerfile.contains(&format!("\nUSER {USER}\n")));
    assert!(dockerfile.contains(&format!("--uid {USER} ")));
    for file in ["world.sh", "break-checkout", "merge-draft"] {
        let script = text(&format!("deploy/compose/{file}"));
        let owners = script
            .lines()
            .filter(|line| line.trim().starts_with("chown"));
        assert!(owners.clone().count() >= 1, "{file}");
        for line in owners {
            let given = line.contains("\"$2\"") || line.contains(&format!(":{USER} "));
            assert!(given, "{file}: {line}");
        }
    }
}

#[test]
fn the_engine_waits_longer_than_the_roles_drain() {
    let config = configuration();
    let grace = span(&config["grace"]);
    for role in ["hook", "dispatcher", "agents"] {
        let waits = span(&services()[role]["stop_grace_period"]);
        // Agents get a quarter of the grace on top, then the bus closes.
        assert!(
            waits > grace.mul_f64(1.25) + std::time::Duration::from_secs(5),
            "{role}"
        );
    }
    assert!(span(&config["dispatcher"]["grace"]) < grace);
}

/// Debian's own checkers read the same files, where they are installed.
#[test]
fn prometheus_and_alertmanager_accept_their_files() {
    let check = |program: &str, arguments: &[&str], file: &str| {
        let output = Command::new(program)
            .args(arguments)
            .arg(root().join(file))
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; run `cargo xtask setup`"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{file}: {said}{err}");
    };
    check("promtool", &["check", "rules"], "deploy/compose/rules.yml");
    check(
        "promtool",
        &["check", "config", "--syntax-only"],
        "deploy/compose/prometheus.yml",
    );
    check(
        "amtool",
        &["check-config"],
        "deploy/compose/alertmanager.yml",
    );
}
