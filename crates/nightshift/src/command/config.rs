//! `nightshift config check | dump | schema`.

use std::process::ExitCode;

use anyhow::Result;
use runtime::config::Problem;

use crate::EXIT_CONFIG;
use crate::cli::{ConfigAction, SettingsArgs};
use crate::config::Config;
use crate::config::files::Reader;
use crate::output::{complain, say, tell};
use crate::settings;

/// Runs one action.
pub(crate) fn run(action: &ConfigAction, args: &SettingsArgs) -> Result<ExitCode> {
    if matches!(action, ConfigAction::Schema) {
        say!(
            "{}",
            serde_json::to_string_pretty(&schemars::schema_for!(Config))?
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let reader = match action {
        ConfigAction::Check => Reader::Check,
        ConfigAction::Dump | ConfigAction::Schema => Reader::Command,
    };
    let settings = match settings::load(args, reader) {
        Ok(settings) => settings,
        Err(problems) => {
            print_problems(&problems);
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    match action {
        ConfigAction::Dump => tell!("{}", toml::to_string_pretty(&settings.config)?)?,
        ConfigAction::Check | ConfigAction::Schema => {
            let source = settings
                .file
                .map_or("the defaults".to_owned(), |file| file.display().to_string());
            say!("{source} and the environment: no problems")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every problem on a line of its own, on standard error.
pub(crate) fn print_problems(problems: &[Problem]) {
    for problem in problems {
        complain!("error: {problem}");
    }
    let plural = if problems.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    complain!(
        "{} {plural} in the configuration; nothing was started",
        problems.len()
    );
}
