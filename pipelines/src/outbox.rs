//! The outbox: the one way to the outside.
//!
//! Everything that Nightshift does outside of itself (a message, an edit, a draft) is an [`Effect`] and
//! is carried out here in four steps:
//!
//! 1. **Intent.** That it will be done is written down, under the fence. Who was taken over is refused
//!    here, before it could do anything.
//! 2. **Look.** If an earlier attempt may have got through, the outside is asked whether it did.
//! 3. **Act.** Only what is not there is done.
//! 4. **Record.** What came of it is written down, with everything that follows from it, at once.
//!
//! A crash between any two of them leaves an intent without a record. Who finds one waits until that
//! attempt must be over, looks, and goes on from what is really there. Where looking is impossible the
//! effect happens again and says that it may be a repeat: people reading something twice is better than
//! people reading nothing.
//!
//! What fails for now is due again later, with growing waits; what fails for good, or too often, is
//! given up and says so. Nothing here sleeps until then: see [`Entry::later`].
//!
//! Never: a decision whether something should be done; that is [`crate::journal::next`].

mod entry;
#[cfg(test)]
mod tests;

pub(crate) use entry::{Entry, Patience, State, Turn};

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use incident::error::Classify;
use incident::ports::{Cx, Entropy};

use crate::journal::{Journal, Ledger, Part};
use crate::orchestrator::WorkError;
use crate::time::{line, until};

/// What looking came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen<R, T> {
    /// It happened.
    Done(R),
    /// Something of it is there: acting goes on from that and repeats nothing.
    There(T),
    /// It did not happen.
    Absent,
    /// Nobody can say.
    Unknown,
}

/// Something that is done outside, once.
#[async_trait]
pub(crate) trait Effect: fmt::Debug + Send + Sync {
    /// How it is known there.
    type Receipt: Send;
    /// What looking may find before it is done.
    type Trace: Send + Sync;
    /// Why it could not be done.
    type Error: Classify + Send;

    /// Looks. `doubtful`: an attempt of this very effect may have got through; otherwise there may be
    /// nothing to look for.
    async fn look(
        &self,
        doubtful: bool,
        cx: &Cx,
    ) -> Result<Seen<Self::Receipt, Self::Trace>, Self::Error>;
    /// Does it. `maybe_repeat`: it may have been done before, nobody can say.
    async fn act(
        &self,
        trace: Option<&Self::Trace>,
        maybe_repeat: bool,
        cx: &Cx,
    ) -> Result<Self::Receipt, Self::Error>;
    /// Whether doing it twice leaves two of it.
    fn repeats(&self) -> bool;
    /// Whether it may have happened in spite of this error.
    fn is_unsure(error: &Self::Error) -> bool;
    /// Whether this error may pass.
    fn may_pass(error: &Self::Error) -> bool {
        error.kind().is_retryable()
    }
    /// The error of an attempt that took longer than `timeout`.
    fn late(&self, timeout: Duration) -> Self::Error;
    /// Puts the intent where it belongs.
    fn intend(&self, journal: &mut Journal, entry: Entry);
    /// What is written when it came to an end: the entry, and whatever follows from it.
    fn record(
        &self,
        outcome: Outcome<Self::Receipt, Self::Error>,
        entry: Entry,
    ) -> Result<Record, WorkError>;
}

/// What came of an effect.
#[derive(Debug)]
pub(crate) enum Outcome<R, E> {
    /// It is done.
    Done {
        receipt: R,
        /// It may be there twice.
        maybe_repeat: bool,
    },
    /// It is not.
    Failed {
        error: E,
        /// One printable line.
        why: String,
        /// Nobody will try again.
        given_up: bool,
    },
}

/// What is written in one step.
pub(crate) struct Record {
    pub(crate) parts: Vec<Part>,
    pub(crate) change: Box<dyn FnOnce(&mut Journal) + Send>,
}

impl Record {
    /// Writes no parts.
    pub(crate) fn of(change: impl FnOnce(&mut Journal) + Send + 'static) -> Self {
        Self {
            parts: Vec::new(),
            change: Box::new(change),
        }
    }
}

/// One effect and its turn.
#[derive(Debug)]
pub(crate) struct Errand<E> {
    pub(crate) effect: E,
    pub(crate) turn: Turn,
}

/// How one attempt ended.
struct Attempt<R, E> {
    result: Result<(R, bool), E>,
    /// It may have happened, this time or before.
    unsure: bool,
}

