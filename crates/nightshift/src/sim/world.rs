//! The outside of every node: buses, channels, the remote, people, and the nodes themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use incident::ports::{Clock, Stream as _};
use incident::{ApprovalKey, EventKey, Fingerprint, IncidentId, Severity, keys};
use runtime::testing::memory::{MemoryStore, MemoryStream};
use runtime::{Shutdown, Supervisor, TaskKind};

use super::breaks::Break;
use super::chance::Chance;
use super::clock::{OutsideClock, SimClock};
use super::node::Node;
use super::plan::{Plan, source};
use super::ports::{Channel, Hosted, Remote};
use super::watch::Watch;

/// When every simulated night begins.
const BEGIN: &str = "2026-11-20T01:00:00Z";

/// A person's decision that the hook took.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) incident: IncidentId,
    pub(super) proposal: incident::digest::Digest,
}

/// Everything outside of the nodes.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) broken: Option<Break>,
    pub(super) clock: Arc<SimClock>,
    pub(super) watch: Arc<Watch>,
    /// Of misfortunes.
    pub(super) chance: Chance,
    /// Of senders and people.
    pub(super) whims: Chance,
    /// Of what a mutation does.
    pub(super) breaks: Arc<Chance>,
    pub(super) events: MemoryStream,
    pub(super) work: BTreeMap<Severity, MemoryStream>,
    pub(super) store: MemoryStore,
    pub(super) remote: Remote,
    pub(super) channels: Vec<Arc<Channel>>,
    pub(super) approval_key: ApprovalKey,
    pub(super) actors: Supervisor,
    /// Tasks that agents work on.
    pub(super) running: AtomicUsize,
    /// Senders and people that are not done.
    pub(super) busy: AtomicUsize,
    /// Triage takes again what it refused.
    pub(super) appeased: AtomicBool,
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    told: Mutex<Told>,
}

/// What the outside was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Events in answers of 200.
    pub(super) acknowledged: BTreeSet<EventKey>,
    /// Events that such answers called new.
    pub(super) accepted: u64,
    pub(super) decisions: Vec<Taken>,
    /// Incidents whose people were asked something and have not looked yet.
    pub(super) asked: VecDeque<IncidentId>,
}

impl World {
    pub(super) fn new(plan: Plan, broken: Option<Break>, keeps_lines: bool) -> Arc<Self> {
        let begin = BEGIN.parse().expect("the begin of the night is a time");
        let clock = SimClock::new(begin, Chance::new(plan.seed, source::TIMERS));
        let outside: Arc<dyn Clock> = Arc::new(OutsideClock(Arc::clone(&clock)));
        let stream = |name: &str| {
            MemoryStream::builder(name, Arc::clone(&outside))
                .attempts_max(plan.attempts_max)
                .build()
        };
        let mut channels = vec![Channel::new("slack", true)];
        if plan.blind_channel {
            channels.push(Channel::new("webhook", false));
        }
        Arc::new(Self {
            watch: Watch::new(&clock, keeps_lines),
            chance: Chance::new(plan.seed, source::FAULTS),
            whims: Chance::new(plan.seed, source::PEOPLE),
            breaks: Arc::new(Chance::new(plan.seed, source::BREAKS)),
            events: stream(keys::EVENTS),
            work: Severity::ALL
                .into_iter()
                .map(|severity| (severity, stream(&keys::work(severity))))
                .collect(),
            store: MemoryStore::new(Arc::clone(&outside)),
            remote: Remote::default(),
            channels,
            approval_key: ApprovalKey::new([7; 32]).expect("it is long enough"),
            actors: Supervisor::new(Shutdown::new(), outside),
            running: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            appeased: AtomicBool::new(false),
            nodes: Mutex::new(vec![None; plan.nodes]),
            told: Mutex::default(),
            plan,
            broken,
            clock,
        })
    }

    /// Whether things fail now.
    pub(super) fn is_stormy(&self) -> bool {
        self.clock.elapsed() < self.plan.faults_until
    }

    /// Whether a misfortune of this rate, in 10,000, happens now.
    pub(super) fn is_hit(&self, rate: u64) -> bool {
        self.is_stormy() && self.chance.below(10_000) < rate
    }

    /// Does something outside of every node, later.
    pub(super) fn later<T: Send + 'static>(
        self: &Arc<Self>,
        after: Duration,
        effect: impl Future<Output = T> + Send + 'static,
    ) {
        let world = Arc::clone(self);
        self.actors.spawn(TaskKind::Work, "in flight", async move {
            world.clock.pause(after).await;
            world.watch.note("net", "arrives late", "", 0);
            effect.await;
        });
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Option<Arc<Node>>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node in this place, if it is up.
    pub(super) fn node(&self, place: usize) -> Option<Arc<Node>> {
        let node = self.nodes().get(place).cloned().flatten();
        node.filter(|node| !node.life.is_dead())
    }

    pub(super) fn set_node(&self, place: usize, node: Option<Arc<Node>>) {
        if let Some(slot) = self.nodes().get_mut(place) {
            *slot = node;
        }
    }

    /// A node that a request happens to reach.
    pub(super) fn some_node(&self) -> Option<Arc<Node>> {
        let place = self.whims.below(self.plan.nodes as u64);
        self.node(usize::try_from(place).unwrap_or(0))
    }

    /// Where a call of an agent ends up: mostly with the own node, as in `nightshift up`.
    pub(super) fn some_host(&self, own: usize) -> Option<Arc<Hosted>> {
        let place = if self.chance.one_in(3) {
            usize::try_from(self.chance.below(self.plan.nodes as u64)).unwrap_or(own)
        } else {
            own
        };
        let node = self.node(place).or_else(|| self.node(own))?;
        Some(Arc::clone(&node.hosted))
    }

    /// The alert that triage refuses now.
    pub(super) fn refused(&self) -> Option<Fingerprint> {
        if self.appeased.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        let cause = self.plan.causes.get(self.plan.refused?)?;
        Some(cause.fingerprint(0))
    }

    /// People read that a proposal waits for them.
    pub(super) fn ask_people(&self, incident: &IncidentId) {
        self.told().asked.push_back(incident.clone());
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = &MemoryStream> {
        std::iter::once(&self.events).chain(self.work.values())
    }

    /// Entries that wait or are claimed.
    pub(super) async fn backlog(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for stream in self.streams() {
            if let Ok(backlog) = stream.backlog().await
                && backlog.total() > 0
            {
                all.insert(stream.name().to_owned(), backlog.total());
            }
        }
        all
    }
}
