//! The smallest cluster that survives: three masters, so that there is a majority, and two replicas
//! of the one that has our keys, so that a write has a replica also after a failover.

use std::time::Duration;

use anyhow::Context as _;

use super::RedisServer;
use super::sentinel::{has_replicas, replicas_of};
use crate::wait::until;

/// How long a node is silent before it counts as down, in ms.
const NODE_TIMEOUT: &str = "1500";
/// The same where a busy machine must not make a failover.
const NODE_TIMEOUT_CALM: &str = "3500";
/// Longest wait for the nodes to agree.
const PATIENCE: Duration = Duration::from_mins(1);
/// Slots that there are.
const SLOTS: u16 = 16_384;
/// Masters that there are.
const MASTERS: u16 = 3;

/// A cluster. Dropping it kills it.
#[derive(Debug)]
pub struct Cluster {
    /// First three masters, the first of which has the slot of `tag`, then its two replicas; roles
    /// change.
    pub servers: Vec<RedisServer>,
    slot: String,
}

impl Cluster {
    /// Starts one.
    ///
    /// # Errors
    /// A node does not answer, or they do not agree in time.
    pub async fn start(tag: &str) -> anyhow::Result<Self> {
        Self::begin(tag, NODE_TIMEOUT).await
    }

    /// The same with patience: a node that is slow is not replaced.
    ///
    /// # Errors
    /// A node does not answer, or they do not agree in time.
    pub async fn start_calm(tag: &str) -> anyhow::Result<Self> {
        Self::begin(tag, NODE_TIMEOUT_CALM).await
    }

