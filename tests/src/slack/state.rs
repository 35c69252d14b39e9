//! What the server knows: messages, calls, rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use incident::ports::Clock as _;
use runtime::SystemClock;
use serde_json::Value;

use super::Fault;

/// The bot and its user.
pub(super) const BOT: &str = "B0NIGHT0001";
pub(super) const USER: &str = "U0NIGHT0001";
/// Calls kept; a test that makes more is one that goes in circles.
const CALLS_MAX: usize = 100_000;

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Such as `chat.postMessage`.
    pub method: String,
    /// How many calls of it there were before.
    pub number: usize,
    /// Its arguments.
    pub args: Value,
}

impl Call {
    /// The key in the message's metadata.
    pub fn key(&self) -> Option<&str> {
        self.payload("key")
    }

    /// The incident in the message's metadata.
    pub fn incident(&self) -> Option<&str> {
        self.payload("incident")
    }

    fn payload(&self, field: &str) -> Option<&str> {
        let payload = self.args.pointer("/metadata/event_payload")?;
        payload.get(field)?.as_str()
    }
}

/// One message as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its name in the channel.
    pub ts: String,
    /// Text, blocks and metadata, as they were sent last.
    pub body: Value,
    /// How often it was edited.
    pub edits: u32,
    /// Who wrote it.
    pub(super) bot: Option<String>,
}

impl Message {
    /// The key it carries now.
    pub fn key(&self) -> Option<&str> {
        self.payload("key")
    }

    /// The incident it is about.
    pub fn incident(&self) -> Option<&str> {
        self.payload("incident")
    }

    /// `opened`, `report` or `closed`.
    pub fn label(&self) -> Option<&str> {
        self.payload("notice")
    }

    /// The notification's text.
    pub fn text(&self) -> &str {
        let text = self.body.get("text").and_then(Value::as_str);
        text.unwrap_or_default()
    }

    /// Whether it tells its readers that they may see it twice.
    pub fn says_repeat(&self) -> bool {
        self.body.to_string().contains("You may see this twice")
    }

    pub(super) fn is_ours(&self) -> bool {
        self.bot.as_deref() == Some(BOT)
    }

    fn payload(&self, field: &str) -> Option<&str> {
        let payload = self.body.pointer("/metadata/event_payload")?;
        payload.get(field)?.as_str()
    }
}

/// Says what goes wrong with a call.
pub(super) type Choose = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

pub(super) struct State {
    pub(super) token: String,
    pub(super) scopes: BTreeSet<String>,
    pub(super) is_member: bool,
    pub(super) gap: Option<Duration>,
    pub(super) choose: Choose,
    pub(super) calls: Vec<Call>,
    pub(super) messages: Vec<Message>,
    pub(super) posts_by_key: BTreeMap<String, u32>,
    pub(super) posts_by_incident: BTreeMap<String, u32>,
    clock: std::sync::Arc<SystemClock>,
    /// The newest message's name, in microseconds.
    last_micros: i64,
    /// When the last message was taken, in time of the clock's `elapsed`.
    taken: Option<Duration>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new(token: String) -> Self {
        let scopes = ["chat:write", "channels:history"];
        Self {
            token,
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            is_member: true,
            gap: None,
            choose: Box::new(|_| None),
            calls: Vec::new(),
            messages: Vec::new(),
            posts_by_key: BTreeMap::new(),
            posts_by_incident: BTreeMap::new(),
            clock: SystemClock::new(),
            last_micros: 0,
            taken: None,
        }
    }

    /// Notes the call and says what goes wrong with it.
    pub(super) fn begin(&mut self, method: &str, args: &Value) -> Option<Fault> {
        let before = self.calls.iter().filter(|call| call.method == method);
        let call = Call {
            method: method.to_owned(),
            number: before.count(),
            args: args.clone(),
        };
        let fault = (self.choose)(&call);
        if self.calls.len() < CALLS_MAX {
            self.calls.push(call);
        }
        fault
    }

    /// A name that no message had before: the time, in microseconds.
    fn next_ts(&mut self) -> String {
        let now = self.clock.now().as_microsecond();
        self.last_micros = now.max(self.last_micros + 1);
        let (secs, micros) = (self.last_micros / 1_000_000, self.last_micros % 1_000_000);
        format!("{secs}.{micros:06}")
    }

    /// Seconds to wait, if this message comes too soon after the last one.
    pub(super) fn too_soon(&mut self) -> Option<u64> {
        let gap = self.gap?;
        let now = self.clock.elapsed();
        let early = self
            .taken
            .is_some_and(|taken| now.saturating_sub(taken) < gap);
        if early {
            return Some(gap.as_secs().max(1));
        }
        self.taken = Some(now);
        None
    }

    /// Takes a new message of ours; its name.
    pub(super) fn post(&mut self, body: Value) -> String {
        let message = Message {
            ts: self.next_ts(),
            body,
            edits: 0,
            bot: Some(BOT.to_owned()),
        };
        let count = |counts: &mut BTreeMap<String, u32>, of: Option<&str>| {
            *counts.entry(of.unwrap_or("none").to_owned()).or_default() += 1;
        };
        count(&mut self.posts_by_key, message.key());
        count(&mut self.posts_by_incident, message.incident());
        let ts = message.ts.clone();
        self.messages.push(message);
        ts
    }

    pub(super) fn chatter(&mut self, text: &str, metadata: &Value) {
        let body = serde_json::json!({ "text": text, "metadata": metadata });
        let message = Message {
            ts: self.next_ts(),
            body,
            edits: 0,
            bot: Some("B0OTHER0001".to_owned()),
        };
        self.messages.push(message);
    }
}
