//! The server under the bus, if it has one, and what can be done to it.

mod redis;

use std::path::Path;

use anyhow::{Result, bail};

use crate::fault::{Bus, Scenario};
use crate::schedule::Stroke;
use redis::Redis;

/// What keeps streams and state.
#[derive(Debug)]
pub(crate) enum Server {
    /// A file of the product's own.
    File,
    Redis(Redis),
}

impl Server {
    /// Starts it with its data below `folder`.
    pub(crate) async fn start(bus: Bus, folder: &Path, scenario: &Scenario) -> Result<Self> {
        Ok(match bus {
            Bus::Embedded => Self::File,
            Bus::Redis => Self::Redis(Redis::start(folder, scenario).await?),
        })
    }

    /// The product's `[bus]` table.
    pub(crate) fn toml(&self, folder: &Path) -> String {
        match self {
            Self::File => format!(
                "[bus]\nkind = \"embedded\"\ndata_dir = \"{}\"\n",
                folder.display()
            ),
            Self::Redis(redis) => redis.toml(),
        }
    }

    /// Does it, and returns when the server is up again or its successor was elected.
    pub(crate) async fn strike(&mut self, stroke: &Stroke) -> Result<()> {
        match self {
            Self::File => bail!("{} needs a server", stroke.fault.name()),
            Self::Redis(redis) => redis.strike(stroke).await,
        }
    }

    /// Starts it again if it has ended.
    pub(crate) async fn revive(&mut self) -> Result<()> {
        match self {
            Self::File => Ok(()),
            Self::Redis(redis) => redis.revive().await,
        }
    }

    /// What runs, for the report.
    pub(crate) fn version(&self) -> Result<String> {
        match self {
            Self::File => Ok("redb, in the process".to_owned()),
            Self::Redis(redis) => redis.version(),
        }
    }
}
