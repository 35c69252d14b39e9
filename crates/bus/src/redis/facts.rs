//! What a server says of its durability, held against what is asked for.

use redis::{Value, cmd};

use super::link::{Failure, Link};
use super::reply;
use crate::config::{Config, Kind};
use crate::durability::Finding;

/// What the configuration asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) replicas: u32,
    pub(super) fsync: bool,
    /// Whether another server can take the master's place.
    pub(super) fails_over: bool,
}

impl Asked {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            replicas: config.replicas(),
            fsync: config.durability.fsync,
            fails_over: matches!(config.kind, Kind::Sentinel | Kind::Cluster),
        }
    }
}

/// What a server says. What it does not tell is `None`.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) version: Option<String>,
    replicas: u32,
    appendonly: Option<bool>,
    appendfsync: Option<String>,
    min_replicas: Option<u32>,
    evicts: Option<String>,
    memory_limited: bool,
    waitaof: bool,
}

impl Facts {
    /// Asks the server. A user may well work with streams without being allowed to ask for all of
    /// this.
    pub(super) async fn ask(link: &Link) -> Result<Self, Failure> {
        let info = link.command(cmd("INFO").arg("everything")).await?;
        let info = reply::text(info).unwrap_or_default();
        let mut facts = Self::read(&info);
        if let Ok(known) = link
            .command(cmd("COMMAND").arg("INFO").arg("WAITAOF"))
            .await
        {
            let known = reply::list(known).unwrap_or_default();
            facts.waitaof = matches!(known.first(), Some(Value::Array(_)));
        }
        for name in ["appendfsync", "min-replicas-to-write"] {
            let Ok(answer) = link.command(cmd("CONFIG").arg("GET").arg(name)).await else {
                continue;
            };
            let value = reply::list(answer)
                .ok()
                .and_then(|pair| pair.into_iter().nth(1));
            let value = value.and_then(|value| reply::text(value).ok());
            match name {
                "appendfsync" => facts.appendfsync = value,
                _ => facts.min_replicas = value.and_then(|value| value.parse().ok()),
            }
        }
        Ok(facts)
    }

