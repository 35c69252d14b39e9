//! `demo-service load`, the traffic of docker-compose.yml.

use std::time::Duration;

use tests::ports;
use tests::process::Process;
use tests::wait::until;
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(15);

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-service"));
    command
        .args(arguments)
        .envs([("RUST_BACKTRACE", "0"), ("NO_COLOR", "1")]);
    command
}

#[tokio::test]
async fn load_arrives_until_sigterm_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (at, config) = (
        ports::free().unwrap().to_string(),
        folder.path().join("c.toml"),
    );
    std::fs::write(&config, "").unwrap();
    let mut command = demo(&["--listen", &at, "--config"]);
    let mut service = Process::start("service", folder.path(), command.arg(&config)).unwrap();
    let health = format!("http://{at}/healthz");
    service.ready(&health, SOON).await.unwrap();

    let target = format!("http://{at}/checkout");
    let mut command = demo(&["load", "--target", &target, "--rate", "40"]);
    let mut load = Process::start("load", folder.path(), &mut command).unwrap();
    let client = runtime::http::client(SOON).unwrap();
    until("40 answers", SOON, async || {
        let page = client
            .get(format!("http://{at}/metrics"))
            .send()
            .await
            .ok()?;
        let page = page.text().await.ok()?;
        let line = page
            .lines()
            .find(|line| line.starts_with("requests_total{code=\"200\"}"));
        let count: f64 = line?.rsplit(' ').next()?.parse().ok()?;
        (count >= 40.0).then_some(())
    })
    .await
    .unwrap();
    let status = load.terminate(SOON).await.unwrap();
    assert!(status.success(), "{status}");
    let log = load.log_tail();
    let told = log
        .lines()
        .find(|line| line.contains("requests so far"))
        .expect(&log);
    let good = told
        .split("good=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let good: u64 = good.expect(told).parse().expect(told);
    assert!(good >= 20, "{told}");
    assert!(told.contains("failed=0 shed=0"), "{told}");
}

#[tokio::test]
async fn what_load_cannot_do_is_said() {
    let check = async |arguments: &[&str], expect: &str| {
        let output = demo(arguments).output().await.unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(err.contains(expect), "{arguments:?}: {err}");
    };
    check(&["load"], "usage: demo-service load").await;
    check(&["load", "--target", "http://x/", "--rate"], "usage").await;
    check(
        &["load", "--target", "http://x/", "--rate", "many"],
        "--rate many is no number",
    )
    .await;
    check(
        &["load", "--target", "http://x/", "--rate", "0"],
        "must be above 0",
    )
    .await;
    check(
        &["load", "--target", "http://x/", "--rate", "NaN"],
        "must be above 0",
    )
    .await;
    check(&["load", "--speed", "3"], "unknown argument --speed").await;
    check(&["--listen", "127.0.0.1:0"], "usage: demo-service --listen").await;
}
