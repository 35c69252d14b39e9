//! Telling people: the first message, the report, the end. Each goes through the outbox.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use incident::digest::Digest;
use incident::ports::{Cx, Notice, NoticeKind, Notifier, NotifyError, Receipt, Search, Sight};
use jiff::Timestamp;
use runtime::config::Span;

use super::WorkError;
use super::instruments::Instruments;
use super::run::Run;
use crate::journal::{Journal, Post};
use crate::outbox::{Effect, Entry, Errand, Outcome, Record, Seen, Turn};

/// Messages of unknown fate that are remembered for each channel.
const DOUBTS_MAX: usize = 8;

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// "Somebody is looking."
    Opened,
    /// The report, or the end.
    Report,
}

impl Round {
    fn posts(self, journal: &mut Journal) -> &mut std::collections::BTreeMap<String, Post> {
        match self {
            Self::Opened => &mut journal.opened,
            Self::Report => &mut journal.told,
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Opened => "that somebody is looking",
            Self::Report => "of the report",
        }
    }
}

impl Run<'_> {
    /// The first message to every channel, once; what fails is made up for with the report.
    pub(super) async fn announce(&mut self) -> Result<(), WorkError> {
        let notice = Notice {
            kind: NoticeKind::Opened(self.incident.clone()),
            revision: self.journal().next_revision(),
            maybe_repeat: false,
        };
        self.progress("announce", "telling on call that somebody is looking");
        let timeout = self.o.config.announce_timeout;
        self.tell(Round::Opened, notice, 1, timeout).await
    }

    /// The newest report to every channel that has not had it.
    pub(super) async fn notify(&mut self) -> Result<(), WorkError> {
        let report = self.read_report().await?;
        let (Some(report), Some(written)) = (report, self.journal().report.clone()) else {
            // Somebody removed the report: the next step writes it anew.
            return self
                .ledger
                .write(Vec::new(), |journal| journal.report = None)
                .await;
        };
        let kind = if written.face.closed {
            NoticeKind::Closed(report)
        } else {
            NoticeKind::Report(report)
        };
        let notice = Notice {
            kind,
            revision: written.revision,
            maybe_repeat: false,
        };
        self.progress("notify", "telling on call of the report");
        let config = &self.o.config;
        let (tries_max, timeout) = (config.notify_tries_max, config.notify_timeout);
        self.tell(Round::Report, notice, tries_max, timeout).await
    }

    /// Tells every channel for which it is time.
    async fn tell(
        &mut self,
        round: Round,
        notice: Notice,
        tries_max: u32,
        timeout: Span,
    ) -> Result<(), WorkError> {
        let notice = Arc::new(notice);
        let (now, journal) = (self.now(), self.journal());
        let posts = match round {
            Round::Opened => &journal.opened,
            Round::Report => &journal.told,
        };
        let mut errands = Vec::new();
        for channel in &journal.channels {
            let before = posts.get(channel).map(|post| &post.entry);
            let same = before.filter(|entry| entry.key == notice.key());
            if same.is_some_and(|entry| !entry.is_due(tries_max, now)) {
                continue;
            }
            errands.push(Errand {
                turn: Turn::next(before, notice.key(), tries_max, now),
                effect: self.message(round, channel, &notice),
            });
        }
        self.carry_out(errands, timeout).await
    }

    fn message(&self, round: Round, channel: &str, notice: &Arc<Notice>) -> Message {
        let journal = self.journal();
        let receipt = journal.receipts.get(channel).cloned();
        let mut earlier = Vec::new();
        if receipt.is_none() {
            let unsure = [&journal.told, &journal.opened].map(|posts| posts.get(channel));
            let unsure = unsure.into_iter().flatten().map(|post| &post.entry);
            let unsure = unsure.filter(|entry| entry.is_unsure());
            let doubts = journal.doubts.get(channel).into_iter().flatten();
            earlier.extend(unsure.map(|entry| &entry.key).chain(doubts).cloned());
            earlier.retain(|key| *key != notice.key());
        }
        let mut known = self.o.channels.iter();
        let known = known.find(|(name, _)| name == channel);
        Message {
            round,
            channel: channel.to_owned(),
            notifier: known.map(|(_, notifier)| notifier.clone()),
            notice: notice.clone(),
            receipt,
            earlier,
            since: journal.begun_at,
            moments_max: self.o.config.moments_max,
            instruments: self.o.instruments.clone(),
        }
    }
}

/// One message to one channel.
struct Message {
    round: Round,
    channel: String,
    notifier: Option<Arc<dyn Notifier>>,
    notice: Arc<Notice>,
    /// The message to edit.
    receipt: Option<Receipt>,
    /// Keys of earlier messages of unknown fate: if one is there, it is edited.
    earlier: Vec<Digest>,
    /// Nothing was posted before this.
    since: Timestamp,
    moments_max: usize,
    instruments: Instruments,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, to) = (self.notice.label(), &self.channel);
        write!(f, "{label} message of {} to {to}", self.notice.incident())
    }
}

