//! Logs and metrics. Logs go to standard error, metrics to whoever asks `/metrics`.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::{Metric, Registry};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::prelude::*;

/// How log lines look.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a terminal.
    #[default]
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

/// Whether `filter` can be given to [`init_logs`].
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Installs the log subscriber of this process. Called once, by the binary. `filter` is a
/// `tracing` filter such as `info,bus=debug`; a bad one falls back to `info`.
pub fn init_logs(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let ansi = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(ansi);
    let installed = match format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("a log subscriber was installed before");
    }
}

/// The metrics of one process; cheap to clone. All names get the prefix `nightshift_`.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registered>>);

struct Registered {
    registry: Registry,
    /// Metrics that several rooms of one process set, by name.
    shared: BTreeMap<String, Box<dyn Any + Send>>,
}

impl Metrics {
    /// No metrics yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Registered {
            registry: Registry::with_prefix("nightshift"),
            shared: BTreeMap::new(),
        })))
    }

    /// Adds `metric` under `name` (without prefix; counters get `_total` by themselves) and returns
    /// it for use.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.registry.register(name, help, metric.clone());
        metric
    }

    /// The metric that was added under `name` before by this method, or a new one: for what several
    /// roles of one process tell.
    pub fn share<M: Metric + Clone + Default>(&self, name: &str, help: &str) -> M {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.shared.get(name);
        if let Some(known) = known.and_then(|known| known.downcast_ref::<M>()) {
            return known.clone();
        }
        let metric = M::default();
        inner.registry.register(name, help, metric.clone());
        inner
            .shared
            .insert(name.to_owned(), Box::new(metric.clone()));
        metric
    }

    /// OpenMetrics text.
    pub fn render(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &inner.registry) {
            Ok(()) => text,
            Err(fmt::Error) => String::from("# EOF\n"),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}
