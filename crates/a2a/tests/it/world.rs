//! An agent that does as its input says, processes that serve it, and calls without a client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use a2a::{Config, Parts, RemoteAgent, Server};
use async_trait::async_trait;
use incident::ids::MessageId;
use incident::ports::{
    Agent, AgentCard, AgentError, AgentTask, Clock, Cx, Outcome, Progress, Skill, Store,
};
use jiff::Timestamp;
use runtime::config::{Secret, Span};
use runtime::testing::memory::MemoryStore;
use runtime::{CancelToken, SeededEntropy, Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Longest wait of any test for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Does what the input's `do` says and counts how often it was asked, by message.
#[derive(Debug)]
pub(crate) struct Scripted {
    card: AgentCard,
    runs: Mutex<BTreeMap<String, u32>>,
    traces: Mutex<Vec<String>>,
    deadlines: Mutex<Vec<Timestamp>>,
    pub(crate) gate: CancelToken,
}

impl Scripted {
    pub(crate) fn named(name: &str) -> Arc<Self> {
        let skill = |id: &str| Skill {
            id: id.to_owned(),
            name: "Script".to_owned(),
            description: "does as it is told".to_owned(),
        };
        Arc::new(Self {
            card: AgentCard {
                name: name.to_owned(),
                description: "does as it is told".to_owned(),
                skills: vec![skill("script/1"), skill("other/1")],
            },
            runs: Mutex::default(),
            traces: Mutex::default(),
            deadlines: Mutex::default(),
            gate: CancelToken::new(),
        })
    }

    pub(crate) fn runs(&self, id: &str) -> u32 {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.get(id).copied().unwrap_or(0)
    }

    pub(crate) fn last_trace(&self) -> Option<String> {
        self.traces.lock().unwrap().last().cloned()
    }

    pub(crate) fn last_deadline(&self) -> Option<Timestamp> {
        self.deadlines.lock().unwrap().last().copied()
    }

    fn failed(&self) -> AgentError {
        AgentError::Failed {
            agent: self.card.name.clone(),
            why: "the disk is full".to_owned(),
        }
    }
}

#[async_trait]
impl Agent for Scripted {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let run = {
            let mut runs = self.runs.lock().unwrap();
            let run = runs.entry(task.message_id.to_string()).or_default();
            *run += 1;
            *run
        };
        self.traces.lock().unwrap().push(cx.trace.clone());
        self.deadlines.lock().unwrap().push(cx.deadline);
        let output = json!({ "saw": task.input.clone(), "context": task.context });
        let done = Ok(Outcome::Completed {
            output: output.clone(),
        });
        match task.input["do"].as_str().unwrap_or_default() {
            "refuse" => Err(AgentError::Refused {
                agent: self.card.name.clone(),
                why: "the window ends before it starts; swap them".to_owned(),
            }),
            "fail once" if run == 1 => Err(self.failed()),
            "panic once" if run == 1 => panic!("an index out of bounds, say"),
            "ask" => Ok(Outcome::InputRequired {
                question: "may I?".to_owned(),
                output,
            }),
            "too big" => Ok(Outcome::Completed {
                output: json!({ "id": u64::MAX }),
            }),
            "tell" => {
                cx.progress.note("reading", "one of two");
                cx.progress.note("thinking", "two of two\n(done)");
                done
            }
            "wait" => {
                cx.progress.note("waiting", "for the gate");
                match cx.bound(self.gate.wait()).await {
                    Some(()) => done,
                    None => Err(AgentError::Cancelled {
                        agent: self.card.name.clone(),
                    }),
                }
            }
            "ignore the end" => {
                self.gate.wait().await;
                done
            }
            _ => done,
        }
    }
}

/// Limits that suit a test.
pub(crate) fn quick() -> Config {
    Config {
        lease: Span::millis(600),
        poll: Span::millis(20),
        ..Config::default()
    }
}

/// One process: a server on its own runtime, so that it can die like one.
pub(crate) struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    pub(crate) addr: SocketAddr,
    pub(crate) supervisor: Supervisor,
}

pub(crate) struct Setup {
    pub(crate) agent: Arc<Scripted>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Config,
    pub(crate) token: Option<Secret>,
    pub(crate) addr: SocketAddr,
    pub(crate) seed: u64,
    pub(crate) sole_owner: bool,
}

