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
mod output;
mod roles;
mod settings;
mod sim;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::config::files::Reader;
use crate::output::{Closed, complain};

/// Exit code for a configuration that cannot work (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// Exit code of what a signal cut short, as shells count it.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Sim(options) = &cli.command {
        return ended(sim::run(options));
    }
    runtime::http::install_tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("error: the async runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    ended(runtime.block_on(run(cli)))
}

fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.is::<Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            complain!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Config { action } = &cli.command {
        return command::config::run(action, &cli.settings);
    }
    if let Command::Drill(options) = cli.command {
        return Box::pin(drill::run(options)).await;
    }
    let roles = roles::of(&cli.command)?;
    let reader = roles.as_deref().map_or(Reader::Command, Reader::Roles);
    let settings = match settings::load(&cli.settings, reader) {
        Ok(settings) => settings,
        Err(problems) => {
            command::config::print_problems(&problems);
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    if let Some(roles) = roles {
        return Box::pin(roles::serve(settings, roles)).await;
    }
    match cli.command {
        Command::Incidents { action } => command::incidents::run(&settings, action).await,
        Command::Explain { fingerprint } => command::explain::run(&settings, &fingerprint).await,
        Command::Dlq { action } => command::dlq::run(&settings, action).await,
        Command::Approve(decision) => command::decide::approve(&settings, decision).await,
        Command::Reject(decision) => command::decide::reject(&settings, decision).await,
        Command::Doctor => command::doctor::run(&settings).await,
        Command::Up
        | Command::Hook
        | Command::Dispatcher
        | Command::Agent { .. }
        | Command::Drill(_)
        | Command::Sim(_)
        | Command::Config { .. } => unreachable!("dealt with above"),
    }
}
