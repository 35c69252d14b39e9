//! The connection that all short requests share: made when it is needed, dropped when it is in
//! doubt.
//!
//! An answer that does not come in time leaves a connection in doubt as much as a broken one does
//! (the other end may be gone without a word), and so does a server that says it is no master. All
//! of them are replaced by the next request, which asks anew who is master.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use incident::ports::Clock;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, ScriptInvocation, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::durable::{Durable, Means};
use super::master::{Found, Masters, connect};
use super::reply;
use crate::config::Config;
use crate::error::OpenError;
use crate::wait::within;

/// What a server says that is not, or not yet, or not any more the one to talk to.
const MOVED: [&str; 9] = [
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "UNBLOCKED",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CLUSTERDOWN",
];

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) error: String,
    /// The server answered and will answer the same again: credentials, rights, database.
    pub(super) refused: bool,
    /// The connection leads nowhere, or to the wrong server.
    pub(super) moved: bool,
}

impl Failure {
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            refused: false,
            moved: false,
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let (mut text, lost) = (
            error.to_string(),
            error.is_io_error() || error.is_unrecoverable_error(),
        );
        let mut refused = matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::InvalidClientConfig
                | ErrorKind::Server(ServerErrorKind::NoPerm)
        ) || text.contains("refused to switch database");
        let mut moved = lost;
        // The server's own words, also where several commands were sent at once.
        let said = error.into_server_errors();
        for (_, said) in said.iter().flat_map(|all| all.iter()) {
            let code = said.code();
            refused |= matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM");
            moved |= MOVED.contains(&code);
            text = format!("{code} {}", said.details().unwrap_or_default());
        }
        Self {
            error: text,
            refused,
            moved,
        }
    }
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
}

impl<'a> From<&'a Cmd> for Request<'a> {
    fn from(command: &'a Cmd) -> Self {
        Self::Command(command)
    }
}

impl<'a> From<&'a ScriptInvocation<'a>> for Request<'a> {
    fn from(script: &'a ScriptInvocation<'a>) -> Self {
        Self::Script(script)
    }
}

/// Whether an answer is made certain before it is given.
#[derive(Clone, Copy)]
pub(super) enum Certain {
    /// Nobody decides anything by it.
    Never,
    /// If what it shows may not be: something is in doubt.
    Look,
    /// If this says so.
    If(fn(&Value) -> bool),
    /// It tells of a change.
    Always,
}

#[derive(Default)]
struct Current {
    generation: u64,
    line: Option<Line>,
}

/// A connection to a master.
#[derive(Clone)]
struct Line {
    generation: u64,
    address: String,
    means: Means,
    connection: MultiplexedConnection,
}

/// The shared connection.
pub(super) struct Link {
    masters: Masters,
    durable: Durable,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    current: Mutex<Current>,
    /// Grows when the connection is dropped, so that others can drop theirs.
    drops: AtomicU64,
    closed: AtomicBool,
}

impl Link {
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self {
            masters: Masters::new(config, clock.clone())?,
            durable: Durable::new(config),
            timeout: config.timeout.0,
            clock,
            current: Mutex::default(),
            drops: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// A connection of its own to the master, whose answers may take as long as `response`.
    pub(super) async fn dedicated(
        &self,
        response: Duration,
    ) -> Result<MultiplexedConnection, Failure> {
        self.dial(response).await.map(|(_, connection)| connection)
    }

    async fn dial(&self, response: Duration) -> Result<(String, MultiplexedConnection), Failure> {
        let Found { info, heirs } = self.masters.find().await?;
        self.durable.set_heirs(heirs);
        let address = info.addr().to_string();
        let mut connection = connect(info, self.timeout, response).await?;
        if !self.masters.is_fixed() {
            is_master(&address, &mut connection).await?;
        }
        Ok((address, connection))
    }

    /// The answer to a question about the server itself.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, Failure> {
        self.ask(command, Certain::Never).await
    }

    /// The answer of a script; it is certain.
    pub(super) async fn script(&self, script: &ScriptInvocation<'_>) -> Result<Value, Failure> {
        self.ask(script, Certain::Always).await
    }

