//! The journal: what has been done for one generation of one incident, so that whoever comes next
//! goes on instead of starting over.
//!
//! **Layout.** One small document, the head, at `pipeline/<incident>/<generation>`; the bulky
//! results (the question put to the specialists, each reply, the numbered case, each proposal) lie
//! beside it as parts, and are written in the same atomic batch as the head that speaks of them. One
//! head rather than a key per step, because every decision needs the whole state: one read resumes
//! it, compare-and-set on one key orders all writers, and no reader ever sees half a step. Parts
//! rather than one large document, because the head is written some twenty times per incident and
//! would otherwise carry a megabyte of series each time.
//!
//! **Fencing.** Every write carries the token taken at the start of the run. A second executor takes
//! a newer one, and the first is refused at its next write: before its next effect, since each
//! effect is preceded by its recorded intent.
//!
//! Never: an outside effect, a decision. What to do next is [`next`], and it is a pure function.

mod ledger;
mod next;

pub(crate) use ledger::{Ledger, Part, Reader};
pub(crate) use next::{Action, Rest, next};

use std::collections::BTreeMap;

use incident::digest::Digest;
use incident::ports::Receipt;
use incident::proposal::ChangeRequest;
use incident::report::Moment;
use incident::{ApprovalToken, Diagnosis, DraftPr, Evidence, IncidentId, Proposal};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::outbox::Entry;

/// Version of the head's shape; an older program refuses a newer journal instead of guessing.
pub(crate) const SCHEMA: u32 = 1;

/// Revisions of one generation's report are numbered from `generation * REVISIONS`: message keys of
/// different generations never meet, in whatever order the generations are worked on.
pub(crate) const REVISIONS: u32 = 1000;

/// The head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// Counts writes, so that no two heads are alike and a write of unknown fate can be recognised.
    pub(crate) writes: u64,
    pub(crate) incident: IncidentId,
    pub(crate) generation: u32,
    pub(crate) begun_at: Timestamp,
    /// When the report must be out.
    pub(crate) report_by: Timestamp,
    /// Who is asked, in the order that numbers the evidence.
    pub(crate) specialists: Vec<String>,
    /// Who is told.
    pub(crate) channels: Vec<String>,
    /// The first message, by channel.
    pub(crate) opened: BTreeMap<String, Post>,
    /// The time the specialists have; none until they are first asked.
    pub(crate) collecting: Option<Collecting>,
    /// Specialists that are done, by name.
    pub(crate) replies: BTreeMap<String, Reply>,
    pub(crate) findings: Option<Findings>,
    pub(crate) change: ChangeState,
    /// How many proposals were made.
    pub(crate) proposals: u32,
    /// How many decisions were refused.
    pub(crate) refusals: u32,
    /// Nonces of decisions that were looked at, by what came of them.
    pub(crate) decisions: BTreeMap<String, String>,
    /// When the alerts were said to be over.
    pub(crate) closing: Option<Timestamp>,
    pub(crate) report: Option<Written>,
    /// The newest report's message, by channel.
    pub(crate) told: BTreeMap<String, Post>,
    /// The newest message of each channel, to edit.
    pub(crate) receipts: BTreeMap<String, Receipt>,
    /// Keys of messages whose fate was never found out, by channel: one of them may be there to edit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) doubts: BTreeMap<String, Vec<Digest>>,
    /// The newest round of retries that began.
    #[serde(default)]
    pub(crate) retries: u32,
    pub(crate) moments: Vec<Moment>,
}

/// One message to one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Post {
    /// The report's revision it tells of.
    pub(crate) revision: u32,
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

/// The time the specialists have. Kept, because runs that keep taking the incident over from each
/// other would otherwise wait for the same silent specialist for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Collecting {
    /// How many runs have asked.
    pub(crate) rounds: u32,
    pub(crate) until: Timestamp,
}

/// A specialist that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) at: Timestamp,
    /// How many facts its part holds.
    pub(crate) observations: usize,
    /// Why there is no part.
    pub(crate) missing: Option<String>,
}

/// What diagnosis came to; the whole of it lies in the case part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub(crate) at: Timestamp,
    /// One printable line.
    pub(crate) headline: String,
    /// The verdict's label in metrics.
    pub(crate) verdict: String,
    pub(crate) culprit: Option<ChangeRequest>,
}

/// The case part: what the report rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) diagnosis: Diagnosis,
    pub(crate) partial: bool,
}

/// The draft part: shared by all generations, because the same request is the same draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenDraft {
    pub(crate) proposal: Proposal,
    pub(crate) draft: DraftPr,
}

/// What becomes of the change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum ChangeState {
    /// Not looked at yet.
    Unknown,
    /// There is none.
    None { why: String },
    /// There is one and it cannot be made.
    Failed { why: String },
    /// There is one, and the forge could not say yet what it would do.
    Delayed {
        why: String,
        /// How often the forge was asked.
        tries: u32,
        /// When it is asked again.
        retry_at: Timestamp,
    },
    /// A proposal lies in its part; a person or the policy has the word.
    Proposed {
        digest: Digest,
        at: Timestamp,
        needs_approval: bool,
    },
    /// Leave was given; the draft is being opened.
    Opening {
        digest: Digest,
        /// A person's leave; none where policy gives it.
        token: Option<Box<ApprovalToken>>,
        /// None until it is first tried.
        #[serde(default)]
        entry: Option<Box<Entry>>,
    },
    /// A person said no.
    Rejected { digest: Digest, by: String },
    /// The draft lies in its part.
    Opened {
        digest: Digest,
        /// [`ChangeRequest::key`].
        request: Digest,
        /// Set once the incident is over and the draft was looked at again.
        checked: bool,
    },
}

