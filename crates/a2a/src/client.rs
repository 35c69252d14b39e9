//! An agent of another process.

mod fault;
mod reach;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use a2a_client::Transport as _;
use a2a_client::jsonrpc::JsonRpcTransport;
use a2a_types as sdk;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use incident::ports::{Agent, AgentCard, AgentError, AgentTask, Cx, Entropy, Outcome};
use runtime::Policy;
use runtime::config::Secret;
use runtime::entropy::nonce;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::{Config, numbers, wire};

use self::fault::{Fault, Judge};
use self::reach::Known;

/// An agent behind A2A.
///
/// One call is one task: when the connection breaks, the same message is sent again until the
/// context ends, and joins the task where it stands. When the context ends first, the task goes on
/// at the other side; whoever sends the same message later gets its result.
pub struct RemoteAgent {
    base_url: String,
    http: reqwest::Client,
    token: Option<Secret>,
    entropy: Arc<dyn Entropy>,
    silence_max: Duration,
    judge: Judge,
    known: OnceCell<Known>,
    unknown: AgentCard,
}

impl RemoteAgent {
    /// The agent `name` at `base_url` (scheme, host and port). Nothing is sent before the first
    /// call. `http` should allow a request to take as long as a task: a shorter limit costs a
    /// reconnection each time it strikes.
    pub fn new(
        base_url: &str,
        name: &str,
        http: reqwest::Client,
        token: Option<Secret>,
        entropy: Arc<dyn Entropy>,
        config: &Config,
    ) -> Self {
        let base_url = base_url.trim_end_matches('/').to_owned();
        let unknown = AgentCard {
            name: name.to_owned(),
            description: format!("an agent at {base_url} that was not called yet"),
            skills: Vec::new(),
        };
        Self {
            base_url,
            http,
            token,
            entropy,
            silence_max: config.stream_silence_max.0,
            judge: Judge::new(name),
            known: OnceCell::new(),
            unknown,
        }
    }

    /// Fetches and checks the agent's card, unless it is known.
    ///
    /// # Errors
    /// [`AgentError::Unreachable`], with what is wrong.
    pub async fn fetch_card(&self) -> Result<&AgentCard, AgentError> {
        match self.known().await {
            Ok(known) => Ok(&known.card),
            Err(fault) => Err(fault.into_error()),
        }
    }

    async fn known(&self) -> Result<&Known, Fault> {
        self.known.get_or_try_init(|| self.fetch()).await
    }

    async fn attempt(
        &self,
        task: &AgentTask,
        heard: &AtomicU64,
        cx: &Cx,
    ) -> Result<Outcome, Fault> {
        let known = self.known().await?;
        let transport = JsonRpcTransport::new(self.http.clone(), known.url.clone());
        let request = message(task, known.tenant.clone(), &self.extension(cx));
        let headers = self.headers(cx);
        let opened = transport.send_streaming_message(&headers, &request).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) if Judge::is_from_peer(&error) => return Err(self.judge.of(&error)),
            Err(error) => return Err(self.explain(known, &error).await),
        };
        let mut output = None;
        loop {
            let event = tokio::select! {
                biased;
                event = stream.next() => event,
                () = cx.clock.sleep(self.silence_max) => return Err(self.judge.silent(self.silence_max)),
            };
            let Some(event) = event else {
                return Err(self.judge.broken("the stream ended before the task did"));
            };
            let status = match event.map_err(|error| self.judge.of(&error))? {
                sdk::StreamResponse::Task(found) => {
                    output = found
                        .artifacts
                        .into_iter()
                        .flatten()
                        .find_map(wire::body_of)
                        .or(output);
                    found.status
                }
                sdk::StreamResponse::ArtifactUpdate(update) => {
                    output = wire::body_of(update.artifact).or(output);
                    continue;
                }
                sdk::StreamResponse::StatusUpdate(update) => {
                    tell(&update, heard, cx);
                    update.status
                }
                sdk::StreamResponse::Message(_) => return Err(self.judge.no_task()),
            };
            if let Some(end) = self.judge.end(&status, &mut output) {
                return end;
            }
        }
    }

    /// What the request carries beside the message.
    fn extension(&self, cx: &Cx) -> serde_json::Value {
        json!({
            "deadline": cx.deadline.to_string(),
            "traceparent": wire::traceparent(&cx.trace, &nonce(self.entropy.as_ref(), 8)),
        })
    }

    fn headers(&self, cx: &Cx) -> a2a_client::ServiceParams {
        let authorization = self
            .token
            .as_ref()
            .map(|token| format!("Bearer {}", token.expose()));
        let trace = wire::traceparent(&cx.trace, &nonce(self.entropy.as_ref(), 8));
        let named = [
            (wire::VERSION_HEADER, Some(wire::VERSION.to_owned())),
            (wire::EXTENSIONS_HEADER, Some(wire::EXTENSION.to_owned())),
            ("traceparent", trace),
            ("authorization", authorization),
        ];
        let present = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), vec![value?])));
        present.collect()
    }
}

fn message(
    task: &AgentTask,
    tenant: Option<String>,
    extension: &serde_json::Value,
) -> sdk::SendMessageRequest {
    sdk::SendMessageRequest {
        message: sdk::Message {
            message_id: task.message_id.to_string(),
            context_id: task.context.clone(),
            task_id: None,
            role: sdk::Role::User,
            parts: vec![wire::data_part(&task.skill, &task.input)],
            metadata: Some([(wire::EXTENSION.to_owned(), extension.clone())].into()),
            extensions: Some(vec![wire::EXTENSION.to_owned()]),
            reference_task_ids: None,
        },
        configuration: Some(sdk::SendMessageConfiguration {
            accepted_output_modes: Some(vec![wire::JSON.to_owned()]),
            task_push_notification_config: None,
            history_length: Some(0),
            return_immediately: None,
        }),
        metadata: None,
        tenant,
    }
}

/// Passes a note on, unless it was heard before the connection broke.
fn tell(update: &sdk::TaskStatusUpdateEvent, heard: &AtomicU64, cx: &Cx) {
    if update.status.state != sdk::TaskState::Working {
        return;
    }
    let text = wire::text_of(update.status.message.as_ref());
    if text.is_empty() {
        return;
    }
    let extension = update
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.get(wire::EXTENSION));
    let extension = extension.cloned().map(numbers::restore).unwrap_or_default();
    if let Some(number) = extension.get("number").and_then(serde_json::Value::as_u64)
        && heard.fetch_max(number, Ordering::Relaxed) >= number
    {
        return;
    }
    let stage = extension
        .get("stage")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("remote");
    cx.progress
        .note(&incident::Untrusted::from(stage).one_line(40), &text);
}

#[async_trait]
impl Agent for RemoteAgent {
    /// Without skills until the agent was reached once; see [`RemoteAgent::fetch_card`].
    fn card(&self) -> &AgentCard {
        self.known.get().map_or(&self.unknown, |known| &known.card)
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        if let Some(why) = numbers::unfit(&task.input) {
            return Err(self.judge.refused(format!("input: {why}")));
        }
        let heard = AtomicU64::new(0);
        let attempt = || self.attempt(&task, &heard, cx);
        let tries = Policy::BACKEND.run(cx, self.entropy.as_ref(), attempt);
        match cx.bound(Box::pin(tries)).await {
            Some(result) => result.map_err(Fault::into_error),
            None if cx.cancel.is_cancelled() => Err(self.judge.cancelled()),
            None => Err(self.judge.deadline()),
        }
    }
}

impl fmt::Debug for RemoteAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteAgent")
            .field("name", &self.unknown.name)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}
