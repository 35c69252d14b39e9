//! The Agent port of one node: a call over a network to the agents of some node.
//!
//! Whoever serves the task runs it in a task of its own, as an A2A server does: a caller that goes
//! away does not stop it, and may not even be able to call it off.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use incident::message::agent;
use incident::ports::{Agent, AgentCard, AgentError, AgentTask, Clock, Cx, NoProgress, Outcome};
use runtime::{CancelToken, TaskKind};
use tokio::sync::oneshot;

use super::super::gate::{Fate, Gate};
use super::super::life::Life;
use super::super::watch::{Fault, of_bytes};
use super::super::world::World;

/// How long a caller waits for the last word after its context ended.
const LAST_WORD: Duration = Duration::from_millis(900);

/// The agents of one node.
#[derive(Debug)]
pub(in crate::sim) struct Hosted {
    pub(in crate::sim) life: Arc<Life>,
    pub(in crate::sim) clock: Arc<dyn Clock>,
    pub(in crate::sim) agents: Vec<Arc<dyn Agent>>,
}

impl Hosted {
    fn agent(&self, name: &str) -> Option<Arc<dyn Agent>> {
        let mut agents = self.agents.iter();
        agents.find(|agent| agent.card().name == name).cloned()
    }
}

/// An agent as a node calls it.
#[derive(Debug)]
pub(in crate::sim) struct Link {
    card: AgentCard,
    gate: Gate,
}

/// Counts a task as running until it is dropped.
struct Running(Arc<World>);

impl Running {
    fn new(world: &Arc<World>) -> Self {
        world.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(world))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A caller that goes away calls its task off, if the word gets through.
struct HangUp {
    cancel: CancelToken,
    heard: bool,
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if self.heard {
            self.cancel.cancel();
        }
    }
}

impl Link {
    pub(in crate::sim) fn agent(card: AgentCard, gate: Gate) -> Arc<dyn Agent> {
        Arc::new(Self { card, gate })
    }

    fn unreachable(&self, why: &str) -> AgentError {
        AgentError::Unreachable {
            agent: self.card.name.clone(),
            why: why.to_owned(),
        }
    }

    /// Whether the plan has triage refuse this task.
    fn is_refused(&self, task: &AgentTask) -> bool {
        let Some(fingerprint) = self.gate.world.refused() else {
            return false;
        };
        let events = task
            .input
            .get("events")
            .and_then(|events| events.as_array());
        let mut events = events.into_iter().flatten();
        self.card.name == agent::TRIAGE
            && events.any(|event| {
                event.get("fingerprint").and_then(|f| f.as_str()) == Some(fingerprint.as_str())
            })
    }

    /// Starts the task at some node; none if that node is down.
    fn start(&self, task: AgentTask, cx: &Cx) -> Option<(oneshot::Receiver<Answer>, CancelToken)> {
        let world = &self.gate.world;
        let host = world.some_host(self.gate.life.node)?;
        let agent = host.agent(&self.card.name)?;
        let cancel = CancelToken::new();
        let (answer, answered) = oneshot::channel();
        let there = Cx {
            deadline: cx.deadline,
            cancel: Arc::new(cancel.clone()),
            trace: cx.trace.clone(),
            clock: Arc::clone(&host.clock),
            progress: Arc::new(NoProgress),
        };
        let running = Running::new(world);
        let (world, who) = (Arc::clone(world), host.life.name());
        host.life.back.spawn(TaskKind::Work, "task", async move {
            world.watch.note(who, "  runs", task.message_id.as_str(), 0);
            let id = task.message_id.clone();
            let result = agent.run(task, &there).await;
            world
                .watch
                .note(who, "  ended", id.as_str(), of_result(&result));
            drop(running);
            if answer.send(result).is_err() {
                world.watch.note(who, "  nobody hears of", id.as_str(), 0);
            }
        });
        Some((answered, cancel))
    }

    async fn answer(
        &self,
        mut answered: oneshot::Receiver<Answer>,
        cancel: CancelToken,
        cx: &Cx,
    ) -> Answer {
        let chance = &self.gate.world.chance;
        let mut hang_up = HangUp {
            cancel,
            heard: !self.gate.world.is_stormy() || chance.one_in(2),
        };
        let result = tokio::select! {
            biased;
            result = &mut answered => Some(result),
            () = cx.ended() => None,
        };
        let result = if let Some(result) = result {
            result
        } else {
            hang_up.cancel.cancel();
            tokio::select! {
                biased;
                result = &mut answered => result,
                () = cx.clock.sleep(LAST_WORD) => {
                    let agent = self.card.name.clone();
                    return Err(if cx.cancel.is_cancelled() {
                        AgentError::Cancelled { agent }
                    } else {
                        AgentError::Deadline { agent }
                    });
                }
            }
        };
        hang_up.heard = false;
        result.unwrap_or_else(|_| Err(self.unreachable("the connection broke")))
    }
}

type Answer = Result<Outcome, AgentError>;

fn of_result(result: &Answer) -> u64 {
    match result {
        Ok(Outcome::Completed { output }) => of_bytes(output.to_string().as_bytes()),
        Ok(Outcome::InputRequired { question, .. }) => of_bytes(question.as_bytes()),
        Err(error) => of_bytes(error.to_string().as_bytes()),
    }
}

#[async_trait]
impl Agent for Link {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let fate = self.gate.before("run", &self.card.name).await;
        match fate {
            Fate::Refused => return Err(self.unreachable("the connection was refused")),
            Fate::InFlight(_) => {
                // The request is out, and nobody waits for the answer.
                drop(self.start(task, cx));
                self.gate.life.crash();
                return std::future::pending().await;
            }
            _ => {}
        }
        if self.is_refused(&task) {
            let (watch, who) = (&self.gate.world.watch, self.gate.life.name());
            watch.fault(who, Fault::Refusal, task.message_id.as_str());
            let (agent, why) = (
                self.card.name.clone(),
                String::from("it is not to its liking"),
            );
            return Err(AgentError::Refused { agent, why });
        }
        if fate == Fate::Twice {
            drop(self.start(task.clone(), cx));
        }
        let Some((answered, cancel)) = self.start(task, cx) else {
            return Err(self.unreachable("nobody listens"));
        };
        let answer = self.answer(answered, cancel, cx).await;
        self.gate.after(fate).await;
        if fate == Fate::Lost {
            return Err(self.unreachable("the answer was lost"));
        }
        answer
    }
}
