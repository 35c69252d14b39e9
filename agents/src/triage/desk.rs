//! One owner's events, ruled on one after the other. Pure: what it needs is loaded before, what it
//! decided is written after, in one piece.

use std::collections::{BTreeMap, BTreeSet};

use incident::incident::{Incident, IncidentStatus, Member};
use incident::{
    AlertEvent, AlertStatus, Disposition, EventKey, Fingerprint, IncidentId, Ruling, Severity,
    Step, Untrusted, WorkItem,
};
use jiff::Timestamp;

use super::config::Config;
use super::owner::{Owner, cut, cut_map};
use super::rules::{self, Decision, Facts};
use super::state::{AlertState, Change, Cut, OwnerState, Slot, end, group_digest, name_digest};

/// Labels, or annotations, kept of one alert.
const TEXTS_MAX: usize = 64;

/// This incident has to be loaded first.
#[derive(Debug)]
pub(super) struct Missing(pub(super) IncidentId);

/// A ruling and the work that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruled {
    pub(super) ruling: Ruling,
    pub(super) work: Vec<WorkItem>,
}

/// What is known, and what has been decided so far.
#[derive(Debug, Clone)]
pub(super) struct Desk<'a> {
    pub(super) config: &'a Config,
    pub(super) owner: &'a Owner,
    pub(super) now: Timestamp,
    pub(super) state: OwnerState,
    pub(super) alerts: BTreeMap<Fingerprint, AlertState>,
    /// Loaded incidents; none where the store has none of that id.
    pub(super) incidents: BTreeMap<IncidentId, Option<Incident>>,
    /// Rulings of earlier times and of this one.
    pub(super) ruled: BTreeMap<EventKey, Ruled>,
    /// Incidents that changed.
    pub(super) changed: BTreeSet<IncidentId>,
}

