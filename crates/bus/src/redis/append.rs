//! Appends that come together travel together.
//!
//! While one call of the script is under way, whoever wants to append joins the next one. So a server
//! that flushes before it answers, or waits for replicas, does so once for all of them, and what a
//! call costs is shared. Nobody waits for company: an append that is alone is sent at once.
//!
//! All who are in one call poll the same future, so one that gives up takes nobody with it.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use incident::ports::{Appended, Entry, StreamError};
use redis::Value;

use super::stream::Names;
use super::{Server, reply};
use crate::wait::within;

/// Entries of one call; one script must not keep the server from others for long.
const ENTRIES_MAX: usize = 256;
/// Bytes of the payloads of one call.
const BYTES_MAX: usize = 4 << 20;

/// What became of one caller's batch.
#[derive(Debug, Clone)]
enum Answer {
    Stored(Vec<Appended>),
    /// The stream holds so many and takes no more.
    Full(u64),
}

type Answers = Result<Arc<[Answer]>, String>;

/// Batches that will be sent together; closed once they are taken out.
type Batches = Arc<Mutex<Option<Vec<Vec<Entry>>>>>;

/// A call that may still be joined.
struct Call {
    batches: Batches,
    answers: WeakShared<BoxFuture<'static, Answers>>,
}

/// The appends of one stream.
pub(super) struct Appends {
    server: Arc<Server>,
    names: Arc<Names>,
    next: Mutex<Option<Call>>,
    /// Held by the call that is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Appends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appends").finish_non_exhaustive()
    }
}

impl Appends {
    pub(super) fn new(server: Arc<Server>, names: Names) -> Self {
        Self {
            server,
            names: Arc::new(names),
            next: Mutex::new(None),
            turn: Arc::default(),
        }
    }

    pub(super) async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let (place, answers) = self.join(batch);
        let answers = answers.await.map_err(StreamError::Unavailable)?;
        match answers.get(place) {
            Some(Answer::Stored(appended)) => Ok(appended.clone()),
            Some(Answer::Full(entries)) => Err(StreamError::Full {
                entries: *entries,
                limit: self.server.config.capacity,
            }),
            None => Err(StreamError::Unavailable(reply::ODD.to_owned())),
        }
    }

    /// A place in the next call, and that call.
    fn join(&self, batch: Vec<Entry>) -> (usize, Shared<BoxFuture<'static, Answers>>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = next.as_ref()
            && let Some(answers) = call.answers.upgrade()
        {
            let mut batches = call.batches.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(batches) = batches.as_mut()
                && self.has_room(batches, &batch)
            {
                batches.push(batch);
                return (batches.len() - 1, answers);
            }
        }
        let batches: Batches = Arc::new(Mutex::new(Some(vec![batch])));
        let sending = send(
            self.server.clone(),
            self.names.clone(),
            self.turn.clone(),
            batches.clone(),
        );
        let answers = sending.boxed().shared();
        *next = answers.downgrade().map(|answers| Call { batches, answers });
        (0, answers)
    }

    fn has_room(&self, batches: &[Vec<Entry>], batch: &[Entry]) -> bool {
        let all = || batches.iter().flatten().chain(batch);
        let bytes = || all().map(|entry| entry.payload.len()).sum::<usize>();
        batches.len() < self.server.config.group_ops
            && all().count() <= ENTRIES_MAX
            && bytes() <= BYTES_MAX
    }
}

/// Waits for its turn, closes the call and makes it.
async fn send(
    server: Arc<Server>,
    names: Arc<Names>,
    turn: Arc<tokio::sync::Mutex<()>>,
    batches: Batches,
) -> Answers {
    let timeout = server.config.timeout.0;
    let _turn = within(&*server.clock, timeout, turn.lock_owned())
        .await
        .ok_or_else(|| format!("redis did not answer others within {timeout:?}"))?;
    let batches = {
        let mut open = batches.lock().unwrap_or_else(PoisonError::into_inner);
        open.take().unwrap_or_default()
    };
    let config = &server.config;
    let mut call = names.call(&server.scripts.append);
    call.arg(config.capacity)
        .arg(super::stream::millis(config.dedup_window.0));
    for batch in &batches {
        call.arg(batch.len());
        for entry in batch {
            call.arg(&entry.key).arg(&entry.payload);
        }
    }
    let answer = server.link.script(&call).await;
    let answers = reply::list(answer.map_err(|failure| failure.error)?)?;
    if answers.len() != batches.len() {
        return Err(reply::ODD.to_owned());
    }
    answers.into_iter().map(read).collect()
}

fn read(answer: Value) -> Result<Answer, String> {
    if let Value::Int(_) = answer {
        return reply::count(&answer).map(Answer::Full);
    }
    let appended = reply::list(answer)?.into_iter().map(|stored| match stored {
        Value::Int(1) => Appended::Stored,
        _ => Appended::Duplicate,
    });
    Ok(Answer::Stored(appended.collect()))
}
