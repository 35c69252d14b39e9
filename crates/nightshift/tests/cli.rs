//! The real binary as a person meets it: exit codes, every problem at once, pipes that close.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test starts processes and fails by panicking"
)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn nightshift(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightshift"));
    command
        .args(args)
        .current_dir(folder)
        .env_remove("NIGHTSHIFT_CONFIG")
        .stdin(Stdio::null());
    command
}

fn told(output: &Output) -> String {
    format!(
        "{:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn check(config: &str, args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("nightshift.toml"), config).unwrap();
    told(&nightshift(folder.path(), args).output().unwrap())
}

const BROKEN: &str = "\
data_dri = \"x\"
grace = \"-5s\"
[hook]
listen = \"0.0.0.0:1\"
auth.token_files = [\"/nowhere/token\", \"/\"]
[bus]
kind = \"kafka\"
[[repositories]]
name = \"shop\"
remote = \"relative/path\"
";

#[test]
fn every_problem_is_told_at_once_and_nothing_starts() {
    insta::assert_snapshot!(check(BROKEN, &["config", "check"]), @r#"
    Some(78)
    error: nightshift.toml:7: bus.kind: `kafka` is not known here. Known: embedded, redis, sentinel, cluster, nats.
    error: nightshift.toml:1: data_dri: there is no such field. Did you mean `data_dir`?
    error: nightshift.toml:2: grace: "-5s" is not a length of time (it is negative); write "60s", "5m" or "250ms". Correct the value.
    error: nightshift.toml:10: repositories[0].remote: "relative/path" is not a place Git is allowed to go. Write an absolute path, https://, ssh://, file:// or user@host:path.
    error: nightshift.toml:5: hook.auth.token_files[0]: /nowhere/token: No such file or directory (os error 2) (E-HOOK-002). Name a file that this user can read and that holds nothing but the secret.
    error: nightshift.toml:5: hook.auth.token_files[1]: /: Is a directory (os error 21) (E-HOOK-002). Name a file that this user can read and that holds nothing but the secret.
    6 problems in the configuration; nothing was started
    "#);
    let up = check(BROKEN, &["up"]);
    assert_eq!(up, check(BROKEN, &["config", "check"]));
    // A drill has a world of its own; what stands in this folder is none of its business.
    assert!(check(BROKEN, &["drill", "--keep", "."]).contains("is not empty"));
}

#[test]
fn what_dump_prints_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let dumped = nightshift(folder.path(), &["config", "dump"])
        .output()
        .unwrap();
    std::fs::write(folder.path().join("nightshift.toml"), dumped.stdout).unwrap();
    let checked = nightshift(folder.path(), &["config", "check"])
        .output()
        .unwrap();
    insta::assert_snapshot!(told(&checked), @r"
    Some(0)
    nightshift.toml and the environment: no problems
    ");
}

#[test]
fn a_variable_of_somebody_else_may_be_any_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = nightshift(folder.path(), &["config", "check"]);
    command.env("SOMEBODY_ELSES", OsStr::from_bytes(&[0xff, 0xfe]));
    insta::assert_snapshot!(told(&command.output().unwrap()), @r"
    Some(0)
    the defaults and the environment: no problems
    ");
    command.env("NIGHTSHIFT__GRACE", OsStr::from_bytes(&[0xff]));
    assert_eq!(command.output().unwrap().status.code(), Some(78));
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = nightshift(folder.path(), &["config", "schema"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(told(&output), "Some(0)\n");
}
