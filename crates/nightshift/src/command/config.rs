//! `nightshift config check | dump | schema`.

use std::process::ExitCode;

use anyhow::Result;
use runtime::config::Problem;

use crate::EXIT_CONFIG;
use crate::cli::{ConfigAction, SettingsArgs};
use crate::config::Config;
use crate::settings;

/// Runs one action.
pub(crate) fn run(action: &ConfigAction, args: &SettingsArgs) -> Result<ExitCode> {
    if matches!(action, ConfigAction::Schema) {
        println!(
            "{}",
            serde_json::to_string_pretty(&schemars::schema_for!(Config))?
        );
        return Ok(ExitCode::SUCCESS);
    }
    let settings = match settings::load(args) {
        Ok(settings) => settings,
        Err(problems) => {
            print_problems(&problems);
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    match action {
        ConfigAction::Dump => print!("{}", toml::to_string_pretty(&settings.config)?),
        ConfigAction::Check | ConfigAction::Schema => {
            let source = settings
                .file
                .map_or("the defaults".to_owned(), |file| file.display().to_string());
            println!("{source} and the environment: no problems");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every problem on a line of its own, on standard error.
pub(crate) fn print_problems(problems: &[Problem]) {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    let plural = if problems.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    eprintln!(
        "{} {plural} in the configuration; nothing was started",
        problems.len()
    );
}
