//! What the Alertmanagers say, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use incident::Fingerprint;
use jiff::{SignedDuration, Timestamp};
use runtime::alertmanager::{Alert, Alertmanager, Group, Matcher, Peer, ReadError, Status};

use super::config::Config;
use super::error::LookError;
use crate::fingerprint::as_sent;

/// An alert that at least one peer holds for our receiver.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) alert: Alert,
    pub(super) starts_at: Timestamp,
    /// The peer that was heard first.
    pub(super) peer: String,
    /// People are told of it, by everybody who holds it.
    pub(super) is_told: bool,
}

/// Everything that was heard in one look.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) alerts: BTreeMap<Fingerprint, Held>,
    /// When each peer started; a change is a restart.
    pub(super) starts: BTreeMap<String, Option<Timestamp>>,
    /// Why what nobody holds means nothing, if it does not.
    pub(super) distrust: Option<String>,
    /// Alerts of which an old Alertmanager does not say whether they are muted by time.
    pub(super) unsure: u64,
}

/// One peer's answer.
struct Said {
    status: Status,
    groups: Vec<Group>,
    /// The witness was there, or none is asked for.
    witnessed: bool,
}

/// Asks every peer at once.
pub(super) async fn ask(
    alertmanager: &Alertmanager,
    config: &Config,
    now: Timestamp,
) -> Result<Heard, LookError> {
    let asked = alertmanager.peers().iter().map(|peer| one(peer, config));
    let said = join_all(asked).await;
    let mut heard = Heard::default();
    let (mut last, mut answers) = (None, 0_usize);
    for (peer, said) in alertmanager.peers().iter().zip(said) {
        match said {
            Ok(said) => {
                answers += 1;
                heard.add(peer.name(), said, config, now);
            }
            Err(error) => {
                tracing::warn!(peer = peer.name(), %error, "cannot ask an Alertmanager");
                heard.doubt(|| format!("{} does not answer", peer.name()));
                last = Some(error);
            }
        }
    }
    if answers == 0 {
        return Err(last.unwrap_or(LookError::Peers(ReadError::NotConfigured)));
    }
    if heard.alerts.len() > config.alerts_max {
        return Err(LookError::TooMany {
            alerts: heard.alerts.len(),
            max: config.alerts_max,
        });
    }
    Ok(heard)
}

async fn one(peer: &Peer, config: &Config) -> Result<Said, LookError> {
    let status = peer.status().await?;
    let groups = peer.groups(&config.receiver).await?;
    if groups.is_empty() && !peer.receivers().await?.contains(&config.receiver) {
        return Err(LookError::Receiver {
            peer: peer.name().to_owned(),
            receiver: config.receiver.clone(),
        });
    }
    let witnessed = match &config.witness {
        None => true,
        Some(name) => {
            let found = peer.alerts(&[Matcher::equal("alertname", name)]).await?;
            !found.is_empty()
        }
    };
    Ok(Said {
        status,
        groups,
        witnessed,
    })
}

impl Heard {
    fn doubt(&mut self, why: impl FnOnce() -> String) {
        self.distrust.get_or_insert_with(why);
    }

    fn add(&mut self, peer: &str, said: Said, config: &Config, now: Timestamp) {
        let status = &said.status;
        self.starts.insert(peer.to_owned(), status.started_at);
        let needed = config.uptime_min.0.max(status.resolve_timeout());
        let up = status.started_at.map(|start| now.duration_since(start));
        if up.is_none_or(|up| up < signed(needed)) {
            self.doubt(|| format!("{peer} is not up for {}s yet", needed.as_secs()));
        }
        if status.is_settling() {
            self.doubt(|| format!("{peer} is still finding its peers"));
        }
        if !said.witnessed {
            self.doubt(|| format!("{peer} does not hold the witness"));
        }
        // The alert may be in several groups of ours: told in one of them is told.
        let mut here: BTreeMap<Fingerprint, (Alert, bool)> = BTreeMap::new();
        for alert in said.groups.into_iter().flat_map(|group| group.alerts) {
            let Some(fingerprint) = as_sent(&alert.fingerprint) else {
                continue;
            };
            let unsure = alert.status.muted_by.is_none() && status.mutes_by_time();
            self.unsure += u64::from(unsure);
            let is_told = alert.status.is_told() && !unsure;
            let known = here.entry(fingerprint).or_insert((alert, false));
            known.1 |= is_told;
        }
        for (fingerprint, (alert, is_told)) in here {
            let Some(starts_at) = alert.starts_at else {
                continue;
            };
            let known = self.alerts.entry(fingerprint).or_insert_with(|| Held {
                alert,
                starts_at,
                peer: peer.to_owned(),
                is_told,
            });
            known.is_told &= is_told;
            // Peers merge what they were sent; the earliest start is what they notify.
            known.starts_at = known.starts_at.min(starts_at);
        }
    }
}

/// The alerts named `names` that any peer holds for whichever receiver; an error if any of them
/// cannot say.
pub(super) async fn held(
    alertmanager: &Alertmanager,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<Fingerprint>, ReadError> {
    let mut found = BTreeSet::new();
    for peer in alertmanager.peers() {
        for name in names {
            let alerts = peer.alerts(&[Matcher::equal("alertname", name)]).await?;
            let prints = alerts
                .iter()
                .filter_map(|alert| as_sent(&alert.fingerprint));
            found.extend(prints);
        }
    }
    Ok(found)
}

pub(super) fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}
