//! The server loop: bounded connections, bounded waits for a request's head, a drain that ends.
//!
//! `axum::serve` has no limit on either: a client that opens connections and never finishes a
//! request would keep them, and the process's file descriptors, for good, and hold up every drain
//! until its grace is over.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use crate::shutdown::Shutdown;

/// What one listener puts up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections held at a time; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// How long the head of a request may take to arrive, counted from the connection's start or
    /// from the answer before. Then the connection is closed, also when it was merely idle.
    pub head_timeout: Duration,
    /// What is held of a request at a time, and so the longest head, give or take one read; at
    /// least 8 KiB. A longer head is answered with 431 if the sender listens.
    pub head_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            head_timeout: Duration::from_secs(10),
            head_bytes_max: 64 * 1024,
        }
    }
}

/// Serves `router` until the drain stage, then lets open requests finish. Dropped, it drops them.
///
/// # Errors
/// The listener breaks.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    serve_within(listener, router, shutdown, Limits::default()).await
}

/// [`serve`] with limits of the caller's choice.
///
/// # Errors
/// The listener breaks.
pub async fn serve_within(
    mut listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
    limits: Limits,
) -> std::io::Result<()> {
    listener.local_addr()?;
    let router: Router = router.with_state(());
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.drain.wait() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => told(ended),
            (permit, stream) = accept(&mut listener, &permits) => {
                let connection = serve_one(stream, router.clone(), shutdown.clone(), limits, permit);
                connections.spawn(connection);
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        told(ended);
    }
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &mut TcpListener,
    permits: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, TcpStream) {
    let permit = permits
        .clone()
        .acquire_owned()
        .await
        .expect("nobody closes the semaphore");
    // Axum's listener waits where the process has run out of file descriptors.
    let (stream, _) = axum::serve::Listener::accept(listener).await;
    (permit, stream)
}

async fn serve_one(
    stream: TcpStream,
    router: Router,
    shutdown: Shutdown,
    limits: Limits,
    _permit: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::trace!(%error, "a connection went away before it was served");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        () = shutdown.drain.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::trace!(%error, "a connection ended early");
    }
}

fn told(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a request panicked");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use incident::ports::Clock as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;

    use super::*;
    use crate::{Supervisor, SystemClock, TaskKind};

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Served {
        address: std::net::SocketAddr,
        owner: Supervisor,
        /// Told when `/slow` has begun.
        begun: Arc<Notify>,
    }

    /// `/` answers at once, `/slow` after 300 ms, `/panic` never.
    async fn serving(limits: Limits) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock = SystemClock::new();
        let owner = Supervisor::new(Shutdown::new(), clock.clone());
        let begun = Arc::new(Notify::new());
        let told = begun.clone();
        let slow = move || async move {
            told.notify_one();
            clock.sleep(Duration::from_millis(300)).await;
            "slow"
        };
        let router = Router::new()
            .route("/", get(|| async { "quick" }))
            .route("/slow", get(slow))
            .route("/panic", get(panics));
        let shutdown = owner.shutdown().clone();
        owner.spawn(TaskKind::Work, "server", async move {
            serve_within(listener, router, shutdown, limits)
                .await
                .unwrap();
        });
        Served {
            address,
            owner,
            begun,
        }
    }

    fn limits(connections_max: usize, head_timeout: Duration) -> Limits {
        Limits {
            connections_max,
            head_timeout,
            ..Limits::default()
        }
    }

    impl Served {
        /// A connection on which `text` was sent.
        async fn send(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        }
    }

    async fn panics() -> &'static str {
        panic!("on purpose")
    }

    async fn in_time<T>(work: impl Future<Output = T>) -> T {
        let clock = SystemClock::new();
        tokio::select! {
            biased;
            done = work => done,
            () = clock.sleep(PATIENCE) => panic!("it did not happen in time"),
        }
    }

    /// What comes until the other side closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        in_time(stream.read_to_string(&mut text)).await.unwrap();
        text
    }

    #[tokio::test]
    async fn heads_that_never_end_make_room_for_others() {
        let served = serving(limits(2, Duration::from_millis(200))).await;
        let held = [served.send("GET / HT").await, served.send("").await];
        let answer = rest(
            served
                .send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await,
        )
        .await;
        assert!(answer.ends_with("quick"), "{answer}");
        for stream in held {
            assert!(!rest(stream).await.contains("200"));
        }
    }

    #[tokio::test]
    async fn a_drain_finishes_requests_and_does_not_wait_for_heads() {
        let served = serving(limits(16, Duration::from_millis(500))).await;
        let idle = served.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let unfinished = served.send("GET / HT").await;
        let working = served.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
        in_time(served.begun.notified()).await;
        assert!(served.owner.drain(PATIENCE).await, "it drained by itself");
        assert!(rest(working).await.ends_with("slow"));
        rest(idle).await;
        rest(unfinished).await;
        assert!(TcpStream::connect(served.address).await.is_err());
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_not_taken() {
        let served = serving(Limits::default()).await;
        let head = |bytes: usize| {
            let padding = "a".repeat(bytes);
            format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {padding}\r\n\r\n")
        };
        let short = rest(served.send(&head(32 * 1024)).await).await;
        assert!(short.ends_with("quick"), "{short}");
        let mut long = TcpStream::connect(served.address).await.unwrap();
        let exchange = async {
            // The server may close before it has read all of it; then either may fail.
            let mut answer = Vec::new();
            let sent = long.write_all(head(1024 * 1024).as_bytes()).await.is_ok();
            let whole = long.read_to_end(&mut answer).await.is_ok();
            (sent && whole, String::from_utf8_lossy(&answer).into_owned())
        };
        let (whole, answer) = in_time(exchange).await;
        assert!(!answer.contains("200"), "{answer}");
        assert!(!whole || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_panic_ends_its_connection_only() {
        let served = serving(limits(1, PATIENCE)).await;
        let gone = served.send("GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(rest(gone).await, "");
        let answer = rest(
            served
                .send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await,
        )
        .await;
        assert!(answer.ends_with("quick"), "{answer}");
    }

    #[tokio::test]
    async fn dropped_it_drops_its_connections() {
        let served = serving(limits(4, PATIENCE)).await;
        let held = served.send("GET / HT").await;
        rest(
            served
                .send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await,
        )
        .await;
        assert!(!served.owner.drain(Duration::from_millis(50)).await);
        rest(held).await;
    }
}
