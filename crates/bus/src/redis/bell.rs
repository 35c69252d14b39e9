//! Hearing that something arrived.
//!
//! A task of its own reads the stream (not the group) with a blocking read, on a connection of its
//! own whose answers may take longer than the read blocks. It hands out nothing, so nothing is
//! stranded when the read is cut off; it only rings, and whoever waits looks for itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use incident::ports::Cancel as _;
use redis::Value;
use redis::aio::MultiplexedConnection;
use runtime::{CancelToken, TaskKind};
use tokio::sync::Notify;

use super::link::Failure;
use super::{Server, reply};

/// How much longer than the block an answer may take.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);
/// Longest pause between two tries to connect.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What is rung when a stream may have something new.
pub(super) struct Bell {
    pub(super) rung: Arc<Notify>,
    key: String,
    listening: AtomicBool,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Bell {
    pub(super) fn new(key: String) -> Self {
        Self {
            rung: Arc::default(),
            key,
            listening: AtomicBool::new(false),
        }
    }

    /// Starts to listen, unless it does already. A process that never waits needs no connection for
    /// it. Listening ends with the last handle of the stream, or at the drain.
    pub(super) fn listen(self: &Arc<Self>, server: &Arc<Server>) {
        if self.listening.swap(true, Ordering::SeqCst) {
            return;
        }
        let drain = server.supervisor.shutdown().drain.clone();
        let (bell, weak_server) = (Arc::downgrade(self), Arc::downgrade(server));
        server
            .supervisor
            .spawn(TaskKind::Work, "bus-bell", async move {
                tokio::select! {
                    biased;
                    () = drain.wait() => {}
                    () = keep_listening(&bell, &weak_server, &drain) => {}
                }
                if let Some(bell) = bell.upgrade() {
                    bell.listening.store(false, Ordering::SeqCst);
                }
            });
    }
}

async fn keep_listening(bell: &Weak<Bell>, server: &Weak<Server>, drain: &CancelToken) {
    let mut pause = Duration::from_millis(50);
    while !drain.is_cancelled() {
        let Some(strong) = server.upgrade() else {
            return;
        };
        let (clock, block) = (strong.clock.clone(), strong.config.block.0);
        if strong.link.is_closed() {
            return;
        }
        let drops = strong.link.drops();
        let connected = strong.link.dedicated(block + ANSWER_MARGIN).await;
        drop(strong);
        if let Ok(mut connection) = connected {
            pause = Duration::from_millis(50);
            // Where the others have lost trust in their connection, this one is no better.
            while server.upgrade().is_some_and(|s| s.link.drops() == drops) {
                let Some(strong) = bell.upgrade() else { return };
                match hear(&mut connection, &strong, block).await {
                    Ok(()) => {}
                    Err(Failure { error, .. }) => {
                        tracing::debug!(stream = strong.key, %error, "the blocking read failed");
                        break;
                    }
                }
            }
        }
        if bell.strong_count() == 0 {
            return;
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Rings for everything up to now, then waits for the next entry.
async fn hear(
    connection: &mut MultiplexedConnection,
    bell: &Bell,
    block: Duration,
) -> Result<(), Failure> {
    let info: Value = redis::cmd("XINFO")
        .arg("STREAM")
        .arg(&bell.key)
        .query_async(connection)
        .await?;
    let last = last_id(info).unwrap_or_else(|| String::from("$"));
    bell.rung.notify_waiters();
    let block = u64::try_from(block.as_millis()).unwrap_or(u64::MAX);
    let _: Value = redis::cmd("XREAD")
        .arg("COUNT")
        .arg(1)
        .arg("BLOCK")
        .arg(block)
        .arg("STREAMS")
        .arg(&bell.key)
        .arg(last)
        .query_async(connection)
        .await?;
    Ok(())
}

fn last_id(info: Value) -> Option<String> {
    let fields = reply::list(info).ok()?;
    let name = fields.iter().position(
        |field| matches!(field, Value::BulkString(name) if name == b"last-generated-id"),
    )?;
    let id = fields.into_iter().nth(name + 1)?;
    reply::text(id).ok()
}
