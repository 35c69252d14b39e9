//! Who is master now. Asked anew for every connection and never remembered longer than it, so that
//! nobody goes on writing to a server that was replaced.
//!
//! Several are asked at once and the newest answer counts: one that was cut off from the others may
//! still name the old master.

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
}

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
    pub(super) async fn find(&self) -> Result<ConnectionInfo, Failure> {
        if let How::Fixed(info) = &self.how {
            return Ok(info.as_ref().clone());
        }
        // A host that swallows packets must not use up the time for all.
        let bound = self.timeout / 3;
        let mut asking: FuturesUnordered<_> = self
            .asked
            .iter()
            .map(|node| async move {
                let asked = within(&*self.clock, bound, self.ask(node, bound)).await;
                let vote = asked.unwrap_or_else(|| Err(Failure::new("no answer in time")));
                (node, vote)
            })
            .collect();
        let majority = self.asked.len() / 2 + 1;
        let (mut newest, mut votes): (Option<Vote>, usize) = (None, 0);
        let (mut refused, mut why) = (true, String::new());
        while let Some((node, vote)) = asking.next().await {
            match vote {
                Ok(vote) => {
                    votes += 1;
                    if newest.as_ref().is_none_or(|best| vote.epoch > best.epoch) {
                        newest = Some(vote);
                    }
                }
                Err(failure) => {
                    refused &= failure.refused;
                    why = format!("{node}: {}", failure.error);
                }
            }
            if votes >= majority {
                break;
            }
        }
        let Some(newest) = newest else {
            let error = format!("nobody says who is master; {why}");
            return Err(Failure {
                refused,
                ..Failure::new(error)
            });
        };
        let info = newest.node.info(&self.settings);
        info.map_err(Failure::new)
    }

    async fn ask(&self, node: &Node, bound: Duration) -> Result<Vote, Failure> {
        let mut question = Pipeline::new();
        let settings = match &self.how {
            How::Sentinels { master, settings } => {
                // The first knows of a failover that is not over yet, the second how new that is.
                question.cmd("SENTINEL");
                question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
                question.cmd("SENTINEL").arg("MASTER").arg(master);
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
        let answer: Result<[Value; 2], _> = question.query_async(&mut connection).await;
        let [first, second] = answer.map_err(|error| {
            let failure = Failure::from(error);
            Failure {
                refused: failure.refused || failure.error.contains("No such master"),
                ..failure
            }
        })?;
        match &self.how {
            How::Cluster { .. } => slot_owner(&first, second, node),
            _ => monitored(first, second, node.tls),
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

/// What a sentinel says: the address, and what else it knows.
fn monitored(address: Value, known: Value, tls: bool) -> Result<Vote, String> {
    let [host, port] = reply::exactly(address)?;
    let port = reply::text(port)?;
    let node = Node {
        host: reply::text(host)?,
        port: port.parse().map_err(|_| format!("{port:?} is no port"))?,
        tls,
    };
    let mut flat = reply::list(known)?.into_iter();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        if reply::text(name)? == "config-epoch" {
            let epoch = reply::text(value)?.parse().map_err(|_| reply::ODD)?;
            return Ok(Vote { epoch, node });
        }
    }
    Err(reply::ODD.to_owned())
}

/// What a node of a cluster says: the slot, and a line for each node it knows.
fn slot_owner(slot: &Value, nodes: Value, asked: &Node) -> Result<Vote, String> {
    let slot = reply::count(slot)?;
    let nodes = reply::text(nodes)?;
    for line in nodes.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, address, flags, _, _, _, epoch, _, slots @ ..] = fields.as_slice() else {
            continue;
        };
        let is_master = flags.split(',').any(|flag| flag == "master");
        if !is_master || !slots.iter().any(|range| holds(range, slot)) {
            continue;
        }
        return Ok(Vote {
            epoch: epoch.parse().map_err(|_| reply::ODD)?,
            node: node_of(address, asked).ok_or_else(|| format!("{address:?} is no address"))?,
        });
    }
    Err(format!("no node has slot {slot}"))
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
            let found = match slot_owner(&Value::Int(slot), nodes, &asked) {
                Ok(vote) => format!("{} {}", vote.epoch, vote.node),
                Err(why) => why,
            };
            assert_eq!(found, expect, "{slot}");
        };
        check(0, false, "1 10.0.0.1:7000");
        check(5470, false, "1 10.0.0.1:7000");
        check(5469, false, "9 10.0.0.3:7000");
        check(5469, true, "9 three.example:7000");
        check(16383, false, "2 seed:7000");
        check(16384, false, "no node has slot 16384");
    }
}
