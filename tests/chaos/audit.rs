//! What came of everything that was sent: waits until the product is done, then counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use incident::EventKey;
use incident::ports::Clock as _;
use incident::report::ChangeOutcome;
use runtime::SystemClock;
use serde_json::Value;
use tests::nightshift::Install;
use tests::repository::{BRANCH, git};
use tests::wait::until;

use crate::ledger::Ledger;
use crate::record::{Effects, Incidents};
use crate::settings::LEASE;
use crate::system::System;

/// Longest time until everything is done after the last fault.
const DONE_WITHIN: Duration = Duration::from_secs(150);
/// Longest time until the list of incidents can be read.
const LISTED_WITHIN: Duration = Duration::from_secs(30);
/// Rulings that were still to come do not come after this long without a backlog.
const NO_MORE_AFTER: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Why the product was not done in time, if it was not.
    pub(crate) late: Option<anyhow::Error>,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// Rulings by disposition.
    pub(crate) dispositions: BTreeMap<String, u64>,
    /// Acknowledged, and no ruling.
    pub(crate) lost: Vec<String>,
    /// Events with more than one ruling.
    pub(crate) ruled_twice: u64,
    pub(crate) dead: u64,
    pub(crate) incidents: Incidents,
    pub(crate) effects: Effects,
}

/// One ruling, as the API shows it.
#[derive(Debug, Clone)]
struct Ruled {
    disposition: String,
    incident: Option<String>,
}

type Rulings = BTreeMap<EventKey, Vec<Ruled>>;

/// Waits and counts.
pub(crate) async fn audit(system: &mut System, ledger: &Ledger) -> Result<Audit> {
    // What is late is counted all the same.
    let (backlog, late) = match done(system).await {
        Ok(backlog) => (backlog, None),
        Err(error) => (Value::Null, Some(error)),
    };
    let install = system.install.clone();
    let rulings = all_rulings(&install, ledger).await?;
    // Whatever would still act twice gets the time for it: leases end and everything is seen again.
    SystemClock::new().sleep(LEASE * 2).await;
    if late.is_none() {
        done(system).await?;
    }

    let mut audit = Audit {
        late,
        dead: backlog["dead"].as_u64().unwrap_or_default(),
        ..Audit::default()
    };
    let mut by_service: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Services with an event that resolved, and those with one that was lost or counts in another way.
    let (mut over, mut joined) = (BTreeSet::new(), BTreeSet::new());
    for (key, sent) in ledger.events() {
        audit.sent += 1;
        audit.acknowledged += u64::from(sent.acknowledged);
        let known = by_service.entry(sent.service.clone()).or_default();
        let found = rulings.get(&key).map_or(&[][..], Vec::as_slice);
        if found.is_empty() && sent.acknowledged {
            audit.lost.push(format!("{} of {}", key, sent.service));
        }
        audit.ruled_twice += found.len().saturating_sub(1) as u64;
        for ruled in found {
            match ruled.disposition.as_str() {
                "resolved" => over.insert(sent.service.clone()),
                "suppressed" => false,
                _ => joined.insert(sent.service.clone()),
            };
            let count = audit.dispositions.entry(ruled.disposition.clone());
            *count.or_default() += 1;
            known.extend(ruled.incident.clone());
        }
    }
    over.retain(|service| !joined.contains(service) && by_service[service].is_empty());
    audit.incidents = incidents(&install, &by_service, &over).await?;
    audit.effects = effects(system, &audit.incidents).await?;
    Ok(audit)
}

/// Until nothing waits, nothing is claimed, and every incident has its report.
async fn done(system: &mut System) -> Result<Value> {
    let install = system.install.clone();
    let mut last = String::from("nothing was answered");
    let waited = until("the product to be done", DONE_WITHIN, async || {
        if let Err(error) = system.tend() {
            last = error.to_string();
            return None;
        }
        let backlog = install.get("/api/v1/backlog").await?;
        if backlog["total"] != 0 {
            last = format!("the backlog is {backlog}");
            return None;
        }
        Some(backlog)
    })
    .await;
    let backlog = waited.with_context(|| format!("{last}\n{}", system.logs()))?;
    Ok(backlog)
}

