//! The triage agent: decides what each alert event is. Code, no model.
//!
//! For every event it gives exactly one ruling, with the rule that fired and what it was based on,
//! and the work that follows: an investigation for an incident that opens (again), a closing for one
//! whose last alert resolved. The rules are the table in `rules`, asked in order.
//!
//! What holds, and what the tests show:
//! - Everything that follows from one event is written in one piece. The same event again gets the
//!   same ruling and the same work again, so a crash after the write loses nothing.
//! - The events of a request are looked at in the order in which they happened, so their order in
//!   the request does not matter. Each alert's newest state wins whatever came first, and an alert
//!   is never made to fire again by its own past.
//! - Dispatchers that work on one owner at once conflict on one key and look again; they never open
//!   two incidents for one cause.
//! - An alert counts by its own status. A truncated group may claim that all is resolved while
//!   alerts that were cut off fire; those neither keep an incident open (they mostly belong to other
//!   owners) nor are they believed resolved: the incident carries their number, and one that shows
//!   up later opens the incident again.
//! - When a more severe alert joins, the incident's severity grows (it never shrinks) and the same
//!   investigation is called for once more in the more urgent lane, because the first call may still
//!   be waiting in the other one. The orchestrator finds what was done in its journal.
//!
//! Never: a call to anything but the store, a decision from free text, an incident named by a clock.

mod config;
mod desk;
mod error;
mod ledger;
mod names;
mod owner;
mod rules;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use incident::digest::Digest;
use incident::error::Classify as _;
use incident::message::{TriageReply, TriageRequest, agent};
use incident::ports::{Agent, AgentCard, AgentError, AgentTask, Clock, Cx, Outcome, Skill, Store};
use incident::{AlertEvent, Disposition, EventKey, Ruling, Untrusted, WorkItem};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use runtime::telemetry::Metrics;
use runtime::{Policy, SeededEntropy};

pub use config::Config;
pub use error::TriageError;

use desk::Ruled;
use ledger::Ledger;
use owner::Owner;
use state::Change;

/// The skill, and the schema of its input.
pub const SKILL: &str = "triage/1";

/// Rules on alert events.
#[derive(Debug)]
pub struct TriageAgent {
    card: AgentCard,
    ledger: Ledger,
    dispositions: Family<Labels, Counter>,
    again: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    disposition: &'static str,
    rule: String,
}

