//! One run: claim the journal, add what the work says, take steps until there is nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{Either, select};
use incident::message::EvidenceRequest;
use incident::ports::{Cx, Fence};
use incident::report::Moment;
use incident::{Incident, IncidentId, Step, Window, WorkItem};
use jiff::Timestamp;
use runtime::config::Span;
use runtime::slots::{Rules, SlotError, Slots, Want};

use super::decisions::waiting_decision;
use super::{Orchestrator, WorkError};
use crate::config::signed;
use crate::journal::{
    Action, ChangeState, Journal, Ledger, Part, Reader, Rest, SCHEMA, Tries, keys, next,
};
use crate::outbox::{Effect, Errand, Outbox};
use crate::time::until;

/// Longest pause between two looks whether it is a run's turn.
const TURN_POLL: Duration = Duration::from_secs(1);

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
        read_incident(&reader, item.generation, &item.incident).await?;
        if let Some(ended) = self.answered(&reader, item).await? {
            return Ok(ended);
        }
        let turn = self.turns(&item.incident).acquire(Want::Usual, cx).await;
        let turn = turn.map_err(|error| match error {
            SlotError::Busy { .. } => WorkError::Ended {
                cancelled: cx.cancel.is_cancelled(),
            },
            SlotError::Store(error) => error.into(),
        })?;
        let result = {
            let keep = async {
                turn.keep().await;
                // A turn that is lost stops nobody: who takes the incident over has a newer token.
                std::future::pending::<()>().await;
            };
            let (keep, work) = (
                std::pin::pin!(keep),
                Box::pin(self.take_turn(item, reader, cx)),
            );
            match select(work, keep).await {
                Either::Left((result, _)) => result,
                Either::Right(((), _)) => unreachable!("it never ends by itself"),
            }
        };
        turn.release().await;
        result
    }

    /// Runs for one incident come one after the other. Who comes second waits: runs that took the
    /// incident over from each other would each have to wait until the other's last attempt at
    /// something outside is over, and start a new one, and never come to an end.
    fn turns(&self, incident: &IncidentId) -> Slots {
        let rules = Rules {
            poll: TURN_POLL,
            ..Rules::new(1, 0)
        };
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Slots::new(
            format!("orchestrator/{incident}"),
            rules,
            store,
            clock,
            self.entropy.clone(),
        )
    }

    async fn take_turn(
        &self,
        item: &WorkItem,
        reader: Reader,
        cx: &Cx,
    ) -> Result<Ended, WorkError> {
        // Whoever had the turn before may have done it all.
        let incident = read_incident(&reader, item.generation, &item.incident).await?;
        if let Some(ended) = self.answered(&reader, item).await? {
            return Ok(ended);
        }
        let fence = Ledger::take_fence(&reader, &item.incident).await?;
        let keep = self.config.keep.0;
        let ledger = match reader.head(&item.incident, item.generation).await? {
            None if matches!(item.step, Step::Retry { .. }) => {
                return Ok(Ended {
                    summary: "nothing to try again: the incident's journal is gone".to_owned(),
                    question: None,
                    again: None,
                });
            }
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
        run.drive(item, note).await
    }

    /// The answer, if the work has nothing to add and nothing is left to do. Without a fence: what
    /// is at rest must not stop a run that is at work.
    async fn answered(&self, reader: &Reader, item: &WorkItem) -> Result<Option<Ended>, WorkError> {
        let Some((journal, _)) = reader.head(&item.incident, item.generation).await? else {
            return Ok(None);
        };
        let note = match &item.step {
            Step::Investigate => None,
            Step::Retry { round, .. } if journal.retries >= *round => None,
            Step::Close if journal.closing.is_some() => None,
            Step::Decide { nonce } if journal.decisions.contains_key(nonce) => {
                journal.decisions.get(nonce).cloned()
            }
            Step::Close | Step::Decide { .. } | Step::Retry { .. } => return Ok(None),
        };
        if waiting_decision(reader, &journal).await?.is_some() {
            return Ok(None);
        }
        let tries = self.config.tries();
        Ok(match next(&journal, tries, self.clock.now()) {
            Action::Rest(rest) => Some(ended(&journal, rest, note, again(&journal, item, tries))),
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
            doubts: BTreeMap::new(),
            retries: 0,
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
            Step::Investigate => Ok(None),
            Step::Retry { round, .. } if self.journal().retries >= *round => Ok(None),
            Step::Retry { round, .. } => {
                self.ledger
                    .write(Vec::new(), |journal| journal.retries = *round)
                    .await?;
                Ok(None)
            }
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

    async fn drive(&mut self, item: &WorkItem, note: Option<String>) -> Result<Ended, WorkError> {
        let (steps, tries) = (self.o.config.steps_max, self.o.config.tries());
        let mut last = "none";
        for _ in 0..steps {
            let action = next(self.journal(), tries, self.now());
            if let Action::Rest(rest) = action {
                if rest == Rest::AwaitingDecision && self.take_up_decision().await? {
                    continue;
                }
                let again = again(self.journal(), item, tries);
                return Ok(ended(self.journal(), rest, note, again));
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

    /// Does something outside; see [`crate::outbox`].
    pub(super) async fn carry_out<E: Effect>(
        &mut self,
        errands: Vec<Errand<E>>,
        timeout: Span,
    ) -> Result<(), WorkError> {
        let mut outbox = Outbox {
            ledger: &mut self.ledger,
            cx: self.cx,
            entropy: self.o.entropy.as_ref(),
            patience: self.o.config.patience(timeout),
        };
        outbox.carry_out(errands).await
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

fn earlier(at: Timestamp, by: jiff::SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn names<T>(named: &[(String, T)]) -> Vec<String> {
    named.iter().map(|(name, _)| name.clone()).collect()
}

async fn read_incident(
    reader: &Reader,
    generation: u32,
    id: &IncidentId,
) -> Result<Incident, WorkError> {
    let found: Option<Incident> = reader.read(&incident::keys::incident(id)).await?;
    let incident = found.ok_or_else(|| WorkError::UnknownIncident(id.clone()))?;
    if incident.generation > generation {
        let by = incident.generation;
        return Err(WorkError::Overtaken { by });
    }
    Ok(incident)
}

/// The work that tries again what is due later: the next round of retries.
fn again(journal: &Journal, item: &WorkItem, tries: Tries) -> Option<WorkItem> {
    let due = journal.due_later(tries)?;
    let round = journal.retries.saturating_add(1);
    Some(WorkItem {
        step: Step::Retry { round, due },
        ..item.clone()
    })
}

fn ended(journal: &Journal, rest: Rest, note: Option<String>, again: Option<WorkItem>) -> Ended {
    let headline = journal
        .findings
        .as_ref()
        .map_or("not diagnosed", |findings| findings.headline.as_str());
    let stands = match rest {
        Rest::AwaitingDecision => "a decision about the proposed draft is awaited",
        Rest::Reported => "reported",
        Rest::Closed => "closed",
    };
    let note = note.map_or_else(String::new, |note| format!("{note}; "));
    let later = match &again {
        Some(_) => "; what failed outside is tried again",
        None => "",
    };
    let summary = format!("{note}{headline}; {stands}{later}");
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
        again,
    }
}