impl Message {
    fn notifier(&self) -> Result<&dyn Notifier, NotifyError> {
        self.notifier
            .as_deref()
            .ok_or_else(|| NotifyError::Refused {
                notifier: self.channel.clone(),
                why: "it is not configured any more".to_owned(),
            })
    }

    /// What people read about it in the timeline, where it is worth a line.
    fn line(&self, outcome: &Outcome<Receipt, NotifyError>, tries: u32) -> Option<String> {
        let (channel, subject) = (&self.channel, self.round.subject());
        match outcome {
            Outcome::Done {
                maybe_repeat: true, ..
            } => Some(format!(
                "The message to {channel} {subject} may have been sent twice."
            )),
            Outcome::Done { .. } => {
                (tries > 1).then(|| format!("{channel} was told {subject} at try {tries}."))
            }
            Outcome::Failed { why, given_up, .. } if *given_up => {
                Some(format!("{channel} could not be told {subject}: {why}"))
            }
            Outcome::Failed { why, .. } => (tries == 1).then(|| {
                format!("{channel} could not be told {subject} yet, it is tried again: {why}")
            }),
        }
    }
}

#[async_trait]
impl Effect for Message {
    type Receipt = Receipt;
    type Trace = Receipt;
    type Error = NotifyError;

    async fn look(&self, doubtful: bool, cx: &Cx) -> Result<Seen<Receipt, Receipt>, NotifyError> {
        let key = self.notice.key();
        let doubted = doubtful.then(|| key.clone());
        let search = Search {
            keys: doubted.into_iter().chain(self.earlier.clone()).collect(),
            since: self.since,
        };
        if search.keys.is_empty() {
            return Ok(Seen::Absent);
        }
        Ok(match self.notifier()?.find(&search, cx).await? {
            Sight::Found {
                receipt,
                key: found,
            } if found == key => Seen::Done(receipt),
            Sight::Found { receipt, .. } => Seen::There(receipt),
            Sight::Absent => Seen::Absent,
            Sight::Unknown => Seen::Unknown,
        })
    }

    async fn act(
        &self,
        trace: Option<&Receipt>,
        maybe_repeat: bool,
        cx: &Cx,
    ) -> Result<Receipt, NotifyError> {
        let notifier = self.notifier()?;
        let notice = &Notice {
            maybe_repeat,
            ..Notice::clone(&self.notice)
        };
        match trace.or(self.receipt.as_ref()) {
            Some(receipt) => notifier.update(receipt, notice, cx).await,
            None => notifier.post(notice, cx).await,
        }
    }

    /// An edit that is made twice is there once.
    fn repeats(&self) -> bool {
        let known = self.receipt.as_ref();
        known.is_none_or(|receipt| receipt.reference.is_empty())
    }

    fn is_unsure(error: &NotifyError) -> bool {
        matches!(error, NotifyError::Unreachable { .. })
    }

    fn late(&self, timeout: Duration) -> NotifyError {
        NotifyError::Unreachable {
            notifier: self.channel.clone(),
            why: format!("no answer within {} s", timeout.as_secs()),
        }
    }

    fn intend(&self, journal: &mut Journal, entry: Entry) {
        let revision = self.notice.revision;
        let key = entry.key.clone();
        let posts = self.round.posts(journal);
        let before = posts.insert(self.channel.clone(), Post { revision, entry });
        // The place is taken by the next message; that the one before may be there is still so.
        if let Some(before) = before.map(|post| post.entry)
            && before.key != key
            && before.is_unsure()
        {
            let doubts = journal.doubts.entry(self.channel.clone()).or_default();
            doubts.push(before.key);
            let excess = doubts.len().saturating_sub(DOUBTS_MAX);
            doubts.drain(..excess);
        }
    }

    fn record(
        &self,
        outcome: Outcome<Receipt, NotifyError>,
        entry: Entry,
    ) -> Result<Record, WorkError> {
        let is_done = matches!(outcome, Outcome::Done { .. });
        let word = if is_done { "posted" } else { "failed" };
        self.instruments.notice(&self.channel, word);
        let line = self.line(&outcome, entry.tries);
        let (round, channel, max) = (self.round, self.channel.clone(), self.moments_max);
        let revision = self.notice.revision;
        Ok(Record::of(move |journal| {
            let at = entry.at;
            round
                .posts(journal)
                .insert(channel.clone(), Post { revision, entry });
            if let Some(line) = line {
                journal.note_late(at, line, max);
            }
            if let Outcome::Done { receipt, .. } = outcome {
                journal.doubts.remove(&channel);
                journal.receipts.insert(channel, receipt);
            }
        }))
    }
}
