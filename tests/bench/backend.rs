//! The buses that are measured, each with servers of its own and empty ones.

use std::path::Path;

use anyhow::{Context as _, Result};
use runtime::config::Span;
use tests::nats::NatsServer;
use tests::redis::RedisServer;
use tests::redis::cluster::Cluster;
use tests::redis::sentinel::{MASTER, Sentinels};

/// When Redis flushes its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// No log.
    None,
    /// Every second.
    Everysec,
    /// Before every answer.
    Always,
}

/// A bus and how durable it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// One file, flushed before every answer.
    Embedded,
    /// One Redis.
    Redis(Flush),
    /// A master with two replicas behind three sentinels; a write counts when both replicas have it.
    Sentinel,
    /// Three masters, two replicas of ours; a write counts when both have it.
    Cluster,
    /// One NATS server with JetStream, which flushes every two minutes.
    Nats,
}

/// Every bus that is measured.
pub(crate) const ALL: [Backend; 7] = [
    Backend::Redis(Flush::None),
    Backend::Redis(Flush::Everysec),
    Backend::Redis(Flush::Always),
    Backend::Embedded,
    Backend::Sentinel,
    Backend::Cluster,
    Backend::Nats,
];

impl Backend {
    /// How the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis(Flush::None) => "redis, no log",
            Self::Redis(Flush::Everysec) => "redis, everysec",
            Self::Redis(Flush::Always) => "redis, always",
            Self::Sentinel => "sentinel, always, 2 replicas",
            Self::Cluster => "cluster, always, 2 replicas",
            Self::Nats => "nats, one server",
        }
    }

    /// Whether a plain receiver can be put beside it: it can reach one Redis.
    pub(crate) fn has_plain(self) -> bool {
        matches!(self, Self::Redis(_) | Self::Sentinel)
    }

    /// Replicas that a write must reach.
    pub(crate) fn replicas(self) -> u32 {
        match self {
            Self::Embedded | Self::Redis(_) | Self::Nats => 0,
            Self::Sentinel | Self::Cluster => 2,
        }
    }

    /// Starts what it needs, empty.
    pub(crate) async fn start(self) -> Result<Running> {
        // A rewrite of the log in the middle of a round would count for whoever is measured then.
        const NO_REWRITE: [&str; 2] = ["--auto-aof-rewrite-percentage", "0"];
        let flush = match self {
            Self::Embedded => return Ok(Running::Embedded),
            Self::Sentinel => {
                let servers = Sentinels::start_with(&NO_REWRITE).await?;
                servers.ready().await?;
                return Ok(Running::Sentinel(servers));
            }
            Self::Cluster => return Ok(Running::Cluster(Cluster::start("nightshift").await?)),
            Self::Nats => return Ok(Running::Nats(NatsServer::start().await?)),
            Self::Redis(Flush::None) => ["--appendonly", "no"],
            Self::Redis(Flush::Everysec) => ["--appendfsync", "everysec"],
            Self::Redis(Flush::Always) => ["--appendfsync", "always"],
        };
        let arguments = [flush, NO_REWRITE].concat();
        Ok(Running::Redis(RedisServer::start_with(&arguments).await?))
    }
}

/// The servers of one bus.
#[derive(Debug)]
pub(crate) enum Running {
    /// None.
    Embedded,
    /// One.
    Redis(RedisServer),
    /// Three, and three sentinels.
    Sentinel(Sentinels),
    /// Five.
    Cluster(Cluster),
    /// One.
    Nats(NatsServer),
}

impl Running {
    /// The bus's configuration, with its file in `folder`.
    pub(crate) fn config(&self, folder: &Path) -> bus::Config {
        let mut config = bus::Config {
            data_dir: folder.join("bus"),
            // More than any round sends: refusing is not what is measured.
            capacity: 100_000_000,
            ..bus::Config::default()
        };
        // On a busy machine a replica may be late; that is to be measured, not refused.
        config.durability.wait = Span::secs(2);
        match self {
            Self::Embedded => {}
            Self::Redis(redis) => {
                config.kind = bus::Kind::Redis;
                config.url = redis.url();
            }
            Self::Sentinel(servers) => {
                config.kind = bus::Kind::Sentinel;
                config.sentinel.nodes = servers.nodes();
                MASTER.clone_into(&mut config.sentinel.master);
            }
            Self::Cluster(servers) => {
                config.kind = bus::Kind::Cluster;
                config.cluster.nodes = servers.nodes();
            }
            Self::Nats(server) => {
                config.kind = bus::Kind::Nats;
                config.nats.addresses = vec![server.url()];
            }
        }
        config
    }

    /// The same as the `[bus]` section of a file.
    pub(crate) fn toml(&self, folder: &Path) -> Result<String> {
        let bus = toml::Table::try_from(self.config(folder))?;
        let mut file = toml::Table::new();
        file.insert(String::from("bus"), toml::Value::Table(bus));
        Ok(toml::to_string(&file)?)
    }

    /// The address of the one that takes writes, if it is a Redis.
    pub(crate) fn url(&self) -> Result<Option<String>> {
        let master = match self {
            Self::Embedded | Self::Nats(_) => return Ok(None),
            Self::Redis(redis) => return Ok(Some(redis.url())),
            Self::Sentinel(servers) => servers.servers.get(servers.master()?),
            Self::Cluster(servers) => servers.servers.get(servers.master()?),
        };
        Ok(Some(master.context("a master")?.url()))
    }

    /// The Redis servers that are part of it.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let servers = match self {
            Self::Embedded | Self::Nats(_) => &[],
            Self::Redis(redis) => std::slice::from_ref(redis),
            Self::Sentinel(servers) => servers.servers.as_slice(),
            Self::Cluster(servers) => servers.servers.as_slice(),
        };
        servers.iter().map(RedisServer::id).collect()
    }
}
