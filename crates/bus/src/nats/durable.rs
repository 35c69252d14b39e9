//! What the servers keep, held against what is asked for.

use std::collections::BTreeSet;

use incident::ports::Put;

use super::Server;
use super::link::{Failure, StreamInfo};
use crate::durability::Finding;

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    version: (u64, u64),
    max_payload: Option<usize>,
    /// Copies that are asked for.
    wanted: usize,
    /// Of each stream: name, copies, whether they are on disk, copies that are away or behind.
    streams: Vec<(String, usize, bool, usize)>,
}

impl Facts {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let names = |which: fn(&Facts, usize, bool, usize) -> bool| {
            let streams = self.streams.iter();
            let odd = streams.filter(|(_, copies, disk, away)| which(self, *copies, *disk, *away));
            let odd: BTreeSet<&str> = odd.map(|(name, ..)| name.as_str()).collect();
            odd.into_iter().collect::<Vec<_>>().join(", ")
        };
        let few = names(|facts, copies, _, _| copies < facts.wanted);
        let volatile = names(|_, _, disk, _| !disk);
        let behind = names(|_, _, _, away| away > 0);
        if !few.is_empty() {
            findings.push(Finding::bad(format!(
                "jetstream keeps fewer than the {} copies that bus.nats.replicas asks for of {few}; \
                 add servers to the cluster, or ask for fewer",
                self.wanted
            )));
        }
        if !volatile.is_empty() {
            findings.push(Finding::bad(format!(
                "{volatile} is kept in memory only; remove it when it is empty, and it is made anew on \
                 disk"
            )));
        }
        if !behind.is_empty() {
            findings.push(Finding::warning(format!(
                "copies of {behind} are away or behind; look after the servers of the cluster"
            )));
        }
        if findings.is_empty() {
            findings.push(Finding::good(format!(
                "jetstream keeps {} of everything on disk",
                match self.wanted {
                    1 => String::from("one copy"),
                    copies => format!("{copies} copies"),
                }
            )));
        }
        findings.push(self.flushing());
        findings.extend(self.payload());
        findings
    }

    /// The server tells nobody how often it flushes.
    fn flushing(&self) -> Finding {
        let (major, minor) = self.version;
        let when = if self.wanted > 1 {
            "when all copies lose power at once"
        } else {
            "when its machine loses power"
        };
        if self.version < (2, 10) {
            return Finding::warning(format!(
                "this server ({major}.{minor}) survives being killed, but {when}, up to two minutes of \
                 what was acknowledged are lost; use 2.10 or newer with `sync_interval: always`"
            ));
        }
        let text = format!(
            "jetstream does not tell how often it flushes: unless it is started with \
             `sync_interval: always`, up to two minutes of what was acknowledged are lost {when}"
        );
        if self.wanted > 1 {
            Finding::good(text)
        } else {
            Finding::warning(text)
        }
    }

    fn payload(&self) -> Option<Finding> {
        let limit = self.max_payload?;
        (limit <= Put::VALUE_BYTES_MAX).then(|| {
            Finding::warning(format!(
                "max_payload of the nats server is {limit} bytes, and larger values are refused; set \
                 max_payload: 9MB"
            ))
        })
    }
}

impl Server {
    /// What is kept, and what an operator should know about it.
    pub(crate) async fn durability(&self) -> Vec<Finding> {
        match self.facts().await {
            Ok(facts) => facts.findings(),
            Err(failure) => vec![Finding::bad(format!(
                "jetstream does not tell what it keeps: {failure}"
            ))],
        }
    }

    async fn facts(&self) -> Result<Facts, Failure> {
        self.make_buckets().await?;
        let names = &self.names;
        let mut streams: Vec<String> = [names.store(), names.leases(), names.keys()]
            .into_iter()
            .map(|bucket| bucket.stream)
            .collect();
        streams.extend(self.made_streams());
        let mut facts = Facts {
            version: version(&self.link.client().server_info().version),
            max_payload: self.link.max_payload(),
            wanted: self.config.nats.replicas,
            streams: Vec::new(),
        };
        for name in streams {
            let info = self.link.info(&name).await?;
            let away = away(&info);
            let settings = info.config;
            let copies = settings.num_replicas;
            facts
                .streams
                .push((name, copies, settings.storage == "file", away));
        }
        Ok(facts)
    }
}

/// Copies that are away or behind.
fn away(info: &StreamInfo) -> usize {
    let copies = info.cluster.as_ref().map(|cluster| &cluster.replicas);
    let copies = copies.into_iter().flatten();
    copies.filter(|copy| copy.offline || !copy.current).count()
}

fn version(text: &str) -> (u64, u64) {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Facts), expect: &[&str]) {
        let mut facts = Facts {
            version: version("2.11.4"),
            max_payload: Some(9 << 20),
            wanted: 3,
            streams: vec![(String::from("s"), 3, true, 0)],
        };
        change(&mut facts);
        let found: Vec<String> = facts
            .findings()
            .iter()
            .map(|finding| {
                let start: Vec<&str> = finding.text.split(' ').take(4).collect();
                format!("{:?}: {}", finding.grade, start.join(" "))
            })
            .collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn what_is_not_kept_is_named() {
        let flush = "Good: jetstream does not tell";
        check(|_| {}, &["Good: jetstream keeps 3 copies", flush]);
        check(
            |f| f.version = version("2.9.10"),
            &[
                "Good: jetstream keeps 3 copies",
                "Warning: this server (2.9) survives",
            ],
        );
        check(
            |f| {
                f.wanted = 1;
                f.streams[0].1 = 1;
            },
            &[
                "Good: jetstream keeps one copy",
                "Warning: jetstream does not tell",
            ],
        );
        check(
            |f| f.streams[0] = (String::from("s"), 1, false, 0),
            &[
                "Bad: jetstream keeps fewer than",
                "Bad: s is kept in",
                flush,
            ],
        );
        check(|f| f.streams[0].3 = 1, &["Warning: copies of s are", flush]);
        check(
            |f| f.max_payload = Some(1 << 20),
            &[
                "Good: jetstream keeps 3 copies",
                flush,
                "Warning: max_payload of the nats",
            ],
        );
    }
}
