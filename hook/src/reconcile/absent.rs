//! Alerts that fire here and are not in Alertmanager: counted over looks, because one look proves
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use incident::Fingerprint;
use incident::incident::Member;
use incident::ports::{Expect, Put, Store, StoreError};
use jiff::Timestamp;

use super::config::Config;
use super::peers::{Heard, signed};

/// The open alerts that a look found in Alertmanager; shared by all hooks.
const SEEN_KEY: &str = "hook/reconcile/seen";
/// Names of alerts that one look asks for again.
const CONFIRM_MAX: usize = 50;
/// What a value that was cut ends with; it cannot be asked for.
const CUT_MARK: &str = "…[cut from ";

/// How long an alert has been absent.
#[derive(Debug, Clone, Copy)]
struct Absence {
    starts_at: Timestamp,
    since: Timestamp,
    looks: u32,
}

/// An alert that is taken for ended unless it is found under its name.
#[derive(Debug)]
pub(super) struct Due {
    /// Its `alertname`; empty if it has none.
    pub(super) name: String,
    /// The first look that missed it.
    pub(super) since: Timestamp,
}

/// What was missed by looks in a row.
#[derive(Debug, Default)]
pub(super) struct Absent {
    alerts: BTreeMap<Fingerprint, Absence>,
    starts: BTreeMap<String, Option<Timestamp>>,
}

impl Absent {
    /// Counts one look; answers what was missed often enough. A look that cannot be trusted counts
    /// for nothing, and one after a restart of any peer begins anew.
    pub(super) fn count(
        &mut self,
        heard: &Heard,
        members: &BTreeMap<Fingerprint, Member>,
        seen: Option<&BTreeSet<Fingerprint>>,
        (config, now): (&Config, Timestamp),
    ) -> BTreeMap<Fingerprint, Due> {
        let mut restarted = false;
        for (peer, start) in &heard.starts {
            restarted |= self.starts.insert(peer.clone(), *start) != Some(*start);
        }
        let settled = now.checked_sub(signed(config.settle.0));
        let settled = settled.unwrap_or(Timestamp::MIN);
        let is_absent = |print: &Fingerprint, member: &Member| {
            !heard.alerts.contains_key(print)
                && member.starts_at <= settled
                && seen.is_none_or(|seen| seen.contains(print))
        };
        self.alerts.retain(|print, absence| {
            members.get(print).is_some_and(|member| {
                is_absent(print, member) && member.starts_at == absence.starts_at
            })
        });
        if restarted {
            self.alerts.clear();
        }
        if let Some(why) = &heard.distrust {
            tracing::debug!(
                why,
                "what Alertmanager does not hold means nothing in this look"
            );
            return BTreeMap::new();
        }
        for (print, member) in members.iter().filter(|(p, m)| is_absent(p, m)) {
            let absence = self.alerts.entry(print.clone()).or_insert(Absence {
                starts_at: member.starts_at,
                since: now,
                looks: 0,
            });
            absence.looks = absence.looks.saturating_add(1);
        }
        self.due(members, config.absent_looks)
    }

    fn due(
        &self,
        members: &BTreeMap<Fingerprint, Member>,
        looks: u32,
    ) -> BTreeMap<Fingerprint, Due> {
        let (mut due, mut names) = (BTreeMap::new(), BTreeSet::new());
        for (print, absence) in self.alerts.iter().filter(|(_, a)| a.looks >= looks) {
            let Some(member) = members.get(print) else {
                continue;
            };
            let name = member.labels.get("alertname");
            let name = name
                .map(|name| name.expose().to_owned())
                .unwrap_or_default();
            if name.contains(CUT_MARK) || (names.len() == CONFIRM_MAX && !names.contains(&name)) {
                continue;
            }
            names.insert(name.clone());
            let since = absence.since;
            due.insert(print.clone(), Due { name, since });
        }
        due
    }

    /// They are there after all.
    pub(super) fn forget(&mut self, present: &BTreeSet<Fingerprint>) {
        self.alerts.retain(|print, _| !present.contains(print));
    }
}

/// Notes the open alerts that Alertmanager holds, and answers those that it was ever seen to hold
/// and that are still open here.
pub(super) async fn seen(
    store: &dyn Store,
    heard: &Heard,
    members: &BTreeMap<Fingerprint, Member>,
) -> Result<BTreeSet<Fingerprint>, StoreError> {
    let stored = store.get(SEEN_KEY).await?;
    let before: BTreeSet<Fingerprint> = stored
        .as_ref()
        .and_then(|stored| serde_json::from_slice(&stored.value).ok())
        .unwrap_or_default();
    // Those that are not open here yet may be in a moment.
    let kept = before.iter().filter(|print| members.contains_key(*print));
    let seen: BTreeSet<Fingerprint> = kept.chain(heard.alerts.keys()).cloned().collect();
    if seen != before {
        let value = serde_json::to_vec(&seen).unwrap_or_default();
        let expect = stored.map_or(Expect::Absent, |stored| Expect::Version(stored.version));
        match store.put(Put::new(SEEN_KEY, value, expect)).await {
            // Another hook looked at the same moment and saw the same.
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}
