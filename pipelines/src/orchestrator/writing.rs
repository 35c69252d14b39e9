//! Diagnosis and report: plain functions of what was collected, and their results kept.

use std::time::Duration;

use incident::message::{EvidenceReply, EvidenceRequest, agent};
use incident::proposal::{ChangeKind, ChangeRequest};
use incident::report::ChangeOutcome;
use incident::{Diagnosis, Gap, Incident, IncidentStatus, Report, Untrusted};

use super::WorkError;
use super::numbering::{Limits, number};
use super::run::Run;
use crate::journal::{Case, ChangeState, Findings, Part, Written, keys};
use crate::{diagnosis, reporting};

impl Run<'_> {
    /// Numbers the facts and ranks the causes. The case is kept, so that every later revision of the
    /// report rests on the same numbers.
    pub(super) async fn diagnose(&mut self) -> Result<(), WorkError> {
        self.refresh().await?;
        let (id, generation) = (self.journal().incident.clone(), self.journal().generation);
        let request_key = keys::request(&id, generation);
        let request: EvidenceRequest = self.part(request_key).await?;
        let mut replies = Vec::new();
        for name in self.journal().specialists.clone() {
            let reply = self.journal().replies.get(&name);
            let why = reply.and_then(|reply| reply.missing.clone());
            replies.push(match why {
                None => self.part(keys::reply(&id, generation, &name)).await?,
                Some(why) => EvidenceReply {
                    observations: Vec::new(),
                    gaps: vec![unanswered(&name, why)],
                },
            });
        }
        if self.journal().specialists.is_empty() {
            let none = "no specialist is configured".to_owned();
            replies.push(EvidenceReply {
                observations: Vec::new(),
                gaps: vec![unanswered(agent::ORCHESTRATOR, none)],
            });
        }
        let limits = Limits {
            observations_max: self.o.config.observations_max,
            bytes_max: self.o.config.evidence_bytes_max.get(),
        };
        let (evidence, gaps) = number(&request, replies, limits);
        let incident = self.as_reported();
        let config = &self.o.config.diagnosis;
        let diagnosis = diagnosis::diagnose(&incident, &evidence, gaps, config);
        let findings = Findings {
            at: self.now(),
            headline: headline(&diagnosis),
            verdict: diagnosis.verdict.label().to_owned(),
            culprit: self.culprit(&diagnosis),
        };
        self.progress("diagnose", &findings.headline);
        let case = Case {
            evidence,
            diagnosis,
            partial: self.journal().is_missing_some(),
        };
        let part = Part::json(keys::case(&id, generation), &case)?;
        self.ledger
            .write(vec![part], |journal| journal.findings = Some(findings))
            .await
    }

    fn culprit(&self, diagnosis: &Diagnosis) -> Option<ChangeRequest> {
        let (repository, commit, _) = diagnosis.culprit()?;
        Some(ChangeRequest {
            incident: self.incident.id.clone(),
            kind: ChangeKind::Revert,
            repository: repository.to_owned(),
            commit: commit.to_owned(),
        })
    }

    /// Writes the report anew: the one place that does.
    pub(super) async fn write_report(&mut self) -> Result<(), WorkError> {
        self.refresh().await?;
        let case = self.case().await?;
        let now = self.now();
        let incident = self.as_reported();
        let report = reporting::compose(reporting::Inputs {
            incident: &incident,
            diagnosis: case.diagnosis,
            evidence: case.evidence,
            change: self.outcome().await?,
            moments: self.journal().moments.clone(),
            partial: case.partial,
            written_at: now,
        });
        let part = Part::json(incident::keys::report(&incident.id), &report)?;
        let is_first = self.journal().report.is_none();
        let face = self.journal().face();
        let before = self.journal().report.as_ref();
        let revision = match before.filter(|before| before.face == face) {
            // The timeline grew by what people need not be told.
            Some(before) => before.revision,
            None => self.journal().next_revision(),
        };
        let written = Written {
            revision,
            at: now,
            face,
            is_stale: false,
        };
        self.ledger
            .write(vec![part], |journal| journal.report = Some(written))
            .await?;
        if is_first {
            let took = now.duration_since(self.journal().begun_at);
            let took = took.try_into().unwrap_or(Duration::ZERO);
            let verdict = report.diagnosis.verdict.label();
            self.o.instruments.first_report(verdict, took);
        }
        self.progress(
            "report",
            if is_first {
                "report written"
            } else {
                "report updated"
            },
        );
        tracing::info!(incident = %incident.id, verdict = report.diagnosis.verdict.label(), partial = report.partial, "report written");
        Ok(())
    }

    /// What became of the change, as the report says it.
    async fn outcome(&self) -> Result<ChangeOutcome, WorkError> {
        Ok(match &self.journal().change {
            ChangeState::Unknown => ChangeOutcome::None {
                why: "no change was looked for".to_owned(),
            },
            ChangeState::None { why } => ChangeOutcome::None { why: why.clone() },
            ChangeState::Failed { why } => ChangeOutcome::Failed { why: why.clone() },
            ChangeState::Delayed { why, .. } => ChangeOutcome::Failed {
                why: format!("not yet: {why}; it is tried again"),
            },
            ChangeState::Opening {
                token,
                entry: Some(entry),
                ..
            } if entry.failure().is_some() => {
                let by = token.as_ref().map_or_else(String::new, |token| {
                    let by = Untrusted::new(token.approval.person.clone()).one_line(80);
                    format!("{by} approved it; ")
                });
                let why = entry.failure().unwrap_or_default();
                ChangeOutcome::Failed {
                    why: format!("not yet: {by}{why}; it is tried again"),
                }
            }
            ChangeState::Proposed {
                digest,
                needs_approval: true,
                ..
            }
            | ChangeState::Opening {
                digest,
                token: Some(_),
                ..
            } => ChangeOutcome::AwaitingApproval {
                proposal: self.proposal(digest).await?,
            },
            ChangeState::Proposed { digest, .. } | ChangeState::Opening { digest, .. } => {
                let branch = self.proposal(digest).await?.request.branch();
                ChangeOutcome::None {
                    why: format!("a draft is being opened on {branch}; policy asks nobody"),
                }
            }
            ChangeState::Rejected { digest, by } => ChangeOutcome::Rejected {
                proposal: self.proposal(digest).await?,
                by: by.clone(),
            },
            ChangeState::Opened { .. } => match self.draft().await? {
                Some(open) => ChangeOutcome::Opened {
                    proposal: open.proposal,
                    draft: open.draft,
                },
                None => ChangeOutcome::Failed {
                    why: "the draft was opened, but its record is gone".to_owned(),
                },
            },
        })
    }

    /// The incident as the report shows it. Close says that the alerts resolved, whatever the copy
    /// we read says: it may be older.
    fn as_reported(&self) -> Incident {
        let mut incident = self.incident.clone();
        if let Some(at) = self.journal().closing {
            incident.status = IncidentStatus::Resolved;
            incident.resolved_at = incident.resolved_at.or(Some(at));
        }
        incident
    }

    /// The numbered case.
    pub(super) async fn case(&self) -> Result<Case, WorkError> {
        let journal = self.journal();
        let key = keys::case(&journal.incident, journal.generation);
        self.part(key).await
    }

    /// The report as it stands.
    pub(super) async fn read_report(&self) -> Result<Option<Report>, WorkError> {
        let key = incident::keys::report(&self.journal().incident);
        self.ledger.reader().read(&key).await
    }

    /// A part that the journal speaks of.
    pub(super) async fn part<T: serde::de::DeserializeOwned>(
        &self,
        key: String,
    ) -> Result<T, WorkError> {
        let found = self.ledger.reader().read(&key).await?;
        found.ok_or_else(|| WorkError::Unreadable {
            why: "it is missing although the journal speaks of it".to_owned(),
            key,
        })
    }
}

fn unanswered(source: &str, why: String) -> Gap {
    Gap {
        source: source.to_owned(),
        what: "everything it would have looked at".to_owned(),
        why,
    }
}

/// One printable line.
fn headline(diagnosis: &Diagnosis) -> String {
    let verdict = diagnosis.verdict.label();
    match diagnosis.leading() {
        Some(leading) => {
            let entity = Untrusted::new(leading.entity.clone()).one_line(120);
            format!("verdict: {verdict} {entity}")
        }
        None => format!("verdict: {verdict}"),
    }
}
