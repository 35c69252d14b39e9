//! Specialists whose world is the plan: they find a commit to blame where the plan has one.

use std::sync::Arc;

use async_trait::async_trait;
use incident::evidence::Observation;
use incident::message::{EvidenceReply, EvidenceRequest, agent};
use incident::ports::{Agent, AgentCard, AgentError, AgentTask, Cx, Outcome, Skill};
use incident::{Change, Fact, FileChange, Series, SeriesRole, Untrusted};
use jiff::{SignedDuration, Timestamp};

use super::gate::{Fate, Gate};

/// Seconds between two points of a series, and how many points lie before and after the start.
const STEP_S: i64 = 60;
const POINTS: (i64, i64) = (-5, 2);

/// One specialist at one node.
#[derive(Debug)]
struct Specialist {
    card: AgentCard,
    gate: Gate,
}

/// The specialists of a node, in the order that numbers the evidence.
pub(super) fn all(gate: &Gate) -> Vec<Arc<dyn Agent>> {
    let names = [agent::OBSERVABILITY, agent::GIT];
    let specialist = |name| -> Arc<dyn Agent> {
        Arc::new(Specialist {
            card: card(name),
            gate: gate.clone(),
        })
    };
    names.into_iter().map(specialist).collect()
}

/// What a specialist says of itself.
pub(super) fn card(name: &str) -> AgentCard {
    AgentCard {
        name: name.to_owned(),
        description: String::from("Observes."),
        skills: vec![Skill {
            id: String::from("evidence/1"),
            name: String::from("Evidence"),
            description: String::from("Observes."),
        }],
    }
}

#[async_trait]
impl Agent for Specialist {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let agent = || self.card.name.clone();
        let request: EvidenceRequest =
            serde_json::from_value(task.input).map_err(|error| AgentError::Refused {
                agent: agent(),
                why: error.to_string(),
            })?;
        let Some(fate) = cx.bound(self.gate.before("observe", &self.card.name)).await else {
            return Err(AgentError::Deadline { agent: agent() });
        };
        if fate == Fate::Refused {
            return Err(AgentError::Failed {
                agent: agent(),
                why: String::from("it is broken"),
            });
        }
        let observations = if self.card.name == agent::GIT {
            self.changes(&request)
        } else {
            series(&request)
        };
        let reply = EvidenceReply {
            observations,
            gaps: Vec::new(),
        };
        let output = serde_json::to_value(&reply).map_err(|error| AgentError::Failed {
            agent: agent(),
            why: error.to_string(),
        })?;
        Ok(Outcome::Completed { output })
    }
}

fn at(request: &EvidenceRequest, seconds: i64) -> Timestamp {
    let at = request
        .fired_at
        .checked_add(SignedDuration::from_secs(seconds));
    at.unwrap_or(request.fired_at)
}

fn observed(request: &EvidenceRequest, source: &str, query: String, fact: Fact) -> Observation {
    Observation {
        source: source.to_owned(),
        summary: format!("{query} was looked at."),
        query,
        window: request.window,
        cluster: None,
        fact,
        link: None,
    }
}

/// Errors and saturation that rise shortly before the alert.
fn series(request: &EvidenceRequest) -> Vec<Observation> {
    let onset = at(request, -120);
    let of = |role, name: &str, unit: &str, before: f64, after: f64| {
        let points = (POINTS.0..POINTS.1)
            .map(|step| {
                let at = at(request, step * STEP_S);
                (at, if at >= onset { after } else { before })
            })
            .collect();
        let series = Series {
            role,
            name: Untrusted::new(name),
            unit: unit.to_owned(),
            points,
            threshold: None,
            onset: Some(onset),
            before: Some(before),
            after: Some(after),
            score: 24.0,
        };
        observed(
            request,
            agent::OBSERVABILITY,
            name.to_owned(),
            Fact::Series(series),
        )
    };
    vec![
        of(
            SeriesRole::Errors,
            "http_requests_failed_ratio",
            "ratio",
            0.002,
            0.31,
        ),
        of(
            SeriesRole::Saturation,
            "db_pool_in_use_ratio",
            "ratio",
            0.3,
            1.0,
        ),
    ]
}

impl Specialist {
    /// The commit that empties the service's pool, where there is one.
    fn changes(&self, request: &EvidenceRequest) -> Vec<Observation> {
        let service = request.incident.subject.name.expose();
        let mut causes = self.gate.world.plan.causes.iter().enumerate();
        let cause = causes.find(|(_, cause)| cause.service == service);
        let Some((number, _)) = cause.filter(|(_, cause)| cause.has_culprit) else {
            return Vec::new();
        };
        let change = Change {
            repository: String::from("shop"),
            commit: format!("{:040x}", number + 0xbad0),
            parents: vec!["0".repeat(40)],
            author: Untrusted::new("Robin"),
            at: at(request, -180),
            subject: Untrusted::new("Tidy the settings"),
            body: Untrusted::default(),
            files: vec![FileChange {
                path: Untrusted::new(format!("services/{service}/settings.toml")),
                added: Some(1),
                removed: Some(1),
                diff: Untrusted::new(
                    "@@ -3,3 +3,3 @@ [database]\n [database]\n-pool_size = 50\n+pool_size = 5\n timeout_ms = 500\n",
                ),
            }],
            files_left_out: 0,
            services: vec![service.to_owned()],
        };
        let query = format!("git show {}", change.commit);
        vec![observed(request, agent::GIT, query, Fact::Change(change))]
    }
}
