//! The one thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use incident::ports::Clock;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::file::LogFile;
use super::tables::{Error, Tx};
use crate::config::Config;

/// What the thread is asked to do.
pub(super) enum Message {
    Job(Box<dyn Job>),
    /// Finish, let go of the file, answer, end.
    Close(oneshot::Sender<()>),
}

/// One operation of a group.
pub(super) trait Job: Send {
    /// Does it in the group's transaction. `newest` is the newest log time of the group so far; log
    /// time does not go back within a group either.
    fn run(&mut self, tx: &Tx, newest: &mut u64) -> Result<(), Error>;
    /// Answers the caller: the transaction is on the disk, or it failed because of `failure`.
    fn settle(self: Box<Self>, failure: Option<&str>);
}

/// A caller's closure, where its answer goes, and its place in the queue.
pub(super) struct Call<T, W> {
    work: Option<W>,
    now: u64,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, String>>,
    _permit: OwnedSemaphorePermit,
}

impl<T, W> Call<T, W> {
    pub(super) fn new(
        work: W,
        now: u64,
        reply: oneshot::Sender<Result<T, String>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            work: Some(work),
            now,
            outcome: None,
            reply,
            _permit: permit,
        }
    }
}

impl<T, W> Job for Call<T, W>
where
    T: Send,
    W: FnOnce(&Tx, u64) -> Result<T, Error> + Send,
{
    fn run(&mut self, tx: &Tx, newest: &mut u64) -> Result<(), Error> {
        *newest = self.now.max(*newest);
        if let Some(work) = self.work.take() {
            self.outcome = Some(work(tx, *newest)?);
        }
        Ok(())
    }

    fn settle(self: Box<Self>, failure: Option<&str>) {
        let answer = match (self.outcome, failure) {
            (Some(outcome), None) => Ok(outcome),
            (_, failure) => Err(failure.unwrap_or("it was not done").to_owned()),
        };
        // A caller that no longer listens reads the state before it decides anything.
        drop(self.reply.send(answer));
    }
}

/// The thread's own state.
pub(super) struct Writer {
    file: Arc<LogFile>,
    jobs: Receiver<Message>,
    clock: Arc<dyn Clock>,
    group_ops: usize,
    group_wait: Duration,
    newest: u64,
    failing: bool,
}

impl Writer {
    pub(super) fn new(
        file: Arc<LogFile>,
        jobs: Receiver<Message>,
        clock: Arc<dyn Clock>,
        config: &Config,
    ) -> Self {
        Self {
            file,
            jobs,
            clock,
            group_ops: config.group_ops,
            group_wait: config.group_wait.0,
            newest: 0,
            failing: false,
        }
    }

    /// Starts the thread; the receiver completes when it has ended.
    pub(super) fn start(self) -> std::io::Result<oneshot::Receiver<()>> {
        let (ended, writer_ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name(String::from("bus-writer"))
            .spawn(move || {
                let _ended = ended;
                self.run();
            })?;
        Ok(writer_ended)
    }

    fn run(mut self) {
        let mut expected = 1;
        let closing = loop {
            let Ok(first) = self.jobs.recv() else {
                break None;
            };
            let (group, closing) = self.collect(first, expected);
            expected = group.len();
            self.commit(group);
            if closing.is_some() {
                break closing;
            }
        };
        self.file.close();
        if closing.is_some_and(|reply| reply.send(()).is_err()) {
            tracing::debug!("nobody waited for the embedded log to close");
        }
    }

    /// Takes what is there, and waits a moment for more while fewer callers have come than last
    /// time: they were answered together and are on their way with their next operation. A caller
    /// that is alone never waits.
    fn collect(
        &self,
        first: Message,
        expected: usize,
    ) -> (Vec<Box<dyn Job>>, Option<oneshot::Sender<()>>) {
        let started = self.clock.elapsed();
        let mut group = Vec::new();
        let mut message = Some(first);
        loop {
            match message.take() {
                Some(Message::Job(job)) => group.push(job),
                Some(Message::Close(reply)) => return (group, Some(reply)),
                None => return (group, None),
            }
            if group.len() >= self.group_ops {
                return (group, None);
            }
            message = self.jobs.try_recv().ok();
            if message.is_none() && group.len() < expected {
                let waited = self.clock.elapsed().saturating_sub(started);
                let left = self.group_wait.saturating_sub(waited);
                message = self.jobs.recv_timeout(left).ok();
            }
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        let failure = self.attempt(&mut group).err();
        match &failure {
            Some(error) => {
                self.file.doubt();
                if !self.failing {
                    tracing::error!(path = %self.file.path.display(), %error, "the embedded log cannot be written");
                }
            }
            None if self.failing => {
                tracing::info!(path = %self.file.path.display(), "the embedded log can be written again");
            }
            None => {}
        }
        self.failing = failure.is_some();
        for job in group {
            job.settle(failure.as_deref());
        }
    }

    /// One transaction for the whole group. A panic inside of redb or of an operation fails the
    /// group like an I/O error does.
    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), String> {
        if group.is_empty() {
            return Ok(());
        }
        self.file.recover()?;
        let database = self.file.database.read();
        let database = database.unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| self.file.absent())?;
        let mut newest = self.newest;
        let work = AssertUnwindSafe(|| -> Result<(), Error> {
            let tx = Tx::new(database.begin_write().map_err(super::tables::boxed)?);
            for job in group.iter_mut() {
                job.run(&tx, &mut newest)?;
            }
            tx.commit(newest)
        });
        let result = catch_unwind(work);
        self.newest = newest;
        match result {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(String::from("the operation panicked")),
        }
    }
}
