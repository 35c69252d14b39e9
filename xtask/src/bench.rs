//! Builds a release of the product and of the benchmarks, and runs them.

use std::path::Path;

use anyhow::Result;

use crate::run::run;

/// What is passed on to the benchmarks.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Benchmarks to run: intake, latency, claim, storm, urgent, footprint; all without a name
    names: Vec<String>,
    /// Also write the figures as JSON here; what other benchmarks wrote stays
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Also put the tables of the JSON file into this page, between its markers
    #[arg(long, value_name = "FILE", requires = "json")]
    page: Option<String>,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Measures; prints a table.
pub(crate) fn bench(root: &Path, options: &Options) -> Result<()> {
    let build = [
        "build",
        "--release",
        "--package",
        "nightshift",
        "--package",
        "tests",
        "--bins",
    ];
    run(root, "cargo", &build)?;
    let rounds = options.rounds.to_string();
    let mut args: Vec<&str> = options.names.iter().map(String::as_str).collect();
    args.extend(["--rounds", &rounds]);
    if let Some(file) = &options.json {
        args.extend(["--json", file]);
    }
    if let Some(page) = &options.page {
        args.extend(["--page", page]);
    }
    let program = root.join("target/release/bench");
    run(root, &program.to_string_lossy(), &args)
}
