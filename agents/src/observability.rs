//! The observability-agent: what a Prometheus says about an incident, and when it began to say it.
//!
//! For: the alert's own expression, and the error, latency, traffic and saturation series of the
//! service it is about, each with its onset and its levels before and after.
//!
//! Never: a write, a guess in place of a measurement, an error for the whole because one question
//! failed. What could not be had is a named gap. The alert's expression is somebody else's text; it
//! is sent to the configured Prometheus as a query under limits and used for nothing else.

mod catalog;
mod collect;
mod config;
mod describe;
mod onset;
mod plan;
mod prometheus;
mod promql;
mod stats;
mod subject;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use incident::message::{EvidenceReply, EvidenceRequest, agent};
use incident::ports::{
    Agent, AgentCard, AgentError, AgentTask, Clock, Cx, Entropy, Outcome, Skill,
};
use incident::{Classify, Code, Kind};

pub use config::Config;

use crate::specialist::Tasks;
use collect::{Collector, explain, gap};
use prometheus::Prometheus;

/// The skill this agent has.
pub use crate::specialist::SKILL;

/// Time kept back to hand in what there is when the deadline comes.
const RESERVE_MAX: Duration = Duration::from_millis(750);

/// The agent cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No CA certificates, most likely.
    #[error("the HTTP client for Prometheus cannot be set up: {0}; install CA certificates")]
    Client(#[source] reqwest::Error),
    /// An address that is none.
    #[error("agents.observability.{field}: {what}")]
    Address {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

impl Classify for SetupError {
    fn kind(&self) -> Kind {
        Kind::Permanent
    }

    fn code(&self) -> Code {
        Code("E-OBS-010")
    }
}

/// Reads metrics for an investigation.
pub struct ObservabilityAgent {
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    http: reqwest::Client,
    card: AgentCard,
    tasks: Tasks,
}

impl fmt::Debug for ObservabilityAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservabilityAgent")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ObservabilityAgent {
    /// An agent that reads the configured Prometheus; nothing is asked before the first task.
    ///
    /// # Errors
    /// An address in `config` is none, or TLS cannot be set up.
    pub fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SetupError> {
        for (field, url) in [
            ("prometheus_url", &config.prometheus_url),
            ("link_url", &config.link_url),
        ] {
            if let Some(what) = url.as_deref().and_then(config::url_problem) {
                return Err(SetupError::Address { field, what });
            }
        }
        let http = runtime::http::client(config.request_timeout.0).map_err(SetupError::Client)?;
        let tasks = Tasks::new(agent::OBSERVABILITY, config.tasks_kept);
        Ok(Self {
            config,
            clock,
            entropy,
            http,
            card: card(),
            tasks,
        })
    }

    /// Everything that can be had before the deadline. Never fails as a whole.
    async fn evidence(&self, request: &EvidenceRequest, cx: &Cx) -> EvidenceReply {
        let started = self.clock.elapsed();
        let remaining = cx.remaining();
        let reserve = RESERVE_MAX.min(remaining / 10);
        let cx = cx.child(remaining.saturating_sub(reserve));
        let opened = Prometheus::open(&self.config, &self.http, self.entropy.as_ref()).await;
        let prometheus = match opened {
            Ok(prometheus) => prometheus,
            Err(error) => {
                return EvidenceReply {
                    observations: Vec::new(),
                    gaps: vec![gap("metrics".to_owned(), explain(&error))],
                };
            }
        };
        let collector = Collector {
            config: &self.config,
            prometheus: &prometheus,
            request,
            cx: &cx,
            gaps: Vec::new(),
        };
        let reply = collector.collect().await;
        tracing::info!(
            incident = %request.incident.id,
            observations = reply.observations.len(),
            gaps = reply.gaps.len(),
            took_ms = self.clock.elapsed().saturating_sub(started).as_millis(),
            "metrics were read"
        );
        reply
    }
}

#[async_trait]
impl Agent for ObservabilityAgent {
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
        name: agent::OBSERVABILITY.to_owned(),
        description: "Reads metrics around the onset of an incident; changes nothing.".to_owned(),
        skills: vec![Skill {
            id: SKILL.to_owned(),
            name: "Metric evidence".to_owned(),
            description: "The alert's expression and the error, latency, traffic and saturation \
                series of its subject, each with its onset."
                .to_owned(),
        }],
    }
}

/// Where links for people lead.
fn link_base(config: &Config) -> Option<reqwest::Url> {
    let text = config
        .link_url
        .as_ref()
        .or(config.prometheus_url.as_ref())?;
    reqwest::Url::parse(text).ok()
}
