//! What the tests need and a fresh machine does not have. Doing it twice changes nothing.

use std::path::Path;

use anyhow::Result;

use crate::run::{is_installed, run};

/// Programs from Debian's packages: (program, package).
const DEBIAN: [(&str, &str); 6] = [
    ("git", "git"),
    ("faketime", "faketime"),
    ("redis-server", "redis-server"),
    ("nats-server", "nats-server"),
    ("prometheus", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
];

/// Installs what is missing.
pub(crate) fn setup() -> Result<()> {
    let here = Path::new(".");
    let missing: Vec<&str> = DEBIAN
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        println!("Debian packages: nothing to install");
    } else {
        apt(here, &["update", "--quiet"])?;
        let mut args = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
        args.extend(missing);
        apt(here, &args)?;
    }
    if is_installed("cargo-nextest") {
        println!("cargo-nextest: already there");
    } else {
        run(
            here,
            "cargo",
            &[
                "install",
                "--locked",
                "--version",
                "0.9.143",
                "cargo-nextest",
            ],
        )?;
    }
    Ok(())
}

/// apt-get, through sudo where this user is not root.
fn apt(dir: &Path, args: &[&str]) -> Result<()> {
    let root =
        std::fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if root.unwrap_or(false) {
        run(dir, "apt-get", args)
    } else {
        run(dir, "sudo", &[&["apt-get"], args].concat())
    }
}
