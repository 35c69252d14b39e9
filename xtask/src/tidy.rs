//! Structure that the compiler does not check.

mod edges;
mod files;
mod supply;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{CargoOpt, MetadataCommand};

/// Runs every check and reports every finding.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(root)
        .features(CargoOpt::AllFeatures)
        .other_options(vec![
            "--locked".to_owned(),
            "--filter-platform=x86_64-unknown-linux-gnu".to_owned(),
        ])
        .exec()
        .context("cargo metadata failed")?;
    let checks = [
        ("crate edges", edges::check(&metadata)),
        ("files", files::check(root)?),
        ("supply chain", supply::check(root, &metadata)?),
    ];
    let mut findings = 0;
    for (name, found) in checks {
        println!(
            "tidy: {name}: {}",
            if found.is_empty() {
                "ok".to_owned()
            } else {
                format!("{} findings", found.len())
            }
        );
        findings += found.len();
        for finding in found {
            println!("  {finding}");
        }
    }
    if findings > 0 {
        bail!("tidy found {findings} things to mend");
    }
    Ok(())
}