    async fn begin(tag: &str, node_timeout: &str) -> anyhow::Result<Self> {
        let mut servers = Vec::new();
        for _ in 0..5 {
            servers.push(node(node_timeout).await?);
        }
        let slot = servers[0].cli(0, &["CLUSTER", "KEYSLOT", tag])?;
        let own: u16 = slot.parse()?;
        let share = SLOTS / MASTERS + 1;
        for (n, server) in (0_u16..).zip(&servers[..usize::from(MASTERS)]) {
            // The first gets the share that the slot is in.
            let nth = (own / share + n) % MASTERS;
            let (first, last) = (nth * share, SLOTS.min((nth + 1) * share) - 1);
            let (first, last) = (first.to_string(), last.to_string());
            server.cli(0, &["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
        }
        for (n, server) in servers.iter().enumerate() {
            server.cli(0, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])?;
        }
        let port = servers[0].port().to_string();
        let bus = servers[0].cli(0, &["CONFIG", "GET", "cluster-port"])?;
        let bus = bus.lines().nth(1).context("no cluster-port")?.to_owned();
        for server in &servers[1..] {
            server.cli(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
        }
        let cluster = Self { servers, slot };
        cluster.agrees(5).await?;
        let first = cluster.servers[0].cli(0, &["CLUSTER", "MYID"])?;
        for replica in &cluster.servers[usize::from(MASTERS)..] {
            replica.cli(0, &["CLUSTER", "REPLICATE", &first])?;
        }
        has_replicas(&cluster.servers[0], 2).await?;
        cluster.agrees(5).await?;
        Ok(cluster)
    }

    /// Some nodes: not the first master, so that it has to be found.
    pub fn nodes(&self) -> Vec<String> {
        let nodes = self.servers[1..].iter();
        nodes.map(|node| node.address().to_string()).collect()
    }

    /// Waits until every living node knows `count` nodes and says that all is well.
    async fn agrees(&self, count: usize) -> anyhow::Result<()> {
        for server in &self.servers {
            until("the nodes agree", PATIENCE, async || {
                let text = server.cli(0, &["CLUSTER", "INFO"]).ok()?;
                let has = |line: &str| text.lines().any(|found| found.trim() == line);
                let known = format!("cluster_known_nodes:{count}");
                (has("cluster_state:ok") && has(&known)).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    /// Which node has the slot, as `asked` sees it.
    fn owner_as_seen_by(&self, asked: usize) -> anyhow::Result<usize> {
        let slot: u16 = self.slot.parse()?;
        let text = self.servers[asked].cli(0, &["CLUSTER", "NODES"])?;
        let line = text.lines().find(|line| {
            let ranges = line.split(' ').skip(8);
            let mut ranges = ranges.filter(|range| !range.starts_with('['));
            ranges.any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
                bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
            })
        });
        let address = line.and_then(|line| line.split(' ').nth(1));
        let address = address.and_then(|address| address.split('@').next());
        let found = self
            .servers
            .iter()
            .position(|server| Some(server.address().to_string().as_str()) == address);
        found.context("nobody has the slot")
    }

    /// Which node has our keys.
    ///
    /// # Errors
    /// The second node does not answer.
    pub fn master(&self) -> anyhow::Result<usize> {
        self.owner_as_seen_by(1)
    }

    /// Waits until the others see another node than `old` with our keys. Which it is.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn another_master(&self, old: usize) -> anyhow::Result<usize> {
        until("another master", PATIENCE, async || {
            let new = self.master().ok().filter(|new| *new != old)?;
            let state = self.servers[new].cli(0, &["CLUSTER", "INFO"]).ok()?;
            state.contains("cluster_state:ok").then_some(new)
        })
        .await
    }

    /// Waits until `count` replicas follow `server`.
    ///
    /// # Errors
    /// They do not, in time.
    pub async fn followed(&self, server: usize, count: usize) -> anyhow::Result<()> {
        has_replicas(&self.servers[server], count).await
    }

    /// Waits until `count` replicas follow whoever has our keys then.
    ///
    /// # Errors
    /// They do not, in time.
    pub async fn settled(&self, count: usize) -> anyhow::Result<()> {
        until("the replicas follow", PATIENCE, async || {
            let master = self.master().ok()?;
            (replicas_of(&self.servers[master]) >= count).then_some(())
        })
        .await
        .with_context(|| self.logs())
    }

    /// The ends of all logs, for a test that failed.
    pub fn logs(&self) -> String {
        let logs: Vec<String> = self.servers.iter().map(RedisServer::log_tail).collect();
        logs.join("\n")
    }

    /// Kills the node that has our keys, waits for another and starts the old one again.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn fail_over(&mut self) -> anyhow::Result<()> {
        let old = self.master()?;
        self.settled(2).await?;
        self.servers[old].kill()?;
        self.another_master(old).await?;
        self.servers[old].restart().await?;
        self.settled(1).await
    }

    /// Moves the slot with our keys to another master, while it is used.
    ///
    /// # Errors
    /// A node refuses.
    pub fn move_slot(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let (source, target) = (&self.servers[from], &self.servers[to]);
        let ids = [
            source.cli(0, &["CLUSTER", "MYID"])?,
            target.cli(0, &["CLUSTER", "MYID"])?,
        ];
        let slot = &self.slot;
        target.cli(0, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &ids[0]])?;
        source.cli(0, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &ids[1]])?;
        let port = target.port().to_string();
        loop {
            let keys = source.cli(0, &["CLUSTER", "GETKEYSINSLOT", slot, "64"])?;
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            command.extend(keys);
            source.cli(0, &command)?;
        }
        for server in [target, source] {
            server.cli(0, &["CLUSTER", "SETSLOT", slot, "NODE", &ids[1]])?;
        }
        Ok(())
    }
}

async fn node(node_timeout: &str) -> anyhow::Result<RedisServer> {
    let bus = crate::ports::free()?.port().to_string();
    RedisServer::start_with(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        node_timeout,
        "--cluster-allow-replica-migration",
        "no",
        "--cluster-replica-validity-factor",
        "0",
        "--cluster-require-full-coverage",
        "no",
        "--repl-diskless-sync-delay",
        "0",
    ])
    .await
}