impl TriageAgent {
    /// Keeps its state in `store`.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
        config: Config,
    ) -> Self {
        let skill = Skill {
            id: SKILL.to_owned(),
            name: String::from("Triage"),
            description: String::from("Rules on alert events and names the work that follows."),
        };
        let card = AgentCard {
            name: agent::TRIAGE.to_owned(),
            description: String::from("Decides what each alert event is, by rules in code."),
            skills: vec![skill],
        };
        let dispositions = metrics.register(
            "dispositions",
            "Alert events by what was decided for them and the rule that decided",
            Family::default(),
        );
        let again = metrics.register(
            "triage_events_ruled_before",
            "Alert events that came again after they had been ruled on",
            Counter::default(),
        );
        Self {
            card,
            ledger: Ledger {
                store,
                clock,
                config,
            },
            dispositions,
            again,
        }
    }

    async fn handle(&self, task: &AgentTask, cx: &Cx) -> Result<TriageReply, TriageError> {
        let request = self.read(task)?;
        let mut rulings: BTreeMap<EventKey, Ruled> = BTreeMap::new();
        let mut owners: BTreeMap<Owner, Vec<&AlertEvent>> = BTreeMap::new();
        for event in &request.events {
            match check_fingerprint(event) {
                Ok(()) => {
                    let owner = owner::of(event, &self.ledger.config);
                    owners.entry(owner).or_default().push(event);
                }
                Err(error) => {
                    let ruled = self.reject(event, &error);
                    rulings.insert(event.key.clone(), ruled);
                }
            }
        }
        // Two spellings of one owner (a pod here, its deployment there) are one correlation.
        let mut spellings: BTreeMap<String, (Owner, Vec<&AlertEvent>)> = BTreeMap::new();
        for (owner, events) in owners {
            let key = owner.correlation.clone();
            spellings
                .entry(key)
                .or_insert((owner, Vec::new()))
                .1
                .extend(events);
        }
        let entropy = seed(task);
        for (owner, mut events) in spellings.into_values() {
            events.sort_by_key(|event| (Change::of(event), &event.fingerprint, &event.key));
            events.dedup_by_key(|event| &event.key);
            for chunk in events.chunks(config::CHUNK) {
                let op = || self.ledger.rule(&owner, chunk);
                let page = Policy::CONFLICT.run(cx, &entropy, op).await?;
                self.count(&page.ruled, &page.fresh);
                rulings.extend(page.ruled);
            }
        }
        Ok(reply(&request, &rulings))
    }

    fn read(&self, task: &AgentTask) -> Result<TriageRequest, TriageError> {
        if task.skill != SKILL {
            let skill = Untrusted::new(&*task.skill).one_line(60);
            return Err(TriageError::Skill(skill));
        }
        let request: TriageRequest = serde::Deserialize::deserialize(&task.input)
            .map_err(|error: serde_json::Error| TriageError::Input(error.to_string()))?;
        let (events, max) = (request.events.len(), self.ledger.config.events_max);
        if events > max {
            return Err(TriageError::Size { events, max });
        }
        for event in &request.events {
            check_name("event key", event.key.as_str())?;
        }
        Ok(request)
    }

    /// A ruling that is not stored: there is nothing to be found under a name that is none.
    fn reject(&self, event: &AlertEvent, error: &TriageError) -> Ruled {
        let disposition = Disposition::Rejected {
            reason: error.to_string(),
        };
        let rule = String::from("malformed");
        let labels = Labels {
            disposition: disposition.label(),
            rule: rule.clone(),
        };
        self.dispositions.get_or_create(&labels).inc();
        let ruling = Ruling {
            event: event.key.clone(),
            fingerprint: event.fingerprint.clone(),
            alert: Untrusted::new(event.name()).one_line(120),
            disposition,
            rule,
            based_on: BTreeMap::from([(String::from("code"), error.code().to_string())]),
            at: self.ledger.clock.now(),
        };
        Ruled {
            ruling,
            work: Vec::new(),
        }
    }

    fn count(&self, ruled: &BTreeMap<EventKey, Ruled>, fresh: &BTreeSet<EventKey>) {
        for (key, ruled) in ruled {
            if !fresh.contains(key) {
                self.again.inc();
                continue;
            }
            let (disposition, rule) = (ruled.ruling.disposition.label(), ruled.ruling.rule.clone());
            self.dispositions
                .get_or_create(&Labels { disposition, rule })
                .inc();
            let incident = ruled.ruling.disposition.incident();
            tracing::info!(
                event = %key,
                alert = ruled.ruling.alert,
                disposition,
                rule = ruled.ruling.rule,
                incident = incident.map(tracing::field::display),
                "ruled on an alert event"
            );
        }
    }

    fn error(&self, error: &TriageError) -> AgentError {
        let (agent, why) = (self.card.name.clone(), format!("{}: {error}", error.code()));
        match error.kind() {
            incident::Kind::Permanent => AgentError::Refused { agent, why },
            _ => AgentError::Failed { agent, why },
        }
    }
}

#[async_trait]
impl Agent for TriageAgent {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let agent = || self.card.name.clone();
        let Some(result) = cx.bound(self.handle(&task, cx)).await else {
            return Err(if cx.cancel.is_cancelled() {
                AgentError::Cancelled { agent: agent() }
            } else {
                AgentError::Deadline { agent: agent() }
            });
        };
        let reply = result.map_err(|error| self.error(&error))?;
        let output = serde_json::to_value(reply).map_err(|error| AgentError::Failed {
            agent: agent(),
            why: error.to_string(),
        })?;
        Ok(Outcome::Completed { output })
    }
}

fn reply(request: &TriageRequest, ruled: &BTreeMap<EventKey, Ruled>) -> TriageReply {
    let of = |event: &AlertEvent| ruled.get(&event.key).expect("every event was ruled on");
    // Alerts of several severities may have called for the same work: the most urgent call is enough.
    let mut work: BTreeMap<Digest, WorkItem> = BTreeMap::new();
    for item in request.events.iter().flat_map(|event| &of(event).work) {
        let known = work.entry(item.key()).or_insert_with(|| item.clone());
        known.severity = known.severity.max(item.severity);
    }
    let mut work: Vec<WorkItem> = work.into_values().collect();
    work.sort_by_key(|item| (item.incident.clone(), item.generation, item.step.clone()));
    TriageReply {
        rulings: request
            .events
            .iter()
            .map(|event| of(event).ruling.clone())
            .collect(),
        work,
    }
}

/// Waits after conflicts differ from task to task and are the same for the same task.
fn seed(task: &AgentTask) -> SeededEntropy {
    let digest = Digest::of(task.message_id.as_str().as_bytes());
    SeededEntropy::new(u64::from_str_radix(digest.short(16), 16).unwrap_or_default())
}

fn check_fingerprint(event: &AlertEvent) -> Result<(), TriageError> {
    check_name("fingerprint", event.fingerprint.as_str())
}

/// Names of events and alerts become parts of keys.
fn check_name(field: &'static str, value: &str) -> Result<(), TriageError> {
    let hex = value
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex && (1..=64).contains(&value.len()) {
        return Ok(());
    }
    Err(TriageError::Name {
        field,
        value: Untrusted::new(value).one_line(80),
    })
}
