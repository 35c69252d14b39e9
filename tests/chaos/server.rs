//! The server under the bus, if it has one, and what can be done to it.

mod cluster;
mod nats;
mod redis;
mod sentinel;

use std::path::Path;

use anyhow::{Result, bail};

use crate::fault::{Bus, Scenario};
use crate::schedule::Stroke;
use cluster::Sharded;
use nats::Nats;
use redis::Redis;
use sentinel::Guarded;

/// What keeps streams and state.
#[derive(Debug)]
pub(crate) enum Server {
    /// A file of the product's own.
    File,
    Redis(Redis),
    Sentinel(Guarded),
    Cluster(Sharded),
    Nats(Nats),
}

impl Server {
    /// Starts it, with its data below `folder` where that matters.
    pub(crate) async fn start(bus: Bus, folder: &Path, scenario: &Scenario) -> Result<Self> {
        Ok(match bus {
            Bus::Embedded => Self::File,
            Bus::Redis => Self::Redis(Redis::start(folder, scenario).await?),
            Bus::Sentinel => Self::Sentinel(Guarded::start().await?),
            Bus::Cluster => Self::Cluster(Sharded::start().await?),
            Bus::Nats => Self::Nats(Nats::start().await?),
        })
    }

    /// The product's `[bus]` table.
    pub(crate) fn toml(&self, folder: &Path) -> String {
        match self {
            Self::File => format!(
                "[bus]\nkind = \"embedded\"\ndata_dir = \"{}\"\n",
                folder.display()
            ),
            Self::Redis(server) => server.toml(),
            Self::Sentinel(servers) => servers.toml(),
            Self::Cluster(servers) => servers.toml(),
            Self::Nats(server) => server.toml(),
        }
    }

    /// Does it, and returns when the server is up again or its successor was elected.
    pub(crate) async fn strike(&mut self, stroke: &Stroke) -> Result<()> {
        match self {
            Self::File => bail!("{} needs a server", stroke.fault.name()),
            Self::Redis(server) => server.strike(stroke).await,
            Self::Sentinel(servers) => servers.strike(stroke).await,
            Self::Cluster(servers) => servers.strike(stroke).await,
            Self::Nats(server) => server.strike(stroke).await,
        }
    }

    /// After the recovery: what was replaced comes back.
    pub(crate) async fn mend(&mut self) -> Result<()> {
        match self {
            Self::File | Self::Redis(_) | Self::Nats(_) => Ok(()),
            Self::Sentinel(servers) => servers.mend().await,
            Self::Cluster(servers) => servers.mend().await,
        }
    }

    /// Starts it again if it has ended.
    pub(crate) async fn revive(&mut self) -> Result<()> {
        match self {
            Self::Redis(server) => server.revive().await,
            Self::File | Self::Sentinel(_) | Self::Cluster(_) | Self::Nats(_) => Ok(()),
        }
    }

    /// What runs, for the report.
    pub(crate) fn version(&self) -> Result<String> {
        match self {
            Self::File => Ok("redb, in the process".to_owned()),
            Self::Redis(server) => server.version(),
            Self::Sentinel(servers) => servers.version(),
            Self::Cluster(servers) => servers.version(),
            Self::Nats(server) => server.version(),
        }
    }
}
