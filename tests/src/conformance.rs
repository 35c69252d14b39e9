//! One suite per port that the `bus` and the memory of `runtime::testing` implement. Every
//! implementation runs the same functions; what differs is only how a [`Peer`] is made.
#![allow(
    clippy::unwrap_used,
    clippy::unchecked_time_subtraction,
    clippy::needless_pass_by_value,
    clippy::missing_errors_doc,
    reason = "these are tests; they live in a library so that several binaries can run them"
)]

pub mod agent;
mod dead;
mod shared;
pub mod store;
pub mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use incident::ports::{Clock, Store, Stream};
use runtime::config::Span;
use runtime::testing::memory::{MemoryStore, MemoryStream};
use runtime::{Shutdown, Supervisor, SystemClock};

pub use self::shared::{Hold, cluster, sentinel};
use crate::nats::NatsServer;
use crate::redis::RedisServer;

/// The stream that the suites use.
pub const STREAM: &str = "incident:events";
/// Longest wait for a state that must come. Far beyond what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Which implementation is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `runtime::testing::memory`.
    Memory,
    /// The embedded log.
    Embedded,
    /// A real Redis that flushes every write.
    Redis,
    /// Real Redis servers behind sentinels.
    Sentinel,
    /// A real Redis Cluster.
    Cluster,
    /// A real NATS server with JetStream.
    Nats,
}

impl Kind {
    /// `span`, or longer where every write waits for several servers: time for a handful of them.
    pub fn handful(self, span: Duration) -> Duration {
        match self {
            Self::Memory | Self::Embedded | Self::Redis | Self::Nats => span,
            Self::Sentinel | Self::Cluster => span * 6,
        }
    }
}

/// What a test needs to be different from usual.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Long unless the test is about its end.
    pub lease: Duration,
    /// Deliveries before an entry is given up.
    pub attempts_max: u32,
    /// How long a key is remembered.
    pub window: Duration,
    /// Unprocessed entries.
    pub capacity: u64,
    /// Long, so that only a bell can wake a claim early.
    pub poll: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lease: Duration::from_mins(1),
            attempts_max: 5,
            window: Duration::from_hours(1),
            capacity: 10_000,
            poll: Duration::from_secs(20),
        }
    }
}

/// A short lease.
pub const SHORT: Duration = Duration::from_millis(300);

/// One implementation, running.
#[derive(Debug)]
pub struct Peer {
    /// Which it is.
    pub kind: Kind,
    /// Time.
    pub clock: Arc<dyn Clock>,
    rules: Rules,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(MemoryStream, MemoryStore),
    Embedded(tempfile::TempDir, Open),
    Redis(RedisServer, Open),
    Shared(shared::Servers, Box<bus::Config>, Open),
    Nats(NatsServer, Open),
}

/// An open bus and what keeps its tasks.
#[derive(Debug)]
pub struct Open {
    /// The bus.
    pub bus: Bus,
    supervisor: Supervisor,
}

impl Open {
    /// Opens a bus as the binary does.
    pub async fn new(config: &bus::Config) -> anyhow::Result<Self> {
        let clock = SystemClock::new();
        let supervisor = Supervisor::new(Shutdown::new(), clock.clone());
        let bus = Bus::open(config, clock, &supervisor).await?;
        Ok(Self { bus, supervisor })
    }

    /// Closes it in order.
    pub async fn close(&self) {
        self.supervisor.drain(Duration::from_secs(5)).await;
        self.bus.close().await;
    }
}

/// The configuration of an embedded log in `dir`.
pub fn embedded(dir: impl Into<PathBuf>, rules: Rules) -> bus::Config {
    bus::Config {
        kind: bus::Kind::Embedded,
        data_dir: dir.into(),
        lease: Span(rules.lease),
        attempts_max: rules.attempts_max,
        dedup_window: Span(rules.window),
        capacity: rules.capacity,
        poll: Span(rules.poll),
        sweep: Span::millis(200),
        timeout: Span::secs(10),
        ..bus::Config::default()
    }
}

/// The configuration of a bus on `server`.
pub fn redis(server: &RedisServer, rules: Rules) -> bus::Config {
    bus::Config {
        kind: bus::Kind::Redis,
        url: server.url(),
        ..embedded("", rules)
    }
}

