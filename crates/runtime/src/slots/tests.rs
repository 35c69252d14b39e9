//! Never too many, whatever fails; and everybody has a turn.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use async_trait::async_trait;
use incident::ports::Fence;
use proptest::prelude::*;

use super::*;
use crate::testing::TestClock;
use crate::testing::memory::MemoryStore;
use crate::{CancelToken, SeededEntropy};

/// A store that loses requests and answers, by chance.
#[derive(Debug)]
struct Rough {
    inner: MemoryStore,
    chance: SeededEntropy,
    clock: Arc<dyn Clock>,
    /// Of a hundred calls, how many do not arrive, and how many answers do not.
    lost: u32,
    down: AtomicBool,
}

impl Rough {
    /// A little time passes; then the request arrives, or not.
    async fn arrives(&self) -> Result<(), StoreError> {
        let pause = Duration::from_millis(1).mul_f64(1.0 + 20.0 * self.chance.unit());
        self.clock.sleep(pause).await;
        let lost = self.chance.unit() * 100.0 < f64::from(self.lost);
        if lost || self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("lost".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Rough {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.arrives().await?;
        self.inner.get(key).await
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        self.arrives().await?;
        let version = self.inner.put(put).await?;
        self.arrives().await?;
        Ok(version)
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        self.inner.put_all(puts).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.arrives().await?;
        let deleted = self.inner.delete(key, expect).await?;
        self.arrives().await?;
        Ok(deleted)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.arrives().await?;
        self.inner.list(prefix, after, limit).await
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        self.arrives().await?;
        self.inner.fence(name).await
    }
}

struct World {
    clock: Arc<dyn Clock>,
    store: Arc<Rough>,
    rules: Rules,
}

impl World {
    fn new(rules: Rules, lost: u32, seed: u64) -> Self {
        let clock: Arc<dyn Clock> = TestClock::at("2026-11-20T10:00:00Z".parse().unwrap());
        let store = Rough {
            inner: MemoryStore::new(Arc::clone(&clock)),
            chance: SeededEntropy::new(seed),
            clock: Arc::clone(&clock),
            lost,
            down: AtomicBool::new(false),
        };
        Self {
            clock,
            store: Arc::new(store),
            rules,
        }
    }

    /// The slots as one more process sees them. That chance is the same for all must not matter.
    fn process(&self) -> Slots {
        let entropy = Arc::new(SeededEntropy::new(1));
        let store = self.store.clone();
        Slots::new("test", self.rules, store, self.clock.clone(), entropy)
    }

    fn cx(&self, within: Duration) -> Cx {
        Cx::root(Arc::clone(&self.clock), within, "0".repeat(32))
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// Who is inside, and how many there ever were.
#[derive(Debug, Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Entered<'a>(&'a Inside);

impl Inside {
    fn enter(&self) -> Entered<'_> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Entered(self)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Works through its jobs: some take long, some holders die, some lose their slot and begin again.
async fn worker(slots: Slots, inside: Arc<Inside>, cx: Cx, seed: u64, jobs: u32) {
    let chance = SeededEntropy::new(seed);
    let mut done = 0;
    while done < jobs {
        let want = match seed % 3 {
            0 => Want::Urgent,
            1 => Want::Usual,
            _ => Want::Either,
        };
        let mut slot = slots.acquire(want, &cx).await.expect("its turn comes");
        let entered = inside.enter();
        if want == Want::Urgent && chance.unit() < 0.3 {
            slot = slot.make_room().await;
        }
        let job = cx
            .clock
            .sleep(Duration::from_secs(40).mul_f64(chance.unit()));
        let lost = tokio::select! {
            biased;
            () = slot.keep() => true,
            () = job => false,
        };
        drop(entered);
        done += u32::from(!lost);
        // One in ten dies with the slot in hand.
        if !lost && chance.unit() > 0.1 {
            slot.release().await;
        }
    }
}

/// Outages and good times in turn, for ever.
async fn weather(world: &World, seed: u64) {
    let chance = SeededEntropy::new(seed);
    let long = Duration::from_secs(40);
    loop {
        world.clock.sleep(long.mul_f64(chance.unit())).await;
        world.store.down.store(true, Ordering::SeqCst);
        world.clock.sleep(long.mul_f64(chance.unit())).await;
        world.store.down.store(false, Ordering::SeqCst);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn never_more_than_there_are_slots_and_all_finish(
        slots in 1..5_usize,
        reserved in 0..4_usize,
        workers in 1..14_u64,
        lost in 0..25_u32,
        seed: u64,
    ) {
        let rules = Rules::new(slots, reserved.min(slots - 1));
        let most = run(async {
            let world = World::new(rules, lost, seed);
            let inside = Arc::new(Inside::default());
            let mut all = tokio::task::JoinSet::new();
            for n in 0..workers {
                let seed = seed.wrapping_add(n);
                let cx = world.cx(Duration::from_hours(24));
                all.spawn(worker(world.process(), inside.clone(), cx, seed, 3));
            }
            let finished = async {
                while let Some(worker) = all.join_next().await {
                    worker.expect("no worker panics");
                }
            };
            tokio::select! {
                biased;
                () = weather(&world, seed) => {}
                () = finished => {}
            }
            // What dead holders left goes by itself.
            world.clock.sleep(rules.ttl).await;
            let left = world.store.inner.list("slots/", None, 100).await.unwrap();
            assert_eq!(left, []);
            inside.most.load(Ordering::SeqCst)
        });
        prop_assert!(most <= slots, "{most} at once with {slots} slots");
        prop_assert!(most > 0);
    }
}

async fn numbers(world: &World) -> usize {
    world
        .store
        .inner
        .list("slots/", None, 100)
        .await
        .unwrap()
        .len()
}

#[test]
fn who_is_not_urgent_waits_for_what_is_not_reserved() {
    run(async {
        let world = World::new(Rules::new(3, 1), 0, 1);
        let slots = world.process();
        let now = async |want| slots.try_acquire(want).await.unwrap();
        let one = now(Want::Usual).await.unwrap();
        let two = now(Want::Either).await.unwrap();
        assert!(!one.is_reserved() && !two.is_reserved());
        assert!(now(Want::Usual).await.is_none());
        let three = now(Want::Either).await.unwrap();
        assert!(three.is_reserved());
        assert!(now(Want::Urgent).await.is_none());
        one.release().await;
        let urgent = now(Want::Urgent).await.unwrap();
        assert!(!urgent.is_reserved(), "what is there");
        // It moves as soon as it can, and others have its place.
        let urgent = urgent.make_room().await;
        assert!(!urgent.is_reserved());
        three.release().await;
        let urgent = urgent.make_room().await;
        assert!(urgent.is_reserved() && urgent.is_held());
        let one = now(Want::Usual).await.unwrap();
        assert_eq!(numbers(&world).await, 3);
        for slot in [one, two, urgent] {
            slot.release().await;
        }
        assert_eq!(numbers(&world).await, 0);
    });
}

#[test]
fn waiting_ends_and_who_waited_long_may_have_a_reserved_one() {
    run(async {
        let world = World::new(Rules::new(2, 1), 0, 1);
        let slots = world.process();
        let held = slots.try_acquire(Want::Usual).await.unwrap().unwrap();
        let kept = held.keep();
        let wait = async {
            let short = world.cx(Duration::from_mins(1));
            let error = slots.acquire(Want::Usual, &short).await.unwrap_err();
            assert_eq!(error.code(), Code("E-SLOT-001"));
            assert_eq!(world.clock.elapsed().as_secs(), 60);
            let off = CancelToken::new();
            off.cancel();
            let called_off = world.cx(Duration::from_mins(1)).with_cancel(Arc::new(off));
            assert!(slots.acquire(Want::Usual, &called_off).await.is_err());
            let long = world.cx(Duration::from_hours(1));
            let slot = slots.acquire(Want::Usual, &long).await.unwrap();
            assert!(slot.is_reserved());
            world.clock.elapsed()
        };
        tokio::select! {
            biased;
            () = kept => panic!("it is renewed"),
            at = wait => assert!((360..365).contains(&at.as_secs()), "{at:?}"),
        }
        assert!(held.is_held());
    });
}

#[test]
fn a_holder_stops_before_the_store_gives_its_slot_away() {
    run(async {
        let world = World::new(Rules::new(1, 0), 0, 1);
        let slots = world.process();
        let slot = slots.try_acquire(Want::Usual).await.unwrap().unwrap();
        // A short outage does not matter, a long one does.
        for (down, lost) in [(8, false), (60, true)] {
            world.store.down.store(true, Ordering::SeqCst);
            tokio::select! {
                biased;
                () = slot.keep() => assert!(lost, "lost after {down} s"),
                () = world.clock.sleep(Duration::from_secs(down)) => assert!(!lost),
            }
            world.store.down.store(false, Ordering::SeqCst);
            if !lost {
                tokio::select! {
                    biased;
                    () = slot.keep() => panic!("it was renewed"),
                    () = world.clock.sleep(Duration::from_mins(1)) => {}
                }
            }
        }
        assert!(!slot.is_held());
        assert_eq!(numbers(&world).await, 1, "the store still has it");
        let cx = world.cx(Duration::from_mins(1));
        let next = slots.acquire(Want::Usual, &cx).await.unwrap();
        // The one who lost it can neither renew nor free it.
        tokio::select! {
            biased;
            () = slot.keep() => {}
            () = world.clock.sleep(Duration::from_mins(1)) => panic!("it is lost"),
        }
        slot.release().await;
        assert!(next.is_held());
        assert_eq!(numbers(&world).await, 1);
    });
}
