//! kill -9 at random moments while 50 incidents are on their way: every incident reaches exactly one
//! terminal report and one draft, and no event is without a ruling.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use incident::ports::{Clock, Entropy};
use incident::report::ChangeOutcome;
use jiff::{SignedDuration, Timestamp};
use runtime::{SeededEntropy, SystemClock};
use serde_json::{Value, json};
use tests::fakes;
use tests::nightshift::{Detail, Install};
use tests::process::Process;
use tests::redis::RedisServer;
use tests::wait::until;

/// How many incidents.
const INCIDENTS: usize = 50;
/// How often something is killed while they are on their way.
const KILLS: usize = 12;
/// Longest time for all of it.
const ALL_WITHIN: Duration = Duration::from_mins(4);

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `nightshift up`.
    One,
    /// hook, dispatcher and agents as processes of their own.
    Roles,
}

const ROLES: [&[&str]; 3] = [&["hook"], &["agent", "all"], &["dispatcher"]];

#[tokio::test(flavor = "multi_thread")]
async fn chaos_kill_of_the_whole_process_on_the_embedded_bus() {
    storm(Layout::One, 11, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_kill_of_single_roles_on_redis() {
    let redis = RedisServer::start().await.expect("redis-server starts");
    let bus = format!(
        "[bus]\nkind = \"redis\"\nurl = \"{}\"\nlease = \"5s\"\n",
        redis.url()
    );
    storm(Layout::Roles, 12, &bus).await;
}

async fn storm(layout: Layout, seed: u64, bus: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = SystemClock::new();
    let entropy = SeededEntropy::new(seed);
    let now = clock.now();
    let remote = repository(folder.path(), now).await;
    let prometheus = fakes::prometheus(ago(now, 10))
        .await
        .expect("a fake Prometheus");
    let (slack, heard) = fakes::slack().await.expect("a fake Slack");
    std::fs::write(
        folder.path().join("slack-url"),
        format!("{}/hook", slack.url),
    )
    .expect("a file");
    let install = Arc::new(
        Install::new(
            folder.path(),
            &configuration(bus, &prometheus.url, &remote, folder.path()),
        )
        .expect("an installation"),
    );
    let mut running = start(layout, &install).await;

    let sender = {
        let (install, clock) = (install.clone(), clock.clone());
        tokio::task::JoinSet::from_iter([
            async move { send_all(&install, clock.as_ref(), now).await },
        ])
    };
    let mut kills = 0;
    while kills < KILLS {
        clock
            .sleep(Duration::from_secs_f64(0.05 + entropy.unit() * 1.2))
            .await;
        let victim = pick(&entropy, running.len());
        running[victim]
            .kill_9()
            .await
            .expect("a process dies of SIGKILL");
        clock
            .sleep(Duration::from_secs_f64(entropy.unit() * 0.3))
            .await;
        running[victim] = restart(layout, victim, &install).await;
        kills += 1;
    }
    sender.join_all().await;

    let details = until("every incident has its draft", ALL_WITHIN, async || {
        settled(&install).await
    })
    .await
    .unwrap_or_else(|error| {
        panic!(
            "{error}\n{}",
            running.iter().map(Process::log_tail).collect::<String>()
        )
    });
    check(&install, &details, &remote).await;
    let posts: u32 = heard.bodies().values().sum();
    let repeats = heard.bodies().values().filter(|count| **count > 1).count();
    println!(
        "layout {layout:?}: {kills} kills, {} incidents, {} drafts, {posts} Slack posts, {repeats} of them sent again after a crash",
        details.len(),
        details.len()
    );
}

/// Sends one alert for each service, as Alertmanager does: again after 5xx or no answer, until 200.
async fn send_all(install: &Install, clock: &dyn Clock, now: Timestamp) {
    for index in 0..INCIDENTS {
        loop {
            match install.post(&body(index, now)).await {
                Some(200) => break,
                None | Some(500..) => clock.sleep(Duration::from_millis(100)).await,
                Some(status) => {
                    panic!("the webhook answered {status}, which Alertmanager would not try again")
                }
            }
        }
        clock.sleep(Duration::from_millis(60)).await;
    }
}

/// All incidents with their reports, once each has reached its end.
async fn settled(install: &Install) -> Option<Vec<Detail>> {
    let ids = install.incidents().await;
    if ids.len() < INCIDENTS {
        return None;
    }
    let mut details = Vec::new();
    for id in ids {
        let detail = install.incident(&id).await?;
        let opened =
            |report: &incident::Report| matches!(report.change, ChangeOutcome::Opened { .. });
        if !detail.report.as_ref().is_some_and(opened) {
            return None;
        }
        details.push(detail);
    }
    Some(details)
}

async fn check(install: &Install, details: &[Detail], remote: &Path) {
    assert_eq!(details.len(), INCIDENTS, "one incident for each service");
    let branches: BTreeSet<String> = git(
        remote,
        &[
            "for-each-ref",
            "--format=%(refname:short)",
            "refs/heads/agent/",
        ],
    )
    .await
    .lines()
    .map(str::to_owned)
    .collect();
    let drafts: BTreeSet<String> = details
        .iter()
        .filter_map(|detail| match &detail.report.as_ref()?.change {
            ChangeOutcome::Opened { draft, .. } => Some(draft.branch.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(branches, drafts, "one branch for each draft and no other");
    assert_eq!(branches.len(), INCIDENTS);
    for index in 0..INCIDENTS {
        let page = install
            .get(&format!("/api/v1/alerts/{}/rulings", fingerprint(index)))
            .await
            .expect("rulings");
        let opened = page["history"]
            .as_array()
            .expect("an array")
            .iter()
            .filter(|ruling| ruling["disposition"] == "opened");
        assert_eq!(
            opened.count(),
            1,
            "event {index} opened one incident: {page}"
        );
    }
    let backlog = install.get("/api/v1/backlog").await.expect("the backlog");
    assert_eq!(backlog["dead"], json!(0), "no dead letters: {backlog}");
}

async fn start(layout: Layout, install: &Install) -> Vec<Process> {
    let roles: Vec<&[&str]> = match layout {
        Layout::One => vec![&["up"]],
        Layout::Roles => ROLES.to_vec(),
    };
    let mut running = Vec::new();
    for role in roles {
        running.push(install.start(role).await.expect("a role starts"));
    }
    running
}

async fn restart(layout: Layout, victim: usize, install: &Install) -> Process {
    let role: &[&str] = match layout {
        Layout::One => &["up"],
        Layout::Roles => ROLES[victim],
    };
    install.start(role).await.expect("a role starts again")
}

fn pick(entropy: &SeededEntropy, among: usize) -> usize {
    let mut bytes = [0; 1];
    entropy.fill(&mut bytes);
    usize::from(bytes[0]) % among
}

fn ago(now: Timestamp, minutes: i64) -> Timestamp {
    now.checked_sub(SignedDuration::from_mins(minutes))
        .expect("a time")
}

fn fingerprint(index: usize) -> String {
    format!("{:016x}", 0xabc0_0000_u64 + index as u64)
}

fn body(index: usize, now: Timestamp) -> Value {
    let service = format!("svc-{index:02}");
    let labels = json!({ "alertname": "ErrorsHigh", "service": service, "job": service, "severity": "critical" });
    let expression = format!(
        "sum(rate(app_requests_total%7Bservice%3D%22{service}%22%2Ccode%3D~%225..%22%7D%5B1m%5D))%20%2F%20sum(rate(app_requests_total%7Bservice%3D%22{service}%22%7D%5B1m%5D))%20%3E%200.05"
    );
    json!({
        "version": "4", "groupKey": format!("{{}}:{{service=\"{service}\"}}"), "truncatedAlerts": 0, "status": "firing",
        "receiver": "nightshift", "groupLabels": { "service": service }, "commonLabels": labels, "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
        "alerts": [{
            "status": "firing", "labels": labels, "annotations": { "summary": "requests fail" },
            "startsAt": ago(now, 6).to_string(), "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": format!("http://prometheus.example/graph?g0.expr={expression}"), "fingerprint": fingerprint(index),
        }],
    })
}

fn configuration(bus: &str, prometheus: &str, remote: &Path, folder: &Path) -> String {
    let services: Vec<String> = (0..INCIDENTS)
        .map(|index| format!("\"svc-{index:02}\""))
        .collect();
    format!(
        "{bus}\n[agents.observability]\nprometheus_url = \"{prometheus}\"\n\n[pipelines.approval]\nneeded_for = []\n\n[slack]\nurl_file = \"{}\"\npost_gap = \"1ms\"\n\n[[repositories]]\nname = \"platform\"\nremote = \"{}\"\npaths = [{{ prefix = \"platform/\", services = [{}] }}]\n",
        folder.join("slack-url").display(),
        remote.display(),
        services.join(", "),
    )
}

/// A bare repository in which a change to the shared client, 12 minutes ago, broke every service.
async fn repository(folder: &Path, now: Timestamp) -> PathBuf {
    let (remote, tree) = (folder.join("platform.git"), folder.join("tree"));
    std::fs::create_dir_all(tree.join("platform")).expect("a folder");
    git(
        folder,
        &[
            "init",
            "--quiet",
            "--bare",
            "--initial-branch=main",
            "platform.git",
        ],
    )
    .await;
    git(&tree, &["init", "--quiet", "--initial-branch=main"]).await;
    let commits = [
        (
            3000,
            "Import",
            "platform/client.toml",
            "requests_timeout_ms = 2000\nrequests_pool_size = 64\n",
        ),
        (90, "Runbook", "docs/runbook.md", "# Runbook\n"),
        (
            12,
            "platform: lower the client's pool and timeout",
            "platform/client.toml",
            "requests_timeout_ms = 50\nrequests_pool_size = 2\n",
        ),
    ];
    for (minutes, subject, path, content) in commits {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("a file");
        let date = format!("{} +0000", ago(now, minutes).as_second());
        git(&tree, &["add", "--all"]).await;
        git_dated(&tree, &["commit", "--quiet", "--message", subject], &date).await;
    }
    git(
        &tree,
        &["push", "--quiet", &remote.to_string_lossy(), "main"],
    )
    .await;
    remote
}

async fn git(folder: &Path, args: &[&str]) -> String {
    git_dated(folder, args, "1700000000 +0000").await
}

async fn git_dated(folder: &Path, args: &[&str], date: &str) -> String {
    let output = tokio::process::Command::new("git")
        .args(args)
        .current_dir(folder)
        .envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
        ])
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_COMMITTER_NAME", "Ada")])
        .envs([
            ("GIT_AUTHOR_EMAIL", "ada@shop.example"),
            ("GIT_COMMITTER_EMAIL", "ada@shop.example"),
        ])
        .envs([("GIT_AUTHOR_DATE", date), ("GIT_COMMITTER_DATE", date)])
        .output()
        .await
        .expect("git runs");
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
