//! The bus section of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use runtime::config::{ByteSize, Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nats::NatsConfig;

pub use crate::redis::config::{Cluster, Durability, Sentinel};

/// Where streams and the store live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One file, one process; nothing to install.
    #[default]
    Embedded,
    /// A Redis (7.0 or newer) or Valkey server that several processes share.
    Redis,
    /// Redis servers that sentinels watch: when the master is gone, a replica takes its place.
    Sentinel,
    /// A Redis Cluster. All keys are in one slot, so it adds availability, not throughput.
    Cluster,
    /// NATS servers (2.9 or newer) with JetStream that several processes share.
    Nats,
}

/// Settings of the bus. Every process of one installation must use the same ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `embedded` (one process), or `redis`, `sentinel`, `cluster`, `nats` (several processes share
    /// the work).
    pub kind: Kind,
    /// Folder of the embedded log; made if it is missing. What it holds is the only copy.
    pub data_dir: PathBuf,
    /// Memory for the embedded log's pages. Less means more reads from the disk.
    pub cache: ByteSize,
    /// Size from which the embedded log is compacted at the start if less than half of it is used.
    /// Compacting takes about a second for 100 MiB.
    pub compact_min: ByteSize,
    /// Operations that wait for the embedded log's writer; more wait in line until `timeout`.
    pub queue_ops: usize,
    /// Operations that share one flush to the disk, and appends that share one trip to Redis. One
    /// means a flush and a trip for each.
    pub group_ops: usize,
    /// How long the first operation of a flush waits for others that are on their way.
    pub group_wait: Span,
    /// Address of Redis, such as `redis://redis:6379`. It is read by people, so a password belongs
    /// in `url_file`.
    pub url: String,
    /// File that holds the address, with the password in it. Beats `url`.
    pub url_file: Option<PathBuf>,
    /// User at the Redis servers; the default user if left out.
    pub user: Option<String>,
    /// File that holds the password of the Redis servers. Beats one in the address.
    pub password_file: Option<PathBuf>,
    /// Redis database. Scalers that watch the streams must use the same. A cluster has only 0.
    pub database: u32,
    /// Put before every Redis key, so that installations can share a server. Scalers rely on the
    /// stream names, so leave it empty unless you must. In a cluster all keys begin with
    /// `{nightshift}:` unless this names another tag, such as `{team-a}:`.
    pub prefix: String,
    /// The sentinels, with `kind = "sentinel"`.
    pub sentinel: Sentinel,
    /// The cluster, with `kind = "cluster"`.
    pub cluster: Cluster,
    /// What it takes on Redis until something counts as stored.
    pub durability: Durability,
    /// How long a worker may be silent before its entry goes to somebody else. Shorter means faster
    /// recovery and more heartbeats.
    pub lease: Span,
    /// Deliveries without success before an entry becomes a dead letter.
    pub attempts_max: u32,
    /// Deliveries of one entry that a restart of the worker itself cut short and that are not held
    /// against the entry. Bounds how often an entry can take the process down.
    pub restarts_forgiven: u32,
    /// How long the key of an entry is remembered: the same key within it is stored once.
    pub dedup_window: Span,
    /// Unprocessed entries a stream holds before it refuses more.
    pub capacity: u64,
    /// Longest wait for one answer of the disk or of Redis; then the bus counts as unavailable.
    pub timeout: Span,
    /// How often a waiting claim looks again although nothing rang. Only the fallback when a
    /// wake-up is lost.
    pub poll: Span,
    /// How long one blocking read of Redis lasts. Each stream that is claimed from keeps one
    /// connection for it.
    pub block: Span,
    /// How often what is expired, acknowledged or orphaned is removed.
    pub sweep: Span,
    /// Rows removed in one step of the sweep; the sweep steps until nothing is left.
    pub sweep_rows: usize,
    /// How long a Redis consumer without work is kept before its name is forgotten.
    pub consumer_idle: Span,
    /// Settings of the bus on NATS.
    pub nats: NatsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Embedded,
            data_dir: PathBuf::from("nightshift-data"),
            cache: ByteSize::mib(16),
            compact_min: ByteSize::mib(64),
            queue_ops: 1024,
            group_ops: 64,
            group_wait: Span::millis(2),
            url: String::from("redis://127.0.0.1:6379"),
            url_file: None,
            user: None,
            password_file: None,
            database: 4,
            prefix: String::new(),
            sentinel: Sentinel::default(),
            cluster: Cluster::default(),
            durability: Durability::default(),
            lease: Span::secs(60),
            attempts_max: 5,
            restarts_forgiven: 20,
            dedup_window: Span::secs(24 * 3600),
            capacity: 100_000,
            timeout: Span::secs(3),
            poll: Span::secs(1),
            block: Span::secs(5),
            sweep: Span::secs(5),
            sweep_rows: 256,
            consumer_idle: Span::secs(3600),
            nats: NatsConfig::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut problem = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        for (field, value) in [
            ("lease", self.lease),
            ("dedup_window", self.dedup_window),
            ("timeout", self.timeout),
            ("poll", self.poll),
            ("block", self.block),
            ("sweep", self.sweep),
            ("consumer_idle", self.consumer_idle),
        ] {
            if value.0 < Duration::from_millis(10) {
                let what = format!("{value} is too short");
                problem(field, what, "Give at least \"10ms\"");
            }
        }
        for (field, value) in [
            ("queue_ops", self.queue_ops as u64),
            ("group_ops", self.group_ops as u64),
            ("attempts_max", u64::from(self.attempts_max)),
            ("capacity", self.capacity),
            ("sweep_rows", self.sweep_rows as u64),
        ] {
            if value == 0 {
                problem(field, String::from("0 allows nothing"), "Give at least 1");
            }
        }
        if self.kind == Kind::Embedded && self.data_dir.as_os_str().is_empty() {
            let what = String::from("it is empty");
            problem("data_dir", what, "Name a folder on a disk that lasts");
        }
        crate::redis::config::check(self, &mut problem);
        if self.kind == Kind::Nats {
            self.nats.check(&format!("{path}.nats"), problems);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config), expect: &[&str]) {
        let mut config = Config::default();
        change(&mut config);
        let mut problems = Vec::new();
        config.check("bus", &mut problems);
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, expect, "{problems:?}");
    }

    #[test]
    fn defaults_work_and_nonsense_is_named() {
        check(|_| {}, &[]);
        check(|c| c.kind = Kind::Redis, &[]);
        check(|c| c.lease = Span::millis(1), &["bus.lease"]);
        check(|c| c.capacity = 0, &["bus.capacity"]);
        check(|c| c.data_dir = PathBuf::new(), &["bus.data_dir"]);
        check(
            |c| {
                c.kind = Kind::Redis;
                c.url = String::from("redis://:word@redis:6379");
            },
            &["bus.url"],
        );
        check(
            |c| {
                c.kind = Kind::Redis;
                c.url = String::from("redis:6379");
            },
            &["bus.url"],
        );
        check(
            |c| {
                c.kind = Kind::Redis;
                c.url = String::from("redis://redis:6379/7");
            },
            &["bus.url"],
        );
        check(|c| c.kind = Kind::Cluster, &["bus.cluster.nodes"]);
        check(
            |c| {
                c.kind = Kind::Sentinel;
                c.sentinel.nodes = ["a", "rediss://b", "c:port"].map(String::from).to_vec();
                c.sentinel.master = String::new();
            },
            &[
                "bus.sentinel.nodes[2]",
                "bus.sentinel.nodes",
                "bus.sentinel.master",
            ],
        );
        check(
            |c| {
                c.kind = Kind::Cluster;
                c.cluster.nodes = vec![String::from("redis:6379")];
                c.prefix = String::from("{}:");
                c.durability.wait = Span::secs(3);
                c.durability.replicas = Some(17);
            },
            &[
                "bus.prefix",
                "bus.durability.wait",
                "bus.durability.replicas",
            ],
        );
    }
}
