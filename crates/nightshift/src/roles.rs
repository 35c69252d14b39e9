//! The roles a process can play, alone or together.

mod agents;
mod ground;
mod node;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use incident::message::agent;
use incident::ports::NoProgress;
use runtime::telemetry::init_logs;

pub(crate) use node::Node;

use crate::cli::Command;
use crate::settings::Settings;

/// One role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Webhook and API.
    Hook,
    /// Claims events and work.
    Dispatcher,
    /// Agents behind A2A: the named ones.
    Agents(Vec<&'static str>),
}

/// Every agent there is.
pub(crate) const AGENTS: [&str; 4] = [
    agent::TRIAGE,
    agent::ORCHESTRATOR,
    agent::OBSERVABILITY,
    agent::GIT,
];

/// The roles that `command` plays; none for a command that talks to a running Nightshift.
pub(crate) fn of(command: &Command) -> Result<Option<Vec<Role>>> {
    Ok(match command {
        Command::Up => Some(vec![
            Role::Hook,
            Role::Dispatcher,
            Role::Agents(AGENTS.to_vec()),
        ]),
        Command::Hook => Some(vec![Role::Hook]),
        Command::Dispatcher => Some(vec![Role::Dispatcher]),
        Command::Agent { name } => Some(vec![Role::Agents(agents_named(name)?)]),
        _ => None,
    })
}

/// One agent, or all.
fn agents_named(name: &str) -> Result<Vec<&'static str>> {
    match AGENTS.into_iter().find(|known| *known == name) {
        Some(known) => Ok(vec![known]),
        None if name == "all" => Ok(AGENTS.to_vec()),
        None => bail!(
            "there is no agent {name:?}; known: {}, all",
            AGENTS.join(", ")
        ),
    }
}

/// Runs until a signal or until a service fails; then drains.
pub(crate) async fn serve(settings: Settings, roles: Vec<Role>) -> Result<ExitCode> {
    init_logs(&settings.config.log.filter, settings.config.log.format);
    let node = Node::start(settings.config, &roles, Arc::new(NoProgress)).await?;
    node.run().await
}
