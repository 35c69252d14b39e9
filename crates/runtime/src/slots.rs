//! Slots that all processes share: whatever the number of replicas, at most so many do something at
//! once.
//!
//! Each slot is a key of the Store with a time to live. Whoever made the key has the slot and renews
//! it; a holder that dies frees it by not renewing. A holder believes in its slot for a little less
//! long than the store does, so that it has stopped by the time somebody else may have it.
//!
//! Never: a queue (who waits looks again and again, with chance, and after a while may have what is
//! reserved), a promise beyond the holder's own obedience: [`Slot::keep`] says when to stop, and
//! whoever does not stop is one too many.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use incident::error::{Classify, Code, Kind};
use incident::ports::{Clock, Cx, Entropy, Expect, Put, Store, StoreError, Versioned};

use tokio::sync::OnceCell;

use crate::retry::Policy;

/// How many slots there are and how they are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Slots in all. Every process must say the same; while they differ the largest number counts.
    pub slots: usize,
    /// Of these, how many are kept for what is urgent.
    pub reserved: usize,
    /// How long a slot stays taken after its holder died.
    pub ttl: Duration,
    /// Who waited this long may have a reserved slot, urgent or not.
    pub age_max: Duration,
    /// Longest pause between two looks for a free slot.
    pub poll: Duration,
}

impl Rules {
    /// So many slots, so many of them reserved; the rest as usual.
    pub const fn new(slots: usize, reserved: usize) -> Self {
        Self {
            slots,
            reserved,
            ttl: Duration::from_secs(15),
            age_max: Duration::from_mins(5),
            poll: Duration::from_millis(500),
        }
    }

    /// The first of the reserved slots.
    fn common(&self) -> usize {
        self.slots.saturating_sub(self.reserved)
    }
}

/// What a slot is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// For something urgent: a reserved slot, else any.
    Urgent,
    /// For anything else: a slot that is not reserved.
    Usual,
    /// Not known yet: a slot that is not reserved, else one that is, and then only for something
    /// urgent (see [`Slot::is_reserved`]).
    Either,
}

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// All were taken for as long as there was time to wait.
    #[error("all {slots} slots of {name} were taken all the time")]
    Busy {
        /// What they are for.
        name: String,
        /// How many there are.
        slots: usize,
    },
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for SlotError {
    fn kind(&self) -> Kind {
        match self {
            Self::Busy { .. } => Kind::Overloaded { retry_after: None },
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Busy { .. } => Code("E-SLOT-001"),
            Self::Store(error) => error.code(),
        }
    }
}

/// The slots of one name. A clone is another handle.
#[derive(Debug, Clone)]
pub struct Slots {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    name: String,
    rules: Rules,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// No two handles have the same: a token of the store, taken when it is first needed.
    token: OnceCell<u64>,
    asked: AtomicU64,
}

/// One slot, held. Dropped without [`Slot::release`] it becomes free when its time is over.
#[derive(Debug)]
pub struct Slot {
    core: Arc<Core>,
    number: usize,
    /// The value of its key: tells this holder from all others.
    mark: String,
    belief: Mutex<Belief>,
}

/// What a holder knows of its slot.
#[derive(Debug, Clone, Copy)]
struct Belief {
    version: u64,
    /// When the last renewal was sent, in [`Clock::elapsed`] time: the store counts from some moment
    /// after it.
    renewed: Duration,
    /// It is known to be somebody else's, or nobody's.
    lost: bool,
}

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Done,
    /// Somebody else may have the slot.
    Lost,
    /// The store does not say.
    Unknown,
}

impl Slots {
    /// Slots called `name`, shared with everybody who has the same store and name.
    pub fn new(
        name: impl Into<String>,
        rules: Rules,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let name = name.into();
        Self {
            core: Arc::new(Core {
                name,
                rules,
                store,
                clock,
                entropy,
                token: OnceCell::new(),
                asked: AtomicU64::new(0),
            }),
        }
    }

