//! Ten thousand alerts at once: every one stored, every cause one incident with one report, nothing
//! left over and nothing given up.

use std::time::Duration;

use incident::Report;
use serde_json::Value;
use tests::nightshift::Install;
use tests::process::Process;
use tests::redis::RedisServer;
use tests::storm::{TEN_THOUSAND, drained, start_roles};

/// Far longer than it takes.
const DRAINED_WITHIN: Duration = Duration::from_mins(5);

/// Posts the storm and looks at what became of it.
async fn check(install: &Install, processes: &[Process]) {
    let logs = || processes.iter().map(Process::log_tail).collect::<String>();
    TEN_THOUSAND
        .post(install)
        .await
        .expect("every body is taken");
    let quiet = drained(install, DRAINED_WITHIN).await;
    quiet.unwrap_or_else(|error| panic!("{error:#}\n{}", logs()));
    let backlog = install.get("/api/v1/backlog").await.expect("a backlog");
    assert_eq!(
        backlog.get("dead").and_then(Value::as_u64),
        Some(0),
        "{}",
        logs()
    );
    let mut incidents = install.incidents().await;
    assert_eq!(incidents.len(), TEN_THOUSAND.groups);
    incidents.sort();
    incidents.dedup();
    assert_eq!(incidents.len(), TEN_THOUSAND.groups, "no id is there twice");
    let mut causes = Vec::new();
    for id in &incidents {
        let detail = install.incident(id).await.expect("an incident");
        let report: Report = detail.report.expect("it has a report");
        assert_eq!(report.incident.as_str(), id);
        assert_eq!(detail.incident.members.len(), TEN_THOUSAND.alerts);
        causes.push(detail.incident.correlation);
    }
    causes.sort();
    causes.dedup();
    assert_eq!(causes.len(), TEN_THOUSAND.groups, "one incident a cause");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_alerts_in_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let install = Install::new(folder.path(), "").expect("an installation");
    let up = install.start(&["up"]).await.expect("it starts");
    check(&install, &[up]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_alerts_and_two_dispatchers_on_redis() {
    let redis = RedisServer::start().await.expect("redis-server starts");
    let folder = tempfile::tempdir().expect("a folder");
    let bus = format!("[bus]\nkind = \"redis\"\nurl = \"{}\"\n", redis.url());
    let install = Install::new(folder.path(), &bus).expect("an installation");
    let roles = start_roles(&install, folder.path(), 2)
        .await
        .expect("roles");
    let roles: Vec<Process> = roles.into_iter().map(|(_, process)| process).collect();
    check(&install, &roles).await;
}
