//! Against Debian's Prometheus, over forty-five minutes of history written with `promtool`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use incident::Fact;
use tokio::process::{Child, Command};

use super::*;

const SCRAPE_SECS: u32 = 5;
const BEGIN: &str = "2026-03-14T09:55:00Z";
/// The pool shrinks here; everything else follows.
const BROKEN: &str = "2026-03-14T10:32:15Z";

/// One Prometheus over one data folder, gone when dropped.
struct Real {
    url: String,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl Real {
    async fn start(history: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("history.txt"), history).unwrap();
        let rules = r"groups:
- name: checkout
  interval: 1h
  rules:
  - alert: HighErrorRatio
    expr: vector(0) > 1
    for: 1m
";
        std::fs::write(path.join("rules.yml"), rules).unwrap();
        std::fs::write(path.join("prometheus.yml"), "rule_files: [rules.yml]\n").unwrap();
        let blocks = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            .arg(path.join("history.txt"))
            .arg(path.join("data"))
            .output()
            .await
            .expect("promtool is installed (Debian package prometheus)");
        assert!(blocks.status.success(), "{blocks:?}");
        for _ in 0..5 {
            if let Some((url, child)) = launch(path).await {
                return Self {
                    url,
                    _child: child,
                    _folder: folder,
                };
            }
        }
        let log = std::fs::read_to_string(path.join("log")).unwrap();
        panic!("prometheus did not start: {log}");
    }
}

