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

/// Everything in one process.
pub(crate) async fn up(settings: Settings) -> Result<ExitCode> {
    serve(
        settings,
        vec![Role::Hook, Role::Dispatcher, Role::Agents(AGENTS.to_vec())],
    )
    .await
}

/// Webhook and API.
pub(crate) async fn hook(settings: Settings) -> Result<ExitCode> {
    serve(settings, vec![Role::Hook]).await
}

/// A dispatcher.
pub(crate) async fn dispatcher(settings: Settings) -> Result<ExitCode> {
    serve(settings, vec![Role::Dispatcher]).await
}

/// One agent, or all.
pub(crate) async fn agent(settings: Settings, name: &str) -> Result<ExitCode> {
    let names = match AGENTS.into_iter().find(|known| *known == name) {
        Some(known) => vec![known],
        None if name == "all" => AGENTS.to_vec(),
        None => bail!(
            "there is no agent {name:?}; known: {}, all",
            AGENTS.join(", ")
        ),
    };
    serve(settings, vec![Role::Agents(names)]).await
}

/// Runs until a signal or until a service fails; then drains.
async fn serve(settings: Settings, roles: Vec<Role>) -> Result<ExitCode> {
    init_logs(&settings.config.log.filter, settings.config.log.format);
    let node = Node::start(settings.config, &roles, Arc::new(NoProgress)).await?;
    node.run().await
}
