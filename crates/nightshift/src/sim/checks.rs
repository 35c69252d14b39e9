//! What must hold in the morning, when everything is quiet. Read from memory, past every gate.

use std::collections::{BTreeMap, BTreeSet};

use incident::ports::{Store as _, Stream as _};
use incident::report::{ChangeOutcome, Claim};
use incident::{Disposition, Incident, IncidentId, IncidentStatus, Report, Ruling, keys};
use serde::de::DeserializeOwned;

use super::scenario::Cause;
use super::world::World;

/// Values under one prefix that are read at most.
const VALUES_MAX: usize = 10_000;

/// While triage refused an alert: its events, and nothing else, are dead letters.
pub(super) async fn refused(world: &World) {
    let fingerprint = world.refused();
    for stream in world.streams() {
        for letter in stream.dead(None, VALUES_MAX).await.unwrap_or_default() {
            let event: Option<incident::AlertEvent> = serde_json::from_slice(&letter.payload).ok();
            let is_it = event.is_some_and(|event| Some(event.fingerprint) == fingerprint);
            world
                .watch
                .check("only what an agent refused is a dead letter", is_it, || {
                    format!("{} in {}: {:?}", letter.key, letter.stream, letter.last)
                });
        }
    }
}

/// Everything.
pub(super) async fn morning(world: &World) {
    streams(world).await;
    let rulings: Vec<Ruling> = all(world, "ruling/").await;
    events(world, &rulings).await;
    let incidents: Vec<Incident> = all(world, keys::INCIDENTS).await;
    for cause in &world.plan.causes {
        incident_of(world, cause, &incidents, &rulings);
    }
    let reports: Vec<Report> = all(world, keys::REPORTS).await;
    let reports: BTreeMap<IncidentId, Report> = reports
        .into_iter()
        .map(|report| (report.incident.clone(), report))
        .collect();
    for incident in &incidents {
        report(world, incident, reports.get(&incident.id));
        messages(world, incident);
    }
    drafts(world, &reports);
    decisions(world, &reports);
    let mut seen = world.watch.lock();
    seen.tally.acknowledged = world.told().acknowledged.len() as u64;
    seen.tally.incidents = incidents.len() as u64;
    seen.tally.drafts = world.remote.state().pushed.len() as u64;
    seen.tally.messages = world
        .channels
        .iter()
        .map(|channel| channel.messages().len() as u64)
        .sum();
}

async fn all<T: DeserializeOwned>(world: &World, prefix: &str) -> Vec<T> {
    let values = world
        .store
        .list(prefix, None, VALUES_MAX)
        .await
        .unwrap_or_default();
    let mut read = Vec::with_capacity(values.len());
    for (key, value) in values {
        match serde_json::from_slice(&value.value) {
            Ok(value) => read.push(value),
            Err(error) => world.watch.check("what is stored can be read", false, || {
                format!("{key}: {error}")
            }),
        }
    }
    read
}

/// Nothing is left, nothing was given up.
async fn streams(world: &World) {
    let backlog = world.backlog().await;
    world
        .watch
        .check("nothing is left in a stream", backlog.is_empty(), || {
            format!("{backlog:?}")
        });
    for stream in world.streams() {
        let dead = stream.dead(None, 1).await.unwrap_or_default();
        world.watch.check("no dead letter", dead.is_empty(), || {
            let letter = dead.first();
            format!(
                "{}: {:?}",
                stream.name(),
                letter.map(|letter| (&letter.key, letter.attempts, &letter.last))
            )
        });
    }
}

/// Every acknowledged event has exactly one ruling.
async fn events(world: &World, rulings: &[Ruling]) {
    let ruled: BTreeSet<_> = rulings.iter().map(|ruling| &ruling.event).collect();
    let (acknowledged, accepted) = {
        let told = world.told();
        (told.acknowledged.clone(), told.accepted)
    };
    for key in &acknowledged {
        world.watch.check(
            "an acknowledged event has a ruling",
            ruled.contains(key),
            || format!("{key} was acknowledged and never ruled on"),
        );
    }
    let history = world
        .store
        .list("history/", None, VALUES_MAX)
        .await
        .unwrap_or_default();
    world.watch.check(
        "an event has one ruling",
        history.len() == ruled.len(),
        || {
            format!(
                "{} events, {} rulings in their history",
                ruled.len(),
                history.len()
            )
        },
    );
    world.watch.check(
        "received is the sum of dispositions",
        accepted <= ruled.len() as u64,
        || {
            format!(
                "{accepted} events were accepted as new, {} have a ruling",
                ruled.len()
            )
        },
    );
}

