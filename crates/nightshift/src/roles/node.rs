//! One process: binds its ports, opens the bus, starts its roles, and stops in order.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use bus::Bus;
use dispatcher::Dispatcher;
use hook::{Credentials, Hook};
use incident::keys;
use incident::message::agent;
use incident::ports::{Clock, Entropy, Progress};
use runtime::alertmanager::Alertmanager;
use runtime::config::Span;
use runtime::telemetry::Metrics;
use runtime::{OsEntropy, Shutdown, Supervisor, SystemClock, TaskKind};
use tokio::net::TcpListener;

use super::ground::Ground;
use super::{Role, agents};
use crate::EXIT_INTERRUPTED;
use crate::config::Config;

/// Time that agents have to end after everything that calls them has.
const AGENTS_GRACE: Duration = Duration::from_secs(3);

/// A running process.
///
/// What calls agents stops before the agents do: a call that finds its agent gone would try again
/// until its deadline.
#[derive(Debug)]
pub(crate) struct Node {
    front: Supervisor,
    back: Supervisor,
    bus: Bus,
    grace: Span,
    hook_address: Option<SocketAddr>,
}

/// Ports, bound before anything heavy starts, so that a conflict shows in the first second.
#[derive(Default)]
struct Ports {
    hook: Option<TcpListener>,
    agents: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

impl Node {
    /// Starts the roles. On an error nothing is left running.
    pub(crate) async fn start(
        config: Config,
        roles: &[Role],
        progress: Arc<dyn Progress>,
    ) -> Result<Self> {
        let ports = Ports::bind(&config, roles).await?;
        let clock: Arc<dyn Clock> = SystemClock::new();
        let front = Supervisor::new(Shutdown::new(), clock.clone());
        let back = Supervisor::new(Shutdown::new(), clock.clone());
        let bus = Bus::open(&config.bus(), clock.clone(), &back).await?;
        let hook_address = ports
            .hook
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()?;
        let agents_url = agents_url(&config, ports.agents.as_ref())?;
        let grace = config.grace;
        let consumer = format!("{}-{}", hostname(), std::process::id());
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let metrics = Metrics::new();
        let ground = Ground {
            config,
            clock,
            entropy,
            metrics,
            front,
            back,
            bus,
            consumer,
            agents_url,
        };
        ground.start(ports, roles, progress).await?;
        Ok(Self {
            front: ground.front,
            back: ground.back,
            bus: ground.bus,
            grace,
            hook_address,
        })
    }

    /// Where the hook listens, if this process has one.
    pub(crate) fn hook_address(&self) -> Option<SocketAddr> {
        self.hook_address
    }

    /// Serves until SIGTERM or SIGINT, then drains; a second signal leaves at once.
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let failed = tokio::select! {
            biased;
            result = Shutdown::signal() => { result?; false }
            () = self.front.service_failed() => true,
            () = self.back.service_failed() => true,
        };
        tracing::info!(grace = %self.grace, "draining; a second signal leaves at once");
        let interrupted = tokio::select! {
            biased;
            result = Shutdown::signal() => { result?; true }
            finished = self.drain() => {
                if !finished {
                    tracing::warn!("the grace period ended; what still ran is given back");
                }
                false
            }
        };
        if interrupted {
            self.front.shutdown().abort.cancel();
            self.back.shutdown().abort.cancel();
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
        self.bus.close().await;
        Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Callers first, then agents. Returns whether everything finished by itself.
    async fn drain(&self) -> bool {
        let callers = self.front.drain(self.grace.0).await;
        let agents = self.back.drain(AGENTS_GRACE.max(self.grace.0 / 4)).await;
        callers && agents
    }

    /// Drains without a signal.
    pub(crate) async fn stop(self) {
        self.drain().await;
        self.bus.close().await;
    }
}

impl Ports {
    async fn bind(config: &Config, roles: &[Role]) -> Result<Self> {
        let mut ports = Self::default();
        for role in roles {
            match role {
                Role::Hook => ports.hook = Some(bind(config.hook.listen, "hook.listen").await?),
                Role::Agents(_) => {
                    a2a::check_exposure(config.agents.listen, config.agent_token()?.as_ref())?;
                    ports.agents = Some(bind(config.agents.listen, "agents.listen").await?);
                }
                Role::Dispatcher => {}
            }
        }
        if ports.hook.is_none() && ports.agents.is_none() {
            ports.metrics = Some(bind(config.metrics_listen, "metrics_listen").await?);
        }
        Ok(ports)
    }
}

async fn bind(address: SocketAddr, field: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "{field} = \"{address}\" cannot be bound; stop what listens there or choose another"
        )
    })
}