impl Desk<'_> {
    /// Rules on `event`, unless that was done before.
    pub(super) fn take(&mut self, event: &AlertEvent) -> Result<(), Missing> {
        let facts = Facts {
            event,
            ruled: self.ruled.contains_key(&event.key),
            alert: self.alerts.get(&event.fingerprint),
            owner: &self.state,
            config: self.config,
        };
        let (rule, decision) = rules::decide(&facts);
        let based_on = facts.explain(&decision);
        let (rule, disposition, work) = match decision {
            Decision::Again => return Ok(()),
            Decision::Suppress { incident } => {
                if let Some(id) = &incident {
                    self.see(id, event)?;
                }
                (rule, Disposition::Suppressed { incident }, Vec::new())
            }
            Decision::Resolve { incident } => {
                let work = self.resolve(incident.as_ref(), event)?;
                (rule, Disposition::Resolved { incident }, work)
            }
            Decision::Join { incident } => {
                let work = self.attach(&incident, event)?;
                (rule, Disposition::Attached { incident }, work)
            }
            Decision::Reopen { incident } => {
                let work = self.reopen(&incident, event)?;
                (rule, Disposition::Attached { incident }, work)
            }
            Decision::Open => self.open(rule, event)?,
        };
        let ruling = Ruling {
            event: event.key.clone(),
            fingerprint: event.fingerprint.clone(),
            alert: Untrusted::new(event.name()).one_line(120),
            disposition,
            rule: rule.to_owned(),
            based_on,
            at: self.now,
        };
        self.ruled.insert(event.key.clone(), Ruled { ruling, work });
        Ok(())
    }

    fn open(
        &mut self,
        rule: &'static str,
        event: &AlertEvent,
    ) -> Result<(&'static str, Disposition, Vec<WorkItem>), Missing> {
        let id = IncidentId::derive(&self.owner.correlation, &event.starts_at.to_string());
        if let Some(known) = self.loaded(&id)? {
            // The owner's memory of it is gone, the incident is not: it goes on under its own name.
            let slot = Slot::recall(known, event);
            let resolved = !slot.is_open();
            self.state.incidents.insert(id.clone(), slot);
            let work = if resolved {
                self.reopen(&id, event)?
            } else {
                self.attach(&id, event)?
            };
            return Ok(("refire", Disposition::Attached { incident: id }, work));
        }
        self.make_room();
        let slot = Slot::new(event);
        let incident = self.blank(&id, &slot);
        self.state.incidents.insert(id.clone(), slot);
        self.incidents.insert(id.clone(), Some(incident));
        self.attach(&id, event)?;
        let work = vec![self.work(&id, Step::Investigate)];
        Ok((rule, Disposition::Opened { incident: id }, work))
    }

    /// Forgets the incident that resolved first, if there are as many as may be remembered.
    fn make_room(&mut self) {
        while self.state.incidents.len() >= self.config.incidents_per_owner_max {
            let resolved = self
                .state
                .incidents
                .iter()
                .filter(|(_, slot)| !slot.is_open());
            let oldest = resolved.min_by_key(|(id, slot)| (slot.last_end, *id));
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else {
                return;
            };
            self.state.incidents.remove(&oldest);
        }
    }

    fn reopen(&mut self, id: &IncidentId, event: &AlertEvent) -> Result<Vec<WorkItem>, Missing> {
        self.loaded(id)?;
        if let Some(slot) = self.state.incidents.get_mut(id) {
            slot.status = IncidentStatus::Open;
            slot.generation = slot.generation.saturating_add(1);
        }
        self.attach(id, event)?;
        Ok(vec![self.work(id, Step::Investigate)])
    }

    /// Makes the alert a firing member. When it makes the incident more severe, the work is called
    /// for again in the more urgent lane: the first call may still wait in a long queue.
    fn attach(&mut self, id: &IncidentId, event: &AlertEvent) -> Result<Vec<WorkItem>, Missing> {
        self.loaded(id)?;
        let before = self.severity(id);
        let known = self.alerts.get(&event.fingerprint);
        let is_new = known.and_then(|known| known.incident.as_ref()) != Some(id);
        let fired = known.is_some_and(|known| known.change.status == AlertStatus::Firing);
        if let Some(slot) = self.state.incidents.get_mut(id) {
            slot.alerts += u64::from(is_new);
            slot.firing += u64::from(is_new || !fired);
            slot.first_start = slot.first_start.min(event.starts_at);
            slot.last_start = slot.last_start.max(event.starts_at);
            if slot.names.len() < self.config.groups_max {
                slot.names.insert(name_digest(event));
            }
        }
        self.remember(event, Some(id.clone()));
        self.see(id, event)?;
        self.member(id, event, true);
        let raised = before.is_some_and(|before| event.severity() > before);
        Ok(if raised {
            vec![self.work(id, Step::Investigate)]
        } else {
            Vec::new()
        })
    }

    fn resolve(
        &mut self,
        id: Option<&IncidentId>,
        event: &AlertEvent,
    ) -> Result<Vec<WorkItem>, Missing> {
        let known = self.alerts.get(&event.fingerprint);
        let fired = known.is_some_and(|known| known.change.status == AlertStatus::Firing);
        self.remember(event, id.cloned());
        let Some(id) = id.filter(|id| self.state.incidents.contains_key(*id)) else {
            return Ok(Vec::new());
        };
        self.loaded(id)?;
        self.see(id, event)?;
        self.member(id, event, false);
        let Some(slot) = self.state.incidents.get_mut(id) else {
            return Ok(Vec::new());
        };
        slot.firing = slot.firing.saturating_sub(u64::from(fired));
        slot.last_end = slot.last_end.max(Some(end(event)));
        let ends = slot.is_open() && slot.firing == 0;
        if ends {
            slot.status = IncidentStatus::Resolved;
        }
        self.settle(id);
        Ok(if ends {
            vec![self.work(id, Step::Close)]
        } else {
            Vec::new()
        })
    }

    fn remember(&mut self, event: &AlertEvent, incident: Option<IncidentId>) {
        let state = AlertState {
            change: Change::of(event),
            starts_at: event.starts_at,
            incident,
        };
        self.alerts.insert(event.fingerprint.clone(), state);
    }

    /// Notes the group the event came in, and how much of it was cut off.
    fn see(&mut self, id: &IncidentId, event: &AlertEvent) -> Result<(), Missing> {
        if !self.state.incidents.contains_key(id) {
            return Ok(());
        }
        self.loaded(id)?;
        let cut_off = Cut {
            received_at: event.received_at,
            alerts: event.truncated,
        };
        let (digest, max) = (group_digest(event), self.config.groups_max);
        let slot = self
            .state
            .incidents
            .get_mut(id)
            .expect("it is there, see above");
        let is_known = slot.groups.contains_key(&digest);
        if is_known || slot.groups.len() < max {
            let newest = slot.groups.entry(digest).or_insert(cut_off);
            *newest = (*newest).max(cut_off);
        }
        if let Some(Some(incident)) = self.incidents.get_mut(id)
            && incident.groups.len() < max
        {
            incident
                .groups
                .insert(cut(event.group_key.as_str(), 1024).to_owned());
        }
        self.settle(id);
        Ok(())
    }

    /// Puts the newest state of an alert among the incident's members, as far as there is room: the
    /// most severe stay, then the earliest, so that the choice does not depend on arrival.
    fn member(&mut self, id: &IncidentId, event: &AlertEvent, fires: bool) {
        let Some(Some(incident)) = self.incidents.get_mut(id) else {
            return;
        };
        let text_max = self.config.text_max.get();
        let short = |text: &Untrusted| Untrusted::new(cut(text.expose(), text_max));
        let member = Member {
            status: event.status,
            alert: Untrusted::new(cut(event.name(), text_max)),
            severity: event.severity(),
            labels: cut_map(&event.labels, TEXTS_MAX, text_max),
            annotations: cut_map(&event.annotations, TEXTS_MAX, text_max),
            generator_url: short(&event.generator_url),
            starts_at: event.starts_at,
            ends_at: event.ends_at.filter(|_| !fires),
        };
        incident.members.insert(event.fingerprint.clone(), member);
        incident.severity = incident.severity.max(event.severity());
        incident.started_at = incident.started_at.min(event.starts_at);
        let mut size: usize = incident.members.values().map(size).sum();
        while incident.members.len() > 1
            && (incident.members.len() > self.config.members_max
                || size > self.config.members_size_max.get())
        {
            let rank = |(fingerprint, member): &(&Fingerprint, &Member)| {
                (
                    std::cmp::Reverse(member.severity),
                    member.starts_at,
                    (*fingerprint).clone(),
                )
            };
            let last = incident.members.iter().max_by_key(rank);
            let Some(last) = last.map(|(fingerprint, _)| fingerprint.clone()) else {
                break;
            };
            size -= incident
                .members
                .remove(&last)
                .as_ref()
                .map_or(0, self::size);
        }
        self.settle(id);
    }

    /// Brings the incident in line with what the owner's state says of it.
    fn settle(&mut self, id: &IncidentId) {
        let Some(slot) = self.state.incidents.get(id) else {
            return;
        };
        let Some(Some(incident)) = self.incidents.get_mut(id) else {
            return;
        };
        incident.status = slot.status;
        incident.generation = slot.generation;
        incident.truncated = slot.cut_off();
        incident.resolved_at = slot.last_end.filter(|_| !slot.is_open());
        let members = u64::try_from(incident.members.len()).unwrap_or(u64::MAX);
        incident.members_left_out = slot.alerts.saturating_sub(members);
        self.changed.insert(id.clone());
    }

    /// The incident as stored or changed since; none if there is no such incident.
    fn loaded(&mut self, id: &IncidentId) -> Result<Option<&Incident>, Missing> {
        if !self.incidents.contains_key(id) {
            return Err(Missing(id.clone()));
        }
        if let (Some(None), Some(slot)) = (self.incidents.get(id), self.state.incidents.get(id)) {
            // Somebody removed it by hand: it is built up again from what is known.
            let incident = self.blank(id, slot);
            self.incidents.insert(id.clone(), Some(incident));
        }
        Ok(self.incidents.get(id).and_then(Option::as_ref))
    }

    fn blank(&self, id: &IncidentId, slot: &Slot) -> Incident {
        Incident {
            id: id.clone(),
            correlation: self.owner.correlation.clone(),
            subject: self.owner.subject.clone(),
            severity: Severity::Info,
            status: slot.status,
            members: BTreeMap::new(),
            members_left_out: 0,
            groups: BTreeSet::new(),
            truncated: 0,
            started_at: slot.first_start,
            opened_at: self.now,
            resolved_at: None,
            generation: slot.generation,
        }
    }

    /// How severe it is so far; none before its first member.
    fn severity(&self, id: &IncidentId) -> Option<Severity> {
        let incident = self.incidents.get(id)?.as_ref()?;
        Some(incident.severity).filter(|_| !incident.members.is_empty())
    }

    fn work(&self, id: &IncidentId, step: Step) -> WorkItem {
        let incident = self.incidents.get(id).and_then(Option::as_ref);
        WorkItem {
            incident: id.clone(),
            severity: incident.map_or(Severity::Warning, |incident| incident.severity),
            generation: incident.map_or(0, |incident| incident.generation),
            step,
        }
    }
}

/// About how much room an alert takes.
fn size(member: &Member) -> usize {
    let texts = member.labels.iter().chain(&member.annotations);
    let texts = texts.map(|(name, text)| name.len() + text.expose().len() + 8);
    256 + member.generator_url.expose().len() + texts.sum::<usize>()
}
