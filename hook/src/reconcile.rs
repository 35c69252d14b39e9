//! Reconciliation: what Alertmanager itself holds against what is stored, on start and on a timer.
//!
//! For: the alerts whose notification never arrived, because the hook or the bus was away for longer
//! than Alertmanager tries, or because a body was cut short, and the ends that were lost the same
//! way. What is missing is stored as an event like any other, under a group of its own name, and
//! triage decides: when the real notification comes after all, its rule on the same alert takes the
//! two for one.
//!
//! - An alert is missed if Alertmanager tells people of it for longer than `settle` and no ruling and
//!   no open incident knows of it since it began. Silenced, inhibited and muted alerts are not.
//! - An alert that was told to have ended and goes on under the same start fires again: its
//!   notification would be taken for the first one, sent twice.
//! - An alert has ended if it fires in an open incident and is in none of several looks in a row,
//!   while every peer answers, is up for long enough to have heard everything again, and does not
//!   hold it for another receiver either.
//!
//! Never: a decision about what an alert means, a change in Alertmanager, a failure that keeps the
//! webhook from its work.

mod absent;
mod config;
mod counts;
mod error;
mod fill;
mod gap;
mod peers;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use incident::Fingerprint;
use incident::error::Classify as _;
use incident::incident::Member;
use jiff::Timestamp;
use runtime::CancelToken;
use runtime::alertmanager::Alertmanager;
use runtime::telemetry::Metrics;
use tokio::sync::Notify;

pub use config::{Config, Resolve};

use crate::state::Hook;
use absent::Absent;
use counts::Counts;
use error::LookError;
use fill::{Filling, Told};
use peers::{Heard, signed};

/// Wait after a look that failed, if `every` is longer.
const RETRY: Duration = Duration::from_secs(15);
/// Filled gaps that one look names in the log.
const NAMED_MAX: usize = 20;

/// Where the webhook says that a body was cut short.
#[derive(Debug, Default)]
pub(crate) struct CutShort {
    told: Notify,
    at: Mutex<Option<Timestamp>>,
}