impl Ground {
    async fn start(&self, ports: Ports, roles: &[Role], progress: Arc<dyn Progress>) -> Result<()> {
        let names = roles.iter().find_map(|role| match role {
            Role::Agents(names) => Some(names.as_slice()),
            Role::Hook | Role::Dispatcher => None,
        });
        if let (Some(listener), Some(names)) = (ports.agents, names) {
            let common = self.common_routes();
            serve(
                &self.back,
                "agents",
                listener,
                agents::router(self, names)?.merge(common),
            )?;
        }
        if let Some(listener) = ports.hook {
            let hook = self.hook().await?;
            serve(&self.front, "hook", listener, hook.router())?;
            hook.start(&self.front);
        }
        if let Some(listener) = ports.metrics {
            serve(&self.front, "metrics", listener, self.common_routes())?;
        }
        if roles.contains(&Role::Dispatcher) {
            self.dispatcher(progress).await?.start(&self.front);
        }
        Ok(())
    }

    fn common_routes(&self) -> Router {
        runtime::http::metrics_route(self.metrics.clone()).merge(runtime::http::health_route())
    }

    async fn hook(&self) -> Result<Hook> {
        let credentials =
            Credentials::read(&self.config.hook, "hook").map_err(|found| problems(&found))?;
        let bus = self.bus.clone();
        let deps = hook::Deps {
            events: self.stream(keys::EVENTS).await?,
            work: self.lanes().await?,
            store: self.bus.store(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            credentials,
            approval_key: Some(self.config.approval_key_or_create(self.entropy.as_ref())?),
            ready: Arc::new(move || {
                let bus = bus.clone();
                Box::pin(async move { bus.check().await.map_err(|error| error.to_string()) })
            }),
            render_html: pipelines::render::html,
            drain: self.front.shutdown().drain.clone(),
            alertmanager: self.alertmanager()?,
            capacity: self.capacity(),
        };
        Ok(Hook::new(self.config.hook.clone(), deps))
    }

    /// Alertmanager, if it can be asked.
    fn alertmanager(&self) -> Result<Option<Alertmanager>> {
        let section = &self.config.alertmanager;
        if section.urls.is_empty() {
            return Ok(None);
        }
        Ok(Some(Alertmanager::new(section)?))
    }

    /// What the dispatchers can do; theirs is the same configuration.
    fn capacity(&self) -> hook::Capacity {
        let dispatcher = &self.config.dispatcher;
        hook::Capacity {
            work: dispatcher.work.concurrency,
            triage: dispatcher.triage.concurrency,
            work_max: Some(dispatcher.work.investigations_max).filter(|max| *max > 0),
        }
    }

    async fn dispatcher(&self, progress: Arc<dyn Progress>) -> Result<Dispatcher> {
        let deps = dispatcher::Deps {
            events: self.stream(keys::EVENTS).await?,
            store: self.bus.store(),
            work: self.lanes().await?,
            triage: self.remote(agent::TRIAGE)?,
            orchestrator: self.remote(agent::ORCHESTRATOR)?,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            metrics: self.metrics.clone(),
            progress,
        };
        Ok(Dispatcher::new(self.config.dispatcher.clone(), deps))
    }
}

fn serve(
    owner: &Supervisor,
    name: &'static str,
    listener: TcpListener,
    router: Router,
) -> Result<()> {
    let address = listener.local_addr()?;
    let shutdown = owner.shutdown().clone();
    owner.spawn(TaskKind::Service, name, async move {
        if let Err(error) = runtime::http::serve(listener, router, shutdown).await {
            tracing::error!(%error, "the listener broke");
        }
    });
    tracing::info!(role = name, %address, "listening");
    Ok(())
}

/// Where agents are called, and what their cards say. A process that serves them under no public name
/// calls its own over loopback, on the port that was really bound.
fn agents_url(config: &Config, listener: Option<&TcpListener>) -> Result<String> {
    let named = config.a2a.public_url != a2a::Config::default().public_url;
    match (listener, &config.agents.url) {
        (None, Some(url)) => Ok(url.clone()),
        (Some(listener), _) if !named => Ok(format!("http://{}", loopback(listener.local_addr()?))),
        _ => Ok(config.a2a.public_url.clone()),
    }
}

fn problems(problems: &[runtime::config::Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", lines.join("\n"))
}

/// An address that is bound to every interface is reached over loopback from inside.
fn loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name.to_owned()
    }
}
