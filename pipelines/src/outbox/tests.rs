//! The four steps, one effect at a time: stopped dead at each of them and between them, taken up by
//! another holder, with answers that get lost, outside that can be looked at and outside that cannot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use incident::digest::Digest;
use incident::error::{Classify, Code, Kind};
use incident::ports::{Clock as _, Cx, Expect, Fence, Put, Store, StoreError, Versioned};
use runtime::SeededEntropy;
use runtime::testing::TestClock;
use runtime::testing::memory::MemoryStore;

use super::{Effect, Entry, Errand, Outbox, Outcome, Patience, Record, Seen, State, Turn};
use crate::journal::{ChangeState, Journal, Ledger, Post, Reader, SCHEMA};
use crate::orchestrator::WorkError;
use crate::sample;

const TRIES_MAX: u32 = 5;
const PATIENCE: Patience = Patience {
    timeout: Duration::from_secs(10),
    wait_min: Duration::from_secs(2),
    wait_max: Duration::from_mins(10),
    settle: Duration::from_secs(2),
};

/// Where a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    BeforeIntent,
    IntentWritten,
    InLook,
    BeforeAct,
    ActDone,
    BeforeRecord,
    RecordWritten,
    Never,
}

const STOPS: [Stop; 8] = [
    Stop::BeforeIntent,
    Stop::IntentWritten,
    Stop::InLook,
    Stop::BeforeAct,
    Stop::ActDone,
    Stop::BeforeRecord,
    Stop::RecordWritten,
    Stop::Never,
];

/// Why it could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    #[error("nobody there")]
    Away,
    #[error("the answer was lost")]
    Lost,
    #[error("it says no")]
    Refused,
}

impl Classify for Trouble {
    fn kind(&self) -> Kind {
        match self {
            Self::Away | Self::Lost => Kind::Transient,
            Self::Refused => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        Code("E-TEST-001")
    }
}

/// What is there, outside.
#[derive(Debug, Default)]
struct Outside {
    /// Whether it can be looked at.
    looks: bool,
    /// What was done: whether each said that it may be a repeat.
    done: Mutex<Vec<bool>>,
    /// What becomes of the next ones.
    faults: Mutex<Vec<Trouble>>,
    looked: Mutex<u32>,
}

/// One effect as one process sees it.
#[derive(Debug, Clone)]
struct Knock {
    outside: Arc<Outside>,
    stop: Stop,
}

impl Knock {
    async fn at(&self, stop: Stop) {
        if self.stop == stop {
            std::future::pending::<()>().await;
        }
    }
}

fn key() -> Digest {
    Digest::of(b"knock")
}

#[async_trait]
impl Effect for Knock {
    type Receipt = ();
    type Trace = ();
    type Error = Trouble;

    async fn look(&self, doubtful: bool, _cx: &Cx) -> Result<Seen<(), ()>, Trouble> {
        if !doubtful {
            return Ok(Seen::Absent);
        }
        self.at(Stop::InLook).await;
        *self.outside.looked.lock().unwrap() += 1;
        if !self.outside.looks {
            return Ok(Seen::Unknown);
        }
        let is_there = !self.outside.done.lock().unwrap().is_empty();
        Ok(if is_there {
            Seen::Done(())
        } else {
            Seen::Absent
        })
    }

    async fn act(&self, _: Option<&()>, maybe_repeat: bool, _cx: &Cx) -> Result<(), Trouble> {
        self.at(Stop::BeforeAct).await;
        let fault = self.outside.faults.lock().unwrap().pop();
        if let Some(fault @ (Trouble::Away | Trouble::Refused)) = fault {
            return Err(fault);
        }
        self.outside.done.lock().unwrap().push(maybe_repeat);
        self.at(Stop::ActDone).await;
        fault.map_or(Ok(()), Err)
    }

    fn repeats(&self) -> bool {
        true
    }

    fn is_unsure(error: &Trouble) -> bool {
        *error == Trouble::Lost
    }

    fn late(&self, _timeout: Duration) -> Trouble {
        Trouble::Lost
    }

    fn intend(&self, journal: &mut Journal, entry: Entry) {
        let post = Post { revision: 0, entry };
        journal.told.insert("door".to_owned(), post);
    }

