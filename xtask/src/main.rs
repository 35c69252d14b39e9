//! The automation of this repository, in Rust: `cargo xtask setup | test | tidy`.
//!
//! Never: part of the product. Nothing here ships.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on standard output"
)]

mod bench;
mod chaos;
mod run;
mod setup;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Automation of the Nightshift repository"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the tests need: Redis, Prometheus and Alertmanager from Debian, cargo-nextest.
    Setup,
    /// Everything that must hold: set-up, format, tidy, clippy, build, tests.
    Test {
        /// Only tests whose name matches (a nextest filter); skips format, tidy and clippy.
        filter: Option<String>,
    },
    /// Measure a release build beside peers and limits of the same run; see docs/benchmarks.md.
    Bench(bench::Options),
    /// Kill, freeze and starve the product on real servers, and count what was lost:
    /// `--bus embedded|redis|... --kills N --json FILE [--fault NAME]... [--seed S]`, or
    /// `--report docs/chaos.md`.
    #[command(disable_help_flag = true)]
    Chaos {
        /// Arguments of the program; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check the structure: crate edges, file sizes, error pages, licences, bans.
    Tidy,
}

fn main() -> ExitCode {
    match run_command(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_command(command: Command) -> Result<()> {
    let root = workspace_root()?;
    match command {
        Command::Setup => setup::setup(),
        Command::Test {
            filter: Some(filter),
        } => test::only(&root, &filter),
        Command::Test { filter: None } => test::everything(&root),
        Command::Bench(options) => bench::bench(&root, &options),
        Command::Chaos { args } => chaos::chaos(&root, &args),
        Command::Tidy => tidy::tidy(&root),
    }
}

/// The folder above this package.
fn workspace_root() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map(PathBuf::from)
        .context("xtask lies inside the workspace")
}
