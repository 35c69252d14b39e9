//! docker-compose.yml without an engine: every command of it as a process on this machine, with host
//! names turned into loopback ports and absolute paths moved into a folder. The story is the one that
//! its first lines promise.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use incident::Report;
use incident::report::ChangeOutcome;
use serde_json::Value;
use tests::nightshift::program;
use tests::ports;
use tests::process::Process;
use tests::wait::until;
use tokio::process::Command;

use super::compose::{command, services, volumes};
use super::files::{strings, text, word};

const SOON: Duration = Duration::from_secs(40);
/// From the bad commit to the report: the rule's range and its `for`, scrapes, grouping.
const REPORT_WITHIN: Duration = Duration::from_secs(150);

/// Container paths that live below the folder here.
const PATHS: [&str; 8] = [
    "/etc/",
    "/run/nightshift",
    "/srv/git",
    "/srv/live",
    "/opt/",
    "/var/lib/nightshift",
    "=/prometheus",
    "=/alertmanager",
];

/// The machine that stands for the engine.
struct Engine {
    folder: PathBuf,
    /// What is written in the files, and what stands for it here.
    swaps: Vec<(String, String)>,
    running: Vec<Process>,
}

impl Engine {
    fn new(folder: &Path) -> Self {
        let mut swaps = Vec::new();
        for path in PATHS {
            let (mark, rest) = path.split_at(path.find('/').expect("a path"));
            swaps.push((path.to_owned(), format!("{mark}{}{rest}", folder.display())));
        }
        let hosts = [
            ("hook", 8080),
            ("dispatcher", 8081),
            ("agents", 8083),
            ("demo", 8000),
            ("redis", 6379),
            ("prometheus", 9090),
            ("alertmanager", 9093),
        ];
        for (host, port) in hosts {
            let here = ports::free().expect("a port").to_string();
            swaps.push((format!("{host}:{port}"), here.clone()));
            swaps.push((format!("0.0.0.0:{port}"), here));
        }
        let engine = Self {
            folder: folder.to_path_buf(),
            swaps,
            running: Vec::new(),
        };
        engine.mount();
        engine
    }

