//! The parts of the configuration that only Redis behind sentinels, in a cluster or with replicas
//! needs.

use std::path::PathBuf;
use std::time::Duration;

use runtime::config::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{self, Node};
use crate::config::{Config, Kind};

/// Most sentinels or cluster nodes that may be named.
const NODES_MAX: usize = 64;
/// Most replicas that can be waited for.
const REPLICAS_MAX: u32 = 16;

/// Where the sentinels are and what they call the master. Used with `kind = "sentinel"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sentinel {
    /// The sentinels, such as `["sentinel-0:26379", "sentinel-1:26379"]`; `rediss://` in front means
    /// TLS, with them and with the servers. Name all of them: any that answers will do.
    pub nodes: Vec<String>,
    /// What the sentinels call the master (`sentinel monitor <name>`).
    pub master: String,
    /// User at the sentinels. The servers' own is `bus.user`.
    pub user: Option<String>,
    /// File with the password of the sentinels, if they ask for one.
    pub password_file: Option<PathBuf>,
}

impl Default for Sentinel {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            master: String::from("mymaster"),
            user: None,
            password_file: None,
        }
    }
}

/// Where the cluster is. Used with `kind = "cluster"`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Some nodes of the cluster, such as `["redis-0:6379", "redis-1:6379"]`; `rediss://` in front
    /// means TLS. The others are found through any that answers.
    pub nodes: Vec<String>,
}

/// What it takes until something counts as stored. What does not reach it in time counts as not
/// stored, and whoever sent it is asked to send it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Durability {
    /// Least number of replicas that must have a write. Left out: 1 with `sentinel` and `cluster`, 0
    /// with `redis`. Unless it is 0, `sentinel` and `cluster` wait for all replicas that are up, because
    /// any of them may become master. With 0, a failover can forget what was acknowledged and hand out
    /// a fencing token twice; the larger it is, the fewer servers may be down before nothing can be
    /// stored.
    pub replicas: Option<u32>,
    /// Whether the server, and those replicas, must have written it to their disks. Needs WAITAOF
    /// (Redis 7.2); older servers can promise it for themselves only, with `appendfsync always`.
    pub fsync: bool,
    /// Longest wait for replicas and disks.
    pub wait: Span,
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            replicas: None,
            fsync: false,
            wait: Span::secs(1),
        }
    }
}

impl Config {
    /// Whether the bus is a Redis of any kind.
    pub fn is_redis(&self) -> bool {
        matches!(self.kind, Kind::Redis | Kind::Sentinel | Kind::Cluster)
    }

    /// Replicas that must have a write before it counts as stored.
    pub(crate) fn replicas(&self) -> u32 {
        let usual = match self.kind {
            Kind::Sentinel | Kind::Cluster => 1,
            _ => 0,
        };
        self.durability.replicas.unwrap_or(usual)
    }

    /// What stands before every key. In a cluster it holds the tag that puts all keys into one slot.
    pub(crate) fn redis_prefix(&self) -> String {
        if self.kind == Kind::Cluster && address::tag(&self.prefix).is_none() {
            return format!("{{nightshift}}:{}", self.prefix);
        }
        self.prefix.clone()
    }

    /// Files of Redis that hold secrets, with the path of the field that names each.
    pub fn redis_secret_files(&self) -> Vec<(&'static str, &PathBuf)> {
        let url = self.url_file.as_ref().filter(|_| self.kind == Kind::Redis);
        let password = self.password_file.as_ref().filter(|_| self.is_redis());
        let sentinel = self.sentinel.password_file.as_ref();
        let sentinel = sentinel.filter(|_| self.kind == Kind::Sentinel);
        [
            ("bus.url_file", url),
            ("bus.password_file", password),
            ("bus.sentinel.password_file", sentinel),
        ]
        .into_iter()
        .filter_map(|(path, file)| Some((path, file?)))
        .collect()
    }
}

/// Adds what is wrong with the settings of any Redis.
pub(crate) fn check(config: &Config, problem: &mut impl FnMut(&str, String, &str)) {
    match config.kind {
        Kind::Redis => check_url(config, problem),
        Kind::Sentinel => {
            check_nodes("sentinel.nodes", &config.sentinel.nodes, 26_379, problem);
            let name = &config.sentinel.master;
            if name.is_empty() || name.contains(char::is_whitespace) {
                let what = format!("{name:?} is no name");
                let remedy = "Write the name from `sentinel monitor <name>`";
                problem("sentinel.master", what, remedy);
            }
        }
        Kind::Cluster => {
            check_nodes("cluster.nodes", &config.cluster.nodes, 6379, problem);
            if config.prefix.contains(['{', '}']) && address::tag(&config.prefix).is_none() {
                let what = format!("{:?} has braces that hold no hash tag", config.prefix);
                problem("prefix", what, "Write it like \"{team-a}:\"");
            }
        }
        _ => return,
    }
    check_durability(config, problem);
}

fn check_url(config: &Config, problem: &mut impl FnMut(&str, String, &str)) {
    if config.url_file.is_some() {
        return;
    }
    if config.url.contains('@') {
        let what = String::from("it holds credentials");
        let remedy = "Put the whole address in a file and name the file in `url_file`";
        problem("url", what, remedy);
    } else if let Err(error) = address::parse(&config.url, config.database) {
        problem("url", error, "Write it like \"redis://redis:6379\"");
    }
}

fn check_nodes(
    field: &str,
    nodes: &[String],
    port: u16,
    problem: &mut impl FnMut(&str, String, &str),
) {
    let remedy = format!("Write it like [\"redis-0:{port}\", \"redis-1:{port}\"]");
    if nodes.is_empty() {
        return problem(field, String::from("it names none"), &remedy);
    }
    if nodes.len() > NODES_MAX {
        let what = format!("it names {}, the limit is {NODES_MAX}", nodes.len());
        return problem(field, what, "Leave some out; they are found by themselves");
    }
    let mut tls = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        match Node::parse(node, port) {
            Ok(node) => tls.push(node.tls),
            Err(why) => problem(&format!("{field}[{at}]"), why, &remedy),
        }
    }
    if tls.windows(2).any(|pair| pair[0] != pair[1]) {
        let what = String::from("some are to be reached over TLS and some are not");
        problem(field, what, "Write rediss:// in front of all or of none");
    }
}

fn check_durability(config: &Config, problem: &mut impl FnMut(&str, String, &str)) {
    let wait = config.durability.wait;
    if wait.0 < Duration::from_millis(10) {
        let what = format!("{wait} is too short");
        problem("durability.wait", what, "Give at least \"10ms\"");
    }
    if wait.0 >= config.timeout.0 {
        let what = format!("{wait} is not less than bus.timeout, {}", config.timeout);
        problem(
            "durability.wait",
            what,
            "Shorten it or lengthen bus.timeout",
        );
    }
    let replicas = config.replicas();
    if replicas > REPLICAS_MAX {
        let what = format!("{replicas} replicas are too many");
        let remedy = format!("Give at most {REPLICAS_MAX}, and not more than there are");
        problem("durability.replicas", what, &remedy);
    }
}
