//! Everything that must hold, cheapest failure first.

use std::path::Path;

use anyhow::Result;

use crate::run::run;
use crate::{setup, tidy};

/// Format, tidy, clippy, tests.
pub(crate) fn everything(root: &Path) -> Result<()> {
    setup::setup()?;
    run(root, "cargo", &["fmt", "--all", "--check"])?;
    tidy::tidy(root)?;
    run(
        root,
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    programs(root)?;
    run(root, "cargo", &["nextest", "run", "--workspace"])?;
    run(root, "cargo", &["test", "--doc", "--package", "incident"])
}

/// Only tests that match a nextest filter.
pub(crate) fn only(root: &Path, filter: &str) -> Result<()> {
    setup::setup()?;
    programs(root)?;
    run(root, "cargo", &["nextest", "run", "--workspace", filter])
}

/// The programs that tests start: the product and the demo service.
pub(crate) fn programs(root: &Path) -> Result<()> {
    run(
        root,
        "cargo",
        &[
            "build",
            "--package",
            "nightshift",
            "--package",
            "tests",
            "--bins",
        ],
    )
}