    fn read(info: &str) -> Self {
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.strip_prefix(':')).map(str::trim)
        };
        let online = info.lines().filter(|line| {
            line.starts_with("slave") && line.contains("state=online") && line.contains("ip=")
        });
        Self {
            version: field("redis_version").map(str::to_owned),
            replicas: u32::try_from(online.count()).unwrap_or(u32::MAX),
            appendonly: field("aof_enabled").map(|enabled| enabled == "1"),
            evicts: field("maxmemory_policy")
                .filter(|policy| *policy != "noeviction")
                .map(str::to_owned),
            memory_limited: field("maxmemory").is_some_and(|limit| limit != "0"),
            ..Self::default()
        }
    }

    /// Everything that an operator should know.
    pub(super) fn against(&self, asked: Asked) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.replication(asked, &mut findings);
        self.disk(asked, &mut findings);
        if let Some(policy) = &self.evicts {
            let text = format!(
                "maxmemory-policy is {policy}: keys may be evicted when memory is short; set \
                 maxmemory-policy noeviction"
            );
            findings.push(if self.memory_limited {
                Finding::bad(text)
            } else {
                Finding::warning(text)
            });
        }
        findings
    }

    fn replication(&self, asked: Asked, findings: &mut Vec<Finding>) {
        let (have, want) = (self.replicas, asked.replicas);
        if have < want {
            findings.push(Finding::bad(format!(
                "{have} of the {want} replicas that bus.durability.replicas asks for follow the \
                 master: nothing counts as stored; start more replicas or ask for fewer"
            )));
        } else if want > 0 && have == want {
            findings.push(Finding::warning(format!(
                "{have} replicas follow the master and all are waited for: when one is down, or \
                 takes the master's place, nothing counts as stored; add a replica"
            )));
        } else if want > 0 {
            findings.push(Finding::good(if asked.fails_over {
                format!(
                    "a write waits for all replicas that are up, {have} now, and for {want} at least"
                )
            } else {
                format!("a write waits for {want} of {have} replicas")
            }));
        } else if asked.fails_over {
            let mut text = String::from(
                "no replica is waited for: a failover can forget what was acknowledged and hand \
                 out a fencing token twice; set bus.durability.replicas to 1",
            );
            if self.min_replicas == Some(0) {
                text.push_str(", or at least min-replicas-to-write to 1");
            }
            findings.push(Finding::warning(text));
        }
    }

    fn disk(&self, asked: Asked, findings: &mut Vec<Finding>) {
        let proven = asked.fsync && self.waitaof;
        match self.appendonly {
            Some(false) => {
                let text = "there is no append-only file: what was acknowledged is lost when the \
                            server crashes; set appendonly yes and appendfsync always";
                findings.push(if asked.fsync || asked.replicas == 0 {
                    Finding::bad(text)
                } else {
                    Finding::warning(text)
                });
                return;
            }
            None => {
                findings.push(Finding::warning(
                    "the server does not tell whether it has an append-only file; allow INFO, or \
                     see yourself that appendonly is yes",
                ));
                return;
            }
            Some(true) => {}
        }
        findings.push(match self.appendfsync.as_deref() {
            _ if proven => Finding::good("a write waits for the disks (WAITAOF)"),
            Some("always") if asked.fsync && asked.replicas > 0 => Finding::warning(
                "bus.durability.fsync holds for the master only (appendfsync always); waiting for \
                 the replicas' disks needs WAITAOF, Redis 7.2",
            ),
            Some("always") => Finding::good("every write is flushed to the disk first"),
            _ if asked.fsync => Finding::bad(
                "bus.durability.fsync is asked for and cannot be kept: nothing counts as stored; \
                 set appendfsync always, or use Redis 7.2 or newer for WAITAOF",
            ),
            Some(policy) => Finding::warning(format!(
                "appendfsync is {policy}: a power failure takes what was acknowledged {}; set \
                 appendfsync always",
                if policy == "everysec" {
                    "in the last 2 s"
                } else {
                    "since the system last flushed"
                }
            )),
            None => Finding::warning(
                "the server does not tell appendfsync; allow CONFIG GET, or see yourself that it \
                 is always",
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "redis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
                        aof_enabled:1\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\n\
                        slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
                        slave_expires_tracked_keys:0\r\n";

    fn check(change: impl FnOnce(&mut Facts, &mut Asked), expect: &[&str]) {
        let mut facts = Facts::read(INFO);
        facts.appendfsync = Some("always".to_owned());
        let mut asked = Asked {
            replicas: 0,
            fsync: false,
            fails_over: false,
        };
        change(&mut facts, &mut asked);
        let found = facts.against(asked);
        let found: Vec<String> = found
            .iter()
            .map(|finding| format!("{:?}: {}", finding.grade, finding.text))
            .collect();
        let fits = found.len() == expect.len()
            && std::iter::zip(&found, expect).all(|(found, expect)| found.starts_with(expect));
        assert!(fits, "{found:#?}");
    }

    #[test]
    fn what_is_asked_for_is_held_against_what_the_server_does() {
        check(|_, _| {}, &["Good: every write is flushed"]);
        check(
            |facts, _| facts.appendfsync = Some("everysec".to_owned()),
            &["Warning: appendfsync is everysec: a power failure takes what was acknowledged in"],
        );
        check(
            |facts, _| facts.appendonly = Some(false),
            &["Bad: there is no append-only file"],
        );
        check(
            |facts, asked| {
                facts.appendonly = Some(false);
                asked.replicas = 1;
            },
            &[
                "Warning: 1 replicas follow the master and all",
                "Warning: there is no append-only file",
            ],
        );
        check(
            |facts, _| facts.appendfsync = None,
            &["Warning: the server does not tell appendfsync"],
        );
        check(
            |_, asked| asked.replicas = 2,
            &["Bad: 1 of the 2 replicas", "Good: every write is flushed"],
        );
        check(
            |facts, asked| {
                facts.replicas = 2;
                asked.replicas = 1;
                asked.fsync = true;
            },
            &[
                "Good: a write waits for 1 of 2 replicas",
                "Warning: bus.durability.fsync holds for the master only",
            ],
        );
        check(
            |facts, asked| {
                facts.appendfsync = Some("everysec".to_owned());
                asked.fsync = true;
            },
            &["Bad: bus.durability.fsync is asked for and cannot be kept"],
        );
        check(
            |facts, asked| {
                facts.appendfsync = Some("everysec".to_owned());
                facts.waitaof = true;
                asked.fsync = true;
            },
            &["Good: a write waits for the disks"],
        );
        check(
            |facts, asked| {
                facts.min_replicas = Some(0);
                asked.fails_over = true;
            },
            &[
                "Warning: no replica is waited for: a failover can forget",
                "Good: every write is flushed",
            ],
        );
    }

    #[test]
    fn a_server_that_evicts_is_bad() {
        check(
            |facts, _| {
                facts.evicts = Some("allkeys-lru".to_owned());
                facts.memory_limited = true;
            },
            &[
                "Good: every write is flushed",
                "Bad: maxmemory-policy is allkeys-lru",
            ],
        );
    }
}