    /// Waits for a slot until `cx` ends. A store that is away is waited for like a slot.
    ///
    /// Dropping the future may leave a slot taken for the length of its time to live.
    ///
    /// # Errors
    /// See [`SlotError`].
    pub async fn acquire(&self, want: Want, cx: &Cx) -> Result<Slot, SlotError> {
        let core = &self.core;
        let since = core.clock.elapsed();
        let asked = core.asked.fetch_add(1, Ordering::Relaxed);
        let pauses = Policy {
            name: "slot",
            wait_min: core.rules.poll / 8,
            wait_max: core.rules.poll,
            attempts_max: None,
        };
        let mut pauses = pauses.waits(core.entropy.as_ref());
        let busy = || SlotError::Busy {
            name: core.name.clone(),
            slots: core.rules.slots,
        };
        let mut told = false;
        loop {
            let waited = core.clock.elapsed().saturating_sub(since);
            let aged = waited >= core.rules.age_max && want == Want::Usual;
            let want = if aged { Want::Urgent } else { want };
            match cx.bound(core.take(asked, want)).await {
                Some(Ok(Some(slot))) => return Ok(slot),
                Some(Ok(None)) => {
                    if !told {
                        let slots = core.rules.slots;
                        tracing::debug!(name = core.name, slots, "waiting for a free slot");
                        told = true;
                    }
                }
                Some(Err(error)) if error.kind().is_retryable() => {
                    tracing::debug!(name = core.name, %error, "cannot look for a free slot");
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(busy()),
            }
            let pause = pauses.next().unwrap_or(core.rules.poll);
            if cx.bound(core.clock.sleep(pause)).await.is_none() {
                return Err(busy());
            }
        }
    }

    /// A slot if one is free now.
    ///
    /// # Errors
    /// The store's.
    pub async fn try_acquire(&self, want: Want) -> Result<Option<Slot>, StoreError> {
        let asked = self.core.asked.fetch_add(1, Ordering::Relaxed);
        self.core.take(asked, want).await
    }
}

impl Core {
    fn prefix(&self) -> String {
        format!("slots/{}/", self.name)
    }

    fn key(&self, number: usize) -> String {
        format!("{}{number:06}", self.prefix())
    }

    fn put(&self, number: usize, mark: &str, expect: Expect) -> Put {
        Put::new(self.key(number), mark, expect).ttl(self.rules.ttl)
    }

    /// The numbers of slots in the order in which to try them. Those of a kind begin anywhere, so
    /// that those who look at the same time do not all try the same one.
    fn order(&self, want: Want) -> Vec<usize> {
        let common = self.rules.common();
        let turned = |from: usize, to: usize| {
            let mut numbers: Vec<usize> = (from..to).collect();
            let mut chance = [0; 8];
            self.entropy.fill(&mut chance);
            let by = u64::from_be_bytes(chance) % (numbers.len().max(1) as u64);
            numbers.rotate_left(usize::try_from(by).unwrap_or(0));
            numbers
        };
        let (common, reserved) = (turned(0, common), turned(common, self.rules.slots));
        match want {
            Want::Urgent => [reserved, common].concat(),
            Want::Usual => common,
            Want::Either => [common, reserved].concat(),
        }
    }

    /// What tells one holder from all others.
    async fn mark(&self, asked: u64) -> Result<String, StoreError> {
        let name = format!("slots/{}", self.name);
        let token = self.token.get_or_try_init(|| async {
            let fence = self.store.fence(&name).await?;
            Ok::<u64, StoreError>(fence.token)
        });
        Ok(format!("{}-{asked}", token.await?))
    }

