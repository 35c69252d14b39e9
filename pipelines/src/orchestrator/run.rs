//! One run: claim the journal, add what the work says, take steps until there is nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use incident::message::EvidenceRequest;
use incident::ports::{Clock, Cx, Fence};
use incident::report::Moment;
use incident::{Incident, Step, Untrusted, Window, WorkItem};
use jiff::Timestamp;

use super::{Orchestrator, WorkError};
use crate::config::signed;
use crate::journal::{
    Action, ChangeState, Journal, Ledger, Part, Reader, Rest, SCHEMA, keys, next,
};

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Where the incident stands, one printable line.
    pub(super) summary: String,
    /// What a person is asked.
    pub(super) question: Option<String>,
    /// What is to be done later.
    pub(super) again: Option<WorkItem>,
}

/// What one run holds.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) o: &'a Orchestrator,
    pub(super) cx: &'a Cx,
    pub(super) ledger: Ledger,
    /// As triage had it last.
    pub(super) incident: Incident,
    pub(super) started_at: Timestamp,
}

impl Orchestrator {
    /// Does one piece of work.
    pub(super) async fn work(&self, item: &WorkItem, cx: &Cx) -> Result<Ended, WorkError> {
        match self.try_work(item, cx).await {
            Err(WorkError::Overtaken { by }) => Ok(Ended {
                summary: format!("nothing to do: the incident opened again as generation {by}"),
                question: None,
                again: None,
            }),
            other => other,
        }
    }

    async fn try_work(&self, item: &WorkItem, cx: &Cx) -> Result<Ended, WorkError> {
        let reader = Reader {
            store: self.store.clone(),
            entropy: self.entropy.clone(),
            cx: cx.clone(),
        };
        let incident = read_incident(&reader, item.generation, &item.incident).await?;
        if let Some(ended) = self.answered(&reader, item).await? {
            return Ok(ended);
        }
        let fence = Ledger::take_fence(&reader, &item.incident).await?;
        let keep = self.config.keep.0;
        let ledger = match reader.head(&item.incident, item.generation).await? {
            Some(found) => {
                cx.progress
                    .note("resume", "going on where the work stopped");
                Ledger::resume(reader, fence, keep, found)
            }
            None => self.begin(reader, fence, item, &incident).await?,
        };
        let mut run = Run {
            o: self,
            cx,
            ledger,
            incident,
            started_at: self.clock.now(),
        };
        let note = run.take_in(item).await?;
        run.drive(note).await
    }

    /// The answer, if the work has nothing to add and nothing is left to do. Without a fence: what
    /// is at rest must not stop a run that is at work.
    async fn answered(&self, reader: &Reader, item: &WorkItem) -> Result<Option<Ended>, WorkError> {
        let Some((journal, _)) = reader.head(&item.incident, item.generation).await? else {
            return Ok(None);
        };
        let note = match &item.step {
            Step::Investigate | Step::Retry { .. } => None,
            Step::Close if journal.closing.is_some() => None,
            Step::Decide { nonce } if journal.decisions.contains_key(nonce) => {
                journal.decisions.get(nonce).cloned()
            }
            Step::Close | Step::Decide { .. } => return Ok(None),
        };
        Ok(match next(&journal, self.config.notify_tries_max) {
            Action::Rest(rest) => Some(ended(&journal, rest, note)),
            _ => None,
        })
    }

    async fn begin(
        &self,
        reader: Reader,
        fence: Fence,
        item: &WorkItem,
        incident: &Incident,
    ) -> Result<Ledger, WorkError> {
        let now = self.clock.now();
        let request = self.question(incident, now);
        let mut journal = Journal {
            schema: SCHEMA,
            writes: 0,
            incident: item.incident.clone(),
            generation: item.generation,
            begun_at: now,
            report_by: now
                .checked_add(signed(self.config.report_within))
                .unwrap_or(Timestamp::MAX),
            specialists: names(&self.specialists),
            channels: names(&self.channels),
            opened: BTreeMap::new(),
            collecting: None,
            replies: BTreeMap::new(),
            findings: None,
            change: ChangeState::Unknown,
            proposals: 0,
            refusals: 0,
            decisions: BTreeMap::new(),
            closing: None,
            report: None,
            told: BTreeMap::new(),
            receipts: BTreeMap::new(),
            moments: Vec::new(),
        };
        journal.moments.push(Moment {
            at: now,
            text: String::from("Nightshift began to look."),
            evidence: None,
        });
        let key = keys::request(&item.incident, item.generation);
        let parts = vec![Part::json(key, &request)?];
        Ledger::begin(reader, fence, self.config.keep.0, journal, parts).await
    }

    /// The question to the specialists. Asked once and kept: a resumed run must ask the same, or
    /// their tasks would be other tasks.
    fn question(&self, incident: &Incident, now: Timestamp) -> EvidenceRequest {
        let start = incident
            .started_at
            .checked_sub(signed(self.config.lookback))
            .unwrap_or(Timestamp::MIN);
        let latest = start
            .checked_add(signed(self.config.window_max))
            .unwrap_or(Timestamp::MAX);
        EvidenceRequest {
            incident: incident.clone(),
            window: Window::between(start, now.max(incident.started_at).min(latest)),
            fired_at: incident.started_at,
        }
    }
}

