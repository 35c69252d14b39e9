//! A circuit breaker for each agent.
//!
//! For: an agent that fails for one entry after the other is left alone for a while, and then tried
//! with one call. While it is left alone nothing is claimed for it, so that no entry uses up its
//! attempts on an agent that cannot help. The other agent is not concerned.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use incident::error::{Classify as _, Kind};
use incident::ports::{AgentError, Clock, Entropy};
use runtime::Policy;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::call::End;
use crate::config;
use crate::metrics::Figures;

/// Whether calls go to one agent.
#[derive(Debug)]
pub(crate) struct Breaker {
    agent: String,
    rules: config::Breaker,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    figures: Figures,
    state: Mutex<State>,
    /// Jobs that have an entry in hand and wait to call again. They come before new claims.
    in_hand: AtomicUsize,
    /// Rung when a call may be made that could not be made before.
    changed: Notify,
}

#[derive(Debug)]
enum State {
    Closed {
        /// Failures in a row, and the task that failed last: one that fails again and again says
        /// more about itself than about the agent.
        failures: u32,
        task: Option<String>,
        /// How often it opened since a call went well.
        times: u32,
    },
    /// No calls before `until`.
    Open {
        until: Duration,
        times: u32,
        task: String,
    },
    /// One call at a time.
    HalfOpen {
        probing: bool,
        times: u32,
        task: String,
    },
}

impl State {
    const GOOD: Self = Self::Closed {
        failures: 0,
        task: None,
        times: 0,
    };
}

/// Leave to make one call.
#[derive(Debug)]
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    /// It is the one call that finds out whether the agent works again.
    probe: bool,
    fresh: bool,
}

/// What the end of a call says about the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// It failed; for any task, or perhaps for this one only.
    Bad {
        any_task: bool,
    },
    Unknown,
}

impl Health {
    fn of(end: &End) -> Self {
        match end {
            End::Leaving | End::Task(Err(AgentError::Cancelled { .. })) => Self::Unknown,
            End::Task(Ok(_)) => Self::Good,
            End::Task(Err(AgentError::Unreachable { .. })) => Self::Bad { any_task: true },
            // To refuse is an answer.
            End::Task(Err(error)) if error.kind() == Kind::Permanent => Self::Good,
            End::Task(Err(_)) => Self::Bad { any_task: false },
        }
    }
}

impl Breaker {
    pub(crate) fn new(
        agent: &str,
        rules: &config::Breaker,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        figures: Figures,
    ) -> Arc<Self> {
        figures.breaker(agent, "closed");
        Arc::new(Self {
            agent: agent.to_owned(),
            rules: rules.clone(),
            clock,
            entropy,
            figures,
            state: Mutex::new(State::GOOD),
            in_hand: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    /// Leave to claim something and call, if there is any now.
    pub(crate) fn try_admit(self: &Arc<Self>) -> Option<Pass> {
        if self.waits_for_others() {
            return None;
        }
        self.take()
    }

    /// Whether what is in hand finds out about the agent, so that nothing new is claimed for that.
    fn waits_for_others(&self) -> bool {
        self.in_hand.load(Ordering::SeqCst) > 0 && !self.is_closed()
    }

    fn take(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.lock();
        let probe = match &mut *state {
            State::Closed { .. } => false,
            State::Open { until, times, task } if self.clock.elapsed() >= *until => {
                let (times, task) = (*times, std::mem::take(task));
                *state = State::HalfOpen {
                    probing: true,
                    times,
                    task,
                };
                self.figures.breaker(&self.agent, "half_open");
                true
            }
            State::HalfOpen { probing, .. } if !*probing => {
                *probing = true;
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => return None,
        };
        Some(Pass {
            breaker: Arc::clone(self),
            probe,
            fresh: true,
        })
    }

    /// Waits until something may be claimed, without taking the leave.
    pub(crate) async fn ready(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.waits_for_others() {
                changed.await;
            } else if self.may_call(changed).await {
                return;
            }
        }
    }

    /// Whether a call may be made; if not, waits for that to change.
    async fn may_call(&self, changed: Pin<&mut Notified<'_>>) -> bool {
        let wait = match &*self.lock() {
            State::Closed { .. } | State::HalfOpen { probing: false, .. } => return true,
            State::Open { until, .. } => Some(until.saturating_sub(self.clock.elapsed())),
            State::HalfOpen { probing: true, .. } => None,
        };
        match wait {
            Some(wait) if wait.is_zero() => return true,
            Some(wait) => {
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = self.clock.sleep(wait) => {}
                }
            }
            None => changed.await,
        }
        false
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.lock(), State::Closed { .. })
    }

    /// Waits for leave to call again about something that is in hand.
    async fn admit(self: &Arc<Self>) -> Pass {
        let _in_hand = InHand::new(self);
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.may_call(changed).await
                && let Some(pass) = self.take()
            {
                return pass;
            }
        }
    }