    /// Takes a free slot, or the one that was taken before for the same question without an answer.
    async fn take(self: &Arc<Self>, asked: u64, want: Want) -> Result<Option<Slot>, StoreError> {
        let mark = self.mark(asked).await?;
        let mark = mark.as_str();
        let prefix = self.prefix();
        let listed = self.store.list(&prefix, None, self.rules.slots).await?;
        let taken: BTreeMap<&str, &Versioned> = listed
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value)))
            .collect();
        for number in 0..self.rules.slots {
            let found = taken.get(format!("{number:06}").as_str());
            if let Some(found) = found.filter(|found| found.value == mark.as_bytes()) {
                let slot = self.slot(number, mark, found.version, Duration::ZERO);
                let held = slot.renew().await == Renewal::Done;
                return Ok(held.then_some(slot));
            }
        }
        for number in self.order(want) {
            if taken.contains_key(format!("{number:06}").as_str()) {
                continue;
            }
            let before = self.clock.elapsed();
            match self.store.put(self.put(number, mark, Expect::Absent)).await {
                Ok(version) => return Ok(Some(self.slot(number, mark, version, before))),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn slot(self: &Arc<Self>, number: usize, mark: &str, version: u64, renewed: Duration) -> Slot {
        Slot {
            core: Arc::clone(self),
            number,
            mark: mark.to_owned(),
            belief: Mutex::new(Belief {
                version,
                renewed,
                lost: false,
            }),
        }
    }
}

impl Slot {
    /// Whether it is one of those that are kept for what is urgent.
    pub fn is_reserved(&self) -> bool {
        self.number >= self.core.rules.common()
    }

    /// Whether it still is this holder's.
    pub fn is_held(&self) -> bool {
        self.core.clock.elapsed() < self.until()
    }

    /// Renews it, three times within its time to live. Completes when it may be somebody else's:
    /// stop at once. May be dropped and called again.
    pub async fn keep(&self) {
        let ttl = self.core.rules.ttl;
        let mut pause = ttl / 3;
        loop {
            let left = self.until().saturating_sub(self.core.clock.elapsed());
            if left.is_zero() {
                tracing::warn!(name = self.core.name, slot = self.number, "lost a slot");
                return;
            }
            let due = self.belief().renewed.saturating_add(pause);
            let wait = due.saturating_sub(self.core.clock.elapsed());
            self.core.clock.sleep(wait.min(left)).await;
            let left = self.until().saturating_sub(self.core.clock.elapsed());
            let renewal = tokio::select! {
                biased;
                renewal = self.renew() => renewal,
                () = self.core.clock.sleep(left) => Renewal::Unknown,
            };
            match renewal {
                Renewal::Done => pause = ttl / 3,
                // Again soon: there is not much time.
                Renewal::Unknown => pause += ttl / 20,
                Renewal::Lost => {
                    self.lock().lost = true;
                    tracing::warn!(name = self.core.name, slot = self.number, "lost a slot");
                    return;
                }
            }
        }
    }

    /// Moves something urgent to a reserved slot if one is free, so that others may have this one.
    pub async fn make_room(self) -> Self {
        if self.is_reserved() {
            return self;
        }
        for number in self.core.rules.common()..self.core.rules.slots {
            let before = self.core.clock.elapsed();
            let put = self.core.put(number, &self.mark, Expect::Absent);
            match self.core.store.put(put).await {
                Ok(version) => {
                    let other = self.core.slot(number, &self.mark, version, before);
                    self.release().await;
                    return other;
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(_) => return self,
            }
        }
        self
    }

    /// Gives it back. If the store is away it becomes free when its time is over.
    pub async fn release(self) {
        let key = self.core.key(self.number);
        let version = self.belief().version;
        let released = match self.delete(&key, version).await {
            // An answer to a renewal was lost: the version is newer than we know.
            Err(StoreError::Conflict { found: Some(_), .. }) => match self.mine().await {
                Ok(Some(version)) => self.delete(&key, version).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
            other => other,
        };
        if let Err(error) = released {
            tracing::debug!(name = self.core.name, slot = self.number, %error, "a slot was not given back; it becomes free by itself");
        }
    }

    async fn delete(&self, key: &str, version: u64) -> Result<(), StoreError> {
        let deleted = self.core.store.delete(key, Expect::Version(version)).await;
        deleted.map(|_| ())
    }

    /// The version of its key, if that still holds our mark.
    async fn mine(&self) -> Result<Option<u64>, StoreError> {
        let found = self.core.store.get(&self.core.key(self.number)).await?;
        let ours = found.filter(|found| found.value == self.mark.as_bytes());
        Ok(ours.map(|found| found.version))
    }

    async fn renew(&self) -> Renewal {
        let mut version = self.belief().version;
        // A second time if the answer to an earlier renewal was lost.
        for _ in 0..2 {
            let before = self.core.clock.elapsed();
            let put = self
                .core
                .put(self.number, &self.mark, Expect::Version(version));
            match self.core.store.put(put).await {
                Ok(version) => {
                    *self.lock() = Belief {
                        version,
                        renewed: before,
                        lost: false,
                    };
                    return Renewal::Done;
                }
                Err(StoreError::Conflict { found: Some(_), .. }) => {}
                Err(StoreError::Conflict { found: None, .. }) => return Renewal::Lost,
                Err(error) => {
                    tracing::debug!(name = self.core.name, slot = self.number, %error, "cannot renew a slot");
                    return Renewal::Unknown;
                }
            }
            version = match self.mine().await {
                Ok(Some(version)) => version,
                Ok(None) => return Renewal::Lost,
                Err(_) => return Renewal::Unknown,
            };
        }
        Renewal::Unknown
    }

    /// When to stop believing in it.
    fn until(&self) -> Duration {
        let (ttl, belief) = (self.core.rules.ttl, self.belief());
        if belief.lost {
            return Duration::ZERO;
        }
        belief.renewed.saturating_add(ttl.saturating_sub(ttl / 10))
    }

    fn belief(&self) -> Belief {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Belief> {
        self.belief.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