    fn swap(&self, text: &str) -> String {
        let swaps = self.swaps.iter();
        swaps.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// Where `host:port` is here.
    fn at(&self, host: &str) -> String {
        let here = self.swap(host);
        assert_ne!(here, host, "unknown host");
        here
    }

    /// Copies what is bind-mounted to where the container would see it, and makes the volumes.
    fn mount(&self) {
        for (_, service) in services() {
            for (source, target) in volumes(&service) {
                let target = self.below(&target);
                if source.starts_with('.') {
                    std::fs::create_dir_all(target.parent().expect("a parent")).expect("a folder");
                    std::fs::write(target, self.swap(&text(&source))).expect("a copy");
                } else {
                    std::fs::create_dir_all(target).expect("a folder");
                }
            }
        }
        // Nobody here is user 10001, and whoever runs this may not give files away.
        let chown = self.below("/usr/local/bin/chown");
        std::fs::write(&chown, "#!/bin/sh\n").expect("a script");
        make_executable(&chown);
        std::fs::create_dir_all(self.below("/tmp")).expect("a folder");
    }

    fn below(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    fn in_container(&self, program: &Path, arguments: &[String]) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/bin:/bin", self.below("/usr/local/bin").display());
        command
            .args(arguments.iter().map(|word| self.swap(word)))
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", path)
            .env("HOME", &self.folder)
            .env("TMPDIR", self.below("/tmp"));
        command
    }

    /// `docker compose up SERVICE`, and more arguments that only name ports.
    fn up(&mut self, name: &str, more: &[String]) {
        let service = &services()[name];
        let mut words = command(service).unwrap_or_else(|| theirs(name, service));
        words.extend(more.iter().cloned());
        let program = match words[0].as_str() {
            "demo-service" => env!("CARGO_BIN_EXE_demo-service").into(),
            "nightshift" => program("nightshift").expect("the binary is built"),
            other => PathBuf::from(other),
        };
        let mut command = self.in_container(&program, &words[1..]);
        for (key, value) in service["environment"].as_object().into_iter().flatten() {
            command.env(key, self.swap(&word(value)));
        }
        let process = Process::start(name, &self.folder, &mut command).expect("it starts");
        self.running.push(process);
    }

    async fn ready(&mut self, url: &str) {
        let process = self.running.last_mut().expect("something runs");
        process.ready(url, SOON).await.expect("it gets ready");
    }

    /// `docker compose exec hook nightshift ...`.
    async fn nightshift(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let binary = program("nightshift").expect("the binary is built");
        let config = self.below("/etc/nightshift/nightshift.toml");
        let mut command = self.in_container(&binary, &arguments);
        let output = command.env("NIGHTSHIFT_CONFIG", config).output().await;
        output.expect("it runs")
    }

    /// `docker compose exec world SCRIPT ...`.
    async fn world(&self, script: &str, arguments: &[&str]) -> String {
        let mut words = vec![format!(
            "{}",
            self.below("/usr/local/bin").join(script).display()
        )];
        words.extend(arguments.iter().map(ToString::to_string));
        let output = self
            .in_container(Path::new("/bin/sh"), &words)
            .output()
            .await;
        let output = output.expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {err}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The newest report of the one incident.
    async fn report(&self) -> Option<Report> {
        let listed = self.nightshift(&["incidents", "list", "--json"]).await;
        let listed: Value = serde_json::from_slice(&listed.stdout).ok()?;
        let id = listed
            .pointer("/incidents/0/id")
            .or(listed.pointer("/0/id"))?;
        let shown = self
            .nightshift(&["incidents", "show", id.as_str()?, "--format", "json"])
            .await;
        serde_json::from_slice(&shown.stdout).ok()
    }

    fn logs(&self) -> String {
        let tails: Vec<String> = self.running.iter().map(Process::log_tail).collect();
        tails.join("\n")
    }
}

/// The command of somebody else's image.
fn theirs(name: &str, service: &Value) -> Vec<String> {
    match &service["command"] {
        Value::String(line) => line.split(' ').map(str::to_owned).collect(),
        words => {
            let program = match name {
                "alertmanager" => "prometheus-alertmanager",
                other => other,
            };
            let mut all = vec![program.to_owned()];
            all.extend(strings(words));
            all
        }
    }
}

fn make_executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// `docker compose up --wait`.
async fn up(engine: &mut Engine) {
    let redis = engine.at("redis:6379");
    let (host, port) = redis.rsplit_once(':').expect("a port");
    let data = engine.below("/data").display().to_string();
    let own = ["--bind", host, "--port", port, "--dir", &data].map(str::to_owned);
    engine.up("redis", &own);
    until("Redis", SOON, async || {
        tokio::net::TcpStream::connect(&redis).await.ok()
    })
    .await
    .expect("Redis starts");

    engine.up("world", &[]);
    let ready = engine.below("/srv/live/ready");
    let made = until("the world", SOON, async || ready.exists().then_some(())).await;
    made.unwrap_or_else(|error| panic!("{error}\n{}", engine.logs()));

    let demo = engine.at("demo:8000");
    engine.up("demo", &[]);
    engine.ready(&format!("http://{demo}/healthz")).await;
    engine.up("load", &[]);

    engine.up("hook", &[]);
    engine
        .ready(&format!("http://{}/readyz", engine.at("hook:8080")))
        .await;
    let probe = strings(&services()["hook"]["healthcheck"]["test"]);
    let probe: Vec<&str> = probe[2..].iter().map(String::as_str).collect();
    let healthy = engine.nightshift(&probe).await;
    let err = String::from_utf8_lossy(&healthy.stderr).into_owned();
    assert!(healthy.status.success(), "the hook is not healthy: {err}");
    engine.up("agents", &[]);
    engine
        .ready(&format!("http://{}/healthz", engine.at("agents:8083")))
        .await;
    engine.up("dispatcher", &[]);
    engine
        .ready(&format!("http://{}/healthz", engine.at("dispatcher:8081")))
        .await;

    let alertmanager = engine.at("alertmanager:9093");
    let own = [
        format!("--web.listen-address={alertmanager}"),
        "--cluster.listen-address=".to_owned(),
    ];
    engine.up("alertmanager", &own);
    engine
        .ready(&format!("http://{alertmanager}/-/ready"))
        .await;
    let prometheus = engine.at("prometheus:9090");
    engine.up(
        "prometheus",
        &[format!("--web.listen-address={prometheus}")],
    );
    engine.ready(&format!("http://{prometheus}/-/ready")).await;
}

/// Waits until an instant query has a result.
async fn holds(engine: &Engine, promql: &str, within: Duration) {
    let client = runtime::http::client(SOON).expect("a client");
    let url = format!("http://{}/api/v1/query", engine.at("prometheus:9090"));
    let found = until(promql, within, async || {
        let answer = client
            .get(&url)
            .query(&[("query", promql)])
            .send()
            .await
            .ok()?;
        let body: Value = answer.json().await.ok()?;
        let found = body.pointer("/data/result/0").is_some();
        found.then_some(())
    });
    let found = found.await;
    found.unwrap_or_else(|error| panic!("{error}\n{}", engine.logs()));
}

#[tokio::test]
async fn compose_as_processes_from_the_bad_commit_to_the_merged_draft() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut engine = Engine::new(folder.path());
    up(&mut engine).await;
    holds(&engine, "count(up == 1) == 4", SOON).await;
    let healthy = r#"sum(increase(requests_total{code="200"}[1m])) > 1500"#;
    holds(&engine, healthy, Duration::from_secs(90)).await;

    engine.world("break-checkout", &[]).await;
    let report = until("a proposal", REPORT_WITHIN, async || {
        let report = engine.report().await?;
        matches!(report.change, ChangeOutcome::AwaitingApproval { .. }).then_some(report)
    });
    let report = report.await;
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", engine.logs()));
    let (_, guilty, _) = report.diagnosis.culprit().expect("a commit is named");
    let git = [
        "-C",
        "/srv/git/shop.git",
        "log",
        "-1",
        "--format=%s",
        guilty,
    ]
    .map(str::to_owned);
    let subject = engine
        .in_container(Path::new("git"), &git)
        .output()
        .await
        .expect("git runs");
    let subject = String::from_utf8_lossy(&subject.stdout).into_owned();
    assert_eq!(subject, "checkout: trim database connections\n");

    let id = report.incident.as_str();
    let approved = engine
        .nightshift(&["approve", id, "--yes", "--as", "cleo"])
        .await;
    assert!(approved.status.success(), "{approved:?}");
    let drafts = until("the draft's branch", SOON, async || {
        let drafts = engine.world("merge-draft", &[]).await;
        (!drafts.is_empty()).then_some(drafts)
    });
    let drafts = drafts.await;
    let drafts = drafts.unwrap_or_else(|error| panic!("{error}\n{}", engine.logs()));
    engine.world("merge-draft", &[drafts.trim()]).await;
    // What was merged is pulled, read and shown by the service itself.
    holds(&engine, "pool_size == 20", SOON).await;
}

/// A second start keeps secrets and history, and what was pulled is for everybody to read.
#[tokio::test]
async fn the_world_is_made_once_and_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut engine = Engine::new(folder.path());
    let ready = engine.below("/srv/live/ready");
    let config = engine.below("/srv/live/shop/services/checkout/config.toml");
    let mut secrets = Vec::new();
    for _ in 0..2 {
        engine.up("world", &[]);
        let made = until("the world", SOON, async || ready.exists().then_some(())).await;
        made.unwrap_or_else(|error| panic!("{error}\n{}", engine.logs()));
        let found = ["token", "agent-token", "approval.key"].map(|name| {
            let text = std::fs::read_to_string(engine.below("/run/nightshift").join(name));
            text.expect("a secret")
        });
        assert!(
            found.iter().all(|secret| secret.len() == 64),
            "32 bytes in hex"
        );
        secrets.push(found);
        let mut world = engine.running.pop().expect("it runs");
        world.kill_9().await.expect("it ends");
        std::fs::remove_file(&ready).expect("it was ready");
    }
    assert_eq!(secrets[0], secrets[1]);
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        path.metadata().expect("a file").permissions().mode() & 0o777
    };
    let secret = engine.below("/run/nightshift");
    assert_eq!(mode(&secret.join("approval.key")), 0o640);
    assert_eq!(mode(&secret.join("agent-token")), 0o640);
    assert_eq!(mode(&secret.join("token")), 0o640);
    let copy = secret.join("alertmanager-token");
    assert_eq!(mode(&copy), 0o400);
    assert_eq!(
        std::fs::read_to_string(copy).expect("a copy"),
        secrets[0][0]
    );

    engine.up("world", &[]);
    until("the world", SOON, async || ready.exists().then_some(()))
        .await
        .expect("made");
    engine.world("break-checkout", &[]).await;
    until("the pull", SOON, async || {
        let text = std::fs::read_to_string(&config).ok()?;
        text.contains("size = 2\n").then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", engine.logs()));
    assert_eq!(mode(&config), 0o644, "the service runs as another user");
    assert_eq!(
        engine.world("merge-draft", &[]).await,
        "",
        "there are no drafts"
    );
}