impl Run<'_> {
    /// Adds what the work says to the journal; returns what is to be said about it.
    async fn take_in(&mut self, item: &WorkItem) -> Result<Option<String>, WorkError> {
        match &item.step {
            Step::Investigate | Step::Retry { .. } => Ok(None),
            Step::Decide { nonce } => self.decide(nonce).await,
            Step::Close if self.journal().closing.is_some() => Ok(None),
            Step::Close => {
                let now = self.now();
                self.ledger
                    .write(Vec::new(), |journal| journal.closing = Some(now))
                    .await?;
                Ok(None)
            }
        }
    }

    async fn drive(&mut self, note: Option<String>) -> Result<Ended, WorkError> {
        let steps = self.o.config.steps_max;
        let mut last = "none";
        for _ in 0..steps {
            let action = next(self.journal(), self.o.config.notify_tries_max);
            if let Action::Rest(rest) = action {
                return Ok(ended(self.journal(), rest, note));
            }
            last = action.label();
            let began = self.o.clock.elapsed();
            let done = Box::pin(self.perform(action)).await;
            let took = self.o.clock.elapsed().saturating_sub(began);
            self.o.instruments.stage(last, took);
            tracing::debug!(incident = %self.incident.id, stage = last, took_ms = took.as_millis(), "step");
            done?;
        }
        Err(WorkError::Endless { steps, last })
    }

    async fn perform(&mut self, action: Action) -> Result<(), WorkError> {
        match action {
            Action::Announce => self.announce().await,
            Action::Collect => self.collect().await,
            Action::Diagnose => self.diagnose().await,
            Action::Preview => self.preview().await,
            Action::Withdraw => self.withdraw().await,
            Action::OpenDraft => self.open_draft().await,
            Action::CheckDraft => self.check_draft().await,
            Action::WriteReport => self.write_report().await,
            Action::Notify => self.notify().await,
            Action::Rest(_) => Ok(()),
        }
    }

    pub(super) fn journal(&self) -> &Journal {
        self.ledger.journal()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.o.clock.now()
    }

    pub(super) fn progress(&self, stage: &str, text: &str) {
        self.cx.progress.note(stage, text);
    }

    /// Reads the incident again: triage goes on while we work.
    pub(super) async fn refresh(&mut self) -> Result<(), WorkError> {
        let generation = self.journal().generation;
        let id = self.incident.id.clone();
        self.incident = read_incident(self.ledger.reader(), generation, &id).await?;
        Ok(())
    }

    /// How long a step of the investigation may take if it wants `want`: not into the reserve before
    /// the report's deadline, nor into the reserve before the end of this run. A run that resumes
    /// late has [`crate::Config::resume_least`] all the same.
    pub(super) fn share(&self, want: Duration) -> Duration {
        let config = &self.o.config;
        let planned = earlier(self.journal().report_by, signed(config.reserve));
        let at_least = self
            .started_at
            .checked_add(signed(config.resume_least))
            .unwrap_or(Timestamp::MAX);
        let left = until(self.o.clock.as_ref(), planned.max(at_least));
        let run = self.cx.remaining().saturating_sub(config.reserve.0);
        want.min(left).min(run)
    }
}

/// The time from now to `at`; zero if it has passed.
pub(super) fn until(clock: &dyn Clock, at: Timestamp) -> Duration {
    let left = at.duration_since(clock.now());
    left.try_into().unwrap_or(Duration::ZERO)
}

fn earlier(at: Timestamp, by: jiff::SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// One printable line of an error, which may quote the outside.
pub(super) fn line(error: &dyn std::error::Error) -> String {
    Untrusted::new(error.to_string()).one_line(240)
}

fn names<T>(named: &[(String, T)]) -> Vec<String> {
    named.iter().map(|(name, _)| name.clone()).collect()
}

async fn read_incident(
    reader: &Reader,
    generation: u32,
    id: &incident::IncidentId,
) -> Result<Incident, WorkError> {
    let found: Option<Incident> = reader.read(&incident::keys::incident(id)).await?;
    let incident = found.ok_or_else(|| WorkError::UnknownIncident(id.clone()))?;
    if incident.generation > generation {
        let by = incident.generation;
        return Err(WorkError::Overtaken { by });
    }
    Ok(incident)
}

fn ended(journal: &Journal, rest: Rest, note: Option<String>) -> Ended {
    let headline = journal
        .findings
        .as_ref()
        .map_or("not diagnosed", |findings| findings.headline.as_str());
    let stands = match rest {
        Rest::AwaitingDecision => "a decision about the proposed draft is awaited",
        Rest::Reported => "reported",
        Rest::Closed => "closed",
    };
    let summary = match note {
        Some(note) => format!("{note}; {headline}; {stands}"),
        None => format!("{headline}; {stands}"),
    };
    let question = (rest == Rest::AwaitingDecision).then(|| {
        format!(
            "Shall the draft pull request be opened? Decide with `nightshift approve {0}` or \
             `nightshift reject {0}`.",
            journal.incident
        )
    });
    Ended {
        summary,
        question,
        again: None,
    }
}
