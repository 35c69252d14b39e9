//! Turns: messages to one channel go out one at a time, with some distance, and few wait.

use std::sync::Arc;
use std::time::Duration;

use incident::ports::{Clock, Cx, NotifyError};
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

use super::{away, limited};

/// Who waits, and when the next message may go out.
#[derive(Debug)]
pub(super) struct Gate {
    gap: Duration,
    places: Semaphore,
    /// In time of the clock's `elapsed`.
    not_before: Mutex<Duration>,
}

/// One turn. The next one begins a gap after this one ends, however it ends.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    gap: Duration,
    clock: Arc<dyn Clock>,
    not_before: MutexGuard<'a, Duration>,
    _place: SemaphorePermit<'a>,
}

impl Gate {
    pub(super) fn new(gap: Duration, waiting_max: usize) -> Self {
        Self {
            gap,
            // One more: the message that is being sent.
            places: Semaphore::new(waiting_max.saturating_add(1)),
            not_before: Mutex::new(Duration::ZERO),
        }
    }

    /// Waits for a turn. Without one nothing was sent.
    pub(super) async fn turn(&self, cx: &Cx) -> Result<Turn<'_>, NotifyError> {
        let place = self.places.try_acquire();
        let place = place.map_err(|_| limited(Some(self.gap.as_secs().max(1))))?;
        let turn = async {
            let not_before = self.not_before.lock().await;
            rest(cx.clock.as_ref(), *not_before).await;
            Turn {
                gap: self.gap,
                clock: Arc::clone(&cx.clock),
                not_before,
                _place: place,
            }
        };
        let turn = cx.bound(turn).await;
        turn.ok_or_else(|| away("no turn by the deadline"))
    }
}

impl Turn<'_> {
    /// Slack asked for patience: waits that long, and with it everybody behind. False if `cx` ends
    /// before.
    pub(super) async fn wait(&mut self, asked: Duration, cx: &Cx) -> bool {
        *self.not_before = self.clock.elapsed().saturating_add(asked);
        let rest = rest(self.clock.as_ref(), *self.not_before);
        asked < cx.remaining() && cx.bound(rest).await.is_some()
    }
}

async fn rest(clock: &dyn Clock, until: Duration) {
    clock.sleep(until.saturating_sub(clock.elapsed())).await;
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let next = self.clock.elapsed().saturating_add(self.gap);
        *self.not_before = next.max(*self.not_before);
    }
}
