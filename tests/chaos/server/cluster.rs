//! Three masters; the one that has our keys has two replicas.

use std::time::Duration;

use anyhow::{Result, bail};
use tests::redis::cluster::Cluster;
use tests::wait::until;

use crate::fault::Fault;
use crate::schedule::Stroke;

/// The tag in which the product keeps all its keys.
const TAG: &str = "nightshift";

/// Longest wait until the old node follows the new one.
const MENDED_WITHIN: Duration = Duration::from_secs(90);

/// A cluster, and its node that was hit last.
#[derive(Debug)]
pub(crate) struct Sharded {
    cluster: Cluster,
    down: Option<Down>,
}

/// What is to be undone after the successor was measured.
#[derive(Debug, Clone, Copy)]
enum Down {
    Killed(usize),
    Frozen(usize),
}

impl Sharded {
    pub(crate) async fn start() -> Result<Self> {
        Ok(Self {
            cluster: Cluster::start(TAG).await?,
            down: None,
        })
    }

    pub(crate) fn toml(&self) -> String {
        format!(
            "[bus]\nkind = \"cluster\"\ncluster.nodes = {:?}\n",
            self.cluster.nodes()
        )
    }

    pub(crate) fn version(&self) -> Result<String> {
        let version = self.cluster.servers[1].info("server", "redis_version")?;
        Ok(format!(
            "Redis Cluster {version}: 3 masters, 2 replicas; 1 replica must have a write"
        ))
    }

    /// Takes away the node that has our keys, and waits for another.
    pub(crate) async fn strike(&mut self, stroke: &Stroke) -> Result<()> {
        let old = self.cluster.master()?;
        self.cluster.followed(old, 2).await?;
        let server = &mut self.cluster.servers[old];
        self.down = Some(match stroke.fault {
            Fault::ShardKill => {
                server.kill()?;
                Down::Killed(old)
            }
            Fault::ShardFreeze => {
                server.freeze()?;
                Down::Frozen(old)
            }
            other => bail!("{} is nothing to do to a shard", other.name()),
        });
        self.cluster.another_master(old).await?;
        Ok(())
    }

    /// Brings the old node back. A frozen one still thinks that it has the keys.
    pub(crate) async fn mend(&mut self) -> Result<()> {
        match self.down.take() {
            None => return Ok(()),
            Some(Down::Killed(old)) => self.cluster.servers[old].restart().await?,
            Some(Down::Frozen(old)) => self.cluster.servers[old].thaw()?,
        }
        // Whoever has the keys by then: a machine that is busy may have seen another failover.
        until("two replicas of our shard", MENDED_WITHIN, async || {
            let master = self.cluster.master().ok()?;
            let server = &self.cluster.servers[master];
            let count = server.info("replication", "connected_slaves").ok()?;
            (count == "2").then_some(())
        })
        .await
    }
}
