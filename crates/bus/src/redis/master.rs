//! Who is master now. Asked anew for every connection and never remembered longer than it, so that
//! nobody goes on writing to a server that was replaced.
//!
//! Several are asked at once and the newest answer counts: one that was cut off from the others may
//! still name the old master.
//!
//! They also know which replicas could take the master's place. While one of them does so, the old
//! master may live on for a moment, and the replicas that still follow it would vouch for writes that
//! are lost with it. The one that left it does not, so all that could take its place are waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use incident::ports::Clock;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, RedisConnectionInfo, Value};

use super::address::{self, Node};
use super::link::Failure;
use super::reply;
use crate::config::{Config, Kind};
use crate::error::OpenError;
use crate::wait::within;

/// How the master is found.
enum How {
    /// There is one server.
    Fixed(Box<ConnectionInfo>),
    /// Sentinels know.
    Sentinels {
        master: String,
        settings: RedisConnectionInfo,
    },
    /// Nodes know whose slot `key` is in.
    Cluster { key: String },
}

/// Finds the master.
pub(super) struct Masters {
    how: How,
    /// Who is asked.
    asked: Vec<Node>,
    /// For the servers with the data.
    settings: RedisConnectionInfo,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

/// One answer to the question who is master.
struct Vote {
    /// The larger, the newer.
    epoch: u64,
    node: Node,
    /// Replicas that could take its place.
    heirs: u32,
}

/// The master.
pub(super) struct Found {
    pub(super) info: ConnectionInfo,
    /// Replicas that could take its place.
    pub(super) heirs: u32,
}

/// How long the others may take once a majority has answered.
const STRAGGLERS: Duration = Duration::from_millis(200);

impl Masters {
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (how, asked) = match config.kind {
            Kind::Sentinel => {
                let how = How::Sentinels {
                    master: config.sentinel.master.clone(),
                    settings: address::sentinel_settings(config)?,
                };
                (how, address::nodes(&config.sentinel.nodes, 26_379)?)
            }
            Kind::Cluster => {
                let key = config.redis_prefix();
                (
                    How::Cluster { key },
                    address::nodes(&config.cluster.nodes, 6379)?,
                )
            }
            _ => {
                let info = address::server(config)?;
                (How::Fixed(Box::new(info)), Vec::new())
            }
        };
        let database = if config.kind == Kind::Cluster {
            0
        } else {
            config.database
        };
        Ok(Self {
            how,
            asked,
            settings: address::settings(config, database)?,
            timeout: config.timeout.0,
            clock,
        })
    }

    /// Whether there is only one server that could be it.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.how, How::Fixed(_))
    }

    /// Who it is now.
    pub(super) async fn find(&self) -> Result<Found, Failure> {
        if let How::Fixed(info) = &self.how {
            return Ok(Found {
                info: info.as_ref().clone(),
                heirs: 0,
            });
        }
        let started = self.clock.elapsed();
        // A host that swallows packets must not use up the time for all.
        let bound = self.timeout / 3;
        let mut asking: FuturesUnordered<_> = self
            .asked
            .iter()
            .map(|node| async move { (node, self.ask(node, bound).await) })
            .collect();
        let majority = self.asked.len() / 2 + 1;
        let (mut newest, mut votes): (Option<Vote>, usize) = (None, 0);
        let (mut refused, mut why) = (true, String::from("no answer in time"));
        loop {
            let passed = self.clock.elapsed().saturating_sub(started);
            let left = if votes >= majority {
                STRAGGLERS.min(bound)
            } else {
                bound.saturating_sub(passed)
            };
            let Some(Some((node, vote))) = within(&*self.clock, left, asking.next()).await else {
                break;
            };
            match vote {
                Ok(vote) => {
                    votes += 1;
                    if newest.as_ref().is_none_or(|best| vote.beats(best)) {
                        newest = Some(vote);
                    }
                }
                Err(failure) => {
                    refused &= failure.refused;
                    why = format!("{node}: {}", failure.error);
                }
            }
        }
        // Whoever did not answer at all may still say something else.
        refused &= asking.is_empty();
        let Some(newest) = newest else {
            let error = format!("nobody says who is master; {why}");
            return Err(Failure {
                refused,
                ..Failure::new(error)
            });
        };
        Ok(Found {
            info: newest.node.info(&self.settings).map_err(Failure::new)?,
            heirs: newest.heirs,
        })
    }

    async fn ask(&self, node: &Node, bound: Duration) -> Result<Vote, Failure> {
        let mut question = Pipeline::new();
        let settings = match &self.how {
            How::Sentinels { master, settings } => {
                // The first knows of a failover that is not over yet, the second how new that is.
                question.cmd("SENTINEL");
                question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
                question.cmd("SENTINEL").arg("MASTER").arg(master);
                question.cmd("SENTINEL").arg("REPLICAS").arg(master);
                settings
            }
            How::Cluster { key } => {
                question.cmd("CLUSTER").arg("KEYSLOT").arg(key);
                question.cmd("CLUSTER").arg("NODES");
                &self.settings
            }
            How::Fixed(_) => return Err(Failure::new("nobody is asked")),
        };
        let info = node.info(settings).map_err(Failure::new)?;
        let mut connection = connect(info, bound, bound).await?;
        let answer: Result<Value, _> = question.query_async(&mut connection).await;
        let answer = answer.map_err(|error| {
            let failure = Failure::from(error);
            Failure {
                refused: failure.refused || failure.error.contains("No such master"),
                ..failure
            }
        })?;
        match &self.how {
            How::Cluster { .. } => slot_owner(answer, node),
            _ => monitored(answer, node.tls),
        }
        .map_err(Failure::new)
    }
}

