//! What both hops share: claiming, settling, surviving a panic.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use incident::error::Classify;
use incident::ports::{Cx, Delivery, Stream, StreamError};
use runtime::Policy;

use crate::error::{DispatchError, cause};
use crate::service::Inner;
use crate::verdict::{Verdict, delay, judge_error};

/// The waits after failed claims: growing while they fail, from the start after a good one.
pub(crate) struct Patience(Option<Box<dyn Iterator<Item = Duration> + Send>>);

impl Patience {
    pub(crate) fn new() -> Self {
        Self(None)
    }

    pub(crate) fn reset(&mut self) {
        self.0 = None;
    }
}

impl Inner {
    /// Notes a failed claim and waits before the next; false if a shutdown started.
    pub(crate) async fn claim_failed(
        &self,
        stream: &dyn Stream,
        error: &StreamError,
        patience: &mut Patience,
    ) -> bool {
        let waits = || Box::new(Policy::BACKEND.waits(self.entropy.as_ref()));
        let wait = patience.0.get_or_insert_with(|| waits()).next();
        let wait = wait.unwrap_or(Policy::BACKEND.wait_max);
        tracing::warn!(stream = stream.name(), code = %error.code(), %error, "cannot claim");
        self.pause(wait).await
    }

    /// Runs a job that settles `deliveries` itself. If it panics, that counts as a failed attempt of
    /// each: what was settled before stays settled.
    pub(crate) async fn guarded(
        &self,
        hop: &'static str,
        stream: &dyn Stream,
        deliveries: &[Delivery],
        job: impl Future<Output = ()>,
    ) {
        let running = self.figures.running(hop);
        let since = self.clock.elapsed();
        self.paces
            .begin(self.lane_of(stream.name()), deliveries, since);
        if let Err(panic) = AssertUnwindSafe(job).catch_unwind().await {
            let error = DispatchError::Panic(panic_text(panic.as_ref()));
            tracing::error!(hop, code = %error.code(), %error, "a job panicked");
            for delivery in deliveries {
                self.settle(hop, stream, delivery, judge_error(&error))
                    .await;
            }
        }
        let seconds = self.clock.elapsed().saturating_sub(since).as_secs_f64();
        self.figures.seconds(hop, seconds);
        self.paces.end(deliveries);
        drop(running);
    }

    /// Does with an entry what the verdict says. A stream that is away is waited for; an entry that
    /// cannot be settled comes back when its lease ends.
    pub(crate) async fn settle(
        &self,
        hop: &'static str,
        stream: &dyn Stream,
        delivery: &Delivery,
        verdict: Verdict,
    ) {
        let lease = &delivery.lease;
        let (outcome, result) = match &verdict {
            Verdict::Done => ("done", self.trying(|| stream.ack(lease)).await),
            Verdict::Parked => ("parked", self.trying(|| stream.ack(lease)).await),
            Verdict::Never { cause } => {
                let (entry, code) = (&delivery.key, &cause.code);
                tracing::error!(hop, entry, code, why = cause.text, "buried an entry");
                ("buried", self.trying(|| stream.bury(lease, cause)).await)
            }
            Verdict::Later { kind, cause } => {
                let policy = self.config.retry.redeliver();
                let wait = delay(policy, delivery.attempt, *kind, self.entropy.as_ref());
                let (entry, code, attempt) = (&delivery.key, &cause.code, delivery.attempt);
                let wait_ms = wait.as_millis();
                tracing::warn!(
                    hop,
                    entry,
                    code,
                    why = cause.text,
                    attempt,
                    wait_ms,
                    "put an entry back"
                );
                (
                    "retried",
                    self.trying(|| stream.retry_later(lease, wait, cause)).await,
                )
            }
        };
        self.settled(hop, outcome, delivery, result);
    }

    /// Gives an entry back for another process to take at once.
    pub(crate) async fn give_back(
        &self,
        hop: &'static str,
        stream: &dyn Stream,
        delivery: &Delivery,
    ) {
        let cause = cause(&DispatchError::Leaving);
        let give = || stream.retry_later(&delivery.lease, Duration::ZERO, &cause);
        let result = self.trying(give).await;
        self.settled(hop, "given_back", delivery, result);
    }

    pub(crate) fn settled(
        &self,
        hop: &'static str,
        outcome: &'static str,
        delivery: &Delivery,
        result: Result<(), StreamError>,
    ) {
        let outcome = match result {
            Ok(()) => {
                if matches!(outcome, "done" | "parked") {
                    self.paces.done(delivery, self.clock.elapsed());
                }
                outcome
            }
            Err(StreamError::LeaseLost { .. }) => "lost",
            Err(error) => {
                let (entry, code) = (&delivery.key, error.code());
                tracing::warn!(hop, entry, %code, %error, "cannot settle an entry; it comes back");
                "unsettled"
            }
        };
        self.figures.handled(hop, outcome);
    }

    /// Tries something on our own streams until it works or `settle_within` is over.
    pub(crate) async fn trying<T, F>(&self, op: impl FnMut() -> F) -> Result<T, StreamError>
    where
        F: Future<Output = Result<T, StreamError>>,
    {
        let within = self.config.retry.settle_within.0;
        let cx = Cx::root(Arc::clone(&self.clock), within, "0".repeat(32));
        let run = Policy::BACKEND.run(&cx, self.entropy.as_ref(), op);
        let late = || StreamError::Unavailable(String::from("no answer in time"));
        cx.bound(run).await.unwrap_or_else(|| Err(late()))
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("without a message"))
}
