//! Supervised tasks: every task has a kind, and the kind says what its failure means.

use std::sync::Arc;
use std::time::Duration;

use incident::ports::{Cancel as _, Clock};
use tokio_util::task::TaskTracker;

use crate::shutdown::{CancelToken, Shutdown};

/// What a task is for, and so what its panic or failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Serves as long as the process lives; its end before shutdown ends the process.
    Service,
    /// One piece of work (a request, a lease, an incident); its failure is its own.
    Work,
}

/// Owns the tasks of a process.
#[derive(Debug, Clone)]
pub struct Supervisor {
    tracker: TaskTracker,
    shutdown: Shutdown,
    clock: Arc<dyn Clock>,
    failed: CancelToken,
}

impl Supervisor {
    /// Owns nothing yet.
    pub fn new(shutdown: Shutdown, clock: Arc<dyn Clock>) -> Self {
        Self {
            tracker: TaskTracker::new(),
            shutdown,
            clock,
            failed: CancelToken::new(),
        }
    }

    /// The two stages of leaving.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs `work` under supervision. A panic is caught, logged with the task's name, and for a
    /// service ends the process in order. Every task is dropped at the abort stage.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that spawns"
    )]
    pub fn spawn(
        &self,
        kind: TaskKind,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let abort = self.shutdown.abort.clone();
        let drain = self.shutdown.drain.clone();
        let failed = self.failed.clone();
        let inner = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = abort.wait() => {}
                () = work => {}
            }
        });
        self.tracker.spawn(async move {
            let result = inner.await;
            if let Err(error) = &result {
                tracing::error!(task = name, %error, "a task panicked");
            }
            if kind == TaskKind::Service && !drain.is_cancelled() {
                tracing::error!(task = name, "a service ended before shutdown");
                failed.cancel();
            }
        });
    }

    /// Completes when a service ended that should not have.
    pub async fn service_failed(&self) {
        self.failed.wait().await;
    }

    /// Starts the drain, waits up to `grace` for all tasks, then drops the rest.
    /// Returns whether everything finished by itself.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.shutdown.drain.cancel();
        self.tracker.close();
        let finished = tokio::select! {
            biased;
            () = self.tracker.wait() => true,
            () = self.shutdown.abort.wait() => false,
            () = self.clock.sleep(grace) => false,
        };
        self.shutdown.abort.cancel();
        self.tracker.wait().await;
        finished
    }
}
