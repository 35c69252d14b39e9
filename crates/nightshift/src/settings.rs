//! Reading the configuration: defaults, then the file, then the environment.

use std::path::{Path, PathBuf};

use runtime::config::{Problem, ProcessEnv, Source, load_and};

use crate::cli::SettingsArgs;
use crate::config::Config;
use crate::config::files::{self, Reader};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "nightshift.toml";

/// The checked configuration and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) file: Option<PathBuf>,
}

/// Reads and checks, with the files that `reader` is going to read; binds and opens nothing.
pub(crate) fn load(args: &SettingsArgs, reader: Reader<'_>) -> Result<Settings, Vec<Problem>> {
    let file = args.config.clone().or_else(|| {
        let default = PathBuf::from(DEFAULT_FILE);
        default.exists().then_some(default)
    });
    let text = match &file {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let name = file
        .as_ref()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let source = text.as_deref().map(|text| Source { name: &name, text });
    let config = load_and::<Config>(source, &ProcessEnv, |config, problems| {
        files::check(config, reader, problems);
    })?;
    Ok(Settings { config, file })
}

fn read(path: &Path) -> Result<String, Vec<Problem>> {
    std::fs::read_to_string(path).map_err(|error| {
        let mut problem = Problem::new(
            "",
            format!("the configuration file cannot be read: {error}"),
            "Name another with --config, or leave it out to use the defaults.",
        );
        problem.place = Some(path.display().to_string());
        vec![problem]
    })
}
