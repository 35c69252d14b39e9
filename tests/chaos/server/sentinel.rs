//! A master, two replicas, three sentinels.

use std::time::Duration;

use anyhow::{Result, bail};
use tests::redis::sentinel::{MASTER, Sentinels};
use tests::wait::until;

use crate::fault::Fault;
use crate::schedule::Stroke;

/// Longest wait until the old master follows the new one.
const MENDED_WITHIN: Duration = Duration::from_secs(90);

/// Servers behind sentinels, and the one that was hit last.
#[derive(Debug)]
pub(crate) struct Guarded {
    sentinels: Sentinels,
    down: Option<Down>,
}

/// What is to be undone after the successor was measured.
#[derive(Debug, Clone, Copy)]
enum Down {
    Killed(usize),
    Frozen(usize),
}

impl Guarded {
    pub(crate) async fn start() -> Result<Self> {
        let sentinels = Sentinels::start().await?;
        sentinels.ready().await?;
        Ok(Self {
            sentinels,
            down: None,
        })
    }

    pub(crate) fn toml(&self) -> String {
        format!(
            "[bus]\nkind = \"sentinel\"\nsentinel.master = \"{MASTER}\"\nsentinel.nodes = {:?}\n",
            self.sentinels.nodes()
        )
    }

    pub(crate) fn version(&self) -> Result<String> {
        let version = self.sentinels.servers[0].info("server", "redis_version")?;
        Ok(format!(
            "Redis {version}: master, 2 replicas, 3 sentinels; 1 replica must have a write"
        ))
    }

    /// Takes the master away and waits for another.
    pub(crate) async fn strike(&mut self, stroke: &Stroke) -> Result<()> {
        self.sentinels.ready().await?;
        let old = self.sentinels.master()?;
        let server = &mut self.sentinels.servers[old];
        self.down = Some(match stroke.fault {
            Fault::MasterKill => {
                server.kill()?;
                Down::Killed(old)
            }
            Fault::MasterFreeze => {
                server.freeze()?;
                Down::Frozen(old)
            }
            other => bail!("{} is nothing to do to a master", other.name()),
        });
        self.sentinels.another_master(old).await?;
        Ok(())
    }

    /// Brings the old master back. A frozen one still thinks that it is master.
    pub(crate) async fn mend(&mut self) -> Result<()> {
        match self.down.take() {
            None => return Ok(()),
            Some(Down::Killed(old)) => self.sentinels.servers[old].restart().await?,
            Some(Down::Frozen(old)) => self.sentinels.servers[old].thaw()?,
        }
        // Whoever is master by then: a machine that is busy may have seen another failover.
        until("two replicas of the master", MENDED_WITHIN, async || {
            let master = self.sentinels.master().ok()?;
            let server = &self.sentinels.servers[master];
            let count = server.info("replication", "connected_slaves").ok()?;
            (count == "2").then_some(())
        })
        .await
    }
}
