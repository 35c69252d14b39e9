//! The embedded log: streams and store in one redb file that belongs to one process.
//!
//! One thread writes. It takes what callers ask for at the same time, does it in one transaction and
//! one flush to the disk, and only then answers all of them. Reads see the last commit and do not
//! wait for the writer. After an I/O error redb refuses everything until it is opened anew, so the
//! writer opens it anew before the next transaction: once there is space again, it works again.

mod entries;
mod file;
mod store;
mod stream;
mod sweep;
mod tables;
mod values;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use incident::ports::{Cancel as _, Clock, Store, StoreError, Stream};
use redb::{ReadTransaction, ReadableDatabase as _};
use runtime::{Supervisor, TaskKind};
use tokio::sync::{Notify, Semaphore, oneshot};

use self::entries::Rules;
use self::file::LogFile;
use self::tables::{Error, Tx};
use self::writer::{Call, Message, Writer};
use crate::config::Config;
use crate::error::OpenError;
use crate::wait::within;

const CLOSED: &str = "the embedded log is closed";

/// The open log.
pub(crate) struct Log {
    file: Arc<LogFile>,
    queue: mpsc::Sender<Message>,
    permits: Arc<Semaphore>,
    permits_all: usize,
    bells: Mutex<BTreeMap<String, Arc<Notify>>>,
    time: LogTime,
    rules: Rules,
    timeout: Duration,
    poll: Duration,
    sweep_rows: usize,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.file.path)
            .finish_non_exhaustive()
    }
}

/// Milliseconds that never go back, in a process or across restarts: wall-clock time when the log
/// was opened, and then whatever passes.
#[derive(Debug)]
struct LogTime {
    clock: Arc<dyn Clock>,
    base: u64,
    opened: Duration,
}

impl LogTime {
    fn new(clock: Arc<dyn Clock>, newest: u64) -> Self {
        let wall = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
        let opened = clock.elapsed();
        Self {
            clock,
            base: wall.max(newest),
            opened,
        }
    }

    fn now(&self) -> u64 {
        let passed = self.clock.elapsed().saturating_sub(self.opened);
        self.base.saturating_add(millis(passed))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Log {
    pub(crate) async fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Arc<Self>, OpenError> {
        let settings = config.clone();
        let wall = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
        let opening = tokio::task::spawn_blocking(move || LogFile::open(&settings, wall));
        let (file, newest) = opening.await.map_err(|error| OpenError::Unreadable {
            path: config.data_dir.clone(),
            why: error.to_string(),
        })??;
        let file = Arc::new(file);
        let (queue, jobs) = mpsc::channel();
        let writer = Writer::new(file.clone(), jobs, clock.clone(), config);
        let writer_ended = writer.start().map_err(|error| OpenError::Folder {
            path: file.path.clone(),
            why: error.to_string(),
        })?;
        let log = Arc::new(Self {
            file,
            queue,
            permits: Arc::new(Semaphore::new(config.queue_ops)),
            permits_all: config.queue_ops,
            bells: Mutex::default(),
            time: LogTime::new(clock, newest),
            rules: Rules::new(config),
            timeout: config.timeout.0,
            poll: config.poll.0,
            sweep_rows: config.sweep_rows,
        });
        log.supervise(supervisor, writer_ended, config.sweep.0);
        Ok(log)
    }

    /// The writer is a thread, because a flush blocks; this is what makes its end visible. The
    /// sweep holds the log weakly, so that it does not keep it open.
    fn supervise(
        self: &Arc<Self>,
        supervisor: &Supervisor,
        writer_ended: oneshot::Receiver<()>,
        pause: Duration,
    ) {
        let drain = supervisor.shutdown().drain.clone();
        let clock = self.time.clock.clone();
        let log = Arc::downgrade(self);
        supervisor.spawn(TaskKind::Work, "bus-sweep", async move {
            let mut writer_ended = writer_ended;
            while !drain.is_cancelled() {
                tokio::select! {
                    biased;
                    () = drain.wait() => return,
                    _ = &mut writer_ended => return,
                    () = clock.sleep(pause) => {}
                }
                let Some(log) = log.upgrade() else { return };
                if let Err(error) = log.sweep().await {
                    tracing::debug!(%error, "the embedded log was not swept");
                }
            }
        });
    }

    /// Runs `work` on the writer's thread; returns once its effects are on the disk.
    async fn call<T, W>(&self, work: W) -> Result<T, String>
    where
        T: Send + 'static,
        W: FnOnce(&Tx, u64) -> Result<T, Error> + Send + 'static,
    {
        let now = self.time.now();
        let answer = within(&*self.time.clock, self.timeout, async {
            let permit = self.permits.clone().acquire_owned().await;
            let permit = permit.map_err(|_| String::from(CLOSED))?;
            let (reply, answer) = oneshot::channel();
            let job = Message::Job(Box::new(Call::new(work, now, reply, permit)));
            self.queue.send(job).map_err(|_| String::from(CLOSED))?;
            answer.await.map_err(|_| String::from(CLOSED))?
        });
        answer.await.unwrap_or_else(|| Err(self.late()))
    }

    /// Runs `work` on the last commit.
    async fn read<T, W>(&self, work: W) -> Result<T, String>
    where
        T: Send + 'static,
        W: FnOnce(&ReadTransaction, u64) -> Result<T, Error> + Send + 'static,
    {
        let now = self.time.now();
        let file = self.file.clone();
        let answer = within(&*self.time.clock, self.timeout, async {
            let permit = self.permits.clone().acquire_owned().await;
            let permit = permit.map_err(|_| String::from(CLOSED))?;
            let reading = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let database = file.database.read().unwrap_or_else(PoisonError::into_inner);
                let database = database.as_ref().ok_or_else(|| file.absent())?;
                let txn = database.begin_read().map_err(|error| error.to_string())?;
                work(&txn, now).map_err(|error| {
                    file.doubt();
                    error.to_string()
                })
            });
            reading.await.map_err(|error| error.to_string())?
        });
        answer.await.unwrap_or_else(|| Err(self.late()))
    }

    fn late(&self) -> String {
        format!("the disk did not answer within {:?}", self.timeout)
    }

    fn bell(&self, stream: &str) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(stream.to_owned()).or_default().clone()
    }

    pub(crate) fn stream(self: &Arc<Self>, name: &str) -> Arc<dyn Stream> {
        Arc::new(stream::LogStream::new(self.clone(), name))
    }

    pub(crate) fn store(self: &Arc<Self>) -> Arc<dyn Store> {
        Arc::new(store::LogStore::new(self.clone()))
    }

    /// Writes a row and waits for the disk.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let probe = self.call(Tx::probe).await;
        probe.map_err(StoreError::Unavailable)
    }

    /// Removes what has expired, step by step.
    async fn sweep(&self) -> Result<(), String> {
        loop {
            let (rows, window) = (self.sweep_rows, self.rules.window);
            let removed = self
                .call(move |tx, now| sweep::step(tx, now, window, rows))
                .await?;
            if removed < rows {
                return Ok(());
            }
        }
    }

    pub(crate) async fn close(&self) {
        self.permits.close();
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).is_err() {
            return;
        }
        if within(&*self.time.clock, self.timeout, closed)
            .await
            .is_none()
        {
            tracing::warn!(
                in_flight = self
                    .permits_all
                    .saturating_sub(self.permits.available_permits()),
                "the embedded log did not close in time; the next start checks it"
            );
        }
    }
}
