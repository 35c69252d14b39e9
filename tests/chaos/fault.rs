//! What is done to the system, and which scenarios there are on which bus.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where streams and state live during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bus {
    /// One process, one file.
    Embedded,
    /// One Redis server.
    Redis,
    /// Redis servers that sentinels watch.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
    /// One NATS server with JetStream.
    Nats,
}

impl Bus {
    /// What can be done on this bus. The first ones are special to it.
    fn faults(self) -> Vec<Fault> {
        use Fault::{
            AgentsKill, ClockJump, DiskFull, DispatcherFreeze, DispatcherKill, HookKill,
            MasterFreeze, MasterKill, ProcessKill, ServerFreeze, ServerKill, ServerRestart,
            ShardFreeze, ShardKill, SlowAgents, TornTail,
        };
        match self {
            Self::Embedded => vec![ProcessKill, ClockJump, DiskFull, SlowAgents],
            Self::Redis => vec![
                ServerKill,
                ServerFreeze,
                TornTail,
                HookKill,
                DispatcherKill,
                DispatcherFreeze,
                AgentsKill,
                ClockJump,
                DiskFull,
                SlowAgents,
            ],
            Self::Sentinel => vec![MasterKill, MasterFreeze, DispatcherKill, AgentsKill],
            Self::Cluster => vec![ShardKill, ShardFreeze, DispatcherKill, AgentsKill],
            Self::Nats => vec![
                ServerKill,
                ServerRestart,
                ServerFreeze,
                HookKill,
                DispatcherKill,
                AgentsKill,
            ],
        }
    }

    /// All scenarios: each fault by itself, all of them mixed, the same with the real Alertmanager,
    /// and what is beyond the durability asked for.
    pub(crate) fn scenarios(self) -> Vec<Scenario> {
        let faults = self.faults();
        let mut scenarios: Vec<Scenario> = faults
            .iter()
            .map(|fault| Scenario::new(fault.name(), vec![*fault]))
            .collect();
        scenarios.push(Scenario::new("mixed", faults.clone()));
        scenarios.push(Scenario {
            alertmanager: true,
            ..Scenario::new("mixed-alertmanager", faults)
        });
        if self == Self::Redis {
            let lost = vec![Fault::LostTail];
            scenarios.push(Scenario {
                refuses: true,
                ..Scenario::new("lost-tail-refused", lost.clone())
            });
            scenarios.push(Scenario {
                outside: true,
                ..Scenario::new(Fault::LostTail.name(), lost)
            });
        }
        scenarios
    }

    /// The scenarios with these names, all if none is named.
    pub(crate) fn chosen(self, names: &[String]) -> Result<Vec<Scenario>> {
        let all = self.scenarios();
        if names.is_empty() {
            return Ok(all);
        }
        let mut chosen = Vec::new();
        for name in names {
            let Some(scenario) = all.iter().find(|scenario| scenario.name == name) else {
                let known: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
                bail!(
                    "there is no fault {name:?} on {self}; known: {}",
                    known.join(", ")
                );
            };
            chosen.push(scenario.clone());
        }
        Ok(chosen)
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no bus is hidden");
        f.write_str(value.get_name())
    }
}

/// One installation and what is done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) faults: Vec<Fault>,
    /// Whether Debian's Alertmanager sends, and not our own sender.
    pub(crate) alertmanager: bool,
    /// Whether the fault takes away what was never promised to be durable.
    pub(crate) outside: bool,
    /// Whether the durability asked for is more than the server can promise: nothing may be
    /// acknowledged.
    pub(crate) refuses: bool,
}

impl Scenario {
    fn new(name: &'static str, faults: Vec<Fault>) -> Self {
        Self {
            name,
            faults,
            alertmanager: false,
            outside: false,
            refuses: false,
        }
    }

    /// One scenario with the faults of all.
    pub(crate) fn mixed(all: &[Self]) -> Self {
        let faults: BTreeSet<Fault> = all.iter().flat_map(|one| one.faults.clone()).collect();
        Self::new("mixed", faults.into_iter().collect())
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// One sentence.
    pub(crate) fn what(&self) -> String {
        match self.faults.as_slice() {
            _ if self.refuses => {
                "flushing is asked for on a server that flushes once a second: nothing may be acknowledged, so that nothing can be lost".to_owned()
            }
            [fault] => fault.what().to_owned(),
            _ if self.alertmanager => {
                "these faults at random, alerts from Debian's Alertmanager".to_owned()
            }
            _ => "these faults at random".to_owned(),
        }
    }
}

/// One kind of thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    ProcessKill,
    HookKill,
    DispatcherKill,
    DispatcherFreeze,
    AgentsKill,
    ServerKill,
    ServerFreeze,
    ServerRestart,
    TornTail,
    LostTail,
    MasterKill,
    MasterFreeze,
    ShardKill,
    ShardFreeze,
    ClockJump,
    DiskFull,
    SlowAgents,
}

impl Fault {
    /// As it is named on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        self.about().0
    }

    /// Whether a successor is elected, which bounds the recovery.
    pub(crate) fn is_failover(self) -> bool {
        matches!(self, Self::MasterKill | Self::MasterFreeze)
    }

    /// What is done, in one sentence.
    pub(crate) fn what(self) -> &'static str {
        self.about().1
    }

    fn about(self) -> (&'static str, &'static str) {
        match self {
            Self::ProcessKill => ("process-kill", "kill -9 of the one process"),
            Self::HookKill => ("hook-kill", "kill -9 of the hook"),
            Self::DispatcherKill => ("dispatcher-kill", "kill -9 of the only dispatcher"),
            Self::DispatcherFreeze => (
                "dispatcher-freeze",
                "SIGSTOP of one of two dispatchers for longer than its leases, then SIGCONT",
            ),
            Self::AgentsKill => (
                "agents-kill",
                "kill -9 of the agents, the orchestrator among them",
            ),
            Self::ServerKill => ("server-kill", "kill -9 of the server, then its restart"),
            Self::ServerFreeze => (
                "server-freeze",
                "SIGSTOP of the server for longer than timeouts and leases, then SIGCONT",
            ),
            Self::ServerRestart => ("server-restart", "SIGTERM of the server, then its restart"),
            Self::TornTail => (
                "torn-tail",
                "kill -9 of the server in the middle of a write: its log ends with half a command or half a transaction",
            ),
            Self::LostTail => (
                "lost-tail",
                "power loss of a server that flushes once a second: up to the last second of its log is gone",
            ),
            Self::MasterKill => (
                "master-kill",
                "kill -9 of the master; sentinels elect another, the old one comes back as a replica",
            ),
            Self::MasterFreeze => (
                "master-freeze",
                "SIGSTOP of the master until another is elected; it comes back and still thinks it is master",
            ),
            Self::ShardKill => (
                "shard-kill",
                "kill -9 of the node with our keys; a replica takes over, the old one comes back",
            ),
            Self::ShardFreeze => (
                "shard-freeze",
                "SIGSTOP of the node with our keys until a replica has taken over; it comes back stale",
            ),
            Self::ClockJump => (
                "clock-jump",
                "the product's wall clock jumps by 10 minutes, forward or back; its monotonic clock does not",
            ),
            Self::DiskFull => ("disk-full", "the disk under the bus is full for a while"),
            Self::SlowAgents => (
                "slow-agents",
                "every answer of an agent comes later than deadlines and leases",
            ),
        }
    }
}
