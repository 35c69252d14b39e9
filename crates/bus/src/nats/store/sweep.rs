//! Removing what has ended and what dead writers left.
//!
//! A sweep reads only what was written since the last one, without the bytes, and remembers when
//! something of it is due. The first one reads everything once.

use std::collections::BTreeMap;
use std::sync::Arc;

use incident::ports::Cancel as _;
use runtime::TaskKind;

use super::super::Server;
use super::super::link::Found;
use super::super::scan::Scan;
use super::super::time::{Micros, Now};
use super::cell::{Cell, Meta};
use super::{NatsStore, Stop};

/// Most messages that one sweep reads.
const READ_MAX: usize = 1 << 16;
/// Most things that are remembered; what is more waits for the next start.
const DUE_MAX: usize = 1 << 20;

/// What is to be done with a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// The value ends.
    End,
    /// Nobody needs to know any more that it is gone.
    Forget,
    /// The transaction should be over.
    Tidy,
}

/// What was read and what is due.
#[derive(Debug, Default)]
struct Tail {
    next: u64,
    due: BTreeMap<(Micros, u64), (Task, String)>,
}

/// Sweeps until the drain.
pub(in super::super) fn start(server: &Arc<Server>) {
    let drain = server.supervisor.shutdown().drain.clone();
    let (clock, pause) = (server.clock.clone(), server.config.sweep.0);
    let seen = Arc::downgrade(server);
    server
        .supervisor
        .spawn(TaskKind::Work, "bus-store-sweep", async move {
            let mut tail = Tail::default();
            while !drain.is_cancelled() {
                tokio::select! {
                    biased;
                    () = drain.wait() => return,
                    () = clock.sleep(pause) => {}
                }
                let Some(server) = seen.upgrade() else {
                    return;
                };
                if server.link.is_closed() {
                    return;
                }
                let store = NatsStore::new(server);
                if let Err(stop) = store.sweep(&mut tail).await {
                    let error = stop.told("store");
                    tracing::debug!(%error, "the store was not swept");
                }
            }
        });
}

impl NatsStore {
    async fn sweep(&self, tail: &mut Tail) -> Result<(), Stop> {
        self.server.make_buckets().await?;
        // Also what keeps the knowledge of the servers' time fresh.
        self.server.ask_time().await?;
        self.read_on(tail).await?;
        let now = self.server.now().await?;
        for _ in 0..self.server.config.sweep_rows {
            let Some(entry) = tail.due.first_entry() else {
                break;
            };
            let (due, rev) = *entry.key();
            if !now.is_past(due) {
                break;
            }
            let (task, subject) = entry.remove();
            let again = match self.run(task, &subject, rev, now).await {
                Ok(is_done) => !is_done,
                Err(stop) if stop.is_conflict() => true,
                Err(stop) => {
                    tail.due.insert((due, rev), (task, subject));
                    return Err(stop);
                }
            };
            if again {
                let later = now.end(self.server.link.timeout());
                tail.due.insert((later, rev), (task, subject));
            }
        }
        Ok(())
    }

    async fn read_on(&self, tail: &mut Tail) -> Result<(), Stop> {
        let info = self.server.link.info(&self.bucket.stream).await?;
        if info.state.last_seq < tail.next {
            if info.state.last_seq + 1 < tail.next {
                // It was removed and made again.
                *tail = Tail::default();
            }
            return Ok(());
        }
        let now = self.server.now().await?;
        let filter = self.bucket.subject(">");
        let scan = Scan {
            stream: &self.bucket.stream,
            filter: &filter,
            from: Some(tail.next),
            is_bare: true,
        };
        let (mut last, mut noted) = (0, Vec::new());
        let read = scan.read(&self.server, READ_MAX, |found| {
            last = found.seq;
            noted.extend(self.note(&found, now));
        });
        let read = read.await?;
        tail.next = if read < READ_MAX {
            info.state.last_seq.max(last) + 1
        } else {
            last + 1
        };
        for (due, rev, task, subject) in noted {
            if tail.due.len() < DUE_MAX {
                tail.due.insert((due, rev), (task, subject));
            }
        }
        Ok(())
    }

    /// What is to be done about a message, and when.
    fn note(&self, found: &Found, now: Now) -> Option<(Micros, u64, Task, String)> {
        let (kind, _) = self.bucket.key(&found.subject)?.split_once('.')?;
        let (due, task) = match kind {
            "t" => (now.end(self.server.link.timeout() * 4), Task::Tidy),
            "c" => {
                let meta = match &found.meta {
                    Some(meta) => Meta::read(meta).ok()?,
                    None if found.is_removal => Meta::default(),
                    None => return None,
                };
                match (meta.version, meta.end) {
                    (0, _) => (now.end(self.server.config.nats.grace.0), Task::Forget),
                    (_, Some(end)) => (end, Task::End),
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some((due, found.seq, task, found.subject.clone()))
    }

    /// Does it; false if it is not time yet.
    async fn run(&self, task: Task, subject: &str, rev: u64, now: Now) -> Result<bool, Stop> {
        match task {
            Task::Tidy => self.tidy(subject).await,
            Task::End => {
                let cell = self.clean(subject, subject, Micros::MAX).await?;
                let is_over = cell.meta.end.is_some_and(|end| now.is_past(end));
                if cell.rev == rev && cell.meta.version > 0 && is_over {
                    self.write(subject, &Cell::gone(rev)).await?;
                }
                Ok(true)
            }
            Task::Forget => {
                let found = self.server.link.last(&self.bucket.stream, subject).await?;
                if found.is_some_and(|found| found.seq == rev) {
                    let link = &self.server.link;
                    link.purge(&self.bucket.stream, subject, rev).await?;
                }
                Ok(true)
            }
        }
    }
}