    fn good(&self) {
        let mut state = self.lock();
        if !matches!(*state, State::Closed { .. }) {
            tracing::info!(agent = self.agent, "an agent works again");
            self.figures.breaker(&self.agent, "closed");
        }
        *state = State::GOOD;
        self.changed.notify_waiters();
    }

    fn bad(&self, any_task: bool, task: &str, probe: bool) {
        let mut state = self.lock();
        let times = match &mut *state {
            State::Closed {
                failures,
                task: last,
                times,
            } => {
                if any_task || last.as_deref() != Some(task) {
                    *failures += 1;
                    *last = Some(task.to_owned());
                }
                if self.rules.failures == 0 || *failures < self.rules.failures {
                    return;
                }
                times.saturating_add(1)
            }
            // It failed before as well, and may be to blame itself: the next task decides.
            State::HalfOpen {
                times, task: last, ..
            } if probe && !any_task && last == task => {
                *state = State::Closed {
                    failures: self.rules.failures.saturating_sub(1),
                    task: Some(task.to_owned()),
                    times: *times,
                };
                self.figures.breaker(&self.agent, "closed");
                self.changed.notify_waiters();
                return;
            }
            State::HalfOpen { times, .. } if probe => times.saturating_add(1),
            // A call from before it opened.
            State::Open { .. } | State::HalfOpen { .. } => return,
        };
        let pauses = Policy {
            name: "breaker",
            wait_min: self.rules.open_min.0,
            wait_max: self.rules.open_max.0,
            attempts_max: None,
        };
        let wait = pauses.wait_after(times, Kind::Transient, self.entropy.as_ref());
        let until = self.clock.elapsed().saturating_add(wait);
        let task = task.to_owned();
        *state = State::Open { until, times, task };
        let wait_ms = wait.as_millis();
        tracing::warn!(
            agent = self.agent,
            wait_ms,
            times,
            "an agent keeps failing; nothing is claimed for it for a while"
        );
        self.figures.breaker(&self.agent, "open");
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct InHand<'a>(&'a Breaker);

impl<'a> InHand<'a> {
    fn new(breaker: &'a Breaker) -> Self {
        breaker.in_hand.fetch_add(1, Ordering::SeqCst);
        Self(breaker)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.in_hand.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Pass {
    /// Whether everybody else waits for what becomes of this call.
    pub(crate) fn is_probe(&self) -> bool {
        self.probe
    }

    /// Waits for leave to make one more call, unless this one was not used yet.
    pub(crate) async fn enter(&mut self) {
        if !self.fresh {
            *self = self.breaker.admit().await;
        }
        self.fresh = false;
    }

    /// Says how the call about `task` ended. Whether the entry should stay in hand: the agent is to
    /// blame, or may be, and an attempt would be wasted.
    pub(crate) fn report(&mut self, end: &End, task: &str) -> bool {
        let (health, probe) = (Health::of(end), self.probe);
        match health {
            Health::Good => self.breaker.good(),
            Health::Bad { any_task } => self.breaker.bad(any_task, task, self.probe),
            Health::Unknown => self.leave(),
        }
        self.probe = false;
        match health {
            Health::Good | Health::Unknown => false,
            Health::Bad { any_task } => any_task || probe || !self.breaker.is_closed(),
        }
    }

    /// Lets somebody else find out.
    fn leave(&self) {
        if !self.probe {
            return;
        }
        if let State::HalfOpen { probing, .. } = &mut *self.breaker.lock() {
            *probing = false;
        }
        self.breaker.changed.notify_waiters();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.leave();
    }
}
