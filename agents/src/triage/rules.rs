//! The rules, in the order in which they are asked. The first that answers decides.
//!
//! Each is a function of the event and of what is remembered of its alert and its owner, nothing
//! else: no clock, no order of arrival.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use incident::{AlertEvent, AlertStatus, IncidentId};
use jiff::{SignedDuration, Timestamp};
use runtime::config::Span;

use super::config::Config;
use super::state::{AlertState, Change, OwnerState, Slot};

/// What a rule looks at.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) event: &'a AlertEvent,
    /// The event was ruled on before.
    pub(super) ruled: bool,
    pub(super) alert: Option<&'a AlertState>,
    pub(super) owner: &'a OwnerState,
    pub(super) config: &'a Config,
}

/// What is to be done with the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// What was ruled before holds.
    Again,
    /// It adds nothing.
    Suppress { incident: Option<IncidentId> },
    /// It ends its alert.
    Resolve { incident: Option<IncidentId> },
    /// It belongs to an open incident.
    Join { incident: IncidentId },
    /// It opens a resolved incident again.
    Reopen { incident: IncidentId },
    /// It opens an incident.
    Open,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    apply: fn(&Facts<'_>) -> Option<Decision>,
}

/// All rules, first to last.
pub(super) const RULES: [Rule; 9] = [
    Rule {
        name: "duplicate",
        apply: duplicate,
    },
    Rule {
        name: "same-alert",
        apply: same_alert,
    },
    Rule {
        name: "stale",
        apply: stale,
    },
    Rule {
        name: "resolved",
        apply: resolved,
    },
    Rule {
        name: "group",
        apply: group,
    },
    Rule {
        name: "owner",
        apply: owner,
    },
    Rule {
        name: "refire",
        apply: refire,
    },
    Rule {
        name: "crowded",
        apply: crowded,
    },
    Rule {
        name: "open",
        apply: open,
    },
];

/// The first rule that answers, and its answer.
pub(super) fn decide(facts: &Facts<'_>) -> (&'static str, Decision) {
    RULES
        .iter()
        .find_map(|rule| (rule.apply)(facts).map(|decision| (rule.name, decision)))
        .expect("the last rule answers always")
}

/// The very event was ruled on before.
fn duplicate(facts: &Facts<'_>) -> Option<Decision> {
    facts.ruled.then_some(Decision::Again)
}

/// The same change of the same alert, sent through another route or by another Alertmanager, or read
/// from Alertmanager's API, which cuts times to milliseconds.
fn same_alert(facts: &Facts<'_>) -> Option<Decision> {
    let known = facts.alert?;
    let (start, other) = (known.starts_at, facts.event.starts_at);
    let same = start.as_millisecond() == other.as_millisecond()
        && known.change.status == facts.event.status;
    same.then(|| Decision::Suppress {
        incident: known.incident.clone(),
    })
}

/// Something newer is known of the alert: it is not made to fire again by its own past.
fn stale(facts: &Facts<'_>) -> Option<Decision> {
    let known = facts.alert?;
    let older = Change::of(facts.event) <= known.change;
    older.then(|| Decision::Suppress {
        incident: known.incident.clone(),
    })
}

/// The alert ended. One that was never heard of while it fired belongs to no incident.
fn resolved(facts: &Facts<'_>) -> Option<Decision> {
    (facts.event.status == AlertStatus::Resolved).then(|| Decision::Resolve {
        incident: facts.alert.and_then(|known| known.incident.clone()),
    })
}

/// An open incident of the owner has seen the alert, its group or its name.
fn group(facts: &Facts<'_>) -> Option<Decision> {
    let own = facts.alert.and_then(|known| known.incident.as_ref());
    let is_own = |id: &IncidentId| Some(id) == own;
    facts
        .incidents()
        .filter(|(id, slot)| slot.is_open() && (is_own(id) || slot.knows(facts.event)))
        .min_by_key(|(id, slot)| (!is_own(id), slot.first_start, *id))
        .map(|(id, _)| Decision::Join {
            incident: id.clone(),
        })
}