    /// The answer, if it is as certain as it has to be.
    pub(super) async fn ask<'a>(
        &self,
        request: impl Into<Request<'a>>,
        certain: Certain,
    ) -> Result<Value, Failure> {
        let (value, confirmed) = self.send(request.into(), certain).await?;
        confirmed.map(|()| value)
    }

    /// The answer, and whether it became certain.
    pub(super) async fn send(
        &self,
        request: Request<'_>,
        certain: Certain,
    ) -> Result<(Value, Result<(), Failure>), Failure> {
        let started = self.clock.elapsed();
        let connected = within(&*self.clock, self.timeout, self.line()).await;
        let mut line = connected
            .ok_or_else(|| Failure::new("redis does not accept a connection in time"))??;
        let generation = line.generation;
        let passed = self.clock.elapsed().saturating_sub(started);
        let left = self.timeout.saturating_sub(passed);
        let answer = within(
            &*self.clock,
            left,
            self.exchange(request, certain, &mut line),
        )
        .await;
        let answer = answer.unwrap_or_else(|| {
            let error = format!("redis did not answer within {:?}", self.timeout);
            Err(Failure {
                moved: true,
                ..Failure::new(error)
            })
        });
        let failure = match &answer {
            Ok((_, Ok(()))) => None,
            Ok((_, Err(failure))) | Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            self.durable.doubt();
            if failure.moved {
                self.drop_line(generation).await;
            }
        }
        answer
    }

    async fn exchange(
        &self,
        request: Request<'_>,
        certain: Certain,
        line: &mut Line,
    ) -> Result<(Value, Result<(), Failure>), Failure> {
        let value: Value = match request {
            Request::Command(command) => command.query_async(&mut line.connection).await?,
            Request::Script(script) => script.invoke_async(&mut line.connection).await?,
        };
        let certain = match certain {
            Certain::Never => false,
            Certain::Look => self.durable.is_in_doubt(),
            Certain::If(must) => must(&value),
            Certain::Always => true,
        };
        if !certain {
            return Ok((value, Ok(())));
        }
        let confirmed = self
            .durable
            .confirm(line.means, line.generation, &mut line.connection)
            .await;
        Ok((value, confirmed))
    }

    async fn line(&self) -> Result<Line, Failure> {
        let mut current = self.current.lock().await;
        if self.closed.load(Ordering::SeqCst) {
            current.line = None;
            return Err(Failure::new("the bus is closed"));
        }
        if let Some(line) = &current.line {
            return Ok(line.clone());
        }
        let (address, mut connection) = self.dial(self.timeout).await?;
        let means = self.durable.probe(&mut connection).await?;
        current.generation += 1;
        let line = Line {
            generation: current.generation,
            address,
            means,
            connection,
        };
        current.line = Some(line.clone());
        Ok(line)
    }

    async fn drop_line(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current
            .line
            .as_ref()
            .is_some_and(|line| line.generation == generation)
        {
            current.line = None;
            self.drops.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether the server answers and is still the one to talk to. If it is not, the next request
    /// goes to whoever is.
    pub(super) async fn verify(&self) -> Result<(), Failure> {
        if self.masters.is_fixed() {
            return self.command(&redis::cmd("PING")).await.map(|_| ());
        }
        let found = within(&*self.clock, self.timeout, self.masters.find()).await;
        let found = found.ok_or_else(|| Failure::new("nobody says in time who is master"))??;
        self.durable.set_heirs(found.heirs);
        let current = {
            let current = self.current.lock().await;
            current
                .line
                .as_ref()
                .map(|line| (line.generation, line.address.clone()))
        };
        if let Some((generation, address)) = current
            && address != found.info.addr().to_string()
        {
            tracing::info!(from = address, to = %found.info.addr(), "redis has another master");
            self.drop_line(generation).await;
        }
        let answer = self.command(&redis::cmd("ROLE")).await?;
        let role = role_of(answer);
        if role == "master" {
            return Ok(());
        }
        let generation = self.current.lock().await.generation;
        self.drop_line(generation).await;
        Err(Failure::new(format!(
            "the server is a {role}, not a master"
        )))
    }

    /// How often the connection was dropped. When it was, others are in doubt as well.
    pub(super) fn drops(&self) -> u64 {
        self.drops.load(Ordering::SeqCst)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Ok(mut current) = self.current.try_lock() {
            current.line = None;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

async fn is_master(address: &str, connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let answer: Value = redis::cmd("ROLE").query_async(connection).await?;
    let role = role_of(answer);
    if role == "master" {
        return Ok(());
    }
    let error = format!("{address} is a {role}, not a master");
    Err(Failure::new(error))
}

fn role_of(answer: Value) -> String {
    let role = reply::list(answer)
        .ok()
        .and_then(|role| role.into_iter().next());
    let role = role.and_then(|role| reply::text(role).ok());
    role.unwrap_or_else(|| String::from("server without a role"))
}
