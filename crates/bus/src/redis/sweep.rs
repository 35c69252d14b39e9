//! Trimming what is acknowledged, adopting what was stranded, forgetting what has expired.

use std::sync::Arc;

use incident::ports::Cancel as _;
use runtime::TaskKind;

use super::bell::Bell;
use super::stream::RedisStream;
use super::{Server, store};

/// Sweeps `stream` until the last handle on it is gone (the bell goes with it) or the drain.
pub(super) fn start(server: &Arc<Server>, stream: &RedisStream, bell: &Arc<Bell>) {
    let drain = server.supervisor.shutdown().drain.clone();
    let (clock, pause) = (server.clock.clone(), server.config.sweep.0);
    let (server_seen, bell) = (Arc::downgrade(server), Arc::downgrade(bell));
    let names = stream.names.clone();
    server
        .supervisor
        .spawn(TaskKind::Work, "bus-sweep", async move {
            while !drain.is_cancelled() {
                tokio::select! {
                    biased;
                    () = drain.wait() => return,
                    () = clock.sleep(pause) => {}
                }
                let Some(server) = server_seen.upgrade() else {
                    return;
                };
                if bell.strong_count() == 0 || server.link.is_closed() {
                    return;
                }
                let swept = match names.sweep(&server).await {
                    Ok(()) => store::expire(&server).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = swept {
                    tracing::debug!(stream = names.name, %error, "the stream was not swept");
                }
            }
        });
}
