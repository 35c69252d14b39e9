//! The contract of the Agent port. See `incident::ports::Agent`.
//!
//! An agent of this process and one behind A2A run the same functions; what differs is only how a
//! [`Subject`] is made.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::ports::{Agent, AgentError, AgentTask, Clock, Cx};
use runtime::{CancelToken, SystemClock};
use serde_json::json;

/// How late an agent may answer the end of its context (the port says 1 s), and what a busy machine
/// adds to it.
const GRACE: Duration = Duration::from_millis(1000 + 1500);
/// Longest wait for an answer that must come.
const PATIENCE: Duration = Duration::from_secs(20);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

type Check = anyhow::Result<()>;

/// An agent and tasks for it. Every task has a message id of its own.
#[derive(Debug)]
pub struct Subject {
    /// The agent.
    pub agent: Arc<dyn Agent>,
    /// One that it completes, with an object as input.
    pub good: AgentTask,
    /// One of a skill that it has, with an input that it cannot read.
    pub unreadable: AgentTask,
    /// One that takes longer than any test.
    pub endless: AgentTask,
    /// How often it began `good`, if that can be known.
    pub begun: Option<fn(&dyn Any) -> u32>,
    /// What has to live as long as the agent.
    pub world: Box<dyn Any + Send + Sync>,
}

impl Subject {
    fn ran_once(&self) -> Check {
        let Some(begun) = self.begun else {
            return Ok(());
        };
        let runs = begun(self.world.as_ref());
        ensure!(runs == 1, "it was begun {runs} times");
        Ok(())
    }
}

fn cx(within: Duration) -> Cx {
    Cx::root(SystemClock::new(), within, TRACE)
}

fn refused<T: std::fmt::Debug>(result: Result<T, AgentError>) -> Check {
    match result {
        Err(AgentError::Refused { why, .. }) => {
            ensure!(!why.is_empty(), "a refusal says why");
            Ok(())
        }
        other => anyhow::bail!("not refused: {other:?}"),
    }
}

/// A card says who it is and what it can do, once the agent was reached.
pub async fn card(subject: Subject) -> Check {
    subject
        .agent
        .run(subject.good.clone(), &cx(PATIENCE))
        .await?;
    let card = subject.agent.card();
    ensure!(!card.name.is_empty() && !card.skills.is_empty(), "{card:?}");
    ensure!(
        card.skills
            .iter()
            .any(|skill| skill.id == subject.good.skill),
        "{card:?}"
    );
    Ok(())
}

/// The same message again gets the same outcome and does nothing twice.
pub async fn same_message_later(subject: Subject) -> Check {
    let first = subject
        .agent
        .run(subject.good.clone(), &cx(PATIENCE))
        .await?;
    for _ in 0..3 {
        let again = subject
            .agent
            .run(subject.good.clone(), &cx(PATIENCE))
            .await?;
        ensure!(again == first, "{again:?} after {first:?}");
    }
    subject.ran_once()
}

/// The same message many times at once is one task.
pub async fn same_message_at_once(subject: Subject) -> Check {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (agent, task) = (subject.agent.clone(), subject.good.clone());
        calls.spawn(async move { agent.run(task, &cx(PATIENCE)).await });
    }
    let outcomes: Result<Vec<_>, _> = calls.join_all().await.into_iter().collect();
    let outcomes = outcomes?;
    let first = outcomes.first().context("there were calls")?;
    ensure!(
        outcomes.iter().all(|outcome| outcome == first),
        "{outcomes:?}"
    );
    subject.ran_once()
}

/// The same message id with another input is refused, and the task keeps its outcome.
pub async fn same_message_other_input(subject: Subject) -> Check {
    let first = subject
        .agent
        .run(subject.good.clone(), &cx(PATIENCE))
        .await?;
    let mut other = subject.good.clone();
    other.input["one more member"] = json!("of the input");
    refused(subject.agent.run(other, &cx(PATIENCE)).await)?;
    let again = subject
        .agent
        .run(subject.good.clone(), &cx(PATIENCE))
        .await?;
    ensure!(again == first, "{again:?} after {first:?}");
    subject.ran_once()
}

/// What it cannot read is refused.
pub async fn unreadable(subject: Subject) -> Check {
    refused(
        subject
            .agent
            .run(subject.unreadable.clone(), &cx(PATIENCE))
            .await,
    )?;
    let mut unknown = subject.good.clone();
    "no-such-skill/1".clone_into(&mut unknown.skill);
    refused(subject.agent.run(unknown, &cx(PATIENCE)).await)
}

/// It answers when the deadline passes, also when it had passed before.
pub async fn deadline(subject: Subject) -> Check {
    for within in [Duration::from_millis(300), Duration::ZERO] {
        let clock = SystemClock::new();
        let result = subject
            .agent
            .run(subject.endless.clone(), &cx(within))
            .await;
        let took = clock.elapsed();
        ensure!(
            matches!(result, Err(AgentError::Deadline { .. })),
            "{result:?}"
        );
        ensure!(
            took <= within + GRACE,
            "it took {took:?} to keep a deadline of {within:?}"
        );
    }
    Ok(())
}

/// It answers when the work is called off, also when it was called off before.
pub async fn cancellation(subject: Subject) -> Check {
    for delay in [Duration::from_millis(300), Duration::ZERO] {
        let clock = SystemClock::new();
        let cancel = CancelToken::new();
        if delay.is_zero() {
            cancel.cancel();
        }
        let cx = cx(PATIENCE).with_cancel(Arc::new(cancel.clone()));
        let call_off = async {
            clock.sleep(delay).await;
            cancel.cancel();
        };
        let run = subject.agent.run(subject.endless.clone(), &cx);
        let (result, ()) = tokio::join!(run, call_off);
        let took = clock.elapsed();
        ensure!(
            matches!(result, Err(AgentError::Cancelled { .. })),
            "{result:?}"
        );
        ensure!(took <= delay + GRACE, "it took {took:?} to notice");
    }
    Ok(())
}
