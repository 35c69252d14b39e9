//! Asking the specialists, in parallel, each within its share of the deadline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use incident::message::EvidenceReply;
use incident::ports::{Agent, AgentError, AgentTask, Cx, Entropy, Outcome};
use incident::{MessageId, Untrusted};
use jiff::Timestamp;
use runtime::Policy;
use runtime::config::Span;
use serde_json::Value;

use super::WorkError;
use super::run::Run;
use crate::config::signed;
use crate::journal::{Collecting, Journal, Part, Reply, keys};
use crate::time::{line, until};

/// Skills of this family take an [`incident::message::EvidenceRequest`].
const SKILL_FAMILY: &str = "evidence/";

impl Run<'_> {
    /// Asks whoever has not answered, and records each answer as it comes.
    pub(super) async fn collect(&mut self) -> Result<(), WorkError> {
        let (id, generation) = (self.journal().incident.clone(), self.journal().generation);
        let key = keys::request(&id, generation);
        let request: Value = self.part(key).await?;
        let share = self.collecting().await?;
        let mut asks = FuturesUnordered::new();
        for name in unheard(self.journal()) {
            self.progress("collect", &format!("asking {name}"));
            let asked = self.specialist(&name).map(|agent| {
                let task = task(self.journal(), &name, agent.as_ref(), request.clone());
                (agent, task)
            });
            let (cx, entropy) = (self.cx.clone(), self.o.entropy.clone());
            asks.push(ask(name, asked, share, cx, entropy));
        }
        let mut done = VecDeque::new();
        loop {
            let next = match done.pop_front() {
                Some(next) => Some(next),
                None => asks.next().await,
            };
            let Some((name, result)) = next else {
                return Ok(());
            };
            let mut record = std::pin::pin!(self.record_reply(name, result));
            // The others are listened to meanwhile: a slow store must not use up their time.
            loop {
                tokio::select! {
                    biased;
                    recorded = &mut record => { recorded?; break; }
                    Some(more) = asks.next() => done.push_back(more),
                }
            }
        }
    }

    /// The time the specialists have from now on. Runs that go on have the rest of what was planned,
    /// and the first few of them a fair time after an outage.
    async fn collecting(&mut self) -> Result<Duration, WorkError> {
        let config = &self.o.config;
        let now = self.now();
        let after = |span: Duration| {
            now.checked_add(signed(Span(span)))
                .unwrap_or(Timestamp::MAX)
        };
        let collecting = match self.journal().collecting {
            None => Collecting {
                rounds: 1,
                until: after(self.share(config.specialist_timeout.0)),
            },
            Some(before) => {
                let fair = config.resume_least.0.min(config.specialist_timeout.0);
                let is_early = before.rounds <= config.resumes_max;
                let until = if is_early { after(fair) } else { before.until };
                Collecting {
                    rounds: before.rounds.saturating_add(1),
                    until: before.until.max(until),
                }
            }
        };
        self.ledger
            .write(Vec::new(), |journal| journal.collecting = Some(collecting))
            .await?;
        let run = self.cx.remaining().saturating_sub(self.o.config.reserve.0);
        Ok(until(self.o.clock.as_ref(), collecting.until).min(run))
    }

    fn specialist(&self, name: &str) -> Option<Arc<dyn Agent>> {
        let mut all = self.o.specialists.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, agent)| agent.clone())
    }

    async fn record_reply(
        &mut self,
        name: String,
        result: Result<EvidenceReply, String>,
    ) -> Result<(), WorkError> {
        let mut parts = Vec::new();
        let (observations, missing) = match result {
            Ok(mut reply) => {
                self.bound_reply(&mut reply, &name);
                self.progress("collect", &heard(&name, &reply));
                let key = keys::reply(&self.journal().incident, self.journal().generation, &name);
                parts.push(Part::json(key, &reply)?);
                (reply.observations.len(), None)
            }
            Err(why) => {
                self.progress("collect", &format!("nothing from {name}: {why}"));
                tracing::warn!(incident = %self.incident.id, agent = name, why, "a specialist did not answer");
                (0, Some(why))
            }
        };
        let reply = Reply {
            at: self.now(),
            observations,
            missing,
        };
        self.ledger
            .write(parts, |journal| {
                journal.replies.insert(name, reply);
            })
            .await
    }

    /// Cuts a reply to what the store and the report take; what is cut is counted in a gap.
    fn bound_reply(&self, reply: &mut EvidenceReply, name: &str) {
        let config = &self.o.config;
        let gaps = reply.gaps.len();
        reply.gaps.truncate(config.gaps_max);
        let mut room = config.evidence_bytes_max.get();
        let fits = reply
            .observations
            .iter()
            .take(config.observations_max)
            .take_while(|observation| {
                let size = serde_json::to_vec(observation).map_or(usize::MAX, |json| json.len());
                let fits = size <= room;
                room = room.saturating_sub(size);
                fits
            })
            .count();
        let cut = reply.observations.len() - fits;
        reply.observations.truncate(fits);
        let mut gap = |what: String, why: &str| {
            reply.gaps.push(incident::Gap {
                source: name.to_owned(),
                what,
                why: why.to_owned(),
            });
        };
        if cut > 0 {
            gap(
                format!("{cut} further observations"),
                "the reply was larger than observations_max or evidence_bytes_max allows",
            );
        }
        if gaps > config.gaps_max {
            gap(
                format!("{} further gaps", gaps - config.gaps_max),
                "the reply named more than gaps_max allows",
            );
        }
    }
}