impl CutShort {
    /// A body that arrived `at` left alerts out.
    pub(crate) fn tell(&self, at: Timestamp) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        self.told.notify_one();
    }

    fn take(&self) -> Option<Timestamp> {
        self.at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Looks, again and again.
#[derive(Debug)]
pub(crate) struct Reconciler {
    hook: Hook,
    alertmanager: Alertmanager,
    counts: Counts,
    absent: Absent,
    /// Since when a gap waits for triage to come to it.
    unruled: BTreeMap<(Fingerprint, Timestamp), Timestamp>,
}

/// What a look came to.
#[derive(Debug, Default)]
struct Tally {
    filled: Vec<(&'static str, Fingerprint)>,
    /// Gaps that may be on their way through triage.
    deferred: usize,
    /// Gaps beyond the limit of one look.
    left: usize,
    distrust: Option<String>,
    unsure: u64,
    alerts: usize,
}

impl Reconciler {
    pub(crate) fn new(hook: Hook, alertmanager: Alertmanager, metrics: &Metrics) -> Self {
        Self {
            hook,
            alertmanager,
            counts: Counts::new(metrics),
            absent: Absent::default(),
            unruled: BTreeMap::new(),
        }
    }

    /// Until `drain`.
    pub(crate) async fn run(mut self, drain: CancelToken) {
        let every = self.config().every.0;
        let mut cut: Option<Timestamp> = None;
        loop {
            let within = self.config().within;
            let cx = self.hook.cx(within);
            let result = tokio::select! {
                biased;
                () = drain.wait() => return,
                looked = cx.bound(self.look(cut)) => looked.unwrap_or(Err(LookError::Slow(within))),
            };
            let good = result.is_ok();
            self.tell(result);
            let wait = if good { every } else { every.min(RETRY) };
            tokio::select! {
                biased;
                () = drain.wait() => return,
                () = self.hook.clock().sleep(wait) => {}
                () = self.hook.cut_short().told.notified() => {
                    // Bodies that are cut short come in rows; one look is for all of them.
                    let soon = self.hook.clock().sleep(self.config().soon.0);
                    tokio::select! {
                        biased;
                        () = drain.wait() => return,
                        () = soon => {}
                    }
                }
            }
            cut = self.hook.cut_short().take().or(cut.filter(|_| !good));
        }
    }

    fn config(&self) -> &Config {
        &self.hook.config().reconcile
    }

    /// One look. Alerts that began before `cut` need not have settled: the body that left them out
    /// was sent for them too.
    async fn look(&mut self, cut: Option<Timestamp>) -> Result<Tally, LookError> {
        let now = self.hook.now();
        let heard = peers::ask(&self.alertmanager, self.config(), now).await?;
        let scan_max = self.hook.config().scan_max;
        let members = stored::firing(self.hook.store(), scan_max).await?;
        let (mut fillings, deferred) = self.missing(&heard, &members, (now, cut)).await?;
        fillings.extend(self.ended(&heard, &members, now).await?);
        let left = fillings.len().saturating_sub(self.config().fills_max);
        fillings.truncate(self.config().fills_max);
        let filled = fill::store(self.hook.events(), fillings).await?;
        Ok(Tally {
            filled,
            deferred,
            left,
            alerts: heard.alerts.len(),
            distrust: heard.distrust,
            unsure: heard.unsure,
        })
    }

    /// Alerts that fire there and not here.
    async fn missing(
        &mut self,
        heard: &Heard,
        members: &BTreeMap<Fingerprint, Member>,
        (now, cut): (Timestamp, Option<Timestamp>),
    ) -> Result<(Vec<Filling>, usize), LookError> {
        let config = self.hook.config();
        let settled = now
            .checked_sub(signed(config.reconcile.settle.0))
            .unwrap_or(Timestamp::MIN);
        let may_count = |start: Timestamp| start <= settled || cut.is_some_and(|cut| start <= cut);
        let fires_here = |print: &Fingerprint, start: Timestamp| {
            members.get(print).is_some_and(|m| m.starts_at >= start)
        };
        let unknown: Vec<(Fingerprint, Timestamp)> = heard
            .alerts
            .iter()
            .filter(|(_, held)| held.is_told && may_count(held.starts_at))
            .filter(|(print, held)| !fires_here(print, held.starts_at))
            .map(|(print, held)| (print.clone(), held.starts_at))
            .collect();
        let known = stored::known(self.hook.store(), &unknown, config.scan_max).await?;
        // Asked after the rulings were read: what was stored before and is ruled on by neither is
        // still counted here.
        let busy = !known.is_empty() && self.hook.events().backlog().await?.total() > 0;
        let (mut fillings, mut deferred) = (Vec::new(), 0);
        let mut unruled = BTreeMap::new();
        for (print, starts_at) in unknown {
            let state = known.get(&print).copied().unwrap_or(gap::Known::Nothing);
            let (Some(gap), Some(held)) = (
                gap::gap(state, starts_at, settled),
                heard.alerts.get(&print),
            ) else {
                continue;
            };
            if busy {
                let key = (print.clone(), starts_at);
                let since = self.unruled.get(&key).copied().unwrap_or(now);
                unruled.insert(key, since);
                if now.duration_since(since) < signed(config.reconcile.unruled_max.0) {
                    deferred += 1;
                    continue;
                }
            }
            let alert = &held.alert;
            let told = Told {
                labels: &alert.labels,
                annotations: &alert.annotations,
                generator_url: &alert.generator_url,
            };
            let names = (config.reconcile.receiver.as_str(), held.peer.as_str());
            let times = (gap.starts_at(), None);
            let made = fill::event(gap.kind(), &print, &told, times, names, (config, now));
            fillings.extend(made);
        }
        self.unruled = unruled;
        Ok((fillings, deferred))
    }

    /// Alerts that fire here and are not there any more.
    async fn ended(
        &mut self,
        heard: &Heard,
        members: &BTreeMap<Fingerprint, Member>,
        now: Timestamp,
    ) -> Result<Vec<Filling>, LookError> {
        let config = self.hook.config();
        if config.reconcile.resolve == Resolve::Never {
            return Ok(Vec::new());
        }
        let seen = absent::seen(self.hook.store(), heard, members).await?;
        let seen = (config.reconcile.resolve == Resolve::Seen).then_some(&seen);
        let due = self
            .absent
            .count(heard, members, seen, (&config.reconcile, now));
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let names: BTreeSet<String> = due.values().map(|due| due.name.clone()).collect();
        let elsewhere = match peers::held(&self.alertmanager, &names).await {
            Ok(elsewhere) => elsewhere,
            Err(error) => {
                tracing::warn!(%error, "cannot confirm that alerts ended; asking again");
                return Ok(Vec::new());
            }
        };
        self.absent.forget(&elsewhere);
        let peer = self.alertmanager.peers().first();
        let peer = peer.map_or("", runtime::alertmanager::Peer::name);
        let ended = due.iter().filter(|(print, _)| !elsewhere.contains(*print));
        let made = ended.filter_map(|(print, due)| {
            let member = members.get(print)?;
            let told = Told {
                labels: &member.labels,
                annotations: &member.annotations,
                generator_url: &member.generator_url,
            };
            let times = (member.starts_at, Some(due.since));
            let names = (config.reconcile.receiver.as_str(), peer);
            fill::event("resolved", print, &told, times, names, (config, now))
        });
        Ok(made.collect())
    }

    fn tell(&self, result: Result<Tally, LookError>) {
        let tally = match result {
            Ok(tally) => tally,
            Err(error) => {
                self.counts.look("failed");
                tracing::warn!(code = %error.code(), %error, "cannot compare with Alertmanager");
                return;
            }
        };
        self.counts.succeeded(self.hook.now());
        let whole = tally.distrust.is_none() && tally.left == 0 && tally.unsure == 0;
        self.counts.look(if whole { "complete" } else { "partial" });
        self.hook
            .counts()
            .received(u64::try_from(tally.filled.len()).unwrap_or(u64::MAX));
        for (place, (kind, fingerprint)) in tally.filled.iter().enumerate() {
            self.counts.filled(kind);
            if place < NAMED_MAX {
                tracing::warn!(kind, %fingerprint, "a notification was missed; stored what Alertmanager says");
            }
        }
        if tally.unsure > 0 {
            let alerts = tally.unsure;
            tracing::warn!(
                alerts,
                "this Alertmanager does not say which alerts are muted by time; they are left alone"
            );
        }
        tracing::debug!(
            alerts = tally.alerts,
            filled = tally.filled.len(),
            deferred = tally.deferred,
            left = tally.left,
            distrust = tally.distrust,
            "compared with Alertmanager"
        );
    }
}
