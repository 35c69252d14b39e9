//! Streams and store on NATS `JetStream`.
//!
//! `JetStream` keeps the entries, says when to look at one again and is what scalers look at: what
//! waits is `num_pending` of the consumer `dispatch-group`, what is handed out or put back is its
//! `num_ack_pending`. What it cannot decide (who holds a lease, how often an entry was tried, which of
//! several writes happen together) stands in records that change by compare-and-set only. Every
//! change has one message that decides it; what follows from it can be done by anybody, and twice.
//!
//! Nothing here needs a server newer than 2.9.

mod append;
mod claim;
mod config;
mod connect;
mod dead;
mod durable;
mod envelope;
mod link;
mod make;
mod names;
mod pull;
mod record;
mod scan;
mod settle;
mod store;
mod stream;
mod sweep;
mod time;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use incident::ports::{Clock, Expect, Put, Store, StoreError, Stream};
use runtime::Supervisor;
use tokio::sync::OnceCell;

pub use self::config::NatsConfig;
use self::link::{Failure, Link, Write};
use self::names::Names;
use self::stream::JetStream;
use self::time::{Now, ServerClock};
use crate::config::Config;
use crate::durability::Grade;
use crate::error::OpenError;
use crate::wait;

/// Requests of one operation that are under way at once.
const AT_ONCE: usize = 64;
/// Traces that are kept to be removed after the grace; more are left to their age.
const TRACES_MAX: usize = 1 << 16;

/// Set once what an earlier process of the same name held is freed.
type Takeover = Arc<OnceCell<()>>;

/// Something to be removed from a stream.
#[derive(Debug)]
struct Trace {
    due: Duration,
    stream: String,
    seq: u64,
}

