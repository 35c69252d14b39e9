//! Reading the file and the environment into one checked value.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Problem, Section};

/// Prefix of overlay variables; `__` separates the parts of a path.
const PREFIX: &str = "NIGHTSHIFT__";

/// Where environment variables come from.
pub trait Env: Send + Sync + std::fmt::Debug {
    /// One variable.
    fn get(&self, name: &str) -> Option<String>;
    /// All variables whose name starts with `prefix`, by name.
    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String>;
}

/// The environment of this process. Only the binary makes one.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        std::env::vars()
            .filter(|(name, _)| name.starts_with(prefix))
            .collect()
    }
}

/// An environment made of a map, for tests.
#[derive(Debug, Clone, Default)]
pub struct MapEnv(pub BTreeMap<String, String>);

impl Env for MapEnv {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        self.0
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }
}

/// A configuration file: its name for messages, and its text.
#[derive(Debug, Clone, Copy)]
pub struct Loaded<'a> {
    /// For messages.
    pub name: &'a str,
    /// TOML.
    pub text: &'a str,
}

/// Reads defaults, then `file`, then `NIGHTSHIFT__...` variables of `env`.
///
/// # Errors
/// Every problem found, each with its place.
pub fn load<T>(file: Option<Loaded<'_>>, env: &dyn Env) -> Result<T, Vec<Problem>>
where
    T: DeserializeOwned + Serialize + JsonSchema + Default + Section,
{
    let _ = (env, PREFIX);
    let text = file.map_or("", |f| f.text);
    let value: T = toml::from_str(text)
        .map_err(|error| vec![Problem::new("", error.to_string(), "Correct the file.")])?;
    let mut problems = Vec::new();
    value.check("", &mut problems);
    if problems.is_empty() {
        Ok(value)
    } else {
        Err(problems)
    }
}