/// None if it did not become ready: somebody else may have taken the port.
async fn launch(path: &Path) -> Option<(String, Child)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .ok()?
        .local_addr()
        .ok()?
        .port();
    let address = format!("127.0.0.1:{port}");
    let log = std::fs::File::create(path.join("log")).unwrap();
    let mut child = Command::new("prometheus")
        .arg(format!(
            "--config.file={}",
            path.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            path.join("data").display()
        ))
        .arg("--storage.tsdb.retention.time=100y")
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("prometheus is installed (Debian package prometheus)");
    let url = format!("http://{address}");
    let client = runtime::http::client(Duration::from_secs(1)).unwrap();
    let clock = SystemClock::new();
    while clock.elapsed() < Duration::from_secs(20) {
        if let Ok(answer) = client.get(format!("{url}/-/ready")).send().await
            && answer.status().is_success()
        {
            return Some((url, child));
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
    None
}

type Value = Box<dyn Fn(u32) -> f64>;

/// A metric as it was scraped: name, type, labels, and the value so many seconds after the beginning.
type Written = (&'static str, &'static str, String, Value);

/// OpenMetrics text with every metric at every scrape; `late_` ones do not exist before the fault.
fn history(metrics: &[Written]) -> String {
    let begin = instant(BEGIN).as_second();
    let mut text = String::new();
    let broken = broken_secs();
    let mut typed = "";
    for (name, kind, labels, value) in metrics {
        if typed != *name {
            let family = name.trim_end_matches("_total");
            writeln!(text, "# TYPE {family} {kind}").unwrap();
            typed = name;
        }
        let begins = if name.starts_with("late_") { broken } else { 0 };
        for at in (begins..45 * 60).step_by(SCRAPE_SECS as usize) {
            let (value, time) = (value(at), begin + i64::from(at));
            writeln!(text, "{name}{{{labels}}} {value} {time}").unwrap();
        }
    }
    text + "# EOF\n"
}

fn broken_secs() -> u32 {
    let gap = instant(BROKEN).as_second() - instant(BEGIN).as_second();
    u32::try_from(gap).unwrap()
}

/// Per second so much before, so much after.
fn counter(before: f64, after: f64) -> Value {
    let at = broken_secs();
    Box::new(move |s| f64::from(s.min(at)) * before + f64::from(s.saturating_sub(at)) * after)
}

fn level_exact(before: f64, after: f64) -> Value {
    Box::new(move |s| if s < broken_secs() { before } else { after })
}

/// A saw-tooth stands for noise that repeats exactly.
fn level(before: f64, after: f64) -> Value {
    let wobble = |s: u32| 1.0 + f64::from(s / SCRAPE_SECS % 4) * 0.01;
    Box::new(move |s| if s < broken_secs() { before } else { after } * wobble(s))
}

/// 40 requests a second; then the pool of the checkout service shrinks from 20 to 2.
fn shrunk_pool() -> String {
    const REQUESTS: &str = "http_requests_total";
    const BUCKET: &str = "http_request_duration_seconds_bucket";
    const JOB: &str = r#"job="checkout",instance="a:1""#;
    let of = |more: &str| format!("{JOB},{more}");
    let one = || JOB.to_owned();
    let steady = |size: f64| level(size, size);
    let megabytes = 134_217_728.0;
    // Somebody else's trouble at the same moment is not this subject's.
    let other = r#"job="payments""#.to_owned();
    let (gauge, count) = ("gauge", "counter");
    history(&[
        ("up", gauge, one(), Box::new(|_| 1.0)),
        (REQUESTS, count, of(r#"code="200""#), counter(40.0, 15.0)),
        (REQUESTS, count, of(r#"code="503""#), counter(0.0, 25.0)),
        (BUCKET, gauge, of(r#"le="0.1""#), counter(30.0, 2.0)),
        (BUCKET, gauge, of(r#"le="0.25""#), counter(40.0, 5.0)),
        (BUCKET, gauge, of(r#"le="1""#), counter(40.0, 10.0)),
        (BUCKET, gauge, of(r#"le="2.5""#), counter(40.0, 40.0)),
        (BUCKET, gauge, of(r#"le="+Inf""#), counter(40.0, 40.0)),
        ("pool_in_use", gauge, one(), level(6.0, 2.0)),
        ("pool_size", gauge, one(), level_exact(20.0, 2.0)),
        ("config_reloads_total", count, one(), level_exact(3.0, 4.0)),
        ("queue_depth", gauge, one(), level(0.0, 60.0)),
        ("process_cpu_seconds_total", count, one(), counter(0.2, 0.2)),
        (
            "process_resident_memory_bytes",
            gauge,
            one(),
            steady(megabytes),
        ),
        ("late_failures_total", count, one(), counter(0.0, 3.0)),
        ("payments_queue", gauge, other, level(1.0, 90.0)),
    ])
}

async fn ask(real: &Real, request: &EvidenceRequest) -> EvidenceReply {
    let config = Config {
        prometheus_url: Some(real.url.clone()),
        link_url: Some("https://metrics.example".to_owned()),
        ..Config::default()
    };
    let cx = context(Duration::from_mins(1));
    reply(agent(config).run(task(request), &cx).await)
}

#[tokio::test]
async fn a_shrunk_pool_is_seen_from_every_side() {
    let real = Real::start(&shrunk_pool()).await;
    // The rule aggregates: no label of the series is left on the alert.
    let labels = [("alertname", "HighErrorRatio"), ("severity", "critical")];
    let found = ask(&real, &request(&labels, EXPRESSION)).await;
    insta::assert_snapshot!("shrunk_pool", lines(&found));

    let broken = instant(BROKEN);
    for observation in &found.observations {
        if let Fact::Series(series) = &observation.fact
            && let Some(onset) = series.onset
        {
            let late = onset.duration_since(broken).as_secs();
            assert!(
                (-5..=20).contains(&late),
                "{late} s: {}",
                observation.summary
            );
        }
    }
    let mut first = found.observations[0].clone();
    if let Fact::Series(series) = &mut first.fact {
        series.points.truncate(3);
    }
    insta::assert_json_snapshot!("alert_observation", first);

    // A label that only the rule added must not hide the subject.
    let added = [("service", "checkout"), ("team", "shop")];
    let mut other = request(&added, "vector(1) > 0");
    other.incident.subject.name = "checkout".into();
    let other = ask(&real, &other).await;
    assert!(
        lines(&other).contains("pool_size fell from 20 to 2"),
        "{}",
        lines(&other)
    );
}

/// Most exporters have no failure series before the first failure.
#[tokio::test]
async fn a_failure_series_that_did_not_exist_begins_with_the_fault() {
    let real = Real::start(&shrunk_pool()).await;
    let expression = r#"rate(late_failures_total{job="checkout"}[1m]) > 1"#;
    let found = ask(&real, &request(&[("job", "checkout")], expression)).await;
    insta::assert_snapshot!(found.observations[0].summary, @"the alert's expression has had samples only since 10:32:20 UTC: 3 (the alert's threshold is 1)");
    let Fact::Series(series) = &found.observations[0].fact else {
        panic!("{found:?}");
    };
    assert_eq!((series.before, series.score), (None, 100.0));
}

#[tokio::test]
async fn nothing_known_of_the_subject_is_a_gap() {
    let real = Real::start(&shrunk_pool()).await;
    let mut request = request(
        &[("job", "nobody")],
        "rate(nothing{job=\"nobody\"}[1m]) > 1",
    );
    request.incident.subject.name = "nobody".into();
    let found = ask(&real, &request).await;
    insta::assert_snapshot!(lines(&found), @r#"
    ? the subject's metrics: no series in Prometheus carries the alert's identifying labels
    ? the alert's expression: no samples in the window for rate(nothing{job="nobody"}[1m])
    "#);
    let mut request = request.clone();
    for member in request.incident.members.values_mut() {
        member.generator_url = "http://p/graph?g0.expr=foo(+%3E+1".into();
    }
    let found = ask(&real, &request).await;
    // A link that cannot be read gives way to the rule of that name.
    assert_eq!(found.observations[0].query, "vector(0)");
}
