//! The gate that every call of a node passes on its way to a port and back. Here calls fail, wait,
//! get lost, and here nodes die.

use std::sync::Arc;
use std::time::Duration;

use super::life::Life;
use super::watch::Fault;
use super::world::World;

/// What a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    /// It fails before it has any effect.
    Refused,
    /// It has its effect, and the caller hears of a failure.
    Lost,
    /// The answer takes its time.
    Late(Duration),
    /// The node dies before the call has any effect.
    DiesBefore,
    /// The node dies when the call has had its effect.
    DiesAfter,
    /// The node dies now, and the call has its effect a little later.
    InFlight(Duration),
    /// A connection that broke was mended, and the call made a second time.
    Twice,
    /// Somebody else was faster; only calls that can conflict.
    Conflict,
}

impl Fate {
    /// The same for a call that no client makes a second time by itself.
    pub(super) fn once(self) -> Self {
        if self == Self::Twice {
            Self::Pass
        } else {
            self
        }
    }

    /// The same for a call that has its effect within `left` or not at all.
    pub(super) fn within(self, left: Duration) -> Self {
        match self {
            Self::InFlight(after) => Self::InFlight(after.min(left)),
            other => other,
        }
    }
}

/// The way of one node's calls.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
}

impl Gate {
    /// Passes on the way to the port. Never returns if the node dies.
    pub(super) async fn before(&self, op: &'static str, about: &str) -> Fate {
        self.life.awake().await;
        self.give_way().await;
        let (world, who) = (&self.world, self.life.name());
        if world.watch.is_endless() {
            std::future::pending::<()>().await;
        }
        world.watch.lock().tally.calls += 1;
        world.watch.note(who, op, about, 0);
        if !world.is_stormy() {
            return Fate::Pass;
        }
        let (fate, wait) = self.draw();
        if let Some(kind) = kind(fate, wait) {
            world.watch.fault(who, kind, op);
        }
        if let Some(wait) = wait {
            world.clock.pause(wait).await;
            self.life.awake().await;
        }
        if fate == Fate::DiesBefore {
            self.life.crash();
            std::future::pending::<()>().await;
        }
        fate
    }

    /// What this call meets, and how long it is on its way.
    fn draw(&self) -> (Fate, Option<Duration>) {
        let (rates, chance) = (&self.world.plan.rates, &self.world.chance);
        let roll = chance.below(10_000);
        let mut sum = 0;
        let mut is = |rate: u64| {
            sum += rate;
            roll < sum
        };
        let fate = if is(rates.error_before) {
            Fate::Refused
        } else if is(rates.answer_lost) {
            Fate::Lost
        } else if is(rates.crash) {
            [Fate::DiesBefore, Fate::DiesAfter][usize::from(chance.one_in(2))]
        } else if is(rates.in_flight) {
            let longest = if chance.one_in(2) { 5_000 } else { 90_000 };
            Fate::InFlight(chance.millis(1, longest))
        } else if is(rates.twice) {
            Fate::Twice
        } else if is(rates.conflict) {
            Fate::Conflict
        } else if is(rates.slow) {
            Fate::Late(chance.millis(61_000, 150_000))
        } else if is(rates.delay) {
            Fate::Late(chance.millis(50, 12_000))
        } else {
            Fate::Pass
        };
        match fate {
            // On the way there, or on the way back.
            Fate::Late(wait) if chance.one_in(2) => (Fate::Pass, Some(wait)),
            fate => (fate, None),
        }
    }

    /// Passes on the way back.
    pub(super) async fn after(&self, fate: Fate) {
        match fate {
            Fate::DiesAfter => {
                self.life.crash();
                std::future::pending::<()>().await;
            }
            Fate::Late(wait) => self.world.clock.pause(wait).await,
            _ => {}
        }
        self.life.awake().await;
    }

    /// Lets others go first at times: a network keeps no order.
    async fn give_way(&self) {
        match self.world.chance.below(8) {
            0 => tokio::task::yield_now().await,
            1 => {
                let wait = self.world.chance.millis(1, 40);
                self.world.clock.pause(wait).await;
                self.life.awake().await;
            }
            _ => {}
        }
    }

    /// One call: to the gate, its effect, and back. `away` is what the caller hears of a failure.
    pub(super) async fn call<T, E, F>(
        &self,
        op: &'static str,
        about: &str,
        away: fn(&str) -> E,
        effect: impl Fn() -> F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let fate = self.before(op, about).await;
        self.make(fate, away, effect).await
    }

    /// The rest of a call, once its fate is known.
    pub(super) async fn make<T, E, F>(
        &self,
        fate: Fate,
        away: fn(&str) -> E,
        effect: impl Fn() -> F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        match fate {
            Fate::Refused => return Err(away("the connection was refused")),
            Fate::InFlight(after) => {
                self.world.later(after, effect());
                self.life.crash();
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        let mut result = effect().await;
        if fate == Fate::Twice {
            result = effect().await;
        }
        self.after(fate).await;
        if fate == Fate::Lost {
            return Err(away("the answer was lost"));
        }
        result
    }
}

/// The misfortune that a fate is; none if it is none.
fn kind(fate: Fate, wait: Option<Duration>) -> Option<Fault> {
    let lease = Duration::from_mins(1);
    Some(match (fate, wait) {
        (Fate::Late(wait), _) | (_, Some(wait)) if wait > lease => Fault::Slow,
        (Fate::Late(_), _) | (_, Some(_)) => Fault::Delay,
        (Fate::Refused, _) => Fault::ErrorBefore,
        (Fate::Lost, _) => Fault::AnswerLost,
        (Fate::Twice, _) => Fault::Twice,
        (Fate::Conflict, _) => Fault::Conflict,
        (Fate::DiesBefore | Fate::DiesAfter, _) => Fault::Crash,
        (Fate::InFlight(_), _) => Fault::CrashInFlight,
        (Fate::Pass, None) => return None,
    })
}
