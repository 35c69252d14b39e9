//! The incident-orchestrator: one incident from the first message to the closed report.
//!
//! For: running the steps in the order that [`crate::journal`] decides, within deadlines, so that a
//! report goes out whatever hangs, and so that an interrupted run is taken up where it stopped.
//!
//! **Work in any order.** Investigate, Decide and Close only add to the journal what they have to
//! say; all three then drive the same machine to rest. They may come in any order, twice, or after
//! each other: work that has nothing to add is answered from the journal without a claim to it.
//!
//! **Generations.** A re-fired incident is a new generation with a journal, a report and messages of
//! its own. Work of an older generation is answered with that, and does nothing: its report would
//! overwrite the newer one.
//!
//! **Effects.** Messages and drafts go through [`crate::outbox`]: intent, look, act, record. What
//! fails because a channel or a remote is away does not hold the run up: the run comes to rest, and its
//! reply asks for a round of retries as work of its own, later.
//!
//! Never: a model's decision on what happens next, a write without a permit, a wait without a bound.

mod changes;
mod collect;
mod decisions;
mod drafts;
mod error;
mod instruments;
mod notices;
mod numbering;
mod run;
mod writing;

#[cfg(test)]
mod tests;

pub use error::WorkError;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use incident::message::{WorkReply, WorkRequest, agent};
use incident::ports::{
    Agent, AgentCard, AgentError, AgentTask, Clock, Cx, Entropy, Forge, Notifier, Outcome, Skill,
    Store,
};
use incident::{ApprovalKey, WorkItem};
use runtime::telemetry::Metrics;

use crate::Config;
use instruments::Instruments;

/// The one skill; also the schema of its input.
pub const SKILL: &str = "work/1";

/// What the orchestrator works with.
#[derive(Debug)]
pub struct Deps {
    /// Incidents, journals, reports, decisions.
    pub store: Arc<dyn Store>,
    /// Who is asked; their order numbers the evidence.
    pub specialists: Vec<Arc<dyn Agent>>,
    /// Where drafts are opened; without one, changes are named and not proposed.
    pub forge: Option<Arc<dyn Forge>>,
    /// Who is told.
    pub notifiers: Vec<Arc<dyn Notifier>>,
    /// Verifies decisions; without one, changes that need an approval are not proposed.
    pub approval_key: Option<ApprovalKey>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// The incident-orchestrator.
pub struct Orchestrator {
    card: AgentCard,
    config: Config,
    store: Arc<dyn Store>,
    specialists: Vec<(String, Arc<dyn Agent>)>,
    forge: Option<Arc<dyn Forge>>,
    channels: Vec<(String, Arc<dyn Notifier>)>,
    approval_key: Option<ApprovalKey>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    instruments: Instruments,
}

impl fmt::Debug for Orchestrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orchestrator")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Orchestrator {
    /// Works with `deps` as `config` says.
    pub fn new(config: Config, deps: Deps) -> Self {
        let specialists = deps
            .specialists
            .into_iter()
            .map(|agent| (agent.card().name.clone(), agent));
        let channels = deps
            .notifiers
            .into_iter()
            .map(|notifier| (notifier.name().to_owned(), notifier));
        Self {
            card: card(),
            instruments: Instruments::new(&deps.metrics),
            config,
            store: deps.store,
            specialists: distinct(specialists),
            forge: deps.forge,
            channels: distinct(channels),
            approval_key: deps.approval_key,
            clock: deps.clock,
            entropy: deps.entropy,
        }
    }
}

fn read_task(task: AgentTask) -> Result<WorkItem, WorkError> {
    if task.skill != SKILL {
        let skill = incident::Untrusted::new(task.skill).one_line(60);
        return Err(WorkError::Input(format!(
            "the skill is {skill:?}; ask for {SKILL:?}"
        )));
    }
    serde_json::from_value::<WorkRequest>(task.input)
        .map(|request| request.item)
        .map_err(|error| WorkError::Input(format!("it is not a work request: {error}")))
}

#[async_trait]
impl Agent for Orchestrator {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let item = read_task(task).map_err(WorkError::into_agent)?;
        // Dropping the run at any await is what a crash does too; the journal allows for it.
        let result = cx.bound(Box::pin(self.work(&item, cx))).await;
        let result = result.unwrap_or_else(|| {
            let cancelled = cx.cancel.is_cancelled();
            Err(WorkError::Ended { cancelled })
        });
        let ended = result.map_err(|error| {
            tracing::warn!(incident = %item.incident, step = %item.step, %error, "work stopped");
            error.into_agent()
        })?;
        let reply = WorkReply {
            summary: ended.summary,
            awaiting_approval: ended.question.is_some(),
            again: ended.again,
        };
        let output = serde_json::to_value(&reply)
            .map_err(|error| WorkError::Input(error.to_string()).into_agent())?;
        Ok(match ended.question {
            Some(question) => Outcome::InputRequired { question, output },
            None => Outcome::Completed { output },
        })
    }
}

fn card() -> AgentCard {
    AgentCard {
        name: agent::ORCHESTRATOR.to_owned(),
        description: "Works on one incident from the first message to the closed report."
            .to_owned(),
        skills: vec![Skill {
            id: SKILL.to_owned(),
            name: "Work on an incident".to_owned(),
            description: "Investigates an incident, carries out a decision, or closes it."
                .to_owned(),
        }],
    }
}

/// Gives the second of two equal names a number: journals tell their owners apart by name.
fn distinct<T>(named: impl Iterator<Item = (String, T)>) -> Vec<(String, T)> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for (name, thing) in named {
        let mut free = name.clone();
        let mut n = 2;
        while !seen.insert(free.clone()) {
            free = format!("{name}#{n}");
            n += 1;
        }
        out.push((free, thing));
    }
    out
}
