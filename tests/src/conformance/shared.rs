//! Servers that take long to start: all peers of one process share them, each under its own prefix.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use runtime::config::Span;
use tokio::sync::Mutex;

use super::{Kind, Rules, embedded};
use crate::redis::cluster::Cluster;
use crate::redis::sentinel::{MASTER, Sentinels};

static SENTINELS: Mutex<Weak<Shared<Sentinels>>> = Mutex::const_new(Weak::new());
static CLUSTER: Mutex<Weak<Shared<Cluster>>> = Mutex::const_new(Weak::new());
static PREFIXES: AtomicU32 = AtomicU32::new(0);

/// Servers, and whether a restart means a failover.
#[derive(Debug)]
pub(super) struct Shared<T> {
    servers: Mutex<T>,
    fails_over: AtomicBool,
}

impl<T> Shared<T> {
    fn new(servers: T) -> Arc<Self> {
        Arc::new(Self {
            servers: Mutex::new(servers),
            fails_over: AtomicBool::new(false),
        })
    }
}

/// What peers share.
#[derive(Debug, Clone)]
pub(super) enum Servers {
    Sentinels(Arc<Shared<Sentinels>>),
    Cluster(Arc<Shared<Cluster>>),
}

/// Keeps the servers of a kind. When the last is dropped they end.
#[derive(Debug)]
pub struct Hold(Servers);

impl Hold {
    /// Starts them, unless somebody holds them already.
    pub async fn new(kind: Kind) -> anyhow::Result<Self> {
        Servers::of(kind).await.map(Self)
    }

    /// From now on a peer that is opened again finds that its master was killed.
    pub fn fail_over_from_now_on(&self) {
        match &self.0 {
            Servers::Sentinels(shared) => shared.fails_over.store(true, Ordering::SeqCst),
            Servers::Cluster(shared) => shared.fails_over.store(true, Ordering::SeqCst),
        }
    }
}

impl Servers {
    pub(super) async fn of(kind: Kind) -> anyhow::Result<Self> {
        if kind == Kind::Cluster {
            let mut known = CLUSTER.lock().await;
            if let Some(shared) = known.upgrade() {
                return Ok(Self::Cluster(shared));
            }
            let shared = Shared::new(Cluster::start_calm("nightshift").await?);
            *known = Arc::downgrade(&shared);
            return Ok(Self::Cluster(shared));
        }
        let mut known = SENTINELS.lock().await;
        if let Some(shared) = known.upgrade() {
            return Ok(Self::Sentinels(shared));
        }
        let shared = Shared::new(Sentinels::start_calm().await?);
        *known = Arc::downgrade(&shared);
        Ok(Self::Sentinels(shared))
    }

    /// The configuration of a bus with a prefix of its own.
    pub(super) async fn config(&self, rules: Rules) -> bus::Config {
        let prefix = format!("{}:", PREFIXES.fetch_add(1, Ordering::SeqCst));
        let config = match self {
            Self::Sentinels(shared) => sentinel(&*shared.servers.lock().await, rules),
            Self::Cluster(shared) => cluster(&*shared.servers.lock().await, rules),
        };
        bus::Config { prefix, ..config }
    }

    /// Kills the master and waits for the next, if that was asked for.
    pub(super) async fn restart(&self) -> anyhow::Result<()> {
        match self {
            Self::Sentinels(shared) if shared.fails_over.load(Ordering::SeqCst) => {
                shared.servers.lock().await.fail_over().await
            }
            Self::Cluster(shared) if shared.fails_over.load(Ordering::SeqCst) => {
                shared.servers.lock().await.fail_over().await
            }
            _ => Ok(()),
        }
    }
}

/// The configuration of a bus behind sentinels.
pub fn sentinel(servers: &Sentinels, rules: Rules) -> bus::Config {
    bus::Config {
        kind: bus::Kind::Sentinel,
        sentinel: bus::Sentinel {
            nodes: servers.nodes(),
            master: MASTER.to_owned(),
            ..bus::Sentinel::default()
        },
        durability: patient(),
        ..embedded("", rules)
    }
}

/// The configuration of a bus in a cluster.
pub fn cluster(servers: &Cluster, rules: Rules) -> bus::Config {
    bus::Config {
        kind: bus::Kind::Cluster,
        cluster: bus::Cluster {
            nodes: servers.nodes(),
        },
        durability: patient(),
        ..embedded("", rules)
    }
}

/// A busy machine takes long to flush on three servers.
fn patient() -> bus::Durability {
    bus::Durability {
        wait: Span::secs(5),
        ..bus::Durability::default()
    }
}
