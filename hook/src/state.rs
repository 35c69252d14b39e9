//! What the handlers share, and which path leads to which.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use incident::ports::{Clock, Cx};
use incident::{ApprovalKey, Report, Severity, Store, Stream};
use jiff::Timestamp;
use runtime::alertmanager::Alertmanager;
use runtime::backlog::Gauges;
use runtime::config::Span;
use runtime::telemetry::Metrics;
use runtime::{CancelToken, Supervisor, TaskKind};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::credentials::Credentials;
use crate::health::LastProbe;
use crate::metrics::Counts;
use crate::reconcile::{CutShort, Reconciler};
use crate::{api, gate, health, webhook};

/// Finds out whether an alert sent now would be stored, by storing something.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;
/// Renders a report as one self-contained page, with everything in it escaped.
pub type RenderHtml = fn(&Report) -> String;

/// What the hook stands on.
#[derive(Clone)]
pub struct Deps {
    /// `incident:events`.
    pub events: Arc<dyn Stream>,
    /// `incident:work:*`, for decisions and the backlog.
    pub work: BTreeMap<Severity, Arc<dyn Stream>>,
    /// Incidents, reports, rulings, decisions.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where the hook counts, and what `/metrics` shows.
    pub metrics: Metrics,
    /// Who may call.
    pub credentials: Credentials,
    /// Verifies decisions; without it none are taken.
    pub approval_key: Option<ApprovalKey>,
    /// Behind `/readyz`.
    pub ready: Probe,
    /// Behind `/incidents/{id}`.
    pub render_html: RenderHtml,
    /// From then on the hook is not ready and takes nothing new.
    pub drain: CancelToken,
    /// Whose own view is compared with what is stored; none turns that off.
    pub alertmanager: Option<Alertmanager>,
    /// What the dispatchers can do, for the number of them that is asked for.
    pub capacity: Capacity,
}

/// What the dispatchers can do. It stands in their part of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Pieces of work that one dispatcher does at once.
    pub work: usize,
    /// Batches of events that one dispatcher brings to triage at once.
    pub triage: usize,
    /// Pieces of work that the agents can do at once, however many dispatchers there are.
    pub work_max: Option<usize>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps")
            .field("events", &self.events)
            .field("work", &self.work)
            .field("store", &self.store)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

struct Inner {
    config: Config,
    deps: Deps,
    counts: Counts,
    permits: Arc<Semaphore>,
    last_probe: Mutex<LastProbe>,
    cut_short: CutShort,
}

/// The hook; cheap to clone.
#[derive(Clone)]
pub struct Hook(Arc<Inner>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook({:?})", self.0.deps)
    }
}

impl Hook {
    /// A hook that has registered its metrics and serves nothing yet.
    pub fn new(config: Config, deps: Deps) -> Self {
        let permits = usize::try_from(config.requests_max).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            counts: Counts::new(&deps.metrics),
            permits: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            last_probe: Mutex::new(None),
            cut_short: CutShort::default(),
            config,
            deps,
        }))
    }

    /// Starts what the hook does by itself, under `supervisor`: measuring the backlog, and comparing
    /// Alertmanager's own view with what is stored. Both end at the drain stage.
    pub fn start(&self, supervisor: &Supervisor) {
        let gauges = Gauges::new(&self.0.deps.metrics);
        let drain = supervisor.shutdown().drain.clone();
        let measuring = api::backlog::serve_gauges(self.clone(), gauges, drain);
        supervisor.spawn(TaskKind::Work, "backlog", measuring);
        let Some(alertmanager) = self.0.deps.alertmanager.clone() else {
            tracing::info!(
                "alertmanager.urls is empty: an alert whose notification is lost stays unknown"
            );
            return;
        };
        let drain = supervisor.shutdown().drain.clone();
        let reconciler = Reconciler::new(self.clone(), alertmanager, &self.0.deps.metrics);
        // Its end is its own: the webhook goes on without it.
        supervisor.spawn(TaskKind::Work, "reconcile", reconciler.run(drain));
    }

    /// Everything on the hook's port.
    pub fn router(&self) -> Router {
        let work = Router::new()
            .route("/webhook/alertmanager", post(webhook::receive))
            .route("/incidents/{id}", get(api::incidents::page))
            .route("/api/v1/incidents", get(api::incidents::list))
            .route("/api/v1/incidents/{id}", get(api::incidents::show))
            .route(
                "/api/v1/incidents/{id}/decision",
                post(api::decision::decide),
            )
            .route("/api/v1/dlq", get(api::dlq::list))
            .route(
                "/api/v1/dlq/{stream}/{id}",
                get(api::dlq::show).post(api::dlq::carry_out),
            )
            .route(
                "/api/v1/alerts/{fingerprint}/rulings",
                get(api::rulings::rulings),
            )
            .fallback(gate::no_route)
            .method_not_allowed_fallback(gate::no_method)
            .layer(from_fn_with_state(self.clone(), gate::work));
        // The backlog and the metrics are asked for most when the hook is busiest.
        let mut known = Router::new().route("/api/v1/backlog", get(api::backlog::backlog));
        let metrics = runtime::http::metrics_route(self.0.deps.metrics.clone());
        let mut open = Router::new()
            .route("/readyz", get(health::ready))
            .merge(runtime::http::health_route().with_state(()));
        if self.0.config.metrics_open {
            open = open.merge(metrics.with_state(()));
        } else {
            known = known.merge(metrics.with_state(()));
        }
        let known = known.layer(from_fn_with_state(self.clone(), gate::known));
        let counted = known
            .merge(open)
            .layer(from_fn_with_state(self.clone(), gate::count));
        work.merge(counted).with_state(self.clone())
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.0.deps.clock.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.deps.clock.now()
    }

    pub(crate) fn events(&self) -> &dyn Stream {
        self.0.deps.events.as_ref()
    }

    pub(crate) fn work(&self) -> &BTreeMap<Severity, Arc<dyn Stream>> {
        &self.0.deps.work
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.0.deps.store.as_ref()
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.0.deps.credentials
    }

    pub(crate) fn approval_key(&self) -> Option<&ApprovalKey> {
        self.0.deps.approval_key.as_ref()
    }

    pub(crate) fn capacity(&self) -> Capacity {
        self.0.deps.capacity
    }

    pub(crate) fn cut_short(&self) -> &CutShort {
        &self.0.cut_short
    }

    pub(crate) fn draining(&self) -> &CancelToken {
        &self.0.deps.drain
    }

    pub(crate) fn last_probe(&self) -> &Mutex<LastProbe> {
        &self.0.last_probe
    }

    pub(crate) fn ask_ready(&self) -> BoxFuture<'static, Result<(), String>> {
        (self.0.deps.ready)()
    }

    pub(crate) fn render(&self, report: &Report) -> String {
        (self.0.deps.render_html)(report)
    }

    /// A context that ends `within` from now.
    pub(crate) fn cx(&self, within: Span) -> Cx {
        Cx::root(self.0.deps.clock.clone(), within.0, String::new())
    }

    /// The right to serve one request; none if all are taken.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.0.permits.clone().try_acquire_owned().ok()
    }
}
