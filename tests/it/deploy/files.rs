//! Reading manifests and configuration.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runtime::config::Span;
use serde_json::Value;
use tests::nightshift::program;

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a file of the repository.
pub(super) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The one document of a YAML file of the repository.
pub(super) fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every manifest that the kustomization of `folder` lists.
pub(super) fn manifests(folder: &str) -> Vec<Value> {
    let kustomization = yaml(&format!("{folder}/kustomization.yaml"));
    let mut all = Vec::new();
    for file in strings(&kustomization["resources"]) {
        let path = format!("{folder}/{file}");
        let found: Vec<Value> = serde_saphyr::from_multiple(&text(&path))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        all.extend(found);
    }
    all
}

/// The only manifest of that kind and name.
pub(super) fn manifest(all: &[Value], kind: &str, name: &str) -> Value {
    let mut found = all
        .iter()
        .filter(|m| m["kind"] == kind && m["metadata"]["name"] == name);
    let one = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "two of {kind} {name}");
    one.clone()
}

/// A list of words.
pub(super) fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(word).collect()
}

/// A word.
pub(super) fn word(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// A list that must be there.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// A length of time as the configuration writes it.
pub(super) fn span(value: &Value) -> Duration {
    let span: Span = serde_json::from_value(value.clone()).expect("a length of time");
    span.0
}

/// The port at the end of an address.
pub(super) fn port(address: &str) -> u64 {
    let port = address.rsplit_once(':').and_then(|(_, port)| {
        let digits = port.split('/').next().unwrap_or_default();
        digits.parse().ok()
    });
    port.unwrap_or_else(|| panic!("{address} has no port"))
}

/// What the program makes of a configuration text, defaults and all; with the secrets mounted it
/// must find no problem.
pub(super) fn effective(toml: &str) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nightshift.toml");
    let run = |text: &str, action: &str| {
        std::fs::write(&file, text).expect("a file");
        let output = Command::new(program("nightshift").expect("the binary is built"))
            .arg("--config")
            .arg(&file)
            .args(["config", action])
            .output()
            .expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "config {action}: {err}");
        String::from_utf8(output.stdout).expect("text")
    };
    let value: Value = toml::from_str(&run(toml, "dump")).expect("the dump is TOML");
    let mut secrets = Vec::new();
    secret_paths(&value, &mut secrets);
    secrets.sort_by_key(|path| std::cmp::Reverse(path.len()));
    let mut mounted = toml.to_owned();
    for (index, path) in secrets.iter().enumerate() {
        let stand_in = folder.path().join(format!("secret-{index}"));
        std::fs::write(&stand_in, "s".repeat(64)).expect("a file");
        mounted = mounted.replace(
            &format!("\"{path}\""),
            &format!("\"{}\"", stand_in.display()),
        );
    }
    assert!(run(&mounted, "check").contains("no problems"));
    value
}

/// Every path below the folder that secrets are mounted in.
fn secret_paths(value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with("/run/") => paths.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| secret_paths(item, paths)),
        Value::Object(fields) => fields.values().for_each(|field| secret_paths(field, paths)),
        _ => {}
    }
}