/// The configuration of a bus on `server`.
pub fn nats(server: &NatsServer, rules: Rules) -> bus::Config {
    bus::Config {
        kind: bus::Kind::Nats,
        nats: bus::NatsConfig {
            addresses: vec![server.url()],
            ..bus::NatsConfig::default()
        },
        ..embedded("", rules)
    }
}

impl Peer {
    /// Starts an empty one.
    pub async fn start(kind: Kind, rules: Rules) -> anyhow::Result<Self> {
        Box::pin(Self::begin(kind, rules)).await
    }

    async fn begin(kind: Kind, rules: Rules) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = SystemClock::new();
        let place = match kind {
            Kind::Memory => {
                let stream = MemoryStream::builder(STREAM, clock.clone())
                    .lease(rules.lease)
                    .attempts_max(rules.attempts_max)
                    .window(rules.window)
                    .capacity(rules.capacity)
                    .build();
                Place::Memory(stream, MemoryStore::new(clock.clone()))
            }
            Kind::Embedded => {
                let dir = tempfile::tempdir()?;
                let open = Open::new(&embedded(dir.path(), rules)).await?;
                Place::Embedded(dir, open)
            }
            Kind::Redis => {
                let server = RedisServer::start().await?;
                let open = Open::new(&redis(&server, rules)).await?;
                Place::Redis(server, open)
            }
            Kind::Sentinel | Kind::Cluster => {
                let servers = shared::Servers::of(kind).await?;
                let config = servers.config(rules).await;
                let open = Open::new(&config).await?;
                Place::Shared(servers, Box::new(config), open)
            }
            Kind::Nats => {
                let server = NatsServer::start().await?;
                let open = Open::new(&nats(&server, rules)).await?;
                Place::Nats(server, open)
            }
        };
        Ok(Self {
            kind,
            clock,
            rules,
            place,
        })
    }

    /// The stream as `consumer` sees it.
    pub async fn stream(&self, consumer: &str) -> anyhow::Result<Arc<dyn Stream>> {
        Ok(match &self.place {
            Place::Memory(stream, _) => Arc::new(stream.clone()),
            Place::Embedded(_, open)
            | Place::Redis(_, open)
            | Place::Shared(_, _, open)
            | Place::Nats(_, open) => open.bus.stream(STREAM, consumer).await?,
        })
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        match &self.place {
            Place::Memory(_, store) => Arc::new(store.clone()),
            Place::Embedded(_, open)
            | Place::Redis(_, open)
            | Place::Shared(_, _, open)
            | Place::Nats(_, open) => open.bus.store(),
        }
    }

    /// What a restart is for this implementation: nothing for the memory, a closed and opened file,
    /// a server killed and started again. Handles from before are dead.
    pub async fn reopen(&mut self) -> anyhow::Result<()> {
        Box::pin(self.begin_again()).await
    }

    async fn begin_again(&mut self) -> anyhow::Result<()> {
        match &mut self.place {
            Place::Memory(..) => {}
            Place::Embedded(dir, open) => {
                open.close().await;
                *open = Open::new(&embedded(dir.path(), self.rules)).await?;
            }
            Place::Redis(server, open) => {
                open.close().await;
                server.kill()?;
                server.restart().await?;
                *open = Open::new(&redis(server, self.rules)).await?;
            }
            Place::Shared(servers, config, open) => {
                open.close().await;
                servers.restart().await?;
                *open = Open::new(config).await?;
            }
            Place::Nats(server, open) => {
                open.close().await;
                server.kill()?;
                server.restart().await?;
                *open = Open::new(&nats(server, self.rules)).await?;
            }
        }
        Ok(())
    }

    /// Waits until `done` says so.
    pub async fn eventually(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        let until = self.clock.elapsed() + PATIENCE;
        while !done().await {
            assert!(self.clock.elapsed() < until, "waited in vain until {what}");
            self.clock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `span` has passed since `since`: a state of the clock.
    pub async fn passed(&self, since: Duration, span: Duration) {
        self.eventually("time passed", async || self.clock.elapsed() >= since + span)
            .await;
    }
}
