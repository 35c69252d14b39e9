//! Telling people: the first message, the report, the end. Intent before, result after.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use incident::Classify as _;
use incident::digest::Digest;
use incident::ports::{Cx, Notice, NoticeKind, Notifier, NotifyError, Receipt, Search, Sight};
use jiff::Timestamp;
use runtime::Policy;

use super::WorkError;
use super::run::{Run, line, until};
use crate::config::signed;
use crate::journal::{Journal, Post, PostState};

/// Between tries: a channel that is away for half a minute is still told.
const NOTICE: Policy = Policy {
    name: "notice",
    wait_min: Duration::from_secs(1),
    wait_max: Duration::from_mins(1),
    attempts_max: None,
};

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// "Somebody is looking."
    Opened,
    /// The report, or the end.
    Report,
}

/// One message to one channel.
#[derive(Debug)]
struct Job {
    channel: String,
    notifier: Option<Arc<dyn Notifier>>,
    /// The message to edit.
    receipt: Option<Receipt>,
    /// Keys of earlier messages of unknown fate: if one is there, it is edited.
    earlier: Vec<Digest>,
    /// An earlier run may have posted this very message.
    doubtful: bool,
    /// Not before this.
    after: Timestamp,
    /// Which try this is, from 1.
    try_number: u32,
    /// There will be no other try.
    last: bool,
    /// Nothing was posted before this.
    since: Timestamp,
}

/// What came of one.
struct Told {
    receipt: Receipt,
    maybe_repeat: bool,
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
        let jobs = self.jobs(Round::Opened, &notice, 1);
        let timeout = self.o.config.announce_timeout.0;
        self.tell(Round::Opened, notice, jobs, timeout).await
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
        let tries_max = self.o.config.notify_tries_max;
        let jobs = self.jobs(Round::Report, &notice, tries_max);
        let timeout = self.o.config.notify_timeout.0;
        self.tell(Round::Report, notice, jobs, timeout).await
    }

    fn jobs(&self, round: Round, notice: &Notice, tries_max: u32) -> Vec<Job> {
        let journal = self.journal();
        let key = notice.key();
        let posts = match round {
            Round::Opened => &journal.opened,
            Round::Report => &journal.told,
        };
        let mut jobs = Vec::new();
        for channel in &journal.channels {
            let post = posts.get(channel);
            let same = post.filter(|post| post.key == key);
            if same.is_some_and(|post| !post.is_pending(tries_max)) {
                continue;
            }
            let opened = journal.opened.get(channel);
            let earlier = [opened, post]
                .into_iter()
                .flatten()
                .filter(|post| post.key != key && post.is_unsure())
                .map(|post| post.key.clone());
            let try_number = same.map_or(0, |post| post.tries) + 1;
            jobs.push(Job {
                channel: channel.clone(),
                notifier: self.notifier(channel),
                receipt: journal.receipts.get(channel).cloned(),
                earlier: earlier.collect(),
                doubtful: same.is_some_and(Post::is_unsure),
                after: post.map_or(self.now(), |post| self.earliest(post)),
                try_number,
                last: try_number >= tries_max,
                since: journal.begun_at,
            });
        }
        jobs
    }

    /// When the next try may begin: after an attempt of unknown fate is over for certain, or after
    /// the wait that a failed one earned.
    fn earliest(&self, post: &Post) -> Timestamp {
        match &post.state {
            PostState::Intended { over_by } => *over_by,
            PostState::Failed { retry_at, .. } => *retry_at,
            PostState::Posted { .. } => self.now(),
        }
    }

    fn notifier(&self, channel: &str) -> Option<Arc<dyn Notifier>> {
        let mut all = self.o.channels.iter();
        all.find(|(name, _)| name == channel)
            .map(|(_, notifier)| notifier.clone())
    }

    /// Records the intent for all, posts to all at once, records each result as it comes.
    async fn tell(
        &mut self,
        round: Round,
        notice: Notice,
        jobs: Vec<Job>,
        timeout: Duration,
    ) -> Result<(), WorkError> {
        let (now, key) = (self.now(), notice.key());
        let span = signed(runtime::config::Span(timeout));
        let intents: Vec<(String, Post)> = jobs
            .iter()
            .map(|job| {
                let over_by = job.after.max(now).checked_add(span).unwrap_or(now);
                let post = Post {
                    key: key.clone(),
                    revision: notice.revision,
                    tries: job.try_number,
                    at: now,
                    state: PostState::Intended { over_by },
                };
                (job.channel.clone(), post)
            })
            .collect();
        self.ledger
            .write(Vec::new(), |journal| round.posts(journal).extend(intents))
            .await?;
        let mut attempts = FuturesUnordered::new();
        for job in jobs {
            attempts.push(attempt(job, &notice, timeout, self.cx.clone()));
        }
        let mut done = VecDeque::new();
        loop {
            let next = match done.pop_front() {
                Some(next) => Some(next),
                None => attempts.next().await,
            };
            let Some((job, result)) = next else {
                return Ok(());
            };
            let mut record = std::pin::pin!(self.record_told(round, &job, result));
            // The other attempts go on meanwhile: one that is left alone while the store takes its
            // time would act when everybody else counts it as over.
            loop {
                tokio::select! {
                    biased;
                    recorded = &mut record => { recorded?; break; }
                    Some(more) = attempts.next() => done.push_back(more),
                }
            }
        }
    }

    async fn record_told(
        &mut self,
        round: Round,
        job: &Job,
        result: Result<Told, NotifyError>,
    ) -> Result<(), WorkError> {
        let now = self.now();
        let moments_max = self.o.config.moments_max;
        let outcome = if result.is_ok() { "posted" } else { "failed" };
        self.o.instruments.notice(&job.channel, outcome);
        let channel = job.channel.clone();
        let (state, receipt, line) = match result {
            Ok(told) => {
                let line = told.maybe_repeat.then(|| {
                    format!(
                        "The message to {channel} {} may have been sent twice.",
                        round.subject()
                    )
                });
                let maybe_repeat = told.maybe_repeat;
                (PostState::Posted { maybe_repeat }, Some(told.receipt), line)
            }
            Err(error) => {
                let why = line(&error);
                tracing::warn!(incident = %self.incident.id, channel, code = %error.code(), why, "a message did not get through");
                let lasting = !error.kind().is_retryable();
                let wait = NOTICE.wait_after(job.try_number, error.kind(), self.o.entropy.as_ref());
                let retry_at = now
                    .checked_add(signed(runtime::config::Span(wait)))
                    .unwrap_or(now);
                let given_up = job.last || lasting;
                let line = given_up
                    .then(|| format!("{channel} could not be told {}: {why}", round.subject()));
                let failed = PostState::Failed {
                    why,
                    lasting,
                    unsure: matches!(error, NotifyError::Unreachable { .. }),
                    retry_at,
                };
                (failed, None, line)
            }
        };
        self.ledger
            .write(Vec::new(), |journal| {
                if let Some(post) = round.posts(journal).get_mut(&channel) {
                    post.at = now;
                    post.state = state;
                }
                if let Some(receipt) = receipt {
                    journal.receipts.insert(channel, receipt);
                }
                if let Some(line) = line {
                    journal.note(now, line, moments_max);
                }
            })
            .await
    }
}

