//! What every role of a process stands on.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use bus::Bus;
use incident::ports::{Agent, Clock, Entropy, Stream};
use incident::{Severity, keys};
use runtime::Supervisor;
use runtime::telemetry::Metrics;

use crate::config::Config;

/// What every role of a process stands on.
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) metrics: Metrics,
    /// Owns what takes work in: webhook, dispatcher.
    pub(super) front: Supervisor,
    /// Owns what works: agents and the bus.
    pub(super) back: Supervisor,
    pub(super) bus: Bus,
    /// Names this process among the readers of a stream.
    pub(super) consumer: String,
    /// Where the agents are found.
    pub(super) agents_url: String,
}

impl Ground {
    /// A stream as this process reads it.
    pub(super) async fn stream(&self, name: &str) -> Result<Arc<dyn Stream>> {
        Ok(self.bus.stream(name, &self.consumer).await?)
    }

    /// The work lanes.
    pub(super) async fn lanes(&self) -> Result<BTreeMap<Severity, Arc<dyn Stream>>> {
        let mut lanes = BTreeMap::new();
        for severity in Severity::ALL {
            lanes.insert(severity, self.stream(&keys::work(severity)).await?);
        }
        Ok(lanes)
    }

    /// An agent behind A2A, in this process or another.
    pub(super) fn remote(&self, name: &str) -> Result<Arc<dyn Agent>> {
        let http = runtime::http::client(self.config.a2a.execution_max.0)?;
        let token = self.config.agent_token()?;
        let entropy = self.entropy.clone();
        Ok(Arc::new(a2a::RemoteAgent::new(
            &self.agents_url,
            name,
            http,
            token,
            entropy,
            &self.config.a2a,
        )))
    }
}
