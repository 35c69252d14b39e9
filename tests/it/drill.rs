//! `nightshift drill`, as the README says it: nothing installed, the real pipeline, a few seconds.

use serde_json::Value;
use tests::nightshift::program;
use tokio::process::Command;

/// Runs the drill in an empty folder; what it printed.
async fn drill(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program("nightshift").expect("the binary is built"));
    command
        .arg("drill")
        .args(arguments)
        .current_dir(folder.path());
    let output = command.output().await.expect("the drill runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}{said}");
    for stage in ["alert", "collect", "diagnose", "report"] {
        assert!(told.contains(stage), "progress tells of {stage}: {told}");
    }
    said
}

#[tokio::test]
async fn a_bad_change_becomes_a_draft() {
    let said = drill(&["--times"]).await;
    assert!(
        said.contains("checkout: save database connections"),
        "{said}"
    );
    assert!(
        said.contains("+pool_size = 64"),
        "the diff is shown: {said}"
    );
    assert!(
        said.contains("agent/inc-"),
        "the draft's branch is shown: {said}"
    );
    let times: Value = said
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .expect("times");
    assert!(
        times["webhook_to_report_ms"]
            .as_f64()
            .is_some_and(|ms| ms > 0.0),
        "{times}"
    );
}

#[tokio::test]
async fn a_surge_names_no_commit() {
    let said = drill(&["--story", "surge"]).await;
    assert!(said.contains("load, not a change"), "{said}");
    assert!(!said.contains("agent/inc-"), "no draft was opened: {said}");
}

#[tokio::test]
async fn what_is_kept_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    drill(&["--keep", &kept.to_string_lossy()]).await;
    let page = std::fs::read_to_string(kept.join("report.html")).expect("the page is kept");
    assert!(
        page.contains("<svg") && !page.contains("<script"),
        "plots, no scripts"
    );
}