async fn attempt(
    job: Job,
    notice: &Notice,
    timeout: Duration,
    cx: Cx,
) -> (Job, Result<Told, NotifyError>) {
    let Some(notifier) = job.notifier.clone() else {
        let error = NotifyError::Refused {
            notifier: job.channel.clone(),
            why: "it is not configured any more".to_owned(),
        };
        return (job, Err(error));
    };
    let wait = until(cx.clock.as_ref(), job.after);
    if !wait.is_zero() {
        cx.bound(cx.clock.sleep(wait)).await;
    }
    let cx = cx.child(timeout);
    let told = cx.bound(look_and_tell(&job, notifier.as_ref(), notice, &cx));
    let result = told.await.unwrap_or_else(|| {
        Err(NotifyError::Unreachable {
            notifier: job.channel.clone(),
            why: format!("no answer within {} s", timeout.as_secs()),
        })
    });
    (job, result)
}

/// Looks if there is a reason to, then edits or posts.
async fn look_and_tell(
    job: &Job,
    notifier: &dyn Notifier,
    notice: &Notice,
    cx: &Cx,
) -> Result<Told, NotifyError> {
    let key = notice.key();
    let doubted = job.doubtful.then(|| key.clone());
    let earlier = job.earlier.iter().filter(|_| job.receipt.is_none());
    let search = Search {
        keys: doubted.into_iter().chain(earlier.cloned()).collect(),
        since: job.since,
    };
    let sight = look(job, notifier, &search, cx).await?;
    let known = match &sight {
        Sight::Found {
            receipt,
            key: found,
        } if *found == key => {
            return Ok(Told {
                receipt: receipt.clone(),
                maybe_repeat: false,
            });
        }
        Sight::Found { receipt, .. } => Some(receipt),
        Sight::Absent | Sight::Unknown => job.receipt.as_ref(),
    };
    // An edit that is made twice is there once.
    let edits = known.is_some_and(|known| !known.reference.is_empty());
    let maybe_repeat = job.doubtful && !edits && sight == Sight::Unknown;
    let notice = &Notice {
        maybe_repeat,
        ..notice.clone()
    };
    // Who was stopped in between must not act now: the attempt counts as over, and somebody else may
    // have looked since.
    if cx.remaining().is_zero() {
        return Err(NotifyError::Unreachable {
            notifier: job.channel.clone(),
            why: "its time was over before it was sent".to_owned(),
        });
    }
    let receipt = match known {
        Some(receipt) => notifier.update(receipt, notice, cx).await?,
        None => notifier.post(notice, cx).await?,
    };
    Ok(Told {
        receipt,
        maybe_repeat,
    })
}

/// Looks for a message, if there is one to look for. Where looking is refused for good, or fails at
/// the last try, nobody knows: a message twice is better than none.
async fn look(
    job: &Job,
    notifier: &dyn Notifier,
    search: &Search,
    cx: &Cx,
) -> Result<Sight, NotifyError> {
    if search.keys.is_empty() {
        return Ok(Sight::Absent);
    }
    match notifier.find(search, cx).await {
        Err(error) if job.last || !error.kind().is_retryable() => Ok(Sight::Unknown),
        other => other,
    }
}