/// One server or cluster, and what this process knows about it.
pub(crate) struct Server {
    link: Link,
    time: ServerClock,
    clock: Arc<dyn Clock>,
    config: Config,
    names: Names,
    supervisor: Supervisor,
    /// Streams that are as they have to be; the empty name stands for what all of them share.
    made: Mutex<BTreeSet<String>>,
    making: tokio::sync::Mutex<()>,
    /// By stream: lives as long as any handle of it.
    alive: Mutex<BTreeMap<String, Weak<()>>>,
    takeovers: Mutex<BTreeMap<(String, String), Takeover>>,
    traces: Mutex<VecDeque<Trace>>,
    store: store::Shared,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) async fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Arc<Self>, OpenError> {
        let link = Link::open(&config.nats, config.timeout.0, clock.clone()).await?;
        let server = Arc::new(Self {
            link,
            time: ServerClock::new(clock.clone()),
            clock,
            config: config.clone(),
            names: Names::new(&config.nats.prefix),
            supervisor: supervisor.clone(),
            made: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            alive: Mutex::default(),
            takeovers: Mutex::default(),
            traces: Mutex::default(),
            store: store::Shared::default(),
        });
        server.greet().await?;
        store::sweep::start(&server);
        Ok(server)
    }

    /// Finds out early what can never work, and says what an operator should know.
    async fn greet(&self) -> Result<(), OpenError> {
        if !self.link.is_connected() {
            return Ok(());
        }
        if !self.link.client().is_server_compatible(2, 9, 0) {
            let version = self.link.client().server_info().version;
            return Err(OpenError::Nats(format!(
                "it is version {version}, 2.9 or newer is needed"
            )));
        }
        match self.make_buckets().await {
            Ok(()) => {}
            Err(Failure::Refused(why)) => return Err(OpenError::Nats(why)),
            Err(failure) => {
                tracing::warn!(%failure, "jetstream is not ready yet; calls fail until it is");
                return Ok(());
            }
        }
        for finding in self.durability().await {
            if finding.grade != Grade::Good {
                tracing::warn!(what = finding.text, "nats keeps less than it could");
            }
        }
        Ok(())
    }

    fn is_made(&self, stream: &str) -> bool {
        locked(&self.made).contains(stream)
    }

    /// The streams that this process uses.
    fn made_streams(&self) -> Vec<String> {
        let made = locked(&self.made);
        made.iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect()
    }

    fn set_made(&self, stream: &str, is_made: bool) {
        let mut made = locked(&self.made);
        if is_made {
            made.insert(stream.to_owned());
        } else {
            // What all streams share may be gone as well.
            made.remove("");
            made.remove(stream);
        }
    }

    /// Makes what all streams share, unless it is there.
    async fn make_buckets(&self) -> Result<(), Failure> {
        if self.is_made("") {
            return Ok(());
        }
        self.link.ready().await?;
        let making = wait::within(&*self.clock, self.link.timeout(), self.making.lock()).await;
        let Some(_making) = making else {
            let why = "nats does not answer while the buckets are made";
            return Err(Failure::Unavailable(why.to_owned()));
        };
        if !self.is_made("") {
            make::buckets(self).await?;
            self.set_made("", true);
        }
        Ok(())
    }

    /// The servers' time.
    async fn now(&self) -> Result<Now, Failure> {
        if let Some(now) = self.time.now() {
            return Ok(now);
        }
        // The best of a few.
        for _ in 0..3 {
            self.ask_time().await?;
        }
        let unknown = || Failure::Unavailable(String::from("the time of nats is unknown"));
        self.time.now().ok_or_else(unknown)
    }

    /// Stores a message and looks when the server says it came.
    async fn ask_time(&self) -> Result<(), Failure> {
        let bucket = self.names.store();
        let write = Write {
            subject: bucket.subject("p.time"),
            ..Write::default()
        };
        self.link.ready().await?;
        let sent = self.clock.elapsed();
        let stored = self.link.write(write).await?;
        let confirmed = self.clock.elapsed();
        // Gone if others asked at the same time.
        if let Some(found) = self.link.at(&bucket.stream, stored.seq).await? {
            self.time.learn(sent, confirmed, found.time);
        }
        Ok(())
    }

    /// Removes a message when nobody can need it any more.
    fn forget_later(&self, stream: &str, seq: u64) {
        let mut traces = locked(&self.traces);
        if traces.len() < TRACES_MAX {
            traces.push_back(Trace {
                due: self
                    .clock
                    .elapsed()
                    .saturating_add(self.config.nats.grace.0),
                stream: stream.to_owned(),
                seq,
            });
        }
    }

    /// Up to `max` traces whose time has come.
    fn due_traces(&self, max: usize) -> Vec<Trace> {
        let now = self.clock.elapsed();
        let mut traces = locked(&self.traces);
        let due = traces.iter().take(max).take_while(|trace| trace.due <= now);
        let due = due.count();
        traces.drain(..due).collect()
    }

    pub(crate) async fn stream(self: &Arc<Self>, name: &str, consumer: &str) -> Arc<dyn Stream> {
        let key = (name.to_owned(), consumer.to_owned());
        let takeover = locked(&self.takeovers).entry(key).or_default().clone();
        let (alive, is_new) = {
            let mut all = locked(&self.alive);
            if let Some(alive) = all.get(name).and_then(Weak::upgrade) {
                (alive, false)
            } else {
                let alive = Arc::new(());
                all.insert(name.to_owned(), Arc::downgrade(&alive));
                (alive, true)
            }
        };
        let stream = JetStream::new(self.clone(), name, consumer, takeover, alive);
        // Scalers report an error for a stream that does not exist, so it exists from the start.
        if let Err(failure) = stream.mended(|| async { Ok(()) }).await {
            tracing::warn!(stream = name, %failure, "the stream could not be made yet");
        }
        if is_new {
            sweep::start(self, &stream);
        }
        Arc::new(stream)
    }

    pub(crate) fn store(self: &Arc<Self>) -> Arc<dyn Store> {
        Arc::new(store::NatsStore::new(self.clone()))
    }

    /// Writes a value that soon goes away.
    pub(crate) async fn check(self: &Arc<Self>) -> Result<(), StoreError> {
        let probe = Put::new("bus/probe", Vec::new(), Expect::Any).ttl(Duration::from_mins(1));
        self.store().put(probe).await.map(|_| ())
    }

    pub(crate) async fn close(&self) {
        self.link.close().await;
    }
}