    fn record(&self, _: Outcome<(), Trouble>, entry: Entry) -> Result<Record, WorkError> {
        Ok(Record::of(|journal| {
            let post = Post { revision: 0, entry };
            journal.told.insert("door".to_owned(), post);
        }))
    }
}

/// A store in which a process dies before or after one of its batches: the first is the intent, the
/// second the record.
#[derive(Debug)]
struct Dying {
    inner: MemoryStore,
    stop: Stop,
    batches: Mutex<u32>,
}

#[async_trait]
impl Store for Dying {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key).await
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        self.inner.put(put).await
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        let batch = {
            let mut batches = self.batches.lock().unwrap();
            *batches += 1;
            *batches
        };
        let (before, after) = match batch {
            1 => (Stop::BeforeIntent, Stop::IntentWritten),
            2 => (Stop::BeforeRecord, Stop::RecordWritten),
            _ => (Stop::Never, Stop::Never),
        };
        let is_here = |stop| stop != Stop::Never && self.stop == stop;
        if is_here(before) {
            std::future::pending::<()>().await;
        }
        let result = self.inner.put_all(puts).await;
        if is_here(after) {
            std::future::pending::<()>().await;
        }
        result
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.inner.delete(key, expect).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        self.inner.fence(name).await
    }
}

struct World {
    clock: Arc<TestClock>,
    memory: MemoryStore,
    outside: Arc<Outside>,
}

impl World {
    async fn new(looks: bool, faults: &[Trouble]) -> Self {
        let clock = TestClock::at(sample::at(0));
        let outside = Outside {
            looks,
            faults: Mutex::new(faults.iter().rev().copied().collect()),
            ..Outside::default()
        };
        let world = Self {
            memory: MemoryStore::new(clock.clone()),
            outside: Arc::new(outside),
            clock,
        };
        let reader = world.reader(Stop::Never);
        let fence = fence(&reader).await;
        let keep = Duration::from_hours(1);
        let begun = Ledger::begin(reader, fence, keep, world.journal(), Vec::new()).await;
        begun.expect("a journal begins");
        world
    }

    fn journal(&self) -> Journal {
        let now = self.clock.now();
        Journal {
            schema: SCHEMA,
            writes: 0,
            incident: sample::incident().id,
            generation: 0,
            begun_at: now,
            report_by: now,
            specialists: Vec::new(),
            channels: vec!["door".to_owned()],
            opened: BTreeMap::new(),
            collecting: None,
            replies: BTreeMap::new(),
            findings: None,
            change: ChangeState::Unknown,
            proposals: 0,
            refusals: 0,
            decisions: BTreeMap::new(),
            closing: None,
            report: None,
            told: BTreeMap::new(),
            receipts: BTreeMap::new(),
            doubts: BTreeMap::new(),
            retries: 0,
            moments: Vec::new(),
        }
    }

    fn reader(&self, stop: Stop) -> Reader {
        let store = Dying {
            inner: self.memory.clone(),
            stop,
            batches: Mutex::new(0),
        };
        Reader {
            store: Arc::new(store),
            entropy: Arc::new(SeededEntropy::new(3)),
            cx: self.cx(),
        }
    }

    fn cx(&self) -> Cx {
        let minute = Duration::from_mins(1);
        Cx::root(self.clock.clone(), minute, "0".repeat(32))
    }

    async fn ledger(&self, stop: Stop) -> Ledger {
        let reader = self.reader(stop);
        let fence = fence(&reader).await;
        let id = sample::incident().id;
        let found = reader.head(&id, 0).await.expect("it can be read");
        let found = found.expect("there is a journal");
        Ledger::resume(reader, fence, Duration::from_hours(1), found)
    }

    /// One process takes its turn and lives until `stop`.
    async fn live(&self, stop: Stop) -> Result<(), WorkError> {
        let mut ledger = self.ledger(stop).await;
        self.take_turn(&mut ledger, stop).await
    }

    async fn take_turn(&self, ledger: &mut Ledger, stop: Stop) -> Result<(), WorkError> {
        let now = self.clock.now();
        let before = ledger.journal().told.get("door");
        let before = before.map(|post| post.entry.clone());
        let is_due = |entry: &Entry| entry.is_due(TRIES_MAX, now);
        if before.as_ref().is_some_and(|entry| !is_due(entry)) {
            return Ok(());
        }
        let errand = Errand {
            turn: Turn::next(before.as_ref(), key(), TRIES_MAX, now),
            effect: Knock {
                outside: self.outside.clone(),
                stop,
            },
        };
        let cx = self.cx();
        let mut outbox = Outbox {
            ledger,
            cx: &cx,
            entropy: &SeededEntropy::new(3),
            patience: PATIENCE,
        };
        outbox.carry_out(vec![errand]).await
    }

    /// Lives until `stop`, and dies there if it comes to it.
    async fn die_at(&self, stop: Stop) -> bool {
        let cx = self.cx().child(Duration::from_secs(1));
        cx.bound(self.live(stop)).await.is_none()
    }

    async fn entry(&self) -> Entry {
        let ledger = self.ledger(Stop::Never).await;
        ledger.journal().told["door"].entry.clone()
    }

