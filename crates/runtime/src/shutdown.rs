//! Shutdown in two signals: the first drains, the second leaves at once.

use futures_util::future::BoxFuture;
use incident::ports::Cancel;
use tokio_util::sync::CancellationToken;

/// A cancellation token that can stand in a [`incident::Cx`].
#[derive(Debug, Clone, Default)]
pub struct CancelToken(CancellationToken);

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled with this one, or by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Calls the work off.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Completes when the work is called off.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}

impl Cancel for CancelToken {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn cancelled(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.0.clone().cancelled_owned())
    }
}

/// The two stages of leaving.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// First stage: take nothing new, finish what runs.
    pub drain: CancelToken,
    /// Second stage: the grace period is over or a second signal came; drop what runs.
    pub abort: CancelToken,
}

impl Shutdown {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for SIGTERM or SIGINT.
    ///
    /// # Errors
    /// The operating system refuses a signal handler.
    pub async fn signal() -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
}
