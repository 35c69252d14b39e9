//! The Agent port: an agent of this process, and the same behind A2A over every store.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use a2a::{Parts, RemoteAgent, Server};
use async_trait::async_trait;
use incident::ids::MessageId;
use incident::ports::{Agent, AgentCard, AgentError, AgentTask, Cx, Outcome, Skill};
use runtime::{SeededEntropy, Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::{Value, json};
use tests::conformance::agent::Subject;
use tests::conformance::{Kind, Peer, Rules};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

const NAME: &str = "sum-agent";
const SKILL: &str = "sum/1";

/// Adds numbers, or waits for ever. Remembers nothing: what must not be done twice is not its
/// business but that of whoever serves it.
#[derive(Debug)]
struct Sum {
    card: AgentCard,
    begun: Arc<AtomicU32>,
}

impl Sum {
    fn new() -> Self {
        let skill = Skill {
            id: SKILL.to_owned(),
            name: "Sum".to_owned(),
            description: "adds numbers".to_owned(),
        };
        Self {
            card: AgentCard {
                name: NAME.to_owned(),
                description: "adds numbers".to_owned(),
                skills: vec![skill],
            },
            begun: Arc::default(),
        }
    }

    fn refused(why: &str) -> AgentError {
        AgentError::Refused {
            agent: NAME.to_owned(),
            why: why.to_owned(),
        }
    }
}

#[async_trait]
impl Agent for Sum {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        if task.skill != SKILL {
            return Err(Self::refused("skill: send sum/1"));
        }
        if task.input["for ever"] == true {
            cx.ended().await;
            let agent = NAME.to_owned();
            return Err(if cx.cancel.is_cancelled() {
                AgentError::Cancelled { agent }
            } else {
                AgentError::Deadline { agent }
            });
        }
        let numbers = task.input["numbers"].as_array();
        let numbers = numbers.ok_or_else(|| Self::refused("numbers: send a list"))?;
        self.begun.fetch_add(1, Ordering::SeqCst);
        // Long enough for the others to come while it works.
        cx.clock.sleep(Duration::from_millis(50)).await;
        let sum: i64 = numbers.iter().filter_map(Value::as_i64).sum();
        Ok(Outcome::Completed {
            output: json!({ "sum": sum }),
        })
    }
}

/// An agent of this process that keeps the contract by itself.
#[derive(Debug)]
struct Remembering {
    sum: Sum,
    done: Mutex<BTreeMap<MessageId, (AgentTask, Outcome)>>,
}

#[async_trait]
impl Agent for Remembering {
    fn card(&self) -> &AgentCard {
        &self.sum.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let mut done = self.done.lock().await;
        match done.get(&task.message_id) {
            Some((before, outcome)) if *before == task => return Ok(outcome.clone()),
            Some(_) => return Err(Sum::refused("message id: it was used before")),
            None => {}
        }
        let outcome = self.sum.run(task.clone(), cx).await?;
        done.insert(task.message_id.clone(), (task, outcome.clone()));
        Ok(outcome)
    }
}

fn task(id: &str, input: Value) -> AgentTask {
    AgentTask {
        message_id: MessageId::derive("conformance", [id]),
        context: None,
        skill: SKILL.to_owned(),
        input,
    }
}

/// What keeps a subject alive, and counts.
struct World {
    begun: Arc<AtomicU32>,
    _peer: Option<Peer>,
    supervisor: Supervisor,
}

impl Drop for World {
    fn drop(&mut self) {
        self.supervisor.shutdown().abort.cancel();
    }
}

fn begun(world: &dyn Any) -> u32 {
    world
        .downcast_ref::<World>()
        .map_or(0, |world| world.begun.load(Ordering::SeqCst))
}

fn subject(agent: Arc<dyn Agent>, world: World) -> Subject {
    Subject {
        agent,
        good: task("good", json!({ "numbers": [1, 2, 39] })),
        unreadable: task("unreadable", json!({ "numbers": "1, 2, 39" })),
        endless: task("endless", json!({ "for ever": true })),
        begun: Some(begun),
        world: Box::new(world),
    }
}

fn in_process() -> Subject {
    let sum = Sum::new();
    let world = World {
        begun: sum.begun.clone(),
        _peer: None,
        supervisor: Supervisor::new(Shutdown::new(), SystemClock::new()),
    };
    subject(
        Arc::new(Remembering {
            sum,
            done: Mutex::default(),
        }),
        world,
    )
}

async fn remote(kind: Kind) -> anyhow::Result<Subject> {
    let peer = Peer::start(kind, Rules::default()).await?;
    let clock = SystemClock::new();
    let supervisor = Supervisor::new(Shutdown::new(), clock.clone());
    let sum = Sum::new();
    let begun = sum.begun.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let config = a2a::Config {
        public_url: url.clone(),
        ..a2a::Config::default()
    };
    let server = Server::new(&Parts {
        agents: vec![Arc::new(sum)],
        store: peer.store(),
        clock,
        entropy: Arc::new(SeededEntropy::new(1)),
        supervisor: supervisor.clone(),
        token: None,
        sole_owner: false,
        config: config.clone(),
    })?;
    let shutdown = supervisor.shutdown().clone();
    supervisor.spawn(TaskKind::Service, "a2a server", async move {
        let result = runtime::http::serve(listener, server.router(), shutdown).await;
        assert!(result.is_ok(), "{result:?}");
    });
    let http = runtime::http::client(Duration::from_mins(1))?;
    let entropy = Arc::new(SeededEntropy::new(2));
    let agent = RemoteAgent::new(&url, NAME, http, None, entropy, &config);
    Ok(subject(
        Arc::new(agent),
        World {
            begun,
            _peer: Some(peer),
            supervisor,
        },
    ))
}

/// One test per function of the suite and way to reach the agent.
macro_rules! suite {
    ($module:ident, $subject:expr; $($check:ident)*) => {
        mod $module {
            #[allow(unused_imports, reason = "the subject of this process needs none of it")]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() -> anyhow::Result<()> {
                    tests::conformance::agent::$check($subject).await
                }
            )*
        }
    };
}

macro_rules! suites {
    ($($module:ident, $subject:expr;)*) => {
        $(suite!($module, $subject; card same_message_later same_message_at_once
            same_message_other_input unreadable deadline cancellation);)*
    };
}

suites! {
    in_this_process, in_process();
    remote_on_memory, remote(Kind::Memory).await?;
    remote_on_embedded, remote(Kind::Embedded).await?;
    remote_on_redis, remote(Kind::Redis).await?;
}