/// One cause is one incident, opened once.
fn incident_of(world: &World, cause: &Cause, incidents: &[Incident], rulings: &[Ruling]) {
    let own = |incident: &&Incident| incident.subject.name.expose() == cause.service;
    let own: Vec<&Incident> = incidents.iter().filter(own).collect();
    world
        .watch
        .check("one cause is one incident", own.len() <= 1, || {
            format!(
                "{} has {:?}",
                cause.service,
                own.iter().map(|i| &i.id).collect::<Vec<_>>()
            )
        });
    world.watch.check(
        "what fires has an incident",
        cause.ends() || !own.is_empty(),
        || format!("{} fires and has none", cause.service),
    );
    for incident in own {
        let opened = rulings
            .iter()
            .filter(|ruling| matches!(&ruling.disposition, Disposition::Opened { incident: id } if *id == incident.id))
            .count();
        world
            .watch
            .check("an incident is opened once", opened == 1, || {
                format!("{} was opened {opened} times", incident.id)
            });
        let expected = if cause.ends() {
            IncidentStatus::Resolved
        } else {
            IncidentStatus::Open
        };
        world.watch.check(
            "an incident is what its alerts are",
            incident.status == expected,
            || format!("{} is {}, not {expected}", incident.id, incident.status),
        );
    }
}

/// There is a report, it is of today, and every claim rests on evidence that is there.
fn report(world: &World, incident: &Incident, report: Option<&Report>) {
    let Some(report) = report else {
        world.watch.check("an incident has a report", false, || {
            incident.id.to_string()
        });
        return;
    };
    world.watch.check(
        "a report is up to date",
        report.status == incident.status,
        || {
            format!(
                "the report of {} says {}, it is {}",
                incident.id, report.status, incident.status
            )
        },
    );
    let known: BTreeSet<_> = report.evidence.iter().map(|evidence| evidence.id).collect();
    let holds = |claim: &Claim| {
        !claim.evidence.is_empty() && claim.evidence.iter().all(|id| known.contains(id))
    };
    let claims = report.impact.iter().chain(&report.cause);
    let loose: Vec<&Claim> = claims.filter(|claim| !holds(claim)).collect();
    world
        .watch
        .check("a claim rests on evidence", loose.is_empty(), || {
            format!("{}: {loose:?}", incident.id)
        });
    let complete =
        !report.title.is_empty() && !report.timeline.is_empty() && !report.evidence.is_empty();
    world.watch.check("a report is complete", complete, || {
        format!("{}: {report:?}", incident.id)
    });
}

/// The one message that people look at says how it stands.
fn messages(world: &World, incident: &Incident) {
    for channel in &world.channels {
        let messages = channel.messages();
        let newest = messages
            .iter()
            .filter(|message| message.incident == incident.id)
            .max_by_key(|message| message.revision);
        let expected = match incident.status {
            IncidentStatus::Open => "report",
            IncidentStatus::Resolved => "closed",
        };
        let label = newest.map(|message| message.label);
        world.watch.check(
            "people were told how it stands",
            label == Some(expected),
            || {
                format!(
                    "{} of {}: the newest is {label:?}, not {expected}",
                    channel.name, incident.id
                )
            },
        );
    }
}

/// A draft is on its incident's report.
fn drafts(world: &World, reports: &BTreeMap<IncidentId, Report>) {
    let state = world.remote.state();
    let mut incidents = BTreeMap::new();
    for draft in &state.pushed {
        let mut owners = reports.values();
        let owner = owners.find(|report| {
            draft
                .branch
                .starts_with(&format!("agent/{}/", report.incident))
        });
        let told = owner.is_some_and(|report| match &report.change {
            ChangeOutcome::Opened { draft: shown, .. } => shown.branch == draft.branch,
            ChangeOutcome::Failed { why } => why.contains(&draft.branch),
            _ => false,
        });
        world.watch.check("a draft is on the report", told, || {
            let change = owner.map(|report| &report.change);
            format!("{} was pushed, the report says {change:?}", draft.branch)
        });
        *incidents
            .entry(owner.map(|report| report.incident.clone()))
            .or_insert(0) += 1;
    }
    world.watch.check(
        "an incident has one draft",
        incidents.values().all(|drafts| *drafts == 1),
        || format!("{incidents:?}"),
    );
    for report in reports.values() {
        if let ChangeOutcome::Opened { draft, .. } = &report.change {
            let is_there = state
                .pushed
                .iter()
                .any(|pushed| pushed.branch == draft.branch);
            world
                .watch
                .check("a draft on a report exists", is_there, || {
                    draft.branch.clone()
                });
        }
    }
}

/// A decision that was taken was carried out, or had nothing to be carried out on any more.
fn decisions(world: &World, reports: &BTreeMap<IncidentId, Report>) {
    for taken in &world.told().decisions {
        let change = reports.get(&taken.incident).map(|report| &report.change);
        let waits = match change {
            Some(ChangeOutcome::AwaitingApproval { proposal }) => {
                proposal.digest() == taken.proposal
            }
            _ => false,
        };
        world
            .watch
            .check("a decision that was taken counts", !waits, || {
                format!(
                    "{} still waits for a decision that was taken",
                    taken.incident
                )
            });
    }
}
