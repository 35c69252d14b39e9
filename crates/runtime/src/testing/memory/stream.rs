//! The Stream port in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use incident::ports::{
    Appended, Backlog, Cause, Clock, DeadLetter, Delivery, Entry, Lease, Stream, StreamError,
};
use jiff::Timestamp;
use tokio::sync::Notify;

/// A [`Stream`] that lives as long as its last clone. Every clone is one more consumer.
#[derive(Debug, Clone)]
pub struct MemoryStream {
    core: Arc<Core>,
}

/// How a [`MemoryStream`] behaves.
#[derive(Debug)]
pub struct MemoryStreamBuilder {
    name: String,
    clock: Arc<dyn Clock>,
    lease: Duration,
    attempts_max: u32,
    capacity: u64,
    window: Duration,
}

#[derive(Debug)]
struct Core {
    settings: MemoryStreamBuilder,
    down: AtomicBool,
    /// Rung when something may have become ready sooner than the waiting claims know.
    bell: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    entries: BTreeMap<u64, Held>,
    /// When each key was stored, and the same in the order of time.
    keys: BTreeSet<String>,
    key_ages: VecDeque<(Duration, String)>,
    dead: Vec<DeadLetter>,
}

/// All times of intervals are in [`Clock::elapsed`] time.
#[derive(Debug)]
struct Held {
    entry: Entry,
    appended_at: Timestamp,
    appended: Duration,
    attempt: u32,
    claimed: bool,
    /// When it can be handed out: the end of its lease, or of its delay.
    ready: Duration,
    first: Option<Cause>,
    last: Option<Cause>,
}

impl MemoryStreamBuilder {
    /// How long a lease lasts; 60 s unless told.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Deliveries before an entry is given up; 5 unless told.
    #[must_use]
    pub fn attempts_max(mut self, attempts_max: u32) -> Self {
        self.attempts_max = attempts_max;
        self
    }

    /// How many unprocessed entries there may be; 100,000 unless told.
    #[must_use]
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = capacity;
        self
    }

    /// How long a key is remembered; 24 h unless told.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// An empty stream.
    pub fn build(self) -> MemoryStream {
        MemoryStream {
            core: Arc::new(Core {
                settings: self,
                down: AtomicBool::new(false),
                bell: Notify::new(),
                state: Mutex::default(),
            }),
        }
    }
}

impl MemoryStream {
    /// An empty stream with the defaults of [`MemoryStreamBuilder`].
    pub fn new(name: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self::builder(name, clock).build()
    }

    /// Sets how it behaves.
    pub fn builder(name: impl Into<String>, clock: Arc<dyn Clock>) -> MemoryStreamBuilder {
        MemoryStreamBuilder {
            name: name.into(),
            clock,
            lease: Duration::from_mins(1),
            attempts_max: 5,
            capacity: 100_000,
            window: Duration::from_hours(24),
        }
    }

    /// While `down`, every call fails as unavailable and changes nothing.
    pub fn set_down(&self, down: bool) {
        self.core.down.store(down, Ordering::SeqCst);
        self.core.bell.notify_waiters();
    }

    fn open(&self) -> Result<(MutexGuard<'_, State>, Duration), StreamError> {
        if self.core.down.load(Ordering::SeqCst) {
            return Err(StreamError::Unavailable(String::from(
                "the stream is switched off",
            )));
        }
        let now = self.core.settings.clock.elapsed();
        let state = self.core.state.lock();
        Ok((state.unwrap_or_else(PoisonError::into_inner), now))
    }

    /// Hands out what is ready, and says when the next entry will be.
    fn take(&self, max: usize) -> Result<(Vec<Delivery>, Option<Duration>), StreamError> {
        let settings = &self.core.settings;
        let (mut state, now) = self.open()?;
        let ready: Vec<u64> = state
            .entries
            .iter()
            .filter(|(_, held)| held.ready <= now)
            .map(|(id, _)| *id)
            .collect();
        let mut deliveries = Vec::new();
        for id in ready {
            if deliveries.len() == max {
                break;
            }
            let Some(held) = state.entries.get_mut(&id) else {
                continue;
            };
            if held.attempt >= settings.attempts_max {
                let cause = held.last.clone();
                let cause = cause.unwrap_or_else(|| Cause::unanswered(held.attempt));
                state.bury(id, settings, cause);
                continue;
            }
            held.attempt += 1;
            held.claimed = true;
            held.ready = now.saturating_add(settings.lease);
            deliveries.push(held.delivery(id));
        }
        let next = state.entries.values().map(|held| held.ready).min();
        Ok((deliveries, next))
    }

    /// The state and the held entry's number, if `lease` still is the newest.
    fn held(&self, lease: &Lease) -> Result<(MutexGuard<'_, State>, Duration, u64), StreamError> {
        let (state, now) = self.open()?;
        let id = lease.id.parse().ok().filter(|id| {
            state
                .entries
                .get(id)
                .is_some_and(|held: &Held| held.claimed && u64::from(held.attempt) == lease.token)
        });
        match id {
            Some(id) => Ok((state, now, id)),
            None => Err(StreamError::LeaseLost {
                id: lease.id.clone(),
            }),
        }
    }
}

impl Held {
    fn delivery(&self, id: u64) -> Delivery {
        Delivery {
            lease: Lease {
                id: id.to_string(),
                token: u64::from(self.attempt),
            },
            key: self.entry.key.clone(),
            payload: self.entry.payload.clone(),
            attempt: self.attempt,
            appended_at: self.appended_at,
        }
    }
}

