//! The git-agent: what changed, and when it landed.
//!
//! For: every step of the configured base branches around the onset, with what it touches, so that
//! the diagnosis can name the change or rule it out.
//!
//! Never: a write to a repository, a judgement about which change is guilty, silence about a
//! repository that could not be read: that is a gap, by name. Names, messages and diffs are somebody
//! else's text and stay marked as such.

mod collect;
mod config;
mod describe;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use incident::message::{EvidenceReply, EvidenceRequest, agent};
use incident::ports::{Agent, AgentCard, AgentError, AgentTask, Clock, Cx, Outcome, Skill};
use runtime::git::{Mirror, Repository};

pub use config::Config;

use crate::specialist::Tasks;

/// The skill this agent has.
pub use crate::specialist::SKILL;

/// Time kept back to hand in what there is when the deadline comes.
const RESERVE_MAX: Duration = Duration::from_millis(750);

/// Reads repository history for an investigation.
#[derive(Debug)]
pub struct GitAgent {
    mirrors: Vec<Mirror>,
    clock: Arc<dyn Clock>,
    config: Config,
    card: AgentCard,
    tasks: Tasks,
}

impl GitAgent {
    /// An agent that reads `repositories` through mirrors under `data_dir`; nothing is fetched before
    /// the first task or [`GitAgent::warm`].
    pub fn new(
        repositories: Vec<Repository>,
        data_dir: &Path,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Self {
        let mirror = |repository| Mirror::new(repository, data_dir, config.git.clone());
        Self {
            mirrors: repositories.into_iter().map(mirror).collect(),
            clock,
            card: card(),
            tasks: Tasks::new(agent::GIT, config.tasks_kept),
            config,
        }
    }

    /// Fetches every repository ahead of time, so that the first incident does not wait for a first
    /// fetch. Failures are logged and come again, as gaps, with the first task.
    pub async fn warm(&self, cx: &Cx) {
        for mirror in &self.mirrors {
            if let Err(error) = mirror.fetch(cx).await {
                let repository = mirror.repository().name.as_str();
                tracing::warn!(repository, %error, "a repository could not be fetched");
            }
        }
    }

    /// Everything that can be had before the deadline. Never fails as a whole.
    async fn evidence(&self, request: &EvidenceRequest, cx: &Cx) -> EvidenceReply {
        let started = self.clock.elapsed();
        let remaining = cx.remaining();
        let cx = cx.child(remaining.saturating_sub(RESERVE_MAX.min(remaining / 10)));
        let (config, cx) = (&self.config, &cx);
        let mut reading: Vec<BoxFuture<'_, collect::Found>> = Vec::new();
        for mirror in &self.mirrors {
            reading.push(Box::pin(collect::collect(mirror, request, config, cx)));
        }
        let found: Vec<collect::Found> = futures_util::stream::iter(reading)
            .buffered(config.repositories_at_once.max(1))
            .collect()
            .await;
        let reply = collect::join(found, config);
        tracing::info!(
            incident = %request.incident.id,
            observations = reply.observations.len(),
            gaps = reply.gaps.len(),
            took_ms = self.clock.elapsed().saturating_sub(started).as_millis(),
            "repositories were read"
        );
        reply
    }
}

#[async_trait]
impl Agent for GitAgent {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let evidence = |request, cx| -> BoxFuture<'_, EvidenceReply> {
            Box::pin(async move { self.evidence(&request, cx).await })
        };
        self.tasks.answer(task, cx, evidence).await
    }
}

fn card() -> AgentCard {
    AgentCard {
        name: agent::GIT.to_owned(),
        description: "Reads the history of the configured repositories; changes nothing."
            .to_owned(),
        skills: vec![Skill {
            id: SKILL.to_owned(),
            name: "Change evidence".to_owned(),
            description:
                "Commits and merges that landed around the onset, what they touch and which \
                services they can reach."
                    .to_owned(),
        }],
    }
}
