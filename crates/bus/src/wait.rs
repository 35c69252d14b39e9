//! Waiting with a bound: for one answer, or for the next thing to claim.

use std::sync::Arc;
use std::time::Duration;

use incident::ports::{Clock, Delivery};
use tokio::sync::Notify;

/// The answer of `work`, or `None` if it takes longer than `bound`.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    bound: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let late = clock.sleep(bound);
    tokio::select! {
        biased;
        answer = work => Some(answer),
        () = late => None,
    }
}

/// What one look at a stream found.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Handed out.
    pub(crate) deliveries: Vec<Delivery>,
    /// When the next entry becomes ready, if one is held back.
    pub(crate) next: Option<Duration>,
}

/// Waits for something to claim.
pub(crate) struct Waiter<'a> {
    /// Rung when something may have arrived.
    pub(crate) bell: &'a Arc<Notify>,
    /// Time.
    pub(crate) clock: &'a dyn Clock,
    /// Longest pause between two looks.
    pub(crate) poll: Duration,
}

impl Waiter<'_> {
    /// Looks again and again until there is something or `wait` has passed.
    pub(crate) async fn claim<E, F>(
        &self,
        wait: Duration,
        mut take: impl FnMut() -> F,
    ) -> Result<Vec<Delivery>, E>
    where
        F: Future<Output = Result<Taken, E>>,
    {
        let until = self.clock.elapsed().saturating_add(wait);
        loop {
            // Listening starts before looking, so that nothing arrives between the two.
            let mut rung = std::pin::pin!(self.bell.notified());
            rung.as_mut().enable();
            let taken = take().await?;
            let left = until.saturating_sub(self.clock.elapsed());
            if !taken.deliveries.is_empty() || left.is_zero() {
                return Ok(taken.deliveries);
            }
            let next = taken
                .next
                .unwrap_or(self.poll)
                .max(Duration::from_millis(1));
            tokio::select! {
                biased;
                () = rung => {}
                () = self.clock.sleep(left.min(next).min(self.poll)) => {}
            }
        }
    }
}
