//! A wire between two processes that can be made slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use incident::ports::Clock;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes passed on at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Passes connections on. Dropping it cuts them.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    delay: watch::Sender<Duration>,
    shutdown: Shutdown,
}

impl Proxy {
    /// Listens on loopback and passes every connection on to `target`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (delay, slow) = watch::channel(Duration::ZERO);
        let shutdown = Shutdown::new();
        let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
        let owner = supervisor.clone();
        supervisor.spawn(TaskKind::Work, "proxy", async move {
            while let Ok((near, _)) = listener.accept().await {
                let slow = slow.clone();
                owner.spawn(TaskKind::Work, "proxied connection", async move {
                    // A target that is not there shows as a connection that ends at once.
                    if let Ok(far) = TcpStream::connect(target).await {
                        pass(near, far, slow).await;
                    }
                });
            }
        });
        Ok(Self {
            address,
            delay,
            shutdown,
        })
    }

    /// From now on every piece of an answer waits this long before it is passed on.
    pub fn set_delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}

/// Both ways, until either side ends.
async fn pass(mut near: TcpStream, mut far: TcpStream, slow: watch::Receiver<Duration>) {
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let clock: Arc<dyn Clock> = SystemClock::new();
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let asks = tokio::io::copy(&mut from_near, &mut to_far);
    let answers = async {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from_far.read(&mut piece).await {
            let delay = *slow.borrow();
            if !delay.is_zero() {
                clock.sleep(delay).await;
            }
            let piece = piece.get(..length).unwrap_or_default();
            if to_near.write_all(piece).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        () = answers => {}
        _ = asks => {}
    }
}
