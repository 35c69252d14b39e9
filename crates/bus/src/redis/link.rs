//! The connection that all short requests share: made when it is needed, dropped when it is in
//! doubt.
//!
//! An answer that does not come in time leaves a connection in doubt as much as a broken one does
//! (the other end may be gone without a word), so both are replaced by the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use incident::ports::Clock;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, RedisError, ScriptInvocation,
    ServerErrorKind, Value,
};
use tokio::sync::Mutex;

use crate::wait::within;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: String,
    /// The server answered and will answer the same again: credentials, rights, database.
    pub(super) refused: bool,
}

impl Failure {
    fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            refused: false,
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        let code = error.code().unwrap_or_default();
        let refused = matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::InvalidClientConfig
                | ErrorKind::Server(ServerErrorKind::NoPerm)
        ) || matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM")
            || text.contains("refused to switch database");
        Self {
            error: text,
            refused,
        }
    }
}

/// What is sent.
enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
}

#[derive(Default)]
struct Current {
    generation: u64,
    connection: Option<MultiplexedConnection>,
}

/// The shared connection.
pub(super) struct Link {
    client: Client,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    current: Mutex<Current>,
    closed: AtomicBool,
}

impl Link {
    pub(super) fn new(
        info: ConnectionInfo,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        Ok(Self {
            client: Client::open(info).map_err(|error| error.to_string())?,
            timeout,
            clock,
            current: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// A connection of its own, whose answers may take as long as `response`.
    pub(super) async fn dedicated(
        &self,
        response: Duration,
    ) -> Result<MultiplexedConnection, Failure> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(response));
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        Ok(connecting.await?)
    }

    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, Failure> {
        self.send(Request::Command(command)).await
    }

    pub(super) async fn script(&self, script: &ScriptInvocation<'_>) -> Result<Value, Failure> {
        self.send(Request::Script(script)).await
    }

    async fn send(&self, request: Request<'_>) -> Result<Value, Failure> {
        let started = self.clock.elapsed();
        let connected = within(&*self.clock, self.timeout, self.connection()).await;
        let (generation, mut connection) = connected
            .ok_or_else(|| Failure::new("redis does not accept a connection in time"))??;
        let passed = self.clock.elapsed().saturating_sub(started);
        let left = self.timeout.saturating_sub(passed);
        let answer = within(&*self.clock, left, async {
            match request {
                Request::Command(command) => command.query_async(&mut connection).await,
                Request::Script(script) => script.invoke_async(&mut connection).await,
            }
        });
        match answer.await {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => {
                if error.is_io_error() || error.is_unrecoverable_error() {
                    self.drop_connection(generation).await;
                }
                Err(error.into())
            }
            None => {
                self.drop_connection(generation).await;
                let error = format!("redis did not answer within {:?}", self.timeout);
                Err(Failure::new(error))
            }
        }
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Failure> {
        let mut current = self.current.lock().await;
        if self.closed.load(Ordering::SeqCst) {
            current.connection = None;
            return Err(Failure::new("the bus is closed"));
        }
        if let Some(connection) = &current.connection {
            return Ok((current.generation, connection.clone()));
        }
        let connection = self.dedicated(self.timeout).await?;
        current.generation += 1;
        current.connection = Some(connection.clone());
        Ok((current.generation, connection))
    }

    async fn drop_connection(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current.generation == generation {
            current.connection = None;
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Ok(mut current) = self.current.try_lock() {
            current.connection = None;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