/// A connection of its own.
pub(super) async fn connect(
    info: ConnectionInfo,
    connecting: Duration,
    response: Duration,
) -> Result<MultiplexedConnection, Failure> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connecting))
        .set_response_timeout(Some(response));
    let client = Client::open(info)?;
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

impl Vote {
    /// The newer one; of two that are as new, the one that asks for more.
    fn beats(&self, other: &Self) -> bool {
        (self.epoch, self.heirs) > (other.epoch, other.heirs)
    }
}

/// Names and values in turn.
fn fields(flat: Value) -> Result<BTreeMap<String, String>, String> {
    let mut fields = BTreeMap::new();
    let mut flat = reply::list(flat)?.into_iter();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        fields.insert(reply::text(name)?, reply::text(value)?);
    }
    Ok(fields)
}

/// What a sentinel says: the address, what it knows of the master, what it knows of each replica.
fn monitored(answer: Value, tls: bool) -> Result<Vote, String> {
    let [address, master, replicas] = reply::exactly(answer)?;
    let [host, port] = reply::exactly(address)?;
    let port = reply::text(port)?;
    let node = Node {
        host: reply::text(host)?,
        port: port.parse().map_err(|_| format!("{port:?} is no port"))?,
        tls,
    };
    let epoch = fields(master)?
        .get("config-epoch")
        .and_then(|epoch| epoch.parse().ok())
        .ok_or(reply::ODD)?;
    let mut heirs = 0;
    for replica in reply::list(replicas)? {
        let replica = fields(replica)?;
        let flags = replica.get("flags").map(String::as_str).unwrap_or_default();
        let is_down = flags
            .split(',')
            .any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"));
        // One that was master before it went away says so until it is told otherwise.
        let follows = replica
            .get("role-reported")
            .is_none_or(|role| role == "slave");
        heirs += u32::from(!is_down && follows);
    }
    Ok(Vote { epoch, node, heirs })
}

/// What a node of a cluster says: the slot, and a line for each node it knows.
fn slot_owner(answer: Value, asked: &Node) -> Result<Vote, String> {
    let [slot, nodes] = reply::exactly(answer)?;
    let slot = reply::count(&slot)?;
    let nodes = reply::text(nodes)?;
    let lines: Vec<Vec<&str>> = nodes
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    for line in &lines {
        let [id, address, flags, _, _, _, epoch, _, slots @ ..] = line.as_slice() else {
            continue;
        };
        if !has_flag(flags, "master") || !slots.iter().any(|range| holds(range, slot)) {
            continue;
        }
        let heirs = lines.iter().filter(|line| {
            matches!(line.as_slice(), [_, _, flags, master, ..] if master == id
                && has_flag(flags, "slave") && !has_flag(flags, "fail"))
        });
        return Ok(Vote {
            epoch: epoch.parse().map_err(|_| reply::ODD)?,
            node: node_of(address, asked).ok_or_else(|| format!("{address:?} is no address"))?,
            heirs: u32::try_from(heirs.count()).unwrap_or(u32::MAX),
        });
    }
    Err(format!("no node has slot {slot}"))
}

fn has_flag(flags: &str, flag: &str) -> bool {
    flags.split(',').any(|found| found == flag)
}

/// Whether `range` (such as `7` or `0-5460`, but not `[7-<-id]`) holds `slot`.
fn holds(range: &str, slot: u64) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&slot),
        _ => false,
    }
}

/// Reads `ip:port@busport,hostname`. A certificate has a host's name, so with TLS that is taken.
fn node_of(text: &str, asked: &Node) -> Option<Node> {
    let (address, hostname) = text.split_once(',').unwrap_or((text, ""));
    let hostname = hostname.split(',').next().unwrap_or_default();
    let address = address.split('@').next()?;
    let (ip, port) = address.rsplit_once(':')?;
    let host = if asked.tls && !hostname.is_empty() {
        hostname
    } else if ip.is_empty() {
        // It does not know its own address yet; we do.
        &asked.host
    } else {
        ip
    };
    Some(Node {
        host: host.to_owned(),
        port: port.parse().ok()?,
        tls: asked.tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_slot_is_found_in_what_nodes_say() {
        let nodes = "\
a1 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460 5470
a2 10.0.0.2:7000@17000,two.example slave a1 0 0 1 connected
a5 10.0.0.5:7000@17000 slave,fail a1 0 0 1 disconnected
a6 10.0.0.6:7000@17000 slave,fail? a1 0 0 1 connected
a3 10.0.0.3:7000@17000,three.example,shard-id=x master - 0 0 9 connected 5461-5469 5471-9999 [5470-<-a1]
a4 :7000@17000 master - 0 0 2 connected 10000-16383
";
        let check = |slot: i64, tls: bool, expect: &str| {
            let asked = Node {
                host: "seed".to_owned(),
                port: 7000,
                tls,
            };
            let nodes = Value::BulkString(nodes.as_bytes().to_vec());
            let answer = Value::Array(vec![Value::Int(slot), nodes]);
            let found = match slot_owner(answer, &asked) {
                Ok(vote) => format!("{} {} {}", vote.epoch, vote.node, vote.heirs),
                Err(why) => why,
            };
            assert_eq!(found, expect, "{slot}");
        };
        check(0, false, "1 10.0.0.1:7000 2");
        check(5470, false, "1 10.0.0.1:7000 2");
        check(5469, false, "9 10.0.0.3:7000 0");
        check(5469, true, "9 three.example:7000 0");
        check(16383, false, "2 seed:7000 0");
        check(16384, false, "no node has slot 16384");
    }
}
