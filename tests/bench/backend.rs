//! The buses that are measured, each with a server of its own and an empty one.

use std::path::Path;

use anyhow::Result;
use tests::redis::RedisServer;

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
}

/// Every bus that is measured.
pub(crate) const ALL: [Backend; 4] = [
    Backend::Redis(Flush::None),
    Backend::Redis(Flush::Everysec),
    Backend::Redis(Flush::Always),
    Backend::Embedded,
];

impl Backend {
    /// How the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis(Flush::None) => "redis, no log",
            Self::Redis(Flush::Everysec) => "redis, everysec",
            Self::Redis(Flush::Always) => "redis, always",
        }
    }

    /// Starts what it needs, empty.
    pub(crate) async fn start(self) -> Result<Running> {
        let flush: &[&str] = match self {
            Self::Embedded => return Ok(Running { redis: None }),
            Self::Redis(Flush::None) => &["--appendonly", "no"],
            Self::Redis(Flush::Everysec) => &["--appendfsync", "everysec"],
            Self::Redis(Flush::Always) => &["--appendfsync", "always"],
        };
        // A rewrite of the log in the middle of a round would count for whoever is measured then.
        let arguments = [flush, &["--auto-aof-rewrite-percentage", "0"]].concat();
        let redis = RedisServer::start_with(&arguments).await?;
        Ok(Running { redis: Some(redis) })
    }
}

/// The servers of one bus.
#[derive(Debug)]
pub(crate) struct Running {
    redis: Option<RedisServer>,
}

impl Running {
    /// The `[bus]` section of the product's configuration.
    pub(crate) fn toml(&self) -> String {
        // More than any round sends: refusing is not what is measured.
        let capacity = "capacity = 100000000\n";
        match &self.redis {
            None => format!("[bus]\n{capacity}"),
            Some(redis) => format!(
                "[bus]\nkind = \"redis\"\nurl = \"{}\"\n{capacity}",
                redis.url()
            ),
        }
    }

    /// The same for the bus alone, in `folder`.
    pub(crate) fn config(&self, folder: &Path) -> bus::Config {
        let config = bus::Config {
            data_dir: folder.join("bus"),
            ..bus::Config::default()
        };
        match &self.redis {
            None => config,
            Some(redis) => bus::Config {
                kind: bus::Kind::Redis,
                url: redis.url(),
                ..config
            },
        }
    }

    /// Its address, if it is a Redis.
    pub(crate) fn url(&self) -> Option<String> {
        self.redis.as_ref().map(RedisServer::url)
    }

    /// The processes that are part of it.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.redis.iter().map(RedisServer::id).collect()
    }
}
