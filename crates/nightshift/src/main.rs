//! Nightshift, the one binary: subcommands and wiring.
//!
//! `main` reads as the story of the process: read the command line, read the configuration without
//! binding anything, run the command, say how it ended.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on standard output"
)]

mod cli;
mod client;
mod command;
mod config;
mod drill;
mod roles;
mod settings;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

/// Exit code for a configuration that cannot work (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = Cli::parse();
    runtime::http::install_tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the async runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Config { action } = &cli.command {
        return command::config::run(action, &cli.settings);
    }
    let settings = match settings::load(&cli.settings) {
        Ok(settings) => settings,
        Err(problems) => {
            command::config::print_problems(&problems);
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    match cli.command {
        Command::Up => Box::pin(roles::up(settings)).await,
        Command::Hook => Box::pin(roles::hook(settings)).await,
        Command::Dispatcher => Box::pin(roles::dispatcher(settings)).await,
        Command::Agent { name } => Box::pin(roles::agent(settings, &name)).await,
        Command::Incidents { action } => command::incidents::run(&settings, action).await,
        Command::Explain { fingerprint } => command::explain::run(&settings, &fingerprint).await,
        Command::Approve(decision) => command::decide::approve(&settings, decision).await,
        Command::Reject(decision) => command::decide::reject(&settings, decision).await,
        Command::Drill(options) => drill::run(options).await,
        Command::Doctor => command::doctor::run(&settings).await,
        Command::Config { .. } => Ok(ExitCode::SUCCESS),
    }
}
