//! Time that passes only when nothing else can happen.
//!
//! The scheduler tells when every task waits; then the earliest timer goes off. What is due at the
//! same instant goes off one by one, in an order drawn from the seed: two timers that happen to
//! agree must not hide the order in which a real world would have had them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use incident::ports::Clock;
use jiff::{SignedDuration, Timestamp};

use super::chance::Chance;
use super::life::Life;

/// Instant, rank among those of the same instant, number.
type Place = (Duration, u64, u64);

/// The one time of a simulated world.
#[derive(Debug)]
pub(super) struct SimClock {
    origin: Timestamp,
    ranks: Chance,
    core: Mutex<Core>,
}

#[derive(Debug, Default)]
struct Core {
    now: Duration,
    made: u64,
    timers: BTreeMap<Place, Waker>,
    /// Wakes the night itself.
    heart: Option<Waker>,
}

impl SimClock {
    pub(super) fn new(origin: Timestamp, ranks: Chance) -> Arc<Self> {
        Arc::new(Self {
            origin,
            ranks,
            core: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the earliest timer go off. Called when every task waits.
    ///
    /// The night is woken too: a timer may belong to a future that was woken before and that nobody
    /// asks for the moment, and then nothing would run that could bring the next timer on.
    pub(super) fn advance(&self) {
        let mut core = self.lock();
        let Some(((at, _, _), waker)) = core.timers.pop_first() else {
            return;
        };
        core.now = core.now.max(at);
        let heart = core.heart.clone();
        drop(core);
        waker.wake();
        if let Some(heart) = heart {
            heart.wake();
        }
    }

    /// Runs `night` as the future whose waking keeps time going.
    pub(super) async fn drive(&self, night: impl Future<Output = ()>) {
        let mut night = std::pin::pin!(night);
        std::future::poll_fn(|cx| {
            let heart = cx.waker().clone();
            self.lock().heart = Some(heart);
            night.as_mut().poll(cx)
        })
        .await;
    }

    /// Completes `after` from now.
    pub(super) fn pause(self: &Arc<Self>, after: Duration) -> Sleep {
        let at = self.lock().now.saturating_add(after);
        Sleep {
            clock: Arc::clone(self),
            at,
            place: None,
        }
    }

    /// The wall clock at `elapsed`.
    pub(super) fn at(&self, elapsed: Duration) -> Timestamp {
        let passed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        self.origin.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.lock().now
    }
}

/// Waits for an instant.
#[derive(Debug)]
pub(super) struct Sleep {
    clock: Arc<SimClock>,
    at: Duration,
    place: Option<Place>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = Arc::clone(&self.clock);
        let mut core = clock.lock();
        if core.now >= self.at {
            let known = self
                .place
                .take()
                .and_then(|place| core.timers.remove(&place));
            // What hangs on a waker may want the clock when it is dropped.
            drop(core);
            drop(known);
            return Poll::Ready(());
        }
        let at = self.at;
        let place = *self.place.get_or_insert_with(|| {
            core.made += 1;
            (at, clock.ranks.next(), core.made)
        });
        let known = core.timers.insert(place, cx.waker().clone());
        drop(core);
        drop(known);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let known = self.clock.lock().timers.remove(&place);
            drop(known);
        }
    }
}

/// The clock of the outside world: buses, senders, people.
#[derive(Debug)]
pub(super) struct OutsideClock(pub(super) Arc<SimClock>);

impl Clock for OutsideClock {
    fn now(&self) -> Timestamp {
        self.0.at(self.0.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.0.pause(duration))
    }
}

/// The clock of one node: its wall clock may be off, and while the node is frozen nothing wakes.
#[derive(Debug)]
pub(super) struct NodeClock {
    pub(super) clock: Arc<SimClock>,
    pub(super) life: Arc<Life>,
    /// How far its wall clock is ahead.
    pub(super) ahead: SignedDuration,
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let now = self.clock.at(self.clock.elapsed());
        now.checked_add(self.ahead).unwrap_or(now)
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let sleep = self.clock.pause(duration);
        let life = Arc::clone(&self.life);
        Box::pin(async move {
            sleep.await;
            life.awake().await;
        })
    }
}