/// The rulings on everything that was sent. Waits a little for those that are missing.
async fn all_rulings(install: &Install, ledger: &Ledger) -> Result<Rulings> {
    let clock = SystemClock::new();
    let events = ledger.events();
    let fingerprints: BTreeSet<&str> = events
        .values()
        .map(|sent| sent.fingerprint.as_str())
        .collect();
    let mut rulings = Rulings::new();
    let mut open: Vec<&str> = fingerprints.into_iter().collect();
    loop {
        for fingerprint in &open {
            read_rulings(install, fingerprint, &mut rulings).await?;
        }
        open = events
            .iter()
            .filter(|(key, sent)| sent.acknowledged && !rulings.contains_key(*key))
            .map(|(_, sent)| sent.fingerprint.as_str())
            .collect();
        if open.is_empty() || clock.elapsed() > NO_MORE_AFTER {
            return Ok(rulings);
        }
        clock.sleep(Duration::from_millis(200)).await;
    }
}

async fn read_rulings(install: &Install, fingerprint: &str, rulings: &mut Rulings) -> Result<()> {
    let path = format!("/api/v1/alerts/{fingerprint}/rulings");
    // An alert without a ruling is a 404: not an error here.
    let Some(page) = install.get(&path).await else {
        return Ok(());
    };
    let history = page["history"].as_array().context("a history")?;
    let mut found = Rulings::new();
    for ruling in history {
        let text = |field: &str| ruling[field].as_str().map(str::to_owned);
        let event = text("event").context("a ruling names its event")?;
        let ruled = Ruled {
            disposition: text("disposition").context("a ruling has a disposition")?,
            incident: text("incident"),
        };
        let key = EventKey::from_stored(event);
        found.entry(key).or_default().push(ruled);
    }
    rulings.extend(found);
    Ok(())
}

/// Compares what became of the services with the truth: one incident for each.
async fn incidents(
    install: &Install,
    by_service: &BTreeMap<String, BTreeSet<String>>,
    over: &BTreeSet<String>,
) -> Result<Incidents> {
    let ids = until("the list of incidents", LISTED_WITHIN, async || {
        let ids = install.incidents().await;
        (by_service.is_empty() || !ids.is_empty()).then_some(ids)
    })
    .await?;
    let mut found = Incidents {
        expected: (by_service.len() - over.len()) as u64,
        over_before: over.len() as u64,
        found: ids.len() as u64,
        ..Incidents::default()
    };
    let mut services: BTreeMap<&str, u64> = BTreeMap::new();
    for known in by_service.values() {
        found.split += known.len().saturating_sub(1) as u64;
        for incident in known {
            *services.entry(incident).or_default() += 1;
        }
    }
    found.merged = services.values().map(|count| count - 1).sum();
    found.unexplained = ids
        .iter()
        .filter(|id| !services.contains_key(id.as_str()))
        .count() as u64;
    for id in &ids {
        let detail = install.incident(id).await;
        let Some(report) = detail.context("an incident can be read")?.report else {
            found.without_report += 1;
            continue;
        };
        found.partial += u64::from(report.partial);
        if let ChangeOutcome::Opened { draft, .. } = report.change {
            found.drafts.insert(draft.branch);
        }
        found.reports += 1;
    }
    Ok(found)
}

/// Counts what can be seen outside: messages where they were posted, branches where they were pushed.
async fn effects(system: &System, incidents: &Incidents) -> Result<Effects> {
    let posts = system.channel.posts();
    let mut effects = Effects {
        messages: posts.messages,
        messages_repeated: posts.repeated,
        ..Effects::default()
    };
    let remote = &system.repository.remote;
    let mut of_incident: BTreeMap<String, u64> = BTreeMap::new();
    for branch in system.repository.branches().await? {
        let Some(rest) = branch.strip_prefix("agent/") else {
            continue;
        };
        let incident = rest.split('/').next().unwrap_or_default().to_owned();
        *of_incident.entry(incident).or_default() += 1;
        effects.branches += 1;
        effects.branches_unreported += u64::from(!incidents.drafts.contains(&branch));
        let range = format!("{BRANCH}..{branch}");
        let commits = git(remote, &["rev-list", "--count", &range]).await?;
        effects.commits += commits.parse::<u64>()?;
    }
    effects.branches_repeated = of_incident.values().map(|count| count - 1).sum();
    effects.commits_repeated = effects.commits.saturating_sub(effects.branches);
    Ok(effects)
}
