//! Triage's state in the Store: read, rule, write all or nothing, look again on a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use incident::ports::{Clock, Expect, Put, Store, StoreError};
use incident::{
    AlertEvent, AlertStatus, EventKey, Fingerprint, IncidentId, Ruling, WorkItem, keys,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::Config;
use super::desk::{Desk, Missing, Ruled};
use super::error::TriageError;
use super::owner::Owner;
use super::state::{AlertState, OwnerState, alert_key, owner_key, work_key};

/// Triage's side of the store.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: Config,
}

/// Versions as they were read.
#[derive(Debug, Default)]
struct Seen {
    owner: Option<u64>,
    incidents: BTreeMap<IncidentId, Option<u64>>,
}

/// What a chunk of events came to.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) ruled: BTreeMap<EventKey, Ruled>,
    /// The events that were ruled on now and not before.
    pub(super) fresh: BTreeSet<EventKey>,
}

impl Ledger {
    /// Rules on events of one owner and stores everything that follows, or nothing. Events that were
    /// ruled on before keep their ruling, and their work is told again.
    pub(super) async fn rule(
        &self,
        owner: &Owner,
        events: &[&AlertEvent],
    ) -> Result<Page, TriageError> {
        // The owner comes first: whatever is read after it is covered by its version.
        let state = self
            .read::<OwnerState>(&owner_key(&owner.correlation))
            .await?;
        let ruled = self.rulings(events).await?;
        let open: Vec<&AlertEvent> = events
            .iter()
            .copied()
            .filter(|event| !ruled.contains_key(&event.key))
            .collect();
        if open.is_empty() {
            return Ok(Page {
                ruled,
                fresh: BTreeSet::new(),
            });
        }
        let mut seen = Seen {
            owner: state.as_ref().map(|(_, version)| *version),
            ..Seen::default()
        };
        let blank = Desk {
            config: &self.config,
            owner,
            now: self.clock.now(),
            state: state.map(|(state, _)| state).unwrap_or_default(),
            alerts: self.alerts(owner, &open).await?,
            incidents: BTreeMap::new(),
            ruled,
            changed: BTreeSet::new(),
        };
        let desk = self.decide(blank, &mut seen, &open).await?;
        let fresh: BTreeSet<EventKey> = open.iter().map(|event| event.key.clone()).collect();
        let puts = self.puts(&desk, &seen, &open, &fresh)?;
        self.store.put_all(puts).await?;
        Ok(Page {
            ruled: desk.ruled,
            fresh,
        })
    }

    /// Rules on all of `open`, loading incidents as they turn out to be needed. Each round loads one
    /// more, and no more than one per event and one per remembered incident can be asked for.
    async fn decide<'a>(
        &self,
        mut blank: Desk<'a>,
        seen: &mut Seen,
        open: &[&AlertEvent],
    ) -> Result<Desk<'a>, TriageError> {
        loop {
            let mut desk = blank.clone();
            let Err(Missing(id)) = open.iter().try_for_each(|event| desk.take(event)) else {
                return Ok(desk);
            };
            let stored = self.read(&keys::incident(&id)).await?;
            seen.incidents
                .insert(id.clone(), stored.as_ref().map(|(_, version)| *version));
            blank
                .incidents
                .insert(id, stored.map(|(incident, _)| incident));
        }
    }

    fn puts(
        &self,
        desk: &Desk<'_>,
        seen: &Seen,
        open: &[&AlertEvent],
        fresh: &BTreeSet<EventKey>,
    ) -> Result<Vec<Put>, TriageError> {
        let kept = self.config.history_kept.0;
        let correlation = &desk.owner.correlation;
        let any_open = desk
            .state
            .incidents
            .values()
            .any(super::state::Slot::is_open);
        let owner_kept = (!any_open).then_some(kept);
        let expect = expect(seen.owner);
        let mut puts = vec![put(
            owner_key(correlation),
            &desk.state,
            expect,
            owner_kept,
        )?];
        for id in &desk.changed {
            let Some(Some(incident)) = desk.incidents.get(id) else {
                continue;
            };
            let version = seen.incidents.get(id).copied().flatten();
            let kept = incident.resolved_at.map(|_| self.config.incidents_kept.0);
            puts.push(put(
                keys::incident(id),
                incident,
                self::expect(version),
                kept,
            )?);
        }
        let alerts: BTreeSet<&Fingerprint> = open.iter().map(|event| &event.fingerprint).collect();
        for fingerprint in alerts {
            let Some(alert) = desk.alerts.get(fingerprint) else {
                continue;
            };
            let over = alert.change.status == AlertStatus::Resolved;
            let key = alert_key(correlation, fingerprint);
            puts.push(put(key, alert, Expect::Any, over.then_some(kept))?);
        }
        for key in fresh {
            let Some(Ruled { ruling, work }) = desk.ruled.get(key) else {
                continue;
            };
            let micros = ruling.at.as_microsecond().max(0);
            let history = format!("{}{micros:020}-{key}", keys::history(&ruling.fingerprint));
            puts.push(put(keys::ruling(key), ruling, Expect::Absent, Some(kept))?);
            puts.push(put(history, ruling, Expect::Any, Some(kept))?);
            if !work.is_empty() {
                puts.push(put(work_key(key), work, Expect::Any, Some(kept))?);
            }
        }
        Ok(puts)
    }

    async fn rulings(
        &self,
        events: &[&AlertEvent],
    ) -> Result<BTreeMap<EventKey, Ruled>, TriageError> {
        let reads = events.iter().map(|event| async move {
            // One after the other: both are written at once, so work read before its ruling may be
            // missing although the ruling is there.
            let Some((ruling, _)) = self.read::<Ruling>(&keys::ruling(&event.key)).await? else {
                return Ok(None);
            };
            let work = self.read::<Vec<WorkItem>>(&work_key(&event.key)).await?;
            let work = work.map(|(work, _)| work).unwrap_or_default();
            Ok::<_, TriageError>(Some((event.key.clone(), Ruled { ruling, work })))
        });
        let found = try_join_all(reads).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn alerts(
        &self,
        owner: &Owner,
        events: &[&AlertEvent],
    ) -> Result<BTreeMap<Fingerprint, AlertState>, TriageError> {
        let prints: BTreeSet<&Fingerprint> =
            events.iter().map(|event| &event.fingerprint).collect();
        let reads = prints.into_iter().map(|fingerprint| async move {
            let stored = self
                .read(&alert_key(&owner.correlation, fingerprint))
                .await?;
            Ok::<_, TriageError>(stored.map(|(alert, _)| (fingerprint.clone(), alert)))
        });
        let found = try_join_all(reads).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, u64)>, TriageError> {
        let Some(stored) = self.store.get(key).await? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&stored.value).map_err(|error| StoreError::Corrupt {
            key: key.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Some((value, stored.version)))
    }
}

fn expect(version: Option<u64>) -> Expect {
    version.map_or(Expect::Absent, Expect::Version)
}

fn put<T: Serialize>(
    key: String,
    value: &T,
    expect: Expect,
    ttl: Option<Duration>,
) -> Result<Put, TriageError> {
    let value = serde_json::to_vec(value).map_err(|error| TriageError::Unwritable {
        key: key.clone(),
        why: error.to_string(),
    })?;
    let put = Put::new(key, value, expect);
    Ok(match ttl {
        Some(ttl) => put.ttl(ttl),
        None => put,
    })
}
