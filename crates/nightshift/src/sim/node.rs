//! A node: hook, dispatcher and agents of one process, as the binary wires them, over gated ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use agents::triage::TriageAgent;
use axum::Router;
use dispatcher::Dispatcher;
use hook::{Credentials, Hook};
use incident::Severity;
use incident::ports::{Agent, Clock, Entropy, NoProgress, Notifier, Store, Stream};
use pipelines::Orchestrator;
use runtime::config::Span;
use runtime::telemetry::Metrics;
use runtime::testing::memory::MemoryStream;

use super::breaks::{Break, BrokenStore, BrokenStream};
use super::chance::Chance;
use super::clock::NodeClock;
use super::gate::Gate;
use super::life::Life;
use super::plan::source;
use super::ports::{GatedChannel, GatedForge, GatedStore, GatedStream, Hosted, Link};
use super::specialists;
use super::world::World;

/// One life of one node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) life: Arc<Life>,
    pub(super) router: Router,
    pub(super) hosted: Arc<Hosted>,
}

/// What the parts of a node stand on.
struct Ground {
    gate: Gate,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
    store: Arc<dyn Store>,
}

impl Node {
    /// Starts the node in `place`. `number` counts its lives.
    pub(super) fn start(world: &Arc<World>, place: usize, number: u64) -> Arc<Self> {
        let life = Life::new(place, &world.clock);
        world.watch.note(life.name(), "starts", "", number);
        let gate = Gate {
            world: Arc::clone(world),
            life: Arc::clone(&life),
        };
        let ahead = world.plan.ahead.get(place).copied().unwrap_or_default();
        let own = source::NODES + place as u64 * 1000 + number;
        let broken = BrokenStore::new(world.store.clone(), world.broken, &world.breaks);
        let ground = Ground {
            clock: Arc::new(NodeClock {
                clock: Arc::clone(&world.clock),
                life: Arc::clone(&life),
                ahead,
            }),
            entropy: Arc::new(Chance::new(world.plan.seed, own)),
            metrics: Metrics::new(),
            store: GatedStore::new(gate.clone(), broken),
            gate,
        };
        let hosted = Arc::new(Hosted {
            life: Arc::clone(&life),
            clock: Arc::clone(&ground.clock),
            agents: ground.agents(),
        });
        let agents = hosted.agents.iter();
        let links: Vec<Arc<dyn Agent>> = agents.map(|agent| ground.link(agent.as_ref())).collect();
        let router = ground.hook().router();
        if let [triage, orchestrator, ..] = links.as_slice() {
            ground.dispatcher(triage, orchestrator).start(&life.front);
        }
        Arc::new(Self {
            life,
            router,
            hosted,
        })
    }
}

impl Ground {
    fn link(&self, agent: &dyn Agent) -> Arc<dyn Agent> {
        Link::agent(agent.card().clone(), self.gate.clone())
    }

    fn stream(&self, inner: &MemoryStream) -> Arc<dyn Stream> {
        let world = &self.gate.world;
        let broken = BrokenStream::new(inner.clone(), world.broken, &world.breaks);
        GatedStream::new(self.gate.clone(), broken)
    }

    fn lanes(&self) -> BTreeMap<Severity, Arc<dyn Stream>> {
        let lanes = self.gate.world.work.iter();
        lanes
            .map(|(severity, lane)| (*severity, self.stream(lane)))
            .collect()
    }

    /// Triage, the orchestrator, then the specialists.
    fn agents(&self) -> Vec<Arc<dyn Agent>> {
        let world = &self.gate.world;
        let triage = TriageAgent::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock),
            &self.metrics,
            agents::triage::Config::default(),
        );
        let specialists = specialists::all(&self.gate);
        let notifiers: Vec<Arc<dyn Notifier>> = world
            .channels
            .iter()
            .map(|channel| GatedChannel::notifier(self.gate.clone(), channel))
            .collect();
        let deps = pipelines::Deps {
            store: Arc::clone(&self.store),
            specialists: specialists
                .iter()
                .map(|agent| self.link(agent.as_ref()))
                .collect(),
            forge: Some(GatedForge::forge(self.gate.clone())),
            notifiers,
            approval_key: Some(world.approval_key.clone()),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            metrics: self.metrics.clone(),
        };
        let orchestrator = Orchestrator::new(pipelines::Config::default(), deps);
        let mut agents: Vec<Arc<dyn Agent>> = vec![Arc::new(triage), Arc::new(orchestrator)];
        agents.extend(specialists);
        agents
    }

    fn hook(&self) -> Hook {
        let world = &self.gate.world;
        let config = hook::Config::default();
        let credentials =
            Credentials::read(&config, "hook").expect("loopback needs no credentials");
        let events = self.stream(&world.events);
        let deps = hook::Deps {
            events: if world.broken == Some(Break::OkAnyway) {
                super::breaks::ok_anyway(events)
            } else {
                events
            },
            work: self.lanes(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            credentials,
            approval_key: Some(world.approval_key.clone()),
            ready: Arc::new(|| Box::pin(async { Ok(()) })),
            render_html: pipelines::render::html,
            drain: self.gate.life.front.shutdown().drain.clone(),
            alertmanager: None,
            capacity: hook::Capacity {
                work: 4,
                triage: 2,
                work_max: None,
            },
        };
        Hook::new(config, deps)
    }

    fn dispatcher(&self, triage: &Arc<dyn Agent>, orchestrator: &Arc<dyn Agent>) -> Dispatcher {
        let deps = dispatcher::Deps {
            events: self.stream(&self.gate.world.events),
            store: Arc::clone(&self.store),
            work: self.lanes(),
            triage: Arc::clone(triage),
            orchestrator: Arc::clone(orchestrator),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            metrics: self.metrics.clone(),
            progress: Arc::new(NoProgress),
        };
        Dispatcher::new(config(), deps)
    }
}

/// The product's defaults, but for what only makes a simulated night long: idle polls and the longest
/// waits.
fn config() -> dispatcher::Config {
    let mut config = dispatcher::Config::default();
    config.triage.batch_max = 8;
    config.triage.batch_wait = Span::secs(60);
    config.work.poll = Span::secs(12);
    config.backlog_every = Span::secs(600);
    config.retry.wait_max = Span::secs(40);
    config.retry.unreachable_max = Span::secs(60);
    config
}