/// Carries out effects for one journal.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) cx: &'a Cx,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) patience: Patience,
}

impl Outbox<'_> {
    /// Carries out all at once: one intent for all, each recorded as it ends.
    pub(crate) async fn carry_out<E: Effect>(
        &mut self,
        errands: Vec<Errand<E>>,
    ) -> Result<(), WorkError> {
        let now = self.cx.clock.now();
        let patience = self.patience;
        self.ledger
            .write(Vec::new(), |journal| {
                for errand in &errands {
                    let entry = errand.turn.intent(now, &patience);
                    errand.effect.intend(journal, entry);
                }
            })
            .await?;
        let attempts = errands.into_iter().map(|errand| {
            let mut cx = self.cx.clone();
            // By the intent, not by when it was written down at last: others go by it as well.
            cx.deadline = cx.deadline.min(errand.turn.acts_until(now, &patience));
            async move {
                let attempt = attempt(&errand, &patience, &cx).await;
                (errand, attempt)
            }
        });
        let mut attempts: FuturesUnordered<_> = attempts.collect();
        while let Some((errand, attempt)) = attempts.next().await {
            let record = self.judge(&errand, attempt)?;
            self.ledger.write(record.parts, record.change).await?;
        }
        Ok(())
    }

    fn judge<E: Effect>(
        &self,
        Errand { effect, turn }: &Errand<E>,
        attempt: Attempt<E::Receipt, E::Error>,
    ) -> Result<Record, WorkError> {
        let now = self.cx.clock.now();
        let (outcome, state) = match attempt.result {
            Ok((receipt, maybe_repeat)) => {
                let done = Outcome::Done {
                    receipt,
                    maybe_repeat,
                };
                (done, State::Done { maybe_repeat })
            }
            Err(error) => {
                let why = line(&error);
                let lasting = !E::may_pass(&error);
                let kind = error.kind();
                let wait = self
                    .patience
                    .wait(turn.number, kind, attempt.unsure, self.entropy);
                let failed = State::Failed {
                    why: why.clone(),
                    lasting,
                    unsure: attempt.unsure,
                    retry_at: now.checked_add(wait).unwrap_or(now),
                };
                tracing::warn!(effect = ?effect, code = %error.code(), why, attempt = turn.number, lasting, "an effect failed");
                let given_up = lasting || turn.last;
                (
                    Outcome::Failed {
                        error,
                        why,
                        given_up,
                    },
                    failed,
                )
            }
        };
        effect.record(outcome, turn.entry(now, state))
    }
}

/// Look, act.
async fn attempt<E: Effect>(
    Errand { effect, turn }: &Errand<E>,
    patience: &Patience,
    cx: &Cx,
) -> Attempt<E::Receipt, E::Error> {
    let wait = until(cx.clock.as_ref(), turn.after);
    if !wait.is_zero() {
        // An attempt of somebody else may still be under way.
        cx.bound(cx.clock.sleep(wait)).await;
    }
    // Kept outside, because a deadline drops what is inside.
    let (doubt, acting) = (AtomicBool::new(turn.doubtful), AtomicBool::new(false));
    let work = async {
        let seen = match effect.look(turn.doubtful, cx).await {
            // A message twice is better than none.
            Err(error) if turn.last || !E::may_pass(&error) => Seen::Unknown,
            seen => seen?,
        };
        let is_unknown = matches!(seen, Seen::Unknown);
        doubt.store(turn.doubtful && is_unknown, Ordering::Relaxed);
        let trace = match seen {
            Seen::Done(receipt) => return Ok((receipt, false)),
            Seen::There(trace) => Some(trace),
            Seen::Absent | Seen::Unknown => None,
        };
        let maybe_repeat = turn.doubtful && is_unknown && effect.repeats();
        acting.store(true, Ordering::Relaxed);
        let receipt = effect.act(trace.as_ref(), maybe_repeat, cx).await?;
        Ok((receipt, maybe_repeat))
    };
    let has_time = !cx.remaining().is_zero();
    let result = if has_time { cx.bound(work).await } else { None };
    let result = result.unwrap_or_else(|| Err(effect.late(patience.timeout)));
    let unsure_now = match &result {
        Ok(_) => false,
        Err(error) => acting.load(Ordering::Relaxed) && E::is_unsure(error),
    };
    Attempt {
        unsure: unsure_now || doubt.load(Ordering::Relaxed),
        result,
    }
}