impl Setup {
    pub(crate) fn new(agent: &Arc<Scripted>, store: &Arc<MemoryStore>) -> Self {
        Self {
            agent: agent.clone(),
            store: store.clone(),
            config: quick(),
            token: None,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 1,
            sole_owner: false,
        }
    }
}

impl Process {
    pub(crate) async fn start(setup: Setup) -> Self {
        let clock: Arc<dyn Clock> = SystemClock::new();
        let supervisor = Supervisor::new(Shutdown::new(), clock.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (told, heard) = tokio::sync::oneshot::channel();
        let owner = supervisor.clone();
        runtime.spawn(async move {
            let listener = bind(setup.addr).await;
            let addr = listener.local_addr().unwrap();
            let server = Server::new(&Parts {
                agents: vec![setup.agent],
                store: setup.store,
                clock,
                entropy: Arc::new(SeededEntropy::new(setup.seed)),
                supervisor: owner.clone(),
                token: setup.token,
                sole_owner: setup.sole_owner,
                config: Config {
                    public_url: format!("http://{addr}"),
                    ..setup.config
                },
            })
            .unwrap();
            let shutdown = owner.shutdown().clone();
            owner.spawn(TaskKind::Service, "server", async move {
                runtime::http::serve(listener, server.router(), shutdown)
                    .await
                    .unwrap();
            });
            told.send(addr).unwrap();
        });
        Self {
            runtime: Some(runtime),
            addr: heard.await.unwrap(),
            supervisor,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// kill -9: no task is told, no connection is closed in order.
    pub(crate) fn kill(mut self) -> SocketAddr {
        self.runtime.take().unwrap().shutdown_background();
        self.addr
    }
}

/// A port may be taken until the process that had it is gone.
async fn bind(addr: SocketAddr) -> TcpListener {
    let clock = SystemClock::new();
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(error) => assert!(clock.elapsed() < PATIENCE, "{error}"),
        }
        clock.sleep(Duration::from_millis(5)).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(SystemClock::new()))
}

pub(crate) fn http() -> reqwest::Client {
    runtime::http::client(Duration::from_mins(1)).unwrap()
}

pub(crate) fn remote_at(url: &str, name: &str, token: Option<&str>) -> RemoteAgent {
    let entropy = Arc::new(SeededEntropy::new(7));
    RemoteAgent::new(url, name, http(), token.map(Secret::new), entropy, &quick())
}

pub(crate) fn remote(process: &Process) -> RemoteAgent {
    remote_at(&process.url(), "script-agent", None)
}

pub(crate) fn cx() -> Cx {
    Cx::root(
        SystemClock::new(),
        PATIENCE,
        "0af7651916cd43dd8448eb211c80319c",
    )
}

pub(crate) fn task(id: &str, input: Value) -> AgentTask {
    AgentTask {
        message_id: MessageId::from_stored(id),
        context: Some("inc-0123456789ab".to_owned()),
        skill: "script/1".to_owned(),
        input,
    }
}

pub(crate) fn output(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Completed { output } => output,
        other @ Outcome::InputRequired { .. } => panic!("not completed: {other:?}"),
    }
}

/// Waits for a state, within bounds.
pub(crate) async fn until(what: &str, state: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !state() {
        assert!(clock.elapsed() < PATIENCE, "waited too long: {what}");
        clock.sleep(Duration::from_millis(5)).await;
    }
}

/// When the lease of the store's one task ends, as it is recorded.
pub(crate) async fn lease_end(store: &MemoryStore) -> Option<Timestamp> {
    let found = store.list("a2a/", None, 100).await.ok()?;
    let records = found
        .iter()
        .filter_map(|(_, found)| serde_json::from_slice::<Value>(&found.value).ok());
    let mut ends = records.filter_map(|record| {
        let end = record.pointer("/owner/until")?.as_str()?;
        end.parse().ok()
    });
    ends.next()
}

/// Waits until the recorded lease of the store's one task is as wanted.
pub(crate) async fn until_lease(
    what: &str,
    store: &MemoryStore,
    wanted: impl Fn(Timestamp) -> bool,
) -> Timestamp {
    let clock = SystemClock::new();
    loop {
        if let Some(end) = lease_end(store).await.filter(|end| wanted(*end)) {
            return end;
        }
        assert!(clock.elapsed() < PATIENCE, "waited too long: {what}");
        clock.sleep(Duration::from_millis(5)).await;
    }
}

