//! The dispatcher as a service: what it needs, what it starts, how it leaves.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use incident::Severity;
use incident::ports::{Agent, Cancel as _, Clock, Entropy, Progress, Store, Stream};
use runtime::backlog::Gauges;
use runtime::slots::{Rules, Slots};
use runtime::telemetry::Metrics;
use runtime::{Shutdown, Supervisor, TaskKind};

use crate::breaker::Breaker;
use crate::config::Config;
use crate::metrics::Figures;
use crate::pace::Paces;

/// What the dispatcher works with.
#[derive(Debug, Clone)]
pub struct Deps {
    /// `incident:events`.
    pub events: Arc<dyn Stream>,
    /// `incident:work:{lane}`; one for each severity.
    pub work: BTreeMap<Severity, Arc<dyn Stream>>,
    /// How long work takes is kept here.
    pub store: Arc<dyn Store>,
    /// Rules on events.
    pub triage: Arc<dyn Agent>,
    /// Does the work.
    pub orchestrator: Arc<dyn Agent>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Where figures go.
    pub metrics: Metrics,
    /// Where progress of the agents is told.
    pub progress: Arc<dyn Progress>,
}

/// Carries events to triage and work to the orchestrator. A clone is another handle.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    config: Config,
    deps: Deps,
    figures: Figures,
}

impl Dispatcher {
    /// Does nothing until it is started.
    pub fn new(config: Config, deps: Deps) -> Self {
        let figures = Figures::new(&deps.metrics);
        Self {
            config,
            deps,
            figures,
        }
    }

    /// Starts both hops and the measuring of backlogs under `supervisor`, and returns.
    ///
    /// They stop claiming at its drain stage. What runs may finish within the configured grace; the
    /// rest is called off and given back, so that another process takes it at once. At the abort
    /// stage everything is dropped, and comes back when its leases end.
    pub fn start(&self, supervisor: &Supervisor) {
        let deps = self.deps.clone();
        let breaker = |agent: &Arc<dyn Agent>| {
            let (clock, entropy) = (Arc::clone(&deps.clock), Arc::clone(&deps.entropy));
            let rules = &self.config.breaker;
            Breaker::new(
                &agent.card().name,
                rules,
                clock,
                entropy,
                self.figures.clone(),
            )
        };
        let inner = Arc::new(Inner {
            slots: self.slots(),
            triage_breaker: breaker(&deps.triage),
            orchestrator_breaker: breaker(&deps.orchestrator),
            suspects: AtomicUsize::new(0),
            config: self.config.clone(),
            events: deps.events,
            work: deps.work,
            triage: deps.triage,
            orchestrator: deps.orchestrator,
            clock: deps.clock,
            entropy: deps.entropy,
            progress: deps.progress,
            figures: self.figures.clone(),
            shutdown: supervisor.shutdown().clone(),
            leaving_since: OnceLock::new(),
            ages: Mutex::default(),
            store: deps.store,
            gauges: Gauges::new(&deps.metrics),
            paces: Paces::default(),
        });
        let (events, work, gauges) = (Arc::clone(&inner), Arc::clone(&inner), inner);
        let (for_events, for_work) = (supervisor.clone(), supervisor.clone());
        supervisor.spawn(TaskKind::Service, "dispatch-events", async move {
            events.serve_events(&for_events).await;
        });
        supervisor.spawn(TaskKind::Service, "dispatch-work", async move {
            work.serve_work(&for_work).await;
        });
        supervisor.spawn(TaskKind::Service, "dispatch-backlog", async move {
            gauges.serve_gauges().await;
        });
    }
}

impl Dispatcher {
    /// The slots that all processes share; none if their number is not limited.
    fn slots(&self) -> Option<Slots> {
        let work = &self.config.work;
        let rules = Rules::new(work.investigations_max, work.reserved_for_critical);
        let deps = &self.deps;
        (work.investigations_max > 0).then(|| {
            Slots::new(
                "investigations",
                rules,
                Arc::clone(&deps.store),
                Arc::clone(&deps.clock),
                Arc::clone(&deps.entropy),
            )
        })
    }
}

/// What every task of the dispatcher shares.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) slots: Option<Slots>,
    pub(crate) triage_breaker: Arc<Breaker>,
    pub(crate) orchestrator_breaker: Arc<Breaker>,
    /// Pieces of work that run now and may take the process down.
    pub(crate) suspects: AtomicUsize,
    pub(crate) events: Arc<dyn Stream>,
    pub(crate) work: BTreeMap<Severity, Arc<dyn Stream>>,
    pub(crate) triage: Arc<dyn Agent>,
    pub(crate) orchestrator: Arc<dyn Agent>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) figures: Figures,
    pub(crate) shutdown: Shutdown,
    leaving_since: OnceLock<Duration>,
    /// Age of the oldest entry of each lane, as last measured.
    pub(crate) ages: Mutex<BTreeMap<Severity, Duration>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) gauges: Gauges,
    pub(crate) paces: Paces,
}

impl Inner {
    /// Whether a shutdown started.
    pub(crate) fn is_leaving(&self) -> bool {
        self.shutdown.drain.is_cancelled()
    }

    /// Completes when the grace for running work is over.
    pub(crate) async fn left(&self) {
        self.shutdown.drain.wait().await;
        let since = *self.leaving_since.get_or_init(|| self.clock.elapsed());
        let over = since.saturating_add(self.config.grace.0);
        self.clock
            .sleep(over.saturating_sub(self.clock.elapsed()))
            .await;
    }

    /// Waits, but not beyond the start of a shutdown; false if it started.
    pub(crate) async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.drain.wait() => false,
            () = self.clock.sleep(wait) => true,
        }
    }
}
