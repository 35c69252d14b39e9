//! A short piece of chaos on real servers: kill -9 at random moments while incidents are on their
//! way. Nothing acknowledged is lost, nothing is done twice. The long run is `cargo xtask chaos`, its
//! figures are in docs/chaos.md.

use std::path::Path;

use tests::nightshift::program;
use tokio::process::Command;

async fn chaos(arguments: &[&str]) {
    let output = Command::new(program("chaos").expect("it is built"))
        .args(arguments)
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{said}{told}");
    assert!(output.status.success(), "{said}{told}");
}

#[tokio::test]
async fn the_whole_process_on_the_embedded_bus() {
    let run = "--bus embedded --kills 5 --fault process-kill --seed 11";
    chaos(&run.split(' ').collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn server_and_roles_on_redis() {
    let run = "--bus redis --kills 8 --mixed --fault server-kill --fault hook-kill \
               --fault dispatcher-kill --fault agents-kill --seed 12";
    chaos(&run.split_whitespace().collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn the_report_says_what_was_measured() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/chaos.md");
    chaos(&["--report", &page.to_string_lossy(), "--check"]).await;
}