/// Somebody who hangs up on every caller, and counts them.
pub(crate) struct Rude {
    pub(crate) addr: SocketAddr,
    callers: Arc<AtomicU32>,
    accepting: tokio::task::JoinSet<()>,
}

impl Rude {
    pub(crate) async fn start() -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let addr = listener.local_addr().unwrap();
        let callers = Arc::new(AtomicU32::new(0));
        let counted = callers.clone();
        let mut accepting = tokio::task::JoinSet::new();
        accepting.spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                drop(caller);
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            addr,
            callers,
            accepting,
        }
    }

    pub(crate) fn callers(&self) -> u32 {
        self.callers.load(Ordering::SeqCst)
    }

    /// Gives the port free.
    pub(crate) async fn leave(mut self) {
        self.accepting.shutdown().await;
    }
}

/// Remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn note(&self, stage: &str, text: &str) {
        self.0.lock().unwrap().push(format!("{stage}: {text}"));
    }
}

impl Heard {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A JSON-RPC envelope around a method and its parameters.
pub(crate) fn envelope(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string()
}

/// The parameters of a message for the scripted agent.
pub(crate) fn message(id: &str, input: &Value) -> Value {
    json!({ "message": {
        "messageId": id,
        "role": "ROLE_USER",
        "parts": [{ "data": { "schema": "script/1", "body": input } }],
    } })
}

/// Posts a body the way a plain client would.
pub(crate) async fn post(process: &Process, body: String) -> reqwest::Response {
    http()
        .post(format!("{}/agents/script-agent/", process.url()))
        .header("content-type", "application/json")
        .header("a2a-version", "1.0")
        .body(body)
        .send()
        .await
        .unwrap()
}

/// Calls a method; the whole envelope of the answer.
pub(crate) async fn call(process: &Process, method: &str, params: Value) -> Value {
    let answer = post(process, envelope(method, &params)).await;
    answer.json().await.unwrap()
}

/// Calls a streaming method and reads the stream to its end; one line per event.
pub(crate) async fn events(process: &Process, method: &str, params: Value) -> Vec<String> {
    opened(process, method, params).await.rest().await
}

/// Calls a streaming method and reads its first event: from then on nothing is missed.
pub(crate) async fn opened(process: &Process, method: &str, params: Value) -> Opened {
    let mut answer = post(process, envelope(method, &params)).await;
    let mut read = Vec::new();
    while !read.ends_with(b"\n\n") {
        match answer.chunk().await.unwrap() {
            Some(bytes) => read.extend(bytes),
            None => break,
        }
    }
    Opened { answer, read }
}

/// A stream whose first event has come.
pub(crate) struct Opened {
    answer: reqwest::Response,
    read: Vec<u8>,
}

impl Opened {
    /// Reads on until `word` was told.
    pub(crate) async fn until(mut self, word: &str) -> Self {
        while !String::from_utf8_lossy(&self.read).contains(word) {
            let bytes = self.answer.chunk().await.unwrap();
            self.read
                .extend(bytes.expect("the stream tells it before it ends"));
        }
        self
    }

    /// Reads to the end; one line per event.
    pub(crate) async fn rest(mut self) -> Vec<String> {
        while let Some(bytes) = self.answer.chunk().await.unwrap() {
            self.read.extend(bytes);
        }
        let text = String::from_utf8(self.read).unwrap();
        if let Ok(envelope) = serde_json::from_str(&text) {
            return vec![error_line(&envelope)];
        }
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(|data| event_line(&serde_json::from_str(data).unwrap()))
            .collect()
    }
}

fn event_line(event: &Value) -> String {
    let status = |status: &Value| {
        let said = status["message"]["parts"][0]["text"].as_str();
        format!(
            "{}{}",
            text(&status["state"]),
            said.map(|said| format!(" ({said})")).unwrap_or_default()
        )
    };
    let result = &event["result"];
    if let Some(task) = result.get("task") {
        format!("task {}", status(&task["status"]))
    } else if let Some(update) = result.get("statusUpdate") {
        format!("status {}", status(&update["status"]))
    } else if let Some(update) = result.get("artifactUpdate") {
        format!("artifact {}", text(&update["artifact"]["artifactId"]))
    } else {
        error_line(event)
    }
}

/// Code and message of an error, or what there is instead.
pub(crate) fn error_line(envelope: &Value) -> String {
    let error = &envelope["error"];
    if error.is_null() {
        return format!("no error: {envelope}");
    }
    format!("{} {}", error["code"], text(&error["message"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
