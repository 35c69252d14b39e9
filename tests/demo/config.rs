//! What the service is told by the file in its repository.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use incident::ports::Clock;
use runtime::config::Span;
use serde::Deserialize;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Longest file that is read.
const FILE_MAX: u64 = 64 * 1024;

/// The file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(crate) struct Config {
    pub(crate) pool: Pool,
    pub(crate) database: Database,
    pub(crate) cache: Cache,
    pub(crate) retries: Retries,
    pub(crate) features: Features,
}

/// Connections to the database.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pool {
    /// Requests that hold a connection at the same time; the others queue.
    pub(crate) size: usize,
    /// Longest time in the queue; then the request fails with 503.
    pub(crate) wait_timeout: Span,
}

/// The database, which is pretended: it takes time and holds the connection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Database {
    /// Time of one query.
    pub(crate) query_time: Span,
    /// Longest time for one request's queries; a slower request fails with 500.
    pub(crate) timeout: Span,
}

/// Answers that need no database.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cache {
    /// Whether there is one.
    pub(crate) enabled: bool,
    /// Part of the requests it answers.
    pub(crate) hit_ratio: f64,
}

/// Tries after the first.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retries {
    /// How often a request queues again after it waited in vain.
    pub(crate) attempts: u32,
}

/// Switches.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Features {
    /// Three more queries for each request.
    pub(crate) recommendations: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            size: 20,
            wait_timeout: Span::millis(250),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            query_time: Span::millis(100),
            timeout: Span::secs(1),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: true,
            hit_ratio: 0.25,
        }
    }
}

impl Config {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        if !(1..=10_000).contains(&config.pool.size) {
            bail!("pool.size is {}; it must be 1 to 10000", config.pool.size);
        }
        if !(0.0..=1.0).contains(&config.cache.hit_ratio) {
            bail!(
                "cache.hit_ratio is {}; it must be 0 to 1",
                config.cache.hit_ratio
            );
        }
        Ok(config)
    }
}

/// The file and what it said last.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    current: RwLock<Arc<Config>>,
}

impl Watched {
    /// Reads the file for the first time.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        let text = read(path).await?;
        let config = Config::parse(&text)?;
        Ok(Self {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(config)),
        })
    }

    /// What the file said last.
    pub(crate) fn current(&self) -> Arc<Config> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Reads the file again whenever its content changes and tells `changed`; an unusable file
    /// changes nothing and is told as an error, once.
    pub(crate) async fn follow(
        &self,
        clock: &dyn Clock,
        changed: impl Fn(anyhow::Result<Arc<Config>>),
    ) {
        let mut seen = read(&self.path).await.unwrap_or_default();
        loop {
            clock.sleep(LOOK_EVERY).await;
            // A file that is away for a moment is being replaced.
            let Ok(text) = read(&self.path).await else {
                continue;
            };
            if text == seen {
                continue;
            }
            let config = Config::parse(&text).map(Arc::new);
            seen = text;
            if let Ok(config) = &config {
                let mut current = self
                    .current
                    .write()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                *current = Arc::clone(config);
            }
            changed(config);
        }
    }
}

async fn read(path: &Path) -> anyhow::Result<String> {
    use tokio::io::AsyncReadExt as _;
    let file = tokio::fs::File::open(path).await;
    let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).await?;
    Ok(text)
}
