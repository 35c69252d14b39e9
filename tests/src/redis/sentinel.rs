//! A master, two replicas and three sentinels that replace it when it is gone.

use std::time::Duration;

use anyhow::Context as _;

use super::RedisServer;
use crate::wait::until;

/// What the sentinels call the master.
pub const MASTER: &str = "nightshift";
/// How long a server is silent before it counts as down.
const DOWN_AFTER: Duration = Duration::from_millis(1500);
/// The same where a busy machine must not make a failover.
const DOWN_AFTER_CALM: Duration = Duration::from_secs(4);
/// Longest wait for servers and sentinels to know each other, and for a failover.
const PATIENCE: Duration = Duration::from_mins(1);

/// Servers behind sentinels. Dropping it kills them.
#[derive(Debug)]
pub struct Sentinels {
    /// The servers; which is master changes.
    pub servers: Vec<RedisServer>,
    /// Who watches them.
    pub sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts them; the first server is master and both replicas follow it.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn start() -> anyhow::Result<Self> {
        Self::begin(&[], DOWN_AFTER).await
    }

    /// The same with more arguments for each server.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::begin(arguments, DOWN_AFTER).await
    }

    /// The same with patience: a server that is slow is not replaced.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn start_calm() -> anyhow::Result<Self> {
        Self::begin(&[], DOWN_AFTER_CALM).await
    }

    async fn begin(arguments: &[&str], down_after: Duration) -> anyhow::Result<Self> {
        let mut all = vec!["--repl-diskless-sync-delay", "0"];
        all.extend(arguments);
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(RedisServer::start_with(&all).await?);
        }
        let port = servers[0].port().to_string();
        for replica in &servers[1..] {
            replica.cli(0, &["REPLICAOF", "127.0.0.1", &port])?;
            // A restart must not make a master of it.
            replica.cli(0, &["CONFIG", "REWRITE"])?;
        }
        has_replicas(&servers[0], 2).await?;
        let lines = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds {MASTER} {}\n\
             sentinel failover-timeout {MASTER} 4000\n\
             sentinel parallel-syncs {MASTER} 2\n",
            down_after.as_millis()
        );
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::sentinel(&lines).await?);
        }
        Ok(Self { servers, sentinels })
    }

    /// The sentinels' addresses.
    pub fn nodes(&self) -> Vec<String> {
        let nodes = self.sentinels.iter();
        nodes.map(|node| node.address().to_string()).collect()
    }

    /// The ends of all logs, for a test that failed.
    pub fn logs(&self) -> String {
        let all = self.servers.iter().chain(&self.sentinels);
        let logs: Vec<String> = all.map(RedisServer::log_tail).collect();
        logs.join("\n")
    }

    /// Which server the sentinels call master.
    ///
    /// # Errors
    /// They do not answer, or it is none of ours.
    pub fn master(&self) -> anyhow::Result<usize> {
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let answer = self.sentinels[0].cli(0, &ask)?;
        let port = answer.lines().nth(1).context("no master")?;
        let found = self
            .servers
            .iter()
            .position(|server| server.port().to_string() == port);
        found.with_context(|| format!("{port} is no port of ours"))
    }

    /// Waits until a failover can happen: the sentinels know each other and every server.
    ///
    /// # Errors
    /// They do not, in time.
    pub async fn ready(&self) -> anyhow::Result<()> {
        for sentinel in &self.sentinels {
            let what = "the sentinels know each other";
            until(what, PATIENCE, async || {
                let text = sentinel.cli(0, &["SENTINEL", "MASTER", MASTER]).ok()?;
                let lines: Vec<&str> = text.lines().collect();
                let field = |name: &str| {
                    let at = lines.iter().position(|line| *line == name)?;
                    lines.get(at + 1).copied()
                };
                let ready = field("flags")? == "master"
                    && field("num-slaves")? == "2"
                    && field("num-other-sentinels")? == "2";
                ready.then_some(())
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until the sentinels name another master than `old`, and it takes writes. Which it is.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn another_master(&self, old: usize) -> anyhow::Result<usize> {
        until("another master", PATIENCE, async || {
            let new = self.master().ok().filter(|new| *new != old)?;
            let role = self.servers[new].info("replication", "role").ok()?;
            (role == "master").then_some(new)
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

    /// Waits until `count` replicas follow whoever is master then.
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

    /// Kills the master, waits for another and starts the old one again.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn fail_over(&mut self) -> anyhow::Result<()> {
        self.ready().await?;
        let old = self.master()?;
        self.servers[old].kill()?;
        self.another_master(old).await?;
        self.servers[old].restart().await?;
        self.settled(1).await
    }
}

/// How many replicas follow `server`.
pub(super) fn replicas_of(server: &RedisServer) -> usize {
    let text = server.cli(0, &["INFO", "replication"]).unwrap_or_default();
    let online = text.lines().filter(|line| line.contains("state=online"));
    online.count()
}

/// Waits until `count` replicas follow `server`.
pub(super) async fn has_replicas(server: &RedisServer, count: usize) -> anyhow::Result<()> {
    until("the replicas follow", PATIENCE, async || {
        (replicas_of(server) >= count).then_some(())
    })
    .await
}
