//! A triage agent over a store in memory, and a small language for alert events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use incident::ports::{Clock, Entropy as _, Expect, Fence, Put, StoreError, Versioned};
use jiff::Timestamp;
use runtime::testing::TestClock;
use runtime::testing::memory::MemoryStore;

use super::super::*;
use incident::{AlertStatus, Fingerprint, GroupKey, Incident, IncidentId, MessageId, keys};

pub(super) const T0: &str = "2026-11-20T10:00:00Z";

/// `minutes` after [`T0`].
pub(super) fn at(minutes: f64) -> Timestamp {
    let millis = Duration::from_secs_f64(minutes.abs() * 60.0);
    let t0: Timestamp = T0.parse().unwrap();
    if minutes < 0.0 {
        t0 - millis
    } else {
        t0 + millis
    }
}

/// Reads `firing Errors pod=checkout-7d9c5b6f4-x2x7p from=0`, with `to=5` for a resolved one. Other
/// words become labels, except `group=`, `truncated=` and `received=`.
pub(super) fn event(line: &str) -> AlertEvent {
    let mut words = line.split_whitespace();
    let status = match words.next().unwrap() {
        "firing" => AlertStatus::Firing,
        "resolved" => AlertStatus::Resolved,
        other => panic!("no such status: {other}"),
    };
    let name = words.next().unwrap();
    let mut labels = BTreeMap::from([(String::from("alertname"), Untrusted::new(name))]);
    let (mut from, mut to, mut truncated, mut received) = (at(0.0), None, 0, at(0.0));
    let mut group = format!("{{}}:{{alertname={name}}}");
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        match key {
            "from" => from = at(value.parse().unwrap()),
            "to" => to = Some(at(value.parse().unwrap())),
            "received" => received = at(value.parse().unwrap()),
            "group" => group = value.to_owned(),
            "truncated" => truncated = value.parse().unwrap(),
            _ => {
                labels.insert(key.to_owned(), Untrusted::new(value));
            }
        }
    }
    let flat = labels
        .iter()
        .flat_map(|(name, value)| [name.as_str(), value.expose()]);
    let fingerprint = Fingerprint::from_stored(Digest::of_fields("labels", flat).short(16));
    let group_key = GroupKey::from_stored(group);
    let key = EventKey::derive(&group_key, &fingerprint, &from.to_string(), status.as_str());
    AlertEvent {
        key,
        group_key,
        fingerprint,
        status,
        labels,
        annotations: BTreeMap::new(),
        starts_at: from,
        ends_at: to,
        generator_url: Untrusted::new("http://prometheus.example/graph?g0.expr=up"),
        receiver: Untrusted::new("nightshift"),
        external_url: Untrusted::new("http://alertmanager.example"),
        truncated,
        received_at: received,
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) store: Arc<Rough>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) agent: TriageAgent,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Config::default(), None)
    }

    pub(super) fn with(config: Config, chance: Option<(u64, f64)>) -> Self {
        let clock: Arc<dyn Clock> = TestClock::at(at(0.0));
        let store = Arc::new(Rough {
            inner: MemoryStore::new(clock.clone()),
            chance: chance.map(|(seed, _)| SeededEntropy::new(seed)),
            faults: chance.map_or(0.0, |(_, faults)| faults),
        });
        let metrics = Metrics::new();
        let agent = TriageAgent::new(store.clone(), clock.clone(), &metrics, config);
        Self {
            store,
            clock,
            metrics,
            agent,
        }
    }

    /// A second agent on the same store.
    pub(super) fn replica(&self) -> TriageAgent {
        let config = self.agent.ledger.config.clone();
        TriageAgent::new(
            self.store.clone(),
            self.clock.clone(),
            &Metrics::new(),
            config,
        )
    }

    pub(super) async fn send(&self, events: &[AlertEvent]) -> TriageReply {
        send(&self.agent, &self.clock, events).await.unwrap()
    }

    pub(super) async fn incidents(&self) -> BTreeMap<IncidentId, Incident> {
        let all = self
            .store
            .inner
            .list(keys::INCIDENTS, None, 10_000)
            .await
            .unwrap();
        let read = |value: &[u8]| serde_json::from_slice::<Incident>(value).unwrap();
        all.iter()
            .map(|(_, stored)| read(&stored.value))
            .map(|i| (i.id.clone(), i))
            .collect()
    }

    /// Everything stored, to see that nothing changed.
    pub(super) async fn dump(&self) -> Vec<(String, Versioned)> {
        self.store.inner.list("", None, 100_000).await.unwrap()
    }
}

pub(super) fn task(events: &[AlertEvent]) -> AgentTask {
    let keys = events.iter().map(|event| event.key.as_str());
    AgentTask {
        message_id: MessageId::derive("triage", keys),
        context: None,
        skill: SKILL.to_owned(),
        input: serde_json::to_value(TriageRequest {
            events: events.to_vec(),
        })
        .unwrap(),
    }
}

pub(super) async fn send(
    agent: &TriageAgent,
    clock: &Arc<dyn Clock>,
    events: &[AlertEvent],
) -> Result<TriageReply, AgentError> {
    let cx = Cx::root(clock.clone(), Duration::from_secs(30), "0".repeat(32));
    match agent.run(task(events), &cx).await? {
        Outcome::Completed { output } => Ok(serde_json::from_value(output).unwrap()),
        other @ Outcome::InputRequired { .. } => panic!("triage never asks: {other:?}"),
    }
}

/// A store that lets others in between calls, and whose writes fail now and then: before they were
/// done, or after (the answer is lost).
#[derive(Debug)]
pub(super) struct Rough {
    pub(super) inner: MemoryStore,
    pub(super) chance: Option<SeededEntropy>,
    pub(super) faults: f64,
}

impl Rough {
    async fn pause(&self) {
        let Some(chance) = &self.chance else { return };
        while chance.unit() < 0.5 {
            tokio::task::yield_now().await;
        }
    }

    fn fails(&self) -> Result<(), StoreError> {
        match &self.chance {
            Some(chance) if chance.unit() < self.faults => {
                Err(StoreError::Unavailable(String::from("made up")))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Rough {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.pause().await;
        self.fails()?;
        self.inner.get(key).await
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        Ok(self.put_all(vec![put]).await?[0])
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        self.pause().await;
        self.fails()?;
        let versions = self.inner.put_all(puts).await?;
        self.fails()?;
        Ok(versions)
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.inner.delete(key, expect).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        self.inner.fence(name).await
    }
}