/// Specialists without an answer, in order.
fn unheard(journal: &Journal) -> Vec<String> {
    let mut names = journal.specialists.clone();
    names.retain(|name| !journal.replies.contains_key(name));
    names
}

fn heard(name: &str, reply: &EvidenceReply) -> String {
    let commits = reply
        .observations
        .iter()
        .filter(|o| matches!(o.fact, incident::Fact::Change(_)))
        .count();
    let moved = reply
        .observations
        .iter()
        .filter(|o| matches!(&o.fact, incident::Fact::Series(series) if series.moved()))
        .count();
    let mut text = format!(
        "{name} answered: {}",
        count(reply.observations.len(), "fact")
    );
    if commits > 0 {
        text = format!("{text}, {} in the window", count(commits, "commit"));
    }
    if moved > 0 {
        text = format!("{text}, {} moved", count(moved, "metric"));
    }
    text
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The same incident, generation and specialist is the same task, whoever asks and however often.
fn task(journal: &Journal, name: &str, agent: &dyn Agent, input: Value) -> AgentTask {
    let generation = journal.generation.to_string();
    let fields = [journal.incident.as_str(), generation.as_str(), name];
    let skills = &agent.card().skills;
    let skill = skills
        .iter()
        .find(|skill| skill.id.starts_with(SKILL_FAMILY))
        .map_or_else(|| format!("{SKILL_FAMILY}1"), |skill| skill.id.clone());
    AgentTask {
        message_id: MessageId::derive("evidence", fields),
        context: Some(journal.incident.to_string()),
        skill,
        input,
    }
}

async fn ask(
    name: String,
    asked: Option<(Arc<dyn Agent>, AgentTask)>,
    share: Duration,
    cx: Cx,
    entropy: Arc<dyn Entropy>,
) -> (String, Result<EvidenceReply, String>) {
    let Some((agent, task)) = asked else {
        return (name, Err("it is not configured any more".to_owned()));
    };
    let cx = cx.child(share);
    let run = Policy::READ.run(&cx, entropy.as_ref(), || agent.run(task.clone(), &cx));
    let result = match cx.bound(run).await {
        Some(result) => result,
        None => Err(AgentError::Deadline {
            agent: name.clone(),
        }),
    };
    let result = result.map_err(|error| line(&error)).and_then(read);
    (name, result)
}

fn read(outcome: Outcome) -> Result<EvidenceReply, String> {
    match outcome {
        Outcome::Completed { output } => serde_json::from_value(output).map_err(|error| {
            let error = Untrusted::new(error.to_string()).one_line(200);
            format!("its answer cannot be read: {error}")
        }),
        Outcome::InputRequired { .. } => Err("it asks a person, and nobody is there".to_owned()),
    }
}