impl State {
    fn forget_keys(&mut self, now: Duration, window: Duration) {
        while let Some((stored, _)) = self.key_ages.front()
            && stored.saturating_add(window) <= now
        {
            if let Some((_, key)) = self.key_ages.pop_front() {
                self.keys.remove(&key);
            }
        }
    }

    fn store(&mut self, entry: Entry, settings: &MemoryStreamBuilder, now: Duration) {
        self.last_id += 1;
        let held = Held {
            entry,
            appended_at: settings.clock.now(),
            appended: now,
            attempt: 0,
            claimed: false,
            ready: now,
            first: None,
            last: None,
        };
        self.entries.insert(self.last_id, held);
    }

    /// Where the dead letter is.
    fn grave(&self, id: &str) -> Option<usize> {
        self.dead.iter().position(|letter| letter.id == id)
    }

    fn bury(&mut self, id: u64, settings: &MemoryStreamBuilder, last: Cause) {
        let Some(held) = self.entries.remove(&id) else {
            return;
        };
        self.dead.push(DeadLetter {
            id: id.to_string(),
            stream: settings.name.clone(),
            key: held.entry.key,
            payload: held.entry.payload,
            attempts: held.attempt,
            first: held.first,
            last,
            appended_at: held.appended_at,
            buried_at: settings.clock.now(),
        });
    }
}

#[async_trait]
impl Stream for MemoryStream {
    fn name(&self) -> &str {
        &self.core.settings.name
    }

    fn lease(&self) -> Duration {
        self.core.settings.lease
    }

    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        Entry::check_batch(&batch)?;
        let settings = &self.core.settings;
        let (mut state, now) = self.open()?;
        state.forget_keys(now, settings.window);
        let fresh: BTreeSet<&str> = batch
            .iter()
            .map(|entry| entry.key.as_str())
            .filter(|key| !state.keys.contains(*key))
            .collect();
        let (entries, added) = (state.entries.len() as u64, fresh.len() as u64);
        if added > 0 && entries + added > settings.capacity {
            let limit = settings.capacity;
            return Err(StreamError::Full { entries, limit });
        }
        let mut appended = Vec::with_capacity(batch.len());
        for entry in batch {
            if !state.keys.insert(entry.key.clone()) {
                appended.push(Appended::Duplicate);
                continue;
            }
            state.key_ages.push_back((now, entry.key.clone()));
            state.store(entry, settings, now);
            appended.push(Appended::Stored);
        }
        self.core.bell.notify_waiters();
        Ok(appended)
    }

    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        let clock = &self.core.settings.clock;
        let until = clock.elapsed().saturating_add(wait);
        loop {
            // Listening starts before looking, so that nothing arrives between the two.
            let mut rung = std::pin::pin!(self.core.bell.notified());
            rung.as_mut().enable();
            let (deliveries, next) = self.take(max)?;
            let now = clock.elapsed();
            if !deliveries.is_empty() || max == 0 || now >= until {
                return Ok(deliveries);
            }
            let pause = next
                .map_or(until, |next| next.min(until))
                .saturating_sub(now);
            tokio::select! {
                biased;
                () = rung => {}
                () = clock.sleep(pause) => {}
            }
        }
    }

    async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        let (mut state, now, id) = self.held(lease)?;
        if let Some(held) = state.entries.get_mut(&id) {
            held.ready = now.saturating_add(self.core.settings.lease);
        }
        Ok(())
    }

    async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        let (mut state, _, id) = self.held(lease)?;
        state.entries.remove(&id);
        Ok(())
    }

    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        let settings = &self.core.settings;
        let (mut state, now, id) = self.held(lease)?;
        if let Some(held) = state.entries.get_mut(&id) {
            held.first.get_or_insert_with(|| cause.clone());
            held.last = Some(cause.clone());
            held.claimed = false;
            held.ready = now.saturating_add(delay);
            if held.attempt >= settings.attempts_max {
                state.bury(id, settings, cause.clone());
            }
        }
        self.core.bell.notify_waiters();
        Ok(())
    }

    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        let (mut state, _, id) = self.held(lease)?;
        state.bury(id, &self.core.settings, cause.clone());
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, StreamError> {
        let (state, now) = self.open()?;
        let claimed = state.entries.values().filter(|held| held.claimed).count() as u64;
        let oldest = state.entries.first_key_value();
        Ok(Backlog {
            waiting: state.entries.len() as u64 - claimed,
            claimed,
            dead: state.dead.len() as u64,
            oldest_age: oldest.map(|(_, held)| now.saturating_sub(held.appended)),
        })
    }

    async fn dead(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StreamError> {
        let (state, _) = self.open()?;
        let after = after.and_then(|id| state.grave(id));
        let letters = state.dead.iter().skip(after.map_or(0, |at| at + 1));
        Ok(letters.take(limit).cloned().collect())
    }

    async fn redrive(&self, id: &str) -> Result<bool, StreamError> {
        let settings = &self.core.settings;
        let (mut state, now) = self.open()?;
        let Some(at) = state.grave(id) else {
            return Ok(false);
        };
        let (entries, limit) = (state.entries.len() as u64, settings.capacity);
        if entries >= limit {
            return Err(StreamError::Full { entries, limit });
        }
        let DeadLetter { key, payload, .. } = state.dead.remove(at);
        state.store(Entry { key, payload }, settings, now);
        self.core.bell.notify_waiters();
        Ok(true)
    }

    async fn discard(&self, id: &str) -> Result<bool, StreamError> {
        let (mut state, _) = self.open()?;
        let grave = state.grave(id);
        if let Some(at) = grave {
            state.dead.remove(at);
        }
        Ok(grave.is_some())
    }
}
