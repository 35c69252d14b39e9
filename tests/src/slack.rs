//! A Slack that keeps what is posted: the five Web API methods that Nightshift uses, with Slack's own
//! rules (token, scopes, membership, shapes, pages of history), counting on its own side, and faults on
//! demand.
//!
//! Never: threads, files, users; what is not used is answered `unknown_method`.

mod methods;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use runtime::{Shutdown, Supervisor, SystemClock};

use crate::fakes::Fake;
use state::State;
pub use state::{Call, Message};

/// The channel there is. Its bot is a member.
pub const CHANNEL: &str = "C0NIGHT0001";

/// What goes wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// HTTP 429; nothing is done.
    Limited {
        /// The `Retry-After` header.
        retry_after_s: u64,
    },
    /// An HTTP status with a body that is not Slack's; nothing is done.
    Status(u16),
    /// `{"ok": false, "error": ...}`; nothing is done.
    Says(&'static str),
    /// It is done, and then the connection breaks.
    AnswerLost,
    /// It is done, and nothing is ever answered.
    NoAnswer,
    /// It is done after this time, and answered, if anybody still waits.
    Slow(Duration),
}

/// The server. Dropping it closes it.
#[derive(Debug)]
pub struct SlackApi {
    fake: Fake,
    state: Shared,
    token: String,
}

/// What the server and its handlers share.
#[derive(Debug, Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    /// What goes on when nobody waits for its answer any more.
    late: Arc<Supervisor>,
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    let state = &shared.state;
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SlackApi {
    /// Starts with one empty channel and a token with the scopes that are asked for.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Self> {
        let token = "xoxb-".to_owned() + &"0".repeat(24);
        let state = Shared {
            state: Arc::new(Mutex::new(State::new(token.clone()))),
            late: Arc::new(Supervisor::new(Shutdown::new(), SystemClock::new())),
        };
        let fake = Fake::serve(methods::router(state.clone())).await?;
        Ok(Self { fake, state, token })
    }

    /// For `slack.api_url`.
    pub fn url(&self) -> String {
        format!("{}/api", self.fake.url)
    }

    /// Writes the token into a file below `folder`, for `slack.token_file`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn token_file(&self, folder: &Path) -> Result<PathBuf> {
        let file = folder.join("slack-token");
        std::fs::write(&file, &self.token)?;
        Ok(file)
    }

    /// The `[slack]` section that uses this server, its token file below `folder`; `gap` is
    /// `post_gap`, such as `1ms`.
    ///
    /// # Errors
    /// The token file cannot be written.
    pub fn section(&self, folder: &Path, gap: &str) -> Result<String> {
        let (file, url) = (self.token_file(folder)?, self.url());
        Ok(format!(
            "[slack]\ntoken_file = \"{}\"\nchannel = \"{CHANNEL}\"\napi_url = \"{url}\"\npost_gap = \"{gap}\"\n",
            file.display()
        ))
    }

    /// What goes wrong with the calls that come: asked for each call, before anything is done.
    pub fn faults(&self, choose: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        lock(&self.state).choose = Box::new(choose);
    }

    /// The next call of `method` goes wrong.
    pub fn fail_next(&self, method: &'static str, fault: Fault) {
        let mut fault = Some(fault);
        self.faults(move |call| (call.method == method).then(|| fault.take()).flatten());
    }

    /// Nothing goes wrong any more.
    pub fn works(&self) {
        self.faults(|_| None);
    }

    /// The token's scopes from now on.
    pub fn scopes(&self, scopes: &[&str]) {
        lock(&self.state).scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    }

    /// Whether the bot is in the channel from now on.
    pub fn member(&self, is_member: bool) {
        lock(&self.state).is_member = is_member;
    }

    /// Refuses messages that come sooner after the last one, as Slack does; `None` takes all.
    pub fn limit(&self, gap: Option<Duration>) {
        lock(&self.state).gap = gap;
    }

    /// Somebody else writes in the channel, with any metadata.
    pub fn chatter(&self, text: &str, metadata: &serde_json::Value) {
        lock(&self.state).chatter(text, metadata);
    }

    /// Somebody removes a message.
    pub fn remove(&self, ts: &str) {
        lock(&self.state)
            .messages
            .retain(|message| message.ts != ts);
    }

    /// The bot's messages as they stand now, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        let state = lock(&self.state);
        let ours = state.messages.iter().filter(|message| message.is_ours());
        ours.cloned().collect()
    }

    /// How often a new message was posted, by the key it was posted with, whatever became of the
    /// answer. A key that stands here twice is a duplicate that people have seen.
    pub fn posts_by_key(&self) -> std::collections::BTreeMap<String, u32> {
        lock(&self.state).posts_by_key.clone()
    }

    /// How often a new message was posted, by incident.
    pub fn posts_by_incident(&self) -> std::collections::BTreeMap<String, u32> {
        lock(&self.state).posts_by_incident.clone()
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.clone()
    }

    /// How often a method was called.
    pub fn count(&self, method: &str) -> usize {
        let state = lock(&self.state);
        state
            .calls
            .iter()
            .filter(|call| call.method == method)
            .count()
    }
}
