//! Chaos on real servers: builds the product and the program that breaks it, and starts the latter.

use std::path::Path;

use anyhow::Result;

use crate::run::run;
use crate::{setup, test};

/// Runs `chaos` with these arguments; see `cargo xtask chaos --help`.
pub(crate) fn chaos(root: &Path, args: &[String]) -> Result<()> {
    setup::setup()?;
    test::programs(root)?;
    let program = root.join("target/debug/chaos");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(root, &program.to_string_lossy(), &args)
}
