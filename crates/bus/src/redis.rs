//! Streams and store on Redis Streams: one server, servers behind sentinels, or a cluster.
//!
//! The three differ only in how the master is found (see [`master`]). In a cluster all keys are in
//! one slot, because a script and a batch are one step.
//!
//! Every operation is one script, so it happens as a whole or not at all and no answer that gets
//! lost leaves half of it behind. Entries are handed out by a script as well, never by a blocking
//! read: a blocking read only rings a bell (see [`bell`]), so one that is dropped or times out
//! strands nothing.
//!
//! The consumer group is what scalers look at: what waits is its lag, what is handed out or put back
//! is its pending list.

mod address;
mod append;
mod bell;
pub(crate) mod config;
mod durable;
mod facts;
mod link;
mod master;
mod reply;
mod scripts;
mod store;
mod stream;
mod sweep;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use incident::ports::{Cancel as _, Clock, Expect, Put, Store, StoreError, Stream};
use runtime::{Supervisor, TaskKind};
use tokio::sync::OnceCell;

use self::bell::Bell;
use self::facts::{Asked, Facts};
use self::link::{Failure, Link};
use self::scripts::Scripts;
use self::stream::{Names, RedisStream};
use crate::config::Config;
use crate::durability::{Finding, Grade};
use crate::error::OpenError;

/// Oldest server that has what the scripts need.
const VERSION_MIN: u32 = 7;

/// The servers, and what this process knows about them.
pub(crate) struct Server {
    link: Link,
    clock: Arc<dyn Clock>,
    config: Config,
    scripts: Scripts,
    supervisor: Supervisor,
    bells: Mutex<BTreeMap<String, Weak<Bell>>>,
    /// Per stream and consumer: whether what an earlier process of that name held was freed.
    takeovers: Mutex<BTreeMap<(String, String), Takeover>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// Set once what an earlier process of the same name held is freed.
type Takeover = Arc<OnceCell<()>>;

impl Server {
    pub(crate) async fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Arc<Self>, OpenError> {
        let server = Arc::new(Self {
            link: Link::new(config, clock.clone())?,
            clock,
            config: Config {
                prefix: config.redis_prefix(),
                ..config.clone()
            },
            scripts: Scripts::new(),
            supervisor: supervisor.clone(),
            bells: Mutex::default(),
            takeovers: Mutex::default(),
        });
        server.greet().await?;
        server.watch();
        Ok(server)
    }

    /// Finds out early what can never work, and says what an operator should know.
    async fn greet(&self) -> Result<(), OpenError> {
        match self.link.command(&redis::cmd("PING")).await {
            Ok(_) => {}
            Err(Failure { error, refused, .. }) if refused => {
                return Err(OpenError::Refused(error));
            }
            Err(Failure { error, .. }) => {
                tracing::warn!(%error, "redis cannot be reached yet; calls fail until it is");
                return Ok(());
            }
        }
        let facts = match Facts::ask(&self.link).await {
            Ok(facts) => facts,
            Err(Failure { error, .. }) => {
                tracing::warn!(%error, "redis does not tell its version and settings");
                return Ok(());
            }
        };
        let version = facts.version.as_deref().unwrap_or("unknown");
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < VERSION_MIN) {
            return Err(OpenError::Refused(format!(
                "it is version {version}, {VERSION_MIN}.0 or newer is needed"
            )));
        }
        for finding in facts.against(Asked::of(&self.config)) {
            if finding.grade > Grade::Good {
                tracing::warn!(
                    finding = finding.text,
                    "redis can lose what it acknowledged"
                );
            }
        }
        Ok(())
    }

    /// What is asked for against what the servers do.
    pub(crate) async fn durability(self: &Arc<Self>) -> Vec<Finding> {
        let asked = Asked::of(&self.config);
        match Facts::ask(&self.link).await {
            Ok(facts) => facts.against(asked),
            Err(Failure { error, .. }) => vec![Finding::warning(format!(
                "redis does not tell its settings: {error}; allow INFO and CONFIG GET"
            ))],
        }
    }

    /// Notices when the server goes, comes back or is replaced, and reconnects without waiting for a
    /// caller.
    fn watch(self: &Arc<Self>) {
        let drain = self.supervisor.shutdown().drain.clone();
        let (clock, pause) = (self.clock.clone(), self.config.poll.0);
        let server = Arc::downgrade(self);
        self.supervisor
            .spawn(TaskKind::Work, "bus-redis-watch", async move {
                let mut reachable = true;
                while !drain.is_cancelled() {
                    tokio::select! {
                        biased;
                        () = drain.wait() => return,
                        () = clock.sleep(pause) => {}
                    }
                    let Some(server) = server.upgrade() else {
                        return;
                    };
                    match server.link.verify().await {
                        Ok(()) if !reachable => {
                            tracing::info!("redis can be reached again");
                            reachable = true;
                        }
                        Err(Failure { error, .. }) if reachable => {
                            tracing::warn!(%error, "redis cannot be reached");
                            reachable = false;
                        }
                        Ok(()) | Err(_) => {}
                    }
                }
            });
    }

    pub(crate) async fn stream(self: &Arc<Self>, name: &str, consumer: &str) -> Arc<dyn Stream> {
        let names = Names::new(&self.config.prefix, name, consumer);
        let takeover = {
            let mut all = self
                .takeovers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let key = (name.to_owned(), consumer.to_owned());
            all.entry(key).or_default().clone()
        };
        let (bell, is_new) = self.bell(&names.stream);
        let stream = RedisStream::new(self.clone(), names, takeover, bell.clone());
        // Scalers report zero for a stream that does not exist, so it exists from the start.
        if let Err(error) = stream.make().await {
            tracing::warn!(stream = name, %error, "the stream could not be made yet");
        }
        if is_new {
            sweep::start(self, &stream, &bell);
        }
        Arc::new(stream)
    }

    /// The bell of a stream, and whether it was made just now.
    fn bell(&self, key: &str) -> (Arc<Bell>, bool) {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(key).and_then(Weak::upgrade) {
            return (bell, false);
        }
        let bell = Arc::new(Bell::new(key.to_owned()));
        bells.insert(key.to_owned(), Arc::downgrade(&bell));
        (bell, true)
    }

    pub(crate) fn store(self: &Arc<Self>) -> Arc<dyn Store> {
        Arc::new(store::RedisStore::new(self.clone()))
    }

    /// Writes a value that soon goes away.
    pub(crate) async fn check(self: &Arc<Self>) -> Result<(), StoreError> {
        let probe = Put::new("bus/probe", Vec::new(), Expect::Any).ttl(Duration::from_mins(1));
        self.store().put(probe).await.map(|_| ())
    }

    pub(crate) fn close(&self) {
        self.link.close();
    }
}