/// The report as it was last written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) revision: u32,
    pub(crate) at: Timestamp,
    pub(crate) face: Face,
    /// The timeline has grown since, by what people need not be told.
    #[serde(default)]
    pub(crate) is_stale: bool,
}

/// What a reader of the report would see changed: when it differs from the written one, the report
/// is written again and people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Face {
    pub(crate) change: String,
    pub(crate) refusals: u32,
    pub(crate) closed: bool,
}

impl Journal {
    /// Whether everything asked of a specialist is there or given up.
    pub(crate) fn is_missing_some(&self) -> bool {
        self.replies.values().any(|reply| reply.missing.is_some())
    }

    /// What the report should show now.
    pub(crate) fn face(&self) -> Face {
        Face {
            change: self.change.face(),
            refusals: self.refusals,
            closed: self.closing.is_some(),
        }
    }

    /// The revision that the next report gets.
    pub(crate) fn next_revision(&self) -> u32 {
        let first = self.generation.saturating_mul(REVISIONS);
        self.report
            .as_ref()
            .map_or(first, |written| written.revision.saturating_add(1))
    }

    /// Adds a line to the timeline. The first line is kept for ever; beyond `max` the oldest of the
    /// others gives way.
    pub(crate) fn note(&mut self, at: Timestamp, text: impl Into<String>, max: usize) {
        if self.moments.len() >= max.max(2) {
            self.moments.remove(1);
        }
        self.moments.push(Moment {
            at,
            text: text.into(),
            evidence: None,
        });
    }

    /// Adds a line about what became of a message; a report that is out already is written again.
    pub(crate) fn note_late(&mut self, at: Timestamp, text: String, max: usize) {
        self.note(at, text, max);
        if let Some(written) = &mut self.report {
            written.is_stale = true;
        }
    }

    /// When something outside is tried again, the earliest first.
    pub(crate) fn due_later(&self, patience: Tries) -> Option<Timestamp> {
        let written = self.report.as_ref().map(|written| written.revision);
        let posts = self.channels.iter().filter_map(|channel| {
            let post = self.told_of(channel, written?)?;
            post.entry.later(patience.notify)
        });
        let change = match &self.change {
            ChangeState::Delayed { retry_at, .. } => Some(*retry_at),
            ChangeState::Opening { entry, .. } => {
                entry.as_ref().and_then(|entry| entry.later(patience.draft))
            }
            _ => None,
        };
        posts.chain(change).min()
    }

    /// Where a channel's newest report message stands, if it is of the newest revision.
    pub(crate) fn told_of(&self, channel: &str, revision: u32) -> Option<&Post> {
        self.told
            .get(channel)
            .filter(|post| post.revision == revision)
    }
}

impl ChangeState {
    /// One word (and which proposal): what a reader of the report can tell apart.
    fn face(&self) -> String {
        let of = |word: &str, digest: &Digest| format!("{word} {}", digest.short(12));
        match self {
            Self::Unknown => "unknown".to_owned(),
            Self::None { .. } => "none".to_owned(),
            Self::Delayed { .. } => "delayed".to_owned(),
            Self::Opening {
                digest,
                entry: Some(entry),
                ..
            } if entry.failure().is_some() => of("delayed", digest),
            Self::Failed { .. } => "failed".to_owned(),
            // Between leave and draft nothing changes for the reader.
            Self::Proposed { digest, .. } | Self::Opening { digest, .. } => of("proposed", digest),
            Self::Rejected { digest, .. } => of("rejected", digest),
            Self::Opened { digest, .. } => of("opened", digest),
        }
    }
}

/// How often each effect is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tries {
    pub(crate) notify: u32,
    pub(crate) draft: u32,
}

/// Names of the head and of its parts.
pub(crate) mod keys {
    use incident::IncidentId;
    use incident::digest::Digest;

    pub(crate) fn head(incident: &IncidentId, generation: u32) -> String {
        format!("pipeline/{incident}/{generation}")
    }

    /// The question put to every specialist, word for word.
    pub(crate) fn request(incident: &IncidentId, generation: u32) -> String {
        format!("pipeline/{incident}/{generation}/request")
    }

    pub(crate) fn reply(incident: &IncidentId, generation: u32, agent: &str) -> String {
        let agent = Digest::of(agent.as_bytes());
        format!("pipeline/{incident}/{generation}/reply/{}", agent.short(16))
    }

    pub(crate) fn case(incident: &IncidentId, generation: u32) -> String {
        format!("pipeline/{incident}/{generation}/case")
    }

    pub(crate) fn proposal(incident: &IncidentId, generation: u32, digest: &Digest) -> String {
        let digest = digest.short(16);
        format!("pipeline/{incident}/{generation}/proposal/{digest}")
    }

    /// Prefix of [`draft`].
    pub(crate) fn drafts(incident: &IncidentId) -> String {
        format!("pipeline/{incident}/draft/")
    }

    /// Of the incident, not of the generation: the same request is the same draft.
    pub(crate) fn draft(incident: &IncidentId, request: &Digest) -> String {
        format!("{}{}", drafts(incident), request.short(16))
    }

    /// Of the incident, not of the generation: a token is good once.
    pub(crate) fn nonce(incident: &IncidentId, nonce: &str) -> String {
        let nonce = Digest::of(nonce.as_bytes());
        format!("pipeline/{incident}/nonce/{}", nonce.short(32))
    }
}