    /// Takes turns when they are due until there are none.
    async fn settle(&self) -> State {
        for _ in 0..=TRIES_MAX {
            self.live(Stop::Never).await.expect("it goes on");
            let entry = self.entry().await;
            let Some(later) = entry.later(TRIES_MAX) else {
                return entry.state;
            };
            let wait = later.duration_since(self.clock.now());
            self.clock.sleep(wait.try_into().unwrap()).await;
        }
        panic!("it never comes to an end");
    }

    /// What is there, in order, by whether it says that it may be a repeat.
    fn there(&self) -> String {
        let done = self.outside.done.lock().unwrap();
        let marks = done.iter().map(|m| if *m { "marked" } else { "plain" });
        let marks: Vec<&str> = marks.collect();
        if marks.is_empty() {
            return "nothing".to_owned();
        }
        marks.join(", ")
    }
}

async fn fence(reader: &Reader) -> Fence {
    let id = sample::incident().id;
    let fence = Ledger::take_fence(reader, &id).await;
    fence.expect("a fence is given")
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a current-thread runtime starts")
        .block_on(work)
}

/// What is there in the end, after a death at each step and after that in the one who takes over.
#[test]
fn a_death_at_each_step() {
    let mut table = String::new();
    for looks in [true, false] {
        for lost in [false, true] {
            let looking = if looks { "can be looked at" } else { "cannot" };
            let losing = if lost { ", the answer is lost" } else { "" };
            writeln!(table, "outside {looking}{losing}").unwrap();
            for first in STOPS {
                let mut line = Vec::new();
                for second in STOPS {
                    let (there, done) = run(async {
                        let faults: &[Trouble] = if lost { &[Trouble::Lost] } else { &[] };
                        let world = World::new(looks, faults).await;
                        world.die_at(first).await;
                        world.die_at(second).await;
                        let state = world.settle().await;
                        (world.there(), matches!(state, State::Done { .. }))
                    });
                    assert!(done, "{first:?} {second:?}");
                    if !line.contains(&there) {
                        line.push(there);
                    }
                }
                line.sort();
                writeln!(table, "  {first:?}: {}", line.join(" | ")).unwrap();
            }
        }
    }
    insta::assert_snapshot!(table, @r"
    outside can be looked at
      BeforeIntent: plain
      IntentWritten: plain
      InLook: plain
      BeforeAct: plain
      ActDone: plain
      BeforeRecord: plain
      RecordWritten: plain
      Never: plain
    outside can be looked at, the answer is lost
      BeforeIntent: plain
      IntentWritten: plain
      InLook: plain
      BeforeAct: plain
      ActDone: plain
      BeforeRecord: plain
      RecordWritten: plain
      Never: plain
    outside cannot
      BeforeIntent: marked | plain | plain, marked
      IntentWritten: marked
      InLook: plain
      BeforeAct: marked
      ActDone: plain, marked
      BeforeRecord: plain, marked
      RecordWritten: plain
      Never: plain
    outside cannot, the answer is lost
      BeforeIntent: marked, marked | plain, marked
      IntentWritten: marked, marked
      InLook: plain, marked
      BeforeAct: marked, marked
      ActDone: plain, marked
      BeforeRecord: plain, marked
      RecordWritten: plain, marked
      Never: plain, marked
    ");
}

/// Who was taken over between any two steps does nothing more outside, and what it did is found.
#[test]
fn a_newer_holder_at_each_step() {
    for looks in [true, false] {
        for stop in STOPS {
            run(async {
                let world = World::new(looks, &[]).await;
                // The older one stands still at `stop` and is not dead: the newer one goes to the end.
                let mut older = world.ledger(stop).await;
                let cx = world.cx().child(Duration::from_secs(1));
                let paused = cx.bound(world.take_turn(&mut older, stop)).await;
                assert_eq!(
                    paused.is_none(),
                    stop != Stop::Never && stop != Stop::InLook
                );
                world.settle().await;
                let there = world.there();
                if looks {
                    assert_eq!(there, "plain", "{stop:?}");
                } else {
                    let unmarked = there.split(", ").filter(|mark| *mark == "plain").count();
                    assert!(unmarked <= 1, "{stop:?}: {there}");
                }
                // Its next write is refused, so that it cannot even intend.
                let error = world.take_turn(&mut older, Stop::Never).await;
                if !matches!(stop, Stop::Never | Stop::InLook) {
                    assert!(
                        matches!(error, Err(WorkError::TakenOver)),
                        "{stop:?}: {error:?}"
                    );
                }
                assert_eq!(world.there(), there, "{stop:?}: nothing was added");
            });
        }
    }
}

/// A process that was stopped after its intent and goes on much later sends nothing: others have taken
/// it for dead.
#[test]
fn who_wakes_up_late_sends_nothing() {
    run(async {
        let world = World::new(true, &[]).await;
        let mut ledger = world.ledger(Stop::Never).await;
        let now = world.clock.now();
        let errand = Errand {
            turn: Turn::next(None, key(), TRIES_MAX, now),
            effect: Knock {
                outside: world.outside.clone(),
                stop: Stop::Never,
            },
        };
        let cx = world.cx();
        // The store takes the intent and is long in saying so.
        let patience = Patience {
            timeout: Duration::ZERO,
            ..PATIENCE
        };
        let mut outbox = Outbox {
            ledger: &mut ledger,
            cx: &cx,
            entropy: &SeededEntropy::new(3),
            patience,
        };
        outbox
            .carry_out(vec![errand])
            .await
            .expect("it is recorded");
        assert_eq!(world.there(), "nothing");
        let entry = world.entry().await;
        assert!(!entry.is_unsure(), "it is certain that nothing was sent");
        assert!(matches!(world.settle().await, State::Done { .. }));
        assert_eq!(world.there(), "plain");
    });
}

/// What passes is tried again until it works or was tried often enough; what does not is given up.
#[test]
fn failures_end() {
    use Trouble::{Away, Lost, Refused};
    let mut table = String::new();
    let cases: [&[Trouble]; 5] = [
        &[Away, Away],
        &[Away; 9],
        &[Refused],
        &[Away, Refused],
        &[Lost, Away],
    ];
    for faults in cases {
        for looks in [true, false] {
            let line = run(async {
                let world = World::new(looks, faults).await;
                let began = world.clock.now();
                let state = world.settle().await;
                let took = world.clock.now().duration_since(began).as_secs();
                let tries = world.entry().await.tries;
                let state = match state {
                    State::Failed { why, .. } => format!("given up: {why}"),
                    state => format!("{state:?}"),
                };
                format!(
                    "{state} after {tries} tries and {took} s; there: {}",
                    world.there()
                )
            });
            writeln!(table, "{faults:?}, looks {looks}: {line}").unwrap();
        }
    }
    insta::assert_snapshot!(table, @r"
    [Away, Away], looks true: Done { maybe_repeat: false } after 3 tries and 3 s; there: plain
    [Away, Away], looks false: Done { maybe_repeat: false } after 3 tries and 3 s; there: plain
    [Away, Away, Away, Away, Away, Away, Away, Away, Away], looks true: given up: nobody there after 5 tries and 16 s; there: nothing
    [Away, Away, Away, Away, Away, Away, Away, Away, Away], looks false: given up: nobody there after 5 tries and 16 s; there: nothing
    [Refused], looks true: given up: it says no after 1 tries and 0 s; there: nothing
    [Refused], looks false: given up: it says no after 1 tries and 0 s; there: nothing
    [Away, Refused], looks true: given up: it says no after 2 tries and 1 s; there: nothing
    [Away, Refused], looks false: given up: it says no after 2 tries and 1 s; there: nothing
    [Lost, Away], looks true: Done { maybe_repeat: false } after 2 tries and 2 s; there: plain
    [Lost, Away], looks false: Done { maybe_repeat: true } after 3 tries and 4 s; there: plain, marked
    ");
}

/// The doubt of an attempt stays until somebody has looked, whatever happens in between.
#[test]
fn a_doubt_outlives_a_failed_look() {
    run(async {
        let world = World::new(true, &[Trouble::Lost]).await;
        world.live(Stop::Never).await.expect("it is recorded");
        assert!(world.entry().await.is_unsure());
        // The next one dies in its look, the one after that comes to it.
        let later = world.entry().await.later(TRIES_MAX).expect("later");
        let wait = later.duration_since(world.clock.now());
        world.clock.sleep(wait.try_into().unwrap()).await;
        assert!(world.die_at(Stop::InLook).await);
        assert!(world.entry().await.is_unsure());
        assert!(matches!(world.settle().await, State::Done { .. }));
        assert_eq!(world.there(), "plain");
        assert_eq!(*world.outside.looked.lock().unwrap(), 1);
    });
}

/// The intent was written by a clock that was ten minutes ahead and has been set back since.
#[test]
fn a_clock_that_was_ahead_is_not_waited_for() {
    let now = sample::at(0);
    let written = now + Duration::from_mins(10);
    let turn = |before, now| Turn::next(before, key(), TRIES_MAX, now);
    let before = turn(None, written).intent(written, &PATIENCE);
    let length = PATIENCE.timeout + PATIENCE.settle;
    assert_eq!(turn(Some(&before), now).after, now + length);
    // By a clock that agrees, what is left of the attempt is waited for, and no more.
    let soon = written + Duration::from_secs(5);
    assert_eq!(turn(Some(&before), soon).after, written + length);
}