/// An open incident of the owner started about the same time.
fn owner(facts: &Facts<'_>) -> Option<Decision> {
    let window = facts.config.group_window;
    facts
        .incidents()
        .filter(|(_, slot)| slot.is_open())
        .filter(|(_, slot)| {
            let (first, last) = (
                before(slot.first_start, window),
                after(slot.last_start, window),
            );
            (first..=last).contains(&facts.event.starts_at)
        })
        .min_by_key(|(id, slot)| (slot.first_start, *id))
        .map(|(id, _)| Decision::Join {
            incident: id.clone(),
        })
}

/// An incident of the owner resolved a short while before.
fn refire(facts: &Facts<'_>) -> Option<Decision> {
    facts
        .incidents()
        .filter(|(_, slot)| !slot.is_open())
        .filter(|(_, slot)| {
            let first = before(slot.first_start, facts.config.group_window);
            let end = slot.last_end.unwrap_or(slot.last_start);
            let last = after(end, facts.config.refire_window);
            (first..=last).contains(&facts.event.starts_at)
        })
        .min_by_key(|(id, slot)| (!slot.knows(facts.event), Reverse(slot.last_end), *id))
        .map(|(id, _)| Decision::Reopen {
            incident: id.clone(),
        })
}

/// The owner has as many open incidents as are remembered.
fn crowded(facts: &Facts<'_>) -> Option<Decision> {
    let open = || facts.incidents().filter(|(_, slot)| slot.is_open());
    if open().count() < facts.config.incidents_per_owner_max {
        return None;
    }
    open()
        .max_by_key(|(id, slot)| (slot.last_start, *id))
        .map(|(id, _)| Decision::Join {
            incident: id.clone(),
        })
}

/// Nobody else wanted it.
#[expect(clippy::unnecessary_wraps, reason = "it is a rule like the others")]
fn open(_: &Facts<'_>) -> Option<Decision> {
    Some(Decision::Open)
}

impl Facts<'_> {
    fn incidents(&self) -> impl Iterator<Item = (&IncidentId, &Slot)> {
        self.owner.incidents.iter()
    }

    /// What the decision was based on, for `explain`.
    pub(super) fn explain(&self, decision: &Decision) -> BTreeMap<String, String> {
        let event = self.event;
        let mut told = BTreeMap::from([
            (String::from("status"), event.status.as_str().to_owned()),
            (String::from("starts at"), event.starts_at.to_string()),
        ]);
        let mut tell = |name: &str, text: String| told.insert(name.to_owned(), text);
        if let Some(end) = event.ends_at {
            tell("ends at", end.to_string());
        }
        if event.truncated > 0 {
            tell("cut off from its group", event.truncated.to_string());
        }
        match self.alert {
            None => tell("known of the alert", String::from("nothing")),
            Some(known) => {
                let status = known.change.status.as_str();
                let text = format!(
                    "{status} since {}, started {}",
                    known.change.at, known.starts_at
                );
                tell("known of the alert", text)
            }
        };
        let open = self.incidents().filter(|(_, slot)| slot.is_open()).count();
        let all = self.owner.incidents.len();
        tell(
            "incidents of the owner",
            format!("{open} open, {all} remembered"),
        );
        let incident = match decision {
            Decision::Again | Decision::Open => None,
            Decision::Suppress { incident } | Decision::Resolve { incident } => incident.as_ref(),
            Decision::Join { incident } | Decision::Reopen { incident } => Some(incident),
        };
        if let Some((id, slot)) = incident.and_then(|id| self.owner.incidents.get_key_value(id)) {
            let (status, firing, all) = (slot.status, slot.firing, slot.alerts);
            let since = slot.first_start;
            tell(
                "incident",
                format!("{id}: {status}, {firing} of {all} alerts firing, since {since}"),
            );
        }
        told
    }
}

fn before(at: Timestamp, span: Span) -> Timestamp {
    at.checked_sub(signed(span)).unwrap_or(Timestamp::MIN)
}

fn after(at: Timestamp, span: Span) -> Timestamp {
    at.checked_add(signed(span)).unwrap_or(Timestamp::MAX)
}

fn signed(span: Span) -> SignedDuration {
    SignedDuration::try_from(span.0).unwrap_or(SignedDuration::MAX)
}
