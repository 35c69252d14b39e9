//! Building the agents of this process and serving them over A2A.

use std::sync::Arc;
use std::time::Duration;

use ::agents::git::GitAgent;
use ::agents::observability::ObservabilityAgent;
use ::agents::triage::TriageAgent;
use anyhow::Result;
use axum::Router;
use forge::PlainGit;
use incident::Cx;
use incident::message::agent;
use incident::ports::{Agent, Forge, Notifier};
use pipelines::Orchestrator;
use runtime::TaskKind;

use super::ground::Ground;

/// Longest time of the fetches at start.
const WARM_MAX: Duration = Duration::from_mins(10);

/// The specialists in the order in which their evidence is numbered.
const SPECIALISTS: [&str; 2] = [agent::OBSERVABILITY, agent::GIT];

/// Routes of the named agents.
pub(super) fn router(ground: &Ground, names: &[&str]) -> Result<Router> {
    let mut wanted: Vec<Arc<dyn Agent>> = Vec::new();
    for name in names {
        wanted.push(build(ground, name)?);
    }
    let mut config = ground.config.a2a.clone();
    config.public_url.clone_from(&ground.agents_url);
    let server = a2a::Server::new(&a2a::Parts {
        agents: wanted,
        store: ground.bus.store(),
        clock: ground.clock.clone(),
        entropy: ground.entropy.clone(),
        supervisor: ground.back.clone(),
        token: ground.config.agent_token()?,
        // The embedded bus is one file, held by one process.
        sole_owner: ground.config.bus.kind == bus::Kind::Embedded,
        config,
    })?;
    Ok(server.router())
}

fn build(ground: &Ground, name: &str) -> Result<Arc<dyn Agent>> {
    let config = &ground.config;
    let (clock, entropy) = (ground.clock.clone(), ground.entropy.clone());
    Ok(match name {
        agent::TRIAGE => {
            let triage = config.agents.triage.clone();
            Arc::new(TriageAgent::new(
                ground.bus.store(),
                clock,
                &ground.metrics,
                triage,
            ))
        }
        agent::OBSERVABILITY => Arc::new(ObservabilityAgent::new(
            config.agents.observability.clone(),
            clock,
            entropy,
        )?),
        agent::GIT => git(ground),
        _ => Arc::new(orchestrator(ground)?),
    })
}

/// The git-agent; its first fetches start at once, so that the first incident does not wait for them.
fn git(ground: &Ground) -> Arc<dyn Agent> {
    let config = &ground.config;
    let agent = Arc::new(GitAgent::new(
        config.repositories.clone(),
        &config.repositories_dir(),
        ground.clock.clone(),
        config.agents.git.clone(),
    ));
    let (warm, cx) = (
        agent.clone(),
        Cx::root(ground.clock.clone(), WARM_MAX, "0".repeat(32)),
    );
    let cx = cx.with_cancel(Arc::new(ground.back.shutdown().drain.clone()));
    ground
        .back
        .spawn(TaskKind::Work, "first fetch", async move {
            warm.warm(&cx).await;
        });
    agent
}

fn orchestrator(ground: &Ground) -> Result<Orchestrator> {
    let config = &ground.config;
    let mut specialists = Vec::new();
    for name in SPECIALISTS {
        specialists.push(ground.remote(name)?);
    }
    let forge: Option<Arc<dyn Forge>> = if config.repositories.is_empty() {
        None
    } else {
        let drafts = config.repositories_dir();
        Some(Arc::new(PlainGit::new(
            config.repositories.clone(),
            &drafts,
            ground.clock.clone(),
            config.forge.clone(),
        )))
    };
    let deps = pipelines::Deps {
        store: ground.bus.store(),
        specialists,
        forge,
        notifiers: notifiers(ground)?,
        approval_key: Some(config.approval_key_or_create(ground.entropy.as_ref())?),
        clock: ground.clock.clone(),
        entropy: ground.entropy.clone(),
        metrics: ground.metrics.clone(),
    };
    Ok(Orchestrator::new(config.pipelines.clone(), deps))
}

fn notifiers(ground: &Ground) -> Result<Vec<Arc<dyn Notifier>>> {
    let slack = &ground.config.slack;
    let http = runtime::http::client(slack.timeout.0)?;
    Ok(notify::open(slack, http).into_iter().collect())
}
