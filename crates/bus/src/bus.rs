//! The bus: one door to the embedded log, to Redis and to NATS.

use std::sync::Arc;

use incident::ports::{Clock, Store, StoreError, Stream};
use runtime::Supervisor;

use crate::config::{Config, Kind};
use crate::durability::Finding;
use crate::embedded::Log;
use crate::error::OpenError;
use crate::nats;
use crate::redis::Server;

/// Streams and a store, open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Embedded(Arc<Log>),
    Redis(Arc<Server>),
    Nats(Arc<nats::Server>),
}

impl Bus {
    /// Opens the bus. A server that cannot be reached yet is no error: calls fail as unavailable
    /// until it is. The housekeeping tasks run under `supervisor` and end when it drains; streams
    /// and store go on working until [`Bus::close`].
    ///
    /// # Errors
    /// [`OpenError`] if it can never work as configured.
    pub async fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let backend = match config.kind {
            Kind::Embedded => Backend::Embedded(Log::open(config, clock, supervisor).await?),
            Kind::Redis | Kind::Sentinel | Kind::Cluster => {
                Backend::Redis(Box::pin(Server::open(config, clock, supervisor)).await?)
            }
            Kind::Nats => {
                Backend::Nats(Box::pin(nats::Server::open(config, clock, supervisor)).await?)
            }
        };
        Ok(Self(backend))
    }

    /// The stream `name` as seen by `consumer`; both are made if they are new. No two live
    /// processes may use one consumer name: what a consumer of that name held before this process
    /// started is handed out again at once.
    ///
    /// # Errors
    /// [`OpenError::Name`] if a name cannot be used.
    pub async fn stream(&self, name: &str, consumer: &str) -> Result<Arc<dyn Stream>, OpenError> {
        for name in [name, consumer] {
            let fits = (1..=128).contains(&name.len()) && !name.chars().any(char::is_control);
            if !fits {
                let name = name.to_owned();
                return Err(OpenError::Name { name });
            }
        }
        Ok(match &self.0 {
            Backend::Embedded(log) => log.stream(name),
            Backend::Redis(server) => server.stream(name, consumer).await,
            Backend::Nats(server) => server.stream(name, consumer).await,
        })
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        match &self.0 {
            Backend::Embedded(log) => log.store(),
            Backend::Redis(server) => server.store(),
            Backend::Nats(server) => server.store(),
        }
    }

    /// Whether something can really be stored now: stores it. Takes at most `timeout` of the
    /// configuration.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the reason.
    pub async fn check(&self) -> Result<(), StoreError> {
        match &self.0 {
            Backend::Embedded(log) => log.check().await,
            Backend::Redis(server) => server.check().await,
            Backend::Nats(server) => server.check().await,
        }
    }

    /// What the configuration asks for against what the servers really do.
    pub async fn durability(&self) -> Vec<Finding> {
        match &self.0 {
            Backend::Embedded(_) => vec![Finding::good("every write is flushed to the disk first")],
            Backend::Redis(server) => server.durability().await,
            Backend::Nats(server) => server.durability().await,
        }
    }

    /// Finishes what is under way and lets go of the file or the connections. Whatever is called
    /// afterwards fails as unavailable. Nothing is lost without it; the next start is faster with it.
    pub async fn close(&self) {
        match &self.0 {
            Backend::Embedded(log) => log.close().await,
            Backend::Redis(server) => server.close(),
            Backend::Nats(server) => server.close().await,
        }
    }
}
