//! What is stored of alerts: the members of open incidents, and the rulings on one alert.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use incident::incident::{IncidentStatus, Member};
use incident::ports::{Store, StoreError};
use incident::{AlertStatus, Fingerprint, Incident, Ruling, keys};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::gap::{Known, newest};

/// Stored values read at once.
const STEP: usize = 200;
/// Alerts whose rulings are read at the same time.
const AT_ONCE: usize = 32;
/// Rulings are looked at from so long before the alert's own start on: whose clock is right is not
/// known.
const SLACK: SignedDuration = SignedDuration::from_hours(1);

/// Reads only whether the incident is open; most are not, and the rest of them is passed over.
#[derive(Debug, Deserialize)]
struct Head {
    status: IncidentStatus,
}

/// The alerts that fire in open incidents, by the newest start where several have one.
pub(super) async fn firing(
    store: &dyn Store,
    scan_max: usize,
) -> Result<BTreeMap<Fingerprint, Member>, StoreError> {
    let mut found: BTreeMap<Fingerprint, Member> = BTreeMap::new();
    let (mut after, mut scanned) = (None::<String>, 0);
    while scanned < scan_max {
        let step = STEP.min(scan_max - scanned);
        let page = store.list(keys::INCIDENTS, after.as_deref(), step).await?;
        let last_page = page.len() < step;
        scanned += page.len();
        for (key, stored) in page {
            // What cannot be read is told by whoever shows it; here it only hides its own alerts.
            let head = serde_json::from_slice::<Head>(&stored.value);
            if head.is_ok_and(|head| head.status == IncidentStatus::Open)
                && let Ok(incident) = serde_json::from_slice::<Incident>(&stored.value)
            {
                let members = incident.members.into_iter();
                for (print, member) in members.filter(|(_, m)| m.status == AlertStatus::Firing) {
                    let newer = |known: &Member| known.starts_at < member.starts_at;
                    if found.get(&print).is_none_or(newer) {
                        found.insert(print, member);
                    }
                }
            }
            after = Some(key);
        }
        if last_page {
            break;
        }
    }
    Ok(found)
}

/// What the rulings on each of `alerts` say of it, since its start.
pub(super) async fn known(
    store: &dyn Store,
    alerts: &[(Fingerprint, Timestamp)],
    scan_max: usize,
) -> Result<BTreeMap<Fingerprint, Known>, StoreError> {
    let mut all = BTreeMap::new();
    for chunk in alerts.chunks(AT_ONCE) {
        let reads = chunk.iter().map(|(print, starts_at)| async move {
            let rulings = rulings(store, print, *starts_at, scan_max).await?;
            Ok::<_, StoreError>((print.clone(), newest(&rulings)))
        });
        all.extend(try_join_all(reads).await?);
    }
    Ok(all)
}

async fn rulings(
    store: &dyn Store,
    print: &Fingerprint,
    starts_at: Timestamp,
    scan_max: usize,
) -> Result<Vec<Ruling>, StoreError> {
    let prefix = keys::history(print);
    let from = starts_at.checked_sub(SLACK).unwrap_or(Timestamp::MIN);
    // Keys of the history begin with the microseconds of the ruling.
    let mut after = format!("{prefix}{:020}", from.as_microsecond().max(0));
    let mut found = Vec::new();
    while found.len() < scan_max {
        let step = STEP.min(scan_max - found.len());
        let page = store.list(&prefix, Some(&after), step).await?;
        let last_page = page.len() < step;
        for (key, stored) in page {
            let ruling = serde_json::from_slice(&stored.value);
            found.push(ruling.map_err(|error| StoreError::Corrupt {
                key: key.clone(),
                why: error.to_string(),
            })?);
            after = key;
        }
        if last_page {
            break;
        }
    }
    Ok(found)
}
